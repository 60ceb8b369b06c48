//! The result of a search: which pairs to contract, in which order, at what cost.

use std::collections::BTreeMap;

use crate::{Cost, CostModel, Network};

/// How a tree was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By dynamic programming over all subsets of tensors: no tree is cheaper.
    Exact,
    /// Step by step: cheaper trees may exist.
    Greedy,
}

/// One side of a pairwise contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A tensor of the network, by number.
    Tensor(usize),
    /// The result of an earlier step, by number.
    Step(usize),
}

/// One pairwise contraction.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// First operand.
    pub left: Operand,
    /// Second operand.
    pub right: Operand,
    /// Elements of the result.
    pub elements: f64,
    /// Its cost.
    pub cost: Cost,
}

/// A complete contraction order.
#[derive(Debug, Clone, PartialEq)]
pub struct ContractionTree {
    /// Pairwise contractions; a step's operands come before it, the last step's result is the network's value. Empty for
    /// networks of at most one tensor.
    pub steps: Vec<Step>,
    /// Sum of the steps' costs.
    pub total: Cost,
    /// Estimated seconds of `total` under the model of the search.
    pub seconds: f64,
    /// How it was found.
    pub method: Method,
}

impl ContractionTree {
    /// Whether no cheaper tree exists under the model of the search.
    pub fn is_optimal(&self) -> bool {
        self.method == Method::Exact
    }

    pub(crate) fn new(steps: Vec<Step>, method: Method, model: &CostModel) -> Self {
        let total: Cost = steps.iter().map(|step| step.cost).sum();
        ContractionTree { seconds: model.seconds(&total), steps, total, method }
    }
}

/// For each tensor, its legs as numbers; and the dimensions of these numbers.
pub(crate) fn numbered_legs(network: &Network) -> (Vec<Vec<usize>>, Vec<f64>) {
    let mut numbers = BTreeMap::new();
    let mut dims = Vec::new();
    let tensors = network.tensors().map(|tensor| {
        let legs = tensor.legs.iter().map(|leg| {
            *numbers.entry(leg.name.clone()).or_insert_with(|| {
                dims.push(leg.dim as f64);
                dims.len() - 1
            })
        });
        legs.collect()
    });
    (tensors.collect(), dims)
}
