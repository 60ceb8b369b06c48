//! Whole models: against other implementations, cut at frontiers, with leaves of all kinds, and refused.

#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use adntn_graph::{Array, Error, Network, Request, frontier};
use adntn_onnx::{Model, pb};
use common::{
    check_gradients, check_gradients_along, difference, floats, initial, model, network, open, reference_output, row,
    run_reference, spread,
};
use prost::Message as _;

fn fixture(name: &str) -> Model {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../onnx-fixtures").join(name);
    Model::open(&path).unwrap()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto { op_type: Some(op.into()), input: names(inputs), output: names(&[output]), ..Default::default() }
}

fn array(shape: &[usize], seed: usize) -> Array {
    Array::new(shape.to_vec(), spread(shape.iter().product(), -1.0, 1.0, seed)).unwrap()
}

/// The graph's input and outputs, and every float initializer.
fn ends(model: &Model) -> (String, Vec<String>, Vec<String>) {
    let graph = model.graph();
    let weights = graph.initializer.iter().filter(|tensor| tensor.data_type() == 1);
    (
        graph.input[0].name().to_owned(),
        graph.output.iter().map(|value| value.name().to_owned()).collect(),
        weights.map(|tensor| tensor.name().to_owned()).collect(),
    )
}

/// A model whose input is a constant, as the reference runs it.
fn closed(model: &Model, input: &str, value: &Array) -> pb::ModelProto {
    let mut proto = model.proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    graph.input.clear();
    graph.initializer.push(floats(input, &value.shape, value.values.clone()));
    proto
}

#[test]
fn real_models_agree_with_onnx_runtime_and_with_differences() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [("fc2-mnist", vec![3, 784]), ("lenet5-mnist", vec![2, 1, 28, 28])];
    for (name, shape) in &cases {
        let model = fixture(&format!("{name}.onnx"));
        let (input, ..) = ends(&model);
        let shape = shape_for(&model, shape);
        let file = folder.path().join(format!("{name}.onnx"));
        std::fs::write(file, closed(&model, &input, &array(&shape, 1)).encode_to_vec()).unwrap();
    }
    run_reference(folder.path());
    for (name, shape) in &cases {
        let model = fixture(&format!("{name}.onnx"));
        let (input, outputs, weights) = ends(&model);
        let value = array(&shape_for(&model, shape), 1);
        let built = network(&model, &[&input], &outputs, &weights).unwrap();
        let found = built.evaluate(vec![value.clone()], &initial(&built)).unwrap();
        let expected = reference_output(folder.path(), name, 0).unwrap();
        assert_eq!(found[0].shape, expected.shape);
        assert!(difference(&found[0].values, &expected.values) < 1e-4, "{name}");
        check_gradients_along(&built, &[value]);
    }
}

/// The rank that the model's input has, with as many elements.
fn shape_for(model: &Model, shape: &[usize]) -> Vec<usize> {
    let Some(pb::type_proto::Value::TensorType(tensor)) = &model.graph().input[0].r#type.as_ref().unwrap().value else {
        panic!("no tensor");
    };
    let rank = tensor.shape.as_ref().unwrap().dim.len();
    if rank == shape.len() { shape.to_vec() } else { vec![shape[0], 1, 28, 28] }
}

#[test]
fn a_tail_gives_what_the_whole_model_gives() {
    let model = fixture("lenet5-mnist.onnx");
    let (input, outputs, weights) = ends(&model);
    let value = array(&[4, 1, 28, 28], 2);
    let last = weights.iter().filter(|name| {
        model.index().uses(name).iter().any(|place| {
            let node = &model.graph().node[place.node];
            node.op_type() == "Gemm" && place.input == 1
        })
    });
    let last: Vec<String> = last.take(1).cloned().collect();
    let cut = frontier(&model, &last, &outputs).unwrap();
    assert_eq!(cut.len(), 1);
    assert_ne!(cut[0], input);
    let whole = network(&model, &[&input], &outputs, &last).unwrap();
    let prefix = network(&model, &[&input], &cut, &[]).unwrap();
    let tail = network(&model, &[&cut[0]], &outputs, &last).unwrap();
    let cached = prefix.evaluate(vec![value.clone()], &[]).unwrap();
    let leaves = initial(&whole);
    let (a, b) = (whole.forward(vec![value], &leaves).unwrap(), tail.forward(cached, &leaves).unwrap());
    assert_eq!(a.outputs(), b.outputs());
    let cotangent = array(&a.outputs()[0].shape.clone(), 3);
    assert_eq!(a.backward(std::slice::from_ref(&cotangent)).unwrap(), b.backward(&[cotangent]).unwrap());
}

