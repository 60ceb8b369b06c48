//! The optimal contraction tree by dynamic programming over subsets of tensors.

use crate::tree::numbered_legs;
use crate::{ContractionTree, Cost, CostModel, Method, Network, Operand, Step};

/// Best split of every subset into two. Subsets that are not connected take part as well, because an outer product of two
/// small tensors can be cheaper than contracting each of them with a large one.
pub(crate) fn search(network: &Network, model: &CostModel) -> ContractionTree {
    let count = network.tensors().count();
    if count < 2 {
        return ContractionTree::new(Vec::new(), Method::Exact, model);
    }
    let sizes = subset_sizes(network);
    let roots: Vec<f64> = sizes.iter().map(|size| size.sqrt()).collect();
    let (per_madd, per_element) = (2.0 / model.flops_per_second, model.bytes_per_element / model.bytes_per_second);
    let mut best = vec![0.0f64; 1 << count];
    let mut split = vec![0usize; 1 << count];
    for set in 1usize..1 << count {
        if set.is_power_of_two() {
            continue;
        }
        // Each unordered split is seen once: the part with the lowest tensor is `set` minus a subset of the others.
        let others = set & (set - 1);
        let (mut least, mut choice) = (f64::INFINITY, 0);
        let mut part = others;
        while part != 0 {
            let rest = set ^ part;
            let below = best[part] + best[rest];
            if below < least {
                let own = roots[part] * roots[rest] * roots[set] * per_madd
                    + (sizes[part] + sizes[rest] + sizes[set]) * per_element
                    + model.seconds_per_node;
                if below + own < least {
                    (least, choice) = (below + own, part);
                }
            }
            part = (part - 1) & others;
        }
        // Overflowing sizes make every split infinitely dear; any one will do then.
        (best[set], split[set]) = (least, if choice == 0 { others } else { choice });
    }
    let mut steps = Vec::with_capacity(count - 1);
    unfold((1 << count) - 1, &split, &sizes, &mut steps);
    ContractionTree::new(steps, Method::Exact, model)
}

/// Elements of the tensor that contracting each subset gives.
fn subset_sizes(network: &Network) -> Vec<f64> {
    let (tensors, dims) = numbered_legs(network);
    let mut holders = vec![0usize; dims.len()];
    for (tensor, legs) in tensors.iter().enumerate() {
        legs.iter().for_each(|&leg| holders[leg] |= 1 << tensor);
    }
    let size = |set: usize| {
        let open = holders
            .iter()
            .zip(&dims)
            .filter(|&(&held, _)| held & set != 0 && (held & !set != 0 || held.is_power_of_two()));
        open.map(|(_, dim)| dim).product()
    };
    (0..1usize << tensors.len()).map(size).collect()
}

/// Appends the steps of a subset, operands first.
fn unfold(set: usize, split: &[usize], sizes: &[f64], steps: &mut Vec<Step>) -> Operand {
    if set.is_power_of_two() {
        return Operand::Tensor(set.trailing_zeros() as usize);
    }
    let (a, b) = (set ^ split[set], split[set]);
    let left = unfold(a, split, sizes, steps);
    let right = unfold(b, split, sizes, steps);
    steps.push(Step { left, right, elements: sizes[set], cost: Cost::pairwise(sizes[a], sizes[b], sizes[set]) });
    Operand::Step(steps.len() - 1)
}
