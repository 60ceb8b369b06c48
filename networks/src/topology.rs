//! Topologies: where a network has disentanglers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Tree};

/// What distinguishes one topology from another. Everything else about a generator (isometries, σ, forward, adjoint, start,
/// emission) follows from its tree and from where this puts disentanglers.
pub trait Arrangement {
    /// Name as written in options and reports.
    fn name(&self) -> &'static str;

    /// Name as written in the literature.
    fn title(&self) -> &'static str;

    /// The disentanglers of `level` (1 or more) of `tree`: one for each k in the answer, acting on the neighbouring legs k
    /// and k + 1. Ascending, and no leg belongs to two of them.
    fn disentangled(&self, tree: &Tree, level: usize) -> Vec<usize>;
}

/// Tree tensor network: no disentanglers.
struct TreeTensorNetwork;

/// Augmented tree tensor network: disentanglers on the physical legs, across the boundaries of neighbouring subtrees.
struct AugmentedTree;

/// Multi-scale entanglement renormalisation ansatz: disentanglers across the boundaries of neighbouring subtrees on every
/// level below the top tensor that has four legs or more.
struct Mera;

impl Arrangement for TreeTensorNetwork {
    fn name(&self) -> &'static str {
        "ttn"
    }

    fn title(&self) -> &'static str {
        "TTN"
    }

    fn disentangled(&self, _: &Tree, _: usize) -> Vec<usize> {
        Vec::new()
    }
}

impl Arrangement for AugmentedTree {
    fn name(&self) -> &'static str {
        "attn"
    }

    fn title(&self) -> &'static str {
        "aTTN"
    }

    fn disentangled(&self, tree: &Tree, level: usize) -> Vec<usize> {
        if level + 1 == tree.levels() { boundaries(tree, level) } else { Vec::new() }
    }
}

impl Arrangement for Mera {
    fn name(&self) -> &'static str {
        "mera"
    }

    fn title(&self) -> &'static str {
        "MERA"
    }

    fn disentangled(&self, tree: &Tree, level: usize) -> Vec<usize> {
        if tree.legs(level) >= 4 { boundaries(tree, level) } else { Vec::new() }
    }
}

/// Last legs of subtrees that are followed by another one. Boundaries are open: the last subtree does not meet the first.
/// Where a subtree is a single leg, the disentangler to its left takes it.
fn boundaries(tree: &Tree, level: usize) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let ends = tree.children(level).map(|children| children.end);
    for end in ends.take(tree.legs(level - 1) - 1) {
        if found.last().is_none_or(|&last| last + 1 < end - 1) {
            found.push(end - 1);
        }
    }
    found
}

/// The topologies on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Topology {
    /// Tree tensor network: isometries only.
    #[default]
    Ttn,
    /// Augmented tree tensor network: one layer of disentanglers, on the physical legs.
    Attn,
    /// MERA: disentanglers on every level with four legs or more.
    Mera,
}

impl Topology {
    /// Every topology.
    pub const ALL: &'static [Topology] = &[Topology::Ttn, Topology::Attn, Topology::Mera];

    fn arrangement(self) -> &'static dyn Arrangement {
        match self {
            Topology::Ttn => &TreeTensorNetwork,
            Topology::Attn => &AugmentedTree,
            Topology::Mera => &Mera,
        }
    }
}

impl Arrangement for Topology {
    fn name(&self) -> &'static str {
        self.arrangement().name()
    }

    fn title(&self) -> &'static str {
        self.arrangement().title()
    }

    fn disentangled(&self, tree: &Tree, level: usize) -> Vec<usize> {
        self.arrangement().disentangled(tree, level)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Topology {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Topology::ALL.iter().copied().find(|t| t.name() == text).ok_or_else(|| Error::UnknownName {
            what: "topology",
            given: text.to_owned(),
            known: "ttn, attn, mera",
        })
    }
}
