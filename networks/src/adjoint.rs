//! The adjoint sweep: gradients of all cores, fine to coarse.
//!
//! With D (A, q, B) = ∂L/∂(what a step makes) and T (A, p, B) the tensor before it: ∂L/∂core (p, q) = Σ T·D over A and B (the
//! environment of the core), and ∂L/∂T = core · D. A pass recomputes its inner tensors chunk by chunk in cache, and replaces
//! the tensor it reads by the gradient of what was there before σ.

use rayon::prelude::*;

use crate::elementwise::replace_by_gradient;
use crate::forward::{SERIAL_BELOW, apply, pack_cores};
use crate::kernels::{Environment, LANES, Packed, Sums, expand, pack, pack_transposed};
use crate::place::{Place, load};
use crate::plan::{Chunk, Pass, Step};
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
        let sums = environments(pass).map(|(_, environment)| environment.sums_len()).sum::<usize>();
        T::with_scratch(sums + 2 * cores + scratch_len(pass), |scratch| {
            let (sums, scratch) = scratch.split_at_mut(sums);
            let (tiles, scratch) = scratch.split_at_mut(2 * cores);
            sums.fill(T::ZERO);
            let (there, back) = tiles.split_at_mut(cores);
            pack_cores(pass, params, there, pack);
            pack_cores(pass, params, back, pack_transposed);
            for chunk in pass.block(block) {
                // Safety: chunks are disjoint, and each belongs to one block, which one task works on.
                #[allow(unsafe_code)]
                unsafe {
                    turn(pass, (there, back), &place, chunk, d, sums, scratch);
                }
            }
            partial.fill(T::ZERO);
            let (mut sums, mut partial) = (&*sums, partial);
            for (step, environment) in environments(pass) {
                let (own, others) = sums.split_at(environment.sums_len());
                environment.total(own, partial.split_off_mut(..step.core.len()).unwrap_or_default());
                sums = others;
            }
        });
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

/// The steps of a pass with the environments of their cores.
fn environments(pass: &Pass) -> impl DoubleEndedIterator<Item = (&Step, Environment)> {
    pass.steps.iter().map(|step| (step, Environment::new(step.p, step.q)))
}

/// Elements that [`turn`] works in.
fn scratch_len(pass: &Pass) -> usize {
    let count = pass.steps.len();
    let kept = pass.sizes[..count].iter().sum::<usize>() + 2 * pass.largest();
    kept * pass.width() + turned_len(pass)
}

/// Elements that [`turn`] needs for transposed operands.
fn turned_len(pass: &Pass) -> usize {
    let columns = |k: usize, step: &Step| pass.sizes[k] / step.p * pass.width();
    let lens = environments(pass).enumerate().map(|(k, (step, environment))| environment.scratch_len(columns(k, step)));
    lens.max().unwrap_or(0)
}

/// Adds the gradients of a chunk's cores to `sums`, one vector an element, and replaces the chunk by its gradient before σ.
/// `there` and `back` are the packed cores and the packed transposed cores.
///
/// # Safety
/// No other task may access the chunk of `place` during the call.
#[allow(unsafe_code)]
unsafe fn turn<T: Real>(
    pass: &Pass,
    (there, back): (&[T], &[T]),
    place: &Place<'_, T>,
    chunk: Chunk,
    d: &[T],
    sums: &mut [T],
    scratch: &mut [T],
) {
    let (width, count) = (chunk.width(), pass.steps.len());
    let most = pass.largest() * width;
    let (kept, gradients) = scratch.split_at_mut(pass.sizes[..count].iter().sum::<usize>() * width);
    let (gradients, turned) = gradients.split_at_mut(2 * most);
    let (mut after, mut before) = gradients.split_at_mut(most);
    // Safety: by the caller.
    unsafe { place.load(chunk, kept) };
    let (mut start, mut first) = (0, 0);
    for (k, step) in pass.steps[..count - 1].iter().enumerate() {
        let (done, next) = kept.split_at_mut(start + pass.sizes[k] * width);
        apply(step, &there[first..first + step.core.len()], pass.sizes[k], chunk, &done[start..], next);
        (start, first) = (done.len(), first + step.core.len());
    }
    load(pass, count, d, chunk, after);
    let mut end = kept.len();
    let (mut last, mut sums) = (back.len(), sums);
    for (k, (step, environment)) in environments(pass).enumerate().collect::<Vec<_>>().into_iter().rev() {
        let (len, len_after) = (pass.sizes[k] * width, pass.sizes[k + 1] * width);
        let t = &kept[end - len..end];
        let own = last - step.core.len()..last;
        let to = Sums { sums: sums.split_off_mut(sums.len() - environment.sums_len()..).unwrap_or_default(), scratch: turned };
        environment.add(t, &after[..len_after], step.right * LANES, to);
        expand(Packed::new(&back[own.clone()], step.q, step.p), &after[..len_after], step.right * LANES, &mut before[..len]);
        std::mem::swap(&mut after, &mut before);
        end -= len;
        last = own.start;
    }
    let values = &mut kept[..pass.sizes[0] * width];
    replace_by_gradient(pass.reads, &after[..values.len()], values);
    // Safety: by the caller.
    unsafe { place.store(chunk, values) };
}
