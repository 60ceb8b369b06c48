//! The end-to-end fit of a compilation: which part of the model is trained, on what, and what comes of it.

mod halves;
mod ladder;
mod recipe;
mod tail;
mod watch;

use std::collections::BTreeMap;

use adntn_families::Replacement;
use adntn_fit::distill::{
    Budget, Extent, Identity, Loss, Objective, Part, Places, Problem, Samples, Settings, State, Student, Trained,
    check, train,
};
use adntn_fit::runner::Loaded;
use adntn_onnx::{Model, Patch};
use adntn_passes::Stored;

use crate::calibrate::tapped_model;
use crate::data;
use crate::error::Error;
use crate::layer::Layer;
use crate::metric::Yardstick;
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::report::TrainingReport;
use crate::select::Choice;
use crate::training::{LossKind, Training};
use halves::in_stored_order;
pub(crate) use ladder::{Ladder, Rung, RungKind, Taught, work};
use tail::Tail;
use watch::Watch;

/// What a fit through the network leaves behind besides the generators, which the layers have adopted.
pub(crate) struct Outcome {
    /// A generator for every layer that got one.
    pub(crate) choice: Choice,
    /// The new values of plain parameters.
    pub(crate) patch: Patch,
    pub(crate) report: Option<TrainingReport>,
    pub(crate) notes: Vec<String>,
}

