//! Vectorised contractions of small cores with tensors in cache.
//!
//! A *local* tensor has the shape (left, p, right), row-major, and its innermost extent is a multiple of [`LANES`]. All
//! vectors run along `right`, so cores of any size use them fully. Sums run over the cores' dimensions and over `right` in an
//! order that depends on the shape only.

use pulp::{Arch, Simd, WithSimd};

use crate::Real;

/// The innermost extent of a local tensor is a multiple of this, at least two vectors of any instruction set used.
pub(crate) const LANES: usize = 16;
/// Vectors of a tile along `right`.
const TILE: usize = 2;

/// A small matrix, element (r, c) at r·`row_step` + c·`column_step`.
#[derive(Clone, Copy)]
pub(crate) struct Core<'a, T> {
    pub data: &'a [T],
    pub p: usize,
    pub q: usize,
    pub p_step: usize,
    pub q_step: usize,
}

impl<'a, T> Core<'a, T> {
    /// Row-major (p, q).
    pub fn new(data: &'a [T], p: usize, q: usize) -> Self {
        Core { data, p, q, p_step: q, q_step: 1 }
    }

    pub fn transposed(self) -> Self {
        Core { data: self.data, p: self.q, q: self.p, p_step: self.q_step, q_step: self.p_step }
    }
}

/// out (left, q, right) ← Σₚ input (left, p, right) · core (p, q).
///
/// # Panics
/// When sizes do not agree or `right` is no multiple of [`LANES`].
pub(crate) fn expand<T: Real>(core: Core<'_, T>, input: &[T], right: usize, out: &mut [T]) {
    let left = input.len() / (core.p * right);
    assert!(
        right.is_multiple_of(LANES) && core.data.len() == core.p * core.q,
        "a local tensor is made of whole vectors"
    );
    assert!(
        input.len() == left * core.p * right && out.len() == left * core.q * right,
        "sizes of local tensors must agree"
    );
    Arch::new().dispatch(Expand { core, input, right, out });
}

struct Expand<'a, T> {
    core: Core<'a, T>,
    input: &'a [T],
    right: usize,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Expand<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Expand { core, input, right, out } = self;
        let (input, out) = (T::vectors(simd, input), T::vectors_mut(simd, out));
        let width = right / lanes::<T, S>();
        for (input, out) in input.chunks_exact(core.p * width).zip(out.chunks_exact_mut(core.q * width)) {
            let mut q = 0;
            while q + 4 <= core.q {
                expand_rows::<T, S, 4>(simd, core, q, input, width, &mut out[q * width..(q + 4) * width]);
                q += 4;
            }
            let rest = &mut out[q * width..];
            match core.q - q {
                3 => expand_rows::<T, S, 3>(simd, core, q, input, width, rest),
                2 => expand_rows::<T, S, 2>(simd, core, q, input, width, rest),
                1 => expand_rows::<T, S, 1>(simd, core, q, input, width, rest),
                _ => {}
            }
        }
    }
}

/// Elements of a vector.
#[inline(always)]
fn lanes<T: Real, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// Q rows of the result, from row `q` on.
#[inline(always)]
fn expand_rows<T: Real, S: Simd, const Q: usize>(
    simd: S,
    core: Core<'_, T>,
    q: usize,
    input: &[T::Vector<S>],
    width: usize,
    out: &mut [T::Vector<S>],
) {
    debug_assert!(width.is_multiple_of(TILE) && input.len() == core.p * width && out.len() == Q * width);
    let zero = T::splat(simd, T::ZERO);
    let mut y = 0;
    while y < width {
        let mut sums = [[zero; TILE]; Q];
        for p in 0..core.p {
            // Safety: p < core.p and y + TILE ≤ width, so the vectors lie within `input`, which has core.p·width; the core's
            // elements (p, q…q+Q) lie within its core.p·core.q, as `expand` has checked.
            #[allow(unsafe_code, clippy::needless_range_loop)]
            unsafe {
                let row = input.as_ptr().add(p * width + y);
                let mut x = [zero; TILE];
                for t in 0..TILE {
                    x[t] = *row.add(t);
                }
                for k in 0..Q {
                    let factor = T::splat(simd, *core.data.get_unchecked(p * core.p_step + (q + k) * core.q_step));
                    for t in 0..TILE {
                        sums[k][t] = T::multiply_add(simd, factor, x[t], sums[k][t]);
                    }
                }
            }
        }
        // Safety: `out` has Q·width vectors, and y + TILE ≤ width.
        #[allow(unsafe_code, clippy::needless_range_loop)]
        unsafe {
            for k in 0..Q {
                for t in 0..TILE {
                    *out.get_unchecked_mut(k * width + y + t) = sums[k][t];
                }
            }
        }
        y += TILE;
    }
}

