//! Where a fit begins: cores taken from the weight itself.
//!
//! *Hierarchical SVD* (Grasedyck, SIAM J. Matrix Anal. Appl. 31, 2010): bottom-up, every pair of sibling legs is
//! projected on the leading eigenvectors of its Gram matrix (all other legs summed over); the eigenvectors are the pair's
//! isometry, and what is left at the root is the top tensor.
//!
//! *Nonlinear σ*: the top tensor is scaled down until σ is so nearly linear on every level that the nonlinear generator
//! reproduces the linear one within [`START_TOLERANCE`], and the overall scale makes up for it. This holds for σ with
//! slope 1 at 0 (tanh, softsign). Relu and leaky relu have no near-linear range: there the start keeps the isometries as they
//! are, and only guarantees that no other overall scale is better, hence that the error is at most ‖W‖.

mod eigen;
mod gram;
mod near_linear;
mod weighted;

use crate::workspace::resize;
use crate::{Error, Generator, GeneratorSpec, Shape, Workspace};

pub use near_linear::START_TOLERANCE;

/// Second moments of a layer's inputs, by which a start weighs the columns of W.
pub trait InputWeighting {
    /// Gram matrix (d×d, row-major) of the inputs traced over all input legs that are not in `places`, normalised so that an
    /// identity Gram matrix gives the identity.
    ///
    /// d is the product of the dimensions of `places`, in the given order, row-major. `legs` are the layout's input legs in
    /// place order; inputs beyond the layer's own are zero.
    fn marginal(&self, legs: &[usize], places: &[usize]) -> Vec<f64>;
}

/// Truncated hierarchical SVD of `w` (outputs × inputs, row-major).
///
/// With a `weighting`, W is first multiplied by the square root of the marginal Gram matrix of each sibling pair's input
/// legs, and the leaf isometries are multiplied by its inverse afterwards; truncation then minimises an estimate of the
/// layer's output error instead of the weight's. The overall scale is the least-squares optimum in the norm that was used.
///
/// # Errors
/// When the specification is inconsistent, when `w` has the wrong length or values that are not finite, or when the
/// weighting returns a matrix of the wrong size or with values that are not finite.
pub fn hierarchical_svd(
    w: &[f32],
    spec: &GeneratorSpec,
    weighting: Option<&dyn InputWeighting>,
) -> Result<Generator, Error> {
    let shape = Shape::new(spec)?;
    if w.len() != spec.outputs * spec.inputs {
        return Err(Error::WeightLength { given: w.len(), outputs: spec.outputs, inputs: spec.inputs });
    }
    if let Some(index) = w.iter().position(|x| !x.is_finite()) {
        return Err(Error::NonFinite { what: "weight", index });
    }
    let mut t = Vec::new();
    spec.layout.gather(w, spec.outputs, spec.inputs, &mut t);
    let weights = weighting.map(|weighting| weighted::leaf_weights(spec, weighting)).transpose()?;
    let mut spare = Vec::new();
    if let Some(weights) = &weights {
        weighted::apply(weights, &mut t, &mut spare);
    }
    let target = t.clone();

    let mut params = vec![0.0f32; shape.parameters()];
    for level in (1..shape.levels.len()).rev() {
        for (leg, &bond) in shape.levels[level - 1].iter().enumerate() {
            let pair = shape.levels[level][2 * leg] * shape.levels[level][2 * leg + 1];
            let basis = eigen::leading(&gram::of_rows(&t, pair), pair, bond)?;
            // Cyclic: the pair is consumed at the front and its bond appended, so a full round restores the order.
            resize(&mut spare, t.len() / pair * bond);
            gram::cycle(&t, pair, &basis, bond, &mut spare);
            std::mem::swap(&mut t, &mut spare);
            let isometry = &mut params[shape.isometry(level, leg)];
            for (k, row) in isometry.chunks_exact_mut(pair).enumerate() {
                row.iter_mut().zip(basis.chunks_exact(bond)).for_each(|(to, from)| *to = from[k]);
            }
        }
    }
    params[shape.top()].copy_from_slice(&t);
    drop((t, spare));
    if let Some(scale) = params.last_mut() {
        *scale = 1.0;
    }
    let mut generator = Generator::new(spec.clone(), params)?;
    let mut ws = Workspace::new();
    near_linear::scale_top(&mut generator, &mut ws);
    // Without its weights the generator still has the weighted tensor as its target: the overall scale is fitted there.
    fit_scale(&mut generator, &target, &mut ws);
    if let Some(weights) = &weights {
        let last = shape.levels.len() - 1;
        for (leg, weight) in weights.iter().enumerate() {
            let isometry = shape.isometry(last, leg);
            weight.unweigh(&mut generator.params_mut()[isometry]);
        }
    }
    Ok(generator)
}

/// Sets the overall scale to ⟨W, G⟩ / ⟨G, G⟩.
fn fit_scale(generator: &mut Generator, target: &[f32], ws: &mut Workspace<f32>) {
    generator.set_scale(1.0);
    let g = generator.forward(ws);
    let (mut wg, mut gg) = (0.0f64, 0.0f64);
    for (&w, &g) in target.iter().zip(g) {
        wg += f64::from(w) * f64::from(g);
        gg += f64::from(g) * f64::from(g);
    }
    let scale = (wg / gg) as f32;
    generator.set_scale(if scale.is_finite() { scale } else { 1.0 });
}
