//! Distillation of bolder choices than the layer-wise search got through, one after the other, as long as it helps.

use adntn_families::Replacement;
use adntn_fit::data::Dataset;
use adntn_fit::distill::{Budget, Part, Problem, Samples, Settings, train};
use adntn_onnx::{Model, Patch};

use super::tail::{self, Tail};
use super::{Fit, Watch};
use crate::calibrate::samples_for_statistics;
use crate::data;
use crate::error::Error;
use crate::layer::Layer;
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::select::{Choice, dense_patch};

/// Fewer samples than this are learnt by heart instead of teaching anything.
const FEWEST_SAMPLES: usize = 1000;
/// Sample presentations of a rung, and the bounds on passes.
const PRESENTATIONS: usize = 300_000;
const PASSES: std::ops::RangeInclusive<usize> = 4..=30;

/// Steps are so much smaller than those of networks, which begin far from their weights.
const GENTLER: f32 = 2.0 / 3.0;

/// Multiply-adds that all rungs together may take, and a single one: a quarter of an hour and half of it on two cores. Counted, not
/// timed, so that results do not depend on the machine.
const WORK: f64 = 2e13;
const WORK_OF_RUNG: f64 = 1e13;

/// What rungs that replace the same layers have in common.
struct Shared {
    wanted: Vec<usize>,
    tail: Tail,
    fit: Samples,
    selection: Samples,
}

/// Trains choices through the network.
pub(crate) struct Ladder<'l> {
    model: &'l Model,
    samples: &'l data::Samples,
    options: &'l Options,
    shared: Option<Shared>,
    /// Multiply-adds that are left.
    left: f64,
}

impl<'l> Ladder<'l> {
    /// A ladder, where there are samples enough to teach something.
    pub(crate) fn new(model: &'l Model, samples: &'l data::Samples, options: &'l Options) -> Option<Self> {
        let enough = samples.fit.as_ref().is_some_and(|fit| fit.samples() >= FEWEST_SAMPLES);
        let ladder = Ladder { model, samples, options, shared: None, left: WORK };
        (enough && !options.asks_for_networks()).then_some(ladder)
    }

