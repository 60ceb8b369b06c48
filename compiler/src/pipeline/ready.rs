//! Getting ready to measure: whether the model can be run, on which samples, and how its outputs are judged.

use std::collections::BTreeSet;

use adntn_fit::data::ImageOptions;
use adntn_fit::quality::{Metric, relative_rms};
use adntn_fit::runner::{Loaded, Output};
use adntn_onnx::{Model, Patch};
use adntn_passes::{Candidate, Survey, has_own_bias, kept_in_half, weight_value};

use super::Run;
use crate::cache::{Key as Name, statistics, statistics_name};
use crate::calibrate::{Statistics, samples_for_statistics, silent};
use crate::data::{Samples, prepare};
use crate::describe;
use crate::error::Error;
use crate::layer::{Layer, structure};
use crate::metric::Yardstick;
use crate::options::CoreType;
use crate::probe::Trial;
use crate::training::FitKind;

/// Accuracies on two sets of samples that differ by more, beyond chance, are told.
const ACCURACY_GAP: f64 = 0.01;

/// Relative difference of outputs that rounding the kept parameters to float16 may make, and the same as a share of the tolerance.
const KEPT_ERROR: f64 = 2e-3;
const KEPT_SHARE: f64 = 0.25;
/// The largest relative error of rounding to float16.
const HALF_ERROR: f64 = 1.0 / 2048.0;

/// How often the outputs of all samples are held at once: the original's, the compiled model's, and on their way to the judge.
const OUTPUTS_HELD: u64 = 3;
/// Bytes for that, however little `--memory` there is.
const LEAST_HELD: u64 = 16 << 20;

