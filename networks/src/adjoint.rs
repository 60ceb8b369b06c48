//! The adjoint sweep: gradients of all cores, fine to coarse.
//!
//! With D = ∂L/∂(what a step makes) as (Y, q) and the tensor before it as T (p, Y):
//! ∂L/∂core = T · D (the environment of the core), and ∂L/∂T = core · Dᵀ. A pass recomputes its inner tensors chunk by chunk
//! in cache, and replaces the tensor it reads by the gradient of what was there before σ.

use std::ops::Range;

use rayon::prelude::*;

use crate::elementwise::replace_by_gradient;
use crate::forward::{SERIAL_BELOW, locals};
use crate::matmul::{Strided, multiply, multiply_into};
use crate::plan::{Pass, Step};
use crate::workspace::{Workspace, resize};
use crate::{Generator, Real};

/// Columns of a wide core whose gradient is computed by one task.
const WIDE_COLUMNS: usize = 256;

impl<T: Real> Generator<T> {
    /// ∂L/∂params in the order of the parameters, given `dw` = ∂L/∂W in leaf order, after [`Generator::forward`] with the
    /// same parameters on the same workspace.
    ///
    /// It uses up the tensors that the forward sweep left in the workspace; a second call computes them again. The result
    /// does not depend on the number of threads.
    ///
    /// # Panics
    /// When `dw` has not as many elements as the padded W.
    pub fn adjoint<'w>(&self, ws: &'w mut Workspace<T>, dw: &[T]) -> &'w [T] {
        assert_eq!(dw.len(), self.shape().elements(), "the gradient must have as many elements as the padded weight");
        let plan = self.plan();
        if !ws.holds(plan) {
            self.forward(ws);
        }
        ws.fresh = false;
        let Workspace { tensors, gradient, partials, .. } = ws;
        resize(gradient, self.parameter_count());
        let last = plan.passes.len() - 1;
        let own = self.parameter_count() - 1;
        // Everything is linear in dw, so the sweep leaves the overall scale out and the cores' gradients get it at the end.
        if plan.linear_core.is_none() {
            gradient[own] = dot(dw, &tensors[last + 1]);
            let sigma = plan.passes[last].writes;
            let chunks = tensors[last + 1].par_chunks_mut(1 << 16).zip(dw.par_chunks(1 << 16));
            chunks.for_each(|(y, d)| replace_by_gradient(sigma, d, y));
        }
        for (k, pass) in plan.passes.iter().enumerate().rev() {
            let (before, after) = tensors.split_at_mut(k + 1);
            let d = if k == last && plan.linear_core.is_some() { dw } else { &after[0] };
            let input = &mut before[k];
            if pass.is_wide() {
                wide(pass, self.params(), input, d, gradient);
            } else {
                blocked(pass, self.params(), input, d, gradient, partials);
            }
        }
        let (cores, scale) = gradient.split_at_mut(own);
        let top = self.shape().top();
        if let Some(first) = plan.passes.first() {
            // The first pass has left the gradient of what was the top tensor before σ.
            cores[top].copy_from_slice(&tensors[0][..first.input_len()]);
        }
        if let Some(core) = &plan.linear_core {
            // Euler: W is of degree one in this core, so ⟨∂L/∂core, core⟩ = ⟨dw, W⟩.
            scale[0] = dot(&cores[core.clone()], &self.params()[core.clone()]);
        }
        let factor = self.scale();
        cores.iter_mut().for_each(|x| *x *= factor);
        gradient
    }
}

/// Inner product, summed in f64.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let chunks: Vec<f64> = a
        .par_chunks(1 << 16)
        .zip(b.par_chunks(1 << 16))
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum())
        .collect();
    T::from_f64(chunks.iter().sum())
}

/// A pointer that tasks share which write to disjoint elements.
struct Shared<T>(*mut T);

// Safety: the pointer is only a place; each use states why its accesses are exclusive.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<T> {}
// Safety: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Adjoint of a pass with small cores: blocks of columns have gradients of their own, which are added up in their order.
fn blocked<T: Real>(pass: &Pass, params: &[T], input: &mut [T], d: &[T], gradient: &mut [T], partials: &mut Vec<T>) {
    let (cores, blocks) = (pass.cores_len(), pass.blocks());
    if partials.len() < cores * blocks {
        partials.resize(cores * blocks, T::ZERO);
    }
    let partials = &mut partials[..cores * blocks];
    let per_block = pass.chunk * pass.block;
    let place = Columns { first: Shared(input.as_mut_ptr()), rows: pass.sizes[0], pitch: pass.columns };
    let task = |(block, partial): (usize, &mut [T])| {
        let end = ((block + 1) * per_block).min(pass.columns);
        for start in (block * per_block..end).step_by(pass.chunk) {
            let columns = start..end.min(start + pass.chunk);
            let d = &d[columns.start * pass.width()..columns.end * pass.width()];
            // Safety: blocks are disjoint ranges of columns, each taken by one task, which works on one chunk at a time;
            // `input` is exclusively borrowed for the whole call and not used but through `place`.
            #[allow(unsafe_code)]
            unsafe {
                chunk(pass, params, &place, columns, d, partial, start == block * per_block);
            }
        }
    };
    if blocks == 1 || pass.multiply_adds() < SERIAL_BELOW {
        partials.chunks_mut(cores).enumerate().for_each(task);
    } else {
        partials.par_chunks_mut(cores).enumerate().for_each(task);
    }
    let mut offset = 0;
    for step in &pass.steps {
        let Step::Apply { core, .. } = step;
        let sum = &mut gradient[core.clone()];
        for (block, partial) in partials.chunks(cores).enumerate() {
            let partial = &partial[offset..offset + core.len()];
            if block == 0 {
                sum.copy_from_slice(partial);
            } else {
                sum.iter_mut().zip(partial).for_each(|(sum, &x)| *sum += x);
            }
        }
        offset += core.len();
    }
}