    /// The choice after training, with keys of its own; `None` where a layer of it cannot be trained, the fit diverges, the work
    /// that is left does not suffice, or the caller ended it before the first step.
    ///
    /// # Errors
    /// When the model cannot be run, or the trained values make no patch.
    pub(crate) fn train(
        &mut self,
        layers: &mut [Layer<'_>],
        choice: &Choice,
        observer: &mut dyn Observer,
    ) -> Result<Option<Choice>, Error> {
        match self.try_train(layers, choice, observer) {
            Err(Error::Usage(reason)) => {
                tracing::info!(reason, "not trained through the network");
                Ok(None)
            }
            Err(Error::Data(e @ (adntn_fit::Error::NotFinite { .. } | adntn_fit::Error::Graph(_)))) => {
                tracing::info!(reason = %e, "not trained through the network");
                Ok(None)
            }
            // What was found before is kept; the caller knows of the interruption.
            Err(Error::Interrupted | Error::Data(adntn_fit::Error::Interrupted)) => Ok(None),
            other => other,
        }
    }

    fn try_train(
        &mut self,
        layers: &mut [Layer<'_>],
        choice: &Choice,
        observer: &mut dyn Observer,
    ) -> Result<Option<Choice>, Error> {
        let Some(data) = &self.samples.fit else { return Ok(None) };
        let wanted: Vec<usize> = (0..layers.len()).filter(|&i| choice[i].is_some()).collect();
        let mut notes = Vec::new();
        if self.shared.as_ref().is_none_or(|shared| shared.wanted != wanted) {
            self.shared = None;
            self.shared = self.share(layers, wanted, choice, data, observer)?;
        }
        let Some(Shared { wanted, tail, fit, selection }) = &self.shared else { return Ok(None) };
        let model = self.model;
        let mut fitting = Fit { model, layers, wanted, choice, tail, options: self.options, notes: &mut notes };
        // Biases that took over a mean error begin with it.
        let started = dense_patch(fitting.layers, choice)?;
        let student = fitting.student(&started)?;
        let objectives = fitting.objectives(fit)?;
        let mut settings = fitting.settings(fit.samples(), self.samples.fixed_batch());
        let pass = work(fitting.layers, data.samples()) * fit.samples() as f64;
        let affordable = (self.left.min(WORK_OF_RUNG) / pass.max(1.0)) as usize;
        if affordable == 0 {
            return Ok(None);
        }
        let wanted_passes = (PRESENTATIONS / fit.samples().max(1)).clamp(*PASSES.start(), *PASSES.end());
        settings.epochs = wanted_passes.min(affordable);
        self.left -= pass * settings.epochs as f64;
        let settings = Settings { rate: GENTLER * settings.rate, ..settings };
        let own = &tail.own_outputs;
        let judge = self.samples.yardstick.judge_of(own, selection.reference(own.len()), selection.labels())?;
        let problem = Problem {
            network: &tail.network,
            fit,
            selection,
            objectives: &objectives,
            own_outputs: own.len(),
            judge: &judge,
            settings: &settings,
            fixed_batch: self.samples.fixed_batch(),
        };
        observer.event(Event::Phase("training"));
        let trained = train(&problem, student, None, &mut Watch { observer, checkpoint: None })?;
        tracing::info!(start = ?trained.start, best = ?trained.best, steps = trained.steps, "trained a choice");
        let mut rest = Patch::default();
        for (name, part) in tail.plain.iter().zip(trained.parts.iter().skip(wanted.len())) {
            if let Part::Plain(array) = part {
                rest.merge(adntn_passes::replace_values(self.model, name, &array.values)?);
            }
        }
        let mut own = choice.clone();
        for (&index, part) in wanted.iter().zip(trained.parts) {
            let (layer, Some(key)) = (&mut layers[index], choice[index]) else { continue };
            let replacement = match part {
                Part::Generator { mut generator, .. } => {
                    layer.round(&mut generator);
                    Replacement::Network(generator)
                }
                Part::Digits { weight, .. } => Replacement::Digits(*weight),
                Part::LowRank { factors, .. } => Replacement::LowRank(*factors),
                Part::Plain(_) => continue,
            };
            own[index] = Some(layer.adopt_trained(key, replacement, trained.steps, std::mem::take(&mut rest))?);
        }
        Ok(Some(own))
    }

    fn share(
        &self,
        layers: &mut [Layer<'_>],
        wanted: Vec<usize>,
        choice: &Choice,
        data: &Dataset,
        observer: &mut dyn Observer,
    ) -> Result<Option<Shared>, Error> {
        let mut notes = Vec::new();
        let mut reached = wanted.clone();
        let yardstick = &self.samples.yardstick;
        let (tail, unreached) =
            tail::find(self.model, layers, &mut reached, data, yardstick, self.options, &mut notes)?;
        let (Some(tail), true) = (tail, unreached.is_empty()) else { return Ok(None) };
        observer.event(Event::Phase("running the frozen part"));
        let training = &self.options.training;
        let mut budget = Budget { bytes: training.memory, half: training.half_cache };
        let fitting = Fit {
            model: self.model,
            layers,
            wanted: &wanted,
            choice,
            tail: &tail,
            options: self.options,
            notes: &mut notes,
        };
        let fit = fitting.cache(data, true, &mut budget, observer)?;
        let selection = fitting.cache(&self.samples.selection, false, &mut budget, observer)?;
        Ok(Some(Shared { wanted, tail, fit, selection }))
    }
}

/// Multiply-adds of a step for each sample: forward, and twice as many backward.
fn work(layers: &[Layer<'_>], samples: usize) -> f64 {
    let candidates: Vec<_> = layers.iter().map(|layer| layer.candidate).collect();
    let counted = samples_for_statistics(&candidates, samples).max(1) as f64;
    let products = layers.iter().map(|layer| {
        let rows = layer.gram.as_ref().map_or(counted, |gram| gram.rows() as f64);
        layer.candidate.elements() as f64 * rows / counted
    });
    3.0 * products.sum::<f64>()
}
