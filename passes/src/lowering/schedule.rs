//! Which act of a level comes first.
//!
//! Two orders are tried, and the cheaper one is taken: legs that grow least first, which keeps the tensor small, and from
//! right to left, which keeps the legs that stay where they are behind those still to be made and so spares moves.
//! Disentanglers act as soon as both their legs are there, since they do not make the tensor larger.

use adntn_contraction::{Cost, CostModel, Expansion, expansion_order};

use crate::lowering::apply::Product;
use crate::lowering::level::{Act, Axis, Level};
use crate::lowering::place::{Placed, place};

/// The smaller tensors have to save so much before legs are moved for them.
const WORTH_MOVING: f64 = 0.9;
/// What a runtime spends on each of a batch of small matrix products besides the arithmetic.
const SECONDS_PER_PRODUCT: f64 = 1e-7;

/// The acts of `level` in the cheapest order found, for a running tensor with `axes`.
pub(super) fn schedule(level: &Level, axes: &[Axis]) -> Option<Vec<Placed>> {
    let small = place(level, axes.to_vec(), &smallest_growth_first(level))?;
    if level.is_in_tree_order() {
        return Some(small);
    }
    let still = place(level, axes.to_vec(), &from_right_to_left(level, axes))?;
    Some(if seconds(level, axes, &small) < WORTH_MOVING * seconds(level, axes, &still) { small } else { still })
}

fn is_isometry(act: &Act) -> bool {
    matches!(act.takes[..], [Axis::Parent(_)])
}

fn from_right_to_left(level: &Level, axes: &[Axis]) -> Vec<usize> {
    let expands = |axis: &Axis| level.acts.iter().position(|act| act.takes == [*axis]);
    with_disentanglers(level, axes.iter().rev().filter_map(expands))
}

fn smallest_growth_first(level: &Level) -> Vec<usize> {
    let isometries: Vec<usize> = (0..level.acts.len()).filter(|&k| is_isometry(&level.acts[k])).collect();
    let expansion = |&k: &usize| {
        let act = &level.acts[k];
        Expansion { parent: level.size(&act.takes), children: level.size(&act.gives) }
    };
    let expansions: Vec<Expansion> = isometries.iter().map(expansion).collect();
    let order = expansion_order(&expansions, &CostModel::default()).order;
    with_disentanglers(level, order.into_iter().map(|place| isometries[place]))
}

/// `isometries` with every disentangler right behind the later of the two that make its legs.
fn with_disentanglers(level: &Level, isometries: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut raw: Vec<Axis> = level.axes.iter().copied().filter(|axis| matches!(axis, Axis::Raw(_))).collect();
    let mut open: Vec<usize> = (0..level.acts.len()).filter(|&k| !is_isometry(&level.acts[k])).collect();
    let mut order = Vec::with_capacity(level.acts.len());
    for isometry in [None].into_iter().chain(isometries.map(Some)) {
        if let Some(isometry) = isometry {
            raw.extend(level.acts[isometry].gives.iter().copied());
            order.push(isometry);
        }
        let (ready, later) = open.iter().partition(|&&k| level.acts[k].takes.iter().all(|axis| raw.contains(axis)));
        open = later;
        order.extend::<Vec<usize>>(ready);
    }
    order
}

/// Estimated time of the whole level.
fn seconds(level: &Level, axes: &[Axis], plan: &[Placed]) -> f64 {
    let (model, mut before) = (CostModel::default(), axes);
    let mut total = 0.0;
    for step in plan {
        let act = &level.acts[step.act];
        let core = level.size(&act.takes) * level.size(&act.gives);
        let (input, output) = (level.size(before), level.size(&step.axes));
        let cost = Cost::pairwise(input as f64, core as f64, output as f64);
        let products = Product::new(level, before, step).batches();
        total += model.seconds(&cost) + products as f64 * SECONDS_PER_PRODUCT;
        before = &step.axes;
    }
    total
}
