//! The environment of a core: Σ over left and right of input (left, p, right) · d (left, q, right).
//!
//! Small cores: every element of the p×q result is an inner product of rows, summed in a vector of its own (*dots*). Larger
//! ones: one of the two operands is transposed, and each of its columns, as vectors, is multiplied by the numbers of the
//! other operand's column (*outer products*), which needs fewer loads and leaves no vectors to be summed.

use pulp::{Arch, Simd, WithSimd};

use super::{LANES, LONG_VECTOR, is_long, lanes, processor_lanes, transpose};
use crate::Real;

/// Elements of the operands that are multiplied at a time by dots, so that they stay in the first-level cache; processors with
/// long vectors have larger ones.
const BLOCK: usize = 1 << 12;
const LONG_BLOCK: usize = 1 << 14;
/// Rows and vectors of a tile of outer products; a half tile has twice the rows and half the elements.
const ROWS: usize = 6;
const HALF_ROWS: usize = 8;
/// Rows of a tile of outer products where there are 32 registers.
const LONG_ROWS: usize = 12;
const HALF: usize = LANES / 2;

/// How the environment of a p×q core is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Dots,
    /// The input is transposed: vectors run along p.
    TransposedInput,
    /// The gradient is transposed: vectors run along q.
    TransposedGradient,
}

/// The environment of one core, in an accumulator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment {
    p: usize,
    q: usize,
    method: Method,
    /// A side of outer products is a whole number of these: a vector, but no less than half a tile.
    half: usize,
}

/// Where an environment is summed up, and memory to work in.
pub(crate) struct Sums<'a, T> {
    /// [`Environment::sums_len`] long.
    pub sums: &'a mut [T],
    /// At least [`Environment::scratch_len`] long.
    pub scratch: &'a mut [T],
}

impl Environment {
    /// For a core (p, q) of numbers `T`.
    pub fn new<T: Real>(p: usize, q: usize) -> Self {
        let half = HALF.max(processor_lanes::<T>());
        // Cycles for 16 columns on a processor of two multiply-adds a cycle, measured: dots reach 65 % of its peak; outer
        // products 92 %, plus 36 cycles for 8 rows to be transposed.
        let work = (p * q) as f64;
        let outer = |side: usize| {
            let padded = side.next_multiple_of(half);
            work / 0.92 * padded as f64 / side as f64 + 4.5 * padded as f64
        };
        let methods =
            [(Method::Dots, work / 0.65), (Method::TransposedInput, outer(p)), (Method::TransposedGradient, outer(q))];
        let best = methods.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        Environment { p, q, method: best.map_or(Method::Dots, |(method, _)| method), half }
    }

    /// The side whose vectors outer products use, and the other one.
    fn sides(self) -> (usize, usize) {
        if self.method == Method::TransposedInput { (self.p, self.q) } else { (self.q, self.p) }
    }

    /// The side whose vectors outer products use, in whole vectors.
    fn padded(self) -> usize {
        self.sides().0.next_multiple_of(self.half)
    }

    /// Elements of the accumulator.
    pub fn sums_len(self) -> usize {
        match self.method {
            Method::Dots => self.p * self.q * LANES,
            _ => self.padded() * self.sides().1,
        }
    }

    /// Elements of working memory for `columns` = left · right.
    pub fn scratch_len(self, columns: usize) -> usize {
        match self.method {
            Method::Dots => 0,
            _ => self.padded() * columns,
        }
    }

    /// Adds to the accumulator.
    ///
    /// # Panics
    /// When sizes do not agree or `right` is no multiple of [`LANES`].
    pub fn add<T: Real>(self, input: &[T], d: &[T], right: usize, to: Sums<'_, T>) {
        let Environment { p, q, method, .. } = self;
        let left = input.len() / (p * right);
        assert!(right.is_multiple_of(LANES), "a local tensor is made of whole vectors");
        assert!(input.len() == left * p * right && d.len() == left * q * right, "sizes of local tensors must agree");
        assert!(to.sums.len() == self.sums_len(), "the accumulator must be that of the core");
        if method == Method::Dots {
            let elements = if is_long::<T>() { LONG_BLOCK } else { BLOCK };
            let block = (elements / ((p + q) * right)).max(1);
            for (input, d) in input.chunks(block * p * right).zip(d.chunks(block * q * right)) {
                Arch::new().dispatch(Dots { input, d, right, p, q, sums: &mut *to.sums });
            }
            return;
        }
        let (side, rows) = self.sides();
        let (turned, other) = if method == Method::TransposedInput { (input, d) } else { (d, input) };
        let scratch = &mut to.scratch[..self.scratch_len(left * right)];
        let mut rest = &mut *scratch;
        for start in (0..side).step_by(LANES) {
            let lanes = LANES.min(self.padded() - start);
            let block = rest.split_off_mut(..lanes * left * right).unwrap_or_default();
            let count = lanes.min(side - start);
            if count < lanes {
                block.fill(T::ZERO);
            }
            for (from, to) in turned.chunks_exact(side * right).zip(block.chunks_exact_mut(lanes * right)) {
                transpose((&from[start * right..], right), count, right, (to, lanes));
            }
        }
        Arch::new().dispatch(Outer { turned: scratch, padded: self.padded(), other, rows, right, sums: to.sums });
    }

    /// out (p, q) ← out + the accumulated sums.
    ///
    /// # Panics
    /// When sizes do not agree.
    pub fn total<T: Real>(self, sums: &[T], out: &mut [T]) {
        let Environment { p, q, method, .. } = self;
        assert!(sums.len() == self.sums_len() && out.len() == p * q, "the accumulator must be that of the core");
        if method == Method::Dots {
            Arch::new().dispatch(Total { sums, out });
            return;
        }
        let (side, rows) = self.sides();
        let (row_step, lane_step) = if method == Method::TransposedInput { (1, q) } else { (q, 1) };
        let mut rest = sums;
        for start in (0..side).step_by(LANES) {
            let lanes = LANES.min(self.padded() - start);
            let (block, others) = rest.split_at(lanes * rows);
            for (row, line) in block.chunks_exact(lanes).enumerate() {
                for (lane, &x) in line.iter().enumerate().take(side - start) {
                    out[row * row_step + (start + lane) * lane_step] += x;
                }
            }
            rest = others;
        }
    }
}

struct Dots<'a, T> {
    input: &'a [T],
    d: &'a [T],
    right: usize,
    p: usize,
    q: usize,
    sums: &'a mut [T],
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
struct Total<'a, T> {
    sums: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Total<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let sums = T::vectors(simd, self.sums);
        self.out.iter_mut().zip(sums).for_each(|(out, &sum)| *out += T::total(simd, sum));
    }
}

/// Sums over columns of (lanes of `turned`) × (rows of `other`).
struct Outer<'a, T> {
    /// Blocks of [`LANES`] rows of an operand, at the end perhaps of [`HALF`], each transposed: (columns, lanes).
    turned: &'a [T],
    padded: usize,
    /// (left, rows, right).
    other: &'a [T],
    rows: usize,
    right: usize,
    /// For each block (rows, lanes).
    sums: &'a mut [T],
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
