//! One core applied to a leg of a local tensor.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::{LANES, LONG_VECTOR, is_long, lanes};
use crate::Real;

/// Vectors of a tile along `right`, and of one with few rows.
const TILE: usize = 2;
const LONG_TILE: usize = 4;
/// Most rows of a tile: with [`TILE`] vectors each and what they are made of they fill sixteen registers.
const ROWS: usize = 6;
/// Likewise with 32 registers.
const LONG_ROWS: usize = 12;

/// A core as [`expand`] wants it: in tiles of its columns, each (p, columns of the tile) row-major.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a, T> {
    tiles: &'a [T],
    p: usize,
    q: usize,
}

impl<'a, T> Packed<'a, T> {
    /// What [`pack`] made of a core (p, q), or [`pack_transposed`] of a core (q, p).
    pub fn new(tiles: &'a [T], p: usize, q: usize) -> Self {
        assert!(tiles.len() == p * q, "a packed core is as long as the core");
        Packed { tiles, p, q }
    }
}

/// Packs a core (p, q), row-major, into `tiles`, which is as long.
///
/// # Panics
/// When the lengths do not agree.
pub(crate) fn pack<T: Real>(core: &[T], p: usize, q: usize, tiles: &mut [T]) {
    assert!(core.len() == p * q && tiles.len() == p * q, "a packed core is as long as the core");
    for columns in tiles_of(q, most_rows(is_long::<T>())) {
        let tile = &mut tiles[columns.start * p..columns.end * p];
        for (to, from) in tile.chunks_exact_mut(columns.len()).zip(core.chunks_exact(q)) {
            to.copy_from_slice(&from[columns.clone()]);
        }
    }
}

/// As [`pack`], for the transposed core (q, p) of a core (p, q).
///
/// # Panics
/// When the lengths do not agree.
pub(crate) fn pack_transposed<T: Real>(core: &[T], p: usize, q: usize, tiles: &mut [T]) {
    assert!(core.len() == p * q && tiles.len() == p * q, "a packed core is as long as the core");
    for columns in tiles_of(p, most_rows(is_long::<T>())) {
        let height = columns.len();
        let tile = &mut tiles[columns.start * q..columns.end * q];
        for (k, row) in core.chunks_exact(q).skip(columns.start).take(height).enumerate() {
            tile.iter_mut().skip(k).step_by(height).zip(row).for_each(|(to, &from)| *to = from);
        }
    }
}

/// Most rows of a tile.
#[inline(always)]
fn most_rows(is_long: bool) -> usize {
    if is_long { LONG_ROWS } else { ROWS }
}

/// The columns of each tile: of even width, since a narrow one would not hide the latency of its sums.
fn tiles_of(q: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = q.div_ceil(most);
    (0..tiles).map(move |tile| tile * q / tiles..(tile + 1) * q / tiles)
}

/// out (left, q, right) ← Σₚ input (left, p, right) · core (p, q).
///
/// # Panics
/// When sizes do not agree or `right` is no multiple of [`LANES`].
pub(crate) fn expand<T: Real>(core: Packed<'_, T>, input: &[T], right: usize, out: &mut [T]) {
    let left = input.len() / (core.p * right);
    assert!(right.is_multiple_of(LANES), "a local tensor is made of whole vectors");
    assert!(
        input.len() == left * core.p * right && out.len() == left * core.q * right,
        "sizes of local tensors must agree"
    );
    Arch::new().dispatch(Expand { core, input, right, out });
}

