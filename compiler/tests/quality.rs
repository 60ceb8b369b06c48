//! The number everything is steered by: a metric for every output, and what held-out samples show.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;

use adntn_compiler::report::{Claim, OutputReport, QualityReport, StopReason};
use adntn_compiler::{CustomMetric, Event, Metric, Observer, Options, Report, compile, compile_staged};
use adntn_onnx::pb;
use common::{graph, node, run, samples, smooth, stderr, tensor, write};

fn report(dir: &Path, more: &[&str]) -> Report {
    let mut args = vec!["in.onnx", "out.onnx", "-c", "x.npy", "--report", "report.json"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn quality(dir: &Path, more: &[&str]) -> QualityReport {
    report(dir, more).quality.unwrap()
}

/// The perceptron with more nodes at its end, whose outputs have the names and element types given.
fn ends_with(dir: &Path, nodes: Vec<pb::NodeProto>, outputs: &[(&str, pb::tensor_proto::DataType)]) {
    write(dir, "in.onnx", |m| {
        let graph = graph(m);
        graph.node.extend(nodes);
        graph.output = outputs
            .iter()
            .map(|&(name, element)| {
                let tensor = pb::type_proto::Tensor { elem_type: Some(element as i32), shape: None };
                let value = Some(pb::type_proto::Value::TensorType(tensor));
                let r#type = Some(pb::TypeProto { value, ..Default::default() });
                pb::ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
            })
            .collect();
    });
}

const FLOAT: pb::tensor_proto::DataType = pb::tensor_proto::DataType::Float;

/// What the perceptron says of `x.npy`.
fn top_classes(dir: &Path) -> Vec<i64> {
    let original = adntn_onnx::Model::open(&dir.join("in.onnx")).unwrap();
    let loaded =
        adntn_fit::runner::Loaded::new(original.apply(&adntn_onnx::Patch::default()).unwrap().to_bytes()).unwrap();
    let reading = adntn_fit::data::Reading::default();
    let data = adntn_fit::data::Dataset::load(&dir.join("x.npy"), loaded.inputs(), &reading).unwrap();
    let outputs = loaded.into_runner(&data).unwrap().outputs(&data).unwrap();
    let top = |row: &[f32]| (0..8).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as i64;
    outputs[0].values.chunks(8).map(top).collect()
}

fn metrics(quality: &QualityReport) -> Vec<Metric> {
    quality.outputs.iter().map(|o| o.metric).collect()
}

#[test]
fn outputs_without_evidence_of_classes_are_held_to_their_error() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 256);
    let quality = quality(dir.path(), &["-t", "10%"]);
    let output: &OutputReport = &quality.outputs[0];
    assert_eq!((output.metric, output.agreement), (Metric::Error, None));
    assert_eq!((output.loss, output.loss), (output.error, Some(quality.loss)));
    assert!(quality.loss <= 0.1 && quality.upper_bound.unwrap() > quality.loss, "{quality:?}");
}

#[test]
fn the_dial_reaches_below_one_percent() {
    let dir = tempfile::tempdir().unwrap();
    // Low rank: cheap to reproduce to float16's precision.
    let wave = |k: usize| ((k / 96) as f32 * 0.3).sin() * ((k % 96) as f32 * 0.2).cos();
    write(dir.path(), "in.onnx", |m| {
        graph(m).initializer[0] = tensor("hidden.weight", &[48, 96], &(0..48 * 96).map(wave).collect::<Vec<_>>());
        graph(m).initializer[1] = tensor("hidden.bias", &[96], &[0.1; 96]);
        graph(m).initializer[2] = tensor("head.weight", &[96, 8], &smooth(96, 8));
    });
    samples(dir.path(), "x.npy", 256);
    let report = report(dir.path(), &[]);
    assert!(report.layers.iter().any(|l| l.replaced), "{report:?}");
    assert_eq!(report.quality.unwrap().claim, Claim::Estimated);
}

#[test]
fn every_output_counts_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = vec![node("Mul", "scale", &["y", "thousand"], "large"), node("Tanh", "small", &["sum"], "small")];
    ends_with(dir.path(), nodes, &[("large", FLOAT), ("small", FLOAT)]);
    let path = dir.path().join("in.onnx");
    let mut model = <pb::ModelProto as prost::Message>::decode(&std::fs::read(&path).unwrap()[..]).unwrap();
    graph(&mut model).initializer.push(tensor("thousand", &[1], &[1000.0]));
    std::fs::write(&path, prost::Message::encode_to_vec(&model)).unwrap();
    samples(dir.path(), "x.npy", 256);
    let quality = quality(dir.path(), &["-t", "20%"]);
    assert_eq!(metrics(&quality), [Metric::Error, Metric::Error]);
    let losses: Vec<f64> = quality.outputs.iter().map(|o| o.loss.unwrap()).collect();
    assert!(quality.loss == losses[0].max(losses[1]) && quality.loss <= 0.2, "{losses:?}");
}

