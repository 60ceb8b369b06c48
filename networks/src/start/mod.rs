//! Where a fit begins: cores taken from the weight itself.
//!
//! *Hierarchical SVD* (Grasedyck, SIAM J. Matrix Anal. Appl. 31, 2010): bottom-up, every set of sibling legs is
//! projected on the leading eigenvectors of its Gram matrix (all other legs summed over); the eigenvectors are the set's
//! isometry, and what is left at the root is the top tensor.
//!
//! *Nonlinear σ*: the top tensor is scaled down until σ is so nearly linear on every level that the nonlinear generator
//! reproduces the linear one within [`START_TOLERANCE`], and the overall scale makes up for it. This holds for σ with
//! slope 1 at 0 (tanh, softsign). Relu and leaky relu have no near-linear range: there the start keeps the isometries as they
//! are, and only guarantees that no other overall scale is better, hence that the error is at most ‖W‖.

mod coarsen;
mod eigen;
mod gram;
mod near_linear;
mod prepared;
mod thin;
mod weighted;

use serde::{Deserialize, Serialize};

use crate::{Error, Generator, GeneratorSpec};

pub use eigen::decompose;
pub use near_linear::START_TOLERANCE;
pub use prepared::Prepared;

/// Second moments of a layer's inputs, by which a start weighs the columns of W.
pub trait InputWeighting {
    /// Gram matrix (d×d, row-major) of the inputs traced over all input legs that are not in `places`, normalised so that an
    /// identity Gram matrix gives the identity.
    ///
    /// d is the product of the dimensions of `places`, in the given order, row-major. `legs` are the layout's input legs in
    /// place order; inputs beyond the layer's own are zero.
    fn marginal(&self, legs: &[usize], places: &[usize]) -> Vec<f64>;
}

/// Where the disentanglers of a start come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disentanglers {
    /// They are identities: the start is that of the tree alone.
    #[default]
    Identity,
    /// Identities, improved by so many rounds of orthogonal Procrustes problems (MERACLE); never worse than identities on the
    /// level for which they are found. Disentanglers of more than 256 rows stay identities.
    Procrustes {
        /// Rounds on each level.
        sweeps: usize,
    },
}

/// Truncated hierarchical SVD of `w` (outputs × inputs, row-major), with identities as disentanglers.
///
/// # Errors
/// As [`hierarchical_svd_with`].
pub fn hierarchical_svd(
    w: &[f32],
    spec: &GeneratorSpec,
    weighting: Option<&dyn InputWeighting>,
) -> Result<Generator, Error> {
    hierarchical_svd_with(w, spec, weighting, Disentanglers::Identity)
}

/// Truncated hierarchical SVD of `w` (outputs × inputs, row-major).
///
/// With a `weighting`, W is first multiplied by the square root of the marginal Gram matrix of each group of physical legs
/// that one core makes (siblings, or the two legs of a disentangler), and that core is multiplied by its inverse afterwards;
/// truncation then minimises an estimate of the layer's output error instead of the weight's. The overall scale makes up for
/// the scaled top tensor, and is the least-squares optimum in the norm that was used for σ without a near-linear range.
///
/// # Errors
/// When the specification is inconsistent, when `w` has the wrong length or values that are not finite, or when the
/// weighting returns a matrix of the wrong size or with values that are not finite.
pub fn hierarchical_svd_with(
    w: &[f32],
    spec: &GeneratorSpec,
    weighting: Option<&dyn InputWeighting>,
    disentanglers: Disentanglers,
) -> Result<Generator, Error> {
    Prepared::new(w, spec, weighting, disentanglers)?.start(spec.bonds.clone())
}
