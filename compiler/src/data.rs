//! The samples of a compilation.

mod parts;

use std::collections::{HashMap, HashSet};

use adntn_fit::data::{Dataset, Reading, split};
use adntn_fit::quality::Metric;
use adntn_fit::runner::{Loaded, MadeUp, Output};
use adntn_onnx::{Model, Patch};

use crate::cache::Key;
use crate::error::Error;
use crate::metric::{Judged, Yardstick};
use crate::options::Options;
use crate::report::DataReport;
pub(crate) use parts::calibration_for;
use parts::{Parts, different, parts};

/// Samples of a set on which the original's accuracy is looked at, at most.
const MOST_ACCURACY: usize = 1000;
/// Samples of a first run, rounded to whole batches.
const PROBE: usize = 16;
/// Held-out samples for the figures of single layers.
const FEW_HELD_OUT: usize = 1000;
/// Samples made up when there are none.
const SYNTHETIC: usize = 128;

/// The samples of a compilation, disjoint sets drawn with the seed.
pub(crate) struct Samples {
    /// Their activations weigh the fits; `None` without calibration data.
    pub(crate) fit: Option<Dataset>,
    /// Candidates are compared on these.
    pub(crate) selection: Dataset,
    /// Seen once, by the final check.
    pub(crate) held_out: Dataset,
    pub(crate) report: DataReport,
    /// Of what inputs were made up where that is not normal noise, in words.
    pub(crate) made_up: Vec<String>,
    /// Made-up samples whose activations weigh the fits all the same: rows of the model's own tables enter it, not noise.
    pub(crate) alike: Option<Dataset>,
    block: usize,
    /// Names the calibration samples of a fit through the network.
    pub(crate) hash: blake3::Hash,
    /// Names the samples to fit and those to select on, in their order.
    pub(crate) names: [Key; 2],
    /// Held-out samples that are among the calibration samples too.
    pub(crate) overlap: usize,
    /// Calibration samples, and held-out ones of a file, that are equal to others.
    pub(crate) copies: [usize; 2],
    /// Whether some of the samples held out are equal all the same, because there are too few others.
    pub(crate) repeated: bool,
    /// How outputs are judged; nothing until the model has been run.
    pub(crate) yardstick: Yardstick,
    /// Whether the original's outputs are the same for all of them, so that nothing can be told from outputs.
    pub(crate) mute: bool,
    fixed: Option<usize>,
}

/// The share of samples that a model gets right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Accuracy {
    pub(crate) share: f64,
    pub(crate) samples: usize,
    /// What always giving the most frequent label would get right.
    pub(crate) chance: f64,
}

/// Standard errors by which an accuracy has to pass what chance gives.
const BEYOND_CHANCE: f64 = 1.645;

impl Accuracy {
    /// Its standard error, squared.
    pub(crate) fn variance(self) -> f64 {
        self.share * (1.0 - self.share) / self.samples.max(1) as f64
    }

    /// Whether the labels say nothing of the model: it may know them no better than who always gives the same one.
    pub(crate) fn is_chance(self) -> bool {
        self.share - BEYOND_CHANCE * self.variance().sqrt() <= self.chance
    }
}

impl Samples {
    /// Whether some of the samples came as images.
    pub(crate) fn has_images(&self) -> bool {
        self.held_out.has_images() || self.selection.has_images()
    }

    /// Refuses labels that are no class of an output that is judged by them, or of the only one there is; `outputs` are those on a few
    /// samples.
    pub(crate) fn check_labels(&self, outputs: &[Output]) -> Result<(), Error> {
        let classes = |(judged, output): (&Judged, &Output)| {
            let axis = judged.rule.class_axis.unwrap_or(output.shape.len().saturating_sub(1));
            match (judged.rule.metric, output.shape.as_slice()) {
                (Metric::Accuracy, shape) => shape.get(axis).copied(),
                // One number a sample is no choice among classes.
                (_, &[_, classes]) if outputs.len() == 1 && classes > 1 => Some(classes),
                _ => None,
            }
        };
        self.yardstick.outputs.iter().zip(outputs).filter_map(classes).try_for_each(|classes| self.are_of(classes))
    }

    /// Refuses labels that are not below `classes`.
    fn are_of(&self, classes: usize) -> Result<(), Error> {
        let sets = self.fit.iter().chain([&self.selection, &self.held_out]);
        let folders = sets.clone().map(|set| set.classes().len()).find(|&n| n > 0 && n != classes);
        if let Some(folders) = folders {
            return Err(Error::Usage(format!(
                "the images lie in {folders} folders, but the model has {classes} classes: give a folder for every class, empty \
                 or not, in the order of the classes, or the classes of the images by --labels"
            )));
        }
        let mut labels = sets.filter_map(Dataset::labels).flatten();
        match labels.find(|&&label| usize::try_from(label).map_or(true, |label| label >= classes)) {
            Some(label) => Err(Error::Usage(format!(
                "a label of the samples is {label}, but the model has {classes} classes, numbered from 0 to {}: give labels that \
                 count them the same way",
                classes.saturating_sub(1)
            ))),
            None => Ok(()),
        }
    }

