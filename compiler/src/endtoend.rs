//! The end-to-end fit of a compilation: which part of the model is trained, on what, and what comes of it.

use adntn_fit::distill::{
    Budget, Control, Loss, Objective, Part, Places, Problem, Progress, Samples, Settings, State, Student, Trained,
    train,
};
use adntn_fit::runner::Loaded;
use adntn_graph::{Network, Request, frontier};
use adntn_onnx::{Model, Patch};
use adntn_passes::{PlainKind, Stored, plain_parameters, weight_value};

use crate::calibrate::tapped_model;
use crate::data;
use crate::error::Error;
use crate::layer::Layer;
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::report::TrainingReport;
use crate::select::Choice;
use crate::training::{LossKind, Training};

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
    let tail = loop {
        if wanted.is_empty() {
            break None;
        }
        match Tail::new(model, layers, &wanted, options) {
            Ok(tail) => break Some(tail),
            Err(Error::Data(adntn_fit::Error::Graph(obstacle)))
                if matches!(*obstacle, adntn_graph::Error::Unsupported { .. }) =>
            {
                let trains = |&i: &usize| Tail::new(model, layers, &[i], options).is_ok();
                let (kept, dropped): (Vec<usize>, Vec<usize>) = wanted.into_iter().partition(trains);
                let names: Vec<&str> = dropped.iter().map(|&i| layers[i].candidate.layer.as_str()).collect();
                notes.push(format!(
                    "Training stops at {obstacle}: {} fitted layer by layer ({}).",
                    if names.len() == 1 { "one layer was" } else { "some layers were" },
                    names.join(", ")
                ));
                for i in dropped {
                    if let Some(key) = choice[i] {
                        layers[i].fit(key, options, observer)?;
                    }
                }
                wanted = kept;
            }
            Err(e) => return Err(e),
        }
    };
    let Some(tail) = tail else { return Ok(Outcome { choice, patch: Patch::default(), report: None, notes }) };
    let (patch, report) =
        Fit { model, layers, wanted: &wanted, choice: &choice, tail: &tail, options }.run(samples, fit, observer)?;
    if report.cached_in_file {
        notes
            .push("The values before the replaced layers had no room in --memory and went to a temporary file.".into());
    }
    Ok(Outcome { choice, patch, report: Some(report), notes })
}

/// The part of a model that is trained.
struct Tail {
    network: Network,
    /// Plain parameters; the leaves of the network are the weights of the layers, then these.
    plain: Vec<String>,
    plain_elements: usize,
    /// Inputs of the network.
    frontier: Vec<String>,
    /// Outputs of the network: those of the model that depend on a leaf, then inner values to match.
    outputs: Vec<String>,
    own_outputs: usize,
}

