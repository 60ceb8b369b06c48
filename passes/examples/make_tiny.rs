//! Writes the tiny models of `onnx-fixtures/tiny`: `cargo run -p adntn-passes --example make_tiny [FOLDER]`.

#[path = "tiny/mod.rs"]
mod tiny;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let default = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../onnx-fixtures/tiny"));
    let folder = std::env::args_os().nth(1).map_or(default, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in tiny::files() {
        std::fs::write(folder.join(format!("{name}.onnx")), bytes)?;
    }
    Ok(())
}
