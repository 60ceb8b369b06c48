//! What the survey says of weights that are computed, tables, products without a weight, and initializers nothing reads; and
//! that the names a rewrite gives are new and short.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../examples/tiny/build.rs"]
#[allow(dead_code)]
mod build;

use adntn_networks::{Activation, Bonds, Generator, GeneratorSpec, LayoutKind, LegLayout, Topology, start};
use adntn_onnx::{Model, pb};
use adntn_passes::{Candidate, SkipReason, drop_unused, find_candidates, replace_by_generator};
use build::{body, float_tensor, int, ints, model, node, raw_tensor, smooth, value, weight};
use pb::tensor_proto::DataType::{Bool, Float, Int8, Int64};
use prost::Message as _;

const N: i64 = -1;

fn read(model: &pb::ModelProto) -> Model {
    Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
}

/// `x [N,32] → nodes → y [N,48]`.
fn one_output(initializers: Vec<pb::TensorProto>, nodes: Vec<pb::NodeProto>) -> pb::ModelProto {
    model(vec![value("x", Float, &[N, 32])], vec![value("y", Float, &[N, 48])], initializers, nodes)
}

fn matmul(weight: &str) -> pb::NodeProto {
    node("MatMul", "mm", &["x", weight], &["y"], vec![])
}

/// The reasons of a model, a line for each node left alone.
fn reasons(model: &pb::ModelProto) -> Vec<String> {
    let survey = find_candidates(&read(model));
    survey.skipped.iter().map(|s| format!("{} {}: {}", s.op, s.weight, s.reason)).collect()
}

fn generator(model: &Model, candidate: &Candidate, topology: Topology) -> Generator {
    let layout = LegLayout::for_matrix(LayoutKind::Interleaved, candidate.outputs, candidate.inputs, 8).unwrap();
    let (outputs, inputs) = (candidate.outputs, candidate.inputs);
    let spec = GeneratorSpec::new(topology, outputs, inputs, layout, Bonds::Uniform(4), Activation::Tanh);
    start::hierarchical_svd(&candidate.weight_matrix(model).unwrap(), &spec, None).unwrap()
}

#[test]
fn axes_that_columns_are_flattened_from_are_found() {
    let axes = |shape: &[i64], nodes: Vec<pb::NodeProto>| {
        let (inputs, outputs) = (vec![value("x", Float, shape)], vec![value("y", Float, &[N, 48])]);
        let constants = vec![weight("w", &[32, 48], 1), float_tensor("mean", &[1], vec![0.5])];
        let survey = find_candidates(&read(&model(inputs, outputs, constants, nodes)));
        survey.candidates[0].input_axes.clone()
    };
    let flat = || node("Flatten", "f", &["x"], &["flat"], vec![]);
    let product = |input: &str| node("MatMul", "mm", &[input, "w"], &["y"], vec![]);
    assert_eq!(axes(&[N, 2, 4, 4], vec![flat(), product("flat")]), [2, 4, 4]);
    // A mean taken off first, wherever it stands, and a layer that reads it from the right.
    let off = node("Sub", "s", &["mean", "flat"], &["z"], vec![]);
    assert_eq!(axes(&[N, 8, 4], vec![flat(), off, product("z")]), [8, 4]);
    // Open extents, other numbers of them, what moves them, and a plain matrix say nothing.
    assert_eq!(axes(&[N, N, 4, 4], vec![flat(), product("flat")]), [0; 0]);
    let pooled = node("GlobalAveragePool", "p", &["x"], &["small"], vec![]);
    let flat_pooled = node("Flatten", "f", &["small"], &["flat"], vec![]);
    assert_eq!(axes(&[N, 32, 4, 4], vec![pooled, flat_pooled, product("flat")]), [0; 0]);
    let moved = node("Transpose", "t", &["x"], &["m"], vec![ints("perm", &[0, 2, 3, 1])]);
    let flat_moved = node("Flatten", "f", &["m"], &["flat"], vec![]);
    assert_eq!(axes(&[N, 2, 4, 4], vec![moved, flat_moved, product("flat")]), [0; 0]);
    assert_eq!(axes(&[N, 32], vec![product("x")]), [0; 0]);
}

