//! The way of a model through the compiler: load, find, calibrate, search, emit, verify, report.

mod choosing;
mod planning;
mod ready;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use adntn_fit::runner::Loaded;
use adntn_onnx::{ExternalData, Model, Patch, Staged};
use adntn_passes::{Candidate, FindOptions, Rounding, Survey, find_candidates_with, round_plain};

use crate::cache::{Cache, Key as Name};
use crate::error::Error;
use crate::layer::Layer;
use crate::observer::{Event, Observer};
use crate::options::{CoreType, Options};
use crate::report::{FileReport, LayerReport, PhaseTime, Report, SCHEMA_VERSION, Settings, SkippedReport, StopReason};
use crate::settle::{Settled, settle};
use crate::training::FitKind;
use crate::trial::Bench;
use crate::{check, describe, layout, menu, paths, quality, verify};

/// Compiles a model as `options` say: the report, and the model staged unless this is a dry run.
pub(crate) fn run(options: &Options, observer: &mut dyn Observer) -> Result<(Report, Option<Staged>), Error> {
    with_or_without_samples(options, observer, |run| run.compile())
}

/// Does `what`, and again without samples where some of them take a way through the model that tract does not know.
fn with_or_without_samples<T>(
    options: &Options,
    observer: &mut dyn Observer,
    what: fn(Run<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let unrunnable = Rc::default();
    let mut result = what(Run::new(options, observer, Rc::clone(&unrunnable)));
    if result.is_err() && unrunnable.borrow().is_some() {
        result = what(Run::new(options, observer, unrunnable));
    }
    result.map_err(|error| error.in_model(&options.input))
}

pub(crate) use planning::{plan, work};

/// Bytes of a model and its external data.
fn total(staged: &Staged) -> u64 {
    let written = staged.written();
    written.model_bytes + written.data_bytes
}

struct Run<'o> {
    options: &'o Options,
    observer: &'o mut dyn Observer,
    notes: Vec<String>,
    /// Why the model cannot be run.
    obstacle: Option<String>,
    /// Why the original failed on some samples, for a second try without.
    unrunnable: Rc<RefCell<Option<String>>>,
    seconds: Vec<PhaseTime>,
    cache: Cache,
    /// Names the model, once it is open, where there is a cache.
    model_name: Option<Name>,
    begun: Instant,
    since: Instant,
    phase: Option<&'static str>,
}

impl<'o> Run<'o> {
    fn new(options: &'o Options, observer: &'o mut dyn Observer, unrunnable: Rc<RefCell<Option<String>>>) -> Self {
        Run {
            options,
            observer,
            notes: Vec::new(),
            obstacle: None,
            unrunnable,
            seconds: Vec::new(),
            cache: Cache::open(options.cache.as_ref().filter(|_| !options.dry_run)),
            model_name: None,
            begun: Instant::now(),
            since: Instant::now(),
            phase: None,
        }
    }
}

