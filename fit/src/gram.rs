//! Second moments of the activations that enter a layer.

mod bytes;
mod variation;

use adntn_families::SecondMoments;
use adntn_networks::InputWeighting;
use rayon::prelude::*;

use crate::matrix;
pub use variation::{Silent, Variation};

/// Rows kept as they are before the statistics are condensed into an I×I matrix: up to this share of I.
const KEEP_ROWS: f64 = 0.5;
/// Rows are condensed in pieces of about this many elements.
const PIECE: usize = 1 << 22;

/// Rows beyond this, as a multiple of their length, say hardly more, and a convolution has many of them.
const ENOUGH: usize = 8;
/// Rows that are always taken.
const ALWAYS: usize = 1 << 14;

/// Collects activation rows of a layer; [`finish`](GramBuilder::finish) turns them into a [`Gram`].
#[derive(Debug)]
pub struct GramBuilder {
    features: usize,
    rows: usize,
    offered: usize,
    pending: Vec<f32>,
    condensed: Option<Condensed>,
    sum: Vec<f64>,
    variation: Variation,
}

/// Rows that were summed up. Every piece of them is centred by its own mean and then merged (T. F. Chan, G. H. Golub and R. J.
/// LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979): of values that lie far from zero
/// beside their spread, float32 products would keep the offset and lose the rest.
#[derive(Debug)]
struct Condensed {
    rows: usize,
    mean: Vec<f64>,
    /// Sum over rows of (x−mean)(x−mean)ᵀ, I×I.
    scatter: Vec<f32>,
}

/// `H = (1−ρ)·C + ρ·I`, the regularised second-moment matrix (I×I) of a layer's inputs, scaled to unit mean diagonal.
///
/// C is the covariance when the layer has a bias that can absorb the mean (see [`GramBuilder::finish`]), else the
/// uncentred Gram matrix. The ridge ρ guards against directions that few samples leave undetermined.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    features: usize,
    rows: usize,
    mean: Vec<f32>,
    ridge: f32,
    moments: Moments,
}

#[derive(Debug, Clone, PartialEq)]
enum Moments {
    /// N×I rows, already divided by the square root of their number.
    Rows(Vec<f32>),
    /// I×I.
    Dense(Vec<f32>),
}

impl GramBuilder {
    /// Statistics of rows with `features` columns.
    #[must_use]
    pub fn new(features: usize) -> Self {
        GramBuilder {
            features,
            rows: 0,
            offered: 0,
            pending: Vec::new(),
            condensed: None,
            sum: vec![0.0; features],
            variation: Variation::new(features),
        }
    }

