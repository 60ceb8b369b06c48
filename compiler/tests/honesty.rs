//! Numbers that would flatter: offsets, constants, labels and metrics that say nothing, samples that come twice.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::report::{Bound, Claim, Report};
use adntn_compiler::{Metric, Options, compile};
use adntn_onnx::pb::{self, tensor_proto::DataType};
use common::{graph, node, run, samples, smooth, stderr, tensor, write};

fn report(dir: &Path, more: &[&str]) -> Report {
    let mut args = vec!["in.onnx", "out.onnx", "-c", "x.npy", "--report", "report.json"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn refused(dir: &Path, more: &[&str]) -> String {
    let output = run(dir, &[&["in.onnx", "out.onnx", "-c", "x.npy"], more].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
}

fn bare(name: &str, element: DataType) -> pb::ValueInfoProto {
    let tensor = pb::type_proto::Tensor { elem_type: Some(element as i32), shape: None };
    let r#type = Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() });
    pb::ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

fn whole(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

/// The perceptron with these nodes and constants behind it, and these outputs.
fn ends_with(dir: &Path, nodes: Vec<pb::NodeProto>, constants: Vec<pb::TensorProto>, outputs: &[(&str, DataType)]) {
    write(dir, "in.onnx", |model| {
        let graph = graph(model);
        graph.node.extend(nodes);
        graph.initializer.extend(constants);
        graph.output = outputs.iter().map(|&(name, element)| bare(name, element)).collect();
    });
}

/// A node with an attribute of a whole number.
fn with(mut node: pb::NodeProto, name: &str, value: i64) -> pb::NodeProto {
    node.attribute.push(whole(name, value));
    node
}

/// The first output of a model on the samples of a file, as exactly as it is.
fn doubles(dir: &Path, model: &str, file: &str) -> Vec<f64> {
    let model = adntn_onnx::Model::open(&dir.join(model)).unwrap();
    let bytes = model.apply(&adntn_onnx::Patch::default()).unwrap().to_bytes();
    let loaded = adntn_fit::runner::Loaded::new(bytes).unwrap();
    let reading = adntn_fit::data::Reading::default();
    let data = adntn_fit::data::Dataset::load(&dir.join(file), loaded.inputs(), &reading).unwrap();
    let output = loaded.into_runner(&data).unwrap().outputs(&data).unwrap().remove(0);
    (0..output.values.len()).map(|k| output.value(k)).collect()
}

fn label(dir: &Path, name: &str, labels: impl Iterator<Item = i64>) {
    ndarray_npy::write_npy(dir.join(name), &ndarray::Array1::from_iter(labels)).unwrap();
}

/// What the perceptron says of the samples of a file.
fn classes(dir: &Path, file: &str) -> Vec<i64> {
    let top = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as i64;
    doubles(dir, "in.onnx", file).chunks(8).map(top).collect()
}

#[test]
fn offsets_in_single_and_double_precision_hide_no_error() {
    for (element, offset) in [(DataType::Float, 101_325.0), (DataType::Double, 1e6)] {
        let dir = tempfile::tempdir().unwrap();
        let constant = match element {
            DataType::Float => tensor("offset", &[1], &[offset as f32]),
            _ => pb::TensorProto {
                name: Some("offset".into()),
                dims: vec![1],
                data_type: Some(element as i32),
                raw_data: Some(f64::to_le_bytes(offset).to_vec().into()),
                ..Default::default()
            },
        };
        let cast = with(node("Cast", "cast", &["y"], "wide"), "to", element as i64);
        let nodes = vec![cast, node("Add", "add", &["wide", "offset"], "pressure")];
        ends_with(dir.path(), nodes, vec![constant], &[("pressure", element)]);
        samples(dir.path(), "x.npy", 256);
        samples(dir.path(), "fresh.npy", 200);
        let report = report(dir.path(), &["-t", "5%"]);
        let quality = report.quality.as_ref().unwrap();
        let (before, after) =
            (doubles(dir.path(), "in.onnx", "fresh.npy"), doubles(dir.path(), "out.onnx", "fresh.npy"));
        let (mut error, mut signal) = (0.0, 0.0);
        for channel in 0..8 {
            let of = |values: &[f64]| values.iter().skip(channel).step_by(8).copied().collect::<Vec<f64>>();
            let (before, after) = (of(&before), of(&after));
            let mean = before.iter().sum::<f64>() / before.len() as f64;
            error += before.iter().zip(&after).map(|(b, a)| (a - b).powi(2)).sum::<f64>();
            signal += before.iter().map(|b| (b - mean).powi(2)).sum::<f64>();
        }
        let truth = (error / signal).sqrt();
        assert!(truth < 0.1 && quality.loss > truth / 3.0, "{element:?}: {truth} {}", quality.loss);
    }
}

#[test]
fn relative_errors_are_estimated_and_cosines_shown() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 800);
    let error = report(dir.path(), &["-t", "10%"]).quality.unwrap();
    assert_eq!(
        (error.claim, error.bound, error.outputs[0].bound),
        (Claim::Estimated, Some(Bound::Bootstrap), error.bound)
    );
    let output = run(dir.path(), &["in.onnx", "out.onnx", "-c", "x.npy", "-t", "10%"]);
    let text = stderr(&output);
    assert!(text.contains("estimated on") && text.contains("may be missing") && !text.contains("shown with"), "{text}");
    let cosine = report(dir.path(), &["-t", "2%", "--metric", "cosine"]).quality.unwrap();
    assert_eq!((cosine.claim, cosine.bound), (Claim::Shown, Some(Bound::Exact)));
    // As few as these cannot rule out that one in fifty loses everything.
    samples(dir.path(), "x.npy", 200);
    let few = report(dir.path(), &["-t", "2%", "--metric", "cosine"]).quality.unwrap();
    assert_eq!(few.claim, Claim::NotShown);
    assert!(few.within_tolerance && few.upper_bound.unwrap() > 0.02 && few.samples_needed.unwrap() > 140, "{few:?}");
}

#[test]
fn labels_are_checked_whatever_else_the_model_has() {
    let dir = tempfile::tempdir().unwrap();
    ends_with(
        dir.path(),
        vec![node("Softmax", "softmax", &["y"], "p")],
        vec![],
        &[("p", DataType::Float), ("y", DataType::Float)],
    );
    samples(dir.path(), "x.npy", 400);
    for shift in [1, -3] {
        label(dir.path(), "labels.npy", (0..400).map(|k| k % 8 + shift));
        let text = refused(dir.path(), &["-t", "20%", "--labels", "labels.npy", "--metric", "y=not-compared"]);
        assert!(text.contains("8 classes, numbered from 0 to 7"), "{text}");
    }
}

#[test]
fn labels_that_the_original_does_not_know_license_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 600);
    let right = classes(dir.path(), "x.npy");
    label(dir.path(), "shifted.npy", right.iter().map(|class| (class + 1) % 8));
    let shifted = report(dir.path(), &["-t", "10%", "--labels", "shifted.npy"]);
    let quality = shifted.quality.unwrap();
    assert_eq!(quality.outputs[0].metric, Metric::TopClass);
    assert!(
        quality.outputs[0].agreement.unwrap() >= 0.9 && quality.outputs[0].accuracy_before.is_some(),
        "{quality:?}"
    );
    assert!(shifted.notes.iter().any(|n| n.contains("the labels say nothing of it")), "{:?}", shifted.notes);
    label(dir.path(), "right.npy", right.into_iter());
    let known = report(dir.path(), &["-t", "10%", "--labels", "right.npy"]);
    assert_eq!(known.quality.unwrap().outputs[0].metric, Metric::Accuracy);
    assert!(!known.notes.iter().any(|n| n.contains("say nothing")), "{:?}", known.notes);
    // Nor do they teach anything.
    let share = |labels| {
        let args = ["-t", "90%", "--fit", "end-to-end", "--ratio", "3", "--epochs", "1", "--min-elements", "1024"];
        report(dir.path(), &[&args[..], &["--labels", labels]].concat()).training.unwrap().label_share
    };
    assert_eq!(share("shifted.npy"), 0.0);
    assert!(share("right.npy") > 0.0);
}

#[test]
fn classes_lie_where_the_numbers_add_up() {
    let dir = tempfile::tempdir().unwrap();
    samples(dir.path(), "x.npy", 300);
    let softmax = |then: pb::NodeProto| {
        let softmax = with(node("Softmax", "softmax", &["sets"], "p"), "axis", 2);
        vec![node("Reshape", "sets", &["y", "shape"], "sets"), softmax, then]
    };
    let constants = || vec![integers("shape", &[-1, 4, 2]), integers("one", &[1])];
    // Four sets of two classes in one row are no eight classes.
    ends_with(dir.path(), softmax(node("Flatten", "flat", &["p"], "q")), constants(), &[("q", DataType::Float)]);
    assert_eq!(report(dir.path(), &["-t", "20%"]).quality.unwrap().outputs[0].metric, Metric::Error);
    ends_with(
        dir.path(),
        softmax(node("Unsqueeze", "wrap", &["p", "one"], "q")),
        constants(),
        &[("q", DataType::Float)],
    );
    let output = report(dir.path(), &["-t", "20%"]).quality.unwrap().outputs.remove(0);
    let (before, after) = (doubles(dir.path(), "in.onnx", "x.npy"), doubles(dir.path(), "out.onnx", "x.npy"));
    let same = before.chunks(2).zip(after.chunks(2)).filter(|(b, a)| (b[0] >= b[1]) == (a[0] >= a[1])).count();
    let kept = same as f64 / (before.len() / 2) as f64;
    assert_eq!(output.metric, Metric::Positions);
    assert!((output.agreement.unwrap() - kept).abs() < 0.1, "{output:?} {kept}");
}

#[test]
fn equal_samples_count_once() {
    let dir = tempfile::tempdir().unwrap();
    ends_with(dir.path(), vec![node("Softmax", "softmax", &["y"], "p")], vec![], &[("p", DataType::Float)]);
    samples(dir.path(), "x.npy", 400);
    samples(dir.path(), "two.npy", 402);
    let rows: ndarray::Array2<f32> = ndarray_npy::read_npy(dir.path().join("two.npy")).unwrap();
    let two = ndarray::Array2::from_shape_fn((600, 48), |(k, c)| rows[[400 + k % 2, c]]);
    ndarray_npy::write_npy(dir.path().join("two.npy"), &two).unwrap();
    let held = report(dir.path(), &["-t", "5%", "--held-out", "two.npy"]);
    let quality = held.quality.unwrap();
    assert_eq!((quality.samples, quality.claim), (2, Claim::NotShown));
    assert!(held.notes.iter().any(|n| n.starts_with("598 held-out samples are equal to others")), "{:?}", held.notes);
    // Sixty different samples, each twenty times.
    let many = ndarray::Array2::from_shape_fn((1200, 48), |(k, c)| rows[[k / 20, c]]);
    ndarray_npy::write_npy(dir.path().join("x.npy"), &many).unwrap();
    let split = report(dir.path(), &["-t", "5%"]);
    let (data, quality) = (split.data.unwrap(), split.quality.unwrap());
    assert!(data.held_out_samples <= 30 && data.fit_samples % 20 == 0 && quality.claim == Claim::NotShown, "{data:?}");
    assert!(split.notes.iter().any(|n| n.starts_with("1140 calibration samples")), "{:?}", split.notes);
}

#[test]
fn a_metric_that_says_nothing_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.initializer[2] = tensor("head.weight", &[64, 1], &smooth(64, 1));
        graph.node.push(node("Sigmoid", "sigmoid", &["y"], "p"));
        graph.output = vec![bare("p", DataType::Float)];
    });
    samples(dir.path(), "x.npy", 800);
    let beyond = report(dir.path(), &["-t", "2%", "--threshold", "2"]);
    let quality = beyond.quality.unwrap();
    assert!(quality.claim == Claim::NotShown && quality.outputs[0].says_nothing, "{quality:?}");
    assert!(quality.upper_bound.is_none() && quality.outputs[0].upper_bound.is_none());
    assert!(beyond.notes.iter().any(|n| n.contains("it says nothing here")), "{:?}", beyond.notes);
    let text = refused(dir.path(), &["--metric", "cosine"]);
    assert!(text.contains("`p`") && text.contains("no direction"), "{text}");
}

#[test]
fn what_is_made_of_an_output_by_more_than_form_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let best = with(with(node("ArgMax", "best", &["y"], "best"), "axis", 1), "keepdims", 0);
    let mut unique = node("Unique", "unique", &["best"], "different");
    unique.output.extend(["first".into(), "which".into()]);
    ends_with(dir.path(), vec![best, unique], vec![], &[("best", DataType::Int64), ("which", DataType::Int64)]);
    samples(dir.path(), "x.npy", 300);
    let report = report(dir.path(), &["-t", "20%"]);
    let metrics: Vec<Metric> = report.quality.unwrap().outputs.iter().map(|o| o.metric).collect();
    assert_eq!(metrics, [Metric::Equal, Metric::NotCompared]);
    assert!(report.notes.iter().any(|n| n.contains("`which` (Unique cannot be run here)")), "{:?}", report.notes);
}

#[test]
fn one_sample_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 1);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.calibration = Some(dir.path().join("x.npy"));
    let text = compile(&options).unwrap_err().to_string();
    assert!(text.contains("1 sample is too few"), "{text}");
}
