//! A graph as readable, stable text: what the snapshots of the rewrites show.

use std::fmt::Write;

use adntn_onnx::{Model, pb};
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;
use pb::tensor_shape_proto::dimension;
use pb::type_proto;

use crate::find::type_name;

/// Vectors up to this length are shown with their values: they are shapes and settings.
const SHOWN_VECTOR: usize = 16;

/// The main graph, one line for each input, output, initializer and node. Weights show only their type, shape and size.
#[must_use]
pub fn describe(model: &Model) -> String {
    let proto = model.proto();
    let mut out = String::new();
    let opsets: Vec<String> = proto
        .opset_import
        .iter()
        .map(
            |o| if o.domain().is_empty() { o.version().to_string() } else { format!("{} {}", o.domain(), o.version()) },
        )
        .collect();
    line(&mut out, 0, &format!("ir {}, opset {}", proto.ir_version(), opsets.join(", ")));
    graph(&mut out, model.graph(), 0);
    out
}

fn graph(out: &mut String, graph: &pb::GraphProto, depth: usize) {
    for (title, values) in [("inputs", &graph.input), ("outputs", &graph.output)] {
        section(out, depth, title, values.iter().map(|v| format!("{}: {}", v.name(), value_type(v.r#type.as_ref()))));
    }
    let initializers = graph.initializer.iter().map(|t| format!("{}: {}", t.name(), tensor(t)));
    let sparse = graph.sparse_initializer.iter().map(|s| {
        let values = s.values.as_ref();
        let dtype = values.map_or_else(String::new, |v| type_name(v.data_type()));
        format!("{}: sparse {dtype}{:?}", values.map_or("", |v| v.name()), s.dims)
    });
    section(out, depth, "initializers", initializers.chain(sparse));
    let nodes: Vec<&pb::NodeProto> = graph.node.iter().collect();
    if !nodes.is_empty() {
        line(out, depth, "nodes");
    }
    for node in nodes {
        self::node(out, node, depth + 1);
    }
}

fn section(out: &mut String, depth: usize, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        line(out, depth, title);
        lines.for_each(|text| line(out, depth + 1, &text));
    }
}

fn node(out: &mut String, node: &pb::NodeProto, depth: usize) {
    let mut attributes: Vec<&pb::AttributeProto> = node.attribute.iter().collect();
    attributes.sort_by_key(|a| a.name());
    let shown: Vec<String> =
        attributes.iter().filter(|a| a.g.is_none()).map(|a| format!("{}={}", a.name(), attribute(a))).collect();
    let mut text = format!("{} = {}", node.output.join(", "), node.op_type());
    if !matches!(node.domain(), "" | "ai.onnx") {
        let _ = write!(text, " of {}", node.domain());
    }
    let _ = write!(text, "({})", node.input.join(", "));
    if !shown.is_empty() {
        let _ = write!(text, " {{{}}}", shown.join(", "));
    }
    let metadata: Vec<String> = node.metadata_props.iter().map(|p| format!("{}={}", p.key(), p.value())).collect();
    let own_name = if node.output.iter().any(|o| o == node.name()) { "" } else { node.name() };
    if !own_name.is_empty() || !metadata.is_empty() {
        let _ = write!(text, "  #{}{own_name}", if own_name.is_empty() { "" } else { " " });
        if !metadata.is_empty() {
            let _ = write!(text, " [{}]", metadata.join(", "));
        }
    }
    line(out, depth, &text);
    for a in attributes {
        if let Some(body) = &a.g {
            line(out, depth + 1, &format!("{}:", a.name()));
            graph(out, body, depth + 2);
        }
    }
}

fn attribute(a: &pb::AttributeProto) -> String {
    match a.r#type() {
        AttributeType::Float => format!("{:?}", a.f()),
        AttributeType::Int => a.i().to_string(),
        AttributeType::String => format!("{:?}", String::from_utf8_lossy(a.s())),
        AttributeType::Floats if a.floats.len() > SHOWN_VECTOR => format!("{} floats", a.floats.len()),
        AttributeType::Floats => format!("{:?}", a.floats),
        AttributeType::Ints if a.ints.len() > SHOWN_VECTOR => format!("{} ints", a.ints.len()),
        AttributeType::Ints => format!("{:?}", a.ints),
        AttributeType::Tensor => a.t.as_ref().map_or_else(String::new, tensor),
        other => format!("<{}>", other.as_str_name().to_ascii_lowercase()),
    }
}

fn tensor(t: &pb::TensorProto) -> String {
    let dims: Vec<String> = t.dims.iter().map(i64::to_string).collect();
    let mut text = format!("{}[{}]", type_name(t.data_type()), dims.join(","));
    let count: i64 = t.dims.iter().fold(1, |n, &d| n.saturating_mul(d));
    if t.data_type() == DataType::Int64 as i32
        && t.dims.len() == 1
        && usize::try_from(count).is_ok_and(|n| n <= SHOWN_VECTOR)
    {
        let raw: Vec<i64> = match t.raw_data.as_deref() {
            Some(raw) => raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            None => t.int64_data.clone(),
        };
        let _ = write!(text, " = {raw:?}");
    } else {
        let _ = write!(text, ", {count} values");
    }
    if t.data_location() == pb::tensor_proto::DataLocation::External {
        text.push_str(", external");
    }
    text
}

fn value_type(t: Option<&pb::TypeProto>) -> String {
    match t.and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => {
            let dims = tensor.shape.as_ref().map(|s| {
                let dims: Vec<String> = s
                    .dim
                    .iter()
                    .map(|d| match &d.value {
                        Some(dimension::Value::DimValue(n)) => n.to_string(),
                        Some(dimension::Value::DimParam(name)) => name.clone(),
                        None => "?".to_owned(),
                    })
                    .collect();
                format!("[{}]", dims.join(","))
            });
            format!("{}{}", type_name(tensor.elem_type()), dims.unwrap_or_else(|| "[…]".to_owned()))
        }
        Some(_) => "not a tensor".to_owned(),
        None => "untyped".to_owned(),
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{text}", "", indent = 2 * depth);
}
