//! What a generator is, apart from its numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Activation, Error, LegLayout};

/// Bond dimensions χ of a tree. What is larger than the legs below allow is clamped, see [`crate::Shape`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bonds {
    /// The same χ everywhere.
    Uniform(usize),
    /// One χ for each level of bonds, coarse to fine; the physical legs have none.
    PerLevel(Vec<usize>),
}

/// Which tensors a level of the network is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Topology {
    /// Tree tensor network: isometries only.
    #[default]
    Ttn,
}

impl Topology {
    /// Every topology.
    pub const ALL: &'static [Topology] = &[Topology::Ttn];

    /// Name as written in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Topology::Ttn => "ttn",
        }
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
            known: "ttn",
        })
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
    /// Bond dimensions.
    pub bonds: Bonds,
    /// Topology.
    pub topology: Topology,
    /// σ, applied to the tensor of every level, the top tensor included.
    pub activation: Activation,
    /// Whether σ is left out after the last level.
    pub last_linear: bool,
}

impl GeneratorSpec {
    /// A TTN with σ = `activation` and a linear last level.
    pub fn ttn(outputs: usize, inputs: usize, layout: LegLayout, bonds: Bonds, activation: Activation) -> Self {
        GeneratorSpec { outputs, inputs, layout, bonds, topology: Topology::Ttn, activation, last_linear: true }
    }

    /// σ applied to the tensor of `level` (0 = top tensor) in a tree of `levels` levels.
    pub fn activation_at(&self, level: usize, levels: usize) -> Activation {
        if self.last_linear && level + 1 == levels { Activation::Identity } else { self.activation }
    }
}
