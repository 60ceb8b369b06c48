//! The forward sweep: contraction of a generator, coarse to fine.

use rayon::prelude::*;

use crate::elementwise::activate;
use crate::matmul::{Strided, multiply};
use crate::plan::{Pass, Step};
use crate::workspace::{Workspace, resize};
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
            run(pass, self.params(), &before[k], &mut after[0], scale);
        }
        ws.fresh = true;
        let w = &ws.tensors[plan.passes.len()];
        if plan.linear_core.is_some() {
            return w;
        }
        // σ′ is worked out from T, which must therefore survive unscaled.
        resize(&mut ws.scaled, w.len());
        let scale = self.scale();
        ws.scaled.par_chunks_mut(1 << 16).zip(w.par_chunks(1 << 16)).for_each(|(scaled, w)| {
            scaled.iter_mut().zip(w).for_each(|(s, &w)| *s = scale * w);
        });
        &ws.scaled
    }
}

/// output ← scale · σ(pass(input)).
fn run<T: Real>(pass: &Pass, params: &[T], input: &[T], output: &mut [T], scale: T) {
    let chunk = |(index, out): (usize, &mut [T])| {
        let start = index * pass.chunk;
        let columns = out.len() / pass.width();
        if let [Step::Apply { core, p, q }] = &pass.steps[..] {
            let lhs = Strided::pitched(*p, columns, pass.columns).transposed();
            multiply(
                (out, Strided::rows(columns, *q)),
                false,
                (&input[start..], lhs),
                (&params[core.clone()], Strided::rows(*p, *q)),
            );
        } else {
            let last = pass.steps.len() - 1;
            let sizes = &pass.sizes[..=last];
            T::with_scratch(sizes.iter().sum::<usize>() * columns, |scratch| {
                for (to, from) in scratch.chunks_exact_mut(columns).zip(input.chunks_exact(pass.columns)) {
                    to.copy_from_slice(&from[start..start + columns]);
                }
                let before = locals(pass, params, columns, scratch);
                apply(&pass.steps[last], params, before, out);
            });
        }
        activate(pass.writes, scale, out);
    };
    let len = pass.chunk * pass.width();
    if pass.columns <= pass.chunk || pass.multiply_adds() < SERIAL_BELOW {
        output.chunks_mut(len).enumerate().for_each(chunk);
    } else {
        output.par_chunks_mut(len).enumerate().for_each(chunk);
    }
}

/// Given the tensor before a pass's first step at the start of `scratch`, restricted to some columns, appends those before
/// each further step; returns the one before the last step.
pub(crate) fn locals<'s, T: Real>(pass: &Pass, params: &[T], columns: usize, scratch: &'s mut [T]) -> &'s [T] {
    let (mut current, mut rest) = scratch.split_at_mut(pass.sizes[0] * columns);
    for (step, size) in pass.steps.iter().zip(&pass.sizes[1..pass.steps.len()]) {
        let (next, after) = rest.split_at_mut(size * columns);
        apply(step, params, current, next);
        (current, rest) = (next, after);
    }
    current
}

/// after (Y, q) ← before (p, Y)ᵀ · core (p, q).
fn apply<T: Real>(step: &Step, params: &[T], before: &[T], after: &mut [T]) {
    match step {
        Step::Apply { core, p, q } => {
            let y = before.len() / p;
            let lhs = Strided::rows(*p, y).transposed();
            multiply(
                (after, Strided::rows(y, *q)),
                false,
                (before, lhs),
                (&params[core.clone()], Strided::rows(*p, *q)),
            );
        }
    }
}
