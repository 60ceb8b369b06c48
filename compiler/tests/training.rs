//! What end-to-end fits make of outputs and operators without derivative, of checkpoints, and of their settings.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use adntn_compiler::Report;
use adntn_onnx::{Model, pb};
use common::{graph, node, run, samples, smooth, stderr, tensor, write};

const BASE: [&str; 15] = [
    "in.onnx",
    "out.onnx",
    "--fit",
    "end-to-end",
    "--calibration",
    "x.npy",
    "--ratio",
    "3",
    "--epochs",
    "2",
    "--min-elements",
    "1024",
    "--tolerance",
    "100%",
    "--report=report.json",
];

fn trained(dir: &Path, more: &[&str]) -> Report {
    let output = run(dir, &[&BASE[..], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
}

/// A value of an element type with extents; 0 stands for the number of samples.
fn value(name: &str, element: pb::tensor_proto::DataType, dims: &[i64]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |&n: &i64| Dimension {
        value: Some(if n == 0 { Value::DimParam("N".into()) } else { Value::DimValue(n) }),
        ..Default::default()
    };
    let shape = Some(pb::TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = pb::type_proto::Tensor { elem_type: Some(element as i32), shape };
    let kind = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..Default::default() }
}

fn float(name: &str, dims: &[i64]) -> pb::ValueInfoProto {
    value(name, pb::tensor_proto::DataType::Float, dims)
}

fn with(mut node: pb::NodeProto, name: &str, number: i64) -> pb::NodeProto {
    node.attribute.push(pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
        i: Some(number),
        ..Default::default()
    });
    node
}

fn ints(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(pb::tensor_proto::DataType::Int64 as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

#[test]
fn outputs_without_derivative_or_samples_are_left_out_of_the_loss() {
    use pb::tensor_proto::DataType::{Bool, Int64};
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.node.push(with(with(node("ArgMax", "arg", &["y"], "label"), "axis", 1), "keepdims", 0));
        graph.node.push(node("Greater", "decide", &["y", "half"], "decision"));
        graph.node.push(with(node("ReduceMean", "mean", &["y"], "score"), "keepdims", 0));
        graph.node.push(node("Identity", "constant", &["half"], "fixed"));
        graph.initializer.push(tensor("half", &[1], &[0.5]));
        graph.output.insert(0, value("label", Int64, &[0]));
        graph.output.push(value("decision", Bool, &[0, 8]));
        graph.output.push(float("score", &[]));
        graph.output.push(float("fixed", &[1]));
        graph.output.push(float("x", &[0, 48]));
    });
    samples(dir.path(), "x.npy", 64);
    let report = trained(dir.path(), &[]);
    assert!(report.layers.iter().any(|l| l.layer == "hidden" && l.replaced), "{:?}", report.layers);
    for name in ["label", "decision", "score", "fixed", "x"] {
        let told = report.notes.iter().any(|n| n.starts_with(&format!("Output {name} is left out of the loss: ")));
        assert!(told, "{name}: {:?}", report.notes);
    }
    let training = report.training.unwrap();
    assert!(training.best.loss <= training.start.loss, "{training:?}");
}

#[test]
fn a_model_with_no_differentiable_output_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.node.push(node("Greater", "decide", &["y", "half"], "decision"));
        graph.initializer.push(tensor("half", &[1], &[0.0]));
        graph.output = vec![value("decision", pb::tensor_proto::DataType::Bool, &[0, 8])];
    });
    samples(dir.path(), "x.npy", 64);
    let text = refused(dir.path(), &BASE);
    assert!(text.contains("no differentiable output of the model depends on layer hidden"), "{text}");
}

#[test]
fn a_layer_in_front_of_an_operator_without_derivative_stays_dense() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.node[2] = node("Round", "round", &["sum"], "active");
        graph.node[3] = node("MatMul", "second", &["active", "second.weight"], "wide");
        graph.node.push(node("MatMul", "head", &["wide", "head.weight"], "y"));
        graph.initializer.push(tensor("second.weight", &[64, 64], &smooth(64, 64)));
    });
    samples(dir.path(), "x.npy", 64);
    let report = trained(dir.path(), &[]);
    let layer = |name: &str| report.layers.iter().find(|l| l.layer == name).unwrap();
    assert!(layer("second").replaced && !layer("hidden").replaced);
    let reason = layer("hidden").reason.as_ref().unwrap();
    assert!(reason.contains("`round` (Round)") && reason.contains("no derivative"), "{reason}");
    assert!(!report.notes.iter().any(|n| n.contains("no derivative")), "told twice: {:?}", report.notes);
    let (before, after) = (Model::open(&dir.path().join("in.onnx")), Model::open(&dir.path().join("out.onnx")));
    let weight = |model: &Model| {
        let tensor = model.graph().initializer.iter().find(|t| t.name() == "hidden.weight").unwrap();
        model.floats(tensor).unwrap().into_owned()
    };
    assert_eq!(weight(&before.unwrap()), weight(&after.unwrap()));
}

