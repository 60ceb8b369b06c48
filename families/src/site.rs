//! A weight and what is known of its inputs.

use std::fmt;

use crate::digits::Digits;
use crate::low_rank::LowRank;
use crate::matrix::{cholesky, product, product_transposed, transposed};
use crate::quantised::Quantised;
use crate::rounding::Rounding;
use crate::subspace::leading;

/// H, the second moments of a layer's inputs: I×I, symmetric, positive definite.
pub trait SecondMoments: fmt::Debug + Sync {
    /// Writes `E·H` into `out`; both have I columns, row-major.
    fn apply(&self, e: &[f32], out: &mut [f32]);
    /// H, row-major.
    fn matrix(&self) -> Vec<f32>;
}

/// A trained weight, how it is stored, and what is known of its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// W, O×I row-major.
    pub weight: &'a [f32],
    /// O.
    pub outputs: usize,
    /// I.
    pub inputs: usize,
    /// Whether the model stores it I×O.
    pub is_transposed: bool,
    /// The weights of errors; without them H is the identity.
    pub moments: Option<&'a dyn SecondMoments>,
}

/// What all replacements of a site have in common.
#[derive(Debug, Clone)]
pub struct Prepared {
    rounding: Rounding,
    /// Leading left singular vectors of W·H^½, each O long, the leading one first.
    basis: Vec<f32>,
    /// `tr(W·H·Wᵀ)`.
    power: f64,
}

impl Site<'_> {
    pub(crate) fn times_moments(&self, e: &[f32]) -> Vec<f32> {
        let Some(moments) = self.moments else { return e.to_vec() };
        let mut out = vec![0.0; e.len()];
        moments.apply(e, &mut out);
        out
    }

    /// Prepares roundings, and low ranks up to `rank`.
    #[must_use]
    pub fn prepare(&self, rank: usize) -> Prepared {
        let rounding = Rounding::new(self.inputs, self.moments.map(SecondMoments::matrix).as_deref());
        let basis = if rank == 0 { None } else { leading(self, rank) };
        let power = sum_products(&self.times_moments(self.weight), self.weight).max(f64::MIN_POSITIVE);
        Prepared { rounding, basis: basis.unwrap_or_default(), power }
    }
}

impl Prepared {
    /// W in digits; `None` where its scales are beyond float16.
    #[must_use]
    pub fn digits(&self, site: &Site<'_>, digits: Digits) -> Option<Quantised> {
        self.rounding.round(site.weight, digits, site.is_transposed)
    }

    /// The best W of a rank in digits: `inner` rounded first, then `outer` made anew for what came of it, and rounded; and its
    /// relative error `sqrt(tr(E·H·Eᵀ)/tr(W·H·Wᵀ))`, without W being formed (so errors below 0.2 % drown in rounding). `None` beyond
    /// the rank that was prepared, and where scales are beyond float16.
    #[must_use]
    pub fn low_rank(&self, site: &Site<'_>, rank: usize, digits: Digits) -> Option<(LowRank, f64)> {
        let Site { weight, outputs, inputs, is_transposed, .. } = *site;
        let basis = self.basis.get(..rank * outputs).filter(|b| !b.is_empty())?;
        let mut inner = product(basis, weight, rank, outputs, inputs);
        if is_transposed {
            // Blocks then run across the rows, which should not differ in size.
            for row in inner.chunks_exact_mut(inputs) {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt() / (inputs as f32).sqrt();
                if length > 0.0 {
                    row.iter_mut().for_each(|x| *x /= length);
                }
            }
        }
        let inner = self.rounding.round(&inner, digits, is_transposed)?;
        let made = inner.matrix();
        let weighed = site.times_moments(&made);
        let mut gram = product_transposed(&weighed, &made, rank, inputs, rank);
        let exact = gram.clone();
        let mean = (0..rank).map(|i| gram[i * rank + i]).sum::<f32>() / rank as f32;
        (0..rank).for_each(|i| gram[i * rank + i] += 1e-6 * mean);
        let right = product_transposed(weight, &weighed, outputs, inputs, rank);
        let outer = solve(&gram, &right, rank)?;
        let outer = Rounding::new(rank, Some(&gram)).round(&outer, digits, is_transposed)?;
        let chosen = outer.matrix();
        let cross = sum_products(&chosen, &right);
        let own = sum_products(&product(&chosen, &exact, outputs, rank, rank), &chosen);
        let error = ((self.power - 2.0 * cross + own).max(0.0) / self.power).sqrt();
        Some((LowRank { outer, inner }, error))
    }
}

/// `Σ aᵢbᵢ` in double precision.
fn sum_products(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

/// X of X·A = B, with A n×n symmetric and B m×n; `None` where A is not positive definite.
fn solve(a: &[f32], b: &[f32], n: usize) -> Option<Vec<f32>> {
    let l = cholesky(a, n)?;
    let upper = transposed(&l, n, n);
    let mut x = b.to_vec();
    for row in x.chunks_exact_mut(n) {
        for i in 0..n {
            let sum: f64 = (0..i).map(|j| f64::from(l[i * n + j]) * f64::from(row[j])).sum();
            row[i] = ((f64::from(row[i]) - sum) / f64::from(l[i * n + i])) as f32;
        }
        for i in (0..n).rev() {
            let sum: f64 = (i + 1..n).map(|j| f64::from(upper[i * n + j]) * f64::from(row[j])).sum();
            row[i] = ((f64::from(row[i]) - sum) / f64::from(l[i * n + i])) as f32;
        }
    }
    Some(x)
}
