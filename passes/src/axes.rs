//! What the columns of a weight are flattened from, as far as the model says so.

use adntn_onnx::{Model, pb};
use pb::tensor_shape_proto::dimension::Value;

use crate::candidate::{DenseUse, LayerKind, Stored};
use crate::origin::is_standard;

/// Operators that leave every entry of their first input that is no constant where it was in row-major order, samples first.
const IN_PLACE: [&str; 22] = [
    "Add",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Div",
    "Dropout",
    "Elu",
    "Flatten",
    "Gelu",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mul",
    "PRelu",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Squeeze",
    "Sub",
    "Tanh",
    "Unsqueeze",
    "Softplus",
];
/// Nodes between a layer and the value it is flattened from, at most.
const FAR: usize = 16;

/// Extents of the value, samples apart, that a matrix product's `inputs` columns are flattened from, such as channels, height and
/// width of an image; empty where the model does not say so or there is only one.
pub(crate) fn input_axes(model: &Model, layer: &DenseUse, inputs: usize) -> Vec<usize> {
    if layer.kind == LayerKind::Conv
        || (layer.input, layer.kind, layer.stored) == (0, LayerKind::MatMul, Stored::OutputInput)
    {
        return Vec::new();
    }
    let (graph, index) = (model.graph(), model.index());
    let operand =
        |node: usize, input: usize| graph.node.get(node).and_then(|node| node.input.get(input)).map(String::as_str);
    let mut value = operand(layer.node, 1 - layer.input.min(1));
    for _ in 0..FAR {
        let Some(name) = value else { break };
        let declared = graph.input.iter().chain(&graph.value_info).find(|info| info.name() == name);
        if let Some([_, axes @ ..]) = declared.and_then(extents).as_deref()
            && axes.len() > 1
        {
            let known: Option<Vec<usize>> = axes.iter().copied().collect();
            return known.filter(|axes| product(axes) == Some(inputs)).unwrap_or_default();
        }
        let Some(producer) = index.producer(name) else { break };
        let Some(node) = graph.node.get(producer).filter(|node| IN_PLACE.iter().any(|op| is_standard(node, op))) else {
            break;
        };
        let is_constant = |input: &&String| index.initializer(input).is_some();
        value = node.input.iter().find(|input| !is_constant(input)).map(String::as_str);
    }
    Vec::new()
}

fn product(axes: &[usize]) -> Option<usize> {
    axes.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis))
}

/// Declared extents, `None` for those that are open.
fn extents(info: &pb::ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Some(pb::type_proto::Value::TensorType(tensor)) = info.r#type.as_ref()?.value.as_ref() else { return None };
    let extent = |dim: &pb::tensor_shape_proto::Dimension| match dim.value {
        Some(Value::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(extent).collect())
}
