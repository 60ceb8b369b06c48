//! Where a value comes from: a constant, directly or through Identity nodes, or something computed.

use std::collections::{HashMap, HashSet};

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

/// Where the values of a model's main graph come from.
pub(crate) struct Origins<'m> {
    model: &'m Model,
    /// For what an Identity makes, the value that it is a copy of in the end: chains are followed once.
    copies: HashMap<&'m str, &'m str>,
    sparse: HashSet<&'m str>,
}

impl<'m> Origins<'m> {
    pub(crate) fn new(model: &'m Model) -> Self {
        let (graph, index) = (model.graph(), model.index());
        let mut copies: HashMap<&str, &str> = HashMap::new();
        let copied = |value: &str| {
            let node = index.producer(value).filter(|_| index.initializer(value).is_none())?;
            let node = graph.node.get(node).filter(|node| is_standard(node, "Identity"))?;
            Some(node.input.first().map_or("", String::as_str))
        };
        for node in graph.node.iter().filter(|node| is_standard(node, "Identity")) {
            let Some(mut value) = node.output.first().map(String::as_str) else { continue };
            let mut path = Vec::new();
            // The bound only matters for cyclic graphs.
            while path.len() <= graph.node.len() && !copies.contains_key(value) {
                let Some(before) = copied(value) else { break };
                path.push(value);
                value = before;
            }
            let end = copies.get(value).copied().unwrap_or(value);
            copies.extend(path.into_iter().map(|value| (value, end)));
        }
        let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(pb::TensorProto::name);
        Origins { model, copies, sparse: sparse.collect() }
    }

    /// Follows Identity nodes back to what makes a value.
    pub(crate) fn of(&self, value: &str) -> Origin {
        let (graph, index) = (self.model.graph(), self.model.index());
        let value = self.copies.get(value).copied().unwrap_or(value);
        if index.initializer(value).is_some() {
            return Origin::Root(Root::Initializer(value.to_owned()));
        }
        if self.sparse.contains(value) {
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
        if is_standard(node, "Identity") {
            return Origin::Computed(format!("a cycle through `{value}`"));
        }
        Origin::Computed(op_and_name(node))
    }
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
