//! What stands in a weight's place.

use adntn_networks::Generator;

use crate::halves::Halves;
use crate::low_rank::LowRank;
use crate::quantised::Quantised;

/// Something smaller that makes a weight matrix.
#[derive(Debug, Clone, PartialEq)]
pub enum Replacement {
    /// A network of core tensors.
    Network(Box<Generator>),
    /// The weight itself, in digits.
    Digits(Quantised),
    /// Two thin factors, in digits.
    LowRank(LowRank),
    /// The weight itself, in float16.
    Halves(Halves),
}

impl Replacement {
    /// W as it makes it, O×I row-major.
    #[must_use]
    pub fn matrix(&self) -> Vec<f32> {
        match self {
            Replacement::Network(generator) => generator.matrix(),
            Replacement::Digits(weight) => weight.matrix(),
            Replacement::LowRank(factors) => factors.matrix(),
            Replacement::Halves(weight) => weight.matrix(),
        }
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        match self {
            Replacement::Network(generator) => generator.parameter_count(),
            Replacement::Digits(weight) => weight.len(),
            Replacement::LowRank(factors) => factors.parameter_count(),
            Replacement::Halves(weight) => weight.values().len(),
        }
    }

    /// The network, if it is one.
    #[must_use]
    pub fn network(&self) -> Option<&Generator> {
        match self {
            Replacement::Network(generator) => Some(generator),
            _ => None,
        }
    }
}
