use adntn_onnx::pb::{self, tensor_proto::DataType};
use prost::Message as _;

use super::*;

fn value(name: &str, element: DataType) -> pb::ValueInfoProto {
    let tensor = pb::type_proto::Tensor { elem_type: Some(element as i32), shape: None };
    pb::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// A model whose outputs are made by the ops named, all from `x`: (name, op, type).
fn model(outputs: &[(&str, &str, DataType)]) -> Model {
    let node = |&(name, op, _): &(&str, &str, DataType)| pb::NodeProto {
        op_type: Some(op.into()),
        input: vec![if op == "ArgMax" { "logits".into() } else { "x".into() }],
        output: vec![name.into()],
        ..Default::default()
    };
    let graph = pb::GraphProto {
        name: Some("g".into()),
        node: outputs.iter().map(node).collect(),
        input: vec![value("x", DataType::Float)],
        output: outputs.iter().map(|o| value(o.0, o.2)).collect(),
        ..Default::default()
    };
    let proto = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(proto.encode_to_vec().into(), None).unwrap()
}

/// Numbers that add up to one along `axis` alone.
fn probabilities(shape: &[usize], axis: usize) -> Output {
    let after: usize = shape.iter().skip(axis + 1).product();
    let classes = shape.get(axis).copied().unwrap_or(1);
    let of = |k: usize| {
        let (class, at) = (k / after % classes, k / after / classes * after + k % after);
        if class == at % classes { 0.7 } else { 0.3 / (classes - 1).max(1) as f32 }
    };
    Output::floats(shape.to_vec(), (0..shape.iter().product()).map(of).collect())
}

/// The same along the last axis, or their logarithms.
fn last(shape: &[usize], logarithms: bool) -> Output {
    let mut output = probabilities(shape, shape.len().saturating_sub(1));
    if logarithms {
        output.values.iter_mut().for_each(|v| *v = v.ln());
    }
    output
}

fn chosen(outputs: &[(&str, &str, DataType)], shapes: &[&[usize]], labelled: bool, options: &Options) -> Vec<Metric> {
    let values: Vec<Output> = shapes.iter().zip(outputs).map(|(s, (_, op, _))| last(s, *op == "LogSoftmax")).collect();
    let yardstick = Yardstick::choose(&model(outputs), &values, &[], 4, labelled, options).unwrap();
    yardstick.outputs.into_iter().map(|j| j.rule.metric).collect()
}

#[test]
fn metrics_follow_from_evidence() {
    use DataType::{Bool, Float, Int64};
    let options = Options::new("in", "out");
    let of = |op: &'static str, element, shape: &[usize], labelled| {
        chosen(&[("y", op, element)], &[shape], labelled, &options)[0]
    };
    // Two columns, or sixty-four, are no classes by themselves.
    assert_eq!(of("Relu", Float, &[4, 2], false), Metric::Error);
    assert_eq!(of("Relu", Float, &[4, 64], false), Metric::Error);
    assert_eq!(of("Softmax", Float, &[4, 10], false), Metric::TopClass);
    assert_eq!(of("LogSoftmax", Float, &[4, 10], false), Metric::TopClass);
    assert_eq!(of("Softmax", Float, &[4, 7, 10], false), Metric::Positions);
    assert_eq!(of("Relu", Float, &[4, 10], true), Metric::Accuracy);
    assert_eq!(of("Softmax", Float, &[4, 10], true), Metric::Accuracy);
    assert_eq!(of("Sigmoid", Float, &[4, 1], false), Metric::Decisions);
    assert_eq!(of("Sigmoid", Float, &[4, 784], false), Metric::Error);
    assert_eq!(of("Relu", Int64, &[4, 3], false), Metric::Equal);
    assert_eq!(of("Relu", Bool, &[4, 64], false), Metric::Equal);
    // Rows of a detection are no samples.
    assert_eq!(of("Relu", Int64, &[640, 3], false), Metric::NotCompared);
    assert_eq!(of("Relu", Float, &[], false), Metric::NotCompared);
}

