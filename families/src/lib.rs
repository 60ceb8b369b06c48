//! What may stand in the place of a weight matrix, and how its numbers are stored.
//!
//! A [`Replacement`] is a network ([`adntn_networks::Generator`]), the weight itself in [`Digits`] of few levels or in float16, or
//! two thin factors in digits. [`Site`] makes digits from a trained weight and the second moments of its inputs: what is rounded
//! is chosen so that the layer's *output* changes least, not the weight.

mod cores;
mod digits;
mod halves;
mod low_rank;
mod matrix;
mod quantised;
mod replacement;
mod rounding;
mod site;
mod subspace;

pub use cores::{FEWEST_IN_BYTES, round_core, round_core_to_half, round_cores, scale_of_bytes};
pub use digits::Digits;
pub use halves::Halves;
pub use low_rank::LowRank;
pub use matrix::transposed;
pub use quantised::Quantised;
pub use replacement::Replacement;
pub use site::{Prepared, SecondMoments, Site};
