//! What must not be measured, overwritten, or left behind: networks that tract computes otherwise, paths of external data,
//! trials and threads that end early.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::Report;
use adntn_onnx::pb;
use common::{graph, node, run, samples, stderr, tensor, write};

/// The files of a folder.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

fn report(dir: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

/// Puts nodes between the samples and the first layer: `before` reads `x` and makes `z`.
fn with(dir: &Path, before: Vec<pb::NodeProto>, constants: Vec<pb::TensorProto>) {
    write(dir, "in.onnx", |m| {
        let graph = graph(m);
        graph.node[0].input[0] = "z".into();
        graph.node.splice(0..0, before);
        graph.initializer.extend(constants);
    });
}

fn int_attribute(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto { name: Some(name.into()), r#type: Some(2), i: Some(value), ..Default::default() }
}

fn ints(name: &str, dims: &[i64], values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(pb::tensor_proto::DataType::Int64 as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

const ARGUMENTS: [&str; 8] =
    ["in.onnx", "out.onnx", "--report", "report.json", "--min-elements", "64", "--tolerance", "20%"];

/// Compiles with samples; the model must be called one that could not be run, for a reason with these words.
fn is_not_measured(dir: &Path, words: &[&str]) {
    samples(dir, "x.npy", 64);
    let output = run(dir, &[&ARGUMENTS[..], &["-c", "x.npy"]].concat());
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(words.iter().all(|word| text.contains(word)) && text.contains("could not be run"), "{words:?}: {text}");
    assert!(text.contains("quality was not measured") && text.contains("weight error"), "{text}");
    assert!(report(dir).quality.is_none());
    // No other way of fitting goes on without.
    let output = run(dir, &["in.onnx", "out2.onnx", "-c", "x.npy", "--fit", "end-to-end", "--min-elements", "64"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn attributes_that_tract_ignores_are_told_and_nothing_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut recurrent = node("RNN", "memory", &["sequence", "w", "r"], "states");
    recurrent.attribute = vec![
        int_attribute("hidden_size", 48),
        pb::AttributeProto {
            name: Some("activations".into()),
            r#type: Some(8),
            strings: vec![b"Relu".to_vec().into()],
            ..Default::default()
        },
    ];
    let mut unsqueezed = node("Unsqueeze", "one", &["x", "first"], "sequence");
    unsqueezed.name = Some("one".into());
    let weight = |name: &str| tensor(name, &[1, 48, 48], &vec![0.01; 48 * 48]);
    with(
        dir,
        vec![unsqueezed, recurrent, node("Reshape", "flat", &["states", "shape"], "z")],
        vec![ints("first", &[1], &[0]), ints("shape", &[2], &[-1, 48]), weight("w"), weight("r")],
    );
    is_not_measured(dir, &["memory", "RNN", "activations"]);
}

#[test]
fn operators_of_other_domains_are_none_of_the_standard() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut own = node("Relu", "own", &["x"], "z");
    own.domain = Some("mine".into());
    write(dir, "in.onnx", |m| {
        m.opset_import.push(pb::OperatorSetIdProto { domain: Some("mine".into()), version: Some(1) });
        graph(m).node[0].input[0] = "z".into();
        graph(m).node.insert(0, own);
    });
    is_not_measured(dir, &["own", "mine.Relu"]);
}

#[test]
fn what_tract_cannot_run_on_some_samples_is_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    // An index below zero, which tract panics at.
    let turned = node("Transpose", "turned", &["x"], "t");
    let gathered = node("GatherND", "gathered", &["t", "rows"], "g");
    let rows: Vec<i64> = (0..48).map(|row| if row == 5 { -1 } else { row }).collect();
    let constants = vec![ints("rows", &[48, 1], &rows)];
    with(dir, vec![turned, gathered, node("Transpose", "back", &["g"], "z")], constants);
    is_not_measured(dir, &["gathered"]);
    // The same by the data: only some of the samples hold it.
    let mut cast = node("Cast", "whole", &["x"], "i");
    cast.attribute = vec![int_attribute("to", 7)];
    let mut one = node("OneHot", "digits", &["i", "depth", "values"], "hot");
    one.attribute = vec![int_attribute("axis", 1)];
    let depth = ints("depth", &[1], &[4]);
    let flat = node("ReduceSum", "sum", &["hot", "axes"], "z0");
    let constants =
        vec![depth, tensor("values", &[2], &[0.0, 1.0]), ints("axes", &[1], &[1]), ints("shape", &[2], &[-1, 48])];
    let shaped = node("Reshape", "flat", &["z0", "shape"], "z1");
    with(dir, vec![cast, one, flat, shaped, node("Add", "both", &["z1", "x"], "z")], constants);
    let mut values = ndarray::Array2::<f32>::from_shape_fn((64, 48), |(row, column)| ((row + column) % 4) as f32);
    values[[50, 7]] = 9.0;
    ndarray_npy::write_npy(dir.join("x.npy"), &values).unwrap();
    let output = run(dir, &[&ARGUMENTS[..], &["-c", "x.npy"]].concat());
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("could not be run") && text.contains("digits"), "{text}");
    assert!(report(dir).quality.is_none());
}

#[test]
fn nothing_else_gets_the_name_of_the_outputs_data() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "in.onnx", |_| {});
    samples(dir, "x.npy", 64);
    let data = "out.onnx.0123456789abcdef.data";
    let before = content(dir);
    for (option, more) in [
        ("--report", &[][..]),
        ("--report", &["--dry-run"]),
        ("--diagram", &[]),
        ("--checkpoint", &["--fit", "end-to-end"]),
        ("--report", &["--external-data"]),
    ] {
        for path in [data.to_owned(), format!("./{data}"), dir.join(data).display().to_string()] {
            let output = run(dir, &[&["in.onnx", "out.onnx", "-c", "x.npy", option, &path], more].concat());
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{option} {path}: {text}");
            assert!(text.contains("the output's external data"), "{option} {path}: {text}");
        }
        assert!(content(dir) == before);
    }
}

#[test]
fn a_name_too_long_for_external_data_is_refused_before_the_search() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "in.onnx", |_| {});
    let output = format!("{}.onnx", "o".repeat(245));
    let refused = run(dir, &["in.onnx", &output, "--external-data"]);
    let text = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.lines().count() == 1 && text.contains("too long"), "{text}");
    assert!(run(dir, &["in.onnx", &output, "--min-elements", "64", "--tolerance", "20%"]).status.success());
}

