//! The order in which a running tensor's legs are expanded by isometries.

use crate::{Cost, CostModel};

/// One leg of the running tensor and the core that expands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expansion {
    /// Dimension of the leg before: rows of the core.
    pub parent: usize,
    /// Dimension after, the product of its children: columns of the core.
    pub children: usize,
}

/// An optimal order of expansions.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpansionOrder {
    /// Legs in the order in which to expand them.
    pub order: Vec<usize>,
    /// Cost of each expansion, in that order.
    pub steps: Vec<Cost>,
    /// Sum of the steps.
    pub total: Cost,
    /// Estimated seconds of `total`.
    pub seconds: f64,
}

/// The cheapest order in which to expand every leg of a tensor (shape: the parents' dimensions), one at a time, optimal for
/// any number of legs; legs of equal merit keep their order.
///
/// Expanding leg s of a tensor with X elements takes X·w_s + const seconds, where w_s = 2·children/flops + bytes·(1 + g_s),
/// and leaves X·g_s elements, g_s = children/parent. Of two neighbours in the order, s before t is cheaper exactly when
/// w_s + g_s·w_t < w_t + g_t·w_s, that is (g_s − 1)/w_s < (g_t − 1)/w_t; so sorting by that ratio is optimal.
pub fn expansion_order(legs: &[Expansion], model: &CostModel) -> ExpansionOrder {
    let merit = |leg: &Expansion| {
        let growth = leg.children as f64 / leg.parent.max(1) as f64;
        let weight = 2.0 * leg.children as f64 / model.flops_per_second
            + (1.0 + growth) * model.bytes_per_element / model.bytes_per_second;
        (growth - 1.0) / weight
    };
    let mut order: Vec<usize> = (0..legs.len()).collect();
    order.sort_by(|&a, &b| merit(&legs[a]).total_cmp(&merit(&legs[b])));
    let mut size: f64 = legs.iter().map(|leg| leg.parent as f64).product();
    let steps: Vec<Cost> = order
        .iter()
        .map(|&k| {
            let Expansion { parent, children } = legs[k];
            let result = size / parent.max(1) as f64 * children as f64;
            let cost = Cost::pairwise(size, parent as f64 * children as f64, result);
            size = result;
            cost
        })
        .collect();
    let total: Cost = steps.iter().copied().sum();
    ExpansionOrder { order, seconds: model.seconds(&total), steps, total }
}