    /// The original's accuracy on the selection samples and on the held-out ones, where they have labels and an output is judged by
    /// them.
    pub(crate) fn accuracies(&self, model: &Model) -> Result<[Option<Accuracy>; 2], Error> {
        let of = |set: &Dataset| -> Result<Option<Accuracy>, Error> {
            if set.labels().is_none() || !self.yardstick.judges(Metric::Accuracy) {
                return Ok(None);
            }
            let chosen: Vec<usize> = (0..set.samples() - set.samples() % self.block.max(1))
                .take(MOST_ACCURACY.next_multiple_of(self.block.max(1)))
                .collect();
            let set = set.select(&chosen)?;
            let labels = set.labels().unwrap_or_default();
            let outputs = crate::trial::run(model, Patch::default(), &set, &[])?;
            let judge = self.yardstick.judge(outputs, Some(labels))?;
            let verdict = judge.compare(judge.reference());
            let judged = verdict.outputs.iter().filter(|c| c.metric == Metric::Accuracy);
            let mut counts: HashMap<i64, usize> = HashMap::new();
            labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
            let chance = counts.into_values().max().unwrap_or(0) as f64 / set.samples().max(1) as f64;
            Ok(judged.filter_map(|c| c.figures.accuracy).next().map(|(share, _)| Accuracy {
                share,
                samples: set.samples(),
                chance,
            }))
        };
        Ok([of(&self.selection)?, of(&self.held_out)?])
    }

    /// How many samples the model takes at once, if it is tied to a number.
    pub(crate) fn fixed_batch(&self) -> Option<usize> {
        self.fixed
    }

    /// Leaves so many samples to select on and to measure on, at most, spread over all: outputs of more would not fit into memory.
    /// Tells whether there were more.
    pub(crate) fn limit(&mut self, most: usize) -> Result<bool, Error> {
        let block = self.block.max(1);
        let blocks = (most / block).max(1);
        let mut limited = false;
        for set in [&mut self.selection, &mut self.held_out] {
            let all = set.samples() / block;
            if all > blocks {
                let chosen = (0..blocks).map(|k| k * all / blocks).flat_map(|b| b * block..(b + 1) * block);
                *set = set.select(&chosen.collect::<Vec<_>>())?;
                limited = true;
            }
        }
        if limited {
            self.names[1] = Key::of("spread samples").key(self.names[1]).number(most as u64).finish();
        }
        self.report.selection_samples = self.selection.samples();
        self.report.held_out_samples = self.held_out.samples();
        Ok(limited)
    }

    /// So many of the held-out samples, at most, as the figures of single layers are measured on: each layer takes a run.
    pub(crate) fn few_held_out(&self) -> Result<Dataset, Error> {
        let block = self.block.max(1);
        let few = FEW_HELD_OUT.next_multiple_of(block).min(self.held_out.samples());
        Ok(self.held_out.select(&(0..few).collect::<Vec<_>>())?)
    }

    /// A few of the selection samples, one batch at least.
    pub(crate) fn probe(&self) -> Result<Dataset, Error> {
        Ok(self.selection.select(
            &(0..self.block.max(PROBE - PROBE % self.block.max(1)).min(self.selection.samples())).collect::<Vec<_>>(),
        )?)
    }
}

