//! Which nodes a set of outputs needs, in an order in which they can run.

use std::collections::HashSet;

use adntn_onnx::{Model, pb};

use crate::Error;

/// What to call a node in a message.
pub(crate) fn label(node: &pb::NodeProto, number: usize) -> String {
    match node.name() {
        "" => format!("node {number}"),
        name => format!("node `{name}`"),
    }
}

/// The operator of a node, with the domain where that is not the default one.
pub(crate) fn operator(node: &pb::NodeProto) -> String {
    match node.domain() {
        "" | "ai.onnx" => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    }
}

/// Whether the graph has a value of this name.
pub(crate) fn exists(model: &Model, name: &str) -> bool {
    let index = model.index();
    index.producer(name).is_some() || index.initializer(name).is_some() || index.is_graph_input(name)
}

/// Names that a node reads: its inputs, and what bodies inside it capture is unknown here.
pub(crate) fn reads(node: &pb::NodeProto) -> impl Iterator<Item = &str> {
    node.input.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// Indices of the nodes between `stops` (given values) and `outputs`, each after those it reads from.
pub(crate) fn needed(model: &Model, stops: &HashSet<&str>, outputs: &[String]) -> Result<Vec<usize>, Error> {
    let index = model.index();
    let mut order = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    // A value comes up twice: first to look at what it needs, then, after that, to run its node.
    let mut stack: Vec<(&str, bool)> = outputs.iter().rev().map(|name| (name.as_str(), false)).collect();
    let mut placed = HashSet::new();
    while let Some((name, ready)) = stack.pop() {
        if stops.contains(name) {
            continue;
        }
        let Some(number) = index.producer(name) else {
            if index.initializer(name).is_some() {
                continue;
            }
            let input = name.to_owned();
            let given = index.is_graph_input(name);
            return Err(if given { Error::MissingInput { input } } else { Error::NoValue { name: input } });
        };
        if ready {
            if placed.insert(number) {
                order.push(number);
            }
        } else if seen.insert(name) {
            stack.push((name, true));
            stack.extend(reads(&model.graph().node[number]).map(|input| (input, false)));
        }
    }
    Ok(order)
}
