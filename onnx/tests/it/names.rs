//! Names in a graph: unique, defined, not in circles.

use adntn_onnx::{Error, pb};

use crate::build::{attribute_graph, floats, model, node, open, sparse as build_sparse, value};

fn graph(nodes: Vec<pb::NodeProto>, outputs: &[&str]) -> pb::GraphProto {
    pb::GraphProto {
        node: nodes,
        input: vec![value("x")],
        output: outputs.iter().map(|name| value(name)).collect(),
        initializer: vec![floats("w", &[1.0])],
        ..Default::default()
    }
}

fn error(graph: pb::GraphProto) -> Error {
    open(&model(graph)).unwrap_err()
}

#[test]
fn a_value_is_defined_once() {
    let twice = |first: pb::NodeProto, second| error(graph(vec![first, second], &["y"]));
    let relu = |output: &str| node("Relu", &["x"], &[output]);
    for (error, name) in [
        (twice(relu("y"), relu("y")), "y"),
        (twice(relu("y"), relu("x")), "x"),
        (twice(relu("y"), relu("w")), "w"),
        (twice(relu("y"), node("Split", &["x"], &["p", "p"])), "p"),
    ] {
        assert!(matches!(&error, Error::Duplicate { value, .. } if value == name), "{error}");
    }
    let mut same_initializers = graph(vec![relu("y")], &["y"]);
    same_initializers.initializer.push(floats("w", &[2.0]));
    assert!(matches!(error(same_initializers), Error::Duplicate { .. }));
    let mut same_inputs = graph(vec![relu("y")], &["y"]);
    same_inputs.input.push(value("x"));
    assert!(matches!(error(same_inputs), Error::Duplicate { .. }));
    let mut sparse = graph(vec![relu("y")], &["y"]);
    sparse.sparse_initializer = vec![build_sparse("w", &[4], &[1], &[0])];
    assert!(matches!(error(sparse), Error::Duplicate { .. }));
}

#[test]
fn what_may_repeat_is_no_duplicate() {
    // An initializer that is also an input (IR version 3 wants this), outputs left out, a body that reuses a name.
    let mut body_graph = graph(vec![node("Relu", &["x"], &["y"])], &["y"]);
    body_graph.input.clear();
    let mut choice = node("If", &["x"], &["z"]);
    choice.attribute = vec![attribute_graph("then_branch", body_graph)];
    let mut outer = graph(vec![node("Relu", &["x"], &["y", "", ""]), choice], &["y", "z"]);
    outer.input.push(value("w"));
    let old = pb::ModelProto { ir_version: Some(3), ..model(outer) };
    open(&old).unwrap();
}

#[test]
fn what_is_read_is_defined() {
    let missing = error(graph(vec![node("Add", &["x", "ghost"], &["y"])], &["y"]));
    assert_eq!(missing.to_string(), "node `Add:y` reads value `ghost`, which nothing defines");
    let missing = error(graph(vec![], &["ghost"]));
    assert_eq!(missing.to_string(), "graph output `ghost` reads value `ghost`, which nothing defines");
    let body = pb::GraphProto { node: vec![node("Neg", &["ghost"], &["n"])], ..Default::default() };
    let mut choice = node("If", &["x"], &["y"]);
    choice.attribute = vec![attribute_graph("then_branch", body)];
    assert!(matches!(error(graph(vec![choice], &["y"])), Error::Undefined { value, .. } if value == "ghost"));
}

#[test]
fn sparse_initializers_and_omitted_inputs_are_defined() {
    let mut graph = graph(vec![node("Clip", &["s", "", "w"], &["y"])], &["y"]);
    graph.sparse_initializer = vec![pb::SparseTensorProto {
        values: Some(floats("s", &[1.0])),
        indices: Some(pb::TensorProto { data_type: Some(7), dims: vec![1], int64_data: vec![0], ..Default::default() }),
        dims: vec![4],
    }];
    open(&model(graph)).unwrap();
}

#[test]
fn circles_are_refused() {
    let circle = |nodes| {
        let error = error(graph(nodes, &["y"]));
        let Error::Cycle { node } = error else { panic!("{error}") };
        node
    };
    assert_eq!(circle(vec![node("Add", &["x", "y"], &["y"])]), "node `Add:y`");
    let on_it = circle(vec![
        node("Relu", &["x"], &["p"]),
        // Behind the circle, not on it.
        node("Neg", &["a"], &["y"]),
        node("Add", &["p", "b"], &["a"]),
        node("Abs", &["a"], &["b"]),
    ]);
    assert!(["node `Add:a`", "node `Abs:b`"].contains(&on_it.as_str()), "{on_it}");
    // Through a body that reads what comes of it.
    let body = pb::GraphProto { node: vec![node("Neg", &["y"], &["n"])], ..Default::default() };
    let mut choice = node("If", &["x"], &["z"]);
    choice.attribute = vec![attribute_graph("then_branch", body)];
    circle(vec![choice, node("Neg", &["z"], &["y"])]);
    // Inside a body.
    let body =
        pb::GraphProto { node: vec![node("Neg", &["q"], &["p"]), node("Neg", &["p"], &["q"])], ..Default::default() };
    let mut choice = node("If", &["x"], &["y"]);
    choice.attribute = vec![attribute_graph("then_branch", body)];
    circle(vec![choice]);
}

#[test]
fn nodes_out_of_order_are_read() {
    open(&model(graph(vec![node("Neg", &["a"], &["y"]), node("Abs", &["x"], &["a"])], &["y"]))).unwrap();
}