    /// Whether there are rows enough: of further ones only the number counts.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows >= ALWAYS.max(ENOUGH * self.features) && self.variation.silent().is_none()
    }

    /// Counts rows that were not read because it [is full](GramBuilder::is_full).
    pub fn pass_over(&mut self, rows: usize) {
        self.offered += rows;
    }

    /// Adds rows (row-major, `features` columns), unless there are enough of them.
    pub fn add(&mut self, rows: &[f32]) {
        self.offered += rows.len() / self.features.max(1);
        if self.is_full() {
            return;
        }
        for row in rows.chunks_exact(self.features.max(1)) {
            for (s, &v) in self.sum.iter_mut().zip(row) {
                *s += f64::from(v);
            }
            self.rows += 1;
        }
        self.variation.add(rows);
        self.pending.extend_from_slice(rows);
        let pending_rows = self.pending.len() / self.features.max(1);
        let keep = (self.features as f64 * KEEP_ROWS) as usize;
        let full = self.pending.len() >= PIECE.max(self.features * 256);
        if pending_rows > keep && (full || (self.condensed.is_none() && pending_rows > self.features)) {
            self.condense();
        }
    }

    fn condense(&mut self) {
        let f = self.features.max(1);
        let n = self.pending.len() / f;
        if n == 0 {
            return;
        }
        let mean = mean_of(&self.pending, f);
        self.pending.par_chunks_mut(f).for_each(|row| {
            for (v, m) in row.iter_mut().zip(&mean) {
                *v = (f64::from(*v) - m) as f32;
            }
        });
        let all =
            self.condensed.get_or_insert_with(|| Condensed { rows: 0, mean: vec![0.0; f], scatter: vec![0.0; f * f] });
        let transposed = matrix::transposed(&self.pending, f);
        matrix::multiply(f, f, n, transposed, matrix::plain(&self.pending, f), true, &mut all.scatter);
        self.pending.clear();
        // What the two means differ by.
        let (before, total) = (all.rows as f64, (all.rows + n) as f64);
        let shift: Vec<f64> = mean.iter().zip(&all.mean).map(|(new, old)| new - old).collect();
        let weight = before * n as f64 / total;
        if all.rows > 0 {
            add_outer(&mut all.scatter, &shift, weight);
        }
        all.mean.iter_mut().zip(&shift).for_each(|(m, d)| *m += d * n as f64 / total);
        all.rows += n;
    }

    /// The matrix H. With `centred`, the mean is removed: right when the layer's bias can take `(W−G)·mean`.
    ///
    /// # Errors
    /// Why the rows say nothing: there are none, they do not vary, or their squares are beyond the range of float32.
    pub fn finish(mut self, centred: bool, ridge: f32) -> Result<Gram, Silent> {
        if let Some(silent) = self.variation.silent() {
            return Err(silent);
        }
        if self.condensed.is_some() {
            self.condense();
        }
        let count = self.rows as f64;
        let own: Vec<f64> = self.sum.iter().map(|&s| s / count).collect();
        let scale = 1.0 / count;
        let mut moments = match self.condensed {
            Some(Condensed { mut scatter, mean, rows }) => {
                if !centred {
                    add_outer(&mut scatter, &mean, rows as f64);
                }
                scatter.par_iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
                Moments::Dense(scatter)
            }
            None => {
                let mut x = self.pending;
                x.par_chunks_mut(self.features).for_each(|row| {
                    for (v, m) in row.iter_mut().zip(&own) {
                        let m = if centred { *m } else { 0.0 };
                        *v = ((f64::from(*v) - m) * scale.sqrt()) as f32;
                    }
                });
                Moments::Rows(x)
            }
        };
        let mean: Vec<f32> = own.iter().map(|&m| if centred { m as f32 } else { 0.0 }).collect();
        let trace: f64 = match &moments {
            Moments::Dense(c) => (0..self.features).map(|i| f64::from(c[i * self.features + i])).sum(),
            Moments::Rows(x) => x.iter().map(|&v| f64::from(v).powi(2)).sum(),
        };
        let unit = (self.features as f64 / trace) * f64::from(1.0 - ridge);
        // What varies may be so much smaller or larger than the rows that float32 has lost its moments.
        if !(unit as f32).is_normal() {
            return Err(if trace < 1.0 { Silent::TooSmall } else { Silent::TooLarge });
        }
        match &mut moments {
            Moments::Dense(c) => c.par_iter_mut().for_each(|v| *v *= unit as f32),
            Moments::Rows(x) => x.par_iter_mut().for_each(|v| *v *= unit.sqrt() as f32),
        }
        Ok(Gram { features: self.features, rows: self.offered, mean, ridge, moments })
    }
}

/// Mean of every column.
fn mean_of(rows: &[f32], features: usize) -> Vec<f64> {
    let mut mean = vec![0.0f64; features];
    for row in rows.chunks_exact(features) {
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
    }
    let count = (rows.len() / features).max(1) as f64;
    mean.iter_mut().for_each(|m| *m /= count);
    mean
}

/// Adds `weight·v·vᵀ`.
fn add_outer(matrix: &mut [f32], v: &[f64], weight: f64) {
    matrix.par_chunks_mut(v.len().max(1)).zip(v).for_each(|(row, a)| {
        for (slot, b) in row.iter_mut().zip(v) {
            *slot = (f64::from(*slot) + weight * a * b) as f32;
        }
    });
}

impl Gram {
    /// I, the number of input features.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many activation rows the samples gave; the statistics rest on some of them where they are many.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The mean that was removed (I entries; zeros when it was kept).
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Writes `E·H` into `out` (both O×I, row-major).
    pub fn apply(&self, e: &[f32], out: &mut [f32]) {
        let f = self.features;
        let o = e.len() / f.max(1);
        out.par_iter_mut().zip(e).for_each(|(out, &e)| *out = self.ridge * e);
        match &self.moments {
            Moments::Dense(c) => matrix::multiply(o, f, f, matrix::plain(e, f), matrix::plain(c, f), true, out),
            Moments::Rows(x) => {
                let n = x.len() / f;
                let mut y = vec![0.0; o * n];
                matrix::multiply(o, n, f, matrix::plain(e, f), matrix::transposed(x, f), false, &mut y);
                matrix::multiply(o, f, n, matrix::plain(&y, n), matrix::plain(x, f), true, out);
            }
        }
    }

