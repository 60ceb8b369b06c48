//! Products of two matrices.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Below so many multiply-adds, threads cost more than they bring.
const PARALLEL: usize = 192 * 192 * 192;

/// A matrix inside a slice: rows `step` apart, or columns where it is turned.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a>(MatRef<'a, f32>);

impl<'a> Matrix<'a> {
    /// Contiguous and row-major.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Matrix<'a> {
        Matrix::wide(values, rows, columns, columns)
    }

    /// Rows that begin `step` apart.
    pub(crate) fn wide(values: &'a [f32], rows: usize, columns: usize, step: usize) -> Matrix<'a> {
        Matrix(MatRef::from_row_major_slice_with_stride(values, rows, columns, step))
    }

    pub(crate) fn turned(self) -> Matrix<'a> {
        Matrix(self.0.transpose())
    }

    pub(crate) fn turned_if(self, turn: bool) -> Matrix<'a> {
        if turn { self.turned() } else { self }
    }
}

/// Where a product goes: rows that begin `step` apart.
pub(crate) struct Target<'a> {
    pub values: &'a mut [f32],
    pub step: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

/// a·b on this thread.
pub(crate) fn multiply_into(target: Target, a: Matrix, b: Matrix) {
    into(target, a, b, Par::Seq);
}

/// a·b on all threads where it is large.
pub(crate) fn multiply_into_together(target: Target, a: Matrix, b: Matrix) {
    let work = a.0.nrows().saturating_mul(a.0.ncols()).saturating_mul(b.0.ncols());
    into(target, a, b, if work >= PARALLEL { Par::rayon(0) } else { Par::Seq });
}

fn into(Target { values, step, add }: Target, a: Matrix, b: Matrix, par: Par) {
    // faer's own constructor for such rows exchanges the two steps (0.24.4).
    let product =
        MatMut::from_column_major_slice_with_stride_mut(values, b.0.ncols(), a.0.nrows(), step).transpose_mut();
    matmul(product, if add { Accum::Add } else { Accum::Replace }, a.0, b.0, 1.0, par);
}

/// a·b, contiguous, on all threads where it is large.
pub(crate) fn multiply(a: Matrix, b: Matrix) -> Vec<f32> {
    let (rows, columns) = (a.0.nrows(), b.0.ncols());
    let mut values = vec![0.0; rows * columns];
    multiply_into_together(Target { values: &mut values, step: columns, add: false }, a, b);
    values
}