#[test]
fn weights_computed_from_constants_are_called_so() {
    let turned = node("Transpose", "t", &["w"], &["v"], vec![ints("perm", &[1, 0])]);
    assert_eq!(
        reasons(&one_output(vec![weight("w", &[48, 32], 1)], vec![turned, matmul("v")])),
        ["MatMul v: weight is computed from constants (Transpose of `w`)"]
    );
    let half = raw_tensor("w", &[32, 48], pb::tensor_proto::DataType::Float16, vec![0; 2 * 32 * 48]);
    let cast = node("Cast", "c", &["w"], &["v"], vec![int("to", Float as i64)]);
    assert_eq!(
        reasons(&one_output(vec![half], vec![cast, matmul("v")])),
        ["MatMul v: weight is computed from constants (Cast of `w`)"]
    );
    let parts = node("Split", "s", &["w"], &["v", "rest"], vec![int("axis", 1)]);
    let ends = node("MatMul", "other", &["x", "rest"], &["z"], vec![]);
    assert_eq!(
        reasons(&one_output(vec![weight("w", &[32, 96], 1)], vec![parts, matmul("v"), ends])),
        [
            "MatMul v: weight is computed from constants (Split of `w`)",
            "MatMul rest: weight is computed from constants (Split of `w`)"
        ]
    );
    // A longer way, with a constant that is no tensor, and an Identity between.
    let shape = raw_tensor("shape", &[2], Int64, [32_i64, 48].iter().flat_map(|d| d.to_le_bytes()).collect());
    let nodes = vec![
        node("Constant", "k", &[], &["flat"], vec![build::floats("value_floats", smooth(32, 48, 1))]),
        node("Reshape", "r", &["flat", "shape"], &["square"], vec![]),
        node("Tanh", "a", &["square"], &["bent"], vec![]),
        node("Identity", "i", &["bent"], &["v"], vec![]),
        matmul("v"),
    ];
    assert_eq!(
        reasons(&one_output(vec![shape], nodes)),
        ["MatMul v: weight is computed from constants (Tanh of `flat` and one node before it)"]
    );
    // What differs from run to run, or reads an input, is no constant: then there is no weight at all.
    let random = node("RandomNormal", "n", &[], &["v"], vec![ints("shape", &[32, 48])]);
    assert!(reasons(&one_output(vec![], vec![random, matmul("v")])).is_empty());
}

#[test]
fn quantised_weights_are_called_so() {
    let integers = raw_tensor("q", &[48, 32], Int8, vec![3; 48 * 32]);
    let nodes = vec![
        node("DequantizeLinear", "dq", &["q", "scale"], &["wide"], vec![]),
        node("Transpose", "t", &["wide"], &["v"], vec![ints("perm", &[1, 0])]),
        matmul("v"),
    ];
    let found = reasons(&one_output(vec![integers, float_tensor("scale", &[], vec![0.1])], nodes));
    assert_eq!(found, ["MatMul v: weight is quantised (DequantizeLinear)"]);
}

