//! Compiles a shipped model through the library: `cargo run --release -p adntn-compiler --example compile`.
#![allow(clippy::print_stdout)]

use adntn_compiler::{Options, compile};

fn main() -> Result<(), adntn_compiler::Error> {
    let output = std::env::temp_dir().join("lenet5-small.onnx");
    let mut options = Options::new("onnx-fixtures/lenet5-mnist.onnx", &output);
    options.calibration = Some("onnx-fixtures/mnist-calibration.npz".into());
    options.held_out = Some("onnx-fixtures/mnist-held-out.npz".into());
    let report = compile(&options)?;
    for layer in report.layers.iter().filter(|l| l.replaced) {
        println!("{}: {:.1}x fewer parameters", layer.layer, layer.ratio);
    }
    println!("{}: {:.1}x smaller", output.display(), report.file_ratio().unwrap_or(1.0));
    Ok(())
}