impl Run<'_> {
    /// Loads the model into tract and prepares samples; `None` with a note when the model cannot be run.
    pub(super) fn samples(&mut self, model: &Model) -> Result<Option<Samples>, Error> {
        self.enter("loading into tract");
        let problem = self.unrunnable.borrow_mut().take();
        if let Some(problem) = problem {
            self.cannot_run(&problem);
            return Ok(None);
        }
        match self.admit(model, true) {
            Ok(()) => {}
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(e) => {
                self.cannot_run(&e);
                return Ok(None);
            }
        }
        let loaded = match Loaded::new(model.apply(&Patch::default())?.to_bytes()).map_err(Error::from) {
            Ok(loaded) => loaded,
            Err(e @ Error::Data(adntn_fit::Error::Runtime { .. })) => {
                self.cannot_run(&e);
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let samples = prepare(&loaded, self.options)?;
        let stand_ins = loaded.stand_ins().to_vec();
        self.notes.extend(stand_ins.iter().filter_map(describe::stand_in));
        drop(loaded);
        let Some(mut samples) = samples else {
            self.notes.push(
                "The model's inputs cannot be made up without data, so quality was not measured and layers were held to a \
                 weight error within the tolerance: give --calibration."
                    .into(),
            );
            return Ok(None);
        };
        let defaults = ImageOptions { channels_last: self.options.images.channels_last, ..ImageOptions::default() };
        if self.options.images != defaults && !samples.has_images() {
            self.notes.push("The --image options change nothing: the samples are no images.".into());
        }
        if samples.overlap > 0 {
            self.notes.push(format!(
                "{} of {} held-out samples are among the calibration samples too: quality was not measured on unseen data.",
                samples.overlap,
                samples.held_out.samples()
            ));
        }
        self.note_copies(&samples);
        if samples.held_out.is_synthetic() {
            self.notes.push(match samples.made_up.as_slice() {
                [] => "No calibration data: fits ignore the activations, and quality was measured on random inputs, which says \
                       little about real ones: give --calibration."
                    .into(),
                how => format!(
                    "No calibration data: activations were looked at, and quality was measured, on inputs made up ({}), which \
                     says little about real ones: give --calibration.",
                    how.join(", ")
                ),
            });
        }
        // One batch tells whether tract has every operator, before time is spent on fits.
        match crate::trial::run(model, Patch::default(), &samples.probe()?, &[]) {
            Ok(outputs) => {
                self.limit(&mut samples, &outputs)?;
                let labelled = samples.held_out.labels().is_some();
                let count = samples.probe()?.samples();
                samples.yardstick = Yardstick::choose(model, &outputs, &stand_ins, count, labelled, self.options)?;
                samples.check_labels(&outputs)?;
                self.note_outputs(&samples.yardstick);
                if self.options.threshold.is_some() && !samples.yardstick.judges(Metric::Decisions) {
                    self.notes.push("--threshold changes nothing: no output is judged by its decisions.".into());
                }
                if !labelled && samples.selection.labels().is_some() && !samples.held_out.is_synthetic() {
                    self.notes.push(
                        "The held-out samples have no labels, so no output was judged by its classes: give \
                         --held-out-labels."
                            .into(),
                    );
                }
                if labelled && !samples.yardstick.judges(Metric::Accuracy) && self.options.fit != FitKind::EndToEnd {
                    self.notes.push("The labels change nothing: no output is judged by its classes.".into());
                }
                if !samples.yardstick.compares() {
                    return Ok(None);
                }
                samples.mute = samples.yardstick.is_mute(&outputs)
                    && samples.yardstick.is_mute(&crate::trial::run(model, Patch::default(), &samples.selection, &[])?);
                if samples.mute && samples.held_out.is_synthetic() {
                    self.notes.push(
                        "The model's outputs are the same for all made-up inputs, so quality was not measured and layers were \
                         held to a weight error within the tolerance: give --calibration."
                            .into(),
                    );
                    return Ok(None);
                }
                self.note_labels(model, &mut samples)?;
                Ok(Some(samples))
            }
            Err(Error::Data(e @ adntn_fit::Error::NotFinite { .. })) if samples.fit.is_some() => {
                Err(Error::Usage(format!("{}: with these samples {e}", samples.report.source)))
            }
            Err(e @ Error::Data(adntn_fit::Error::Runtime { .. })) => {
                self.cannot_run(&e);
                Ok(None)
            }
            // On made-up inputs that is no fault of the model: it may take a logarithm of its input.
            Err(e @ Error::Data(adntn_fit::Error::NotFinite { .. })) if samples.held_out.is_synthetic() => {
                self.cannot_run(&e);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The layers to be replaced, each with what the samples say of its inputs; where they say nothing it stays dense.
    pub(super) fn layers<'m>(
        &mut self,
        model: &'m Model,
        chosen: &[&'m Candidate],
        samples: Option<&Samples>,
    ) -> Result<Vec<Layer<'m>>, Error> {
        // Trained through the network, biases follow the cores by themselves, and a start weighed by the activations, which is
        // large where they are small, is no better than a plain one.
        let trained = self.options.fit == FitKind::EndToEnd;
        let is_given = samples.is_some_and(|s| s.fit.is_some());
        let absorbs: Vec<bool> = chosen.iter().map(|c| !trained && is_given && has_own_bias(model, c)).collect();
        let statistics = match samples.and_then(|s| Some((s.fit.as_ref().or(s.alike.as_ref())?, s))) {
            Some(_) if trained && !is_given => chosen.iter().map(|_| Statistics::Unknown).collect(),
            Some((fit, samples)) => {
                self.enter("calibrating");
                if trained {
                    self.of_original(silent(model, chosen, fit, samples.fixed_batch().unwrap_or(1)))?
                } else {
                    let enough = samples_for_statistics(chosen, fit.samples());
                    let fit = fit.select(&(0..enough).collect::<Vec<_>>())?;
                    let of = self.of_samples(samples);
                    self.of_original(statistics(&self.cache, of, model, chosen, &absorbs, &fit))?
                }
            }
            None => chosen.iter().map(|_| Statistics::Unknown).collect(),
        };
        let structure = structure(model);
        let mut layers = Vec::new();
        for ((candidate, absorbs), statistics) in chosen.iter().zip(absorbs).zip(statistics) {
            let (gram, silent) = match statistics {
                Statistics::Known(gram) => (Some(*gram), None),
                // What is made up says nothing of what is not.
                Statistics::Silent(_) if !is_given => (None, None),
                Statistics::Silent(silent) => {
                    (None, Some(format!("{silent} in the calibration samples, which say nothing about it")))
                }
                Statistics::Unknown => (None, None),
            };
            let own = self.own(candidate);
            let layer = Layer::new(model, candidate, gram, absorbs, &own);
            let mut layer = layer.with_cache(&self.cache, structure, own.seed);
            let mute = || "the calibration samples all give the same outputs, which say nothing about it".to_owned();
            if let Some(reason) =
                silent.or_else(|| samples.is_some_and(|s| s.mute).then(mute)).filter(|_| layer.has_gain())
            {
                layer.withdraw(&format!("stays dense: {reason}"));
            }
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Names the statistics of one of the `chosen` candidates, where there are samples for them.
    pub(super) fn statistics_of(
        &self,
        samples: &Samples,
        chosen: &[&Candidate],
        candidate: &Candidate,
        centred: bool,
    ) -> Option<Name> {
        let enough = samples_for_statistics(chosen, samples.fit.as_ref().or(samples.alike.as_ref())?.samples());
        Some(statistics_name(self.of_samples(samples), candidate, centred, enough))
    }

    /// Names the model and the samples to fit.
    fn of_samples(&self, samples: &Samples) -> Name {
        let key = Name::of("activations").text(&format!("{:?} {:?}", self.model_name, samples.fixed_batch()));
        // What is made up weighs less.
        let key = key.number(samples.fit.is_none().into());
        key.key(samples.names[0]).finish()
    }

    /// Biases, norms and small weights as float16 numbers, which go into the model with the replacements; nothing where the
    /// options leave layers alone or the outputs would differ.
    pub(super) fn kept(&self, model: &Model, survey: &Survey, samples: Option<&Samples>) -> Result<Patch, Error> {
        let options = self.options;
        if options.core_type != CoreType::Float16 || options.layers.is_some() || options.exclude.is_some() {
            return Ok(Patch::default());
        }
        let left: BTreeSet<String> =
            survey.candidates.iter().map(|candidate| weight_value(model, candidate)).collect::<Result<_, _>>()?;
        let kept = kept_in_half(model, &left)?;
        let most = KEPT_ERROR.min(KEPT_SHARE * options.tolerance);
        let Some(samples) = samples.filter(|_| !kept.is_empty()) else {
            return Ok(if HALF_ERROR <= most { kept } else { Patch::default() });
        };
        let probe = samples.probe()?;
        let before = crate::trial::run(model, Patch::default(), &probe, &[])?;
        let is_alike = match crate::trial::run(model, kept.clone(), &probe, &[]) {
            Ok(after) => relative_rms(&before, &after).is_some_and(|error| error <= most),
            Err(Error::Data(adntn_fit::Error::NotFinite { .. })) => false,
            Err(e) => return Err(e),
        };
        Ok(if is_alike { kept } else { Patch::default() })
    }

    /// Takes no more samples than `--memory` has room for their outputs, as `outputs` of a few are.
    fn limit(&mut self, samples: &mut Samples, outputs: &[Output]) -> Result<(), Error> {
        let size = |output: &Output| {
            let doubles = output.doubles.as_ref().map_or(0, |doubles| doubles.len() * size_of::<f64>());
            output.values.len() * size_of::<f32>() + doubles
        };
        let bytes: usize = outputs.iter().map(size).sum();
        let each = (bytes / samples.probe()?.samples().max(1)).max(1) as u64 * OUTPUTS_HELD;
        let most = usize::try_from(self.options.training.memory.max(LEAST_HELD) / each).unwrap_or(usize::MAX);
        if samples.limit(most)? {
            self.notes.push(format!(
                "The outputs are so large that only {} samples were chosen on and {} held out: raise --memory for more.",
                samples.selection.samples(),
                samples.held_out.samples()
            ));
        }
        Ok(())
    }

    /// Tells which outputs are compared on nothing.
    fn note_outputs(&mut self, yardstick: &Yardstick) {
        let idle: Vec<String> = yardstick
            .outputs
            .iter()
            .filter(|j| j.rule.metric == Metric::NotCompared)
            .map(|j| format!("`{}` ({})", j.rule.output, j.evidence))
            .collect();
        if idle.is_empty() || yardstick.is_custom() {
            return;
        }
        self.notes.push(if yardstick.compares() {
            format!("Not compared with the original: {}.", idle.join(", "))
        } else {
            format!(
                "No output can be compared with the original: {}. Quality was not measured and layers were held to a weight \
                 error within the tolerance.",
                idle.join(", ")
            )
        });
    }

    /// Tells of samples that are equal to others.
    fn note_copies(&mut self, samples: &Samples) {
        for (copies, of) in samples.copies.into_iter().zip(["calibration", "held-out"]) {
            if copies > 0 && !samples.held_out.is_synthetic() {
                let (are, they) = if copies == 1 { ("sample is", "it") } else { ("samples are", "they") };
                self.notes.push(format!(
                    "{copies} {of} {are} equal to others: where choices are compared and measured {they} would count twice, so \
                     equal ones serve one purpose and count once."
                ));
            }
        }
        if samples.repeated {
            self.notes.push(
                "There are too few different samples to keep equal ones apart: nothing was shown about others.".into(),
            );
        }
    }

    /// Warns where labels tell that the original knows the calibration samples, or the held-out ones, much better than the
    /// others: it was trained on them, or they are of another kind. Where it does not know them at all they say nothing of what
    /// is lost, and what the original says counts instead.
    fn note_labels(&mut self, model: &Model, samples: &mut Samples) -> Result<(), Error> {
        let accuracies = samples.accuracies(model)?;
        if let [Some(here), Some(there)] = accuracies {
            let gap = (there.share - here.share).abs();
            if gap > ACCURACY_GAP && gap > 3.0 * (here.variance() + there.variance()).sqrt() {
                self.notes.push(format!(
                    "The original's accuracy is {:.2}% on the calibration samples and {:.2}% on the held-out ones: one of the \
                     sets may hold samples that it was trained on, or samples of another kind. Held-out samples have to be new \
                     to it.",
                    here.share * 100.0,
                    there.share * 100.0
                ));
            }
        }
        let sets = accuracies.into_iter().zip(["calibration", "held-out"]);
        let unknown =
            sets.filter_map(|(accuracy, of)| Some((accuracy?, of))).find(|(accuracy, _)| accuracy.is_chance());
        if let Some((accuracy, of)) = unknown {
            self.notes.push(format!(
                "The original gets {:.2}% of the labels of the {of} samples right, and the most frequent label alone would get \
                 {:.2}%: the labels say nothing of it, and the same top class as the original's counts instead. They may be \
                 shifted, or belong to other samples.",
                accuracy.share * 100.0,
                accuracy.chance * 100.0
            ));
            samples.yardstick.distrust_labels();
        }
        Ok(())
    }

    /// Whether the model may be run in this process: it is bounded, and a process of its own survived it.
    pub(super) fn admit(&mut self, model: &Model, whole: bool) -> Result<(), Error> {
        adntn_fit::screen(model)?;
        let Some(probe) = &self.options.probe else { return Ok(()) };
        let observer = &mut *self.observer;
        match probe.run(&self.options.input, model.size_bytes(), whole, &mut || observer.stop()) {
            Trial::Passed => Ok(()),
            Trial::Failed(problem) => Err(Error::Data(adntn_fit::Error::Runtime { action: "run", problem })),
            Trial::Interrupted => Err(Error::Interrupted),
        }
    }

    /// Notes where the original cannot be run on samples after all, so that the compilation can do without.
    pub(super) fn of_original<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ Error::Data(adntn_fit::Error::Runtime { action: "run", .. })) = &result {
            *self.unrunnable.borrow_mut() = Some(error.to_string());
        }
        result
    }

    fn cannot_run(&mut self, error: &dyn std::fmt::Display) {
        self.obstacle = Some(error.to_string());
        self.notes.push(format!(
            "The model could not be run ({error}), so quality was not measured and layers were held to a weight error \
             within the tolerance."
        ));
    }
}
