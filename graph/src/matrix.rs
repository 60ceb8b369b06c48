//! Products of two matrices into memory that can be moved out again.
//!
//! burn's own product writes into bytes, and bytes cannot become a `Vec<f32>` without a copy: for a gradient of 64 MB
//! that copy costs as much as half its product.

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
}

/// a·b, contiguous. a: M×K, b: K×N, both of rank 2; the inner extents agree.
pub(crate) fn multiply(a: PlainTensor, b: PlainTensor) -> PlainTensor {
    let (a, b) = (plain(a), plain(b));
    let (Some(left), Some(right)) = (Matrix::of(&a), Matrix::of(&b)) else {
        unreachable!("contiguous matrices have steps that are not negative");
    };
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert_eq!(k, right.rows, "the inner extents must agree");
    let mut values: Vec<f32> = Vec::with_capacity(m * n);
    let parallel = m.saturating_mul(n).saturating_mul(k) >= PARALLEL;
    let threads = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // Strides of slices never exceed isize::MAX.
    let step = |step: usize| step as isize;
    #[allow(unsafe_code)]
    // SAFETY: `Matrix::of` checked that both factors lie inside their slices, which are at least one by one; the product
    // lies inside the capacity, is not read, and is written as a whole before its length is set.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            values.as_mut_ptr(),
            1,
            step(n),
            false,
            left.values.as_ptr(),
            step(left.column_step),
            step(left.row_step),
            right.values.as_ptr(),
            step(right.column_step),
            step(right.row_step),
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
        values.set_len(m * n);
    }
    backend::from_array(Array { shape: vec![m, n], values })
}

/// Copied only where it is mirrored.
fn plain(tensor: PlainTensor) -> PlainTensor {
    if tensor.layout().strides().iter().all(|&step| step >= 0) { tensor } else { tensor.to_contiguous() }
}
