//! Passes of one large core, by general matrix products.
//!
//! The tensor (A, p, B) is taken as several matrices (p, n): one for each slower index with the faster ones as columns, or,
//! where these are few, one for each faster index with the slower ones as columns.

use crate::Real;
use crate::elementwise::{activate, replace_by_gradient};
use crate::forward::for_each;
use crate::gathered;
use crate::kernels::LANES;
use crate::matmul::{Strided, multiply, multiply_into};
use crate::plan::Pass;

/// Rows and columns of the part of a result that one task computes.
const TILE_ROWS: usize = 512;
const TILE_COLUMNS: usize = 256;

/// The matrices (rows, n) that make up a tensor (A, rows, B).
#[derive(Clone, Copy)]
struct Matrices {
    count: usize,
    /// Elements from one to the next.
    step: usize,
    one: Strided,
}

impl Matrices {
    fn new(pass: &Pass, rows: usize) -> Self {
        let (a, b) = (pass.outer, pass.inner);
        if b >= LANES || a == 1 {
            Matrices { count: a, step: rows * b, one: Strided::rows(rows, b) }
        } else {
            Matrices { count: b, step: 1, one: Strided { rows, columns: a, row_step: b, column_step: rows * b } }
        }
    }

    /// Columns `start`…`start` + `columns` of matrix `index`: first element and description.
    fn columns(self, index: usize, start: usize, columns: usize) -> (usize, Strided) {
        (index * self.step + start * self.one.column_step, Strided { columns, ..self.one })
    }
}

/// A pointer that tasks share which write to disjoint elements.
pub(crate) struct Shared<T>(*mut T);

// SAFETY: the pointer is only a place; each use states why its accesses are exclusive.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// To the first of `elements`.
    pub fn new(elements: &mut [T]) -> Self {
        Shared(elements.as_mut_ptr())
    }

    pub fn get(&self) -> *mut T {
        self.0
    }
}

/// output ← scale · σ(pass(input)).
pub(crate) fn forward<T: Real>(pass: &Pass, params: &[T], input: &[T], output: &mut [T], scale: T) {
    if gathered::applies(pass) {
        gathered::forward(pass, params, input, output);
    } else {
        products(pass, params, input, output);
    }
    let pieces = output.len().div_ceil(1 << 16);
    let len = output.len();
    let place = Shared::new(output);
    for_each(pieces, pass.multiply_adds(), |piece| {
        let start = piece << 16;
        // SAFETY: the pieces are disjoint and within `output`, which is exclusively borrowed.
        #[allow(unsafe_code)]
        let xs = unsafe { std::slice::from_raw_parts_mut(place.get().add(start), (len - start).min(1 << 16)) };
        activate(pass.writes, scale, xs);
    });
}

/// output ← pass(input), without σ.
fn products<T: Real>(pass: &Pass, params: &[T], input: &[T], output: &mut [T]) {
    let step = &pass.steps[0];
    let (from, to) = (Matrices::new(pass, step.p), Matrices::new(pass, step.q));
    let core = &params[step.core.clone()];
    let (row_tiles, column_tiles) = (step.q.div_ceil(TILE_ROWS), to.one.columns.div_ceil(TILE_COLUMNS));
    let place = Shared::new(output);
    for_each(to.count * row_tiles * column_tiles, pass.multiply_adds(), |task| {
        let (rest, row) = (task / row_tiles, task % row_tiles * TILE_ROWS);
        let (index, start) = (rest / column_tiles, rest % column_tiles * TILE_COLUMNS);
        let (rows, columns) = (TILE_ROWS.min(step.q - row), TILE_COLUMNS.min(to.one.columns - start));
        let (first, matrix) = from.columns(index, start, columns);
        let (target, tile) = to.columns(index, start, columns);
        let tile = Strided { rows, ..tile };
        let part = Strided::pitched(step.p, rows, step.q).transposed();
        // SAFETY: tiles are disjoint sets of elements of `output`, which has the length of all matrices together and is
        // exclusively borrowed.
        #[allow(unsafe_code)]
        unsafe {
            let to = place.get().add(target + row * tile.row_step);
            multiply_into(to, tile, false, (&core[row..], part), (&input[first..], matrix));
        }
    });
}

