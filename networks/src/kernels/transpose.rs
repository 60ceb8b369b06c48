//! Transposition of matrices in cache.

use pulp::{Arch, Simd, WithSimd};

use crate::Real;

/// Rows and columns of the blocks that are transposed in registers.
const B: usize = 8;

/// out (columns, rows) ← input (rows, columns)ᵀ, where consecutive rows of either are `pitch` elements apart.
///
/// # Panics
/// When the matrices do not fit their slices.
pub(crate) fn transpose<T: Real>(input: (&[T], usize), rows: usize, columns: usize, out: (&mut [T], usize)) {
    let ((input, from), (out, to)) = (input, out);
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(columns <= from && (rows - 1) * from + columns <= input.len(), "the matrix must fit its slice");
    assert!(rows <= to && (columns - 1) * to + rows <= out.len(), "the transposed matrix must fit its slice");
    let mut task = Transposition { input, from, rows, columns, out, to };
    if !T::transpose_blocks(&mut task) {
        Arch::new().dispatch(Blocks(&mut task));
    }
    let Transposition { input, from, rows, columns, out, to } = task;
    let (whole_rows, whole_columns) = (rows / B * B, columns / B * B);
    for r in 0..rows {
        for c in if r < whole_rows { whole_columns } else { 0 }..columns {
            out[c * to + r] = input[r * from + c];
        }
    }
}

/// A matrix to be transposed and where to.
pub struct Transposition<'a, T> {
    input: &'a [T],
    from: usize,
    rows: usize,
    columns: usize,
    out: &'a mut [T],
    to: usize,
}

/// Transposes all whole blocks.
struct Blocks<'t, 'a, T>(&'t mut Transposition<'a, T>);

impl<T: Real> WithSimd for Blocks<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Transposition { input, from, rows, columns, out, to } = self.0;
        for r in (0..*rows / B * B).step_by(B) {
            for c in (0..*columns / B * B).step_by(B) {
                let mut block = [[T::ZERO; B]; B];
                for (k, line) in block.iter_mut().enumerate() {
                    line.copy_from_slice(&input[(r + k) * *from + c..][..B]);
                }
                for k in 0..B {
                    let line: [T; B] = std::array::from_fn(|j| block[j][k]);
                    out[(c + k) * *to + r..][..B].copy_from_slice(&line);
                }
            }
        }
    }
}

/// As [`Blocks`], with the shuffles of AVX; false where the processor has none.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(crate) fn transpose_f32(task: &mut Transposition<'_, f32>) -> bool {
    use pulp::x86::V3;

    struct Shuffles<'t, 'a> {
        simd: V3,
        task: &'t mut Transposition<'a, f32>,
    }

    impl pulp::NullaryFnOnce for Shuffles<'_, '_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let avx = self.simd.avx;
            let Transposition { input, from, rows, columns, out, to } = self.task;
            let (input, out) = (input.as_ptr(), out.as_mut_ptr());
            for r in (0..*rows / B * B).step_by(B) {
                for c in (0..*columns / B * B).step_by(B) {
                    // SAFETY: block and lines are within the matrix, which fits its slice, as `transpose` has checked.
                    let line = |k: usize| unsafe { avx._mm256_loadu_ps(input.add((r + k) * *from + c)) };
                    let rows = [line(0), line(1), line(2), line(3), line(4), line(5), line(6), line(7)];
                    // Pairs, then fours, then halves of lines change places.
                    let two = |k: usize| {
                        (avx._mm256_unpacklo_ps(rows[k], rows[k + 1]), avx._mm256_unpackhi_ps(rows[k], rows[k + 1]))
                    };
                    let ((a0, a1), (a2, a3), (a4, a5), (a6, a7)) = (two(0), two(2), two(4), two(6));
                    let four = |x, y| (avx._mm256_shuffle_ps::<0x44>(x, y), avx._mm256_shuffle_ps::<0xee>(x, y));
                    let ((b0, b1), (b2, b3)) = (four(a0, a2), four(a1, a3));
                    let ((b4, b5), (b6, b7)) = (four(a4, a6), four(a5, a7));
                    let low = |x, y| avx._mm256_permute2f128_ps::<0x20>(x, y);
                    let high = |x, y| avx._mm256_permute2f128_ps::<0x31>(x, y);
                    let turned = [
                        low(b0, b4),
                        low(b1, b5),
                        low(b2, b6),
                        low(b3, b7),
                        high(b0, b4),
                        high(b1, b5),
                        high(b2, b6),
                        high(b3, b7),
                    ];
                    for (k, line) in turned.into_iter().enumerate() {
                        // SAFETY: likewise.
                        unsafe { avx._mm256_storeu_ps(out.add((c + k) * *to + r), line) };
                    }
                }
            }
        }
    }

    match V3::try_new() {
        Some(simd) => {
            simd.vectorize(Shuffles { simd, task });
            true
        }
        None => false,
    }
}

/// As [`Blocks`], with the processor's shuffles; false where there are none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn transpose_f32(_: &mut Transposition<'_, f32>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_changes_row_and_column() {
        for (rows, columns) in [(1, 1), (8, 8), (16, 24), (9, 17), (7, 3), (3, 40)] {
            let (from, to) = (columns + 3, rows + 2);
            let input: Vec<f32> = (0..rows * from).map(|k| k as f32).collect();
            let wide: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
            let (mut out, mut wide_out) = (vec![-1.0f32; columns * to], vec![-1.0f64; columns * to]);
            transpose((&input, from), rows, columns, (&mut out, to));
            transpose((&wide, from), rows, columns, (&mut wide_out, to));
            for (k, &x) in out.iter().enumerate() {
                let (c, r) = (k / to, k % to);
                assert_eq!(x, if r < rows { input[r * from + c] } else { -1.0 });
                assert_eq!(f64::from(x), wide_out[k]);
            }
        }
    }
}