/// Loads and splits the samples the options name, or makes some up; `None` when the model's inputs cannot be made up.
pub(crate) fn prepare(loaded: &Loaded, options: &Options) -> Result<Option<Samples>, Error> {
    let specs = loaded.inputs();
    let Some(path) = &options.calibration else {
        if options.labels.is_some() {
            return Err(Error::Usage("labels are given without samples: give --calibration too".into()));
        }
        if options.held_out.is_some() {
            return Err(Error::Usage(
                "held-out samples are given without calibration samples: give --calibration too".into(),
            ));
        }
        let block = loaded.fixed_batch().unwrap_or(1);
        let many = SYNTHETIC.next_multiple_of(4 * block.max(1));
        let Ok(MadeUp { data: all, how }) = loaded.made_up(many, options.seed) else { return Ok(None) };
        let fixed = all.most_at_once().or(loaded.fixed_batch());
        let shares = if how.is_empty() { &[0.5, 0.5][..] } else { &[0.25, 0.25, 0.5] };
        let parts = split(all.samples(), shares, block, options.seed);
        let (selection, held_out) = (all.select(&parts[0])?, all.select(&parts[1])?);
        let alike = parts.get(2).map(|part| all.select(part)).transpose()?;
        let report = DataReport {
            source: "synthetic".into(),
            held_out_source: None,
            fit_samples: 0,
            selection_samples: selection.samples(),
            held_out_samples: held_out.samples(),
        };
        let hash = blake3::hash(&[]);
        let of = |set: &Dataset| named(set, set.hashes().iter(), options);
        let names = [alike.as_ref().map_or_else(|| Key::of("no samples").finish(), of), of(&selection)];
        return Ok(Some(Samples {
            fit: None,
            selection,
            held_out,
            report,
            made_up: how,
            alike,
            block,
            hash,
            names,
            overlap: 0,
            copies: [0, 0],
            repeated: false,
            fixed,
            yardstick: Yardstick::default(),
            mute: false,
        }));
    };
    let reading = |labels: &Option<std::path::PathBuf>| Reading {
        labels: labels.clone(),
        images: options.images.clone(),
        memory: options.training.memory,
    };
    if options.held_out_labels.is_some() && options.held_out.is_none() {
        return Err(Error::Usage(
            "labels of held-out samples are given without the samples: give --held-out too".into(),
        ));
    }
    let load_held_out = || {
        let path = options.held_out.as_ref()?;
        Some(Dataset::load(path, specs, &reading(&options.held_out_labels)))
    };
    // A compressed array is unpacked by one thread.
    let (calibration, held_out) = rayon::join(|| Dataset::load(path, specs, &reading(&options.labels)), load_held_out);
    let calibration = calibration?;
    loaded.check_data(&calibration)?;
    let fixed = calibration.most_at_once().or(loaded.fixed_batch());
    let block = fixed.unwrap_or(1);
    let hashes = calibration.hashes();
    let Parts { parts, copies, repeated } = parts(&hashes, block, options).ok_or_else(|| {
        let n = calibration.samples();
        let are = if n == 1 { "sample is" } else { "samples are" };
        let least = 4 * block;
        Error::Usage(format!(
            "{}: {n} {are} too few to fit, select and measure on: give at least {least}",
            path.display()
        ))
    })?;
    let (held_out, copies, repeated) = match held_out {
        Some(held_out) => {
            let held_out = held_out?;
            loaded.check_data(&held_out)?;
            let different = different(&held_out.hashes());
            let further = held_out.samples() - different.len();
            let whole = different.len() - different.len() % block;
            match (further, whole) {
                (0, _) => (held_out, [copies, 0], false),
                (_, 0) => (held_out, [copies, further], true),
                (_, whole) => (held_out.select(&different[..whole])?, [copies, further], false),
            }
        }
        None => (calibration.select(&parts[2])?, [copies, 0], repeated),
    };
    if held_out.classes() != calibration.classes()
        && !held_out.classes().is_empty()
        && !calibration.classes().is_empty()
    {
        return Err(Error::Usage(
            "the images for calibration and the held-out ones lie in folders of different names: give both the same folders, \
             empty or not, so that they number the classes alike"
                .into(),
        ));
    }
    let mut hash = blake3::Hasher::new();
    for sample in &hashes {
        hash.update(sample.as_bytes());
    }
    for label in calibration.labels().into_iter().flatten() {
        hash.update(&label.to_le_bytes());
    }
    // Equal samples in both files mean that the measurement is not on unseen ones.
    let overlap = if options.held_out.is_some() {
        let known: HashSet<blake3::Hash> = hashes.iter().copied().collect();
        held_out.hashes().iter().filter(|h| known.contains(*h)).count()
    } else {
        0
    };
    let (fit, selection) = (calibration.select(&parts[0])?, calibration.select(&parts[1])?);
    let of = |set, part: &[usize]| named(set, part.iter().map(|&k| &hashes[k]), options);
    let names = [of(&fit, &parts[0]), of(&selection, &parts[1])];
    let report = DataReport {
        source: path.display().to_string(),
        held_out_source: options.held_out.as_ref().map(|p| p.display().to_string()),
        fit_samples: fit.samples(),
        selection_samples: selection.samples(),
        held_out_samples: held_out.samples(),
    };
    let hash = hash.finalize();
    Ok(Some(Samples {
        fit: Some(fit),
        selection,
        held_out,
        report,
        made_up: Vec::new(),
        alike: None,
        block,
        hash,
        names,
        overlap,
        copies,
        repeated,
        fixed,
        yardstick: Yardstick::default(),
        mute: false,
    }))
}

/// Names samples by what the model is given of them.
fn named<'h>(set: &Dataset, hashes: impl Iterator<Item = &'h blake3::Hash>, options: &Options) -> Key {
    let mut key = Key::of("samples").text(&format!("{:?} {:?} {:?}", set.shapes(1), set.classes(), options.images));
    for hash in hashes {
        key = key.bytes(hash.as_bytes());
    }
    set.labels().into_iter().flatten().fold(key, |key, label| key.number(label.cast_unsigned())).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accuracy_at_chance_is_told_from_one_that_is_not() {
        let accuracy = |share, samples, chance| Accuracy { share, samples, chance };
        assert!(accuracy(0.12, 200, 0.1).is_chance() && accuracy(0.9, 200, 0.9).is_chance());
        assert!(!accuracy(0.3, 200, 0.1).is_chance() && !accuracy(1.0, 8, 0.25).is_chance());
    }
}
