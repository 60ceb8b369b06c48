//! Bringing σ into its near-linear range.

use crate::{Activation, Generator, GeneratorSpec, Workspace};

/// How far the nonlinear start may be from the linear one: ‖G_σ − G‖ / ‖G‖, each at its own best overall scale, in the norm
/// in which the start was made.
pub const START_TOLERANCE: f64 = 1e-2;

/// Scales the top tensor so that σ(z) differs from z by at most [`START_TOLERANCE`] / (number of levels with σ), relative,
/// for the largest |z| of every level. |σ(z) − z| ≤ z²/3·|z| for tanh and ≤ |z|·|z| for softsign. Isometries do not
/// enlarge the deviations of coarser levels, so they add up to no more than the tolerance.
///
/// Returns the factor, 1 when no level has a σ with such a range.
pub(crate) fn scale_top(generator: &mut Generator, ws: &mut Workspace<f32>) -> f64 {
    let levels = generator.shape().levels.len();
    let nonlinear: Vec<usize> =
        (0..levels).filter(|&l| generator.spec().activation_at(l) != Activation::Identity).collect();
    let share = START_TOLERANCE / nonlinear.len().max(1) as f64;
    let largest = generator.linear_maxima(ws);
    let factor = nonlinear
        .iter()
        .filter_map(|&level| Some(range(generator.spec().activation_at(level), share)? / f64::from(largest[level])))
        .fold(f64::INFINITY, f64::min);
    if factor.is_finite() && factor > 0.0 {
        let top = generator.shape().top();
        generator.params_mut()[top].iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        return factor;
    }
    1.0
}

/// Largest |z| at which |σ(z) − z| ≤ `share` · |z|; `None` for σ without a near-linear range.
fn range(sigma: Activation, share: f64) -> Option<f64> {
    match sigma {
        Activation::Tanh => Some((3.0 * share).sqrt()),
        Activation::Softsign => Some(share),
        _ => None,
    }
}

/// Whether every σ of the generator is linear near 0, so that the overall scale follows from that of the top tensor.
pub(crate) fn follows_linear(spec: &GeneratorSpec) -> bool {
    (0..spec.tree.levels()).all(|level| {
        let sigma = spec.activation_at(level);
        sigma == Activation::Identity || range(sigma, START_TOLERANCE).is_some()
    })
}
