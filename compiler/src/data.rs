//! Which samples serve which purpose.

use adntn_fit::data::{Dataset, Reading, split};
use adntn_fit::quality::fewest_without_loss;
use adntn_fit::runner::{Loaded, Output};
use adntn_onnx::{Model, Patch};

use crate::error::Error;
use crate::metric::Yardstick;
use crate::options::Options;
use crate::report::DataReport;
use crate::training::FitKind;

/// Shares of the calibration samples for fitting, selection and the held-out measurement.
const WITHOUT_HELD_OUT: [f64; 3] = [0.5, 0.25, 0.25];
/// Shares for fitting and selection when a held-out file is given.
const WITH_HELD_OUT: [f64; 2] = [0.75, 0.25];
/// Held-out samples, as a multiple of those that would show the tolerance without a single loss, with which there is room
/// for a loss or two.
const SHOWING: f64 = 1.67;
/// Share of the samples that may be held out for that.
const MOST_HELD_OUT: f64 = 0.5;
/// Most samples to select on, or that share of them: more would only be lost for fitting.
const MOST_SELECTION: f64 = 2000.0;
const SHARE_SELECTION: f64 = 1.0 / 15.0;
/// Samples of a set on which the original's accuracy is looked at, at most.
const MOST_ACCURACY: usize = 1000;
/// Samples of a first run, rounded to whole batches.
const PROBE: usize = 16;
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
    block: usize,
    /// Names the calibration samples of a fit through the network.
    pub(crate) hash: blake3::Hash,
    /// Held-out samples that are among the calibration samples too.
    pub(crate) overlap: usize,
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
}

impl Accuracy {
    /// Its standard error, squared.
    pub(crate) fn variance(self) -> f64 {
        self.share * (1.0 - self.share) / self.samples.max(1) as f64
    }
}

impl Samples {
    /// Whether some of the samples came as images.
    pub(crate) fn has_images(&self) -> bool {
        self.held_out.has_images() || self.selection.has_images()
    }

