//! Models made to hang, to exhaust memory or to crash: bounded in both, and never an exit code that is not 0 or 2.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use adntn_compiler::{Options, Probe, compile};
use adntn_onnx::pb;
use common::{graph, node, run, stderr, tensor, write};

fn ints(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(pb::tensor_proto::DataType::Int64 as i32),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn list(name: &str, values: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        ints: values.to_vec(),
        r#type: Some(pb::attribute_proto::AttributeType::Ints as i32),
        ..Default::default()
    }
}

/// The perceptron with a node `bad` beside it, an output of its own.
fn beside(dir: &Path, op: &str, inputs: &[&str], attributes: &[pb::AttributeProto], constants: &[pb::TensorProto]) {
    write(dir, "bad.onnx", |model| {
        let graph = graph(model);
        let mut bad = node(op, "bad", inputs, "q");
        bad.attribute = attributes.to_vec();
        graph.node.push(bad);
        graph.initializer.extend_from_slice(constants);
        graph.output.push(pb::ValueInfoProto { name: Some("q".into()), ..graph.output[0].clone() });
    });
}

/// Both ways of the command end well and soon, and say that the model was not run, naming `culprit`.
fn not_run(dir: &Path, culprit: &str) {
    for args in [&["bad.onnx", "--dry-run"][..], &["bad.onnx", "out.onnx", "--min-elements", "512"]] {
        let start = Instant::now();
        let output = run(dir, args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {text}");
        assert!(text.contains("cannot be run") || text.contains("could not be run"), "{args:?}: {text}");
        assert!(text.contains(culprit), "{args:?}: {text}");
        assert!(start.elapsed() < Duration::from_secs(60), "{args:?} took {:?}", start.elapsed());
    }
}

#[test]
fn attributes_and_constants_without_bounds_are_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (image, kernel) = (tensor("im", &[1, 1, 4, 4], &[1.0; 16]), tensor("k", &[1, 1, 2, 2], &[1.0; 4]));
    let conv = [image.clone(), kernel];
    let huge = i64::from(i32::MAX);
    for (op, inputs, attributes, constants) in [
        ("Transpose", &["im"][..], &[list("perm", &[0, 1, 1, 2])][..], &[image.clone()][..]),
        ("Transpose", &["im"], &[list("perm", &[0, 1, 2, -1])], std::slice::from_ref(&image)),
        ("Transpose", &["im"], &[list("perm", &[1, 0])], std::slice::from_ref(&image)),
        ("Pad", &["hidden.bias", "p"], &[], &[ints("p", &[1 << 33, 1 << 33])]),
        ("Conv", &["im", "k"], &[list("dilations", &[huge, huge]), list("pads", &[huge; 4])], &conv),
        ("Conv", &["im", "k"], &[list("strides", &[0, 0])], &conv),
        ("Conv", &["im", "k"], &[list("pads", &[1 << 20; 4])], &conv),
        ("Conv", &["im", "k"], &[list("dilations", &[9, 9])], &conv),
        ("MaxPool", &["im"], &[list("kernel_shape", &[5, 5])], std::slice::from_ref(&image)),
        ("MaxPool", &["im"], &[list("kernel_shape", &[0, 1])], std::slice::from_ref(&image)),
        ("ConstantOfShape", &["s"], &[], &[ints("s", &[1 << 20, 1 << 20])]),
        ("ConstantOfShape", &["s"], &[], &[ints("s", &[-1])]),
        ("Expand", &["x", "s"], &[], &[ints("s", &[1 << 40, 1, 48])]),
        ("Tile", &["x", "s"], &[], &[ints("s", &[1 << 30, 1 << 30])]),
        ("Reshape", &["x", "s"], &[], &[ints("s", &[1 << 40, 1 << 40])]),
        ("Reshape", &["x", "s"], &[], &[ints("s", &[-1, -1])]),
        ("Resize", &["im", "", "f"], &[], &[image.clone(), tensor("f", &[4], &[1.0, 1.0, 1e6, 1e6])]),
        ("OneHot", &["i", "d", "v"], &[], &[ints("i", &[0]), ints("d", &[1 << 40]), tensor("v", &[2], &[0.0, 1.0])]),
        ("Range", &["a", "b", "c"], &[], &[ints("a", &[0]), ints("b", &[1 << 40]), ints("c", &[1])]),
        ("Range", &["a", "b", "c"], &[], &[ints("a", &[0]), ints("b", &[9]), ints("c", &[0])]),
        ("TopK", &["x", "k"], &[], &[ints("k", &[1 << 40])]),
        ("TopK", &["x", "k"], &[], &[ints("k", &[49])]),
        ("TopK", &["x", "k"], &[], &[ints("k", &[-1])]),
        (
            "Slice",
            &["x", "a", "b", "c", "s"],
            &[],
            &[ints("a", &[0]), ints("b", &[9]), ints("c", &[1]), ints("s", &[0])],
        ),
    ] {
        beside(dir, op, inputs, attributes, constants);
        not_run(dir, &format!("node `bad` ({op})"));
    }
}

