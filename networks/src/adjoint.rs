//! The adjoint sweep: gradients of all cores, fine to coarse.
//!
//! With D (A, q, B) = ∂L/∂(what a step makes) and T (A, p, B) the tensor before it: ∂L/∂core (p, q) = Σ T·D over A and B (the
//! environment of the core), and ∂L/∂T = core · D. A pass recomputes its inner tensors chunk by chunk in cache, and replaces
//! the tensor it reads by the gradient of what was there before σ.

use rayon::prelude::*;

use crate::buffer::Line;
use crate::elementwise::replace_by_gradient;
use crate::forward::{SERIAL_BELOW, pack_cores};
use crate::kernels::{Environment, Packed, Sums, expand, pack, pack_transposed};
use crate::loading::{Loading, STEPS};
use crate::place::Place;
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
                scaled.resize(dw.len());
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

/// Inner product, summed in f64, in a fixed number of pieces.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    const PIECES: usize = 64;
    let piece = a.len().div_ceil(PIECES).max(1);
    let mut sums = [0.0; PIECES];
    let sum = |(sum, (a, b)): (&mut f64, (&[T], &[T]))| {
        *sum = a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
    };
    if a.len() < SERIAL_BELOW {
        sums.iter_mut().zip(a.chunks(piece).zip(b.chunks(piece))).for_each(sum);
    } else {
        sums.par_iter_mut().zip(a.par_chunks(piece).zip(b.par_chunks(piece))).for_each(sum);
    }
    T::from_f64(sums.iter().sum())
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
        let sums = environments::<T>(pass).map(|(_, environment)| environment.sums_len()).sum::<usize>();
        let work = scratch_len::<T>(pass);
        T::with_scratch(work + sums + 2 * cores, |scratch| {
            let (work, scratch) = scratch.split_at_mut(work);
            let (sums, tiles) = scratch.split_at_mut(sums);
            sums.fill(T::ZERO);
            let (there, back) = tiles.split_at_mut(cores);
            pack_cores(pass, params, there, pack);
            pack_cores(pass, params, back, pack_transposed);
            let mut work = Work::new(pass, work);
            let mut chunks = pass.block(block).peekable();
            // SAFETY: chunks are disjoint, and each belongs to one block, which one task works on.
            #[allow(unsafe_code)]
            unsafe {
                work.load_first(pass, &place, chunks.peek().copied(), d);
            }
            while let Some(chunk) = chunks.next() {
                // SAFETY: as above.
                #[allow(unsafe_code)]
                unsafe {
                    work.turn(pass, (there, back), &place, (chunk, chunks.peek().copied()), d, sums);
                }
            }
            partial.fill(T::ZERO);
            let (mut sums, mut partial) = (&*sums, partial);
            for (step, environment) in environments::<T>(pass) {
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
fn environments<T: Real>(pass: &Pass) -> impl DoubleEndedIterator<Item = (&Step, Environment)> {
    pass.steps.iter().map(|step| (step, Environment::new::<T>(step.p, step.q)))
}

/// What a task works in.
struct Work<'s, T> {
    /// The chunk of the input, and the next one.
    input: [&'s mut [T]; 2],
    /// The chunk of D, and the next one.
    d: [&'s mut [T]; 2],
    /// The tensors between the steps.
    between: &'s mut [T],
    /// Gradients before a step.
    gradients: [&'s mut [T]; 2],
    /// Transposed operands of environments.
    turned: &'s mut [T],
}

/// Elements of [`Work`]'s parts: input, d, between, gradients, turned.
fn work_lens<T: Real>(pass: &Pass) -> [usize; 5] {
    let (count, width) = (pass.steps.len(), pass.width());
    let columns = |k: usize, step: &Step| pass.sizes[k] / step.p * width;
    let turned =
        environments::<T>(pass).enumerate().map(|(k, (step, environment))| environment.scratch_len(columns(k, step)));
    let between: usize = pass.sizes[1..count].iter().sum();
    let gradients = pass.sizes[..count].iter().copied().max().unwrap_or(0);
    [pass.sizes[0] * width, pass.sizes[count] * width, between * width, gradients * width, turned.max().unwrap_or(0)]
}

/// Elements that a task works in.
fn scratch_len<T: Real>(pass: &Pass) -> usize {
    let [input, d, between, gradients, turned] = work_lens::<T>(pass);
    2 * (input + d + gradients) + between + turned
}

impl<'s, T: Real> Work<'s, T> {
    /// `scratch` has [`scratch_len`] elements.
    fn new(pass: &Pass, scratch: &'s mut [T]) -> Self {
        let [input, d, between, gradients, turned] = work_lens::<T>(pass);
        let mut rest = scratch;
        let mut take = |len: usize| rest.split_off_mut(..len).unwrap_or_default();
        Work {
            input: [take(input), take(input)],
            d: [take(d), take(d)],
            between: take(between),
            gradients: [take(gradients), take(gradients)],
            turned: take(turned),
        }
    }

    /// Loads the first chunk.
    ///
    /// # Safety
    /// No other task may write to the chunk of `place` during the call.
    #[allow(unsafe_code)]
    unsafe fn load_first(&mut self, pass: &Pass, place: &Place<'_, T>, chunk: Option<Chunk>, d: &[T]) {
        if pass.in_place() {
            return;
        }
        // SAFETY: by the caller.
        unsafe { place.loading(chunk, self.input[0], STEPS) }.finish();
        Loading::of(pass, pass.steps.len(), d, chunk, self.d[0], STEPS).finish();
    }

    /// Adds the gradients of a chunk's cores to `sums` and replaces the chunk by its gradient before σ. `there` and `back` are
    /// the packed cores and the packed transposed cores. The chunk has been loaded; the next one is loaded meanwhile.
    ///
    /// # Safety
    /// No other task may access the chunks of `place` during the call.
    #[allow(unsafe_code)]
    unsafe fn turn(
        &mut self,
        pass: &Pass,
        (there, back): (&[T], &[T]),
        place: &Place<'_, T>,
        (chunk, next): (Chunk, Option<Chunk>),
        d: &[T],
        sums: &mut [T],
    ) {
        let Work { input: [input, next_input], d: [own_d, next_d], between, gradients: [after, before], turned } = self;
        let (width, count) = (chunk.width(), pass.steps.len());
        let next = next.filter(|_| !pass.in_place());
        let (input, own_d) = if pass.in_place() {
            let matrix = pass.sizes[count] * pass.inner;
            let there = &d[chunk.group * matrix..][..chunk.groups * matrix];
            let own_d = if there.as_ptr().addr().is_multiple_of(size_of::<Line>()) {
                there
            } else {
                // It is read several times, and vectors that cross cache lines take twice as long to load.
                own_d[..there.len()].copy_from_slice(there);
                &own_d[..there.len()]
            };
            // SAFETY: by the caller; the matrices are borrowed once.
            (unsafe { place.matrices(chunk, 0, chunk.groups) }, own_d)
        } else {
            (&mut **input, &**own_d)
        };
        let (mut start, mut first) = (0, 0);
        for (k, step) in pass.steps[..count - 1].iter().enumerate() {
            let (done, rest) = between.split_at_mut(start);
            let from = if k == 0 { &input[..pass.sizes[0] * width] } else { &done[start - pass.sizes[k] * width..] };
            let core = Packed::new(&there[first..first + step.core.len()], step.p, step.q);
            expand(core, from, step.right * pass.panel, &mut rest[..pass.sizes[k + 1] * width]);
            (start, first) = (start + pass.sizes[k + 1] * width, first + step.core.len());
        }
        let group = pass.panels();
        let parts = (width / pass.panel).div_ceil(group);
        // SAFETY: by the caller.
        let mut next_input = unsafe { place.loading(next, next_input, count * parts) };
        let mut next_d = Loading::of(pass, count, d, next, next_d, count * parts);
        let (mut last, mut end, mut sums) = (back.len(), start, sums);
        for (k, step) in pass.steps.iter().enumerate().rev() {
            let environment = Environment::new::<T>(step.p, step.q);
            let (len, len_after) = (pass.sizes[k] * width, pass.sizes[k + 1] * width);
            let from = if k + 1 == count { &own_d[..len_after] } else { &after[..len_after] };
            let t = if k == 0 { &input[..len] } else { &between[end - len..end] };
            let own = last - step.core.len()..last;
            let own_sums = sums.split_off_mut(sums.len() - environment.sums_len()..).unwrap_or_default();
            environment.add(t, from, step.right * pass.panel, Sums { sums: own_sums, scratch: turned });
            let core = Packed::new(&back[own.clone()], step.q, step.p);
            let (panel, panel_after) = (pass.sizes[k] * pass.panel, pass.sizes[k + 1] * pass.panel);
            let groups = from.chunks(group * panel_after).zip(before[..len].chunks_mut(group * panel));
            for (index, (from, to)) in groups.enumerate() {
                expand(core, from, step.right * pass.panel, to);
                if k == 0 {
                    let first = index * group * panel;
                    let values = &mut input[first..first + to.len()];
                    replace_by_gradient(pass.reads, to, values);
                    if !pass.in_place() {
                        // SAFETY: by the caller.
                        unsafe { place.store(chunk, index * group, values, false) };
                    }
                }
                next_input.step();
                next_d.step();
            }
            std::mem::swap(after, before);
            end -= if k == 0 { 0 } else { len };
            last = own.start;
        }
        next_input.finish();
        next_d.finish();
        self.input.swap(0, 1);
        self.d.swap(0, 1);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::kernels::LANES;
    use crate::plan::Pass;
    use crate::{Activation, Bonds, GeneratorSpec, LayoutKind, LegLayout, Topology, gathered};

    fn generator(topology: Topology, side: usize, chi: usize) -> Generator<f32> {
        let layout = LegLayout::for_matrix(LayoutKind::Interleaved, side, side, 8).unwrap();
        let spec = GeneratorSpec::new(topology, side, side, layout, Bonds::Uniform(chi), Activation::Tanh);
        Generator::random(spec, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap()
    }

    fn difference(a: &[f32], b: &[f64]) -> f64 {
        assert_eq!(a.len(), b.len());
        let square = |x: f64| x * x;
        let error: f64 = a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - b)).sum();
        (error / b.iter().map(|&b| square(b)).sum::<f64>()).sqrt()
    }

    /// Double precision takes neither the shuffles nor the streams of single precision, and its vectors are other ones.
    #[test]
    fn all_kinds_of_passes_agree_with_double_precision() {
        type Is = fn(&Pass) -> bool;
        let kinds: [(Topology, usize, usize, Is); 6] = [
            (Topology::Ttn, 1024, 8, Pass::in_place),
            (Topology::Ttn, 2048, 2, |pass| pass.in_place() && pass.output_len() >= 1 << 22),
            (Topology::Ttn, 512, 16, |pass| pass.in_place() && pass.steps.len() > 1),
            (Topology::Ttn, 1024, 32, |pass| pass.wide && pass.inner == 1),
            (Topology::Ttn, 1024, 32, |pass| pass.wide && pass.inner >= LANES && !gathered::applies(pass)),
            (Topology::Mera, 1024, 24, |pass| pass.wide && gathered::applies(pass)),
        ];
        for (topology, side, chi, kind) in kinds {
            let single = generator(topology, side, chi);
            assert!(single.plan().passes.iter().any(kind), "{side}x{side}, chi {chi} has no such pass");
            let double: Generator<f64> = single.cast();
            let (mut ws, mut ws_double) = (Workspace::new(), Workspace::new());
            assert!(difference(single.forward(&mut ws), double.forward(&mut ws_double)) < 2e-6);
            let dw: Vec<f64> = (0..side * side).map(|k| ((k * 7919) % 1013) as f64 / 506.0 - 1.0).collect();
            let expected = double.adjoint(&mut ws_double, &dw);
            // On a cache line's first byte and beside it.
            let mut memory = vec![0.0f32; dw.len() + 16];
            for offset in [0, 1] {
                let first = memory.as_ptr().align_offset(size_of::<Line>()) % 16 + offset;
                let own = &mut memory[first..first + dw.len()];
                own.iter_mut().zip(&dw).for_each(|(own, &d)| *own = d as f32);
                let own = &memory[first..first + dw.len()];
                let gradient = single.adjoint(&mut ws, own);
                assert!(difference(gradient, expected) < 2e-5, "{side}x{side}, chi {chi}");
            }
        }
    }
}
