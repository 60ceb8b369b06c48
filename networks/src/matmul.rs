//! Matrix products on one thread.

use faer::{Accum, MatMut, MatRef};

use crate::Real;

/// A matrix within a slice: `rows` × `columns`, element (r, c) at r·`row_step` + c·`column_step`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strided {
    pub rows: usize,
    pub columns: usize,
    pub row_step: usize,
    pub column_step: usize,
}

impl Strided {
    /// Contiguous, row by row.
    pub fn rows(rows: usize, columns: usize) -> Self {
        Strided { rows, columns, row_step: columns, column_step: 1 }
    }

    /// Row by row with a distance between rows that may exceed the number of columns.
    pub fn pitched(rows: usize, columns: usize, row_step: usize) -> Self {
        Strided { rows, columns, row_step, column_step: 1 }
    }

    /// The transposed matrix.
    pub fn transposed(self) -> Self {
        Strided { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step }
    }

    /// Elements from the first to the last one of the matrix.
    fn span(self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step + 1
    }
}

/// dst ← a·b, or dst ← dst + a·b when `accumulate`. The order of summation depends on the shapes only.
///
/// # Panics
/// When a matrix does not fit its slice or the inner dimensions differ.
pub(crate) fn multiply<T: Real>(dst: (&mut [T], Strided), accumulate: bool, a: (&[T], Strided), b: (&[T], Strided)) {
    let ((dst, d), (a, sa), (b, sb)) = (dst, a, b);
    assert!(d.span() <= dst.len(), "the product must fit its slice");
    // SAFETY: `dst` is an exclusive slice that holds all of `d`.
    #[allow(unsafe_code)]
    unsafe {
        multiply_into(dst.as_mut_ptr(), d, accumulate, (a, sa), (b, sb));
    }
}

/// As [`multiply`], for a destination whose elements lie between those of other threads.
///
/// # Safety
/// The elements that `d` describes, counted from `dst`, must be writable and not accessed otherwise during the call; with
/// `accumulate` they must be initialised.
#[allow(unsafe_code)]
pub(crate) unsafe fn multiply_into<T: Real>(
    dst: *mut T,
    d: Strided,
    accumulate: bool,
    (a, sa): (&[T], Strided),
    (b, sb): (&[T], Strided),
) {
    assert!(sa.span() <= a.len() && sb.span() <= b.len(), "an operand must fit its slice");
    assert!(sa.columns == sb.rows && sa.rows == d.rows && sb.columns == d.columns, "shapes must agree");
    let beta = if accumulate { Accum::Add } else { Accum::Replace };
    // Strides of slices never exceed isize::MAX.
    let step = |s: usize| s as isize;
    // SAFETY: the operands fit their slices and the shapes agree, both checked above; the destination by the caller.
    unsafe {
        let view = |x: &[T], s: Strided| {
            MatRef::from_raw_parts(x.as_ptr(), s.rows, s.columns, step(s.row_step), step(s.column_step))
        };
        let dst = MatMut::from_raw_parts_mut(dst, d.rows, d.columns, step(d.row_step), step(d.column_step));
        T::product(dst, beta, view(a, sa), view(b, sb));
    }
}