/// Chooses a generator for every layer, and fits them all together.
pub(crate) fn fit(
    model: &Model,
    layers: &mut [Layer<'_>],
    samples: &data::Samples,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Outcome, Error> {
    let Some(fit) = &samples.fit else {
        return Err(Error::Usage("an end-to-end fit needs samples to train on: give --calibration".into()));
    };
    let mut notes = Vec::new();
    observer.event(Event::Phase("starting generators"));
    let mut choice: Choice = Vec::new();
    for layer in layers.iter_mut() {
        choice.push(layer.chosen_by_ratio()?);
    }
    let mut wanted: Vec<usize> = (0..layers.len()).filter(|&i| choice[i].is_some()).collect();
    if wanted.is_empty() {
        return Ok(Outcome { choice, patch: Patch::default(), report: None, notes });
    }
    let (tail, unreached) = tail::find(model, layers, &mut wanted, fit, &samples.yardstick, options, &mut notes)?;
    for unreached in unreached {
        choice[unreached.layer] = None;
        layers[unreached.layer].withdraw(&format!("stays dense, {}", unreached.reason));
    }
    let Some(tail) = tail else { return Ok(Outcome { choice, patch: Patch::default(), report: None, notes }) };
    let mut own = Vec::new();
    let fitting = Fit { model, layers, wanted: &wanted, choice: &choice, tail: &tail, options, notes: &mut own };
    let (patch, report) = fitting.run(samples, fit, observer)?;
    notes.extend(own);
    if report.cached_in_file {
        notes
            .push("The values before the replaced layers had no room in --memory and went to a temporary file.".into());
    }
    Ok(Outcome { choice, patch, report: Some(report), notes })
}

/// One fit through the network.
struct Fit<'f, 'm> {
    model: &'f Model,
    layers: &'f mut [Layer<'m>],
    /// The layers that are trained, and their generators.
    wanted: &'f [usize],
    choice: &'f Choice,
    tail: &'f Tail,
    options: &'f Options,
    notes: &'f mut Vec<String>,
}

impl Fit<'_, '_> {
    fn run(
        mut self,
        samples: &data::Samples,
        fit: &adntn_fit::data::Dataset,
        observer: &mut dyn Observer,
    ) -> Result<(Patch, TrainingReport), Error> {
        let training = &self.options.training;
        let student = self.student(&Patch::default())?;
        let candidates = self.wanted.iter().map(|&i| self.layers[i].candidate);
        let weights = candidates.map(|c| c.dims.iter().map(|&d| u64::try_from(d).unwrap_or(0)).product::<u64>()).sum();
        observer.event(Event::Generators { weights, parameters: student.generator_parameters() as u64 });
        observer.event(Event::Phase("running the frozen part"));
        let mut budget = Budget { bytes: training.memory, half: training.half_cache };
        let fit_samples = self.cache(fit, true, &mut budget, observer)?;
        let selection = self.cache(&samples.selection, false, &mut budget, observer)?;
        let objectives = self.objectives(&fit_samples, &samples.yardstick)?;
        let settings = self.settings(fit_samples.samples(), samples.fixed_batch());
        let own = &self.tail.own_outputs;
        let judge = samples.yardstick.judge_of(own, selection.reference(own.len()), selection.labels())?;
        observer.event(Event::Phase("training"));
        let problem = Problem {
            network: &self.tail.network,
            fit: &fit_samples,
            selection: &selection,
            objectives: &objectives,
            own_outputs: own.len(),
            judge: &judge,
            settings: &settings,
            fixed_batch: samples.fixed_batch(),
        };
        let identity = match &training.checkpoint {
            Some(_) => self.identity(samples, &settings, &objectives, &student)?,
            None => Identity::default(),
        };
        let per_epoch = settings.steps_per_epoch(fit_samples.samples());
        let steps = per_epoch.saturating_mul(settings.epochs);
        let extent = Extent { parameters: student.params().len(), steps, per_epoch };
        let resume = match &training.checkpoint {
            Some(path) if training.resume && path.exists() => Some(State::load(path, &identity, extent)?),
            Some(path) if training.resume => {
                self.notes.push(format!("{} does not exist: the fit started anew.", path.display()));
                None
            }
            _ => None,
        };
        let resumed_at = resume.as_ref().map(|state| state.step);
        let checkpoint = training.checkpoint.as_deref().map(|path| (path, &identity));
        let mut trained =
            train(&problem, student, resume, &mut Watch { observer, checkpoint, least: None, hopeless: false })?;
        // What is reported is what is written: cores as they are stored.
        for (&index, part) in self.wanted.iter().zip(&mut trained.parts) {
            if let Part::Generator { generator, .. } = part {
                self.layers[index].round(generator);
            }
        }
        trained.best = check(&problem, &mut Student::new(trained.parts.clone()))?;
        let report = TrainingReport {
            layers: self.wanted.iter().map(|&i| self.layers[i].candidate.layer.clone()).collect(),
            generator_parameters: self.generator_parameters(&trained),
            plain_parameters: self.tail.plain_elements as u64,
            fit_samples: fit_samples.samples(),
            selection_samples: selection.samples(),
            batch: settings.batch,
            epochs: trained.epochs,
            steps: trained.steps,
            resumed_at,
            rate: settings.rate,
            temperature: training.temperature,
            label_share: objectives.iter().map(|o| o.labels).fold(0.0, f32::max),
            start: trained.start,
            best: trained.best,
            ended: trained.ended,
            cached_in_file: fit_samples.is_mapped() || selection.is_mapped(),
        };
        Ok((self.adopt(trained)?, report))
    }

    /// Replacements at their starts, and plain parameters as `started` or else the model has them, in the order of the leaves.
    fn student(&mut self, started: &Patch) -> Result<Student, Error> {
        let mut parts = Vec::new();
        for &index in self.wanted {
            let layer = &mut self.layers[index];
            let Some(key) = self.choice[index] else { continue };
            let candidate = layer.candidate;
            layer.start(key)?;
            let Some(start) = layer.replacement(key).cloned() else { continue };
            let dims = candidate.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
            let transposed = candidate.stored == Stored::InputOutput;
            parts.push(match start {
                Replacement::Network(generator) => Part::Generator { generator, dims, transposed },
                Replacement::Digits(weight) => Part::Digits { weight: Box::new(weight), dims },
                Replacement::LowRank(factors) => Part::LowRank { factors: Box::new(factors), dims, transposed },
                Replacement::Halves(weight) => Part::Plain(in_stored_order(candidate, &weight.matrix(), dims)),
            });
        }
        for name in &self.tail.plain {
            let mut initial = (*self.tail.network.initial(name)?).clone();
            if let Some(raw) = started.replace_initializers.get(name).and_then(|tensor| tensor.raw_data.as_ref()) {
                let values = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                initial.values = values.collect();
            }
            parts.push(Part::Plain(initial));
        }
        Ok(Student::new(parts))
    }

    fn cache(
        &self,
        data: &adntn_fit::data::Dataset,
        augmented: bool,
        budget: &mut Budget,
        observer: &mut dyn Observer,
    ) -> Result<Samples, Error> {
        self.run_frozen(self.model, &self.tail.frontier, data, augmented, budget, observer)
    }

    /// The outputs of `teacher` for the samples of [`Fit::cache`], and nothing else.
    fn teach(
        &self,
        teacher: &Model,
        data: &adntn_fit::data::Dataset,
        augmented: bool,
        budget: &mut Budget,
        observer: &mut dyn Observer,
    ) -> Result<Samples, Error> {
        self.run_frozen(teacher, &[], data, augmented, budget, observer)
    }

    fn run_frozen(
        &self,
        model: &Model,
        frontier: &[String],
        data: &adntn_fit::data::Dataset,
        augmented: bool,
        budget: &mut Budget,
        observer: &mut dyn Observer,
    ) -> Result<Samples, Error> {
        let values: Vec<String> = frontier.iter().chain(&self.tail.outputs).cloned().collect();
        let tapped = tapped_model(model, Patch::default(), &values)?;
        let runner = Loaded::new(tapped.bytes)?.into_runner(data)?;
        let (inputs, outputs) = tapped.positions.split_at(frontier.len());
        let places = Places { inputs, outputs };
        let mut augment = self.options.training.augment.clone();
        augment.seed = self.options.seed;
        if !augmented {
            augment.copies = 0;
        }
        Ok(Samples::cache(&runner, data, places, &augment, budget, |done, all| {
            observer.event(Event::Cache { done, all });
            !observer.stop()
        })?)
    }

    /// One for each output of the tail.
    fn objectives(&mut self, fit: &Samples, yardstick: &Yardstick) -> Result<Vec<Objective>, Error> {
        let mut constant = Vec::new();
        let training = &self.options.training;
        let outputs = self.tail.outputs.iter().zip(fit.teacher()).enumerate();
        let objective = |(at, (name, rows)): (usize, (&String, &adntn_fit::distill::Rows))| {
            let own = at < self.tail.own_outputs.len();
            let classes = own && rows.shape().len() == 1 && rows.shape()[0] >= 2;
            let loss = match training.loss {
                LossKind::Cosine if own => Loss::Cosine,
                LossKind::Auto if classes && self.is_softmax(name) => {
                    Loss::Probabilities { temperature: training.temperature }
                }
                LossKind::Auto if classes => Loss::Logits { temperature: training.temperature },
                _ => Loss::Values,
            };
            let mut weight = training.matches.iter().find(|m| !own && m.0 == *name).map_or(1.0, |m| m.1);
            let labelled = loss.is_classes()
                && fit.labels().is_some()
                && !yardstick.labels_say_nothing
                && self.tail.own_outputs.len() == 1;
            let mut variance = if loss == Loss::Values { rows.variance() } else { 1.0 };
            if variance <= f32::MIN_POSITIVE {
                constant.push(self.tail.own_outputs.get(at).unwrap_or(name).clone());
                (weight, variance) = (0.0, 1.0);
            }
            Objective { loss, weight, labels: if labelled { training.labels } else { 0.0 }, variance }
        };
        let objectives: Vec<Objective> = outputs.map(objective).collect();
        for name in constant {
            self.notes.push(format!("Output {name} is left out of the loss: it is the same for all samples."));
        }
        if objectives.iter().all(|o| o.weight == 0.0) {
            return Err(Error::Usage(
                "every output that could be trained through is the same for all samples: give other samples by --calibration"
                    .into(),
            ));
        }
        Ok(objectives)
    }

    fn is_softmax(&self, output: &str) -> bool {
        let graph = self.model.graph();
        let mut value = output;
        // The bound only matters for cyclic graphs.
        for _ in 0..=graph.node.len() {
            let Some(node) = self.model.index().producer(value).and_then(|at| graph.node.get(at)) else { return false };
            match (node.op_type(), node.input.first()) {
                ("Softmax", _) => return true,
                ("Identity", Some(input)) => value = input,
                _ => return false,
            }
        }
        false
    }

    fn settings(&mut self, samples: usize, fixed: Option<usize>) -> Settings {
        let Training { epochs, batch, rate, .. } = self.options.training;
        let mut settings = Settings::for_samples(samples);
        settings.seed = self.options.seed;
        settings.epochs = epochs.unwrap_or(settings.epochs);
        settings.batch = batch.unwrap_or(settings.batch).min(samples);
        settings.rate = rate.unwrap_or(settings.rate);
        if let Some(fixed) = fixed.filter(|&fixed| fixed > 1) {
            let rounded = settings.batch.next_multiple_of(fixed);
            if batch.is_some() && rounded != settings.batch {
                self.notes.push(format!(
                    "The model takes {fixed} samples at once, so steps are of {rounded} samples instead of {}.",
                    settings.batch
                ));
            }
            settings.batch = rounded;
        }
        settings
    }

    /// Everything that decides what a fit does, by name.
    fn identity(
        &self,
        samples: &data::Samples,
        settings: &Settings,
        objectives: &[Objective],
        student: &Student,
    ) -> Result<Identity, Error> {
        let training = &self.options.training;
        let start: Vec<u8> = student.params().iter().flat_map(|p| p.to_le_bytes()).collect();
        let specs: Vec<_> = self.wanted.iter().map(|&i| (&self.layers[i].candidate.layer, self.choice[i])).collect();
        let flags = [
            ("epochs", settings.epochs.to_string()),
            ("batch", settings.batch.to_string()),
            ("rate", settings.rate.to_string()),
            ("seed", settings.seed.to_string()),
            ("temperature", training.temperature.to_string()),
            ("label-share", training.labels.to_string()),
            ("loss", format!("{:?}", training.loss)),
            ("match", format!("{:?}", training.matches)),
            ("train-rest", training.train_rest.to_string()),
            ("augment", format!("{:?}", training.augment)),
            ("half-cache", training.half_cache.to_string()),
            ("images", format!("{:?}", self.options.images)),
            ("layers and generators", format!("{specs:?} {}", blake3::hash(&start).to_hex())),
            ("objective", format!("{:?} {:?} {objectives:?}", self.tail.plain, self.tail.outputs)),
        ];
        let flags: BTreeMap<String, String> = flags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(Identity {
            version: env!("CARGO_PKG_VERSION").into(),
            model: blake3::hash(&self.model.apply(&Patch::default())?.to_bytes()).to_hex().to_string(),
            samples: samples.hash.to_hex().to_string(),
            settings: flags,
        })
    }

    fn generator_parameters(&self, trained: &Trained) -> u64 {
        let count = |part: &Part| match part {
            Part::Generator { generator, .. } => generator.parameter_count() as u64,
            _ => 0,
        };
        trained.parts.iter().map(count).sum()
    }

    /// Hands the trained generators to their layers; the rest becomes a patch.
    fn adopt(&mut self, trained: Trained) -> Result<Patch, Error> {
        let mut patch = Patch::default();
        let mut parts = trained.parts.into_iter();
        for &index in self.wanted {
            if let (Some(key), Some(Part::Generator { generator, .. })) = (self.choice[index], parts.next()) {
                self.layers[index].adopt(key, *generator, trained.steps)?;
            }
        }
        for (name, part) in self.tail.plain.iter().zip(parts) {
            if let Part::Plain(array) = part {
                patch.merge(adntn_passes::replace_values(self.model, name, &array.values)?);
            }
        }
        Ok(patch)
    }
}
