//! Which act of a level comes first.
//!
//! On the last level a few orders are tried, and the cheapest one is taken: legs that grow least first, which keeps the tensor
//! small; from right to left, which keeps the legs that stay where they are behind those still to be made and so spares moves;
//! and the same with the leftmost core first. Elsewhere nothing moves, and the first is best.
//! Disentanglers act as soon as both their legs are there, since they do not make the tensor larger.

use adntn_contraction::{Cost, CostModel, Expansion, expansion_order};

use crate::lowering::apply::Product;
use crate::lowering::level::{Act, Axis, Level};
use crate::lowering::place::{Placed, place};

/// The smaller tensors have to save so much before legs are moved for them.
const WORTH_MOVING: f64 = 0.9;
/// What a runtime spends on each of a batch of small matrix products besides the arithmetic.
const SECONDS_PER_PRODUCT: f64 = 2e-7;
/// Rows of a product whose arithmetic takes as long as packing its right-hand side.
const PACKING_ROWS: f64 = 6.0;
/// Columns are computed in groups of so many.
const LANES: usize = 16;

/// The acts of `level` in the cheapest order found, for a running tensor with `axes`.
pub(super) fn schedule(level: &Level, axes: &[Axis]) -> Option<Vec<Placed>> {
    let priced = |order: Vec<usize>| {
        let plan = place(level, axes.to_vec(), &order)?;
        Some((seconds(level, axes, &plan), plan))
    };
    let small = priced(smallest_growth_first(level))?;
    if level.is_in_tree_order() {
        return Some(small.1);
    }
    let still = from_right_to_left(level, axes);
    // The first legs need not pass any others if they come first.
    let leading = still.last().filter(|&&act| is_isometry(&level.acts[act])).map(|&act| {
        let rest = still[..still.len() - 1].iter().copied();
        [act].into_iter().chain(rest).collect::<Vec<usize>>()
    });
    let mut best = priced(still)?;
    for (cost, plan) in leading.and_then(priced).into_iter().chain([small]) {
        if cost < WORTH_MOVING * best.0 {
            best = (cost, plan);
        }
    }
    Some(best.1)
}

fn is_isometry(act: &Act) -> bool {
    matches!(act.takes[0], Axis::Parent(_))
}

fn from_right_to_left(level: &Level, axes: &[Axis]) -> Vec<usize> {
    let expands = |axis: &Axis| level.acts.iter().position(|act| is_isometry(act) && act.takes.last() == Some(axis));
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
    let (mut total, mut shape) = (0.0, Vec::new());
    for step in plan {
        let product = Product::new(level, before, step);
        let (products, [m, k, n]) = product.sizes();
        let columns = n.next_multiple_of(LANES) as f64;
        let multiply_adds = products as f64 * (m as f64 + PACKING_ROWS) * k as f64 * columns;
        // A Reshape that is folded copies the tensor; only views of the same shape are free.
        let passes_over_input = if product.reads(&shape) { 1 } else { 3 };
        let elements = (passes_over_input * level.size(before) + level.size(&step.axes)) as f64;
        total += model.seconds(&Cost { multiply_adds, elements, nodes: 1.0 }) + products as f64 * SECONDS_PER_PRODUCT;
        shape = product.result();
        before = &step.axes;
    }
    total
}
