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

fn chosen(outputs: &[(&str, &str, DataType)], shapes: &[&[usize]], labelled: bool, options: &Options) -> Vec<Metric> {
    let values: Vec<Output> =
        shapes.iter().map(|s| Output::floats(s.to_vec(), vec![0.0; s.iter().product()])).collect();
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
