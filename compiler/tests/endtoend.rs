//! End-to-end fits through the command, as a user runs them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::{Ended, Metric, Report};
use common::{fixture, root, run, samples, stderr, write};

fn compile(dir: &Path, model: &Path, more: &[&str]) -> Report {
    let mut args = vec![model.to_str().unwrap(), "out.onnx", "--report", "report.json", "--fit", "end-to-end"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(!dir.join("out.onnx").exists());
    stderr(&output)
}

#[test]
fn digits_are_distilled_into_a_generator() {
    let dir = tempfile::tempdir().unwrap();
    let (calibration, held_out) = (fixture("mnist-calibration.npz"), fixture("mnist-held-out.npz"));
    let report = compile(
        dir.path(),
        &fixture("fc2-mnist.onnx"),
        &[
            "--calibration",
            calibration.to_str().unwrap(),
            "--held-out",
            held_out.to_str().unwrap(),
            "--ratio",
            "70",
            "--epochs",
            "20",
            "--tolerance",
            "10%",
        ],
    );
    let training = report.training.as_ref().unwrap();
    assert_eq!((training.fit_samples, training.selection_samples), (192, 64));
    // 64 samples to select on soon cannot tell one pass from the next.
    assert!(training.epochs == 20 || training.ended == Ended::NoImprovement, "{training:?}");
    assert!(training.best.loss < training.start.loss);
    let layer = report.layers.iter().find(|l| l.replaced).unwrap();
    assert!(layer.ratio >= 70.0, "{}", layer.ratio);
    let quality = report.quality.as_ref().unwrap();
    assert_eq!(quality.outputs[0].metric, Metric::Accuracy);
    assert!(quality.outputs[0].agreement.is_some(), "{quality:?}");
    // 192 digits teach little, but much more than chance, which is 10 %.
    assert!(quality.accuracy().unwrap().1 > 0.5, "{quality:?}");
    let size = std::fs::metadata(dir.path().join("out.onnx")).unwrap().len();
    assert_eq!(report.output.as_ref().unwrap().bytes, size);
    assert!(report.file_ratio().unwrap() > 30.0);
}

#[test]
fn the_same_seed_gives_the_same_file_interrupted_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 256);
    let options =
        ["--calibration", "x.npy", "--ratio", "3", "--epochs", "4", "--min-elements", "1024", "--tolerance", "90%"];
    let one = compile(dir.path(), &model, &options);
    let whole = std::fs::read(dir.path().join("out.onnx")).unwrap();
    compile(dir.path(), &model, &options);
    assert_eq!(whole, std::fs::read(dir.path().join("out.onnx")).unwrap());
    assert!(one.layers.iter().any(|l| l.replaced));
    assert!(one.training.as_ref().unwrap().plain_parameters == 64, "the bias is trained too");

    let kept = [&options[..], &["--checkpoint", "fit.safetensors", "--resume"]].concat();
    assert_eq!(compile(dir.path(), &model, &kept).training.unwrap().resumed_at, None);
    let again = compile(dir.path(), &model, &kept);
    assert_eq!(again.training.as_ref().unwrap().resumed_at, Some(again.training.as_ref().unwrap().steps));
    assert_eq!(whole, std::fs::read(dir.path().join("out.onnx")).unwrap());

    let other = [&kept[..], &["--rate", "0.01"]].concat();
    let mut args = vec!["in.onnx", "other.onnx", "--fit", "end-to-end"];
    args.extend(other);
    let output = run(dir.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("other settings: rate"), "{}", stderr(&output));
    assert!(!dir.path().join("other.onnx").exists());
}

#[test]
fn a_fit_that_began_with_dead_outputs_goes_on_from_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = |name: &str| root().join("onnx-fixtures").join(name);
    let digits = shipped("mnist-calibration.npz").display().to_string();
    let args = ["-c", &digits, "--epochs", "1", "--accept-worse", "--checkpoint", "fit.st", "--resume"];
    let resumed_at = || compile(dir.path(), &shipped("lenet5-mnist.onnx"), &args).training.unwrap().resumed_at;
    assert_eq!(resumed_at(), None);
    assert!(resumed_at().is_some_and(|step| step > 0));
}

#[test]
fn settings_for_single_layers_count_before_those_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let report = compile(
        dir.path(),
        &model,
        &[
            "--calibration",
            "x.npy",
            "--epochs",
            "1",
            "--ratio",
            "2",
            "--generator",
            "hidden=layout:separated,legs:8,bond:2,topology:attn",
            "--tolerance",
            "100%",
        ],
    );
    let generator = report.layers.iter().find_map(|l| l.generator.as_ref()).unwrap();
    assert_eq!((generator.topology.as_str(), generator.layout.as_str(), generator.bond), ("attn", "separated", 2));
    assert_eq!(generator.output_legs.len() + generator.input_legs.len(), 8);
}

#[test]
fn what_cannot_be_trained_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let base = ["in.onnx", "out.onnx", "--fit", "end-to-end"];
    let text = refused(dir.path(), &base);
    assert!(text.contains("--calibration"), "{text}");
    let text =
        refused(dir.path(), &[&base[..], &["--calibration", "x.npy", "--ratio", "2", "--match", "nothing=1"]].concat());
    assert!(text.contains("nothing"), "{text}");
    let text = refused(dir.path(), &[&base[..], &["--calibration", "x.npy", "--generator", "fc1=color:red"]].concat());
    assert!(text.contains("color"), "{text}");
    let text = refused(dir.path(), &[&base[..], &["--resume"]].concat());
    assert!(text.contains("--checkpoint"), "{text}");
    let text = refused(dir.path(), &[&base[..], &["--calibration", "x.npy", "--ratio", "0"]].concat());
    assert!(text.contains("1 or more"), "{text}");
}

#[test]
fn held_out_samples_that_were_trained_on_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let report = compile(
        dir.path(),
        &model,
        &["--calibration", "x.npy", "--held-out", "x.npy", "--epochs", "1", "--ratio", "3", "--tolerance", "100%"],
    );
    assert!(report.notes.iter().any(|n| n.starts_with("64 of 64 held-out samples")), "{:?}", report.notes);
}
