//! tract panics on some models; a compiler must not, and it must say where.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{Framework as _, InferenceModel, TractResult};
use tract_onnx::tract_hir::infer::InferenceModelExt as _;

use crate::error::Error;
use crate::text::{self, one_line};

std::thread_local! {
    /// How many calls into tract this thread is in.
    static GUARDED: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread runs code of tract, whose panics are caught and become errors.
#[must_use]
pub fn is_guarded() -> bool {
    GUARDED.with(Cell::get) > 0
}

/// Catches panics of `f`, which calls into tract.
fn caught<T>(f: impl FnOnce() -> T) -> std::thread::Result<T> {
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.with(|depth| depth.set(depth.get() - 1));
    result
}

/// Runs `f` and makes errors of tract's errors and panics. `place` says at which node it panicked.
pub(super) fn guarded<T>(
    action: &'static str,
    f: impl FnOnce() -> TractResult<T>,
    place: impl FnOnce() -> Option<String>,
) -> Result<T, Error> {
    match caught(f) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => {
            let words = one_line(&format!("{e:#}"));
            // What fails in a node mostly says in which, with its number.
            let place = if words.contains("#") { None } else { place() };
            let problem = place.map_or_else(|| words.clone(), |place| format!("it failed at {place} ({words})"));
            Err(Error::Runtime { action, problem })
        }
        Err(payload) => {
            let words = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no words");
            let place = place().unwrap_or_else(|| "a node it does not name".into());
            Err(Error::Runtime { action, problem: format!("it panicked at {place} ({})", one_line(words)) })
        }
    }
}

/// How a message calls a node.
pub(super) fn node_text(name: &str, operator: &str) -> String {
    format!("node '{}' ({})", text::name(name), text::name(operator))
}

/// Whether `f` panics.
fn panics<T>(f: impl FnOnce() -> T) -> bool {
    caught(f).is_err()
}

/// The first node at which tract panics while it reads the graph.
pub(super) fn while_parsing(proto: &mut ModelProto) -> Option<String> {
    let graph = proto.graph.as_mut()?;
    let nodes = std::mem::take(&mut graph.node);
    graph.output.clear();
    let fails = |count: usize| {
        if let Some(graph) = proto.graph.as_mut() {
            graph.node = nodes[..count].to_vec();
        }
        panics(|| tract_onnx::onnx().model_for_proto_model(proto).is_ok())
    };
    let culprit = first(nodes.len(), fails)?;
    nodes.get(culprit).map(|node| node_text(&node.name, &node.op_type))
}

/// The first node at which tract panics while it infers shapes.
pub(super) fn while_analysing(model: &InferenceModel) -> Option<String> {
    let fails = |count: usize| {
        let mut part = model.clone();
        part.nodes.truncate(count);
        let outputs = part.nodes.iter_mut().flat_map(|node| &mut node.outputs);
        outputs.for_each(|output| output.successors.retain(|successor| successor.node < count));
        part.inputs.retain(|input| input.node < count);
        part.outputs.clear();
        panics(|| part.analyse(false).is_ok())
    };
    let node = model.nodes.get(first(model.nodes.len(), fails)?)?;
    Some(node_text(&node.name, &node.op.name()))
}

/// The node that makes the first `count` nodes fail where those before it do not.
fn first(nodes: usize, mut fails: impl FnMut(usize) -> bool) -> Option<usize> {
    if fails(0) || !fails(nodes) {
        return None;
    }
    let (mut good, mut bad) = (0, nodes);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        if fails(middle) { bad = middle } else { good = middle }
    }
    Some(good)
}

/// Remembers which node is being run.
#[derive(Debug, Default)]
pub(super) struct Last(Cell<Option<usize>>);

impl Last {
    pub(super) fn enter(&self, node: usize) {
        self.0.set(Some(node));
    }

    pub(super) fn node(&self) -> Option<usize> {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_is_guarded() {
        assert!(!is_guarded());
        let result: Result<(), Error> = guarded("run", || panic!("{}", is_guarded()), || Some("node 'a' (Add)".into()));
        assert!(result.unwrap_err().to_string().contains("node 'a' (Add) (true)"));
        assert!(!is_guarded());
    }
}
