//! Row-major matrix products.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// A matrix operand: values that are rows of `length` elements, or columns.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    values: &'a [f32],
    length: usize,
    is_transposed: bool,
}

/// The row-major matrix with `columns` columns.
pub(crate) fn plain(values: &[f32], columns: usize) -> Operand<'_> {
    Operand { values, length: columns, is_transposed: false }
}

/// The transpose of the row-major matrix with `columns` columns.
pub(crate) fn transposed(values: &[f32], columns: usize) -> Operand<'_> {
    Operand { values, length: columns, is_transposed: true }
}

impl<'a> Operand<'a> {
    /// As a matrix of `rows` × `columns`.
    fn matrix(self, rows: usize, columns: usize) -> MatRef<'a, f32> {
        let (lines, length) = if self.is_transposed { (columns, rows) } else { (rows, columns) };
        assert!(length == self.length && self.values.len() >= lines * length, "operand smaller than {rows}×{columns}");
        let matrix = MatRef::from_row_major_slice(&self.values[..lines * length], lines, length);
        if self.is_transposed { matrix.transpose() } else { matrix }
    }
}

/// `out` = a·b, or `out` + a·b when `accumulate`, with `a` m×k, `b` k×n and `out` m×n row-major.
///
/// # Panics
/// When an operand is too small.
pub(crate) fn multiply(
    m: usize,
    n: usize,
    k: usize,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: bool,
    out: &mut [f32],
) {
    let out = MatMut::from_row_major_slice_mut(&mut out[..m * n], m, n);
    let beta = if accumulate { Accum::Add } else { Accum::Replace };
    matmul(out, beta, a.matrix(m, k), b.matrix(k, n), 1.0, Par::rayon(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_the_strides() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [10.0; 4];
        multiply(2, 2, 3, plain(&a, 3), transposed(&a, 3), true, &mut out);
        assert_eq!(out, [24.0, 42.0, 42.0, 87.0]);
    }
}
