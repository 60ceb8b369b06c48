//! Working models from nothing: a stack of layers with a head, so that cases reach the search and the training.

use adntn_onnx::pb;
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;

use super::common::{node, tensor};
use super::draw::{Draw, code};

/// An attribute of integers.
pub fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

pub fn int(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

pub fn float(name: &str, value: f32) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..Default::default()
    }
}

pub fn string(name: &str, value: &str) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec().into()),
        ..Default::default()
    }
}

pub fn subgraph(name: &str, graph: pb::GraphProto) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph),
        ..Default::default()
    }
}

/// One extent of a declared shape.
#[derive(Clone)]
pub enum Extent {
    Fixed(i64),
    Named(String),
    Unknown,
}

/// A value of a type; without a shape where `shape` is `None`.
pub fn value(name: &str, element: i32, shape: Option<&[Extent]>) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dimension = |extent: &Extent| Dimension {
        value: match extent {
            Extent::Fixed(n) => Some(Value::DimValue(*n)),
            Extent::Named(name) => Some(Value::DimParam(name.clone())),
            Extent::Unknown => None,
        },
        ..Default::default()
    };
    let tensor = pb::type_proto::Tensor {
        elem_type: Some(element),
        shape: shape.map(|shape| pb::TensorShapeProto { dim: shape.iter().map(dimension).collect() }),
    };
    pb::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

pub fn int64s(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(code(DataType::Int64)),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

pub fn model(graph: pb::GraphProto) -> pb::ModelProto {
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    }
}

/// Numbers of low rank beside noise, so that some weights compress and some do not.
fn weight(draw: &mut Draw, name: &str, dims: &[i64]) -> pb::TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    let columns = dims[1..].iter().product::<i64>().max(1) as usize;
    let (noise, phase) = (draw.pick(&[0.0, 0.01, 0.3]), draw.unit());
    let values: Vec<f32> = (0..count)
        .map(|k| {
            let (row, column) = ((k / columns) as f32, (k % columns) as f32);
            0.3 * ((row * 0.21 + phase).sin() * (column * 0.13).cos()) + noise * draw.unit()
        })
        .collect();
    tensor(name, dims, &values)
}

/// A perceptron, a small convolutional network, or a table of embeddings with a layer behind it.
pub fn network(draw: &mut Draw) -> pb::ModelProto {
    let mut graph = pb::GraphProto { name: Some("network".into()), ..Default::default() };
    let batch = if draw.chance(75) { Extent::Named("N".into()) } else { Extent::Fixed(draw.pick(&[1, 1, 2, 3])) };
    let (mut last, mut width) = match draw.below(4) {
        0 => convolutions(draw, &mut graph, batch.clone()),
        1 => {
            let (rows, width) = (draw.extent().max(2), draw.extent());
            graph.input.push(value("ids", code(DataType::Int64), Some(&[batch.clone()])));
            let table = weight(draw, "table", &[rows, width]);
            graph.initializer.push(table);
            graph.node.push(node("Gather", "embed", &["table", "ids"], "embedded"));
            ("embedded".to_owned(), width)
        }
        _ => {
            let width = draw.extent().max(3);
            let mut shape = vec![batch.clone()];
            if draw.chance(15) {
                shape.push(if draw.chance(50) { Extent::Named("T".into()) } else { Extent::Fixed(3) });
            }
            shape.push(Extent::Fixed(width));
            graph.input.push(value("x", code(DataType::Float), Some(&shape)));
            ("x".to_owned(), width)
        }
    };
    for layer in 0..1 + draw.below(3) {
        let outputs = draw.extent();
        let (product, name) = (format!("product{layer}"), format!("layer{layer}"));
        let w = format!("{name}.weight");
        if graph.input[0].name() == "x" && last != "x" && draw.chance(50) || last == "flat" {
            graph.initializer.push(weight(draw, &w, &[outputs, width]));
            graph.initializer.push(tensor(&format!("{name}.bias"), &[outputs], &vec![0.1; outputs as usize]));
            let mut gemm = node("Gemm", &name, &[&last, &w, &format!("{name}.bias")], &product);
            gemm.attribute.push(int("transB", 1));
            graph.node.push(gemm);
        } else {
            graph.initializer.push(weight(draw, &w, &[width, outputs]));
            graph.node.push(node("MatMul", &name, &[&last, &w], &product));
        }
        (last, width) = (product, outputs);
        if draw.chance(70) {
            let op = draw.pick(&["Relu", "Tanh", "Sigmoid", "Identity", "LeakyRelu", "Abs", "Softplus", "Erf"]);
            let active = format!("active{layer}");
            graph.node.push(node(op, op, &[&last], &active));
            last = active;
        }
    }
    head(draw, &mut graph, &last, batch, width);
    model(graph)
}

fn convolutions(draw: &mut Draw, graph: &mut pb::GraphProto, batch: Extent) -> (String, i64) {
    let (channels, filters, kernel) = (draw.pick(&[1, 2, 3]), draw.pick(&[2, 4, 6, 8]), draw.pick(&[1, 2, 3]));
    let side = 6;
    let shape = [batch, Extent::Fixed(channels), Extent::Fixed(side), Extent::Fixed(side)];
    graph.input.push(value("x", code(DataType::Float), Some(&shape)));
    graph.initializer.push(weight(draw, "conv.weight", &[filters, channels, kernel, kernel]));
    let mut conv = node("Conv", "conv", &["x", "conv.weight"], "convolved");
    let (pad, stride) = (draw.below(2) as i64, 1 + draw.below(2) as i64);
    conv.attribute = vec![ints("pads", &[pad; 4]), ints("strides", &[stride; 2])];
    graph.node.push(conv);
    graph.node.push(node("Relu", "relu", &["convolved"], "features"));
    graph.node.push(node("Flatten", "flatten", &["features"], "flat"));
    let out = (side + 2 * pad - kernel) / stride + 1;
    ("flat".into(), filters * out * out)
}

fn head(draw: &mut Draw, graph: &mut pb::GraphProto, last: &str, batch: Extent, width: i64) {
    let real = [batch.clone(), Extent::Fixed(width)];
    let shape = if draw.chance(80) { Some(&real[..]) } else { None };
    let ends: &[&str] = &["", "", "Softmax", "Sigmoid", "LogSoftmax", "ArgMax", "Cast", "both"];
    let mut end = |op: &str, output: &str, element: DataType, attributes: Vec<pb::AttributeProto>| {
        let mut last = node(op, output, &[last], output);
        last.attribute = attributes;
        graph.node.push(last);
        graph.output.push(value(output, code(element), if op == "ArgMax" { None } else { shape }));
    };
    match draw.pick(ends) {
        "" => end("Identity", "y", DataType::Float, vec![]),
        "ArgMax" => end("ArgMax", "label", DataType::Int64, vec![int("axis", -1), int("keepdims", 0)]),
        "Cast" => end("Cast", "y", DataType::Int32, vec![int("to", code(DataType::Int32).into())]),
        "both" => {
            end("Softmax", "probabilities", DataType::Float, vec![int("axis", -1)]);
            end("ArgMax", "label", DataType::Int64, vec![int("axis", -1), int("keepdims", 0)]);
        }
        op => end(op, "y", DataType::Float, vec![]),
    }
}
