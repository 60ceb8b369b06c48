//! What a user reads where a model or its samples are of an unusual kind.
#![allow(clippy::unwrap_used)]

mod common;

use common::{classify, graph, run, samples, stderr, write};

#[test]
fn an_end_to_end_fit_says_why_it_is_impossible() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let node = &mut graph(model).node[2];
        node.op_type = Some("FusedThing".into());
        node.domain = Some("com.example".into());
        let domain = adntn_onnx::pb::OperatorSetIdProto { domain: Some("com.example".into()), version: Some(1) };
        model.opset_import.push(domain);
    });
    samples(dir.path(), "x.npy", 64);
    let output = run(dir.path(), &["in.onnx", "out.onnx", "-c", "x.npy", "--fit", "end-to-end"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("FusedThing") && text.contains("could not be run"), "{text}");
    assert!(!text.contains("give --calibration"), "{text}");
}

#[test]
fn the_time_of_a_short_run_has_no_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let text = stderr(&run(dir.path(), &["in.onnx", "out.onnx", "-c", "x.npy", "--layers", "hidden"]));
    assert!(text.contains("Time ") && !text.contains("()"), "{text}");
}

#[test]
fn an_end_to_end_fit_trains_through_what_stands_in_for_outputs() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", classify);
    samples(dir.path(), "x.npy", 256);
    let args =
        ["in.onnx", "out.onnx", "-c", "x.npy", "--fit", "end-to-end", "--ratio", "3", "--epochs", "2", "-t", "100%"];
    let output = run(dir.path(), &[&args[..], &["--report", "report.json"]].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: adntn_compiler::Report =
        serde_json::from_slice(&std::fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report.training.unwrap().layers, ["hidden"], "{text}");
    let metrics: Vec<String> =
        report.quality.unwrap().outputs.iter().map(|o| format!("{} {}", o.output, o.metric.name())).collect();
    assert_eq!(metrics, ["label equal", "map top-class"], "{text}");
    assert!(text.contains("Output label is left out of the loss: it has no derivative"), "{text}");
}