#[test]
fn tables_are_weights_and_heads_tied_to_them_are_listed() {
    let tied = model(
        vec![value("ids", Int64, &[N])],
        vec![value("y", Float, &[N, 48])],
        vec![weight("table", &[48, 32], 1), raw_tensor("axes", &[4], Int64, vec![0; 32])],
        vec![
            node("Gather", "embed", &["table", "ids"], &["h"], vec![]),
            node("Transpose", "turn", &["table"], &["head"], vec![ints("perm", &[1, 0])]),
            node("MatMul", "unembed", &["h", "head"], &["y"], vec![]),
        ],
    );
    assert_eq!(
        reasons(&tied),
        ["MatMul head: weight is computed from constants (Transpose of `table`), tied to the table of Gather `embed`"]
    );
    let survey = find_candidates(&read(&tied));
    let [table] = survey.candidates.as_slice() else { panic!("{survey:?}") };
    assert!(table.is_table() && (table.outputs, table.inputs) == (48, 32));
    assert_eq!(table.uses.iter().map(|u| u.node).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn products_of_activations_are_no_weights() {
    let nodes = vec![
        node("Relu", "r", &["x"], &["a"], vec![]),
        node("Transpose", "t", &["a"], &["b"], vec![ints("perm", &[1, 0])]),
        node("MatMul", "scores", &["a", "b"], &["s"], vec![]),
        node("Gemm", "again", &["s", "s"], &["y"], vec![]),
    ];
    assert!(reasons(&one_output(vec![], nodes)).is_empty());
}

#[test]
fn a_compiled_model_holds_no_weights_but_generators() {
    for (ir, opset) in [(8, 17), (3, 7), (3, 9)] {
        for topology in [Topology::Ttn, Topology::Mera] {
            let tensors = vec![weight("fc.weight", &[32, 48], 1)];
            let mut proto = build::versions(one_output(tensors, vec![matmul("fc.weight")]), ir, opset);
            if ir < 4 {
                proto.graph.as_mut().unwrap().input.push(value("fc.weight", Float, &[32, 48]));
            }
            let original = read(&proto);
            let survey = find_candidates(&original);
            let [candidate] = survey.candidates.as_slice() else { panic!("{survey:?}") };
            let patch = replace_by_generator(&original, candidate, &generator(&original, candidate, topology)).unwrap();
            let again = find_candidates(&original.apply(&patch).unwrap().model().unwrap());
            assert!(again.candidates.is_empty(), "{again:?}");
            let [left] = again.skipped.as_slice() else { panic!("{again:?}") };
            assert_eq!((left.node.as_str(), &left.reason), ("mm", &SkipReason::Generator));
        }
    }
}

#[test]
fn what_nothing_reads_is_found() {
    let branch = |name: &str, other: &str| pb::GraphProto {
        name: Some(name.to_owned()),
        node: vec![node("Add", &format!("{name}_add"), &["h", other], &[&format!("{name}_y")], vec![])],
        output: vec![value(&format!("{name}_y"), Float, &[N, 48])],
        ..Default::default()
    };
    let small = |name: &str| float_tensor(name, &[48], vec![1.0; 48]);
    let mut proto = model(
        vec![value("x", Float, &[N, 32]), value("flag", Bool, &[]), value("default", Float, &[48])],
        vec![value("y", Float, &[N, 48]), value("shown", Float, &[48])],
        vec![
            weight("w", &[32, 48], 1),
            small("captured"),
            small("shown"),
            small("default"),
            small("annotation"),
            weight("unused", &[64, 64], 2),
        ],
        vec![
            node("MatMul", "mm", &["x", "w"], &["h"], vec![]),
            node(
                "If",
                "choose",
                &["flag"],
                &["y"],
                vec![body("then_branch", branch("then", "captured")), body("else_branch", branch("else", "h"))],
            ),
        ],
    );
    let graph = proto.graph.as_mut().unwrap();
    graph.quantization_annotation.push(pb::TensorAnnotation {
        tensor_name: Some("w".into()),
        quant_parameter_tensor_names: vec![pb::StringStringEntryProto {
            key: Some("SCALE_TENSOR".into()),
            value: Some("annotation".into()),
        }],
    });
    graph.value_info.push(value("unused", Float, &[64, 64]));
    let found = drop_unused(&read(&proto));
    assert_eq!((found.names.as_slice(), found.bytes), (&["unused".to_owned()][..], 4 * 64 * 64));
    let edited = read(&proto).apply(&found.patch).unwrap().model().unwrap();
    assert!(edited.index().initializer("unused").is_none() && edited.graph().value_info.is_empty());
    assert!(drop_unused(&edited).patch.is_empty());
}

/// Rewrites every candidate and applies all patches at once, which fails where names collide.
fn rewritten(proto: &pb::ModelProto) -> (Vec<String>, Model) {
    let original = read(proto);
    let survey = find_candidates(&original);
    let mut patch = adntn_onnx::Patch::default();
    for candidate in &survey.candidates {
        let topology = [Topology::Mera, Topology::Ttn, Topology::Attn][candidate.id % 3];
        patch.merge(replace_by_generator(&original, candidate, &generator(&original, candidate, topology)).unwrap());
    }
    let names = survey.candidates.iter().map(|c| c.layer.clone()).collect();
    (names, original.apply(&patch).unwrap().model().unwrap())
}

#[test]
fn new_names_collide_with_nothing() {
    let chain = |names: &[&str], extra: Vec<pb::NodeProto>| {
        let mut nodes = extra;
        let mut from = "x".to_owned();
        for (k, name) in names.iter().enumerate() {
            let to = if k + 1 == names.len() { "y".to_owned() } else { format!("h{k}") };
            nodes.push(node("MatMul", "", &[&from, name], &[&to], vec![]));
            from = to;
        }
        let tensors = names.iter().enumerate().map(|(k, name)| weight(name, &[32, 32], k)).collect();
        model(vec![value("x", Float, &[N, 32])], vec![value("y", Float, &[N, 32])], tensors, nodes)
    };
    // Names that cleaning makes alike, and one that is what makes them unique.
    let (names, _) = rewritten(&chain(&["a b", "a_b", "a:b", "a_b_2", "a_b_3.weight"], vec![]));
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), 5, "{names:?}");

    // Values, nodes and inner values of a body that already bear the names, for every topology.
    let inner = pb::GraphProto {
        name: Some("inner".to_owned()),
        node: vec![
            node("Relu", "fc/mera/level1/leg0/MatMul", &["x"], &["fc_2/mera/weight"], vec![]),
            node("Identity", "", &["fc_2/mera/weight"], &["out"], vec![]),
        ],
        output: vec![value("out", Float, &[N, 32])],
        ..Default::default()
    };
    let chosen = vec![
        node(
            "Constant",
            "flag",
            &[],
            &["fc/mera/weight"],
            vec![build::tensor("value", raw_tensor("", &[], Bool, vec![1]))],
        ),
        node(
            "If",
            "",
            &["fc/mera/weight"],
            &["unread"],
            vec![body("then_branch", inner.clone()), body("else_branch", inner)],
        ),
    ];
    let (names, _) = rewritten(&chain(&["fc.weight"], chosen));
    assert_eq!(names, ["fc_3"]);

    // A layer whose name begins like what another layer's rewrite adds.
    rewritten(&chain(&["fc", "fc/mera/weight", "fc/ttn/shape", "fc/attn"], vec![]));
}