#[test]
fn what_only_a_run_shows_ends_a_process_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "bad.onnx", |model| {
        let graph = graph(model);
        let scalar = |name: &str, value| pb::TensorProto { dims: vec![], ..ints(name, &[value]) };
        graph.initializer.extend([scalar("start", 0), scalar("half", 1 << 39), scalar("step", 1)]);
        graph.node.push(node("Add", "double", &["half", "half"], "limit"));
        graph.node.push(node("Range", "count", &["start", "limit", "step"], "q"));
        graph.output.push(pb::ValueInfoProto { name: Some("q".into()), ..graph.output[0].clone() });
    });
    not_run(dir, "MiB of memory");
    // The same for users of the library, where they ask for it.
    let mut options = Options::new(dir.join("bad.onnx"), dir.join("out.onnx"));
    options.probe = Some(Probe::new(env!("CARGO_BIN_EXE_adntn-compile")).with_seconds(10));
    let report = compile(&options).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("MiB of memory")), "{:?}", report.notes);
}

#[test]
fn an_empty_batch_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "bad.onnx", |model| {
        let Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), .. }) =
            &mut graph(model).input[0].r#type
        else {
            panic!()
        };
        tensor.shape.as_mut().unwrap().dim[0].value = Some(pb::tensor_shape_proto::dimension::Value::DimValue(0));
    });
    not_run(dir.path(), "graph input `x` is empty");
}

#[test]
fn bodies_in_bodies_are_not_run() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "bad.onnx", |model| {
        let leaf = |name: &str| pb::GraphProto {
            node: vec![node("Relu", "", &["y"], name)],
            output: vec![pb::ValueInfoProto { name: Some(name.into()), ..Default::default() }],
            ..Default::default()
        };
        let mut inner = leaf("r");
        for depth in 0..30 {
            let mut choice = node("If", "", &["flag"], &format!("c{depth}"));
            let branch = |name: &str, body| pb::AttributeProto {
                name: Some(name.into()),
                g: Some(body),
                r#type: Some(pb::attribute_proto::AttributeType::Graph as i32),
                ..Default::default()
            };
            choice.attribute = vec![branch("then_branch", inner), branch("else_branch", leaf(&format!("e{depth}")))];
            inner = pb::GraphProto {
                output: vec![pb::ValueInfoProto { name: choice.output.first().cloned(), ..Default::default() }],
                node: vec![choice],
                ..Default::default()
            };
        }
        let graph = graph(model);
        graph.node.extend(inner.node);
        graph.initializer.push(pb::TensorProto {
            name: Some("flag".into()),
            data_type: Some(pb::tensor_proto::DataType::Bool as i32),
            raw_data: Some(vec![1].into()),
            ..Default::default()
        });
    });
    not_run(dir.path(), "(If) has a body inside");
}

#[test]
fn a_thousand_nodes_in_a_row_take_seconds() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "chain.onnx", |model| {
        let graph = graph(model);
        graph.node.pop();
        let name = |at: usize| if at == 1000 { "active_1000".to_owned() } else { format!("active_{at}") };
        graph.node[2].output[0] = name(0);
        graph.node.extend((0..1000).map(|at| node("Relu", "", &[&name(at)], &name(at + 1))));
        graph.node.push(node("MatMul", "head", &[&name(1000), "head.weight"], "y"));
    });
    let start = Instant::now();
    let output = run(dir.path(), &["chain.onnx", "out.onnx"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("could not be run"), "{}", stderr(&output));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[cfg(target_os = "linux")]
#[test]
fn a_dry_run_holds_no_weights() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let side = 4096_i64;
    let bytes = side * side * 4;
    write(dir, "big.onnx", |model| {
        let graph = graph(model);
        graph.node.clear();
        graph.initializer.clear();
        graph.initializer.push(tensor("first", &[48, side], &vec![0.5; 48 * side as usize]));
        graph.node.push(node("MatMul", "in", &["x", "first"], "v0"));
        let entry = |key: &str, value: String| pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        for at in 0..4 {
            let entries = vec![entry("location", "big.data".into()), entry("offset", (at * bytes).to_string())];
            graph.initializer.push(pb::TensorProto {
                name: Some(format!("w{at}")),
                dims: vec![side, side],
                data_type: Some(pb::tensor_proto::DataType::Float as i32),
                data_location: Some(pb::tensor_proto::DataLocation::External as i32),
                external_data: entries,
                ..Default::default()
            });
            let next = if at == 3 { "y".to_owned() } else { format!("v{}", at + 1) };
            graph.node.push(node("MatMul", "", &[&format!("v{at}"), &format!("w{at}")], &next));
        }
    });
    std::fs::File::create(dir.join("big.data")).unwrap().set_len(4 * bytes as u64).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_adntn-compile"))
        .args(["big.onnx", "--dry-run", "--no-cache"])
        .current_dir(dir)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0_u64;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    assert!((1..100 << 10).contains(&peak), "{peak} KiB of anonymous memory");
}
