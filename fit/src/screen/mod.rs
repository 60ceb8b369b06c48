//! Models that no run could finish, told by their shapes and attributes before a runtime sees them.
//!
//! tract allocates what a node asks for while it infers shapes, and some attributes send it into endless loops. The screen
//! follows shapes through the standard operators as far as that is cheap, open extents counted as one, so that what it
//! calls too large is too large for every input. What it does not know it lets pass: it promises nothing about the rest.

mod fidelity;
mod rules;
mod value;
mod window;

use std::collections::HashMap;

use adntn_onnx::{Model, pb};

use crate::error::Error;
use value::Value;

/// Elements of the largest value of a run with one sample: 4 GiB in float32.
const MOST_ELEMENTS: u64 = 1 << 30;
/// Bodies of If, Loop and Scan in each other. tract looks through every body several times, at every level.
const MOST_NESTED: usize = 8;

/// Refuses a model of which a node cannot be run, or not within bounds.
///
/// # Errors
/// [`Error::Unfit`] with the first such node.
pub fn screen(model: &Model) -> Result<(), Error> {
    let opset = model.opset();
    let outermost = Scope { outer: None, depth: 0, opset };
    outermost.graph(model, model.graph())?;
    model.proto().functions.iter().try_for_each(|function| {
        let mut known = HashMap::new();
        function.node.iter().enumerate().try_for_each(|(at, node)| outermost.node(model, at, node, &mut known))
    })
}

/// Where a graph stands: what is known of the values around it.
struct Scope<'s> {
    outer: Option<(&'s Scope<'s>, &'s HashMap<&'s str, Value>)>,
    depth: usize,
    opset: i64,
}

impl Scope<'_> {
    fn graph(&self, model: &Model, graph: &pb::GraphProto) -> Result<(), Error> {
        let mut known: HashMap<&str, Value> = HashMap::new();
        for input in &graph.input {
            let value = Value::of_input(input);
            let unfit = |problem| Error::Unfit { node: format!("graph input `{}`", input.name()), problem };
            if value.dims.as_ref().is_some_and(|dims| dims.contains(&Some(0))) {
                return Err(unfit("is empty: it has an extent of 0".into()));
            }
            check(&value).map_err(unfit)?;
            known.insert(input.name(), value);
        }
        for tensor in &graph.initializer {
            known.insert(tensor.name(), Value::of_tensor(model, tensor));
        }
        for sparse in &graph.sparse_initializer {
            let Some(values) = &sparse.values else { continue };
            let value = Value::of_shape(sparse.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect());
            let named = |problem| Error::Unfit { node: format!("sparse initializer `{}`", values.name()), problem };
            check(&value).map_err(named)?;
            known.insert(values.name(), value);
        }
        graph.node.iter().enumerate().try_for_each(|(at, node)| self.node(model, at, node, &mut known))
    }

    fn node<'g>(
        &self,
        model: &Model,
        at: usize,
        node: &'g pb::NodeProto,
        known: &mut HashMap<&'g str, Value>,
    ) -> Result<(), Error> {
        let unfit = |problem: String| Error::Unfit { node: label(node, at), problem };
        let inputs: Vec<Value> =
            node.input.iter().map(|name| self.find(name, known).cloned().unwrap_or_default()).collect();
        fidelity::check(node, &inputs, self.opset).map_err(unfit)?;
        if matches!(node.domain(), "" | "ai.onnx") {
            let outputs = rules::outputs(model, node, &inputs, self.opset).map_err(unfit)?;
            for (name, value) in node.output.iter().zip(outputs) {
                check(&value).map_err(unfit)?;
                known.insert(name, value);
            }
        }
        for body in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            if self.depth == MOST_NESTED {
                return Err(unfit(format!("has a body inside {MOST_NESTED} others")));
            }
            Scope { outer: Some((self, known)), depth: self.depth + 1, opset: self.opset }.graph(model, body)?;
        }
        Ok(())
    }

    fn find<'k>(&'k self, name: &str, known: &'k HashMap<&str, Value>) -> Option<&'k Value> {
        known.get(name).or_else(|| self.outer.and_then(|(scope, around)| scope.find(name, around)))
    }
}

fn check(value: &Value) -> Result<(), String> {
    match value.least_elements() {
        Some(count) if count > MOST_ELEMENTS => Err(format!("makes a value of at least {count} elements")),
        None => Err("makes a value whose elements cannot be counted".into()),
        Some(_) => Ok(()),
    }
}

fn label(node: &pb::NodeProto, at: usize) -> String {
    match node.name() {
        "" => format!("node {at} ({})", node.op_type()),
        name => format!("node `{name}` ({})", node.op_type()),
    }
}
