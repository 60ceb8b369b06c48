//! Contraction orders for networks too large for the exact search.

use crate::tree::numbered_legs;
use crate::{ContractionTree, Cost, CostModel, Method, Network, Operand, Step};

/// What a greedy search looks for in its next pair.
#[derive(Clone, Copy)]
enum Preference {
    /// The step that takes the fewest seconds.
    Cheapest,
    /// The step whose result exceeds its operands least.
    SmallestGrowth,
}

struct Piece {
    operand: Operand,
    legs: Vec<usize>,
    size: f64,
}

/// The better of two greedy searches.
pub(crate) fn search(network: &Network, model: &CostModel) -> ContractionTree {
    let a = descend(network, model, Preference::SmallestGrowth);
    let b = descend(network, model, Preference::Cheapest);
    if b.seconds < a.seconds { b } else { a }
}

fn descend(network: &Network, model: &CostModel, preference: Preference) -> ContractionTree {
    let (tensors, dims) = numbered_legs(network);
    let size = |legs: &[usize]| legs.iter().map(|&leg| dims[leg]).product::<f64>();
    let pieces = tensors.into_iter().enumerate();
    let mut pieces: Vec<Piece> =
        pieces.map(|(n, legs)| Piece { operand: Operand::Tensor(n), size: size(&legs), legs }).collect();
    let mut steps = Vec::new();
    while pieces.len() > 1 {
        let mut best: Option<(bool, f64, usize, usize, Vec<usize>, Cost)> = None;
        for (j, b) in pieces.iter().enumerate() {
            for (i, a) in pieces[..j].iter().enumerate() {
                let legs = symmetric_difference(&a.legs, &b.legs);
                let result = size(&legs);
                let cost = Cost::pairwise(a.size, b.size, result);
                let outer = legs.len() == a.legs.len() + b.legs.len();
                let score = match preference {
                    Preference::Cheapest => model.seconds(&cost),
                    Preference::SmallestGrowth => result - a.size - b.size,
                };
                // Neighbours come before pairs that share no bond.
                if best.as_ref().is_none_or(|b| (outer, score) < (b.0, b.1)) {
                    best = Some((outer, score, i, j, legs, cost));
                }
            }
        }
        let Some((_, _, i, j, legs, cost)) = best else { break };
        let (right, left) = (pieces.swap_remove(j), pieces.swap_remove(i));
        let elements = size(&legs);
        steps.push(Step { left: left.operand, right: right.operand, elements, cost });
        pieces.push(Piece { operand: Operand::Step(steps.len() - 1), legs, size: elements });
    }
    ContractionTree::new(steps, Method::Greedy, model)
}

fn symmetric_difference(a: &[usize], b: &[usize]) -> Vec<usize> {
    let only_a = a.iter().filter(|leg| !b.contains(leg));
    only_a.chain(b.iter().filter(|leg| !a.contains(leg))).copied().collect()
}