struct Expand<'a, T> {
    core: Packed<'a, T>,
    input: &'a [T],
    right: usize,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Expand<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Expand { core: Packed { tiles, p, q }, input, right, out } = self;
        let (input, out) = (T::vectors(simd, input), T::vectors_mut(simd, out));
        let width = right / lanes::<T, S>();
        let is_long = size_of::<T::Vector<S>>() >= LONG_VECTOR;
        // A row of one vector would leave registers idle: two matrices make a tile then.
        let pairs = is_long && !width.is_multiple_of(TILE);
        let matrices = if pairs { TILE } else { 1 };
        for (input, out) in input.chunks(matrices * p * width).zip(out.chunks_mut(matrices * q * width)) {
            for columns in tiles_of(q, most_rows(is_long)) {
                let tile = &tiles[columns.start * p..columns.end * p];
                let out = &mut out[columns.start * width..];
                macro_rules! rows {
                    ($steps:expr; $($n:literal $tile:expr),*) => {
                        match columns.len() {
                            $($n => expand_rows::<T, S, $n, { $tile }>(simd, tile, input, $steps, out),)*
                            _ => {}
                        }
                    };
                }
                let along = |tile: usize| Steps { width, tile: [1, 1], y: tile };
                let across = Steps { width, tile: [p * width, q * width], y: 1 };
                let is_pair = input.len() == TILE * p * width;
                match (is_long, width.is_multiple_of(LONG_TILE)) {
                    (true, true) => {
                        rows!(along(LONG_TILE); 1 LONG_TILE, 2 LONG_TILE, 3 LONG_TILE, 4 LONG_TILE, 5 LONG_TILE, 6 LONG_TILE);
                        rows!(along(TILE); 7 TILE, 8 TILE, 9 TILE, 10 TILE, 11 TILE, 12 TILE);
                    }
                    (true, false) if !pairs || is_pair => {
                        let steps = if pairs { across } else { along(TILE) };
                        rows!(steps; 1 TILE, 2 TILE, 3 TILE, 4 TILE, 5 TILE, 6 TILE, 7 TILE, 8 TILE, 9 TILE, 10 TILE, 11 TILE, 12 TILE);
                    }
                    (true, false) => rows!(along(1); 1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 1, 9 1, 10 1, 11 1, 12 1),
                    (false, true) => {
                        rows!(along(LONG_TILE); 1 LONG_TILE, 2 LONG_TILE, 3 LONG_TILE);
                        rows!(along(TILE); 4 TILE, 5 TILE, 6 TILE);
                    }
                    (false, false) => rows!(along(TILE); 1 TILE, 2 TILE, 3 TILE, 4 TILE, 5 TILE, 6 TILE),
                }
            }
        }
    }
}

/// Where the vectors of tiles lie: rows `width` vectors apart, those of a tile's row `tile` vectors apart in the input and in
/// the result, tiles `y` vectors apart up to the width.
#[derive(Clone, Copy)]
struct Steps {
    width: usize,
    tile: [usize; 2],
    y: usize,
}

/// Q rows of the result, those of the packed `tile` (p, Q).
#[inline(always)]
fn expand_rows<T: Real, S: Simd, const Q: usize, const TILE: usize>(
    simd: S,
    tile: &[T],
    input: &[T::Vector<S>],
    steps: Steps,
    out: &mut [T::Vector<S>],
) {
    let p = tile.len() / Q;
    let Steps { width, tile: [from, to], y: step } = steps;
    // The last vector of each.
    let last = |rows: usize, tile: usize| (rows - 1) * width + (TILE - 1) * tile + width - step;
    assert!(width.is_multiple_of(step) && last(p, from) < input.len() && last(Q, to) < out.len(), "tiles fit");
    let zero = T::splat(simd, T::ZERO);
    for y in (0..width).step_by(step) {
        let mut sums = [[zero; TILE]; Q];
        // SAFETY: the loop reads `tile`'s p·Q elements in their order, and of each of p rows the TILE vectors from y on, which
        // lie within `input`, as Q rows of as many do within `out`: the last ones do, by the assertion.
        #[allow(unsafe_code, clippy::needless_range_loop)]
        unsafe {
            let (mut factor, mut row) = (tile.as_ptr(), input.as_ptr().add(y));
            for _ in 0..p {
                let mut x = [zero; TILE];
                for t in 0..TILE {
                    x[t] = *row.add(t * from);
                }
                for k in 0..Q {
                    let factor = T::splat(simd, *factor.add(k));
                    for t in 0..TILE {
                        sums[k][t] = T::multiply_add(simd, factor, x[t], sums[k][t]);
                    }
                }
                // Wrapping: the last step leads past the slices and is never read.
                factor = factor.wrapping_add(Q);
                row = row.wrapping_add(width);
            }
            let mut place = out.as_mut_ptr().add(y);
            for k in 0..Q {
                for t in 0..TILE {
                    *place.add(t * to) = sums[k][t];
                }
                place = place.wrapping_add(width);
            }
        }
    }
}