#[test]
fn frontiers_hold_no_shapes_and_no_constants() {
    // y = reshape(x·A, shape of x)·B + h, where h does not depend on B either.
    let nodes = vec![
        node("MatMul", &["x", "a"], "xa"),
        node("Shape", &["x"], "shape"),
        node("Reshape", &["xa", "shape"], "reshaped"),
        node("Relu", &["xa"], "h"),
        node("MatMul", &["reshaped", "b"], "xab"),
        node("Reshape", &["xab", "shape"], "again"),
        node("Add", &["again", "h"], "y"),
    ];
    let weights = vec![floats("a", &[3, 3], spread(9, -1.0, 1.0, 1)), floats("b", &[3, 3], spread(9, -1.0, 1.0, 2))];
    let model = open(&model(nodes, weights, &["x"], &names(&["y"]), 13));
    let cut = frontier(&model, &names(&["b"]), &names(&["y"])).unwrap();
    assert_eq!(cut, names(&["reshaped", "x", "h"]));
    let inputs: Vec<&str> = cut.iter().map(String::as_str).collect();
    let tail = network(&model, &inputs, &names(&["y"]), &names(&["b"])).unwrap();
    assert_eq!(tail.depends_on_trainable(), [true]);
    check_gradients(&tail, &[array(&[2, 3], 1), array(&[2, 3], 2), array(&[2, 3], 3)], true).unwrap();
    assert_eq!(frontier(&model, &names(&["a"]), &names(&["y"])).unwrap(), names(&["x"]));
    assert_eq!(frontier(&model, &[], &names(&["h"])).unwrap(), names(&["h"]));
    assert!(matches!(frontier(&model, &names(&["c"]), &names(&["y"])), Err(Error::NoValue { name }) if name == "c"));
}

#[test]
fn leaves_may_be_shared_constants_and_without_a_path() {
    let constant = pb::NodeProto {
        attribute: vec![pb::AttributeProto {
            name: Some("value".into()),
            r#type: Some(4),
            t: Some(floats("", &[3, 3], spread(9, -1.0, 1.0, 4))),
            ..Default::default()
        }],
        ..node("Constant", &[], "w")
    };
    let nodes = vec![
        node("MatMul", &["x", "w"], "h"),
        constant,
        node("MatMul", &["h", "w"], "y"),
        node("Mul", &["bias", "bias"], "unrelated"),
    ];
    let bias = floats("bias", &[3], vec![1.0, 2.0, 3.0]);
    let model = open(&model(nodes, vec![bias], &["x"], &names(&["y", "unrelated"]), 13));
    let built = network(&model, &["x"], &names(&["y"]), &names(&["w", "bias"])).unwrap();
    check_gradients(&built, &[array(&[2, 3], 5)], false).unwrap();
    let pass = built.forward(vec![array(&[2, 3], 5)], &initial(&built)).unwrap();
    let gradients = pass.backward(&[array(&[2, 3], 1)]).unwrap();
    assert!(gradients[0].is_some() && gradients[1].is_none());
    // A value given where it is also computed is taken as given; an output may be a leaf or a constant.
    let built = network(&model, &["h"], &names(&["y", "w", "unrelated"]), &names(&["w"])).unwrap();
    assert_eq!(built.depends_on_trainable(), [true, true, false]);
    let outputs = built.evaluate(vec![array(&[2, 3], 5)], &initial(&built)).unwrap();
    assert_eq!(outputs[2].values, [1.0, 4.0, 9.0]);
    check_gradients(&built, &[array(&[2, 3], 5)], true).unwrap();
}