    /// Refuses labels that are no class of the model, whose outputs on a few samples are `outputs`.
    pub(crate) fn check_labels(&self, outputs: &[Output]) -> Result<(), Error> {
        let [Output { shape, .. }] = outputs else { return Ok(()) };
        // One number a sample is no choice among classes.
        let Some(&classes) = shape.get(1).filter(|&&classes| shape.len() == 2 && classes > 1) else { return Ok(()) };
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

    /// The original's accuracy on the selection samples and on the held-out ones; `None`
    /// where a set has no labels, or no output holds classes.
    pub(crate) fn accuracies(&self, model: &Model) -> Result<Option<[Accuracy; 2]>, Error> {
        let of = |set: &Dataset| -> Result<Option<Accuracy>, Error> {
            let chosen: Vec<usize> = (0..set.samples() - set.samples() % self.block.max(1))
                .take(MOST_ACCURACY.next_multiple_of(self.block.max(1)))
                .collect();
            let set = set.select(&chosen)?;
            let Some(labels) = set.labels() else { return Ok(None) };
            let outputs = crate::trial::run(model, Patch::default(), &set, &[])?;
            let judge = self.yardstick.judge(outputs, Some(labels))?;
            let verdict = judge.compare(judge.reference());
            Ok(verdict
                .outputs
                .iter()
                .find_map(|c| c.figures.accuracy)
                .map(|(share, _)| Accuracy { share, samples: set.samples() }))
        };
        if self.held_out.labels().is_none() || self.selection.labels().is_none() {
            return Ok(None);
        }
        Ok(of(&self.selection)?.zip(of(&self.held_out)?).map(|(here, there)| [here, there]))
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
        self.report.selection_samples = self.selection.samples();
        self.report.held_out_samples = self.held_out.samples();
        Ok(limited)
    }

    /// A few of the selection samples, one batch at least.
    pub(crate) fn probe(&self) -> Result<Dataset, Error> {
        Ok(self.selection.select(
            &(0..self.block.max(PROBE - PROBE % self.block.max(1)).min(self.selection.samples())).collect::<Vec<_>>(),
        )?)
    }
}

/// Which shares of so many calibration samples serve to fit, to select and, without a held-out file, to measure.
fn shares(samples: usize, options: &Options) -> Vec<f64> {
    let mut shares = if options.held_out.is_some() { WITH_HELD_OUT.to_vec() } else { WITHOUT_HELD_OUT.to_vec() };
    if let Some(held_out) = shares.get_mut(2) {
        // A few more held-out samples may make the difference between showing the tolerance and not showing it.
        let wanted = SHOWING * fewest_without_loss(options.tolerance, 1.0 - options.confidence) as f64;
        let share = wanted / samples as f64;
        if share > *held_out && share <= MOST_HELD_OUT {
            let scale = (1.0 - share) / (1.0 - *held_out);
            *held_out = share;
            shares[..2].iter_mut().for_each(|s| *s *= scale);
        }
    }
    let spare = (shares[1] - SHARE_SELECTION.max(MOST_SELECTION / samples as f64)).max(0.0);
    shares[0] += spare;
    shares[1] -= spare;
    shares
}

/// The least number of calibration samples from which `held_out` would be set aside, in whole batches of `block`; `None` where
/// they are not set aside, or there are not that many.
pub(crate) fn calibration_for(held_out: usize, block: usize, options: &Options) -> Option<usize> {
    let block = block.max(1);
    let share = |blocks: usize| shares(blocks * block, options).get(2).copied();
    let enough =
        |blocks: usize| share(blocks).is_some_and(|s| (s * blocks as f64).floor() as usize * block >= held_out);
    share(1)?;
    let mut high = held_out.div_ceil(block).max(1);
    let mut low = 0;
    while !enough(high) {
        low = high;
        high = high.checked_mul(2).filter(|n| n.checked_mul(block).is_some_and(|n| n <= 1 << 40))?;
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high * block)
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
        let Ok(all) = Dataset::synthetic(specs, SYNTHETIC.next_multiple_of(2 * block.max(1)), options.seed) else {
            return Ok(None);
        };
        let fixed = all.most_at_once().or(loaded.fixed_batch());
        let parts = split(all.samples(), &[0.5, 0.5], block, options.seed);
        let (selection, held_out) = (all.select(&parts[0])?, all.select(&parts[1])?);
        let report = DataReport {
            source: "synthetic".into(),
            held_out_source: None,
            fit_samples: 0,
            selection_samples: selection.samples(),
            held_out_samples: held_out.samples(),
        };
        let hash = blake3::hash(&[]);
        return Ok(Some(Samples {
            fit: None,
            selection,
            held_out,
            report,
            block,
            hash,
            overlap: 0,
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
    let shares = shares(calibration.samples(), options);
    let parts = split(calibration.samples(), &shares, block, options.seed);
    if parts.iter().any(Vec::is_empty) {
        return Err(Error::Usage(format!(
            "{}: {} samples are too few to fit, select and measure on: give at least {}",
            path.display(),
            calibration.samples(),
            4 * block
        )));
    }
    let held_out = match held_out {
        Some(held_out) => {
            let held_out = held_out?;
            loaded.check_data(&held_out)?;
            held_out
        }
        None => calibration.select(&parts[2])?,
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
    // Every byte is read for these, so only where they are asked for.
    let trained = options.fit == FitKind::EndToEnd;
    let hashes = if trained || options.held_out.is_some() { calibration.hashes() } else { Vec::new() };
    let mut hash = blake3::Hasher::new();
    for sample in &hashes {
        hash.update(sample.as_bytes());
    }
    for label in calibration.labels().into_iter().flatten() {
        hash.update(&label.to_le_bytes());
    }
    // Equal samples in both files mean that the measurement is not on unseen ones.
    let overlap = if options.held_out.is_some() {
        let known: std::collections::HashSet<blake3::Hash> = hashes.into_iter().collect();
        held_out.hashes().iter().filter(|h| known.contains(*h)).count()
    } else {
        0
    };
    let (fit, selection) = (calibration.select(&parts[0])?, calibration.select(&parts[1])?);
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
        block,
        hash,
        overlap,
        fixed,
        yardstick: Yardstick::default(),
        mute: false,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calibration_samples_set_so_many_aside() {
        let mut options = Options::new("in.onnx", "out.onnx");
        for (held_out, block) in [(20, 1), (299, 1), (299, 8), (600, 1), (5000, 3)] {
            let needed = calibration_for(held_out, block, &options).unwrap();
            let set_aside = |samples: usize| split(samples, &shares(samples, &options), block, 0)[2].len();
            assert!(set_aside(needed) >= held_out, "{held_out}: {needed}");
            assert!(set_aside(needed - block) < held_out, "{held_out}: {needed}");
        }
        options.held_out = Some("held-out.npz".into());
        assert_eq!(calibration_for(20, 1, &options), None);
    }
}
