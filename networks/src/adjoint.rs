//! The adjoint sweep: gradients of all cores, fine to coarse.
//!
//! With D (A, q, B) = ∂L/∂(what a step makes) and T (A, p, B) the tensor before it: ∂L/∂core (p, q) = Σ T·D over A and B (the
//! environment of the core), and ∂L/∂T = core · D. A pass recomputes its inner tensors chunk by chunk in cache, and replaces
//! the tensor it reads by the gradient of what was there before σ.

use rayon::prelude::*;

use crate::elementwise::replace_by_gradient;
use crate::forward::{SERIAL_BELOW, apply};
use crate::kernels::{Core, add_environment, expand};
use crate::place::{Place, load, width};
use crate::plan::{Chunk, Pass};
use crate::wide;
use crate::workspace::{Workspace, resize};
use crate::{Generator, Real};

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
        let Workspace { tensors, scaled, gradient, partials, .. } = ws;
        resize(gradient, self.parameter_count());
        let last = plan.passes.len() - 1;
        let own = self.parameter_count() - 1;
        let linear = plan.linear_core.is_some();
        let dw = match &plan.rows {
            None => dw,
            Some(rows) => {
                if partials.len() < rows.partials() {
                    partials.resize(rows.partials(), T::ZERO);
                }
                let factor = if linear { T::ONE } else { self.scale() };
                let sums = &mut gradient[self.shape().output_scale()];
                rows.sums(factor, dw, &tensors[last + 1], &mut partials[..rows.partials()], sums);
                resize(scaled, dw.len());
                rows.scale(self.output_scale(), T::ONE, dw, scaled);
                scaled
            }
        };
        // Everything is linear in dw, so the sweep leaves the overall scale out and the cores' gradients get it at the end.
        if !linear {
            gradient[own] = dot(dw, &tensors[last + 1]);
            let sigma = plan.passes[last].writes;
            let chunks = tensors[last + 1].par_chunks_mut(1 << 16).zip(dw.par_chunks(1 << 16));
            chunks.for_each(|(y, d)| replace_by_gradient(sigma, d, y));
        }
        for (k, pass) in plan.passes.iter().enumerate().rev() {
            let (before, after) = tensors.split_at_mut(k + 1);
            let d = if k == last && linear { dw } else { &after[0] };
            let input = &mut before[k];
            if pass.wide {
                wide::adjoint(pass, self.params(), input, d, gradient);
            } else {
                blocked(pass, self.params(), input, d, gradient, partials);
            }
        }
        let (cores, scales) = gradient.split_at_mut(self.shape().core_parameters());
        let top = self.shape().top();
        if let Some(first) = plan.passes.first() {
            // The first pass has left the gradient of what was the top tensor before σ.
            cores[top].copy_from_slice(&tensors[0][..first.input_len()]);
        }
        if let (Some(core), Some(scale)) = (&plan.linear_core, scales.last_mut()) {
            // Euler: W is of degree one in this core, so ⟨∂L/∂core, core⟩ = ⟨dw, W⟩.
            *scale = dot(&cores[core.clone()], &self.params()[core.clone()]);
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

/// Adjoint of a pass in chunks: blocks of chunks have gradients of their own, which are added up in their order.
fn blocked<T: Real>(pass: &Pass, params: &[T], input: &mut [T], d: &[T], gradient: &mut [T], partials: &mut Vec<T>) {
    let (cores, blocks) = (pass.cores_len(), pass.blocks());
    if partials.len() < cores * blocks {
        partials.resize(cores * blocks, T::ZERO);
    }
    let partials = &mut partials[..cores * blocks];
    let place = Place::new(pass, 0, input);
    let task = |(block, partial): (usize, &mut [T])| {
        partial.fill(T::ZERO);
        for chunk in pass.block(block) {
            // Safety: chunks are disjoint, and each belongs to one block, which one task works on.
            #[allow(unsafe_code)]
            unsafe {
                turn(pass, params, &place, chunk, d, partial);
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
        let sum = &mut gradient[step.core.clone()];
        for (block, partial) in partials.chunks(cores).enumerate() {
            let partial = &partial[offset..offset + sum.len()];
            if block == 0 {
                sum.copy_from_slice(partial);
            } else {
                sum.iter_mut().zip(partial).for_each(|(sum, &x)| *sum += x);
            }
        }
        offset += step.core.len();
    }
}

/// Adds the gradients of a chunk's cores to `partial` and replaces the chunk by its gradient before σ.
///
/// # Safety
/// No other task may access the chunk of `place` during the call.
#[allow(unsafe_code)]
unsafe fn turn<T: Real>(pass: &Pass, params: &[T], place: &Place<'_, T>, chunk: Chunk, d: &[T], partial: &mut [T]) {
    let (width, count) = (width(chunk), pass.steps.len());
    let kept = pass.sizes[..count].iter().sum::<usize>() * width;
    let most = pass.largest() * width;
    T::with_scratch(kept + 2 * most, |scratch| {
        let (kept, gradients) = scratch.split_at_mut(kept);
        let (mut after, mut before) = gradients.split_at_mut(most);
        // Safety: by the caller.
        unsafe { place.load(chunk, kept) };
        let mut start = 0;
        for (k, step) in pass.steps[..count - 1].iter().enumerate() {
            let (done, next) = kept.split_at_mut(start + pass.sizes[k] * width);
            apply(step, params, pass.sizes[k], chunk, &done[start..], next);
            start = done.len();
        }
        load(pass, count, d, chunk, after);
        let mut end = kept.len();
        let mut core_end = partial.len();
        for (k, step) in pass.steps.iter().enumerate().rev() {
            let (len, len_after) = (pass.sizes[k] * width, pass.sizes[k + 1] * width);
            let t = &kept[end - len..end];
            let sum = &mut partial[core_end - step.core.len()..core_end];
            add_environment(t, &after[..len_after], step.right * width, step.p, step.q, sum);
            let core = Core::new(&params[step.core.clone()], step.p, step.q).transposed();
            expand(core, &after[..len_after], step.right * width, &mut before[..len]);
            std::mem::swap(&mut after, &mut before);
            end -= len;
            core_end -= step.core.len();
        }
        let values = &mut kept[..pass.sizes[0] * width];
        replace_by_gradient(pass.reads, &after[..values.len()], values);
        // Safety: by the caller.
        unsafe { place.store(chunk, values) };
    });
}
