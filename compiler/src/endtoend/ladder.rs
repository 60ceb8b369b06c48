//! Training of choices that are bolder than the layer-wise search got through: the teaching of one rung of the ladder.

use adntn_families::Replacement;
use adntn_fit::data::Dataset;
use adntn_fit::distill::{Budget, Ended, Part, Problem, Samples, Settings, train};
use adntn_fit::quality::student;
use adntn_onnx::{Model, Patch};
use adntn_passes::LayerKind;

use super::Fit;
use super::halves::in_halves;
use super::recipe;
use super::tail::{self, Tail};
use super::watch::Watch;
use crate::calibrate::samples_for_statistics;
use crate::data;
use crate::error::Error;
use crate::layer::Layer;
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::select::{Choice, dense_patch};

/// Fewer samples than this are learnt by heart instead of teaching anything.
const FEWEST_SAMPLES: usize = 1000;
/// How long a rung is that begins with new networks, one that goes on from the last, one that goes on with itself, and the last two.
const FRESH: Length = Length { passes: 12, share: 0.35, most: 6_000_000 };
const ONWARD: Length = Length { passes: 4, share: 0.12, most: 1_200_000 };
const LONGER: Length = Length { passes: 8, share: 0.35, most: 4_000_000 };
const LAST_BUT_ONE: Length = Length { passes: 8, share: 0.5, most: 6_000_000 };
const LAST: Length = Length { passes: 8, share: 1.0, most: 6_000_000 };
/// Share of the work that is kept for the last of them.
const FOR_LAST: f64 = 0.35;
/// Passes over the samples and their copies at most.
const PASSES: usize = 60;
/// Steps of what is near its goal are smaller than those of networks that begin far from their weights, and those of what is only
/// trained on still smaller.
const GENTLER: f32 = 2.0 / 3.0;
const GENTLEST: f32 = 0.4;
/// Work that all rungs together may take, in multiply-adds of large products: counted, not timed, so that results do not depend on
/// the machine. Five minutes or so on two cores for a model that takes [`LIGHT`] a sample; it grows with a power of that, so
/// that what is ten times as heavy is trained on fewer samples, but not on ten times fewer.
const WORK: f64 = 5e13;
const LIGHT: f64 = 5e7;
const GROWTH: f64 = 0.6;
/// Share of the work that is left, which a rung may take at most if others may follow.
const SHARE_OF_RUNG: f64 = 0.4;
/// Work of a convolution over that of a large product with as many multiply-adds, and work of a step that a layer costs each sample
/// whatever its size.
const CONVOLVED: f64 = 4.0;
const EACH: f64 = 5e5;
/// Samples that share the work of a table in a step.
const TABLE_BATCH: f64 = 16.0;

/// How many presentations of samples a rung takes.
struct Length {
    /// So many passes over the samples are wished for at least.
    passes: usize,
    /// Where this share of the work that is left allows for more, so many more are taken.
    share: f64,
    /// Never more than this.
    most: usize,
}

impl Length {
    fn least(&self, samples: usize) -> f64 {
        (self.passes * samples).min(self.most) as f64
    }

    /// Presentations where a share of 1 of the work that is left would allow for `all`.
    fn presentations(&self, all: f64, samples: usize) -> f64 {
        let wished = self.least(samples).max(self.share * all).min(self.most as f64);
        wished.min(self.share.max(SHARE_OF_RUNG) * all)
    }
}

/// What is trained, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rung {
    /// The first layer that has to be trained; those before it may be.
    pub(crate) first: usize,
    pub(crate) kind: RungKind,
}

/// Where a rung begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RungKind {
    /// With networks that have not been trained before.
    Fresh,
    /// Near the last one.
    Onward,
    /// With what such a rung came to, which was nearly enough.
    Longer,
    /// With an accepted one itself: nothing but the last one follows.
    LastButOne,
    /// With the last one itself: nothing follows.
    Last,
}

/// What came of a rung.
pub(crate) enum Taught {
    /// The choice after training, with keys of its own.
    Done(Choice),
    /// It was ended early, since it was far from what it takes.
    Hopeless,
    /// A layer of it cannot be trained, or the fit diverges.
    Impossible,
    /// The work that is left does not suffice, or the caller ended it before the first step.
    Spent,
}

/// What rungs that train the same layers behind the same others have in common.
struct Shared {
    wanted: Vec<usize>,
    frozen: Choice,
    tail: Tail,
    fit: Samples,
    selection: Samples,
}

/// Trains choices through the network.
pub(crate) struct Ladder<'l> {
    model: &'l Model,
    samples: &'l data::Samples,
    options: Options,
    shared: Option<Shared>,
    /// Work that is left, and how much of it is kept for the last rung.
    left: f64,
    for_last: f64,
}