/// The tensor a pass reads, (rows, pitch), of which tasks own ranges of columns.
struct Columns<T> {
    first: Shared<T>,
    rows: usize,
    pitch: usize,
}

impl<T: Real> Columns<T> {
    /// One row of a range of columns.
    ///
    /// # Safety
    /// The elements must be within the tensor and not accessed otherwise while the slice lives.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    unsafe fn row(&self, row: usize, columns: &Range<usize>) -> &mut [T] {
        // Safety: by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.first.get().add(row * self.pitch + columns.start), columns.len()) }
    }
}

/// Adds the gradients of a chunk's cores to `partial` (or sets it, when `first`) and replaces the chunk of the input.
///
/// # Safety
/// The given columns of `place` must not be accessed otherwise during the call.
#[allow(unsafe_code)]
unsafe fn chunk<T: Real>(
    pass: &Pass,
    params: &[T],
    place: &Columns<T>,
    columns: Range<usize>,
    d: &[T],
    partial: &mut [T],
    first: bool,
) {
    let n = columns.len();
    let kept: usize = pass.sizes[..pass.steps.len()].iter().sum::<usize>() * n;
    let largest = pass.sizes.iter().copied().max().unwrap_or(1) * n;
    T::with_scratch(kept + 2 * largest, |scratch| {
        let (kept, gradients) = scratch.split_at_mut(kept);
        let (mut next, mut spare) = gradients.split_at_mut(largest);
        for (row, to) in kept.chunks_exact_mut(n).take(place.rows).enumerate() {
            // Safety: the caller's columns, one row at a time.
            to.copy_from_slice(unsafe { place.row(row, &columns) });
        }
        locals(pass, params, n, kept);
        let mut end = kept.len();
        let mut core_end = partial.len();
        let mut own: Option<&mut [T]> = None;
        for (step, size) in pass.steps.iter().zip(&pass.sizes).rev() {
            let Step::Apply { core, p, q } = step;
            let (p, q, y) = (*p, *q, size * n / p);
            let before = &kept[end - size * n..end];
            end -= before.len();
            let d_after = own.as_deref().map_or(d, |own| &own[..y * q]);
            let sum = &mut partial[core_end - core.len()..core_end];
            core_end -= core.len();
            multiply((sum, Strided::rows(p, q)), !first, (before, Strided::rows(p, y)), (d_after, Strided::rows(y, q)));
            let core = (&params[core.clone()], Strided::rows(p, q));
            multiply(
                (&mut next[..p * y], Strided::rows(p, y)),
                false,
                core,
                (d_after, Strided::rows(y, q).transposed()),
            );
            let old = own.replace(next);
            next = match old {
                Some(old) => old,
                None => std::mem::take(&mut spare),
            };
        }
        let d_before = own.as_deref().unwrap_or(d);
        for (row, d) in d_before.chunks_exact(n).take(place.rows).enumerate() {
            // Safety: as above.
            replace_by_gradient(pass.reads, d, unsafe { place.row(row, &columns) });
        }
    });
}

/// Adjoint of a pass with one large core, whose gradient is computed by ranges of its columns.
fn wide<T: Real>(pass: &Pass, params: &[T], input: &mut [T], d: &[T], gradient: &mut [T]) {
    let Step::Apply { core, p, q } = &pass.steps[0];
    let (p, q, r) = (*p, *q, pass.columns);
    {
        let sum = &mut gradient[core.clone()];
        let place = Shared(sum.as_mut_ptr());
        let input = &*input;
        (0..q.div_ceil(WIDE_COLUMNS)).into_par_iter().for_each(|task| {
            let start = task * WIDE_COLUMNS;
            let columns = WIDE_COLUMNS.min(q - start);
            // Safety: the ranges of columns are disjoint and within the core's (p, q) elements, which are exclusively
            // borrowed for this block and not used but through `place`.
            #[allow(unsafe_code)]
            unsafe {
                let dst = place.get().add(start);
                multiply_into(
                    dst,
                    Strided::pitched(p, columns, q),
                    false,
                    (input, Strided::rows(p, r)),
                    (&d[start..], Strided::pitched(r, columns, q)),
                );
            }
        });
    }
    let place = Columns { first: Shared(input.as_mut_ptr()), rows: p, pitch: r };
    (0..r.div_ceil(pass.chunk)).into_par_iter().for_each(|task| {
        let columns = task * pass.chunk..r.min((task + 1) * pass.chunk);
        let n = columns.len();
        T::with_scratch(p * n, |d_before| {
            let d = (&d[columns.start * q..columns.end * q], Strided::rows(n, q).transposed());
            multiply((d_before, Strided::rows(p, n)), false, (&params[core.clone()], Strided::rows(p, q)), d);
            for (row, d) in d_before.chunks_exact(n).enumerate() {
                // Safety: the tasks' ranges of columns are disjoint, and `input` is exclusively borrowed for the whole call
                // and not used here but through `place`.
                #[allow(unsafe_code)]
                replace_by_gradient(pass.reads, d, unsafe { place.row(row, &columns) });
            }
        });
    });
}
