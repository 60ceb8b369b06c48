//! What a user reads where a model or its samples are of an unusual kind.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use adntn_compiler::Report;
use common::{classify, graph, node, push_foreign, run, samples, smooth, stderr, tensor, write};

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

fn report(dir: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

/// Why a layer stays dense; empty where it does not.
fn reason(report: &Report, layer: &str) -> String {
    report.layers.iter().find(|l| l.layer == layer).unwrap().reason.clone().unwrap_or_default()
}

const FITS: [&[&str]; 2] = [&[], &["--fit", "end-to-end", "--ratio", "3", "--epochs", "2"]];

/// Compiles `in.onnx` with a tolerance that everything meets.
fn compile(dir: &Path, fit: &[&str]) -> (Report, String) {
    let args = ["in.onnx", "out.onnx", "-c", "x.npy", "-t", "100%", "--min-elements", "256", "--report", "report.json"];
    let output = run(dir, &[&args[..], fit].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    (report(dir), text)
}

#[test]
fn samples_that_say_nothing_replace_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    for (words, period, size) in [
        ("its inputs are all zero", 1, 0.0),
        ("its inputs are too small", 7, 1e-40),
        ("its inputs are all the same", 48, 0.1),
    ] {
        let x = ndarray::Array2::from_shape_fn((64, 48), |(n, k)| ((n * 48 + k) % period) as f32 * size);
        ndarray_npy::write_npy(dir.path().join("x.npy"), &x).unwrap();
        for fit in FITS {
            let (report, text) = compile(dir.path(), fit);
            assert!(report.layers.iter().all(|l| !l.replaced), "{text}");
            assert!(reason(&report, "hidden").starts_with(&format!("stays dense: {words}")), "{text}");
            assert!(reason(&report, "head").starts_with("stays dense: its inputs are all the same"), "{text}");
            assert!(text.contains("no weight could be replaced") && !text.contains("would do for"), "{text}");
        }
    }
}

#[test]
fn a_layer_behind_a_dead_activation_stays_dense() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.initializer[1] = tensor("hidden.bias", &[64], &[-100.0; 64]);
        graph.initializer.push(tensor("direct.weight", &[48, 8], &smooth(48, 8)));
        graph.node[3] = node("MatMul", "head", &["active", "head.weight"], "nothing");
        graph.node.push(node("MatMul", "direct", &["x", "direct.weight"], "something"));
        graph.node.push(node("Add", "join", &["something", "nothing"], "y"));
    });
    samples(dir.path(), "x.npy", 64);
    for fit in FITS {
        let (report, text) = compile(dir.path(), fit);
        assert!(reason(&report, "head").starts_with("stays dense: its inputs are all zero"), "{text}");
        assert!(reason(&report, "direct").is_empty(), "{text}");
    }
}

#[test]
fn a_model_that_ends_dead_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.initializer[1] = tensor("hidden.bias", &[64], &[-100.0; 64]);
    });
    samples(dir.path(), "x.npy", 64);
    for fit in FITS {
        let (report, text) = compile(dir.path(), fit);
        let words = "stays dense: the calibration samples all give the same outputs";
        assert!(reason(&report, "hidden").starts_with(words), "{text}");
        assert!(reason(&report, "head").starts_with("stays dense: its inputs are all zero"), "{text}");
    }
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
    let report = report(dir.path());
    assert_eq!(report.training.unwrap().layers, ["hidden", "head"], "{text}");
    let metrics: Vec<String> =
        report.quality.unwrap().outputs.iter().map(|o| format!("{} {}", o.output, o.metric.name())).collect();
    assert_eq!(metrics, ["label equal", "map top-class"], "{text}");
    assert!(text.contains("Output label is left out of the loss: it has no derivative"), "{text}");
}

#[test]
fn one_value_may_stand_in_for_several_outputs() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let mut boxes = node("Boxes", "boxes", &["y"], "a");
        boxes.output.push("b".into());
        push_foreign(model, "com.example", boxes);
        let output = |name: &str| adntn_onnx::pb::ValueInfoProto { name: Some(name.into()), ..Default::default() };
        graph(model).output = vec![output("a"), output("b")];
    });
    samples(dir.path(), "x.npy", 64);
    for fit in FITS {
        let (report, text) = compile(dir.path(), fit);
        let outputs: Vec<String> = report.quality.unwrap().outputs.iter().map(|o| o.output.clone()).collect();
        assert_eq!(outputs, ["a", "b"], "{text}");
        assert!(report.layers.iter().any(|l| l.replaced), "{text}");
    }
}

#[test]
fn outputs_are_compared_on_as_many_samples_as_memory_has_room_for() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.initializer[2] = tensor("head.weight", &[64, 4096], &smooth(64, 4096));
        graph.output[0].r#type = None;
    });
    samples(dir.path(), "x.npy", 1600);
    // 16 MiB: 341 samples of 4096 numbers, three times.
    let (report, text) = compile(dir.path(), &["--memory", "1"]);
    let data = report.data.unwrap();
    assert_eq!((data.selection_samples, data.held_out_samples), (341, 341), "{text}");
    assert_eq!(report.quality.unwrap().samples, 341, "{text}");
    assert!(text.contains("raise --memory for more"), "{text}");
}

#[test]
fn an_output_may_be_listed_twice() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let again = graph(model).output[0].clone();
        graph(model).output.push(again);
    });
    samples(dir.path(), "x.npy", 64);
    for fit in FITS {
        let (report, text) = compile(dir.path(), fit);
        assert!(report.layers.iter().any(|l| l.replaced), "{text}");
    }
}