#[test]
fn softmax_is_evidence_and_the_error_is_told_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    ends_with(dir.path(), vec![node("Softmax", "softmax", &["y"], "p")], &[("p", FLOAT)]);
    samples(dir.path(), "x.npy", 512);
    let quality = quality(dir.path(), &["-t", "5%"]);
    let output = &quality.outputs[0];
    assert_eq!(output.metric, Metric::TopClass);
    assert!(output.error.is_some() && output.agreement.unwrap() >= 0.95, "{output:?}");
    assert_eq!(quality.samples, 128);
}

#[test]
fn a_threshold_without_decisions_is_told_and_confidence_is_no_certainty() {
    let dir = tempfile::tempdir().unwrap();
    ends_with(dir.path(), vec![node("Softmax", "softmax", &["y"], "p")], &[("p", FLOAT)]);
    samples(dir.path(), "x.npy", 128);
    let more = ["--threshold", "0.3", "--confidence", "99.99999%"];
    let output = run(dir.path(), &[&["in.onnx", "out.onnx", "-c", "x.npy", "-t", "50%"], &more[..]].concat());
    let text = stderr(&output);
    assert!(text.contains("--threshold changes nothing") && text.contains("99.99999% confidence"), "{text}");
}

#[test]
fn labels_are_judged_by_class_and_told_with_the_agreement() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 512);
    let labels = ndarray::Array1::from_vec(top_classes(dir.path()));
    ndarray_npy::write_npy(dir.path().join("labels.npy"), &labels).unwrap();
    let quality = quality(dir.path(), &["-t", "30%", "--labels", "labels.npy"]);
    assert_eq!(metrics(&quality), [Metric::Accuracy]);
    assert!(quality.accuracy().is_some() && quality.outputs[0].agreement.is_some());
}

#[test]
fn booleans_are_compared_as_such_and_classes_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = vec![node("Greater", "decide", &["y", "zero"], "b")];
    ends_with(dir.path(), nodes, &[("b", pb::tensor_proto::DataType::Bool)]);
    let path = dir.path().join("in.onnx");
    let mut model = <pb::ModelProto as prost::Message>::decode(&std::fs::read(&path).unwrap()[..]).unwrap();
    graph(&mut model).initializer.push(tensor("zero", &[1], &[0.0]));
    std::fs::write(&path, prost::Message::encode_to_vec(&model)).unwrap();
    samples(dir.path(), "x.npy", 256);
    let quality = quality(dir.path(), &["-t", "5%"]);
    assert_eq!(metrics(&quality), [Metric::Equal]);
    assert!(quality.outputs[0].loss.unwrap() <= 0.05 && quality.outputs[0].agreement.is_none());
}

#[test]
fn a_probability_is_judged_by_its_decisions_and_its_error() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |m| {
        graph(m).initializer[2] = tensor("head.weight", &[64, 1], &smooth(64, 1));
        graph(m).node.push(node("Sigmoid", "sigmoid", &["y"], "p"));
        graph(m).output[0].name = Some("p".into());
        graph(m).output[0].r#type = None;
    });
    samples(dir.path(), "x.npy", 512);
    let judged = quality(dir.path(), &["-t", "5%"]);
    let output = &judged.outputs[0];
    assert_eq!(output.metric, Metric::Decisions);
    assert!(output.decisions.unwrap() >= 0.95 && output.error.unwrap() < 0.5 && !output.dead, "{output:?}");
    assert_eq!(metrics(&quality(dir.path(), &["-t", "5%", "--metric", "p=error"])), [Metric::Error]);
}

#[test]
fn few_samples_show_little_and_the_report_says_how_many_would_do() {
    let dir = tempfile::tempdir().unwrap();
    ends_with(dir.path(), vec![node("Softmax", "softmax", &["y"], "p")], &[("p", FLOAT)]);
    samples(dir.path(), "x.npy", 64);
    let few = report(dir.path(), &[]);
    let judged = few.quality.clone().unwrap();
    assert_eq!((judged.claim, judged.samples), (Claim::NotShown, 16));
    // Sixteen samples without a loss leave 17 % possible.
    assert!(judged.loss == 0.0 && (0.15..0.2).contains(&judged.upper_bound.unwrap()), "{judged:?}");
    assert!((299..=310).contains(&judged.samples_needed.unwrap()), "{judged:?}");
    samples(dir.path(), "x.npy", 1000);
    let many = quality(dir.path(), &[]);
    assert_eq!(many.claim, Claim::Shown);
    assert!(many.upper_bound.unwrap() <= 0.01 && many.samples >= 300, "{many:?}");
    // A lower confidence needs fewer.
    samples(dir.path(), "x.npy", 512);
    assert_eq!(quality(dir.path(), &["--confidence", "60%"]).claim, Claim::Shown);
}

