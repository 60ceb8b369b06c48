//! The tape: what has been computed from what, and how gradients go back.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::plain::Plain;
use super::zip::{Add, combine_any};

/// Gives the gradient of a value on to what it was computed from.
type Backward = Box<dyn FnOnce(Plain, &mut Parents) + Send>;

/// A value on the tape. It keeps alive what its gradient needs, and is dropped when nothing is left that depends on it.
pub(crate) struct Node {
    /// Later nodes have larger numbers.
    number: u64,
    /// `None` where no gradient is wanted.
    parents: Vec<Option<Arc<Node>>>,
    /// `None` for a leaf.
    backward: Mutex<Option<Backward>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Node {
    /// One after the other: the tape of a deep network is longer than the stack.
    fn drop(&mut self) {
        let mut parents = std::mem::take(&mut self.parents);
        while let Some(parent) = parents.pop() {
            if let Some(mut node) = parent.and_then(Arc::into_inner) {
                parents.append(&mut node.parents);
            }
        }
    }
}

impl Node {
    fn new(parents: Vec<Option<Arc<Node>>>, backward: Option<Backward>) -> Arc<Node> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node { number, parents, backward: Mutex::new(backward) })
    }

    pub(crate) fn leaf() -> Arc<Node> {
        Node::new(Vec::new(), None)
    }

    /// `None` where none of the parents is on the tape.
    pub(crate) fn record(
        parents: Vec<Option<Arc<Node>>>,
        backward: impl FnOnce(Plain, &mut Parents) + Send + 'static,
    ) -> Option<Arc<Node>> {
        let any = parents.iter().any(Option::is_some);
        any.then(|| Node::new(parents, Some(Box::new(backward))))
    }
}

/// Gradients that have not been passed on yet, by the number of their node.
type Pending = BTreeMap<u64, (Arc<Node>, Plain)>;

/// Takes the gradients of what a value was computed from.
pub(crate) struct Parents<'a> {
    nodes: &'a [Option<Arc<Node>>],
    pending: &'a mut Pending,
}

impl Parents<'_> {
    /// Whether a gradient is wanted.
    pub(crate) fn want(&self, place: usize) -> bool {
        self.nodes.get(place).is_some_and(Option::is_some)
    }

    /// Adds a gradient, of the shape of the parent.
    pub(crate) fn give(&mut self, place: usize, gradient: Plain) {
        if let Some(Some(node)) = self.nodes.get(place) {
            add(self.pending, node, gradient);
        }
    }

    /// Lets `f` add to the gradient of a parent of this shape where it lies.
    pub(crate) fn add(&mut self, place: usize, shape: &[usize], f: impl FnOnce(&mut [f32])) {
        let Some(Some(node)) = self.nodes.get(place) else { return };
        let zeros = || Plain::new(shape.to_vec(), vec![0.0; shape.iter().product()]);
        let entry = self.pending.entry(node.number).or_insert_with(|| (Arc::clone(node), zeros()));
        f(entry.1.values_mut());
    }
}

fn add(pending: &mut Pending, node: &Arc<Node>, gradient: Plain) {
    let sum = match pending.remove(&node.number) {
        Some((_, sum)) => combine_any(sum, gradient, Add),
        None => gradient,
    };
    pending.insert(node.number, (Arc::clone(node), sum));
}

/// The gradients of `leaves`, given those of some values; `None` for a leaf on which none of them depends.
pub(crate) fn backward(seeds: Vec<(Arc<Node>, Plain)>, leaves: &[Option<Arc<Node>>]) -> Vec<Option<Plain>> {
    let mut pending = Pending::new();
    for (node, gradient) in seeds {
        add(&mut pending, &node, gradient);
    }
    let mut found: HashMap<u64, Plain> = HashMap::new();
    while let Some((number, (node, gradient))) = pending.pop_last() {
        let step = node.backward.lock().unwrap_or_else(PoisonError::into_inner).take();
        match step {
            Some(step) => step(gradient, &mut Parents { nodes: &node.parents, pending: &mut pending }),
            None => {
                found.insert(number, gradient);
            }
        }
    }
    leaves.iter().map(|leaf| found.remove(&leaf.as_ref()?.number)).collect()
}
