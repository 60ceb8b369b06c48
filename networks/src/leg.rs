//! Legs: the small factors into which the two dimensions of a weight matrix are split.

use serde::{Deserialize, Serialize};

/// The dimension of the weight matrix (outputs × inputs) that a leg is a factor of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Rows of W.
    Output,
    /// Columns of W.
    Input,
}

impl Side {
    /// `output` or `input`.
    pub fn name(self) -> &'static str {
        match self {
            Side::Output => "output",
            Side::Input => "input",
        }
    }
}

/// One factor of a dimension of the weight matrix.
///
/// A row number is read as a mixed-radix number whose digits are the output legs, place 0 the slowest varying one; column
/// numbers likewise over the input legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leg {
    /// Which dimension of W it is a factor of.
    pub side: Side,
    /// Its dimension, at least 1.
    pub dim: usize,
    /// Rank of significance among the legs of its side, 0 = slowest varying.
    pub place: usize,
}