#[test]
fn samples_may_lie_on_another_axis_of_an_output() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.node[3].output = vec!["flat".into()];
        graph.node.push(node("Reshape", "steps", &["flat", "steps.shape"], "steps"));
        let mut turn = node("Transpose", "turn", &["steps"], "y");
        turn.attribute.push(pb::AttributeProto {
            name: Some("perm".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Ints as i32),
            ints: vec![1, 0, 2],
            ..Default::default()
        });
        graph.node.push(turn);
        graph.initializer.push(ints("steps.shape", &[0, 2, 4]));
        graph.output = vec![float("y", &[2, 0, 4])];
    });
    // A prime number of samples, more than one batch of them.
    samples(dir.path(), "x.npy", 131);
    let report = trained(dir.path(), &[]);
    assert!(report.layers.iter().any(|l| l.layer == "hidden" && l.replaced));
    let training = report.training.unwrap();
    assert!(training.best.loss <= training.start.loss && training.best.quality > 0.9, "{training:?}");
}

#[test]
fn masks_made_of_shapes_and_truth_values_do_not_stop_training() {
    use pb::tensor_proto::DataType::Bool;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.node[3].output = vec!["scores".into()];
        // Ones below the diagonal of 8×8, from the extents of a trained value.
        graph.node.push(node("Shape", "extent", &["scores"], "extents"));
        graph.node.push(node("Gather", "take", &["extents", "one"], "width"));
        graph.node.push(node("Concat", "join", &["width", "width"], "square"));
        graph.node[6] = with(graph.node[6].clone(), "axis", 0);
        let mut ones = node("ConstantOfShape", "ones", &["square"], "full");
        ones.attribute.push(pb::AttributeProto {
            name: Some("value".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Tensor as i32),
            t: Some(tensor("", &[1], &[1.0])),
            ..Default::default()
        });
        graph.node.push(ones);
        graph.node.push(with(node("Trilu", "lower", &["full"], "mask"), "upper", 0));
        graph.node.push(node("MatMul", "mix", &["scores", "mask"], "mixed"));
        graph.node.push(node("Where", "choose", &["keep", "mixed", "scores"], "y"));
        graph.initializer.push(ints("one", &[1]));
        graph.input.push(value("keep", Bool, &[0, 8]));
    });
    let x = smooth(64, 48);
    let mut archive = ndarray_npy::NpzWriter::new(std::fs::File::create(dir.path().join("both.npz")).unwrap());
    archive.add_array("x", &ndarray::Array2::from_shape_vec((64, 48), x).unwrap()).unwrap();
    archive.add_array("keep", &ndarray::Array2::from_shape_fn((64, 8), |(r, c)| (r + c) % 3 == 0)).unwrap();
    archive.finish().unwrap();
    let report = trained_on(dir.path(), "both.npz");
    assert!(report.layers.iter().any(|l| l.layer == "hidden" && l.replaced), "{:?}", report.notes);
    assert!(!report.notes.iter().any(|n| n.contains("stays dense")), "{:?}", report.notes);
    assert!(report.training.is_some());
}

fn trained_on(dir: &Path, calibration: &str) -> Report {
    let args: Vec<&str> = BASE.iter().map(|&a| if a == "x.npy" { calibration } else { a }).collect();
    let output = run(dir, &args);
    assert!(output.status.success(), "{} {}", stderr(&output), std::str::from_utf8(&output.stdout).unwrap());
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

#[test]
fn a_bias_that_the_model_does_not_read_may_be_anything() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        let mut gemm = node("Gemm", "hidden", &["x", "hidden.weight", "nothing"], "sum");
        gemm.attribute.push(pb::AttributeProto {
            name: Some("beta".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Float as i32),
            f: Some(0.0),
            ..Default::default()
        });
        graph.node.splice(0..2, [gemm]);
        graph.initializer.push(tensor("nothing", &[64], &[f32::NAN; 64]));
    });
    samples(dir.path(), "x.npy", 64);
    let output = run(dir.path(), &BASE);
    let text = stderr(&output);
    assert!(output.status.success() && !text.contains("diverged"), "{text}");
}

