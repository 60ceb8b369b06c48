//! Layer-wise fitting: a generator G against one trained weight W, minimising `tr((W−G)·H·(W−G)ᵀ)`.

use std::ops::Range;

use adntn_networks::start::{Disentanglers, Prepared};
use adntn_networks::{Bonds, Generator, GeneratorSpec, InputWeighting, Shape, Workspace};
use rayon::prelude::*;

use crate::adam::{Adam, Schedule};
use crate::error::Error;
use crate::gram::Gram;

/// Rounds of the Procrustes start of disentanglers.
const SWEEPS: usize = 4;

/// A trained weight and what is known of its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// W, O×I row-major.
    pub weight: &'a [f32],
    /// O.
    pub outputs: usize,
    /// I.
    pub inputs: usize,
    /// Statistics of the inputs; without them H is the identity.
    pub gram: Option<&'a Gram>,
}

/// How much work a fit may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Multiply-adds a fit may spend. Counted, not timed, so that results do not depend on the machine.
    pub multiply_adds: u64,
    /// Bounds on the number of steps whatever they cost.
    pub steps: (usize, usize),
    /// Peak relative step size (see [`Schedule::peak`]).
    pub rate: f32,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { multiply_adds: 300_000_000_000, steps: (16, 300), rate: 0.02 }
    }
}

/// A fitted generator.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The generator with the smallest error seen.
    pub generator: Generator,
    /// `sqrt(tr(E·H·Eᵀ)/tr(W·H·Wᵀ))` of the start, E = W−G: the expected relative RMS error of the layer's output.
    pub start_error: f64,
    /// The same after the fit.
    pub error: f64,
    /// Optimiser steps taken.
    pub steps: usize,
}

impl Target<'_> {
    /// The hierarchical-SVD start for `spec`, weighted by the activations when they are known, and its relative error.
    ///
    /// # Errors
    /// [`Error::Network`] when `spec` does not fit W.
    pub fn start(&self, spec: &GeneratorSpec) -> Result<(Generator, f64), Error> {
        self.start_from(&self.prepare(spec)?, spec.bonds.clone())
    }

    /// What the starts of all generators like `spec`, up to its bond dimensions, have in common.
    ///
    /// # Errors
    /// [`Error::Network`] when `spec` does not fit W.
    pub fn prepare(&self, spec: &GeneratorSpec) -> Result<Prepared, Error> {
        let weighting = self.gram.map(|g| g as &dyn InputWeighting);
        Ok(Prepared::new(self.weight, spec, weighting, Disentanglers::Procrustes { sweeps: SWEEPS })?)
    }

    /// The start with the given bond dimensions and its relative error.
    ///
    /// # Errors
    /// [`Error::Network`] when the bonds are larger than prepared.
    pub fn start_from(&self, prepared: &Prepared, bonds: Bonds) -> Result<(Generator, f64), Error> {
        let generator = prepared.start(bonds)?;
        let error = Objective::new(self).error(&generator);
        Ok((generator, error))
    }

    /// The relative error of `generator`; see [`Fitted::error`].
    #[must_use]
    pub fn error(&self, generator: &Generator) -> f64 {
        Objective::new(self).error(generator)
    }

    /// The relative error of any other O×I matrix in the weight's place; see [`Fitted::error`].
    #[must_use]
    pub fn error_of(&self, made: &[f32]) -> f64 {
        let mut objective = Objective::new(self);
        objective.error = made.par_iter().zip(self.weight).map(|(m, w)| m - w).collect();
        (objective.loss().max(0.0) / objective.power).sqrt()
    }

    /// Improves `generator` by gradient steps within `effort`; `progress` is told (step, steps, relative error).
    ///
    /// # Errors
    /// [`Error::NotFinite`] when W or the objective is not finite.
    pub fn fit(
        &self,
        generator: Generator,
        effort: &Effort,
        mut progress: impl FnMut(usize, usize, f64),
    ) -> Result<Fitted, Error> {
        let mut generator = generator;
        let mut objective = Objective::new(self);
        let cost = objective.multiply_adds(&generator).max(1);
        let affordable = usize::try_from(effort.multiply_adds / cost).unwrap_or(usize::MAX);
        let steps = affordable.clamp(effort.steps.0, effort.steps.1.max(effort.steps.0));
        let schedule = Schedule { steps, peak: effort.rate, warmup: 0.1 };
        let mut adam = Adam::new(generator.params(), &core_ranges(generator.shape()));
        let start_error = objective.error(&generator);
        if !start_error.is_finite() {
            return Err(Error::NotFinite { what: "the error of the start".into() });
        }
        let (mut best, mut best_params) = (start_error, generator.params().to_vec());
        let mut gradient = vec![0.0; generator.parameter_count()];
        for t in 0..steps {
            let error = objective.error_and_gradient(&generator, &mut gradient);
            if error < best {
                best = error;
                best_params.copy_from_slice(generator.params());
            }
            progress(t, steps, best);
            adam.step(generator.params_mut(), &gradient, schedule.rate(t));
        }
        let last = objective.error(&generator);
        if last < best {
            best = last;
        } else {
            generator.params_mut().copy_from_slice(&best_params);
        }
        Ok(Fitted { generator, start_error, error: best, steps })
    }
}

