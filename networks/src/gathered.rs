//! Passes of one large core over many matrices of few columns.
//!
//! A product with few columns reads its core from memory for little work. So several of the matrices (p, B) are brought side
//! by side first, as one matrix with enough columns.

use std::ops::Range;

use rayon::prelude::*;

use crate::Real;
use crate::elementwise::replace_by_gradient;
use crate::forward::for_each;
use crate::kernels::{LANES, transpose};
use crate::matmul::{Strided, multiply, multiply_into};
use crate::plan::Pass;
use crate::wide::Shared;

/// Columns that are worth a product of their own.
const ENOUGH_COLUMNS: usize = 256;
/// Columns of the core whose gradient one task sums up: each brings the input side by side anew.
const TILE: usize = 1024;

/// Whether several matrices should be multiplied together.
pub(crate) fn applies(pass: &Pass) -> bool {
    pass.outer > 1 && (LANES..ENOUGH_COLUMNS).contains(&pass.inner)
}

/// Matrices taken together.
fn together(pass: &Pass) -> usize {
    (ENOUGH_COLUMNS / pass.inner).min(pass.outer)
}

/// The rows `own` of the matrices `from` (A, `rows`, B) side by side: `to` (rows in `own`, A·B).
fn gather<T: Real>(from: &[T], rows: usize, own: Range<usize>, b: usize, to: &mut [T]) {
    let width = to.len() / own.len();
    for (index, matrix) in from.chunks_exact(rows * b).enumerate() {
        let lines = matrix[own.start * b..own.end * b].chunks_exact(b);
        for (from, to) in lines.zip(to.chunks_exact_mut(width)) {
            to[index * b..][..b].copy_from_slice(from);
        }
    }
}

/// Undoes [`gather`] of all rows.
fn scatter<T: Real>(from: &[T], rows: usize, b: usize, to: &mut [T]) {
    let width = from.len() / rows;
    for (index, matrix) in to.chunks_exact_mut(rows * b).enumerate() {
        for (to, from) in matrix.chunks_exact_mut(b).zip(from.chunks_exact(width)) {
            to.copy_from_slice(&from[index * b..][..b]);
        }
    }
}

/// output ← pass(input), without σ.
///
/// Here the matrices are transposed as well: with the core transposed, that is the layout that products are fastest in.
pub(crate) fn forward<T: Real>(pass: &Pass, params: &[T], input: &[T], output: &mut [T]) {
    let (step, b) = (&pass.steps[0], pass.inner);
    let (p, q, count) = (step.p, step.q, together(pass));
    let core = (&params[step.core.clone()], Strided::rows(p, q).transposed());
    let batches = output.par_chunks_mut(count * q * b).zip(input.par_chunks(count * p * b));
    batches.for_each(|(output, input)| {
        let n = input.len() / p;
        T::with_scratch((p + q) * n, |scratch| {
            let (x, y) = scratch.split_at_mut(p * n);
            for (from, to) in input.chunks_exact(p * b).zip(x.chunks_exact_mut(p * b)) {
                transpose((from, b), p, b, (to, p));
            }
            let (turned_x, turned_y) = (Strided::rows(n, p).transposed(), Strided::rows(n, q).transposed());
            multiply((y, turned_y), false, core, (x, turned_x));
            for (from, to) in y.chunks_exact(q * b).zip(output.chunks_exact_mut(q * b)) {
                transpose((from, q), b, q, (to, b));
            }
        });
    });
}

/// Sets the core's gradient and replaces `input` by its gradient before σ.
pub(crate) fn adjoint<T: Real>(pass: &Pass, params: &[T], input: &mut [T], d: &[T], gradient: &mut [T]) {
    let (step, b) = (&pass.steps[0], pass.inner);
    let (p, q, count) = (step.p, step.q, together(pass));
    {
        let sum = &mut gradient[step.core.clone()];
        let place = Shared::new(sum);
        let input = &*input;
        for_each(q.div_ceil(TILE), pass.multiply_adds(), |task| {
            let start = task * TILE;
            let rows = TILE.min(q - start);
            for (index, (input, d)) in input.chunks(count * p * b).zip(d.chunks(count * q * b)).enumerate() {
                let n = input.len() / p;
                T::with_scratch((p + rows) * n, |scratch| {
                    let (x, y) = scratch.split_at_mut(p * n);
                    gather(input, p, 0..p, b, x);
                    gather(d, q, start..start + rows, b, y);
                    let y = (&*y, Strided::rows(rows, n).transposed());
                    // SAFETY: the tasks' columns of the core's (p, q) elements are disjoint, and these are exclusively borrowed.
                    #[allow(unsafe_code)]
                    unsafe {
                        let to = place.get().add(start);
                        multiply_into(to, Strided::pitched(p, rows, q), index > 0, (x, Strided::rows(p, n)), y);
                    }
                });
            }
        });
    }
    let core = (&params[step.core.clone()], Strided::rows(p, q));
    let batches = input.par_chunks_mut(count * p * b).zip(d.par_chunks(count * q * b));
    batches.for_each(|(input, d)| {
        let n = input.len() / p;
        T::with_scratch((2 * p + q) * n, |scratch| {
            let (y, scratch) = scratch.split_at_mut(q * n);
            let (result, old) = scratch.split_at_mut(p * n);
            gather(d, q, 0..q, b, y);
            multiply((result, Strided::rows(p, n)), false, core, (y, Strided::rows(q, n)));
            gather(input, p, 0..p, b, old);
            replace_by_gradient(pass.reads, result, old);
            scatter(old, p, b, input);
        });
    });
}
