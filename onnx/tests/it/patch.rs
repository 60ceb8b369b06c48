//! What a patch does, and which ones are refused.

use adntn_onnx::{Error, Model, Patch, Use, pb};
use prost::Message;

use crate::build::{attribute_graph, attribute_tensor, floats, model, node, open, sample, value};

fn sample_model() -> Model {
    open(&sample()).unwrap()
}

fn result(patch: &Patch) -> pb::GraphProto {
    sample_model().apply(patch).unwrap().model().unwrap().graph().clone()
}

fn refused(patch: &Patch) -> Error {
    sample_model().apply(patch).unwrap_err()
}

fn ops(graph: &pb::GraphProto) -> Vec<&str> {
    graph.node.iter().map(pb::NodeProto::op_type).collect()
}

#[test]
fn every_wish_is_carried_out() {
    let patch = Patch {
        remove_nodes: [2].into(),
        remove_initializers: ["b".to_owned()].into(),
        remove_value_info: ["s".to_owned()].into(),
        add_initializers: vec![floats("c", &[9.0])],
        replace_initializers: [("a".to_owned(), floats("a", &[5.0]))].into(),
        insert_nodes: vec![(2, node("Tanh", &["r"], &["t"])), (2, node("Mul", &["t", "c"], &["y"]))],
        rewire: vec![(Use { node: 1, input: 2 }, "c".to_owned())],
        add_outputs: vec![value("t")],
        ..Patch::default()
    };
    let before = sample().graph.unwrap();
    let after = result(&patch);
    assert_eq!(ops(&after), ["Add", "Clip", "Tanh", "Mul", "If"]);
    assert_eq!(after.node[1].input, ["s", "", "c"]);
    assert_eq!((&after.node[0], &after.node[4]), (&before.node[0], &before.node[3]));
    let initializers: Vec<_> = after.initializer.iter().map(pb::TensorProto::name).collect();
    assert_eq!(initializers, ["a", "max", "c"]);
    assert_eq!(after.initializer[0], floats("a", &[5.0]));
    let names = |values: &[pb::ValueInfoProto]| values.iter().map(|value| value.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&after.output), ["y", "chosen", "t"]);
    assert_eq!(names(&after.value_info), ["r"]);
}

#[test]
fn parts_can_be_put_into_a_graph_that_has_none() {
    let empty = model(pb::GraphProto::default());
    let patch = Patch {
        add_initializers: vec![floats("w", &[1.0])],
        insert_nodes: vec![(0, node("Neg", &["w"], &["y"]))],
        add_outputs: vec![value("y")],
        ..Patch::default()
    };
    let edited = open(&empty).unwrap().apply(&patch).unwrap().model().unwrap();
    assert_eq!((edited.graph().node.len(), edited.graph().initializer.len(), edited.graph().output.len()), (1, 1, 1));
}

#[test]
fn a_graph_in_two_pieces_gets_each_part_once() {
    // The format joins fields that come twice.
    let mut bytes = model(pb::GraphProto { name: Some("first".into()), ..Default::default() }).encode_to_vec();
    let second = pb::GraphProto { doc_string: Some("second".into()), ..Default::default() };
    bytes.extend(pb::ModelProto { graph: Some(second), ..Default::default() }.encode_to_vec());
    let patch = Patch { add_initializers: vec![floats("w", &[1.0])], ..Patch::default() };
    let edited = Model::from_bytes(bytes.into(), None).unwrap().apply(&patch).unwrap().model().unwrap();
    assert_eq!((edited.graph().name(), edited.graph().doc_string()), ("first", "second"));
    assert_eq!(edited.graph().initializer, patch.add_initializers);
}

#[test]
fn inputs_that_list_initializers_can_go() {
    let mut old = sample();
    old.ir_version = Some(3);
    old.graph.as_mut().unwrap().input.push(value("b"));
    let patch = Patch {
        remove_inputs: ["b".to_owned()].into(),
        remove_initializers: ["b".to_owned()].into(),
        insert_nodes: vec![(2, node("Neg", &["a"], &["b"]))],
        ..Patch::default()
    };
    open(&old).unwrap().apply(&patch).unwrap().model().unwrap();
    // With the input left, the name would be defined twice.
    let half = Patch { remove_inputs: Default::default(), ..patch };
    assert!(matches!(open(&old).unwrap().apply(&half), Err(Error::Duplicate { .. })));
}

#[test]
fn sparse_initializers_can_go() {
    let mut sparse = sample();
    let graph = sparse.graph.as_mut().unwrap();
    graph.sparse_initializer = vec![crate::build::sparse("sparse", &[4], &[1], &[0])];
    let patch = Patch { remove_initializers: ["sparse".to_owned()].into(), ..Patch::default() };
    let edited = open(&sparse).unwrap().apply(&patch).unwrap();
    assert_eq!(edited.to_bytes(), sample().encode_to_vec());
}

