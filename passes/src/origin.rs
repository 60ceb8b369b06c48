//! Where a value comes from: a constant, directly or through Identity nodes, or something computed.

use adntn_onnx::{Model, pb};

use crate::candidate::Root;

/// Where a value comes from.
pub(crate) enum Origin {
    /// A constant with a tensor.
    Root(Root),
    /// A sparse initializer.
    Sparse,
    /// A Constant node that holds this attribute.
    Spelling(String),
    /// Something a runtime does not know when it loads the model, in words.
    Computed(String),
}

/// Follows Identity nodes back to what makes a value.
pub(crate) fn origin(model: &Model, value: &str) -> Origin {
    let (graph, index) = (model.graph(), model.index());
    let mut value = value;
    // The bound only matters for cyclic graphs.
    for _ in 0..=graph.node.len() {
        if index.initializer(value).is_some() {
            return Origin::Root(Root::Initializer(value.to_owned()));
        }
        if graph.sparse_initializer.iter().any(|s| s.values.as_ref().is_some_and(|v| v.name() == value)) {
            return Origin::Sparse;
        }
        let Some((at, node)) = index.producer(value).and_then(|at| Some((at, graph.node.get(at)?))) else {
            return Origin::Computed(match (value.is_empty(), index.is_graph_input(value)) {
                (true, _) => "a missing input".to_owned(),
                (_, true) => format!("graph input `{value}`"),
                _ => format!("undefined value `{value}`"),
            });
        };
        if is_standard(node, "Constant") {
            return match constant_tensor(node) {
                Some(_) => Origin::Root(Root::ConstantNode(at)),
                None => Origin::Spelling(node.attribute.first().map_or("nothing", |a| a.name()).to_owned()),
            };
        }
        if !is_standard(node, "Identity") {
            return Origin::Computed(op_and_name(node));
        }
        value = node.input.first().map_or("", String::as_str);
    }
    Origin::Computed(format!("a cycle through `{value}`"))
}

/// The tensor of a Constant node spelled with `value`.
pub(crate) fn constant_tensor(node: &pb::NodeProto) -> Option<&pb::TensorProto> {
    if !is_standard(node, "Constant") {
        return None;
    }
    node.attribute.iter().find(|a| a.name() == "value").and_then(|a| a.t.as_ref())
}

/// Whether a node is `op` of the default operator set.
pub(crate) fn is_standard(node: &pb::NodeProto, op: &str) -> bool {
    node.op_type() == op && matches!(node.domain(), "" | "ai.onnx")
}

/// ``Gemm `fc` ``, for reasons.
pub(crate) fn op_and_name(node: &pb::NodeProto) -> String {
    let name = if node.name().is_empty() { node.output.first().map_or("", String::as_str) } else { node.name() };
    format!("{} `{name}`", node.op_type())
}