#[test]
fn layers_that_were_compiled_before_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "in.onnx", |_| {});
    samples(dir, "x.npy", 64);
    let first = run(dir, &[&ARGUMENTS[..], &["-c", "x.npy"]].concat());
    assert!(first.status.success() && !stderr(&first).contains("compiled before"), "{}", stderr(&first));
    for more in [&["-c", "x.npy"][..], &["--dry-run"]] {
        let again = run(dir, &[&["out.onnx", "twice.onnx"], more].concat());
        assert!(
            stderr(&again).contains("compiled before: losses are measured against this file"),
            "{}",
            stderr(&again)
        );
    }
}

#[test]
fn log_lines_in_pipes_have_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "in.onnx", |_| {});
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_adntn-compile"))
        .current_dir(dir)
        .args(["in.onnx", "--dry-run", "-v", "--no-cache"])
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("DEBUG") && !stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
}

#[test]
fn a_repetition_beyond_bounds_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let tiled = vec![node("Tile", "tiled", &["x", "times"], "z")];
    with(dir, tiled, vec![ints("times", &[2], &[1, 1 << 40])]);
    let output = run(dir, &["in.onnx", "--dry-run"]);
    assert!(stderr(&output).contains("makes a value of at least"), "{}", stderr(&output));
}

/// A run that is interrupted while the model is tried in a process of its own ends at once, and writes nothing.
#[cfg(target_os = "linux")]
#[test]
fn an_interruption_during_the_trial_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    // Long chains of wide products take the trial seconds.
    write(dir, "in.onnx", |m| {
        let graph = graph(m);
        graph.initializer.push(tensor("square", &[4096, 4096], &vec![1e-4; 4096 * 4096]));
        graph.initializer.push(tensor("wide", &[48, 4096], &vec![1e-2; 48 * 4096]));
        graph.initializer.push(tensor("narrow", &[4096, 48], &vec![1e-2; 48 * 4096]));
        graph.node[0].input[0] = "z".into();
        let mut chain = vec![node("MatMul", "wide", &["x", "wide"], "c0")];
        chain.extend(
            (0..40)
                .map(|at| node("MatMul", &format!("m{at}"), &[&format!("c{at}"), "square"], &format!("c{}", at + 1))),
        );
        chain.push(node("MatMul", "narrow", &["c40", "narrow"], "z"));
        graph.node.splice(0..0, chain);
    });
    samples(dir, "x.npy", 64);
    let before = content(dir);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_adntn-compile"))
        .current_dir(dir)
        .args(["in.onnx", "out.onnx", "-c", "x.npy", "--no-cache"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let children = || {
        let of = format!("/proc/{0}/task/{0}/children", child.id());
        !std::fs::read_to_string(of).unwrap_or_default().trim().is_empty()
    };
    let begun = std::time::Instant::now();
    while !children() && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(content(dir) == before);
}

/// Where threads or memory are scarce, a run goes on with less, or ends with one sentence; it neither hangs nor panics.
#[cfg(target_os = "linux")]
#[test]
fn little_address_space_neither_hangs_nor_panics() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "in.onnx", |_| {});
    samples(dir, "x.npy", 64);
    let command = env!("CARGO_BIN_EXE_adntn-compile");
    for kib in (30..150).step_by(4).map(|mib| mib << 10) {
        let script =
            format!("ulimit -v {kib}; exec timeout 60 {command} in.onnx out.onnx -c x.npy --tolerance 20% --no-cache");
        let mut shell = std::process::Command::new("sh");
        let output = shell.current_dir(dir).args(["-c", &script]).env("RUST_BACKTRACE", "0").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(124), "{kib} KiB: {text}");
        // Where a thread that has begun finds no room for its signal stack, the standard library ends the process.
        let is_own = text.contains("panicked") && !text.contains("failed to allocate an alternative stack");
        assert!(!is_own, "{kib} KiB: {text}");
        // From here on there is enough for all of it.
        if output.status.success() {
            break;
        }
    }
}
