//! `cargo run -p adntn-onnx-regenerate` writes `onnx/src/generated.rs` again.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    std::fs::write(adntn_onnx_regenerate::target(), adntn_onnx_regenerate::generate()?)?;
    Ok(())
}
