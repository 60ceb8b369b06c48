//! The forward sweep: contraction of a generator, coarse to fine.

use rayon::prelude::*;

use crate::elementwise::activate;
use crate::kernels::{LANES, Packed, expand, finish, pack};
use crate::loading::{Loading, STEPS};
use crate::place::Place;
use crate::plan::{Chunk, Pass};
use crate::wide;
use crate::workspace::Workspace;
use crate::{Generator, Real};

/// Passes of fewer multiply-adds are not worth waking other threads for.
pub(crate) const SERIAL_BELOW: usize = 1 << 17;

impl<T: Real> Generator<T> {
    /// The padded W in leaf order, scale applied.
    pub fn forward<'w>(&self, ws: &'w mut Workspace<T>) -> &'w [T] {
        let plan = self.plan();
        ws.prepare(plan);
        ws.tensors[0].copy_from_slice(self.top());
        activate(plan.top, T::ONE, &mut ws.tensors[0]);
        for (k, pass) in plan.passes.iter().enumerate() {
            let (before, after) = ws.tensors.split_at_mut(k + 1);
            let last = k + 1 == plan.passes.len() && plan.linear_core.is_some();
            let scale = if last { self.scale() } else { T::ONE };
            if pass.wide {
                wide::forward(pass, self.params(), &before[k], &mut after[0], scale);
            } else {
                run(pass, self.params(), &before[k], &mut after[0], scale);
            }
        }
        ws.fresh = true;
        let Workspace { tensors, scaled, .. } = ws;
        let t = &tensors[plan.passes.len()];
        // σ′ is worked out from T, which must therefore survive unscaled; so must what the rows' scales multiply.
        match (&plan.rows, plan.linear_core.is_some()) {
            (None, true) => t,
            (None, false) => {
                scaled.resize(t.len());
                let scale = self.scale();
                scaled.par_chunks_mut(1 << 16).zip(t.par_chunks(1 << 16)).for_each(|(scaled, t)| {
                    scaled.iter_mut().zip(t).for_each(|(s, &t)| *s = scale * t);
                });
                scaled
            }
            (Some(rows), linear) => {
                scaled.resize(t.len());
                rows.scale(self.output_scale(), if linear { T::ONE } else { self.scale() }, t, scaled);
                scaled
            }
        }
    }
}

/// Runs `task` for 0…`count`, on several threads if that pays.
pub(crate) fn for_each(count: usize, multiply_adds: usize, task: impl Fn(usize) + Send + Sync) {
    if count == 1 || multiply_adds < SERIAL_BELOW {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().for_each(task);
    }
}

/// output ← scale · σ(pass(input)).
fn run<T: Real>(pass: &Pass, params: &[T], input: &[T], output: &mut [T], scale: T) {
    let last = pass.steps.len();
    let place = Place::new(pass, last, output);
    for_each(pass.blocks(), pass.multiply_adds(), |block| {
        let group = pass.panels();
        let panel = group * pass.largest() * pass.panel;
        let local = if pass.in_place() { 0 } else { pass.sizes[0] * pass.width() };
        let cores = pass.cores_len().next_multiple_of(LANES);
        T::with_scratch(cores + 2 * panel + 2 * local, |scratch| {
            let (tiles, scratch) = scratch.split_at_mut(cores);
            let (spare, locals) = scratch.split_at_mut(2 * panel);
            pack_cores(pass, params, tiles, pack);
            // SAFETY: chunks are disjoint, and each belongs to one block, which one task works on.
            #[allow(unsafe_code)]
            unsafe {
                if pass.in_place() {
                    run_in_place(pass, tiles, pass.block(block), input, &place, spare, scale);
                } else {
                    run_loaded(pass, tiles, pass.block(block), input, &place, (spare, locals), scale);
                }
            }
            finish();
        });
    });
}

