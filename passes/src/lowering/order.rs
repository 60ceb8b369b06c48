//! Which tensors of a multilinear region are contracted first.
//!
//! The cores of one level are independent of each other, and sorting them by merit is optimal. Over several levels it may
//! pay to contract cores with each other before the running tensor sees them; then the tree search decides. It may also ask
//! for the outer product of two cores that share no bond, which has no in-place form: such a region goes level by level.

use std::collections::BTreeSet;

use adntn_contraction::{CostModel, Expansion, Network, Operand, contraction_tree, expansion_order};

use crate::Error;
use crate::lowering::inplace::{Core, LegId};

/// A contraction order. Every join is between a connected part and one that hangs on one of its legs.
pub(super) enum Tree {
    /// The running tensor.
    Running,
    /// The core with this index.
    Core(usize),
    /// Two parts, contracted over `bond`.
    Join {
        /// The part that `bond` leads down from.
        upper: Box<Tree>,
        /// The part below it.
        lower: Box<Tree>,
        bond: LegId,
        /// The label of the topmost core of the lower part.
        label: String,
    },
}

/// The cheapest order found for the tensor with `legs` and the `cores` below it; `cores` are sorted from coarse to fine.
pub(super) fn cheapest(legs: &[(LegId, usize)], cores: &[Core], layer: &str) -> Result<Tree, Error> {
    let one_level = cores.iter().all(|core| legs.contains(&core.bond));
    if !one_level && let Some(tree) = searched(legs, cores).map_err(|e| order_error(layer, &e))? {
        return Ok(tree);
    }
    Ok(level_by_level(legs, cores))
}

fn order_error(layer: &str, error: &adntn_contraction::Error) -> Error {
    Error::Order { layer: layer.to_owned(), message: error.to_string() }
}

/// Expands the legs of one level after the other, each level in its optimal order.
fn level_by_level(legs: &[(LegId, usize)], cores: &[Core]) -> Tree {
    let mut tree = Tree::Running;
    let mut open: BTreeSet<LegId> = legs.iter().map(|l| l.0).collect();
    let mut left: Vec<usize> = (0..cores.len()).collect();
    while !left.is_empty() {
        let (ready, later): (Vec<usize>, Vec<usize>) = left.iter().partition(|&&k| open.contains(&cores[k].bond.0));
        if ready.is_empty() {
            break;
        }
        let expansion =
            |&k: &usize| Expansion { parent: cores[k].bond.1, children: cores[k].legs.iter().map(|l| l.1).product() };
        let expansions: Vec<Expansion> = ready.iter().map(expansion).collect();
        for place in expansion_order(&expansions, &CostModel::default()).order {
            let (core, index) = (&cores[ready[place]], ready[place]);
            tree = join(tree, Tree::Core(index), core);
        }
        open.extend(ready.iter().flat_map(|&k| cores[k].legs.iter().map(|l| l.0)));
        left = later;
    }
    tree
}

fn join(upper: Tree, lower: Tree, top: &Core) -> Tree {
    Tree::Join { upper: Box::new(upper), lower: Box::new(lower), bond: top.bond.0, label: top.label.clone() }
}

/// A part of the region as the search builds it up.
struct Part {
    tree: Tree,
    /// The core nearest to the running tensor; none when the part contains that.
    top: Option<usize>,
    legs: BTreeSet<LegId>,
}

/// The order of the tree search; none when it has an outer product.
fn searched(legs: &[(LegId, usize)], cores: &[Core]) -> Result<Option<Tree>, adntn_contraction::Error> {
    let mut network = Network::new();
    let mut add = |label: &str, legs: &mut dyn Iterator<Item = &(LegId, usize)>| {
        let legs: Vec<(String, usize)> = legs.map(|(id, dim)| (format!("{}/{}", id.0, id.1), *dim)).collect();
        let legs: Vec<(&str, usize)> = legs.iter().map(|(name, dim)| (name.as_str(), *dim)).collect();
        network.add_tensor(label, &legs)
    };
    add("running", &mut legs.iter())?;
    for core in cores {
        add(&core.label, &mut [core.bond].iter().chain(&core.legs))?;
    }
    let running = Part { tree: Tree::Running, top: None, legs: legs.iter().map(|l| l.0).collect() };
    let part = |(k, core): (usize, &Core)| Part {
        tree: Tree::Core(k),
        top: Some(k),
        legs: core.legs.iter().map(|l| l.0).collect(),
    };
    let mut tensors: Vec<Option<Part>> =
        [running].into_iter().chain(cores.iter().enumerate().map(part)).map(Some).collect();
    let mut steps: Vec<Option<Part>> = Vec::new();
    for step in contraction_tree(&network, &CostModel::default()).steps {
        let mut take = |operand| match operand {
            Operand::Tensor(at) => tensors.get_mut(at).and_then(Option::take),
            Operand::Step(at) => steps.get_mut(at).and_then(Option::take),
        };
        let (Some(a), Some(b)) = (take(step.left), take(step.right)) else { return Ok(None) };
        let hangs_on = |lower: &Part, upper: &Part| lower.top.filter(|&k| upper.legs.contains(&cores[k].bond.0));
        let (upper, lower, top) = match (hangs_on(&b, &a), hangs_on(&a, &b)) {
            (Some(top), _) => (a, b, top),
            (None, Some(top)) => (b, a, top),
            (None, None) => return Ok(None),
        };
        let mut legs = upper.legs;
        legs.remove(&cores[top].bond.0);
        legs.extend(lower.legs);
        steps.push(Some(Part { tree: join(upper.tree, lower.tree, &cores[top]), top: upper.top, legs }));
    }
    Ok(steps.pop().flatten().map(|part| part.tree))
}