#[test]
fn names_are_short_whatever_the_weight_is_called() {
    let long = "b".repeat(3000);
    let names = [format!("{long}.query.weight"), format!("{long}.key.weight"), format!("{long}.key_weight")];
    let nodes = vec![
        node("MatMul", "", &["x", &names[0]], &["h"], vec![]),
        node("MatMul", "", &["h", &names[1]], &["i"], vec![]),
        node("MatMul", "", &["i", &names[2]], &["y"], vec![]),
    ];
    let tensors = names.iter().enumerate().map(|(k, name)| weight(name, &[32, 32], k)).collect();
    let proto = model(vec![value("x", Float, &[N, 32])], vec![value("y", Float, &[N, 32])], tensors, nodes);
    let (layers, edited) = rewritten(&proto);
    assert!(
        layers[0].ends_with(".query") && layers[1].ends_with(".key") && layers[2].ends_with(".key_2"),
        "{layers:?}"
    );
    let longest = edited.graph().node.iter().flat_map(|n| &n.output).map(String::len).max();
    assert!(longest < Some(200), "{longest:?}");
}

#[test]
fn tens_of_thousands_of_nodes_are_surveyed_one_by_one() {
    // Copies of copies, each read by a layer of the same name, the first by a node that is none.
    const COUNT: usize = 20_000;
    let link = |at: usize| if at == 0 { "w".to_owned() } else { format!("w{at}") };
    let chain = |op: &'static str, extra: Vec<pb::NodeProto>| {
        let mut nodes: Vec<pb::NodeProto> = (0..COUNT)
            .flat_map(|at| {
                let copy = node(op, "copy", &[&link(at)], &[&link(at + 1)], vec![]);
                [copy, node("MatMul", "fc", &["x", &link(at + 1)], &[&format!("z{at}")], vec![])]
            })
            .collect();
        nodes.push(matmul("w"));
        nodes.extend(extra);
        find_candidates(&read(&one_output(vec![weight("w", &[32, 48], 1)], nodes)))
    };
    let whole = chain("Identity", vec![]);
    assert_eq!((whole.candidates.len(), whole.candidates[0].uses.len()), (1, COUNT + 1));
    let shown = chain("Identity", vec![node("Relu", "relu", &["w"], &["shown"], vec![])]);
    assert_eq!(shown.skipped.len(), COUNT + 1);
    assert_eq!(shown.skipped[7].reason.to_string(), "weight is also used by Relu `relu`");
    let turned = node("MatMul", "turned", &["w", "x"], &["turned"], vec![]);
    let both = chain("Identity", vec![turned]);
    let reason = both.skipped[0].reason.to_string();
    assert!(reason.ends_with(&format!("and {} more", COUNT - 3)) && reason.len() < 300, "{reason}");
    let computed = chain("Relu", vec![]);
    let reason = computed.skipped.last().unwrap().reason.to_string();
    assert!(reason.starts_with("weight is") && computed.skipped.len() >= COUNT, "{reason}");
    // As many weights, whose names say nothing, in layers of one name.
    let names: Vec<String> = (0..COUNT).map(|at| format!("onnx::MatMul_{at}")).collect();
    let mut nodes: Vec<pb::NodeProto> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        nodes.push(node("MatMul", "fc", &["x", name], &[&format!("z{at}")], vec![]));
    }
    nodes[COUNT - 1].output[0] = "y".into();
    let small = |name: &String| raw_tensor(name, &[1, 1], Float, vec![0; 4]);
    let model = read(&one_output(names.iter().map(small).collect(), nodes));
    let options = adntn_passes::FindOptions { min_elements: 1 };
    let survey = adntn_passes::find_candidates_with(&model, &options);
    assert_eq!(survey.candidates.last().unwrap().layer, format!("fc_{COUNT}"));
}