    /// Multiply-adds of one [`apply`](Gram::apply) for a matrix with `outputs` rows.
    #[must_use]
    pub fn multiply_adds(&self, outputs: usize) -> u64 {
        let per_row = match &self.moments {
            Moments::Dense(_) => self.features * self.features,
            Moments::Rows(x) => 2 * x.len(),
        };
        (outputs * per_row) as u64
    }

    /// The input feature whose digits along `places` make up `kept` and along `rest` make up `index`; `None` in the padding.
    fn feature_index(
        &self,
        legs: &[usize],
        index: usize,
        places: &[usize],
        rest: &[usize],
        kept: usize,
    ) -> Option<usize> {
        let mut digits = vec![0; legs.len()];
        let mut rem = kept;
        for &p in places.iter().rev() {
            digits[p] = rem % legs[p];
            rem /= legs[p];
        }
        let mut rem = index;
        for &p in rest.iter().rev() {
            digits[p] = rem % legs[p];
            rem /= legs[p];
        }
        let flat = digits.iter().zip(legs).fold(0, |a, (&d, &n)| a * n + d);
        (flat < self.features).then_some(flat)
    }
}

impl SecondMoments for Gram {
    fn apply(&self, e: &[f32], out: &mut [f32]) {
        Gram::apply(self, e, out);
    }

    fn matrix(&self) -> Vec<f32> {
        let f = self.features;
        let mut h = match &self.moments {
            Moments::Dense(c) => c.clone(),
            Moments::Rows(x) => {
                let mut h = vec![0.0; f * f];
                let n = x.len() / f.max(1);
                matrix::multiply(f, f, n, matrix::transposed(x, f), matrix::plain(x, f), false, &mut h);
                h
            }
        };
        (0..f).for_each(|i| h[i * f + i] += self.ridge);
        h
    }
}

impl InputWeighting for Gram {
    fn marginal(&self, legs: &[usize], places: &[usize]) -> Vec<f64> {
        let rest: Vec<usize> = (0..legs.len()).filter(|p| !places.contains(p)).collect();
        let d: usize = places.iter().map(|&p| legs[p]).product();
        let traced: usize = rest.iter().map(|&p| legs[p]).product();
        let f = self.features;
        let blocks: Vec<Vec<Option<usize>>> =
            (0..traced).map(|t| (0..d).map(|k| self.feature_index(legs, t, places, &rest, k)).collect()).collect();
        let mut out = vec![0.0f64; d * d];
        match &self.moments {
            Moments::Dense(c) => out.par_chunks_mut(d.max(1)).enumerate().for_each(|(a, row)| {
                for block in &blocks {
                    let Some(ia) = block[a] else { continue };
                    for (slot, ib) in row.iter_mut().zip(block) {
                        if let Some(ib) = ib {
                            *slot += f64::from(c[ia * f + ib]);
                        }
                    }
                }
            }),
            Moments::Rows(x) => {
                // Sum over samples and traced indices of outer products: one tall matrix times its transpose.
                let n = x.len() / f.max(1);
                let mut tall = Vec::with_capacity(n * traced * d);
                for row in x.chunks_exact(f.max(1)) {
                    for block in &blocks {
                        tall.extend(block.iter().map(|i| i.map_or(0.0, |i| row[i])));
                    }
                }
                let mut g = vec![0.0f32; d * d];
                matrix::multiply(
                    d,
                    d,
                    n * traced,
                    matrix::transposed(&tall, d),
                    matrix::plain(&tall, d),
                    false,
                    &mut g,
                );
                out.iter_mut().zip(&g).for_each(|(o, &v)| *o = f64::from(v));
            }
        }
        let norm = 1.0 / traced.max(1) as f64;
        for (k, v) in out.iter_mut().enumerate() {
            *v *= norm;
            if k / d == k % d {
                *v += f64::from(self.ridge);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
