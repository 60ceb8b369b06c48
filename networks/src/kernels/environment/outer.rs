//! Environments of larger cores: products of transposed columns with the numbers of other columns.

use pulp::{Simd, WithSimd};

use super::HALF;
use crate::Real;
use crate::kernels::{LANES, LONG_VECTOR, lanes};

/// Rows and vectors of a tile of outer products; a half tile has twice the rows and half the elements.
const ROWS: usize = 6;
const HALF_ROWS: usize = 8;
/// Rows of a tile of outer products where there are 32 registers.
const LONG_ROWS: usize = 12;

/// Sums over columns of (lanes of `turned`) × (rows of `other`).
pub(super) struct Outer<'a, T> {
    /// Blocks of [`LANES`] rows of an operand, at the end perhaps of [`HALF`], each transposed: (columns, lanes).
    pub turned: &'a [T],
    pub padded: usize,
    /// (left, rows, right).
    pub other: &'a [T],
    pub rows: usize,
    pub right: usize,
    /// For each block (rows, lanes).
    pub sums: &'a mut [T],
}

impl<T: Real> WithSimd for Outer<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outer { turned, padded, other, rows, right, sums } = self;
        let columns = other.len() / rows;
        let (mut turned, mut sums) = (turned, sums);
        for start in (0..padded).step_by(LANES) {
            let lanes = LANES.min(padded - start);
            let (block, blocks) = turned.split_at(columns * lanes);
            let totals = sums.split_off_mut(..rows * lanes).unwrap_or_default();
            turned = blocks;
            let (block, totals) = (T::vectors(simd, block), T::vectors_mut(simd, totals));
            let operand = Operand { values: other, rows, right };
            if size_of::<T::Vector<S>>() >= LONG_VECTOR && lanes == LANES {
                outer_rows::<T, S, LONG_ROWS, LANES>(simd, block, operand, totals);
            } else if lanes == LANES {
                outer_rows::<T, S, ROWS, LANES>(simd, block, operand, totals);
            } else {
                outer_rows::<T, S, HALF_ROWS, HALF>(simd, block, operand, totals);
            }
        }
    }
}

/// The operand of outer products that is not transposed: (left, rows, right).
#[derive(Clone, Copy)]
struct Operand<'a, T> {
    values: &'a [T],
    rows: usize,
    right: usize,
}

/// All rows of one block of lanes, in tiles of at most `MOST` rows.
#[inline(always)]
fn outer_rows<T: Real, S: Simd, const MOST: usize, const BLOCK: usize>(
    simd: S,
    block: &[T::Vector<S>],
    other: Operand<'_, T>,
    totals: &mut [T::Vector<S>],
) {
    let rows = other.rows;
    let vectors = BLOCK / lanes::<T, S>();
    let tiles = rows.div_ceil(MOST);
    for tile in 0..tiles {
        let (row, end) = (tile * rows / tiles, (tile + 1) * rows / tiles);
        let totals = &mut totals[row * vectors..end * vectors];
        macro_rules! rows {
            ($($n:literal)*) => {
                match (end - row, vectors) {
                    $(
                        ($n, 1) => outer_tile::<T, S, $n, 1>(simd, block, other, row, totals),
                        ($n, 2) => outer_tile::<T, S, $n, 2>(simd, block, other, row, totals),
                        ($n, 4) => outer_tile::<T, S, $n, 4>(simd, block, other, row, totals),
                    )*
                    _ => {
                        // Vectors of a length that no tile is made for: row by row, vector by vector.
                        for (k, total) in totals.iter_mut().enumerate() {
                            let row = row + k / vectors;
                            outer_single(simd, &block[k % vectors..], vectors, other, row, total);
                        }
                    }
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
}

/// `R` rows of `V` vectors.
#[inline(always)]
fn outer_tile<T: Real, S: Simd, const R: usize, const V: usize>(
    simd: S,
    block: &[T::Vector<S>],
    other: Operand<'_, T>,
    row: usize,
    totals: &mut [T::Vector<S>],
) {
    let Operand { values, rows, right } = other;
    let mut sums = [[T::splat(simd, T::ZERO); V]; R];
    let columns = values.len() / rows;
    assert!(row + R <= rows && columns.is_multiple_of(right) && block.len() == columns * V, "operands must agree");
    // One loop over all columns: in two, the sums would not stay in registers.
    let (mut value, mut column) = (values[row * right..].as_ptr(), block.as_ptr());
    let mut left = right;
    for _ in 0..columns {
        // SAFETY: `column` walks through the `columns`·V vectors of `block`. `value` walks along row `row` of one (rows, right)
        // matrix of `values` after the other, and row + k < rows.
        #[allow(unsafe_code, clippy::needless_range_loop)]
        unsafe {
            let mut x = [T::splat(simd, T::ZERO); V];
            for v in 0..V {
                x[v] = *column.add(v);
            }
            for k in 0..R {
                let factor = T::splat(simd, *value.add(k * right));
                for v in 0..V {
                    sums[k][v] = T::multiply_add(simd, factor, x[v], sums[k][v]);
                }
            }
        }
        // Wrapping: the last step may lead past the slices and is never read.
        (value, column) = (value.wrapping_add(1), column.wrapping_add(V));
        left -= 1;
        if left == 0 {
            value = value.wrapping_add((rows - 1) * right);
            left = right;
        }
    }
    let one = T::splat(simd, T::ONE);
    for (sums, totals) in sums.iter().zip(totals.chunks_exact_mut(V)) {
        for (&sum, total) in sums.iter().zip(totals) {
            *total = T::multiply_add(simd, one, sum, *total);
        }
    }
}

/// One vector of one row; `block` has a vector every `step`.
#[inline(always)]
fn outer_single<T: Real, S: Simd>(
    simd: S,
    block: &[T::Vector<S>],
    step: usize,
    other: Operand<'_, T>,
    row: usize,
    total: &mut T::Vector<S>,
) {
    let Operand { values, rows, right } = other;
    let factors = values.chunks_exact(rows * right).flat_map(|values| &values[row * right..(row + 1) * right]);
    for (&factor, &x) in factors.zip(block.iter().step_by(step)) {
        *total = T::multiply_add(simd, T::splat(simd, factor), x, *total);
    }
}