/// `chunks` of a pass, each brought to a cache before.
///
/// # Safety
/// No other task may access these chunks of `place` during the call.
#[allow(unsafe_code)]
unsafe fn run_loaded<T: Real>(
    pass: &Pass,
    tiles: &[T],
    chunks: impl Iterator<Item = Chunk>,
    input: &[T],
    place: &Place<'_, T>,
    (spare, locals): (&mut [T], &mut [T]),
    scale: T,
) {
    let group = pass.panels();
    let half = locals.len() / 2;
    let (mut local, mut other) = locals.split_at_mut(half);
    let mut chunks = chunks.peekable();
    Loading::of(pass, 0, input, chunks.peek().copied(), local, STEPS).finish();
    while let Some(chunk) = chunks.next() {
        let panels = &local[..pass.sizes[0] * chunk.width()];
        let groups = panels.chunks(group * pass.sizes[0] * LANES);
        let mut next = Loading::of(pass, 0, input, chunks.peek().copied(), other, groups.len());
        for (index, panels) in groups.enumerate() {
            let result = expand_panels(pass, tiles, panels, spare, None);
            activate(pass.writes, scale, result);
            // SAFETY: by the caller.
            unsafe {
                place.store(chunk, index * group, result, true);
            }
            next.step();
        }
        next.finish();
        std::mem::swap(&mut local, &mut other);
    }
}

/// `chunks` of a pass whose matrices are read and written where they are.
///
/// # Safety
/// No other task may access these chunks of `place` during the call.
#[allow(unsafe_code)]
unsafe fn run_in_place<T: Real>(
    pass: &Pass,
    tiles: &[T],
    chunks: impl Iterator<Item = Chunk>,
    input: &[T],
    place: &Place<'_, T>,
    spare: &mut [T],
    scale: T,
) {
    let matrix = pass.sizes[0] * pass.inner;
    for chunk in chunks {
        let panels = &input[chunk.group * matrix..][..chunk.groups * matrix];
        for (index, panels) in panels.chunks(pass.panels() * matrix).enumerate() {
            let (first, count) = (index * pass.panels(), panels.len() / matrix);
            if place.is_streamed() {
                let result = expand_panels(pass, tiles, panels, spare, None);
                activate(pass.writes, scale, result);
                // SAFETY: by the caller; the matrices are not borrowed beyond the call.
                unsafe {
                    if !place.stream(chunk, first, result) {
                        place.matrices(chunk, first, count).copy_from_slice(result);
                    }
                }
            } else {
                // SAFETY: by the caller; the matrices are borrowed once.
                let to = unsafe { place.matrices(chunk, first, count) };
                let result = expand_panels(pass, tiles, panels, spare, Some(to));
                activate(pass.writes, scale, result);
            }
        }
    }
}

/// All steps of a pass on some panels. The result lies in `to`, if that is given, else in `spare`, which holds twice as many
/// panels of the largest size.
fn expand_panels<'s, T: Real>(
    pass: &Pass,
    tiles: &[T],
    panels: &[T],
    spare: &'s mut [T],
    to: Option<&'s mut [T]>,
) -> &'s mut [T] {
    let half = spare.len() / 2;
    let (mut before, mut after) = spare.split_at_mut(half);
    let columns = panels.len() / pass.sizes[0];
    let (last, mut rest) = (pass.steps.len() - 1, tiles);
    for (k, step) in pass.steps[..last].iter().enumerate() {
        let (own, others) = rest.split_at(step.core.len());
        let input = if k == 0 { panels } else { &before[..pass.sizes[k] * columns] };
        let output = &mut after[..pass.sizes[k + 1] * columns];
        expand(Packed::new(own, step.p, step.q), input, step.right * pass.panel, output);
        std::mem::swap(&mut before, &mut after);
        rest = others;
    }
    let step = &pass.steps[last];
    let input = if last == 0 { panels } else { &before[..pass.sizes[last] * columns] };
    let output = match to {
        Some(to) => to,
        None => &mut after[..pass.sizes[last + 1] * columns],
    };
    expand(Packed::new(&rest[..step.core.len()], step.p, step.q), input, step.right * pass.panel, output);
    output
}

/// Packs the cores of a pass one after the other into `tiles`.
pub(crate) fn pack_cores<T: Real>(
    pass: &Pass,
    params: &[T],
    tiles: &mut [T],
    pack: impl Fn(&[T], usize, usize, &mut [T]),
) {
    let mut rest = tiles;
    for step in &pass.steps {
        let own = rest.split_off_mut(..step.core.len()).unwrap_or_default();
        pack(&params[step.core.clone()], step.p, step.q, own);
    }
}
