//! What a generator is, apart from its numbers.

use serde::{Deserialize, Serialize};

use crate::{Activation, Error, LegLayout, Topology, Tree};

/// Bond dimensions χ of a tree. What is larger than the legs below allow is clamped, see [`crate::Shape`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bonds {
    /// The same χ everywhere.
    Uniform(usize),
    /// One χ for each level of bonds, coarse to fine; the physical legs have none.
    PerLevel(Vec<usize>),
}

/// σ of every level.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activations {
    /// The same σ on every level, but none on the last.
    LastLinear(Activation),
    /// The same σ on every level.
    Uniform(Activation),
    /// One for each level, coarse to fine, the top tensor first.
    PerLevel(Vec<Activation>),
}

impl Activations {
    /// σ applied to the tensor of `level` (0 = top tensor) in a tree of `levels` levels; past the end of a list, none.
    pub fn at(&self, level: usize, levels: usize) -> Activation {
        match self {
            Activations::LastLinear(_) if level + 1 == levels => Activation::Identity,
            Activations::LastLinear(sigma) | Activations::Uniform(sigma) => *sigma,
            Activations::PerLevel(list) => list.get(level).copied().unwrap_or(Activation::Identity),
        }
    }
}

/// Everything about a generator except its parameters.
///
/// W has `outputs` × `inputs` elements (for a convolution `inputs` = channels · kernel height · kernel width); the legs of
/// `layout` cover it, and what they cover beyond it is sliced off.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GeneratorSpec {
    /// Rows of W.
    pub outputs: usize,
    /// Columns of W.
    pub inputs: usize,
    /// The legs, in leaf order of the tree.
    pub layout: LegLayout,
    /// The tree over the legs.
    pub tree: Tree,
    /// Bond dimensions.
    pub bonds: Bonds,
    /// Where disentanglers stand.
    pub topology: Topology,
    /// σ, applied to the tensor of every level, the top tensor included.
    pub activations: Activations,
    /// Whether every row of W has a trainable factor of its own, besides the overall scale.
    pub output_scale: bool,
}

impl GeneratorSpec {
    /// A generator over the balanced binary tree, with σ = `activation` on all levels but the last, and without a scale for
    /// each output.
    pub fn new(
        topology: Topology,
        outputs: usize,
        inputs: usize,
        layout: LegLayout,
        bonds: Bonds,
        activation: Activation,
    ) -> Self {
        GeneratorSpec {
            outputs,
            inputs,
            tree: layout.tree(),
            layout,
            bonds,
            topology,
            activations: Activations::LastLinear(activation),
            output_scale: false,
        }
    }

    /// As [`GeneratorSpec::new`], with the topology TTN.
    pub fn ttn(outputs: usize, inputs: usize, layout: LegLayout, bonds: Bonds, activation: Activation) -> Self {
        GeneratorSpec::new(Topology::Ttn, outputs, inputs, layout, bonds, activation)
    }

    /// The same with another tree.
    ///
    /// # Errors
    /// When the tree has another number of leaves than the layout has legs.
    pub fn with_tree(mut self, tree: Tree) -> Result<Self, Error> {
        if tree.leaves() != self.layout.legs().len() {
            return Err(Error::Leaves { leaves: tree.leaves(), legs: self.layout.legs().len() });
        }
        self.tree = tree;
        Ok(self)
    }

    /// σ applied to the tensor of `level` (0 = top tensor).
    pub fn activation_at(&self, level: usize) -> Activation {
        self.activations.at(level, self.tree.levels())
    }
}
