//! Environments of small cores: inner products of rows, each summed in a vector of its own.

use pulp::{Simd, WithSimd};

use crate::Real;
use crate::kernels::{LONG_VECTOR, lanes};

/// Sums over columns of (rows of the input) × (rows of the gradient).
pub(super) struct Dots<'a, T> {
    /// (left, p, right).
    pub input: &'a [T],
    /// (left, q, right).
    pub d: &'a [T],
    pub right: usize,
    pub p: usize,
    pub q: usize,
    /// A vector for each element of (p, q).
    pub sums: &'a mut [T],
}

impl<T: Real> WithSimd for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Dots { input, d, right, p, q, sums } = self;
        let (input, d) = (T::vectors(simd, input), T::vectors(simd, d));
        let width = right / lanes::<T, S>();
        let sums = &mut T::vectors_mut(simd, sums)[..p * q];
        let sides = Sides::<T, S> { input, d, width, p, q };
        // As a constant, the compiler builds addresses from it.
        if width == 2 { dots(simd, &Sides { width: 2, ..sides }, sums) } else { dots(simd, &sides, sums) }
    }
}

#[inline(always)]
fn dots<T: Real, S: Simd>(simd: S, sides: &Sides<'_, T, S>, sums: &mut [T::Vector<S>]) {
    let Sides { p, q, .. } = *sides;
    let is_long = size_of::<T::Vector<S>>() >= LONG_VECTOR;
    let (bands, columns) = (p.div_ceil(4), q.div_ceil(if is_long { 6 } else { 3 }));
    for band in 0..bands {
        let (row, end) = (band * p / bands, (band + 1) * p / bands);
        for tile in 0..columns {
            let (column, right) = (tile * q / columns, (tile + 1) * q / columns);
            macro_rules! tiles {
                ($($p:literal $q:literal),*) => {
                    match (end - row, right - column) {
                        $(($p, $q) => dots_tile::<T, S, $p, $q>(simd, sides, row, column, sums),)*
                        _ => {}
                    }
                };
            }
            tiles!(1 1, 1 2, 1 3, 2 1, 2 2, 2 3, 3 1, 3 2, 3 3, 4 1, 4 2, 4 3);
            if is_long {
                tiles!(1 4, 1 5, 1 6, 2 4, 2 5, 2 6, 3 4, 3 5, 3 6, 4 4, 4 5, 4 6);
            }
        }
    }
}

struct Sides<'a, T: Real, S: Simd> {
    input: &'a [T::Vector<S>],
    d: &'a [T::Vector<S>],
    width: usize,
    p: usize,
    q: usize,
}

/// P·Q elements of the matrix.
#[inline(always)]
fn dots_tile<T: Real, S: Simd, const P: usize, const Q: usize>(
    simd: S,
    sides: &Sides<'_, T, S>,
    row: usize,
    column: usize,
    totals: &mut [T::Vector<S>],
) {
    let Sides { input, d, width, p, q } = *sides;
    let zero = T::splat(simd, T::ZERO);
    let mut sums = [[zero; Q]; P];
    for (a, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&totals[(row + a) * q + column..][..Q]);
    }
    for (input, d) in input.chunks_exact(p * width).zip(d.chunks_exact(q * width)) {
        // SAFETY: row + P ≤ p, column + Q ≤ q and y < width, so the vectors lie within the chunks of p·width and q·width.
        #[allow(unsafe_code, clippy::needless_range_loop)]
        unsafe {
            let (mut x, mut d) = (input.as_ptr().add(row * width), d.as_ptr().add(column * width));
            for _ in 0..width {
                let mut others = [zero; Q];
                for k in 0..Q {
                    others[k] = *d.add(k * width);
                }
                for j in 0..P {
                    let x = *x.add(j * width);
                    for k in 0..Q {
                        sums[j][k] = T::multiply_add(simd, x, others[k], sums[j][k]);
                    }
                }
                // Wrapping: the last step may lead past the slices and is never read.
                (x, d) = (x.wrapping_add(1), d.wrapping_add(1));
            }
        }
    }
    for (a, sums) in sums.iter().enumerate() {
        totals[(row + a) * q + column..][..Q].copy_from_slice(sums);
    }
}

/// out ← out + the sums of the vectors that dots have left.
pub(super) struct Total<'a, T> {
    pub sums: &'a [T],
    pub out: &'a mut [T],
}

impl<T: Real> WithSimd for Total<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let sums = T::vectors(simd, self.sums);
        self.out.iter_mut().zip(sums).for_each(|(out, &sum)| *out += T::total(simd, sum));
    }
}