/// Sets the core's gradient and replaces `input` by its gradient before σ.
pub(crate) fn adjoint<T: Real>(pass: &Pass, params: &[T], input: &mut [T], d: &[T], gradient: &mut [T]) {
    if gathered::applies(pass) {
        gathered::adjoint(pass, params, input, d, gradient);
        return;
    }
    let step = &pass.steps[0];
    let (p, q) = (step.p, step.q);
    let (from, to) = (Matrices::new(pass, p), Matrices::new(pass, q));
    let core = &params[step.core.clone()];
    {
        let sum = &mut gradient[step.core.clone()];
        let place = Shared::new(sum);
        let input = &*input;
        for_each(q.div_ceil(TILE_ROWS), pass.multiply_adds(), |task| {
            let start = task * TILE_ROWS;
            let columns = TILE_ROWS.min(q - start);
            for index in 0..from.count {
                let (first, matrix) = from.columns(index, 0, from.one.columns);
                let (other, d_matrix) = to.columns(index, 0, to.one.columns);
                let rows = Strided { rows: columns, ..d_matrix };
                let d = (&d[other + start * d_matrix.row_step..], rows.transposed());
                // SAFETY: the tasks' columns of the core's (p, q) elements are disjoint, and these are exclusively borrowed.
                #[allow(unsafe_code)]
                unsafe {
                    let to = place.get().add(start);
                    multiply_into(to, Strided::pitched(p, columns, q), index > 0, (&input[first..], matrix), d);
                }
            }
        });
    }
    let tiles = from.one.columns.div_ceil(TILE_COLUMNS);
    let place = Shared::new(input);
    for_each(from.count * tiles, pass.multiply_adds(), |task| {
        let (index, start) = (task / tiles, task % tiles * TILE_COLUMNS);
        let columns = TILE_COLUMNS.min(from.one.columns - start);
        let (first, matrix) = from.columns(index, start, columns);
        let (other, d_matrix) = to.columns(index, start, columns);
        // The result has the faster of its two directions contiguous, as the tensor has.
        let along = matrix.row_step >= matrix.column_step;
        let (run, run_step, element_step) = if along {
            (columns, matrix.row_step, matrix.column_step)
        } else {
            (p, matrix.column_step, matrix.row_step)
        };
        T::with_scratch(2 * p * columns, |scratch| {
            let (result, old) = scratch.split_at_mut(p * columns);
            let shape = if along { Strided::rows(p, columns) } else { Strided::rows(columns, p).transposed() };
            multiply((result, shape), false, (core, Strided::rows(p, q)), (&d[other..], d_matrix));
            // SAFETY: the tasks' columns are disjoint elements of `input`, which is exclusively borrowed; runs do not overlap, and
            // what lies between their elements is not accessed.
            #[allow(unsafe_code)]
            unsafe {
                for (k, old) in old.chunks_exact_mut(run).enumerate() {
                    let from = place.get().add(first + k * run_step);
                    if element_step == 1 {
                        old.copy_from_slice(std::slice::from_raw_parts(from, run));
                    } else {
                        old.iter_mut().enumerate().for_each(|(j, old)| *old = *from.add(j * element_step));
                    }
                }
                replace_by_gradient(pass.reads, result, old);
                for (k, old) in old.chunks_exact(run).enumerate() {
                    let to = place.get().add(first + k * run_step);
                    if element_step == 1 {
                        std::slice::from_raw_parts_mut(to, run).copy_from_slice(old);
                    } else {
                        old.iter().enumerate().for_each(|(j, &x)| *to.add(j * element_step) = x);
                    }
                }
            }
        });
    });
}
