//! One core applied to a leg of a local tensor.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::{LANES, LONG_VECTOR, lanes, processor_lanes};
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
    for columns in tiles_of(q, most_rows(processor_lanes::<T>() * size_of::<T>())) {
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
    for columns in tiles_of(p, most_rows(processor_lanes::<T>() * size_of::<T>())) {
        let height = columns.len();
        let tile = &mut tiles[columns.start * q..columns.end * q];
        for (k, row) in core.chunks_exact(q).skip(columns.start).take(height).enumerate() {
            tile.iter_mut().skip(k).step_by(height).zip(row).for_each(|(to, &from)| *to = from);
        }
    }
}

/// Most rows of a tile of vectors of so many bytes.
#[inline(always)]
const fn most_rows(vector: usize) -> usize {
    if vector >= LONG_VECTOR { LONG_ROWS } else { ROWS }
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
        for (input, out) in input.chunks_exact(p * width).zip(out.chunks_exact_mut(q * width)) {
            for columns in tiles_of(q, most_rows(size_of::<T::Vector<S>>())) {
                let tile = &tiles[columns.start * p..columns.end * p];
                let out = &mut out[columns.start * width..columns.end * width];
                macro_rules! rows {
                    ($($n:literal $tile:expr),*) => {
                        match columns.len() {
                            $($n => expand_rows::<T, S, $n, { $tile }>(simd, tile, input, width, out),)*
                            _ => {}
                        }
                    };
                }
                if size_of::<T::Vector<S>>() >= LONG_VECTOR {
                    if width.is_multiple_of(LONG_TILE) {
                        rows!(1 4, 2 4, 3 4, 4 4, 5 4, 6 4, 7 2, 8 2, 9 2, 10 2, 11 2, 12 2);
                    } else if width.is_multiple_of(TILE) {
                        rows!(1 2, 2 2, 3 2, 4 2, 5 2, 6 2, 7 2, 8 2, 9 2, 10 2, 11 2, 12 2);
                    } else {
                        rows!(1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 1, 9 1, 10 1, 11 1, 12 1);
                    }
                } else if width.is_multiple_of(LONG_TILE) {
                    rows!(1 LONG_TILE, 2 LONG_TILE, 3 LONG_TILE, 4 TILE, 5 TILE, 6 TILE);
                } else {
                    rows!(1 TILE, 2 TILE, 3 TILE, 4 TILE, 5 TILE, 6 TILE);
                }
            }
        }
    }
}

/// Q rows of the result, those of the packed `tile` (p, Q).
#[inline(always)]
fn expand_rows<T: Real, S: Simd, const Q: usize, const TILE: usize>(
    simd: S,
    tile: &[T],
    input: &[T::Vector<S>],
    width: usize,
    out: &mut [T::Vector<S>],
) {
    let p = tile.len() / Q;
    debug_assert!(width.is_multiple_of(TILE) && input.len() == p * width && out.len() == Q * width);
    let zero = T::splat(simd, T::ZERO);
    let mut y = 0;
    while y < width {
        let mut sums = [[zero; TILE]; Q];
        // SAFETY: the loop reads `tile`'s p·Q elements in their order, and vectors y…y + TILE ≤ width of each of `input`'s p rows
        // of `width`; `out` has Q rows of as many.
        #[allow(unsafe_code, clippy::needless_range_loop)]
        unsafe {
            let (mut factor, mut row) = (tile.as_ptr(), input.as_ptr().add(y));
            for _ in 0..p {
                let mut x = [zero; TILE];
                for t in 0..TILE {
                    x[t] = *row.add(t);
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
            let mut to = out.as_mut_ptr().add(y);
            for k in 0..Q {
                for t in 0..TILE {
                    *to.add(t) = sums[k][t];
                }
                to = to.wrapping_add(width);
            }
        }
        y += TILE;
    }
}