#[test]
fn the_numbers_say_along_which_axis_the_classes_lie() {
    let options = Options::new("in", "out");
    let of = |shape: &[usize], axis: usize| {
        let softmax = model(&[("y", "Softmax", DataType::Float)]);
        let values = [probabilities(shape, axis)];
        let yardstick = Yardstick::choose(&softmax, &values, &[], 4, false, &options).unwrap();
        let rule = &yardstick.outputs[0].rule;
        (rule.metric, rule.class_axis)
    };
    assert_eq!(of(&[4, 7, 5], 2), (Metric::Positions, Some(2)));
    assert_eq!(of(&[4, 7, 5], 1), (Metric::Positions, Some(1)));
    assert_eq!(of(&[4, 1, 7, 5], 3), (Metric::Positions, Some(3)));
    assert_eq!(of(&[4, 1, 9], 2), (Metric::TopClass, Some(2)));
    // Seven sets of five classes in one row, or classes over several axes: no axis holds them.
    let several = |shape: &[usize], values: Output| {
        let softmax = model(&[("y", "Softmax", DataType::Float)]);
        let values = [Output { shape: shape.to_vec(), ..values }];
        Yardstick::choose(&softmax, &values, &[], 4, false, &options).unwrap().outputs[0].rule.metric
    };
    assert_eq!(several(&[4, 35], probabilities(&[4, 7, 5], 2)), Metric::Error);
    assert_eq!(several(&[4, 7, 5], probabilities(&[4, 35], 1)), Metric::Error);
}

#[test]
fn an_output_that_is_made_of_another_by_more_than_its_form_is_not_compared() {
    let made = model(&[("y", "Relu", DataType::Int64)]);
    let values = [probabilities(&[4, 5], 1)];
    let options = Options::new("in", "out");
    for (likeness, metric, certain) in [
        (Likeness::Same, Metric::Error, true),
        (Likeness::Unknown, Metric::Error, false),
        (Likeness::Another, Metric::NotCompared, false),
    ] {
        let stand_in = StandIn { output: "y".into(), value: "x".into(), operator: "Unique".into(), likeness };
        let judged = &Yardstick::choose(&made, &values, &[stand_in], 4, false, &options).unwrap().outputs[0];
        assert_eq!((judged.rule.metric, judged.certain), (metric, certain), "{likeness:?}");
    }
}

#[test]
fn an_arg_max_says_that_what_it_reads_holds_classes() {
    let outputs = [("logits", "Relu", DataType::Float), ("label", "ArgMax", DataType::Int64)];
    let options = Options::new("in", "out");
    let shapes: [&[usize]; 2] = [&[4, 10], &[4, 1]];
    assert_eq!(chosen(&outputs, &shapes, false, &options), [Metric::TopClass, Metric::Equal]);
    assert_eq!(chosen(&outputs, &shapes, true, &options), [Metric::Accuracy, Metric::Equal]);
}

#[test]
fn what_is_asked_for_counts_most() {
    let outputs = [("a", "Softmax", DataType::Float), ("b", "Relu", DataType::Float)];
    let shapes: [&[usize]; 2] = [&[4, 10], &[4, 5]];
    let mut options = Options::new("in", "out");
    options.metrics = vec![(None, Metric::Cosine), (Some("b".into()), Metric::TopClass)];
    assert_eq!(chosen(&outputs, &shapes, true, &options), [Metric::Cosine, Metric::TopClass]);
    options.metrics = vec![(Some("nowhere".into()), Metric::Cosine)];
    let values = vec![Output::floats(vec![4, 10], vec![0.0; 40]); 2];
    let error = Yardstick::choose(&model(&outputs), &values, &[], 4, false, &options).unwrap_err();
    assert!(error.to_string().contains("`nowhere`") && error.to_string().contains("a, b"), "{error}");
}
