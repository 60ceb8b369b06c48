//! Leading left singular vectors of W·H^½.

use adntn_networks::start::decompose;
use faer::Mat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::matrix::{cholesky, product, product_transposed, transposed};
use crate::site::Site;

/// Matrices with fewer rows or columns are decomposed completely.
const COMPLETE: usize = 1024;
/// Vectors carried along beyond those wanted, and number of iterations, of subspace iteration.
const OVERSAMPLING: usize = 16;
const ITERATIONS: usize = 4;
/// Singular values below this share of the largest are noise.
const NOISE: f64 = 1e-5;

/// At most `wanted` vectors of length O, row by row, the leading one first; `None` where no decomposition converges.
pub(crate) fn leading(site: &Site<'_>, wanted: usize) -> Option<Vec<f32>> {
    let Site { weight, outputs, inputs, .. } = *site;
    if outputs <= COMPLETE && outputs <= inputs {
        let weighed = site.times_moments(weight);
        let gram = product_transposed(&weighed, weight, outputs, inputs, outputs);
        let (_, vectors) = decompose(&symmetric(&gram, outputs), outputs).ok()?;
        return Some(last_columns(&vectors, wanted));
    }
    if inputs <= COMPLETE {
        return by_inputs(site, wanted);
    }
    iterate(site, wanted)
}

/// Through the smaller I×I matrix.
fn by_inputs(site: &Site<'_>, wanted: usize) -> Option<Vec<f32>> {
    let Site { weight, outputs, inputs, .. } = *site;
    let root = site.moments.and_then(|m| cholesky(&m.matrix(), inputs));
    let a = match &root {
        Some(root) => product(weight, root, outputs, inputs, inputs),
        None => weight.to_vec(),
    };
    let columns = transposed(&a, outputs, inputs);
    let gram = product_transposed(&columns, &columns, inputs, outputs, inputs);
    let (values, vectors) = decompose(&symmetric(&gram, inputs), inputs).ok()?;
    let largest = values.last().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
    let kept = values.iter().filter(|&&v| v > NOISE * NOISE * largest).count().min(wanted);
    let right = last_columns(&vectors, kept);
    let mut left = product(&right, &columns, kept, inputs, outputs);
    for (row, value) in left.chunks_exact_mut(outputs).zip(values.iter().rev()) {
        let length = value.sqrt() as f32;
        row.iter_mut().for_each(|x| *x /= length);
    }
    Some(left)
}

/// Subspace iteration (N. Halko, P.-G. Martinsson and J. A. Tropp, "Finding structure with randomness", 2011, §4.5).
fn iterate(site: &Site<'_>, wanted: usize) -> Option<Vec<f32>> {
    let Site { weight, outputs, inputs, .. } = *site;
    let carried = (wanted + OVERSAMPLING).min(outputs).min(inputs);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<f32> = (0..carried * outputs).map(|_| rng.random_range(-1.0..1.0)).collect();
    for _ in 0..ITERATIONS {
        let inner = product(&basis, weight, carried, outputs, inputs);
        basis = product_transposed(&site.times_moments(&inner), weight, carried, inputs, outputs);
        basis = orthonormal(&basis, carried, outputs)?;
    }
    let inner = product(&basis, weight, carried, outputs, inputs);
    let gram = product_transposed(&site.times_moments(&inner), &inner, carried, inputs, carried);
    let (_, vectors) = decompose(&symmetric(&gram, carried), carried).ok()?;
    let kept = wanted.min(carried);
    Some(product(&last_columns(&vectors, kept), &basis, kept, carried, outputs))
}

/// Orthonormal rows that span those of `rows`, twice over because the Gram matrix loses half of the digits.
fn orthonormal(rows: &[f32], count: usize, length: usize) -> Option<Vec<f32>> {
    let mut rows = rows.to_vec();
    for _ in 0..2 {
        let gram = product_transposed(&rows, &rows, count, length, count);
        let (values, vectors) = decompose(&symmetric(&gram, count), count).ok()?;
        let largest = values.last().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
        let mut turn = last_columns(&vectors, count);
        for (row, value) in turn.chunks_exact_mut(count).zip(values.iter().rev()) {
            let factor = 1.0 / value.max(1e-12 * largest).sqrt();
            row.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        }
        rows = product(&turn, &rows, count, count, length);
    }
    Some(rows)
}

/// In double precision, with rounding on both sides of the diagonal evened out.
fn symmetric(matrix: &[f32], n: usize) -> Vec<f64> {
    let at = |i: usize, j: usize| f64::from(matrix[i * n + j]);
    (0..n * n).map(|k| (at(k / n, k % n) + at(k % n, k / n)) / 2.0).collect()
}

/// The last `count` columns as rows, the very last first.
fn last_columns(vectors: &Mat<f64>, count: usize) -> Vec<f32> {
    let n = vectors.ncols();
    let columns = (n - count.min(n)..n).rev();
    columns.flat_map(|j| (0..vectors.nrows()).map(move |i| vectors[(i, j)] as f32)).collect()
}
