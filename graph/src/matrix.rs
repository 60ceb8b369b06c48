//! Products of two matrices into memory that can be moved out again.
//!
//! burn's own product writes into bytes, and bytes cannot become a `Vec<f32>` without a copy: for a gradient of 64 MB
//! that copy costs as much as half its product.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::Array;
use crate::backend::{self, PlainTensor};

/// Below so many multiply-adds, threads cost more than they bring.
const PARALLEL: usize = 192 * 192 * 192;

/// A matrix inside a slice: element (r, c) at r·`row_step` + c·`column_step`.
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> Matrix<'a> {
    /// A tensor of rank 2 with steps that are not negative, as it lies in memory.
    fn of(tensor: &'a PlainTensor) -> Option<Matrix<'a>> {
        let layout = tensor.layout();
        let (&[rows, columns], &[row, column]) = (&layout.shape()[..], layout.strides()) else { return None };
        let (row_step, column_step) = (usize::try_from(row).ok()?, usize::try_from(column).ok()?);
        let values = tensor.storage::<f32>().get(layout.start_offset()..)?;
        let last = rows.checked_sub(1)?.checked_mul(row_step)? + columns.checked_sub(1)?.checked_mul(column_step)?;
        (last < values.len()).then_some(Matrix { values, rows, columns, row_step, column_step })
    }

    fn view(&self) -> MatRef<'_, f32> {
        // Strides of slices never exceed isize::MAX.
        let (row_step, column_step) = (self.row_step as isize, self.column_step as isize);
        // SAFETY: `Matrix::of` has checked that the last element lies inside the slice, and so do those before it.
        #[allow(unsafe_code)]
        unsafe {
            MatRef::from_raw_parts(self.values.as_ptr(), self.rows, self.columns, row_step, column_step)
        }
    }
}

/// a·b, contiguous. a: M×K, b: K×N, both of rank 2; the inner extents agree.
pub(crate) fn multiply(a: PlainTensor, b: PlainTensor) -> PlainTensor {
    let (a, b) = (plain(a), plain(b));
    let (Some(left), Some(right)) = (Matrix::of(&a), Matrix::of(&b)) else {
        unreachable!("contiguous matrices have steps that are not negative");
    };
    let (m, n, k) = (left.rows, right.columns, left.columns);
    let par = if m.saturating_mul(n).saturating_mul(k) >= PARALLEL { Par::rayon(0) } else { Par::Seq };
    let mut values = vec![0.0; m * n];
    let product = MatMut::from_row_major_slice_mut(&mut values, m, n);
    matmul(product, Accum::Replace, left.view(), right.view(), 1.0, par);
    backend::from_array(Array { shape: vec![m, n], values })
}

/// Copied only where it is mirrored.
fn plain(tensor: PlainTensor) -> PlainTensor {
    if tensor.layout().strides().iter().all(|&step| step >= 0) { tensor } else { tensor.to_contiguous() }
}