#[test]
fn any_number_of_samples_fits_a_fixed_batch() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        graph.input = vec![float("x", &[8, 48])];
        graph.output = vec![float("y", &[8, 8])];
        // Ties the trained part to the number too.
        graph.node[3].output = vec!["flat".into()];
        graph.node.push(node("Reshape", "fixed", &["flat", "shape"], "y"));
        graph.initializer.push(ints("shape", &[8, 8]));
    });
    for count in [64, 72] {
        samples(dir.path(), "x.npy", count);
        let report = trained(dir.path(), &["--batch", "12"]);
        let training = report.training.unwrap();
        assert_eq!(training.batch, 16, "{count}");
        assert!(report.notes.iter().any(|n| n.contains("16 samples instead of 12")), "{:?}", report.notes);
    }
}

#[test]
fn a_step_of_more_samples_than_there_are_takes_them_all() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 43);
    let training = trained(dir.path(), &["--batch", "4096"]).training.unwrap();
    assert_eq!((training.batch, training.steps), (training.fit_samples, 2));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |model| {
        let graph = graph(model);
        // Large enough that leaves are not worked on piece by piece.
        graph.initializer[0] = tensor("hidden.weight", &[48, 6144], &smooth(48, 6144));
        graph.initializer[1] = tensor("hidden.bias", &[6144], &[0.1; 6144]);
        graph.initializer[2] = tensor("head.weight", &[6144, 8], &smooth(6144, 8));
    });
    samples(dir.path(), "x.npy", 140);
    let mut files = Vec::new();
    for threads in ["1", "2", "3"] {
        let output = Command::new(env!("CARGO_BIN_EXE_adntn-compile"))
            .current_dir(dir.path())
            .args(BASE)
            .args(["--train-rest", "--batch", "70", "--no-cache"])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        files.push(std::fs::read(dir.path().join("out.onnx")).unwrap());
    }
    assert!(files[0] == files[1] && files[0] == files[2]);
}

#[test]
fn checkpoints_are_refused_by_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let kept = ["--checkpoint", "fit.st", "--resume"];
    let report = trained(dir.path(), &kept);
    assert!(report.notes.iter().any(|n| n == "fit.st does not exist: the fit started anew."), "{:?}", report.notes);
    let whole = std::fs::read(dir.path().join("fit.st")).unwrap();
    let args = [&BASE[..], &kept].concat();

    let text = refused(dir.path(), &[&args[..], &["--temperature", "3"]].concat());
    assert!(text.contains("other settings") && text.contains("temperature"), "{text}");
    samples(dir.path(), "x.npy", 68);
    let text = refused(dir.path(), &args);
    assert!(text.contains("other samples"), "{text}");
    samples(dir.path(), "x.npy", 64);
    write(dir.path(), "in.onnx", |model| model.producer_name = Some("another".into()));
    let text = refused(dir.path(), &args);
    assert!(text.contains("another model"), "{text}");
    write(dir.path(), "in.onnx", |_| {});
    for at in [8, 200, whole.len() / 2, whole.len() - 9] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(dir.path().join("fit.st"), &bytes).unwrap();
        assert!(refused(dir.path(), &args).contains("fit.st"), "{at}");
        std::fs::write(dir.path().join("fit.st"), &whole[..at]).unwrap();
        assert!(refused(dir.path(), &args).contains("fit.st"), "{at}");
    }
    std::fs::write(dir.path().join("fit.st"), &whole).unwrap();
    assert_eq!(trained(dir.path(), &kept).training.unwrap().resumed_at, Some(report.training.unwrap().steps));
}

#[cfg(unix)]
#[test]
fn a_checkpoint_is_as_readable_as_any_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    trained(dir.path(), &["--checkpoint", "fit.st"]);
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("fit.st"), mode("x.npy"));
}

#[test]
fn settings_of_training_need_training() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let flags: [&[&str]; 16] = [
        &["--ratio", "4"],
        &["--generator", "hidden=ratio:4"],
        &["--epochs", "2"],
        &["--batch", "8"],
        &["--rate", "0.1"],
        &["--temperature", "1"],
        &["--label-share", "10%"],
        &["--loss", "values"],
        &["--match", "active=1"],
        &["--train-rest"],
        &["--augment-flip"],
        &["--augment-shift", "1"],
        &["--augment-copies", "2"],
        &["--half-cache"],
        &["--checkpoint", "c"],
        &["--checkpoint=c", "--resume"],
    ];
    for flag in flags {
        let text = refused(dir.path(), &[&["in.onnx", "out.onnx", "--calibration", "x.npy"], flag].concat());
        let name = flag[0].split('=').next().unwrap();
        assert!(text.contains(name) && text.contains("--fit end-to-end"), "{flag:?}: {text}");
    }
    assert!(!dir.path().join("out.onnx").exists());
}
