//! Compiling bytes and arrays gives what compiling files gives.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use adntn_compiler::{Arrays, Error, Options, Silent, compile, compile_bytes};
use common::{graph, node, samples, write};

const SAMPLES: usize = 300;

fn rows(dir: &std::path::Path) -> Vec<Vec<f32>> {
    let array: ndarray::Array2<f32> = ndarray_npy::read_npy(dir.join("x.npy")).unwrap();
    array.rows().into_iter().map(|row| row.to_vec()).collect()
}

#[test]
fn bytes_and_arrays_give_what_files_give() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| graph(model).node.push(node("Identity", "end", &["y"], "z")));
    samples(dir.path(), "x.npy", SAMPLES);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.tolerance = 0.05;
    options.calibration = Some(dir.path().join("x.npy"));
    let of_files = compile(&options).unwrap();
    // Samples may come one by one.
    let mut arrays = Arrays::new();
    for row in rows(dir.path()) {
        arrays.push("x", &[48], &row).unwrap();
    }
    let mut own = Options::new("", "");
    own.tolerance = 0.05;
    let model = std::fs::read(dir.path().join("in.onnx")).unwrap();
    let made = compile_bytes(&model, Some(&arrays), None, &own, &mut Silent).unwrap();
    assert_eq!(made.model, std::fs::read(dir.path().join("out.onnx")).unwrap());
    assert!(made.model.len() < model.len() / 2, "{} of {}", made.model.len(), model.len());
    assert_eq!(made.report.quality.unwrap().loss, of_files.quality.unwrap().loss);
    // No temporary path is told.
    assert_eq!(
        (made.report.input.path.as_str(), made.report.output.unwrap().path.as_str()),
        ("model.onnx", "compiled.onnx")
    );
    assert_eq!(made.report.data.unwrap().source, "calibration.safetensors");
}

#[test]
fn labels_and_held_out_samples_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", SAMPLES);
    let rows = rows(dir.path());
    let mut held_out = Arrays::new();
    let (first, rest) = rows.split_at(100);
    held_out.push("x", &[48], &first.concat()).unwrap().push_labels(&[0; 100]).unwrap();
    let mut arrays = Arrays::new();
    arrays.push("x", &[48], &rest.concat()).unwrap();
    let mut own = Options::new("", "");
    own.tolerance = 0.5;
    let made = compile_bytes(&std::fs::read(path).unwrap(), Some(&arrays), Some(&held_out), &own, &mut Silent).unwrap();
    let quality = made.report.quality.unwrap();
    assert!(quality.outputs[0].accuracy_before.is_some(), "{quality:?}");
    assert_eq!(made.report.data.unwrap().held_out_samples, 100);
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let mut arrays = Arrays::new();
    let refused = |result: Result<&mut Arrays, Error>, what: &str| {
        let Err(error @ Error::Usage(_)) = result.map(|_| ()) else { panic!("taken") };
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(arrays.push("x", &[48], &[0.0_f32; 47]), "no whole number of samples");
    refused(arrays.push("x", &[0], &[0.0_f32; 0]), "no whole number of samples");
    arrays.push("x", &[48], &[0.0_f32; 96]).unwrap();
    refused(arrays.push("x", &[48], &[0_i64; 48]), "follow some of type F32");
    refused(arrays.push("x", &[6, 8], &[0.0_f32; 48]), "and shape [48]");
    let dir = tempfile::tempdir().unwrap();
    let model = std::fs::read(write(dir.path(), "in.onnx", |_| {})).unwrap();
    let mut wrong = Arrays::new();
    wrong.push("another", &[48], &[0.0_f32; 48 * 64]).unwrap();
    let error = compile_bytes(&model, Some(&wrong), None, &Options::new("", ""), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("no array named 'x'"), "{error}");
    assert!(compile_bytes(b"no model", None, None, &Options::new("", ""), &mut Silent).is_err());
}
