//! Measuring a choice of weights on the whole model.

use std::collections::BTreeSet;

use adntn_fit::data::Dataset;
use adntn_fit::quality::{Judge, Verdict};
use adntn_fit::runner::{Loaded, Output};
use adntn_onnx::{Model, Patch};

use crate::calibrate::tapped_model;
use crate::error::Error;
use crate::metric::Yardstick;

/// Outputs on made-up inputs must agree to this relative error (20 dB), since their top classes mean little.
const SYNTHETIC_ERROR: f64 = 0.1;

/// Margins enough for an estimate of what is lost, and bytes that the outputs may take which they are read off.
const MARGINS: usize = 1000;
const MARGIN_BYTES: usize = 64 << 20;

/// Runs variants of a model on fixed samples and compares their outputs with the original's.
pub(crate) struct Bench<'a> {
    model: &'a Model,
    data: Dataset,
    judge: Judge,
    /// Changes of the model beside those that are compared.
    kept: Patch,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(model: &'a Model, data: Dataset, yardstick: &Yardstick) -> Result<Self, Error> {
        let reference = run(model, Patch::default(), &data, &[])?;
        let judge = yardstick.judge(reference, data.labels())?;
        Ok(Bench { model, data, judge, kept: Patch::default() })
    }

    /// Expects losses by the original's margins on `more` too, where there are few samples to compare: as many as make them
    /// [`MARGINS`] together, in whole batches of `block`.
    pub(crate) fn with_margins_of(self, more: Option<&Dataset>, block: usize) -> Result<Self, Error> {
        let wanted = MARGINS.saturating_sub(self.data.samples());
        let Some(more) = more.filter(|_| wanted > 0 && !self.is_synthetic()) else { return Ok(self) };
        let bytes: usize = self.judge.reference().iter().map(|output| size_of_val(&*output.values)).sum();
        let room = MARGIN_BYTES / (bytes / self.data.samples().max(1)).max(1);
        let count = wanted.min(more.samples()).min(room) / block.max(1) * block.max(1);
        if count == 0 {
            return Ok(self);
        }
        let more = more.select(&(0..count).collect::<Vec<_>>())?;
        let outputs = run(self.model, Patch::default(), &more, &[])?;
        Ok(Bench { judge: self.judge.with_margins_of(&outputs, more.labels()), ..self })
    }

    /// Measures everything beside the changes of `kept`, as what is written has them.
    pub(crate) fn beside(self, kept: &Patch) -> Self {
        Bench { kept: kept.clone(), ..self }
    }

    pub(crate) fn data(&self) -> &Dataset {
        &self.data
    }

    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }

    pub(crate) fn is_synthetic(&self) -> bool {
        self.data.is_synthetic()
    }

    /// The outputs of the patched model against the original's. A variant whose outputs are not finite, or that cannot be run,
    /// is dead.
    pub(crate) fn compare(&self, patch: Patch) -> Result<Verdict, Error> {
        let mut all = self.kept.clone();
        all.merge(patch);
        let got = match run(self.model, all, &self.data, &[]) {
            Err(Error::Data(adntn_fit::Error::NotFinite { .. })) => return Ok(self.judge.compare(&[])),
            other => other?,
        };
        Ok(self.judge.compare(&got))
    }

    /// The largest relative error of an output of the patched model; `None` where none can be told.
    pub(crate) fn relative_error(&self, patch: Patch) -> Result<Option<f64>, Error> {
        let verdict = self.compare(patch)?;
        let errors = verdict.outputs.iter().filter_map(|output| output.figures.error);
        Ok(errors.filter(|error| error.is_finite()).reduce(f64::max))
    }

    /// The loss to expect on further samples, for choosing.
    pub(crate) fn cautious(&self, verdict: &Verdict) -> f64 {
        if !self.is_synthetic() {
            return verdict.cautious();
        }
        let astray = |error: Option<f64>| error.is_some_and(|error| error > SYNTHETIC_ERROR);
        let lost = verdict.outputs.iter().any(|c| astray(c.figures.error));
        if lost { f64::INFINITY } else { verdict.expected() }
    }
}

/// Outputs of the patched model followed by the values named in `taps`, on all of `data`.
/// Takes the patch, so that the weights it holds are gone before tract makes its own copies.
pub(crate) fn run(model: &Model, patch: Patch, data: &Dataset, taps: &[String]) -> Result<Vec<Output>, Error> {
    let own = model.graph().output.len();
    let tapped = tapped_model(model, patch, taps)?;
    let outputs = Loaded::new(tapped.bytes)?.into_runner(data)?.outputs(data)?;
    let wanted: Vec<usize> = (0..own).chain(tapped.positions).collect();
    debug_assert!(wanted.iter().collect::<BTreeSet<_>>().len() <= outputs.len());
    wanted
        .into_iter()
        .map(|at| outputs.get(at).cloned().ok_or_else(|| Error::Internal(format!("output {at} is missing"))))
        .collect()
}
