//! Bad input: one clear sentence, exit code 2, nothing written, no panic.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use adntn_onnx::pb;
use common::{graph, node, refused, samples, snapshot, tensor, write};
use ndarray::Array2;
use prost::Message as _;

fn external(model: &mut pb::ModelProto, entries: &[(&str, &str)]) {
    let weight = &mut graph(model).initializer[0];
    weight.raw_data = None;
    weight.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
    weight.external_data = entries
        .iter()
        .map(|(k, v)| pb::StringStringEntryProto { key: Some((*k).into()), value: Some((*v).into()) })
        .collect();
}

#[test]
fn broken_models_are_refused_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("folder.onnx")).unwrap();
    std::fs::write(dir.join("empty.onnx"), []).unwrap();
    std::fs::write(dir.join("text.onnx"), "this is not a model\n").unwrap();
    let whole = common::perceptron().encode_to_vec();
    std::fs::write(dir.join("truncated.onnx"), &whole[..whole.len() / 2]).unwrap();
    write(dir, "dtype.onnx", |m| graph(m).initializer[0].data_type = Some(999));
    write(dir, "negative.onnx", |m| graph(m).initializer[0].dims = vec![-48, 64]);
    write(dir, "overflow.onnx", |m| graph(m).initializer[0].dims = vec![i64::MAX, 64]);
    write(dir, "length.onnx", |m| graph(m).initializer[0].dims = vec![48, 63]);
    write(dir, "missing-data.onnx", |m| external(m, &[("location", "nowhere.bin")]));
    write(dir, "parent-data.onnx", |m| external(m, &[("location", "../secret.bin")]));
    write(dir, "absolute-data.onnx", |m| external(m, &[("location", "/etc/passwd")]));
    std::fs::write(dir.join("short.bin"), [0; 16]).unwrap();
    write(dir, "short-data.onnx", |m| external(m, &[("location", "short.bin"), ("offset", "8")]));
    write(dir, "cycle.onnx", |m| graph(m).node[0].input[0] = "active".into());
    write(dir, "undefined.onnx", |m| graph(m).node[2].input[0] = "nothing".into());
    write(dir, "twice.onnx", |m| graph(m).node[2].output[0] = "sum".into());
    write(dir, "no-graph.onnx", |m| m.graph = None);
    write(dir, "nan.onnx", |m| {
        let mut values = common::smooth(48, 64);
        values[100] = f32::NAN;
        graph(m).initializer[0] = tensor("hidden.weight", &[48, 64], &values);
    });
    let mut messages = String::new();
    for name in [
        "absent",
        "folder",
        "empty",
        "text",
        "truncated",
        "dtype",
        "negative",
        "overflow",
        "length",
        "missing-data",
        "parent-data",
        "absolute-data",
        "short-data",
        "cycle",
        "undefined",
        "twice",
        "no-graph",
        "nan",
    ] {
        let message = refused(dir, &[&format!("{name}.onnx"), "out.onnx"]);
        assert_eq!(message.lines().count(), 1, "{name}: {message}");
        assert!(message.contains(&format!("{name}.onnx")), "{name}: the file is not named: {message}");
        messages += &format!("{name:14} {message}\n");
    }
    snapshot("refused-models", &messages);
}

#[test]
fn paths_and_settings_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    std::fs::write(dir.join("file"), []).unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    samples(dir, "x.npy", 3);
    let mut messages = String::new();
    for args in [
        &["in.onnx", "in.onnx"][..],
        &["in.onnx", "./folder/../in.onnx"],
        &["in.onnx", "folder"],
        &["in.onnx", "nowhere/out.onnx"],
        &["in.onnx", "file/out.onnx"],
        &["in.onnx", "out.onnx", "--layout", "o8 i4 o8 i8"],
        &["in.onnx", "out.onnx", "--layout", "o8 i8 o8 i12"],
        &["in.onnx", "out.onnx", "--layout", "o8 i8 o8 i6", "--min-elements", "64"],
        &["in.onnx", "--dry-run", "--layout", "o80 i8 o8 i6", "--min-elements", "64"],
        &["in.onnx", "out.onnx", "--layout", "o8 i8 o8 i6", "--kernel-legs", "last"],
        &["in.onnx", "out.onnx", "--report", "nowhere/report.json"],
        &["in.onnx", "out.onnx", "--report", "in.onnx"],
        &["in.onnx", "out.onnx", "--held-out", "x.npy"],
        &["in.onnx", "out.onnx", "--calibration", "x.npy"],
    ] {
        let message = refused(dir, args);
        assert_eq!(message.lines().count(), 1, "{message}");
        messages += &format!("{}\n    {message}\n", args.join(" "));
    }
    snapshot("refused-settings", &messages);
    // What clap itself refuses names the option.
    for (option, value) in [
        ("--bond", "0"),
        ("--tolerance", "150%"),
        ("--tolerance", "nan"),
        ("--activation", "sine"),
        ("--layout", "diagonal"),
        ("--layout", "o8 i8"),
        ("--layout", "o8 i8 x8 i8"),
        ("--layout", "o8 i8@1 o8 i6@1"),
        ("--topology", "peps"),
        ("--kernel-legs", "middle"),
        ("--layers", "("),
        ("--seed", "-1"),
    ] {
        let message = refused(dir, &["in.onnx", "out.onnx", &format!("{option}={value}")]);
        assert!(message.contains(option) && message.contains(value), "{message}");
    }
    assert!(refused(dir, &["in.onnx"]).contains("OUT.onnx"));
}

#[test]
fn calibration_that_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    ndarray_npy::write_npy(dir.join("shape.npy"), &Array2::<f32>::zeros((8, 47))).unwrap();
    ndarray_npy::write_npy(dir.join("integers.npy"), &Array2::<i64>::zeros((8, 48))).unwrap();
    ndarray_npy::write_npy(dir.join("nan.npy"), &Array2::<f32>::from_elem((8, 48), f32::NAN)).unwrap();
    let mut file = ndarray_npy::NpzWriter::new(std::fs::File::create(dir.join("name.npz")).unwrap());
    file.add_array("image", &Array2::<f32>::zeros((8, 48))).unwrap();
    file.finish().unwrap();
    std::fs::write(dir.join("text.npz"), "zip?").unwrap();
    std::fs::create_dir(dir.join("empty-folder")).unwrap();
    let mut messages = String::new();
    for name in
        ["absent.npz", "shape.npy", "integers.npy", "nan.npy", "name.npz", "text.npz", "empty-folder", "in.onnx"]
    {
        let message = refused(dir, &["in.onnx", "out.onnx", "--calibration", name]);
        assert_eq!(message.lines().count(), 1, "{message}");
        messages += &format!("{message}\n");
    }
    snapshot("refused-calibration", &messages);
}

#[test]
fn a_model_cut_at_any_field_is_refused_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut model = common::perceptron();
    // Small, so that a cut at every byte is affordable; a dry run reads all of it.
    let graph = graph(&mut model);
    graph.initializer = vec![tensor("w", &[2, 2], &[1.0; 4])];
    graph.node = vec![node("MatMul", "m", &["x", "w"], "y")];
    let whole = model.encode_to_vec();
    let path = dir.join("cut.onnx");
    for end in (0..whole.len()).step_by(3) {
        std::fs::write(&path, &whole[..end]).unwrap();
        let text = refused(dir, &["cut.onnx", "--dry-run"]);
        assert_eq!(text.lines().count(), 1, "cut at {end}: {text}");
    }
}