impl Tail {
    fn new(model: &Model, layers: &[Layer<'_>], wanted: &[usize], options: &Options) -> Result<Self, Error> {
        let training = &options.training;
        let candidates: Vec<_> = wanted.iter().map(|&i| layers[i].candidate).collect();
        let mut trainable: Vec<String> = candidates.iter().map(|c| weight_value(model, c)).collect::<Result<_, _>>()?;
        let mut plain = plain_parameters(model, &candidates);
        plain.retain(|p| training.train_rest || p.kind != PlainKind::Weight);
        trainable.extend(plain.iter().map(|p| p.name.clone()));
        let own: Vec<String> = model.graph().output.iter().map(|o| o.name().to_owned()).collect();
        let matched = training.matches.iter().map(|m| m.0.clone());
        let all: Vec<String> = own.iter().cloned().chain(matched).collect();
        // Outputs without a path from a leaf stay as they are.
        let cut = frontier(model, &trainable, &all)?;
        let network = Network::new(model, &Request { inputs: &cut, outputs: &all, trainable: &trainable })?;
        let depends = network.depends_on_trainable();
        let outputs: Vec<String> = all.iter().zip(depends).filter(|(_, d)| **d).map(|(o, _)| o.clone()).collect();
        let own_outputs = depends.iter().take(own.len()).filter(|d| **d).count();
        if own_outputs == 0 {
            let layer = candidates.first().map_or("", |c| c.layer.as_str());
            return Err(Error::Usage(format!(
                "no output of the model depends on layer {layer} or another selected one: nothing can be trained; select other \
                 layers with --layers"
            )));
        }
        if let Some((name, _)) = training.matches.iter().find(|m| !outputs.contains(&m.0)) {
            return Err(Error::Usage(format!(
                "the value `{name}` to match does not depend on a replaced layer: name one behind them"
            )));
        }
        let cut = frontier(model, &trainable, &outputs)?;
        let network = Network::new(model, &Request { inputs: &cut, outputs: &outputs, trainable: &trainable })?;
        Ok(Tail {
            network,
            plain_elements: plain.iter().map(|p| p.shape.iter().product::<usize>()).sum(),
            plain: plain.into_iter().map(|p| p.name).collect(),
            frontier: cut,
            outputs,
            own_outputs,
        })
    }
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
}

impl Fit<'_, '_> {
    fn run(
        &mut self,
        samples: &data::Samples,
        fit: &adntn_fit::data::Dataset,
        observer: &mut dyn Observer,
    ) -> Result<(Patch, TrainingReport), Error> {
        let training = &self.options.training;
        let student = self.student()?;
        let candidates = self.wanted.iter().map(|&i| self.layers[i].candidate);
        let weights = candidates.map(|c| c.dims.iter().map(|&d| u64::try_from(d).unwrap_or(0)).product::<u64>()).sum();
        observer.event(Event::Generators { weights, parameters: student.generator_parameters() as u64 });
        observer.event(Event::Phase("running the frozen part"));
        let mut budget = Budget { bytes: training.memory, half: training.half_cache };
        let fit_samples = self.cache(fit, true, &mut budget, observer)?;
        let selection = self.cache(&samples.selection, false, &mut budget, observer)?;
        let objectives = self.objectives(&fit_samples);
        let settings = self.settings(fit_samples.samples());
        let own = &self.tail.outputs[..self.tail.own_outputs];
        let judge = samples.yardstick.judge_of(own, selection.reference(own.len()), selection.labels())?;
        observer.event(Event::Phase("training"));
        let problem = Problem {
            network: &self.tail.network,
            fit: &fit_samples,
            selection: &selection,
            objectives: &objectives,
            own_outputs: self.tail.own_outputs,
            judge: &judge,
            settings: &settings,
            fixed_batch: samples.fixed_batch(),
        };
        let fingerprint = self.fingerprint(samples, &settings, &objectives, &student);
        let resume = match &training.checkpoint {
            Some(path) if training.resume && path.exists() => Some(State::load(path, &fingerprint)?),
            _ => None,
        };
        let resumed_at = resume.as_ref().map(|state| state.step);
        let mut control =
            Watch { observer, checkpoint: training.checkpoint.as_deref().map(|path| (path, fingerprint.as_str())) };
        let trained = train(&problem, student, resume, &mut control)?;
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

    /// Generators at their starts, and plain parameters as the model has them, in the order of the leaves.
    fn student(&mut self) -> Result<Student, Error> {
        let mut parts = Vec::new();
        for &index in self.wanted {
            let layer = &mut self.layers[index];
            let Some(key) = self.choice[index] else { continue };
            let candidate = layer.candidate;
            parts.push(Part::Generator {
                generator: Box::new(layer.start(key)?),
                dims: candidate.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect(),
                transposed: candidate.stored == Stored::InputOutput,
            });
        }
        for name in &self.tail.plain {
            let initial = self.tail.network.initial(name)?;
            parts.push(Part::Plain((*initial).clone()));
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
        let values: Vec<String> = self.tail.frontier.iter().chain(&self.tail.outputs).cloned().collect();
        let tapped = tapped_model(self.model, Patch::default(), &values)?;
        let runner = Loaded::new(tapped.bytes)?.into_runner(data)?;
        let (inputs, outputs) = tapped.positions.split_at(self.tail.frontier.len());
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
    fn objectives(&self, fit: &Samples) -> Vec<Objective> {
        let training = &self.options.training;
        let outputs = self.tail.outputs.iter().zip(fit.teacher()).enumerate();
        let objective = |(at, (name, rows)): (usize, (&String, &adntn_fit::distill::Rows))| {
            let own = at < self.tail.own_outputs;
            let classes = own && rows.shape().len() == 1 && rows.shape()[0] >= 2;
            let loss = match training.loss {
                LossKind::Cosine if own => Loss::Cosine,
                LossKind::Auto if classes && self.is_softmax(name) => {
                    Loss::Probabilities { temperature: training.temperature }
                }
                LossKind::Auto if classes => Loss::Logits { temperature: training.temperature },
                _ => Loss::Values,
            };
            let weight = training.matches.iter().find(|m| !own && m.0 == *name).map_or(1.0, |m| m.1);
            let labelled = loss.is_classes() && fit.labels().is_some() && self.tail.own_outputs == 1;
            let variance = if loss == Loss::Values { rows.variance() } else { 1.0 };
            Objective { loss, weight, labels: if labelled { training.labels } else { 0.0 }, variance }
        };
        outputs.map(objective).collect()
    }

    fn is_softmax(&self, output: &str) -> bool {
        let node = self.model.index().producer(output).and_then(|at| self.model.graph().node.get(at));
        node.is_some_and(|node| match node.op_type() {
            "Softmax" => true,
            "Identity" => node.input.first().is_some_and(|input| self.is_softmax(input)),
            _ => false,
        })
    }

    fn settings(&self, samples: usize) -> Settings {
        let Training { epochs, batch, rate, .. } = self.options.training;
        let mut settings = Settings::for_samples(samples);
        settings.seed = self.options.seed;
        settings.epochs = epochs.unwrap_or(settings.epochs);
        settings.batch = batch.unwrap_or(settings.batch).min(samples);
        settings.rate = rate.unwrap_or(settings.rate);
        settings
    }

    /// Everything that decides what a fit does, as one hash.
    fn fingerprint(
        &self,
        samples: &data::Samples,
        settings: &Settings,
        objectives: &[Objective],
        student: &Student,
    ) -> String {
        let mut hash = blake3::Hasher::new();
        let start: Vec<u8> = student.params().iter().flat_map(|p| p.to_le_bytes()).collect();
        hash.update(&start);
        hash.update(samples.hash.as_bytes());
        let specs: Vec<_> = self.wanted.iter().map(|&i| (&self.layers[i].candidate.layer, self.choice[i])).collect();
        let training = &self.options.training;
        let images = &self.options.images;
        let rest = (specs, &self.tail.plain, &self.tail.outputs, settings, objectives, &training.augment, images);
        hash.update(format!("{rest:?} {}", env!("CARGO_PKG_VERSION")).as_bytes());
        hash.finalize().to_hex().to_string()
    }

    fn generator_parameters(&self, trained: &Trained) -> u64 {
        let count = |part: &Part| match part {
            Part::Generator { generator, .. } => generator.parameter_count() as u64,
            Part::Plain(_) => 0,
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

/// Passes news on, and keeps checkpoints.
struct Watch<'w> {
    observer: &'w mut dyn Observer,
    checkpoint: Option<(&'w std::path::Path, &'w str)>,
}

impl Control for Watch<'_> {
    fn progress(&mut self, progress: &Progress) {
        self.observer.event(Event::Train(*progress));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }

    fn checkpoint(&mut self, state: &State) -> Result<(), adntn_fit::Error> {
        match self.checkpoint {
            Some((path, fingerprint)) => state.save(path, fingerprint),
            None => Ok(()),
        }
    }
}
