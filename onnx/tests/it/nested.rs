//! Bodies in bodies, down to the depth at which the decoder stops.

use std::time::Instant;

use adntn_onnx::{Error, ExternalData, Patch, pb};

use crate::build::{attribute_graph, model, node, open, value};

/// If in If, `depth` times, each branch of `width` nodes that read a value of the outermost graph.
fn nested(depth: usize, width: usize) -> pb::ModelProto {
    let mut body = pb::GraphProto::default();
    for level in (0..depth).rev() {
        let inner = std::mem::take(&mut body);
        let name = |at: usize| format!("v{level}.{at}");
        body.node = (0..width).map(|at| node("Neg", &["x"], &[&name(at)])).collect();
        let mut choice = node("If", &["x"], &[&format!("chosen{level}")]);
        let empty = pb::GraphProto { node: vec![node("Neg", &["x"], &["n"])], ..Default::default() };
        choice.attribute = vec![attribute_graph("then_branch", inner), attribute_graph("else_branch", empty)];
        body.node.push(choice);
    }
    body.input = vec![value("x")];
    body.output = vec![value("chosen0")];
    model(body)
}

#[test]
fn the_deepest_that_is_decoded_is_read_edited_and_written() {
    let deepest = (1..60).rev().find(|&depth| open(&nested(depth, 1)).is_ok()).unwrap();
    assert!((30..40).contains(&deepest), "{deepest}");
    assert!(matches!(open(&nested(deepest + 1, 1)).unwrap_err(), Error::TooDeep { .. }));
    // On a stack that is smaller than any thread's.
    let run = move || {
        let folder = tempfile::tempdir().unwrap();
        let deep = open(&nested(deepest, 1)).unwrap();
        assert!(deep.index().is_captured("x"));
        let edited = deep.apply(&Patch { add_outputs: vec![value("x")], ..Patch::default() }).unwrap();
        edited.model().unwrap();
        edited.write(&folder.path().join("out.onnx"), ExternalData::Always).unwrap();
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_level_more_takes_no_multiple_of_the_time() {
    let seconds = |depth| {
        let model = nested(depth, 2000 / depth);
        let start = Instant::now();
        open(&model).unwrap();
        start.elapsed().as_secs_f64()
    };
    let (flat, deep) = (seconds(1), seconds(30));
    assert!(deep < 40.0 * flat + 0.5, "{flat} s for one level, {deep} s for thirty");
}

#[test]
fn types_in_types_end_in_an_error() {
    use pb::type_proto::{Sequence, Value};
    let mut inner = pb::TypeProto::default();
    for _ in 0..200 {
        let sequence = Sequence { elem_type: Some(Box::new(inner)) };
        inner = pb::TypeProto { value: Some(Value::SequenceType(Box::new(sequence))), ..Default::default() };
    }
    let mut deep = nested(1, 1);
    deep.graph.as_mut().unwrap().input[0].r#type = Some(inner);
    assert!(matches!(open(&deep).unwrap_err(), Error::TooDeep { .. }));
}
