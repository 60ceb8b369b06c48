//! Small models for the tests.

use adntn_onnx::{Error, Model, pb};
use bytes::Bytes;
use prost::Message;

pub fn value(name: &str) -> pb::ValueInfoProto {
    let dims = vec![pb::tensor_shape_proto::Dimension {
        value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(4)),
        denotation: None,
    }];
    let shape = Some(pb::TensorShapeProto { dim: dims });
    let tensor = pb::type_proto::Tensor { elem_type: Some(1), shape };
    let r#type = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), denotation: None };
    pb::ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> pb::NodeProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    pb::NodeProto {
        op_type: Some(op.into()),
        name: Some(format!("{op}:{}", outputs.join(","))),
        input: owned(inputs),
        output: owned(outputs),
        ..Default::default()
    }
}

/// A FLOAT vector with raw data.
pub fn floats(name: &str, values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        data_type: Some(1),
        dims: vec![values.len() as i64],
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into()),
        ..Default::default()
    }
}

/// A sparse FLOAT tensor of ones, with indices of shape `shape`.
pub fn sparse(name: &str, dims: &[i64], shape: &[i64], indices: &[i64]) -> pb::SparseTensorProto {
    pb::SparseTensorProto {
        values: Some(floats(name, &vec![1.0; shape[0] as usize])),
        indices: Some(pb::TensorProto {
            data_type: Some(7),
            dims: shape.to_vec(),
            int64_data: indices.to_vec(),
            ..Default::default()
        }),
        dims: dims.to_vec(),
    }
}

pub fn attribute_tensor(name: &str, tensor: pb::TensorProto) -> pb::AttributeProto {
    pb::AttributeProto { name: Some(name.into()), t: Some(tensor), r#type: Some(4), ..Default::default() }
}

pub fn attribute_graph(name: &str, graph: pb::GraphProto) -> pb::AttributeProto {
    pb::AttributeProto { name: Some(name.into()), g: Some(graph), r#type: Some(5), ..Default::default() }
}

pub fn model(graph: pb::GraphProto) -> pb::ModelProto {
    pb::ModelProto {
        ir_version: Some(10),
        producer_name: Some("test".into()),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(21) }],
        graph: Some(graph),
        ..Default::default()
    }
}

pub fn bytes(model: &pb::ModelProto) -> Bytes {
    model.encode_to_vec().into()
}

pub fn open(model: &pb::ModelProto) -> Result<Model, Error> {
    Model::from_bytes(bytes(model), None)
}

/// y = relu(x + a) · b, and an If that reads `a` in a branch.
pub fn sample() -> pb::ModelProto {
    let branch = |name: &str, reads: &str| pb::GraphProto {
        name: Some(name.into()),
        node: vec![node("Neg", &[reads], &[&format!("{name}/out")])],
        output: vec![value(&format!("{name}/out"))],
        ..Default::default()
    };
    let mut choice = node("If", &["flag"], &["chosen"]);
    choice.attribute =
        vec![attribute_graph("then_branch", branch("then", "a")), attribute_graph("else_branch", branch("else", "r"))];
    model(pb::GraphProto {
        name: Some("sample".into()),
        node: vec![
            node("Add", &["x", "a"], &["s"]),
            node("Clip", &["s", "", "max"], &["r"]),
            node("Mul", &["r", "b"], &["y"]),
            choice,
        ],
        initializer: vec![
            floats("a", &[1.0, 2.0, 3.0, 4.0]),
            floats("b", &[0.5; 4]),
            pb::TensorProto {
                name: Some("max".into()),
                data_type: Some(1),
                float_data: vec![6.0],
                ..Default::default()
            },
        ],
        input: vec![value("x"), value("flag")],
        output: vec![value("y"), value("chosen")],
        value_info: vec![value("s"), value("r")],
        ..Default::default()
    })
}
