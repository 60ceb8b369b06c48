//! The report on quality: what the held-out samples say of the written file.

use adntn_fit::quality::{Compared, Losses, Metric, Verdict};

use crate::data::calibration_for;
use crate::metric::Yardstick;
use crate::options::Options;
use crate::report::{Bound, Claim, OutputReport, QualityReport};

/// The samples that a verdict rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence<'a> {
    /// How many they are.
    pub(crate) samples: usize,
    /// False for samples that say nothing about those to come, such as made-up ones.
    pub(crate) representative: bool,
    /// The model takes so many at once.
    pub(crate) block: usize,
    /// For each output whether its metric would pass a constant output too.
    pub(crate) idle: &'a [bool],
}

/// Puts `verdict` on the written file into words and numbers.
pub(crate) fn report(
    verdict: &Verdict,
    yardstick: &Yardstick,
    options: &Options,
    evidence: Evidence<'_>,
) -> QualityReport {
    let delta = 1.0 - options.confidence;
    let loss = verdict.loss();
    let certain = yardstick.is_custom() || yardstick.outputs.iter().all(|judged| judged.certain);
    let representative = evidence.representative && certain && !evidence.idle.contains(&true);
    let upper_bound = verdict.upper_bound(delta).filter(|_| representative);
    let within = loss <= options.tolerance;
    let claim = match upper_bound {
        Some(bound) if bound <= options.tolerance && verdict.is_estimate() => Claim::Estimated,
        Some(bound) if bound <= options.tolerance => Claim::Shown,
        _ if within => Claim::NotShown,
        _ => Claim::Outside,
    };
    let needed = || verdict.samples_needed(options.tolerance, delta);
    let samples_needed = if representative && claim == Claim::NotShown { needed() } else { None };
    QualityReport {
        outputs: verdict.outputs.iter().enumerate().map(|(at, c)| output(c, yardstick, at, delta, evidence)).collect(),
        // Infinity is no number in JSON.
        loss: loss.min(f64::MAX),
        upper_bound: upper_bound.filter(|b| b.is_finite()),
        bound: upper_bound.filter(|b| b.is_finite()).map(|_| kind(verdict.is_estimate())),
        confidence: options.confidence,
        claim,
        within_tolerance: within,
        samples: evidence.samples,
        samples_needed,
        calibration_needed: samples_needed.and_then(|needed| calibration_for(needed, evidence.block, options)),
    }
}

/// What the user should know of how outputs were judged.
pub(crate) fn notes(quality: &QualityReport) -> Vec<String> {
    let idle = quality.outputs.iter().filter(|output| output.says_nothing);
    idle.map(|output| {
        format!(
            "Output `{}` is judged by {}, which on the held-out samples would let an output pass that is the same for all of them: \
             it says nothing here, so nothing is shown. Give held-out samples that differ in it, or choose another metric.",
            output.output, output.metric
        )
    })
    .collect()
}

fn kind(is_estimate: bool) -> Bound {
    if is_estimate { Bound::Bootstrap } else { Bound::Exact }
}

fn output(compared: &Compared, yardstick: &Yardstick, at: usize, delta: f64, evidence: Evidence<'_>) -> OutputReport {
    let judged = yardstick.outputs.get(at).filter(|_| compared.metric != Metric::Custom);
    let says_nothing = judged.is_some() && evidence.idle.get(at).copied().unwrap_or_default();
    let telling = evidence.representative && !says_nothing && judged.is_none_or(|j| j.certain);
    let telling = compared.losses.as_ref().filter(|_| telling);
    let upper_bound = telling.and_then(|losses| losses.upper_bound(delta));
    let figures = &compared.figures;
    OutputReport {
        output: judged.map_or_else(String::new, |j| j.rule.output.clone()),
        metric: compared.metric,
        evidence: judged.map_or_else(|| "a function of the caller".to_owned(), |j| j.evidence.clone()),
        loss: compared.losses.as_ref().filter(|_| !compared.dead).map(Losses::mean),
        upper_bound,
        bound: telling.filter(|_| upper_bound.is_some()).map(|losses| kind(losses.is_estimate())),
        says_nothing,
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