/// gradient (p, q) ← gradient + Σ over left and right of input (left, p, right) · d (left, q, right).
///
/// # Panics
/// When sizes do not agree or `right` is no multiple of [`LANES`].
pub(crate) fn add_environment<T: Real>(input: &[T], d: &[T], right: usize, p: usize, q: usize, gradient: &mut [T]) {
    let left = input.len() / (p * right);
    assert!(right.is_multiple_of(LANES) && gradient.len() == p * q, "a local tensor is made of whole vectors");
    assert!(input.len() == left * p * right && d.len() == left * q * right, "sizes of local tensors must agree");
    Arch::new().dispatch(Environment { input, d, right, p, q, gradient });
}

struct Environment<'a, T> {
    input: &'a [T],
    d: &'a [T],
    right: usize,
    p: usize,
    q: usize,
    gradient: &'a mut [T],
}

impl<T: Real> WithSimd for Environment<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Environment { input, d, right, p, q, gradient } = self;
        let (input, d) = (T::vectors(simd, input), T::vectors(simd, d));
        let width = right / lanes::<T, S>();
        let sides = Sides::<T, S> { input, d, width, p, q };
        let mut row = 0;
        while row + 4 <= p {
            environment_rows::<T, S, 4>(simd, &sides, row, gradient);
            row += 4;
        }
        match p - row {
            3 => environment_rows::<T, S, 3>(simd, &sides, row, gradient),
            2 => environment_rows::<T, S, 2>(simd, &sides, row, gradient),
            1 => environment_rows::<T, S, 1>(simd, &sides, row, gradient),
            _ => {}
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

#[inline(always)]
fn environment_rows<T: Real, S: Simd, const P: usize>(
    simd: S,
    sides: &Sides<'_, T, S>,
    row: usize,
    gradient: &mut [T],
) {
    let q = sides.q;
    let mut column = 0;
    while column + 3 <= q {
        environment_tile::<T, S, P, 3>(simd, sides, row, column, gradient);
        column += 3;
    }
    match q - column {
        2 => environment_tile::<T, S, P, 2>(simd, sides, row, column, gradient),
        1 => environment_tile::<T, S, P, 1>(simd, sides, row, column, gradient),
        _ => {}
    }
}

/// P·Q elements of the gradient.
#[inline(always)]
fn environment_tile<T: Real, S: Simd, const P: usize, const Q: usize>(
    simd: S,
    sides: &Sides<'_, T, S>,
    row: usize,
    column: usize,
    gradient: &mut [T],
) {
    let Sides { input, d, width, p, q } = *sides;
    let zero = T::splat(simd, T::ZERO);
    let mut sums = [[zero; Q]; P];
    for (input, d) in input.chunks_exact(p * width).zip(d.chunks_exact(q * width)) {
        for y in 0..width {
            // Safety: row + P ≤ p, column + Q ≤ q and y < width, so the vectors lie within the chunks of p·width and q·width.
            #[allow(unsafe_code, clippy::needless_range_loop)]
            unsafe {
                let mut others = [zero; Q];
                for k in 0..Q {
                    others[k] = *d.get_unchecked((column + k) * width + y);
                }
                for j in 0..P {
                    let x = *input.get_unchecked((row + j) * width + y);
                    for k in 0..Q {
                        sums[j][k] = T::multiply_add(simd, x, others[k], sums[j][k]);
                    }
                }
            }
        }
    }
    for (a, sums) in sums.iter().enumerate() {
        for (b, &sum) in sums.iter().enumerate() {
            gradient[(row + a) * q + column + b] += T::total(simd, sum);
        }
    }
}

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
    Arch::new().dispatch(Transpose { input, from, rows, columns, out, to });
}

struct Transpose<'a, T> {
    input: &'a [T],
    from: usize,
    rows: usize,
    columns: usize,
    out: &'a mut [T],
    to: usize,
}

impl<T: Real> WithSimd for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const B: usize = 8;
        let Transpose { input, from, rows, columns, out, to } = self;
        let (whole_rows, whole_columns) = (rows / B * B, columns / B * B);
        for r in (0..whole_rows).step_by(B) {
            for c in (0..whole_columns).step_by(B) {
                let mut block = [[T::ZERO; B]; B];
                for (k, line) in block.iter_mut().enumerate() {
                    line.copy_from_slice(&input[(r + k) * from + c..][..B]);
                }
                for k in 0..B {
                    let line: [T; B] = std::array::from_fn(|j| block[j][k]);
                    out[(c + k) * to + r..][..B].copy_from_slice(&line);
                }
            }
        }
        let rest =
            (0..rows).flat_map(|r| (if r < whole_rows { whole_columns } else { 0 }..columns).map(move |c| (r, c)));
        for (r, c) in rest {
            out[c * to + r] = input[r * from + c];
        }
    }
}