impl Run<'_> {
    /// Opens the model and lists its weights, where nothing about settings, paths or weights forbids it.
    fn survey(&mut self) -> Result<(Model, Survey), Error> {
        check::options(self.options)?;
        paths::check(self.options, None)?;
        let (model, survey) = self.opened()?;
        paths::check(self.options, Some(&model))?;
        check::patterns(self.options, &survey)?;
        Ok((model, survey))
    }

    fn opened(&mut self) -> Result<(Model, Survey), Error> {
        self.enter("reading");
        let model = Model::open(&self.options.input)?;
        let survey = find_candidates_with(&model, &FindOptions { min_elements: self.options.min_elements });
        check::weights(&self.options.input, &survey)?;
        Ok((model, survey))
    }

    fn compile(mut self) -> Result<(Report, Option<Staged>), Error> {
        let (model, survey) = self.survey()?;
        self.notes.extend(describe::compiled_before(&survey));
        let (chosen, passed_over) = self.filter(&survey);
        layout::check(&chosen, self.options)?;
        self.note_kernel_legs(&chosen);
        if self.options.dry_run {
            return Ok((self.dry_report(&model, &survey, &chosen, passed_over)?, None));
        }

        self.model_name = self.cache.is_on().then(|| model.digest().into());
        // Nothing can be replaced, and nobody gave samples that might be wrong.
        let is_left = chosen.is_empty() && self.options.calibration.is_none();
        let samples = if is_left {
            None
        } else {
            {
                let samples = self.samples(&model);
                self.of_original(samples)?
            }
        };
        self.go_on()?;
        let mut layers = self.layers(&model, &chosen, samples.as_ref())?;
        self.go_on()?;
        let kept = if is_left { Patch::default() } else { self.kept(&model, &survey, samples.as_ref())? };
        let trained = self.options.fit == FitKind::EndToEnd;
        let (mut decision, training, mut rest) = if trained {
            self.train(&model, &mut layers, samples.as_ref())?
        } else {
            (self.decide(&model, &mut layers, samples.as_ref(), &kept)?, None, Patch::default())
        };
        if self.options.core_type == CoreType::Float16 {
            round_plain(&model, &mut rest, Rounding::Half);
        }

        layers.iter_mut().for_each(Layer::end_search);
        self.enter("writing");
        let Settled { patch, rest, notes } = settle(&model, &mut layers, &mut decision.choice, kept, rest)?;
        self.notes.extend(notes);
        let staged = self.stage(&model, &patch)?;
        if let Some(most) = self.options.max_size.filter(|&most| total(&staged) > most) {
            let tolerance = self.options.tolerance;
            return Err(Error::TooLarge { most, smallest: total(&staged), tolerance });
        }

        self.enter("verifying");
        let emitted = staged.model()?;
        let mut quality = None;
        let mut effects = layers.iter().map(|_| None).collect();
        let mut data = None;
        if let Some(samples) = &samples {
            let bench = match decision.held_out.take() {
                Some(bench) => bench,
                None => self.of_original(Bench::new(&model, samples.held_out.clone(), &samples.yardstick))?,
            };
            let got = verify::outputs(&emitted, &model, &layers, &decision.choice, rest, &bench, &samples.probe()?)?;
            let verdict = bench.judge().compare(&got);
            let evidence = quality::Evidence {
                samples: bench.data().samples(),
                representative: !bench.is_synthetic() && samples.overlap == 0 && !samples.repeated && !samples.mute,
                block: samples.fixed_batch().unwrap_or(1),
                idle: &bench.judge().idle(self.options.tolerance),
            };
            quality = Some(quality::report(&verdict, &samples.yardstick, self.options, evidence));
            self.notes.extend(quality.iter().flat_map(quality::notes));
            let together = layers.iter().zip(&decision.choice).any(|(l, key)| key.is_some_and(|key| l.is_trained(key)));
            if !trained && !together {
                // Layers that were trained together mean little one by one.
                let few = samples.few_held_out()?;
                let bench = self.of_original(Bench::new(&model, few, &samples.yardstick))?;
                effects = verify::layer_effects(&model, &layers, &decision.choice, &bench)?;
            }
            data = Some(samples.report.clone());
        }
        let mut reports = Vec::new();
        for ((layer, key), effect) in layers.iter().zip(&decision.choice).zip(effects) {
            let own = self.own(layer.candidate);
            let row = describe::layer(layer, *key, effect, &own, &decision.selection)?;
            if row.1.network.is_some() || !layer.has_gain() {
                self.notes.extend(menu::bond_note(layer.candidate, row.1.network.as_ref(), &own));
            }
            reports.push(row);
        }
        if self.options.diagram.is_some() && reports.iter().all(|(_, row)| row.network.is_none()) {
            self.notes.push("The diagram is empty: it shows networks, and none was chosen.".into());
        }
        reports.extend(passed_over);
        reports.sort_by_key(|r: &(usize, LayerReport)| r.0);
        let rows: Vec<LayerReport> = reports.into_iter().map(|(_, r)| r).collect();
        let output = Some(FileReport {
            path: self.options.output.display().to_string(),
            bytes: total(&staged),
            parameters: describe::parameters_after(&model, &patch, &rows),
        });
        let mut report = self.report(&model, &survey, rows);
        report.output = output;
        report.data = data;
        report.quality = quality;
        report.training = training;
        report.stopped = Some(describe::stopped(&layers, &decision.choice, &decision.selection));
        Ok((report, Some(staged)))
    }

    /// Ends here, with nothing to show, where the caller wants that.
    fn go_on(&mut self) -> Result<(), Error> {
        if self.observer.stop() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn enter(&mut self, phase: &'static str) {
        let now = Instant::now();
        if let Some(done) = self.phase.replace(phase) {
            self.seconds.push(PhaseTime { phase: done.into(), seconds: (now - self.since).as_secs_f64() });
        }
        self.since = now;
        tracing::debug!(phase, "phase");
        self.observer.event(Event::Phase(phase));
    }

    /// The candidates the options let through, and a report for each of the others.
    fn filter<'s>(&self, survey: &'s Survey) -> (Vec<&'s Candidate>, Vec<(usize, LayerReport)>) {
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        for candidate in &survey.candidates {
            let matches =
                |pattern: &regex::Regex| pattern.is_match(&candidate.layer) || pattern.is_match(&candidate.weight);
            if self.options.layers.as_ref().is_some_and(|p| !matches(p)) {
                others.push((candidate.id, describe::kept(candidate, "not selected by --layers")));
            } else if self.options.exclude.as_ref().is_some_and(matches) {
                others.push((candidate.id, describe::kept(candidate, "excluded by --exclude")));
            } else {
                chosen.push(candidate);
            }
        }
        (chosen, others)
    }

    fn note_kernel_legs(&mut self, chosen: &[&Candidate]) {
        if self.options.kernel_legs.is_some() && !chosen.iter().any(|c| layout::has_kernel(c)) {
            self.notes.push(
                "--kernel-legs changes nothing: no selected layer is a convolution with a kernel axis longer than 1."
                    .into(),
            );
        }
    }

    /// The settings of a layer.
    fn own(&self, candidate: &Candidate) -> Options {
        self.options.for_layer(&candidate.layer, &candidate.weight)
    }

    fn stage(&mut self, model: &Model, patch: &Patch) -> Result<Staged, Error> {
        let edited = model.apply(patch)?;
        let external = if self.options.external_data { ExternalData::Always } else { ExternalData::Auto };
        let staged = edited.stage(&self.options.output, external)?;
        if external == ExternalData::Always && total(&staged) > model.size_bytes() {
            drop(staged);
            self.notes.push(
                "--external-data changes nothing: with its tensors beside it the model would be larger than the input."
                    .into(),
            );
            return Ok(edited.stage(&self.options.output, ExternalData::Auto)?);
        }
        Ok(staged)
    }

    fn dry_report(
        mut self,
        model: &Model,
        survey: &Survey,
        chosen: &[&Candidate],
        passed_over: Vec<(usize, LayerReport)>,
    ) -> Result<Report, Error> {
        self.enter("loading into tract");
        let outline = adntn_fit::outline(model)?;
        let partly = if outline.is_some() { " without its weights" } else { "" };
        let checked = self.admit(model, false).and_then(|()| {
            let bytes = outline.map_or_else(|| Ok(model.apply(&Patch::default())?.to_bytes()), Ok::<_, Error>)?;
            Ok(Loaded::new(bytes)?.check()?)
        });
        if matches!(checked, Err(Error::Interrupted)) {
            return Err(Error::Interrupted);
        }
        if let Err(e) = checked {
            self.notes.push(format!("The model cannot be run{partly} ({e}): a compilation could not measure quality."));
        }
        self.notes.extend(describe::unused(&adntn_passes::drop_unused(model)));
        let mut layers = passed_over;
        for candidate in chosen {
            let own = self.own(candidate);
            let row = describe::possible(model, candidate, &own);
            self.notes.extend(menu::bond_note(candidate, row.network.as_ref(), &own));
            layers.push((candidate.id, row));
        }
        layers.sort_by_key(|l| l.0);
        Ok(self.report(model, survey, layers.into_iter().map(|(_, l)| l).collect()))
    }

    fn report(mut self, model: &Model, survey: &Survey, layers: Vec<LayerReport>) -> Report {
        self.notes.extend(self.cache.note());
        if let Some(phase) = self.phase.take() {
            self.seconds.push(PhaseTime { phase: phase.into(), seconds: self.since.elapsed().as_secs_f64() });
        }
        Report {
            schema_version: SCHEMA_VERSION,
            adntn_version: env!("CARGO_PKG_VERSION").into(),
            input: FileReport {
                path: self.options.input.display().to_string(),
                bytes: model.size_bytes(),
                parameters: describe::parameters(model),
            },
            output: None,
            settings: Settings {
                tolerance: self.options.tolerance,
                confidence: self.options.confidence,
                fit: self.options.fit.to_string(),
                seed: self.options.seed,
                activation: self.options.activation.to_string(),
                core_type: self.options.core_type.to_string(),
                topology: self.options.topology.to_string(),
                layout: self.options.layout.as_ref().map(ToString::to_string),
                kernel_legs: self.options.kernel_legs.map(|place| place.to_string()),
                bond: self.options.bond,
            },
            data: None,
            quality: None,
            training: None,
            layers,
            skipped: survey
                .skipped
                .iter()
                .map(|s| SkippedReport {
                    node: s.node.clone(),
                    op: s.op.clone(),
                    weight: s.weight.clone(),
                    shape: s.shape.clone(),
                    reason: s.reason.to_string(),
                })
                .collect(),
            notes: self.notes,
            stopped: None::<StopReason>,
            cache: self.cache.report(),
            seconds: self.seconds,
        }
    }
}
