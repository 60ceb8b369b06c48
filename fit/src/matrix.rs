//! Row-major matrix products on the `gemm` crate.

/// A matrix operand: elements with the strides of its columns and rows.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    values: &'a [f32],
    column_stride: isize,
    row_stride: isize,
}

/// The row-major matrix with `columns` columns.
pub(crate) fn plain(values: &[f32], columns: usize) -> Operand<'_> {
    Operand { values, column_stride: 1, row_stride: columns as isize }
}

/// The transpose of the row-major matrix with `columns` columns.
pub(crate) fn transposed(values: &[f32], columns: usize) -> Operand<'_> {
    Operand { values, column_stride: columns as isize, row_stride: 1 }
}

impl Operand<'_> {
    fn covers(&self, rows: usize, columns: usize) -> bool {
        if rows == 0 || columns == 0 {
            return true;
        }
        let last = (rows - 1) as isize * self.row_stride + (columns - 1) as isize * self.column_stride;
        self.row_stride >= 0 && self.column_stride >= 0 && (last as usize) < self.values.len()
    }
}

/// `out = beta·out + a·b` with `a` m×k, `b` k×n and `out` m×n row-major.
pub(crate) fn gemm(m: usize, n: usize, k: usize, a: Operand<'_>, b: Operand<'_>, beta: f32, out: &mut [f32]) {
    assert!(a.covers(m, k) && b.covers(k, n) && out.len() >= m * n, "operands smaller than {m}×{k}·{k}×{n}");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the assertion above proves that every element addressed by the given extents and strides lies inside
    // its slice, and `out` is borrowed mutably, so it overlaps neither operand.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            beta != 0.0,
            a.values.as_ptr(),
            a.column_stride,
            a.row_stride,
            b.values.as_ptr(),
            b.column_stride,
            b.row_stride,
            beta,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_the_strides() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [1.0; 4];
        gemm(2, 2, 3, plain(&a, 3), transposed(&a, 3), 10.0, &mut out);
        assert_eq!(out, [24.0, 42.0, 42.0, 87.0]);
    }
}
