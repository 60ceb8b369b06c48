//! Leading eigenvectors of Gram matrices.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Accum, Mat, MatRef, Par};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Error;
use crate::kernels::transpose;
use crate::matmul::{Strided, multiply};

/// Matrices up to this size are always decomposed completely.
const COMPLETE: usize = 384;
/// Beyond it, subspace iteration is used when fewer than one in this many eigenvectors are wanted.
const SHARE: usize = 4;
/// Columns carried along beyond those wanted, and number of iterations.
const OVERSAMPLING: usize = 12;
const ITERATIONS: usize = 6;
/// Rows of the Gram matrix that one task multiplies.
const ROWS: usize = 128;

/// Eigenvalues, nondecreasing, and eigenvectors (columns) of a symmetric m×m matrix. On one thread, so that the result does
/// not depend on the number of threads.
///
/// # Errors
/// [`Error::Eigen`] when the iteration does not converge.
pub fn decompose(matrix: &[f64], m: usize) -> Result<(Vec<f64>, Mat<f64>), Error> {
    let mut vectors = Mat::<f64>::zeros(m, m);
    let mut values = Diag::<f64>::zeros(m);
    let scratch = self_adjoint_evd_scratch::<f64>(m, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        MatRef::from_row_major_slice(matrix, m, m),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::Eigen { dim: m })?;
    Ok((values.column_vector().iter().copied().collect(), vectors))
}

/// The orthogonal matrix nearest to an m×m matrix, row-major: A·Bᵀ of its singular value decomposition A·S·Bᵀ. On one thread.
pub(crate) fn polar(matrix: &[f64], m: usize) -> Result<Vec<f64>, Error> {
    let (mut left, mut right) = (Mat::<f64>::zeros(m, m), Mat::<f64>::zeros(m, m));
    let mut values = Diag::<f64>::zeros(m);
    let vectors = ComputeSvdVectors::Full;
    let scratch = svd_scratch::<f64>(m, m, vectors, vectors, Par::Seq, Default::default());
    svd(
        MatRef::from_row_major_slice(matrix, m, m),
        values.as_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Error::Eigen { dim: m })?;
    let mut product = Mat::<f64>::zeros(m, m);
    matmul(product.as_mut(), Accum::Replace, left.as_ref(), right.transpose(), 1.0, Par::Seq);
    Ok((0..m * m).map(|at| product[(at / m, at % m)]).collect())
}

/// The `count` leading eigenvectors of a symmetric positive semidefinite m×m matrix as columns of an (m, count) matrix.
///
/// Large matrices of which few vectors are wanted get them by randomised subspace iteration (Halko, Martinsson, Tropp, SIAM
/// Review 53, 2011), exact enough for a start: what it leaves undecided are directions of nearly equal weight.
pub(crate) fn leading(gram: &[f64], m: usize, count: usize) -> Result<Vec<f32>, Error> {
    if m > COMPLETE && count * SHARE <= m {
        return subspace(gram, m, count);
    }
    let (_, vectors) = decompose(gram, m)?;
    let mut out = Vec::with_capacity(m * count);
    for row in 0..m {
        out.extend((0..count).map(|k| vectors[(row, m - 1 - k)] as f32));
    }
    Ok(out)
}

fn subspace(gram: &[f64], m: usize, count: usize) -> Result<Vec<f32>, Error> {
    let k = (count + OVERSAMPLING).min(m);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // Vectors are rows here, so that they are contiguous.
    let mut q: Vec<f64> = (0..k * m).map(|_| rng.random_range(-1.0..1.0)).collect();
    orthonormalise(&mut q, m);
    let mut image = vec![0.0; k * m];
    for _ in 0..ITERATIONS {
        times(gram, m, &q, &mut image);
        std::mem::swap(&mut q, &mut image);
        orthonormalise(&mut q, m);
    }
    times(gram, m, &q, &mut image);
    let mut small = vec![0.0; k * k];
    for (a, row) in q.chunks_exact(m).enumerate() {
        for (b, other) in image.chunks_exact(m).enumerate() {
            small[a * k + b] = dot(row, other);
        }
    }
    let (_, vectors) = decompose(&small, k)?;
    let mut out = vec![0.0f32; m * count];
    for (row, out) in out.chunks_exact_mut(count).enumerate() {
        for (j, out) in out.iter_mut().enumerate() {
            *out = (0..k).map(|a| vectors[(a, k - 1 - j)] * q[a * m + row]).sum::<f64>() as f32;
        }
    }
    Ok(out)
}

/// out ← rows · gram.
fn times(gram: &[f64], m: usize, rows: &[f64], out: &mut [f64]) {
    let k = rows.len() / m;
    let mut columns = vec![0.0; rows.len()];
    columns.par_chunks_mut(ROWS * k).zip(gram.par_chunks(ROWS * m)).for_each(|(columns, gram)| {
        let n = gram.len() / m;
        let vectors = (rows, Strided::rows(k, m).transposed());
        multiply((columns, Strided::rows(n, k)), false, (gram, Strided::rows(n, m)), vectors);
    });
    transpose((&columns, k), m, k, (out, m));
}

/// Modified Gram-Schmidt, twice; rows that vanish are replaced by unit vectors.
pub(crate) fn orthonormalise(rows: &mut [f64], m: usize) {
    for k in 0..rows.len() / m {
        let (before, rest) = rows.split_at_mut(k * m);
        let row = &mut rest[..m];
        let mut attempt = 0;
        loop {
            let whole = dot(row, row).sqrt();
            for _ in 0..2 {
                for other in before.chunks_exact(m) {
                    let overlap = dot(row, other);
                    row.iter_mut().zip(other).for_each(|(x, o)| *x -= overlap * o);
                }
            }
            let left = dot(row, row).sqrt();
            if left > 1e-10 * whole {
                row.iter_mut().for_each(|x| *x /= left);
                break;
            }
            // There are more unit vectors than rows, so one of them has a part outside the span.
            row.fill(0.0);
            row[(k + attempt) % m] = 1.0;
            attempt += 1;
        }
    }
}

/// Inner product, summed in eight lanes so that it vectorises.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f64>() + rest
}
