//! What stands for each layer: the search, and the final test of what it accepted.

use std::collections::BTreeMap;
use std::time::Instant;

use adntn_fit::data::Dataset;
use adntn_fit::distill::Ended;
use adntn_onnx::{Model, Patch};
use adntn_passes::Candidate;

use super::Run;
use crate::cache::Key as Name;
use crate::data::Samples;
use crate::endtoend::{self, Ladder};
use crate::error::Error;
use crate::goal::{self, Timed};
use crate::layer::Layer;
use crate::report::{StopReason, TrainingReport};
use crate::select::{Choice, Search, Selection, by_weight_error};
use crate::trial::Bench;
use crate::{certify, recall};

/// What a compilation decided for each layer.
pub(super) struct Decision<'m> {
    pub(super) selection: Selection,
    pub(super) choice: Choice,
    /// The original on the held-out samples, where it was run on them.
    pub(super) held_out: Option<Bench<'m>>,
}

/// Work of a run over the held-out samples from which on the final test is given few choices: some seconds on two cores.
const LONG: f64 = 3e12;

/// Whether a fit was ended before all samples had been seen once: its generators are little more than their starts.
fn ended_in_first_pass(training: &TrainingReport) -> bool {
    training.ended == Ended::Interrupted && training.steps < training.fit_samples / training.batch.max(1)
}

impl Run<'_> {
    pub(super) fn decide<'m>(
        &mut self,
        model: &'m Model,
        layers: &mut [Layer<'_>],
        samples: Option<&Samples>,
        kept: &Patch,
    ) -> Result<Decision<'m>, Error> {
        self.enter("searching");
        let name = self.model_name.and_then(|model| recall::name(model, layers, samples, self.options));
        let kept_before = name.and_then(|name| recall::found(&self.cache, name, layers));
        let Some(samples) = samples else {
            let selection = match kept_before {
                Some(selection) => selection,
                None => self.unmeasured(layers, name)?,
            };
            let choice = selection.accepted.last().cloned().unwrap_or_else(|| vec![None; layers.len()]);
            return Ok(Decision { selection, choice, held_out: None });
        };
        let mut selection = match kept_before {
            Some(selection) => selection,
            None => self.search(model, layers, samples, kept, name)?,
        };

        self.enter("checking on held-out samples");
        let held_out = self.of_original(Bench::new(model, samples.held_out.clone(), &samples.yardstick))?.beside(kept);
        // What was set aside is like the rest; of a file of its own that is not known.
        let alike = samples.fit.as_ref().filter(|_| self.options.held_out.is_none());
        let held_out = held_out.with_margins_of(alike, samples.fixed_batch().unwrap_or(1));
        let held_out = self.of_original(held_out)?;
        let (tolerance, delta) = (self.options.tolerance, 1.0 - self.options.confidence);
        let tested = certify::certify(layers, &held_out, &selection.accepted, tolerance, delta)?;
        if tested.rejected > 0
            && tested.short_of_samples
            && matches!(selection.stopped, StopReason::Tolerance | StopReason::Smallest)
        {
            selection.stopped = StopReason::Samples;
        }
        if tested.rejected > 0 {
            let one = tested.rejected == 1;
            self.notes.push(format!(
                "{} smaller choice{} that passed on the selection samples {} given up: the held-out ones do not speak for {}.",
                tested.rejected,
                if one { "" } else { "s" },
                if one { "was" } else { "were" },
                if one { "it" } else { "them" }
            ));
        }
        Ok(Decision { selection, choice: tested.choice, held_out: Some(held_out) })
    }

    /// Searches by weight errors alone, and fits what it finds.
    fn unmeasured(&mut self, layers: &mut [Layer<'_>], name: Option<Name>) -> Result<Selection, Error> {
        let selection = by_weight_error(layers, self.options.tolerance)?;
        self.enter("fitting");
        for choice in &selection.accepted {
            for (layer, key) in layers.iter_mut().zip(choice) {
                if let Some(key) = key {
                    layer.fit(*key, self.options, self.observer)?;
                }
            }
        }
        if let Some(name) = name {
            recall::keep(&self.cache, name, layers, &selection);
        }
        Ok(selection)
    }

    /// Searches, and keeps what it comes to under `name`.
    fn search(
        &mut self,
        model: &Model,
        layers: &mut [Layer<'_>],
        samples: &Samples,
        kept: &Patch,
        name: Option<Name>,
    ) -> Result<Selection, Error> {
        let since = Instant::now();
        let bench = self.of_original(Bench::new(model, samples.selection.clone(), &samples.yardstick))?.beside(kept);
        let each = since.elapsed().as_secs_f64() / samples.selection.samples().max(1) as f64;
        let afterwards = goal::RUNS_AFTERWARDS * each * samples.held_out.samples() as f64;
        let bench = bench.with_margins_of(samples.fit.as_ref(), samples.fixed_batch().unwrap_or(1));
        let bench = self.of_original(bench)?;
        let ladder = Ladder::new(model, layers, samples, self.options)?;
        let (options, losses) = (self.options, BTreeMap::new());
        let candidates: Vec<&Candidate> = layers.iter().map(|layer| layer.candidate).collect();
        let enough =
            options.max_size.map(|most| goal::bytes_for_layers(model.size_bytes(), &candidates, most).unwrap_or(0));
        let mut timed = Timed::new(self.observer, self.begun, options.time, afterwards);
        let fitted = samples.fit.as_ref().map_or(1, Dataset::samples);
        let are_tests_long = endtoend::work(layers, 0, fitted) * samples.held_out.samples() as f64 > LONG;
        let mut search = Search {
            layers: &mut *layers,
            bench: &bench,
            options,
            observer: &mut timed,
            losses,
            enough,
            are_tests_long,
        };
        let mut selection = search.run(ladder)?;
        if timed.is_up && selection.stopped == StopReason::Interrupted {
            selection.stopped = StopReason::Time;
        }
        if let Some(name) = name.filter(|_| !timed.was_ended) {
            recall::keep(&self.cache, name, layers, &selection);
        }
        Ok(selection)
    }

    /// Fits the generators that the options ask for through the network.
    pub(super) fn train(
        &mut self,
        model: &Model,
        layers: &mut [Layer<'_>],
        samples: Option<&Samples>,
    ) -> Result<(Decision<'static>, Option<TrainingReport>, Patch), Error> {
        self.enter("training");
        let samples = samples.ok_or_else(|| {
            let input = self.options.input.display();
            Error::Usage(match (&self.obstacle, &self.options.calibration) {
                (Some(obstacle), _) => format!(
                    "{input}: an end-to-end fit needs a model that can be run, and this one could not be run ({obstacle}): fit \
                     it layer by layer"
                ),
                (None, Some(_)) => format!(
                    "{input}: an end-to-end fit needs an output that can be compared with the original's, and there is none: \
                     fit it layer by layer, or choose a measure with --metric"
                ),
                (None, None) => "an end-to-end fit needs samples to train on: give --calibration".into(),
            })
        })?;
        let outcome = endtoend::fit(model, layers, samples, self.options, self.observer)?;
        if outcome.report.as_ref().is_some_and(ended_in_first_pass) {
            return Err(Error::Interrupted);
        }
        self.notes.extend(outcome.notes);
        let stopped = if layers.iter().all(|l| !l.has_gain()) { StopReason::NoGain } else { StopReason::Given };
        let accepted = vec![outcome.choice.clone()];
        let decision = Decision { selection: Selection { accepted, stopped }, choice: outcome.choice, held_out: None };
        Ok((decision, outcome.report, outcome.patch))
    }
}
