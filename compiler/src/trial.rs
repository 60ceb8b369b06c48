//! Measuring a choice of weights on the whole model.

use std::collections::BTreeSet;

use adntn_fit::data::Dataset;
use adntn_fit::quality::{Comparison, Metric, expected_disagreement};
use adntn_fit::runner::{Loaded, Output};
use adntn_onnx::{Model, Patch};

use crate::calibrate::tapped_model;
use crate::error::Error;

/// Outputs on made-up inputs must agree to this relative RMS (20 dB), since their top classes mean little.
const SYNTHETIC_RMS: f64 = 0.1;

/// Runs variants of a model on fixed samples and compares their outputs with the original's.
pub(crate) struct Bench<'a> {
    model: &'a Model,
    data: Dataset,
    reference: Vec<Output>,
    pub(crate) metric: Metric,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(model: &'a Model, data: Dataset) -> Result<Self, Error> {
        let reference = run(model, Patch::default(), &data, &[])?;
        let metric = Metric::for_outputs(&reference);
        Ok(Bench { model, data, reference, metric })
    }

    pub(crate) fn data(&self) -> &Dataset {
        &self.data
    }

    pub(crate) fn reference(&self) -> &[Output] {
        &self.reference
    }

    /// The outputs of the patched model against the original's; `None` when they do not even have the same shapes.
    pub(crate) fn compare(&self, patch: Patch) -> Result<Measured, Error> {
        let got = match run(self.model, patch, &self.data, &[]) {
            Err(Error::Data(adntn_fit::Error::NotFinite { .. })) => return Ok(Measured::broken()),
            other => other?,
        };
        Ok(self.measure(&got))
    }

    /// Compares outputs of a variant on this bench's samples.
    pub(crate) fn measure(&self, got: &[Output]) -> Measured {
        let Some(comparison) = Comparison::of(&self.reference, got) else { return Measured::broken() };
        let observed = comparison.loss(self.metric);
        let expected = match self.metric {
            Metric::Top1Agreement => expected_disagreement(&self.reference, got).unwrap_or(1.0),
            Metric::RelativeRms | Metric::Accuracy => observed,
        };
        let synthetic =
            if self.data.is_synthetic() && adntn_fit::quality::centred_rms(&self.reference, got) > SYNTHETIC_RMS {
                1.0
            } else {
                0.0
            };
        Measured { comparison, observed, cautious: observed.max(expected).max(synthetic) }
    }
}

/// What a trial found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) comparison: Comparison,
    /// Loss of quality on the samples.
    pub(crate) observed: f64,
    /// The larger of that and what the margins let expect on further samples.
    pub(crate) cautious: f64,
}

impl Measured {
    fn broken() -> Self {
        Measured { comparison: Comparison { relative_rms: f64::MAX, top1: None }, observed: 1.0, cautious: 1.0 }
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
