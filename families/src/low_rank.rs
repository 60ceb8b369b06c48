//! Two thin factors.

use crate::matrix::product;
use crate::quantised::Quantised;

/// W = outer · inner, with `outer` O×r and `inner` r×I.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// O×r.
    pub outer: Quantised,
    /// r×I.
    pub inner: Quantised,
}

impl LowRank {
    /// The rank r.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.inner.rows()
    }

    /// Parameters of both factors.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.outer.len() + self.inner.len()
    }

    /// W, O×I row-major.
    #[must_use]
    pub fn matrix(&self) -> Vec<f32> {
        let (outer, inner) = (self.outer.matrix(), self.inner.matrix());
        product(&outer, &inner, self.outer.rows(), self.rank(), self.inner.columns())
    }
}