impl<'l> Ladder<'l> {
    /// A ladder, where there are samples enough to teach something.
    ///
    /// # Errors
    /// When the model cannot be run.
    pub(crate) fn new(
        model: &'l Model,
        layers: &[Layer<'_>],
        samples: &'l data::Samples,
        options: &Options,
    ) -> Result<Option<Self>, Error> {
        let Some(data) = samples.fit.as_ref().filter(|fit| fit.samples() >= FEWEST_SAMPLES) else { return Ok(None) };
        let effort = options.search_effort.training();
        if options.asks_for_networks() || effort == 0.0 {
            return Ok(None);
        }
        let mut options = options.clone();
        let each = work(layers, 0, data.samples());
        let left = effort * WORK * (each / LIGHT).powf(GROWTH).max(1.0);
        let passes = FRESH.presentations(left / each, data.samples()) / data.samples() as f64;
        recipe::choose(model, data, &samples.yardstick, passes as usize, &mut options)?;
        Ok(Some(Ladder { model, samples, options, shared: None, left, for_last: FOR_LAST * left }))
    }

    /// By how much a loss on the selection samples has to be below the tolerance for the final test to show it, in standard errors
    /// there: what the test asks for on the held-out samples, and `caution` standard errors of the difference between both sets.
    pub(crate) fn margin(&self, caution: f64) -> f64 {
        let (selection, held_out) = (self.samples.selection.samples().max(1), self.samples.held_out.samples().max(1));
        let on_held_out = (selection as f64 / held_out as f64).sqrt();
        let asked = student(held_out, 1.0 - self.options.confidence).unwrap_or(0.0);
        caution * (1.0 + on_held_out * on_held_out).sqrt() + asked * on_held_out
    }

    /// Trains `choice` through the network.
    ///
    /// # Errors
    /// When the model cannot be run, or the trained values make no patch.
    pub(crate) fn train(
        &mut self,
        layers: &mut [Layer<'_>],
        choice: &Choice,
        rung: Rung,
        observer: &mut dyn Observer,
    ) -> Result<Taught, Error> {
        match self.try_train(layers, choice, rung, observer) {
            Err(Error::Usage(reason)) => {
                tracing::info!(reason, "not trained through the network");
                Ok(Taught::Impossible)
            }
            Err(Error::Data(e @ (adntn_fit::Error::NotFinite { .. } | adntn_fit::Error::Graph(_)))) => {
                tracing::info!(reason = %e, "not trained through the network");
                Ok(Taught::Impossible)
            }
            // What was found before is kept; the caller knows of the interruption.
            Err(Error::Interrupted | Error::Data(adntn_fit::Error::Interrupted)) => Ok(Taught::Spent),
            other => other,
        }
    }

    fn try_train(
        &mut self,
        layers: &mut [Layer<'_>],
        choice: &Choice,
        rung: Rung,
        observer: &mut dyn Observer,
    ) -> Result<Taught, Error> {
        let Some(data) = &self.samples.fit else { return Ok(Taught::Impossible) };
        let length = match rung.kind {
            RungKind::Fresh => FRESH,
            RungKind::Onward => ONWARD,
            RungKind::Longer => LONGER,
            RungKind::LastButOne => LAST_BUT_ONE,
            RungKind::Last => LAST,
        };
        let kept = if matches!(rung.kind, RungKind::LastButOne | RungKind::Last) { 0.0 } else { self.for_last };
        let affordable = |first: usize| (self.left - kept).max(0.0) / work(layers, first, data.samples());
        // As much as can be trained as long as it is meant to, else only what has to be.
        let replaced = |first: usize| (first..layers.len()).find(|&i| choice[i].is_some());
        let enough = |&first: &usize| SHARE_OF_RUNG * affordable(first) >= length.least(data.samples());
        let first = (0..rung.first).find(enough).unwrap_or(rung.first);
        let presentations = length.presentations(affordable(first), data.samples());
        if presentations < data.samples() as f64 {
            return Ok(Taught::Spent);
        }
        let Some(first) = replaced(first) else { return Ok(Taught::Impossible) };
        let wanted: Vec<usize> = (first..layers.len()).filter(|&i| choice[i].is_some()).collect();
        let frozen: Choice = choice.iter().enumerate().map(|(i, key)| key.filter(|_| i < first)).collect();
        if self.shared.as_ref().is_none_or(|shared| (&shared.wanted, &shared.frozen) != (&wanted, &frozen)) {
            self.shared = None;
            self.shared = self.share(layers, wanted, frozen, choice, data, observer)?;
        }
        let Some(Shared { wanted, tail, fit, selection, .. }) = &self.shared else { return Ok(Taught::Impossible) };
        let mut notes = Vec::new();
        let started = dense_patch(layers, choice)?;
        let work_each = work(layers, first, data.samples());
        let options = &self.options;
        let mut fitting = Fit { model: self.model, layers, wanted, choice, tail, options, notes: &mut notes };
        // Biases that took over a mean error begin with it.
        let student = fitting.student(&started)?.with_rounded_cores();
        let objectives = fitting.objectives(fit, &self.samples.yardstick)?;
        let mut settings = fitting.settings(fit.samples(), self.samples.fixed_batch());
        settings.epochs = ((presentations / fit.samples() as f64) as usize).clamp(1, PASSES);
        self.left -= work_each * (settings.epochs * fit.samples()) as f64;
        let pace = match rung.kind {
            RungKind::Fresh => 1.0,
            RungKind::Onward => GENTLER,
            RungKind::Longer | RungKind::LastButOne | RungKind::Last => GENTLEST,
        };
        let settings = Settings { rate: pace * settings.rate, ..settings };
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
        let wanted_quality = judge.compare(judge.reference()).quality() - self.options.tolerance;
        let least = Some((wanted_quality, self.options.tolerance));
        let mut watch = Watch { observer, checkpoint: None, least, hopeless: false };
        let trained = train(&problem, student, None, &mut watch)?;
        let hopeless = watch.hopeless;
        tracing::info!(
            start = ?trained.start, best = ?trained.best, steps = trained.steps, from = first, hopeless, "trained a choice"
        );
        if hopeless || (trained.ended == Ended::Interrupted && trained.epochs < 2) {
            return Ok(if hopeless { Taught::Hopeless } else { Taught::Spent });
        }
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
                Part::Generator { generator, .. } => Replacement::Network(generator),
                Part::Digits { weight, .. } => Replacement::Digits(*weight),
                Part::LowRank { factors, .. } => Replacement::LowRank(*factors),
                Part::Plain(array) => match in_halves(layer.candidate, &array) {
                    Some(weight) => Replacement::Halves(weight),
                    None => return Ok(Taught::Impossible),
                },
            };
            own[index] = Some(layer.adopt_trained(key, replacement, trained.steps, std::mem::take(&mut rest))?);
        }
        Ok(Taught::Done(own))
    }

    fn share(
        &self,
        layers: &mut [Layer<'_>],
        wanted: Vec<usize>,
        frozen: Choice,
        choice: &Choice,
        data: &Dataset,
        observer: &mut dyn Observer,
    ) -> Result<Option<Shared>, Error> {
        let patch = dense_patch(layers, &frozen)?;
        let patched = if frozen.iter().all(Option::is_none) {
            None
        } else if patch.insert_nodes.is_empty() && patch.remove_nodes.is_empty() && patch.rewire.is_empty() {
            Some(self.model.apply(&patch)?.model()?)
        } else {
            // Nodes would be counted differently.
            return Ok(None);
        };
        let model = patched.as_ref().unwrap_or(self.model);
        let mut notes = Vec::new();
        let mut reached = wanted.clone();
        let yardstick = &self.samples.yardstick;
        let (tail, unreached) = tail::find(model, layers, &mut reached, data, yardstick, &self.options, &mut notes)?;
        let (Some(tail), true) = (tail, unreached.is_empty()) else { return Ok(None) };
        observer.event(Event::Phase("running the frozen part"));
        let training = &self.options.training;
        let mut budget = Budget { bytes: training.memory, half: training.half_cache };
        let options = &self.options;
        let fitting = Fit { model, layers, wanted: &wanted, choice, tail: &tail, options, notes: &mut notes };
        let mut sets = Vec::new();
        for (data, augmented) in [(data, true), (&self.samples.selection, false)] {
            let mut set = fitting.cache(data, augmented, &mut budget, observer)?;
            if patched.is_some() {
                // The teacher is the model as it was.
                set.take_teacher(fitting.teach(self.model, data, augmented, &mut budget, observer)?);
            }
            sets.push(set);
        }
        let (Some(selection), Some(fit)) = (sets.pop(), sets.pop()) else { return Ok(None) };
        Ok(Some(Shared { wanted, frozen, tail, fit, selection }))
    }
}

/// Work of a step for each sample, trained from layer `first` on: forward, and twice as much backward.
pub(crate) fn work(layers: &[Layer<'_>], first: usize, samples: usize) -> f64 {
    let candidates: Vec<_> = layers.iter().map(|layer| layer.candidate).collect();
    let counted = samples_for_statistics(&candidates, samples).max(1) as f64;
    let products = layers.iter().skip(first).map(|layer| {
        let rows = layer.gram.as_ref().map_or(counted, |gram| gram.rows() as f64);
        let times = if layer.candidate.kind == LayerKind::Conv { CONVOLVED } else { 1.0 };
        // Rows are copied; what is in all of the table is made, and moved, once for a batch.
        let rows = if layer.candidate.is_table() { counted / TABLE_BATCH } else { rows };
        EACH * times * times + times * layer.candidate.elements() as f64 * rows / counted
    });
    3.0 * products.sum::<f64>().max(1.0)
}
