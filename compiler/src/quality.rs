//! The report on quality: what the held-out samples say of the written file.

use adntn_fit::quality::{Compared, Losses, Metric, Verdict};

use crate::data::calibration_for;
use crate::metric::Yardstick;
use crate::options::Options;
use crate::report::{Claim, OutputReport, QualityReport};

/// Puts `verdict` on the written file into words and numbers; `representative` is false for samples that say nothing about
/// those to come, such as made-up ones. The model takes `block` samples at once.
pub(crate) fn report(
    verdict: &Verdict,
    yardstick: &Yardstick,
    options: &Options,
    samples: usize,
    representative: bool,
    block: usize,
) -> QualityReport {
    let delta = 1.0 - options.confidence;
    let loss = verdict.loss();
    let upper_bound = verdict.upper_bound(delta).filter(|_| representative);
    let within = loss <= options.tolerance;
    let claim = match upper_bound {
        Some(bound) if bound <= options.tolerance => Claim::Shown,
        _ if within => Claim::NotShown,
        _ => Claim::Outside,
    };
    let needed = || verdict.samples_needed(options.tolerance, delta);
    let samples_needed = if representative && claim == Claim::NotShown { needed() } else { None };
    QualityReport {
        outputs: verdict
            .outputs
            .iter()
            .enumerate()
            .map(|(at, c)| output(c, yardstick, at, delta, representative))
            .collect(),
        // Infinity is no number in JSON.
        loss: loss.min(f64::MAX),
        upper_bound: upper_bound.filter(|b| b.is_finite()),
        confidence: options.confidence,
        claim,
        within_tolerance: within,
        samples,
        samples_needed,
        calibration_needed: samples_needed.and_then(|needed| calibration_for(needed, block, options)),
    }
}

fn output(compared: &Compared, yardstick: &Yardstick, at: usize, delta: f64, representative: bool) -> OutputReport {
    let judged = yardstick.outputs.get(at).filter(|_| compared.metric != Metric::Custom);
    let figures = &compared.figures;
    OutputReport {
        output: judged.map_or_else(String::new, |j| j.rule.output.clone()),
        metric: compared.metric,
        evidence: judged.map_or_else(|| "a function of the caller".to_owned(), |j| j.evidence.clone()),
        loss: compared.losses.as_ref().filter(|_| !compared.dead).map(Losses::mean),
        upper_bound: compared.losses.as_ref().filter(|_| representative).and_then(|l| l.upper_bound(delta)),
        error: figures.error,
        cosine: figures.cosine,
        agreement: figures.agreement,
        sequence_agreement: figures.sequence,
        decisions: figures.decisions,
        accuracy_before: figures.accuracy.map(|a| a.0),
        accuracy_after: figures.accuracy.map(|a| a.1),
        dead: compared.dead,
    }
}
