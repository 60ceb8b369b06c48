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
    let size = if draw.chance(85) { 1.0 } else { draw.pick(&[0.0, 1e-42, 1e-30, 1e-12, 1e12, 1e20, 3e38]) };
    let empty = if draw.chance(10) { draw.below(columns) } else { columns };
    let values: Vec<f32> = (0..count)
        .map(|k| {
            let (row, column) = ((k / columns) as f32, (k % columns) as f32);
            let wave = 0.3 * ((row * 0.21 + phase).sin() * (column * 0.13).cos()) + noise * draw.unit();
            if k % columns == empty { 0.0 } else { wave * size }
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
            graph.input.push(value("ids", code(DataType::Int64), Some(std::slice::from_ref(&batch))));
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
        if draw.chance(30) {
            last = between(draw, &mut graph, &last, width);
        }
    }
    if draw.chance(15) {
        second(draw, &mut graph, &last, &batch);
    }
    head(draw, &mut graph, &last, batch, width);
    model(graph)
}

/// What networks have between their layers.
fn between(draw: &mut Draw, graph: &mut pb::GraphProto, last: &str, width: i64) -> String {
    let count = graph.node.len();
    let (output, operand) = (format!("between{count}"), format!("operand-between{count}"));
    let ones = |name: &str| tensor(name, &[width], &vec![1.0; width as usize]);
    let mut made = match draw.below(7) {
        0 => {
            graph.initializer.extend([ones(&operand), ones(&format!("{operand}.bias"))]);
            node("LayerNormalization", &output, &[last, &operand, &format!("{operand}.bias")], &output)
        }
        1 => node("Add", &output, &[last, last], &output),
        2 => {
            graph.initializer.push(ones(&operand));
            node("Div", &output, &[last, &operand], &output)
        }
        3 => {
            graph.initializer.push(weight(draw, &operand, &[width, width]));
            graph.node.push(node("MatMul", &format!("{output}.inner"), &[last, &operand], &format!("{output}.inner")));
            node("Add", &output, &[last, &format!("{output}.inner")], &output)
        }
        4 => {
            // A weight that stands elsewhere already, where it fits.
            let shared = graph.initializer.iter().find(|t| t.dims == [width, width]).map(|t| t.name().to_owned());
            let shared = shared.unwrap_or_else(|| {
                graph.initializer.push(weight(draw, &operand, &[width, width]));
                operand.clone()
            });
            node("MatMul", &output, &[last, &shared], &output)
        }
        5 => {
            graph.initializer.push(tensor(&operand, &[], &[0.5]));
            node("Pow", &output, &[last, &operand], &output)
        }
        _ => node("Dropout", &output, &[last], &output),
    };
    if made.op_type() == "LayerNormalization" {
        made.attribute.push(float("epsilon", if draw.chance(80) { 1e-5 } else { draw.float() }));
    }
    graph.node.push(made);
    output
}

/// A further input or a further output.
fn second(draw: &mut Draw, graph: &mut pb::GraphProto, last: &str, batch: &Extent) {
    let shapes =
        [vec![], vec![batch.clone(), Extent::Fixed(1)], vec![Extent::Fixed(1)], vec![Extent::Fixed(2), batch.clone()]];
    match draw.below(4) {
        0 | 1 => {
            let shape = draw.pick(&shapes);
            let element = draw.pick(&[DataType::Float, DataType::Float, DataType::Int64, DataType::Bool]);
            graph.input.push(value("scale", code(element), Some(&shape)));
            let mut cast = node("Cast", "cast", &["scale"], "real-scale");
            cast.attribute.push(int("to", code(DataType::Float).into()));
            graph.node.push(cast);
            graph.node.push(node("Mul", "scaled", &[last, "real-scale"], "scaled"));
            graph.output.push(value("scaled", code(DataType::Float), None));
        }
        2 => {
            graph.node.push(node("Shape", "shape", &[last], "extents"));
            graph.output.push(value("extents", code(DataType::Int64), None));
        }
        _ => {
            let mut sum = node("ReduceMean", "mean", &[last], "mean");
            sum.attribute.push(int("keepdims", 0));
            graph.node.push(sum);
            graph.output.push(value("mean", code(DataType::Float), Some(&[])));
        }
    }
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