#[test]
fn leaves_are_not_copied_and_released() {
    let row = row("relu", "Relu", 13).leaf(&[4]);
    let model = open(&row.model());
    let built = network(&model, &[], &row.output_names(), &row.leaves()).unwrap();
    let mut leaf = Arc::new(array(&[4], 1));
    let pass = built.forward(Vec::new(), std::slice::from_ref(&leaf)).unwrap();
    assert!(Arc::get_mut(&mut leaf).is_none());
    pass.backward(&[array(&[4], 1)]).unwrap();
    assert!(Arc::get_mut(&mut leaf).is_some());
    drop(built.evaluate(Vec::new(), std::slice::from_ref(&leaf)).unwrap());
    assert!(Arc::get_mut(&mut leaf).is_some());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let lenet = fixture("lenet5-mnist.onnx");
    let nodes = vec![node("MatMul", &["x", "w"], "h"), node("Softmax", &["h"], "y")];
    let wide =
        open(&model(nodes, vec![floats("w", &[500, 300], spread(150_000, -1.0, 1.0, 1))], &["x"], &names(&["y"]), 13));
    for (model, shape) in [(lenet, vec![64, 1, 28, 28]), (wide, vec![200, 500])] {
        let (input, outputs, weights) = ends(&model);
        let built = network(&model, &[&input], &outputs, &weights).unwrap();
        let step = || {
            let pass = built.forward(vec![array(&shape, 1)], &initial(&built)).unwrap();
            let cotangent = array(&pass.outputs()[0].shape.clone(), 2);
            let outputs = pass.outputs().to_vec();
            (outputs, pass.backward(&[cotangent]).unwrap())
        };
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(step);
        let one = on(1);
        for threads in [2, 3, 8] {
            assert!(on(threads) == one, "{threads} threads");
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let two = |op: &'static str| row("two", op, 13).leaf(&[2, 3]).leaf(&[4, 5]);
    let unsupported = row("unknown", "Einsum", 13).leaf(&[2]);
    let build = |row: &common::Row| network(&open(&row.model()), &[], &row.output_names(), &row.leaves());
    let error = build(&unsupported).unwrap_err();
    assert_eq!(error.to_string(), "node `the node`: operator Einsum is not differentiable here");
    for row in [two("Add"), two("MatMul"), two("Gemm"), two("Conv"), two("Concat"), two("Pow")] {
        let built = build(&row).unwrap();
        let error = built.evaluate(Vec::new(), &initial(&built)).unwrap_err();
        assert!(matches!(&error, Error::Node { op, .. } if op == row.op), "{}: {error}", row.op);
    }
    let pool = row("pool", "MaxPool", 13).leaf(&[1, 1, 4, 4]).ints("kernel_shape", &[0, 2]);
    assert!(matches!(build(&pool), Err(Error::Node { .. })));
    let training = row("bn", "BatchNormalization", 15).leaf(&[2, 2]).int("training_mode", 1);
    assert!(matches!(build(&training), Err(Error::Node { .. })));
}

#[test]
fn numbers_that_no_array_holds_are_refused_and_never_computed_with() {
    let huge = 1 << 40;
    let rows = [
        row("range", "Range", 13).tensor(&[], &[0]).tensor(&[], &[i64::MIN]).tensor(&[], &[-1]),
        row("blocks", "DepthToSpace", 13).leaf(&[1, 4, 2, 2]).int("blocksize", 1 << 32),
        row("expand", "Expand", 13).vector(&[1]).vector(&[huge, huge]),
        row("tile", "Tile", 13).leaf(&[2, 2]).vector(&[huge, 1]),
        row("tile", "Tile", 13).vector(&[1, 2]).vector(&[huge]),
    ];
    for row in rows {
        let built = network(&open(&row.model()), &[], &row.output_names(), &row.leaves());
        let result = built.and_then(|built| built.evaluate(Vec::new(), &initial(&built)));
        assert!(matches!(&result, Err(Error::Node { op, .. }) if op == row.op), "{}: {result:?}", row.op);
    }
}

#[test]
fn requests_and_arrays_that_do_not_fit_are_refused() {
    let nodes = vec![node("MatMul", &["x", "w"], "h"), node("Log", &["h"], "y")];
    let weights = vec![floats("w", &[3, 2], spread(6, 0.1, 1.0, 1))];
    let model = open(&model(nodes, weights, &["x"], &names(&["y"]), 13));
    let ask = |inputs: &[&str], outputs: &[&str], trainable: &[&str]| {
        let (inputs, outputs, trainable) = (names(inputs), names(outputs), names(trainable));
        Network::new(&model, &Request { inputs: &inputs, outputs: &outputs, trainable: &trainable })
    };
    assert!(matches!(ask(&["x"], &["z"], &[]), Err(Error::NoValue { name }) if name == "z"));
    assert!(matches!(ask(&[], &["y"], &["w"]), Err(Error::MissingInput { input }) if input == "x"));
    assert!(matches!(ask(&["x"], &["y"], &["h"]), Err(Error::NotALeaf { .. })));
    assert!(matches!(ask(&["x", "x"], &["y"], &["w"]), Err(Error::Arguments(_))));
    let built = ask(&["x"], &["y"], &["w"]).unwrap();
    let leaves = initial(&built);
    let good = Array::new(vec![1, 3], vec![1.0, 2.0, 3.0]).unwrap();
    for (inputs, leaves) in [
        (Vec::new(), leaves.clone()),
        (vec![good.clone()], Vec::new()),
        (vec![good.clone()], vec![Arc::new(Array::zeros(&[2, 3]))]),
        (vec![Array { shape: vec![1, 3], values: vec![1.0] }], leaves.clone()),
        (vec![Array { shape: vec![0, 3], values: Vec::new() }], leaves.clone()),
    ] {
        assert!(matches!(built.evaluate(inputs, &leaves), Err(Error::Arguments(_))));
    }
    let error = built.evaluate(vec![Array::zeros(&[1, 3])], &leaves).unwrap_err();
    assert_eq!(error.to_string(), "output `y` holds values that are not finite (NaN or infinity)");
    let pass = built.forward(vec![good], &leaves).unwrap();
    assert!(matches!(pass.backward(&[Array::zeros(&[2, 1])]), Err(Error::Arguments(_))));
}
