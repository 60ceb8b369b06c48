//! Weights in float16, which are trained as plain numbers in stored order.

use adntn_families::{Halves, transposed};
use adntn_graph::Array;
use adntn_passes::{Candidate, Stored};

/// An O×I weight as the model stores it.
pub(super) fn in_stored_order(candidate: &Candidate, weight: &[f32], dims: Vec<usize>) -> Array {
    let values = match candidate.stored {
        Stored::OutputInput => weight.to_vec(),
        Stored::InputOutput => transposed(weight, candidate.outputs, candidate.inputs),
    };
    Array { shape: dims, values }
}

/// The float16 numbers nearest to a weight as the model stores it, if there are such numbers.
pub(super) fn in_halves(candidate: &Candidate, stored: &Array) -> Option<Halves> {
    let weight = match candidate.stored {
        Stored::OutputInput => stored.values.clone(),
        Stored::InputOutput => transposed(&stored.values, candidate.inputs, candidate.outputs),
    };
    Halves::nearest(&weight, candidate.inputs)
}