#[test]
fn what_was_seen_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 400);
    let report = report(dir.path(), &["--held-out", "x.npy", "-t", "20%"]);
    let judged = report.quality.unwrap();
    assert_eq!((judged.claim, judged.upper_bound), (Claim::NotShown, None));
    assert!(report.notes.iter().any(|n| n.contains("unseen")), "{:?}", report.notes);
}

#[test]
fn metrics_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    for (args, words) in [
        (["--metric", "nowhere=error"], vec!["`nowhere`", "it has: y"]),
        (["--metric", "likeness"], vec!["likeness", "top-class", "cosine"]),
        (["--metric", "accuracy"], vec!["accuracy", "have no labels"]),
        (["--confidence", "100%"], vec!["below 100%"]),
        (["--confidence", "0"], vec!["above 0%"]),
    ] {
        let output = run(dir.path(), &[&["in.onnx", "out.onnx", "-c", "x.npy"], &args[..]].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(words.iter().all(|w| text.contains(w)), "{args:?}: {text}");
        assert!(!dir.path().join("out.onnx").exists());
    }
}

#[test]
fn a_function_of_the_caller_may_judge() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 512);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.calibration = Some(dir.path().join("x.npy"));
    options.tolerance = 0.05;
    // Only signs matter.
    options.metric_function = Some(CustomMetric(Arc::new(|before, after, _| {
        let rows = before[0].values.chunks(8).zip(after[0].values.chunks(8));
        rows.map(|(b, a)| b.iter().zip(a).filter(|(b, a)| b.signum() != a.signum()).count() as f64 / 8.0).collect()
    })));
    let report = compile(&options).unwrap();
    let judged = report.quality.as_ref().unwrap();
    let last = judged.outputs.last().unwrap();
    assert_eq!((last.metric, last.loss), (Metric::Custom, Some(judged.loss)));
    assert!(judged.loss <= 0.05 && report.file_ratio().unwrap() > 1.0, "{judged:?}");
}

/// Ends the compilation after so many trials that were kept.
struct Impatient {
    left: usize,
}

impl Observer for Impatient {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::Trial { accepted: true, .. }) {
            self.left = self.left.saturating_sub(1);
        }
    }

    fn stop(&mut self) -> bool {
        self.left == 0
    }
}

#[test]
fn an_interrupted_search_keeps_the_best_accepted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 256);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.calibration = Some(dir.path().join("x.npy"));
    options.tolerance = 0.2;
    let compiled = compile_staged(&options, &mut Impatient { left: 1 }).unwrap();
    assert!(compiled.is_interrupted());
    let report = compiled.save().unwrap();
    assert_eq!(report.stopped, Some(StopReason::Interrupted));
    assert!(report.layers.iter().any(|l| l.replaced) && report.quality.unwrap().within_tolerance);
    std::fs::remove_file(dir.path().join("out.onnx")).unwrap();
    let early = compile_staged(&options, &mut Impatient { left: 0 }).unwrap_err();
    assert_eq!(early.exit_code(), 130);
    assert!(!dir.path().join("out.onnx").exists());
}

