//! Models whose inputs are not all `[samples, …]`, and samples that a model cannot run, through the command.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::Report;
use adntn_onnx::pb;
use common::{classify, graph, node, run, samples, smooth, stderr, tensor, write};
use ndarray::{Array1, Array2, ArrayD, IxDyn, arr0};
use ndarray_npy::{NpzWriter, read_npy, write_npy};

/// Compiles `in.onnx` with calibration data and a bound that everything meets.
fn compile(dir: &Path, data: &str) -> Report {
    let output =
        run(dir, &["in.onnx", "out.onnx", "-c", data, "--report", "report.json", "--min-elements", "64", "-t", "60%"]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn refusal(dir: &Path, data: &str) -> String {
    let output = run(dir, &["in.onnx", "out.onnx", "-c", data, "--min-elements", "64"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(!dir.join("out.onnx").exists());
    stderr(&output)
}

/// Extents of a graph input or output.
fn dims(value: &mut pb::ValueInfoProto) -> &mut Vec<pb::tensor_shape_proto::Dimension> {
    let Some(pb::type_proto::Value::TensorType(tensor)) = &mut value.r#type.as_mut().unwrap().value else { panic!() };
    &mut tensor.shape.as_mut().unwrap().dim
}

/// The samples of [`samples`] with a second array.
fn with_scale(dir: &Path, count: usize, scale: &ArrayD<f32>) {
    samples(dir, "x.npy", count);
    let x: Array2<f32> = read_npy(dir.join("x.npy")).unwrap();
    let mut npz = NpzWriter::new(std::fs::File::create(dir.join("data.npz")).unwrap());
    npz.add_array("x", &x).unwrap();
    npz.add_array("scale", scale).unwrap();
    npz.finish().unwrap();
}

/// Both layers were fitted with the samples' statistics, and quality was measured on so many held-out samples.
fn is_measured(report: &Report, held_out: usize) {
    assert_eq!(report.data.as_ref().unwrap().held_out_samples, held_out, "{:?}", report.notes);
    assert!(report.quality.is_some() && !report.notes.iter().any(|n| n.contains("could not be run")));
}

#[test]
fn a_scalar_input_takes_one_value_or_one_for_each_sample() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        let mut scale = graph.input[0].clone();
        scale.name = Some("scale".into());
        dims(&mut scale).clear();
        graph.input.push(scale);
        graph.node[0].input[0] = "scaled".into();
        graph.node.insert(0, node("Mul", "scaling", &["x", "scale"], "scaled"));
    });
    for scale in
        [arr0(1.5).into_dyn(), Array1::from_elem(61, 1.5).into_dyn(), Array1::linspace(0.5, 1.5, 61).into_dyn()]
    {
        with_scale(dir.path(), 61, &scale);
        is_measured(&compile(dir.path(), "data.npz"), 15);
    }
    std::fs::remove_file(dir.path().join("out.onnx")).unwrap();
    with_scale(dir.path(), 61, &ArrayD::zeros(IxDyn(&[61, 2])));
    let message = refusal(dir.path(), "data.npz");
    assert!(
        message.contains("input 'scale' has no sample axis: give one array [] for all samples or [samples]"),
        "{message}"
    );
}

#[test]
fn a_model_without_batch_runs_sample_by_sample() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        dims(&mut graph.input[0]).remove(0);
        dims(&mut graph.output[0]).remove(0);
    });
    samples(dir.path(), "x.npy", 64);
    is_measured(&compile(dir.path(), "x.npy"), 16);
}

#[test]
fn a_prime_number_of_samples_is_run_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 149);
    is_measured(&compile(dir.path(), "x.npy"), 37);
}

#[test]
fn outputs_behind_what_cannot_be_run_are_measured_before_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", classify);
    samples(dir.path(), "x.npy", 64);
    let report = compile(dir.path(), "x.npy");
    is_measured(&report, 16);
    let words = "Output 'map' comes from ZipMap, which cannot be run here: 'scores', which feeds it, was measured";
    assert!(report.notes.iter().any(|n| n.contains(words)), "{:?}", report.notes);
    // What stands in says what is measured: the numbers of classes, and probabilities.
    let metrics: Vec<&str> = report.quality.as_ref().unwrap().outputs.iter().map(|o| o.metric.name()).collect();
    assert_eq!(metrics, ["equal", "top-class"]);
}

#[test]
fn samples_that_the_model_cannot_run_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.initializer.push(tensor("E", &[128, 48], &smooth(128, 48)));
        graph.node.insert(0, node("Gather", "embedding", &["E", "ids"], "x"));
        let ids = &mut graph.input[0];
        ids.name = Some("ids".into());
        dims(ids).truncate(1);
        let Some(pb::type_proto::Value::TensorType(tensor)) = &mut ids.r#type.as_mut().unwrap().value else { panic!() };
        tensor.elem_type = Some(pb::tensor_proto::DataType::Int64 as i32);
    });
    let ids = |most: i64| Array1::from_iter((0..64).map(|k| k * most / 63));
    // Narrower integers lose nothing.
    write_npy(dir.path().join("ids.npy"), &ids(127).mapv(|v| v as u8)).unwrap();
    is_measured(&compile(dir.path(), "ids.npy"), 16);
    std::fs::remove_file(dir.path().join("out.onnx")).unwrap();
    write_npy(dir.path().join("ids.npy"), &ids(199)).unwrap();
    let message = refusal(dir.path(), "ids.npy");
    assert!(
        message.contains("ids.npy: array 'ids' holds 199, but table 'E' of node 'embedding' has 128 rows"),
        "{message}"
    );
}

#[test]
fn a_header_of_many_lines_is_refused_on_one() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    let mut file = b"\x93NUMPY\x02\x00\x00\x08\x00\x00".to_vec();
    file.extend("(\n".repeat(1024).as_bytes());
    std::fs::write(dir.path().join("x.npy"), file).unwrap();
    let message = refusal(dir.path(), "x.npy");
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    assert!(message.contains("x.npy"), "{message}");
}
