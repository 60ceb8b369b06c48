//! The weighted start: W multiplied by square roots of the inputs' marginal Gram matrices.

use rayon::prelude::*;

use crate::start::{InputWeighting, eigen, gram};
use crate::workspace::resize;
use crate::{Error, GeneratorSpec, Side};

/// Eigenvalues of a marginal are raised to at least this share of their mean: directions that no input has seen must not be
/// amplified without bound when the weighting is taken back.
const FLOOR: f64 = 1e-6;

/// The weighting of one leaf pair, a symmetric matrix on its m = left·right elements.
#[derive(Debug)]
pub(crate) struct LeafWeight {
    m: usize,
    /// S = Gram^½, with identity on output legs; `None` for pairs without input legs.
    root: Option<Vec<f32>>,
    inverse: Vec<f32>,
}

impl LeafWeight {
    /// isometry (p, m) ← isometry · S⁻¹.
    pub fn unweigh(&self, isometry: &mut [f32]) {
        if self.root.is_none() {
            return;
        }
        isometry.par_chunks_exact_mut(self.m).for_each(|row| {
            // The inverse is symmetric, so its columns are its rows.
            let product = |line: &[f32]| row.iter().zip(line).map(|(&x, &s)| f64::from(x) * f64::from(s)).sum::<f64>();
            let new: Vec<f32> = self.inverse.chunks_exact(self.m).map(|line| product(line) as f32).collect();
            row.copy_from_slice(&new);
        });
    }
}

/// The weighting of every leaf pair.
pub(crate) fn leaf_weights(spec: &GeneratorSpec, weighting: &dyn InputWeighting) -> Result<Vec<LeafWeight>, Error> {
    let inputs: Vec<usize> = spec.layout.side(Side::Input).iter().map(|leg| leg.dim).collect();
    let pairs = spec.layout.legs().chunks_exact(2).map(|pair| {
        let m = pair[0].dim * pair[1].dim;
        let own: Vec<_> = pair.iter().filter(|leg| leg.side == Side::Input).collect();
        if own.is_empty() {
            return Ok(LeafWeight { m, root: None, inverse: Vec::new() });
        }
        let places: Vec<usize> = own.iter().map(|leg| leg.place).collect();
        let d: usize = own.iter().map(|leg| leg.dim).product();
        let marginal = weighting.marginal(&inputs, &places);
        if marginal.len() != d * d {
            return Err(Error::WeightingShape { given: marginal.len(), dim: d });
        }
        if let Some(index) = marginal.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: "input weighting", index });
        }
        let (root, inverse) = roots(&marginal, d)?;
        // Place of the input legs among the pair's elements: element = (outer·d + own)·inner + rest.
        let (outer, inner) = match (pair[0].side, pair[1].side) {
            (Side::Output, Side::Input) => (pair[0].dim, 1),
            (Side::Input, Side::Output) => (1, pair[1].dim),
            _ => (1, 1),
        };
        let widen = |small: &[f64]| {
            let mut wide = vec![0.0f32; m * m];
            for a in 0..outer {
                for (position, &x) in small.iter().enumerate() {
                    for b in 0..inner {
                        let (row, column) = (position / d, position % d);
                        wide[((a * d + row) * inner + b) * m + (a * d + column) * inner + b] = x as f32;
                    }
                }
            }
            wide
        };
        Ok(LeafWeight { m, root: Some(widen(&root)), inverse: widen(&inverse) })
    });
    pairs.collect()
}

/// Gram^½ and Gram^−½ with floored eigenvalues.
fn roots(marginal: &[f64], d: usize) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let (values, vectors) = eigen::decompose(marginal, d)?;
    let mean = values.iter().sum::<f64>() / d as f64;
    // A Gram matrix of nothing but zeros says nothing about the inputs.
    let floor = if mean > 0.0 { FLOOR * mean } else { 1.0 };
    let power = |exponent: f64| {
        // (V·diag)·Vᵀ with V row-major, so that the inner products run over contiguous rows.
        let factors: Vec<f64> = values.iter().map(|value| value.max(floor).powf(exponent)).collect();
        let plain: Vec<f64> = (0..d * d).map(|at| vectors[(at / d, at % d)]).collect();
        let scaled: Vec<f64> = plain.iter().enumerate().map(|(at, v)| v * factors[at % d]).collect();
        let mut out = vec![0.0; d * d];
        out.par_chunks_mut(d).zip(scaled.par_chunks(d)).for_each(|(out, left)| {
            out.iter_mut().zip(plain.chunks_exact(d)).for_each(|(out, right)| *out = eigen::dot(left, right));
        });
        out
    };
    Ok((power(0.5), power(-0.5)))
}

/// Multiplies each leaf pair of `t` by its S.
pub(crate) fn apply(weights: &[LeafWeight], t: &mut Vec<f32>, spare: &mut Vec<f32>) {
    resize(spare, t.len());
    for weight in weights {
        match &weight.root {
            Some(root) => gram::cycle(t, weight.m, root, weight.m, spare),
            None => gram::rotate(t, weight.m, spare),
        }
        std::mem::swap(t, spare);
    }
}
