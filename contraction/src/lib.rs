//! Tensor-network graphs, their cost model and contraction-order search.
//!
//! A [`Network`] is a graph whose nodes are tensors with named legs and whose edges are bonds: a name that two tensors share.
//! [`contraction_tree`] finds a cheap order in which to contract it; [`expansion_order`] does so for the case a generator's
//! level is made of, one running tensor whose legs are expanded one by one.
//!
//! ```
//! use adntn_contraction::{CostModel, Network, contraction_tree};
//!
//! let mut network = Network::new();
//! network.add_tensor("a", &[("i", 10), ("j", 100)])?;
//! network.add_tensor("b", &[("j", 100), ("k", 5)])?;
//! network.add_tensor("c", &[("k", 5), ("l", 50)])?;
//! let tree = contraction_tree(&network, &CostModel::default());
//! assert_eq!(tree.total.multiply_adds, 7500.0); // (a·b)·c
//! # Ok::<(), adntn_contraction::Error>(())
//! ```

mod cost;
mod exact;
mod expansion;
mod greedy;
mod network;
mod tree;

pub use cost::{Cost, CostModel};
pub use expansion::{Expansion, ExpansionOrder, expansion_order};
pub use network::{Bond, Error, Leg, Network, Tensor};
pub use tree::{ContractionTree, Method, Operand, Step};

/// Networks of at most this many tensors are contracted in an optimal order; larger ones greedily.
pub const EXACT_LIMIT: usize = 16;

/// The cheapest contraction tree under `model`: exact up to [`EXACT_LIMIT`] tensors, greedy beyond; [`ContractionTree::method`]
/// says which.
pub fn contraction_tree(network: &Network, model: &CostModel) -> ContractionTree {
    if network.tensors().count() <= EXACT_LIMIT {
        exact::search(network, model)
    } else {
        greedy::search(network, model)
    }
}
