//! Small constructors for protobuf parts, and weights with structure.

use adntn_onnx::pb;
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;
use pb::tensor_shape_proto::{Dimension, dimension};
use pb::type_proto;

/// A smooth matrix of low numerical rank, of the size a trained layer's weights have.
///
/// Only the four basic operations and the square root are used: they are exact on every machine, so the files are too.
pub fn smooth(rows: usize, columns: usize, seed: usize) -> Vec<f32> {
    let shift = seed as f64 / 7.0;
    let size = 2.0 / (columns as f64).sqrt();
    let value = |r: usize, c: usize| {
        let (x, y) = (r as f64 / rows as f64, c as f64 / columns as f64);
        size * ((x - y + shift * 0.1) / (1.0 + shift + x * y) + (x - 0.5) * (y - 0.3) - 0.4 / (1.0 + 4.0 * (x + y)))
    };
    (0..rows * columns).map(|k| value(k / columns, k % columns) as f32).collect()
}

pub fn float_tensor(name: &str, dims: &[i64], data: Vec<f32>) -> pb::TensorProto {
    let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    raw_tensor(name, dims, DataType::Float, raw)
}

pub fn raw_tensor(name: &str, dims: &[i64], dtype: DataType, raw: Vec<u8>) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(dtype as i32),
        raw_data: Some(raw.into()),
        ..Default::default()
    }
}

/// A weight with [`smooth`] values: its first dim makes the rows.
pub fn weight(name: &str, dims: &[i64], seed: usize) -> pb::TensorProto {
    let rows = dims[0] as usize;
    let columns = dims[1..].iter().product::<i64>() as usize;
    float_tensor(name, dims, smooth(rows, columns, seed))
}

pub fn bias(name: &str, n: i64) -> pb::TensorProto {
    float_tensor(name, &[n], (0..n).map(|k| k as f32 / n as f32 - 0.5).collect())
}

/// A value of the given element type; a negative dim is the free batch size `N`.
pub fn value(name: &str, dtype: DataType, dims: &[i64]) -> pb::ValueInfoProto {
    let dim = |&d: &i64| Dimension {
        value: Some(if d < 0 { dimension::Value::DimParam("N".to_owned()) } else { dimension::Value::DimValue(d) }),
        ..Default::default()
    };
    pb::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(pb::TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: Some(dtype as i32),
                shape: Some(pb::TensorShapeProto { dim: dims.iter().map(dim).collect() }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn node(
    op: &str,
    name: &str,
    inputs: &[&str],
    outputs: &[&str],
    attribute: Vec<pb::AttributeProto>,
) -> pb::NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&s| s.to_owned()).collect();
    pb::NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(name.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        attribute,
        ..Default::default()
    }
}

pub fn int(name: &str, i: i64) -> pb::AttributeProto {
    attribute(name, AttributeType::Int, |a| a.i = Some(i))
}

pub fn float(name: &str, f: f32) -> pb::AttributeProto {
    attribute(name, AttributeType::Float, |a| a.f = Some(f))
}

pub fn ints(name: &str, ints: &[i64]) -> pb::AttributeProto {
    attribute(name, AttributeType::Ints, |a| a.ints = ints.to_vec())
}

pub fn floats(name: &str, floats: Vec<f32>) -> pb::AttributeProto {
    attribute(name, AttributeType::Floats, |a| a.floats = floats)
}

pub fn tensor(name: &str, t: pb::TensorProto) -> pb::AttributeProto {
    attribute(name, AttributeType::Tensor, |a| a.t = Some(pb::TensorProto { name: None, ..t }))
}

pub fn body(name: &str, g: pb::GraphProto) -> pb::AttributeProto {
    attribute(name, AttributeType::Graph, |a| a.g = Some(g))
}

fn attribute(name: &str, kind: AttributeType, fill: impl FnOnce(&mut pb::AttributeProto)) -> pb::AttributeProto {
    let mut a = pb::AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..Default::default() };
    fill(&mut a);
    a
}

/// A model with one graph: IR version 8 and opset 17 until told otherwise.
pub fn model(
    inputs: Vec<pb::ValueInfoProto>,
    outputs: Vec<pb::ValueInfoProto>,
    initializer: Vec<pb::TensorProto>,
    node: Vec<pb::NodeProto>,
) -> pb::ModelProto {
    let graph = pb::GraphProto {
        name: Some("tiny".to_owned()),
        input: inputs,
        output: outputs,
        initializer,
        node,
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: Some(8),
        producer_name: Some("adntn make_tiny".to_owned()),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    }
}

pub fn versions(mut model: pb::ModelProto, ir: i64, opset: i64) -> pb::ModelProto {
    model.ir_version = Some(ir);
    model.opset_import[0].version = Some(opset);
    model
}
