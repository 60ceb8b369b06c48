//! Leading left singular vectors of a matrix, by way of its smaller Gram matrix.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Error;
use crate::matmul::{Strided, multiply};
use crate::start::{eigen, gram};

/// Matrices with both dimensions beyond this are sketched when fewer than one in `SHARE` vectors are wanted.
const SKETCH: usize = 1024;
const SHARE: usize = 4;
/// Columns carried along beyond those wanted, and number of iterations.
const OVERSAMPLING: usize = 12;
const ITERATIONS: usize = 4;
/// Rows of T that one task multiplies.
const ROWS: usize = 64;

/// The `count` leading left singular vectors of T = `t` as (m, R), row-major, as columns of an (m, count) matrix.
///
/// They are the eigenvectors of T·Tᵀ (m×m). Where R is smaller, those of Tᵀ·T (R×R) cost less and are brought over by T.
pub(crate) fn leading(t: &[f32], m: usize, count: usize) -> Result<Vec<f32>, Error> {
    let r = t.len() / m;
    if m.min(r) > SKETCH && count * SHARE <= m.min(r) {
        return sketch(t, m, count);
    }
    if m <= 2 * r {
        return eigen::leading(&gram::of_rows(t, m), m, count);
    }
    let mut columns = vec![0.0f32; t.len()];
    gram::rotate(t, m, &mut columns);
    let found = count.min(r);
    let right = eigen::leading(&gram::of_rows(&columns, r), r, found)?;
    let mut left = vec![0.0f32; m * found];
    multiply((&mut left, Strided::rows(m, found)), false, (t, Strided::rows(m, r)), (&right, Strided::rows(r, found)));
    // Directions beyond the rank of T come out as noise or are missing; any others that are orthonormal serve as well.
    let mut rows = vec![0.0f64; count * m];
    for (k, row) in rows.chunks_exact_mut(m).enumerate().take(found) {
        row.iter_mut().zip(left.iter().skip(k).step_by(found)).for_each(|(to, &from)| *to = f64::from(from));
    }
    eigen::orthonormalise(&mut rows, m);
    Ok(columns_of(&rows, m))
}

/// Randomised subspace iteration on T itself (Halko, Martinsson, Tropp, SIAM Review 53, 2011, algorithm 4.4): needs no Gram
/// matrix, which for the largest pairs would be larger than T. Exact enough for a start: what it leaves undecided are
/// directions of nearly equal weight.
fn sketch(t: &[f32], m: usize, count: usize) -> Result<Vec<f32>, Error> {
    let r = t.len() / m;
    let k = count + OVERSAMPLING;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut rows: Vec<f64> = (0..k * m).map(|_| rng.random_range(-1.0..1.0)).collect();
    eigen::orthonormalise(&mut rows, m);
    let mut columns = columns_of(&rows, m);
    let (mut image, mut back) = (vec![0.0f32; r * k], vec![0.0f32; m * k]);
    for _ in 0..ITERATIONS {
        gram::cycle(t, m, &columns, k, &mut image);
        times(t, m, &image, k, &mut back);
        for (row, rows) in rows.chunks_exact_mut(m).enumerate() {
            rows.iter_mut().zip(back.iter().skip(row).step_by(k)).for_each(|(to, &from)| *to = f64::from(from));
        }
        eigen::orthonormalise(&mut rows, m);
        columns = columns_of(&rows, m);
    }
    // Within the subspace: eigenvectors of (QᵀT)(QᵀT)ᵀ.
    gram::cycle(t, m, &columns, k, &mut image);
    let mut projected = vec![0.0f32; image.len()];
    gram::rotate(&image, r, &mut projected);
    let small = eigen::leading(&gram::of_rows(&projected, k), k, count)?;
    let mut basis = vec![0.0f32; m * count];
    multiply(
        (&mut basis, Strided::rows(m, count)),
        false,
        (&columns, Strided::rows(m, k)),
        (&small, Strided::rows(k, count)),
    );
    Ok(basis)
}

/// `out` (m, k) ← T · `right` (R, k).
fn times(t: &[f32], m: usize, right: &[f32], k: usize, out: &mut [f32]) {
    let r = t.len() / m;
    out.par_chunks_mut(ROWS * k).zip(t.par_chunks(ROWS * r)).for_each(|(out, t)| {
        let n = t.len() / r;
        multiply((out, Strided::rows(n, k)), false, (t, Strided::rows(n, r)), (right, Strided::rows(r, k)));
    });
}

/// Rows of length `m` as the columns of a row-major matrix.
fn columns_of(rows: &[f64], m: usize) -> Vec<f32> {
    let k = rows.len() / m;
    (0..m * k).map(|at| rows[at % k * m + at / k] as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both routes span the same space and give orthonormal columns, also beyond the rank.
    #[test]
    fn both_gram_matrices_give_the_same_projection() {
        let (m, r) = (30, 6);
        let t: Vec<f32> = (0..m * r).map(|k| ((k * k + 3 * k) as f32 * 0.37).sin() + (k % r) as f32 * 0.2).collect();
        for count in [1, 4, 6, 9] {
            let thin = leading(&t, m, count).unwrap();
            let wide = eigen::leading(&gram::of_rows(&t, m), m, count).unwrap();
            for a in 0..count {
                for b in 0..count {
                    let dot: f32 = (0..m).map(|k| thin[k * count + a] * thin[k * count + b]).sum();
                    assert!((dot - f32::from(a == b)).abs() < 1e-5, "{count}: {a} {b} {dot}");
                }
            }
            let energy = |basis: &[f32]| -> f32 {
                let projection =
                    |j: usize, k: usize| -> f32 { (0..m).map(|i| basis[i * count + k] * t[i * r + j]).sum() };
                (0..r).flat_map(|j| (0..count).map(move |k| (j, k))).map(|(j, k)| projection(j, k).powi(2)).sum()
            };
            assert!((energy(&thin) / energy(&wide) - 1.0).abs() < 1e-4);
        }
    }

    /// A matrix with a few strong directions: the sketch finds their span.
    #[test]
    fn a_sketch_finds_the_strong_directions() {
        let (m, r, rank) = (90, 110, 3);
        let wave = |a: usize, k: usize| ((a * (2 * k + 1)) as f32 * 0.11 + k as f32).sin();
        let t: Vec<f32> = (0..m * r)
            .map(|at| (0..rank).map(|k| wave(at / r, k) * wave(at % r, k + 5)).sum::<f32>() + 1e-3 * wave(at, 9))
            .collect();
        let basis = sketch(&t, m, rank).unwrap();
        let mut projected = vec![0.0f32; r * rank];
        gram::cycle(&t, m, &basis, rank, &mut projected);
        let energy = |values: &[f32]| values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        assert!(energy(&projected) > 0.9999 * energy(&t));
    }
}
