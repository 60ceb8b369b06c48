//! Writes `onnx/src/generated.rs` from `onnx/proto/onnx-ml.proto`, without protoc.

use std::error::Error;
use std::path::{Path, PathBuf};

/// The folder of `adntn-onnx`: `proto/` and `src/` lie in it.
pub fn onnx_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The file this program writes.
pub fn target() -> PathBuf {
    onnx_folder().join("src").join("generated.rs")
}

/// The Rust source of the protobuf types: every `bytes` field is [`bytes::Bytes`], so that decoding from one `Bytes`
/// copies no tensor data.
///
/// # Errors
/// When the schema does not parse.
///
/// [`bytes::Bytes`]: https://docs.rs/bytes/latest/bytes/struct.Bytes.html
pub fn generate() -> Result<String, Box<dyn Error>> {
    let schema = protox::compile(["onnx-ml.proto"], [onnx_folder().join("proto")])?;
    let mut config = prost_build::Config::new();
    // The schema's comments are prose with indented samples, which rustdoc would run as tests.
    config.bytes(["."]).disable_comments(["."]);
    let modules = schema
        .file
        .into_iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let mut sources = config.generate(modules)?.into_values();
    let source = sources.next().ok_or("the schema has no package")?;
    Ok(source)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_types_are_what_the_schema_gives() {
        let checked_in = std::fs::read_to_string(super::target()).unwrap();
        assert!(
            checked_in == super::generate().unwrap(),
            "onnx/src/generated.rs is stale: run `cargo run -p adntn-onnx-regenerate`"
        );
    }
}
