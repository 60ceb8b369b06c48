//! Row-major matrices.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// The transpose of a rows×columns row-major matrix.
#[must_use]
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    // Blocks keep both sides of the copy in cache.
    const BLOCK: usize = 32;
    let mut out = vec![0.0; values.len()];
    for r0 in (0..rows).step_by(BLOCK) {
        for c0 in (0..columns).step_by(BLOCK) {
            for r in r0..(r0 + BLOCK).min(rows) {
                for c in c0..(c0 + BLOCK).min(columns) {
                    out[c * rows + r] = values[r * columns + c];
                }
            }
        }
    }
    out
}

/// a·b, row-major.
pub(crate) fn product_of(a: MatRef<'_, f32>, b: MatRef<'_, f32>) -> Vec<f32> {
    let (m, n) = (a.nrows(), b.ncols());
    let mut out = vec![0.0; m * n];
    matmul(MatMut::from_row_major_slice_mut(&mut out, m, n), Accum::Replace, a, b, 1.0, Par::rayon(0));
    out
}

/// a·b, with `a` m×k and `b` k×n.
pub(crate) fn product(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    product_of(MatRef::from_row_major_slice(a, m, k), MatRef::from_row_major_slice(b, k, n))
}

/// a·bᵀ, with `a` m×k and `b` n×k.
pub(crate) fn product_transposed(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    product_of(MatRef::from_row_major_slice(a, m, k), MatRef::from_row_major_slice(b, n, k).transpose())
}

/// L of A = L·Lᵀ, lower triangular, of a symmetric n×n matrix; `None` where it is not positive definite in float32. On one
/// thread, so that the result does not depend on the number of threads.
pub(crate) fn cholesky(matrix: &[f32], n: usize) -> Option<Vec<f32>> {
    let mut l = matrix.to_vec();
    let mut stack = MemBuffer::new(cholesky_in_place_scratch::<f32>(n, Par::Seq, Default::default()));
    let factor = MatMut::from_row_major_slice_mut(&mut l, n, n);
    cholesky_in_place(factor, Default::default(), Par::Seq, MemStack::new(&mut stack), Default::default()).ok()?;
    for row in 0..n {
        l[row * n + row + 1..(row + 1) * n].fill(0.0);
    }
    l.iter().all(|x| x.is_finite()).then_some(l)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_times_its_transpose_is_the_matrix() {
        let n = 70;
        let root: Vec<f32> = (0..n * n).map(|k| ((k * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let mut a = product_transposed(&root, &root, n, n, n);
        (0..n).for_each(|i| a[i * n + i] += 1.0);
        let l = cholesky(&a, n).unwrap();
        let back = product_transposed(&l, &l, n, n, n);
        assert!(a.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-3), "{:?}", &back[..4]);
        a[0] = -1.0;
        assert!(cholesky(&a, n).is_none());
    }
}
