//! How outputs depend on leaves: where a gradient passes, and what stands in its way.

use std::collections::{HashMap, HashSet};

use adntn_onnx::{Model, pb};

use crate::Error;
use crate::attributes::Node;
use crate::error::Problem;
use crate::frontier::{Kinds, is_shape};
use crate::order::{exists, label, needed, operator, reads};

/// How an output depends on the leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// A gradient passes: there is a way through floating point values, and everything on the way can be computed here.
    Differentiable,
    /// Only through integers or truth values, or the output is such itself: piecewise constant, without a derivative.
    Stepwise,
    /// Not at all.
    Independent,
    /// An operator that the interpreter lacks, or a setting of it, stands between.
    Obstructed {
        /// What to call the node.
        node: String,
        /// Its operator, with the domain where that is not the default one.
        op: String,
    },
}

/// How outputs and leaves of a model hang together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// For each output.
    pub outputs: Vec<Path>,
    /// For each leaf, whether a gradient comes to it from one of the differentiable outputs.
    pub leaves: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Carries,
    Stepwise,
    /// The number of the node.
    Obstructed(usize),
}

/// Tells how `outputs` depend on the leaves `trainable`. Nothing is computed.
///
/// # Errors
/// [`Error::NoValue`] for a name that the graph does not have.
pub fn paths(model: &Model, trainable: &[String], outputs: &[String]) -> Result<Paths, Error> {
    if let Some(name) = trainable.iter().chain(outputs).find(|name| !exists(model, name)) {
        return Err(Error::NoValue { name: name.clone() });
    }
    let graph = model.graph();
    let inputs = graph.input.iter().map(pb::ValueInfoProto::name);
    let mut stops: HashSet<&str> = inputs.filter(|name| model.index().initializer(name).is_none()).collect();
    stops.extend(trainable.iter().map(String::as_str));
    let order = needed(model, &stops, outputs)?;
    let kinds = Kinds::new(model);
    let mut states: HashMap<&str, State> = trainable.iter().map(|name| (name.as_str(), State::Carries)).collect();
    for &number in &order {
        let proto = &graph.node[number];
        let read: Vec<State> = reads(proto).filter_map(|name| states.get(name).copied()).collect();
        // No leaf has an influence on a shape.
        if read.is_empty() || is_shape(proto) {
            continue;
        }
        let blocked = read.iter().find(|state| matches!(state, State::Obstructed(_))).copied();
        let covered = blocked.is_none() && builds(model, proto);
        for (place, output) in proto.output.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
            let state = match blocked {
                Some(state) => state,
                None if !covered || (place > 0 && proto.op_type() != "Split") => State::Obstructed(number),
                None if kinds.is_integer(output) || !read.contains(&State::Carries) => State::Stepwise,
                None => State::Carries,
            };
            states.insert(output, state);
        }
    }
    let found = outputs.iter().map(|name| match states.get(name.as_str()) {
        Some(State::Carries) => Path::Differentiable,
        Some(State::Stepwise) => Path::Stepwise,
        Some(&State::Obstructed(number)) => {
            Path::Obstructed { node: label(&graph.node[number], number), op: operator(&graph.node[number]) }
        }
        None => Path::Independent,
    });
    let found: Vec<Path> = found.collect();
    let ends = outputs.iter().zip(&found).filter(|(_, path)| **path == Path::Differentiable);
    let mut reached: HashSet<&str> = ends.map(|(name, _)| name.as_str()).collect();
    for &number in order.iter().rev() {
        let proto = &graph.node[number];
        if proto.output.iter().any(|output| reached.contains(output.as_str())) {
            reached.extend(reads(proto).filter(|name| states.get(name) == Some(&State::Carries)));
        }
    }
    let leaves = trainable.iter().map(|name| reached.contains(name.as_str())).collect();
    Ok(Paths { outputs: found, leaves })
}

/// Whether the interpreter has the operator of a node with its settings.
pub(crate) fn builds(model: &Model, proto: &pb::NodeProto) -> bool {
    let node = Node { model, proto, opset: model.opset() };
    proto.op_type() == "Constant" || crate::ops::build(&node).map(drop).map_err(|_: Problem| ()).is_ok()
}