#[test]
fn an_original_that_knows_one_of_the_sets_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 800);
    // What the original says itself are the labels of the calibration samples; a quarter of those of the held-out ones is shifted.
    let right = top_classes(dir.path());
    let wrong: Vec<i64> = right.iter().enumerate().map(|(k, l)| if k % 4 == 0 { (l + 1) % 8 } else { *l }).collect();
    let values: ndarray::Array2<f32> = ndarray_npy::read_npy(dir.path().join("x.npy")).unwrap();
    let half = |name: &str, rows: std::ops::Range<usize>, labels: &[i64]| {
        let part = values.slice(ndarray::s![rows.clone(), ..]).to_owned();
        ndarray_npy::write_npy(dir.path().join(format!("{name}.npy")), &part).unwrap();
        let labels = ndarray::Array1::from_vec(labels[rows].to_vec());
        ndarray_npy::write_npy(dir.path().join(format!("{name}-labels.npy")), &labels).unwrap();
    };
    half("fit", 0..400, &right);
    half("held", 400..800, &wrong);
    let run = |held: &str| {
        let labels = format!("{held}-labels.npy");
        let args = ["in.onnx", "o.onnx", "-c", "fit.npy", "--labels", "fit-labels.npy", "--held-out", "held.npy"];
        let output = run(dir.path(), &[&args[..], &["--held-out-labels", &labels, "-t", "20%"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    assert!(run("held").contains("The original's accuracy is 100.00% on the calibration samples and 75.00%"));
    half("held", 400..800, &right);
    assert!(!run("held").contains("The original's accuracy is"));
}

#[test]
fn labels_that_the_held_out_samples_lack_are_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 128);
    samples(dir.path(), "held.npy", 64);
    let labels = ndarray::Array1::from_vec(top_classes(dir.path()));
    ndarray_npy::write_npy(dir.path().join("labels.npy"), &labels).unwrap();
    let told = |more: &[&str]| {
        let args = ["in.onnx", "o.onnx", "-c", "x.npy", "--labels", "labels.npy", "-t", "50%"];
        stderr(&run(dir.path(), &[&args[..], more].concat()))
    };
    assert!(told(&["--held-out", "held.npy"]).contains("give --held-out-labels"));
    assert!(!told(&[]).contains("--held-out-labels"));
}

#[test]
fn labels_of_one_probability_are_no_classes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |m| {
        let graph = graph(m);
        graph.initializer[2] = tensor("head.weight", &[64, 1], &smooth(64, 1));
        graph.node.push(node("Sigmoid", "sigmoid", &["y"], "p"));
        graph.output = vec![pb::ValueInfoProto { name: Some("p".into()), ..Default::default() }];
    });
    samples(dir.path(), "x.npy", 256);
    let labels = ndarray::Array1::from_iter((0..256i64).map(|k| k % 2));
    ndarray_npy::write_npy(dir.path().join("labels.npy"), &labels).unwrap();
    let report = report(dir.path(), &["-t", "10%", "--labels", "labels.npy"]);
    assert_eq!(metrics(report.quality.as_ref().unwrap()), [Metric::Decisions]);
    assert!(report.notes.iter().any(|n| n.contains("labels change nothing")), "{:?}", report.notes);
}

/// Ends the compilation once a phase of that name was entered.
struct EndsIn {
    phase: &'static str,
    seen: bool,
}

impl Observer for EndsIn {
    fn event(&mut self, event: Event<'_>) {
        self.seen |= matches!(event, Event::Phase(phase) if phase == self.phase);
    }

    fn stop(&mut self) -> bool {
        self.seen
    }
}

#[test]
fn many_samples_train_bolder_choices_and_an_end_there_keeps_the_others() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 2400);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.calibration = Some(dir.path().join("x.npy"));
    options.tolerance = 0.1;
    let report = compile(&options).unwrap();
    let forms: Vec<&str> = report.layers.iter().filter_map(|l| l.form.as_deref()).collect();
    assert!(forms.iter().any(|form| form.ends_with("trained through the network")), "{forms:?}");
    assert_eq!(report.quality.as_ref().unwrap().claim, Claim::Estimated);
    let few = report.output.unwrap().bytes;
    for phase in ["running the frozen part", "training"] {
        let ended = compile_staged(&options, &mut EndsIn { phase, seen: false }).unwrap();
        assert!(ended.is_interrupted(), "{phase}");
        let report = ended.save().unwrap();
        assert!(report.quality.unwrap().within_tolerance && report.layers.iter().any(|l| l.replaced), "{phase}");
        assert!(report.output.unwrap().bytes >= few, "{phase}");
    }
}

#[test]
fn a_size_ends_the_search_with_the_safest_choice_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 800);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.calibration = Some(dir.path().join("x.npy"));
    options.tolerance = 0.2;
    let smallest = compile(&options).unwrap();
    let (input, least) = (smallest.input.bytes, smallest.output.unwrap().bytes);
    options.max_size = Some(input / 2);
    let report = compile(&options).unwrap();
    let bytes = report.output.unwrap().bytes;
    assert!(bytes <= input / 2 && bytes > least, "{least} < {bytes} <= {input} / 2");
    assert_eq!(report.stopped, Some(StopReason::Size));
    let lost = |quality: Option<QualityReport>| quality.unwrap().loss;
    assert!(lost(report.quality) < lost(smallest.quality));

    std::fs::remove_file(&options.output).unwrap();
    options.max_size = Some(least / 2);
    let error = compile(&options).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("the smallest found takes"), "{error}");
    assert!(!options.output.exists());
}

#[test]
fn a_time_that_is_up_leaves_the_model_as_it_is_or_the_best_found() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 800);
    let mut options = Options::new(dir.path().join("in.onnx"), dir.path().join("out.onnx"));
    options.calibration = Some(dir.path().join("x.npy"));
    options.time = Some(std::time::Duration::from_nanos(1));
    let report = compile(&options).unwrap();
    assert_eq!(report.stopped, Some(StopReason::Time));
    assert!(report.output.unwrap().bytes <= report.input.bytes);
    options.time = Some(std::time::Duration::from_secs(3600));
    assert_ne!(compile(&options).unwrap().stopped, Some(StopReason::Time));
    options.time = Some(std::time::Duration::ZERO);
    assert_eq!(compile(&options).unwrap_err().exit_code(), 2);
}