#[test]
fn rewiring_to_the_same_value_changes_nothing() {
    let patch = Patch { rewire: vec![(Use { node: 0, input: 0 }, "x".to_owned())], ..Patch::default() };
    let edited = sample_model().apply(&patch).unwrap();
    assert_eq!(edited.to_bytes(), sample().encode_to_vec());
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let there = |name: &str| [name.to_owned()].into();
    for (patch, what) in [
        (Patch { remove_nodes: [4].into(), ..Patch::default() }, "node 4"),
        (Patch { insert_nodes: vec![(5, node("Neg", &["x"], &["n"]))], ..Patch::default() }, "node 5"),
        (Patch { rewire: vec![(Use { node: 9, input: 0 }, "x".into())], ..Patch::default() }, "node 9"),
        (
            Patch { rewire: vec![(Use { node: 0, input: 2 }, "x".into())], ..Patch::default() },
            "input 2 of node `Add:s`",
        ),
        (Patch { remove_initializers: there("ghost"), ..Patch::default() }, "initializer `ghost`"),
        (Patch { remove_inputs: there("ghost"), ..Patch::default() }, "graph input `ghost`"),
        (Patch { remove_value_info: there("ghost"), ..Patch::default() }, "value_info `ghost`"),
        (
            Patch { replace_initializers: [("ghost".into(), floats("ghost", &[]))].into(), ..Patch::default() },
            "initializer `ghost`",
        ),
    ] {
        let error = refused(&patch);
        assert!(matches!(error, Error::NotThere { .. }) && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn contradictions_are_refused() {
    let rewire = |name: &str| (Use { node: 0, input: 0 }, name.to_owned());
    for (patch, what) in [
        (Patch { rewire: vec![rewire("a"), rewire("b")], ..Patch::default() }, "read two values"),
        (Patch { rewire: vec![rewire("a")], remove_nodes: [0].into(), ..Patch::default() }, "removed and rewired"),
        (
            Patch {
                remove_initializers: ["a".to_owned()].into(),
                replace_initializers: [("a".into(), floats("a", &[]))].into(),
                ..Patch::default()
            },
            "removed and replaced",
        ),
        (Patch { replace_initializers: [("a".into(), floats("z", &[]))].into(), ..Patch::default() }, "called `z`"),
        (Patch { add_outputs: vec![value("y")], ..Patch::default() }, "output twice"),
        (Patch { add_outputs: vec![value("r"), value("r")], ..Patch::default() }, "output twice"),
        (Patch { add_initializers: vec![floats("", &[])], ..Patch::default() }, "without a name"),
    ] {
        let error = refused(&patch);
        assert!(matches!(error, Error::Contradiction { .. }) && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn results_that_are_no_models_are_refused() {
    let insert = |place, node| Patch { insert_nodes: vec![(place, node)], ..Patch::default() };
    assert!(matches!(refused(&insert(0, node("Neg", &["x"], &["s"]))), Error::Duplicate { .. }));
    assert!(matches!(refused(&insert(0, node("Neg", &["ghost"], &["n"]))), Error::Undefined { .. }));
    assert!(matches!(refused(&insert(0, node("Neg", &["r"], &["n"]))), Error::NotSorted { .. }));
    let mut circle = insert(0, node("Neg", &["y"], &["n"]));
    circle.rewire = vec![(Use { node: 0, input: 0 }, "n".into())];
    assert!(matches!(refused(&circle), Error::Cycle { .. }));
    let add = |tensor| Patch { add_initializers: vec![tensor], ..Patch::default() };
    assert!(matches!(refused(&add(floats("a", &[]))), Error::Duplicate { .. }));
    assert!(matches!(refused(&add(floats("r", &[]))), Error::Duplicate { .. }));
    // Read by a node; by a body; by the caller.
    for patch in [
        Patch { remove_initializers: ["b".to_owned()].into(), ..Patch::default() },
        Patch { remove_nodes: [2].into(), ..Patch::default() },
    ] {
        assert!(matches!(refused(&patch), Error::Undefined { .. }));
    }
    let only_in_body = Patch {
        remove_initializers: ["a".to_owned()].into(),
        rewire: vec![(Use { node: 0, input: 1 }, "b".into())],
        ..Patch::default()
    };
    assert!(matches!(refused(&only_in_body), Error::Undefined { value, .. } if value == "a"));
    // A tensor that is not what it says, as an initializer, in an attribute, in a body.
    let bad = pb::TensorProto { dims: vec![7], ..floats("bad", &[1.0]) };
    let constant = |attribute| {
        let mut node = node("Constant", &[], &["n"]);
        node.attribute = vec![attribute];
        insert(0, node)
    };
    let body = pb::GraphProto { initializer: vec![bad.clone()], ..Default::default() };
    for patch in
        [add(bad.clone()), constant(attribute_tensor("value", bad.clone())), constant(attribute_graph("body", body))]
    {
        assert!(matches!(refused(&patch), Error::Tensor { .. }));
    }
}

#[test]
fn a_model_out_of_order_may_stay_so() {
    let unsorted = model(pb::GraphProto {
        node: vec![node("Neg", &["a"], &["y"]), node("Abs", &["x"], &["a"])],
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    });
    let patch = Patch { insert_nodes: vec![(0, node("Neg", &["a"], &["n"]))], ..Patch::default() };
    open(&unsorted).unwrap().apply(&patch).unwrap().model().unwrap();
}

#[test]
fn merged_patches_do_what_both_want() {
    let mut both = Patch { insert_nodes: vec![(1, node("Neg", &["s"], &["n"]))], ..Patch::default() };
    assert!(!both.is_empty() && Patch::default().is_empty());
    both.merge(Patch {
        insert_nodes: vec![(1, node("Abs", &["n"], &["m"]))],
        add_initializers: vec![floats("c", &[1.0])],
        ..Patch::default()
    });
    assert_eq!(ops(&result(&both)), ["Add", "Neg", "Abs", "Clip", "Mul", "If"]);
}

#[test]
fn added_bytes_is_what_the_file_grows_by() {
    let patch = Patch {
        insert_nodes: vec![(0, node("Neg", &["x"], &["n"]))],
        add_initializers: vec![floats("c", &[1.0; 3])],
        ..Patch::default()
    };
    let (before, edited) = (sample().encoded_len() as u64, sample_model().apply(&patch).unwrap());
    assert_eq!(edited.len(), edited.to_bytes().len() as u64);
    // The length of the graph keeps its width of two bytes.
    assert_eq!(edited.len() - before, patch.added_bytes());
}
