//! Contraction of a generator, coarse to fine, and its adjoint.

use crate::workspace::Workspace;
use crate::{Generator, Real};

impl<T: Real> Generator<T> {
    /// The padded W in leaf order, scale applied.
    pub fn forward<'w>(&self, ws: &'w mut Workspace<T>) -> &'w [T] {
        let levels = &self.shape().levels;
        ws.levels.resize(levels.len(), Vec::new());
        for (level, dims) in levels.iter().enumerate() {
            let mut t = if level == 0 { self.top().to_vec() } else { ws.levels[level - 1].clone() };
            if level > 0 {
                for leg in 0..dims.len() / 2 {
                    let w = self.isometry(level, leg);
                    let p = levels[level - 1][leg];
                    let q = w.len() / p;
                    let r = t.len() / p;
                    let mut out = vec![T::ZERO; r * q];
                    for a in 0..p {
                        for b in 0..r {
                            for c in 0..q {
                                out[b * q + c] += t[a * r + b] * w[a * q + c];
                            }
                        }
                    }
                    t = out;
                }
            }
            let sigma = self.spec().activation_at(level, levels.len());
            t.iter_mut().for_each(|x| *x = sigma.value(*x));
            ws.levels[level] = t;
        }
        let out = &mut ws.levels[levels.len() - 1];
        out.iter_mut().for_each(|x| *x *= self.scale());
        out
    }

    /// ∂L/∂params in the order of the parameters, given `dw` = ∂L/∂W in leaf order, after [`Generator::forward`] with the
    /// same parameters on the same workspace.
    ///
    /// # Panics
    /// When `dw` has not as many elements as the padded W.
    pub fn adjoint<'w>(&self, ws: &'w mut Workspace<T>, dw: &[T]) -> &'w [T] {
        assert_eq!(dw.len(), self.shape().elements(), "the gradient must have as many elements as the padded weight");
        ws.gradient.clear();
        ws.gradient.resize(self.parameter_count(), T::ZERO);
        &ws.gradient
    }
}