/// Evaluates the objective and its gradient, all buffers reused from step to step.
struct Objective<'a> {
    target: Target<'a>,
    workspace: Workspace<f32>,
    /// E = G − W: in leaf order without statistics, O×I with them.
    error: Vec<f32>,
    product: Vec<f32>,
    leaf: Vec<f32>,
    power: f64,
}

impl<'a> Objective<'a> {
    fn new(target: &Target<'a>) -> Self {
        let (o, i) = (target.outputs, target.inputs);
        let mut product = Vec::new();
        let power = match target.gram {
            None => sum_products(target.weight, target.weight),
            Some(gram) => {
                product.resize(o * i, 0.0);
                gram.apply(target.weight, &mut product);
                sum_products(target.weight, &product)
            }
        };
        Objective {
            target: *target,
            workspace: Workspace::default(),
            error: Vec::new(),
            product,
            leaf: Vec::new(),
            power: power.max(f64::MIN_POSITIVE),
        }
    }

    fn multiply_adds(&self, generator: &Generator) -> u64 {
        // Forward, and twice as much in the adjoint.
        let gram = self.target.gram.map_or(0, |g| g.multiply_adds(self.target.outputs));
        3 * generator.shape().multiply_adds() + gram + 16 * (self.target.outputs * self.target.inputs) as u64
    }

    fn error(&mut self, generator: &Generator) -> f64 {
        self.residual(generator);
        (self.loss().max(0.0) / self.power).sqrt()
    }

    /// E = G − W into `self.error`.
    fn residual(&mut self, generator: &Generator) {
        let values = generator.forward(&mut self.workspace);
        let Target { weight, outputs, inputs, gram } = self.target;
        let layout = &generator.spec().layout;
        if gram.is_some() {
            layout.scatter(values, outputs, inputs, &mut self.error);
            self.error.par_iter_mut().zip(weight).for_each(|(e, &w)| *e -= w);
        } else {
            // Gathered anew every time: cheaper than the memory of a second copy of a large W.
            layout.gather(weight, outputs, inputs, &mut self.error);
            self.error.par_iter_mut().zip(values).for_each(|(e, &g)| *e = g - *e);
        }
    }

    fn loss(&mut self) -> f64 {
        match self.target.gram {
            None => sum_products(&self.error, &self.error),
            Some(gram) => {
                gram.apply(&self.error, &mut self.product);
                sum_products(&self.error, &self.product)
            }
        }
    }

    fn error_and_gradient(&mut self, generator: &Generator, gradient: &mut [f32]) -> f64 {
        self.residual(generator);
        let loss = self.loss();
        let scale = (2.0 / self.power) as f32;
        let dw: &[f32] = if self.target.gram.is_some() {
            self.product.par_iter_mut().for_each(|v| *v *= scale);
            generator.spec().layout.gather(&self.product, self.target.outputs, self.target.inputs, &mut self.leaf);
            &self.leaf
        } else {
            self.error.par_iter_mut().for_each(|v| *v *= scale);
            &self.error
        };
        gradient.copy_from_slice(generator.adjoint(&mut self.workspace, dw));
        (loss.max(0.0) / self.power).sqrt()
    }
}

/// Where each core lies in the parameter vector; the scales of the outputs are one of them, and so is the overall scale.
pub(crate) fn core_ranges(shape: &Shape) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = shape.cores.iter().map(|core| core.range.clone()).collect();
    let scales = shape.output_scale();
    let end = scales.end;
    if !scales.is_empty() {
        ranges.push(scales);
    }
    ranges.push(end..shape.parameters());
    ranges
}

/// `Σ aᵢbᵢ` in double precision, in pieces of fixed size so that the result does not depend on the number of threads.
fn sum_products(a: &[f32], b: &[f32]) -> f64 {
    const PIECE: usize = 1 << 14;
    let parts: Vec<f64> = a
        .par_chunks(PIECE)
        .zip(b.par_chunks(PIECE))
        .map(|(a, b)| a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum())
        .collect();
    parts.iter().sum()
}

/// Relative error ‖W−G‖/‖W‖ of a weight in the plain (Frobenius) norm.
#[must_use]
pub fn weight_error(weight: &[f32], approximation: &[f32]) -> f64 {
    let difference: Vec<f32> = weight.iter().zip(approximation).map(|(w, g)| g - w).collect();
    (sum_products(&difference, &difference) / sum_products(weight, weight).max(f64::MIN_POSITIVE)).sqrt()
}
