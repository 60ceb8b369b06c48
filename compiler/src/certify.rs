//! The one final test: which of the accepted choices the held-out samples speak for.
//!
//! Fixed-sequence testing: the choices are tested from the safest to the boldest, each at the same level, and testing ends at
//! the first that fails. The probability that the choice taken loses more than the tolerance is then at most that level,
//! without correction for the number of tests (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test", arXiv
//! 2110.01052, section 3.2). Selection must not have seen the samples.

use crate::error::Error;
use crate::layer::Layer;
use crate::select::{Choice, dense_patch};
use crate::trial::Bench;

/// What came of the test.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Certified {
    /// The choice taken; no generator at all where none passed.
    pub(crate) choice: Choice,
    /// Choices that selection had accepted and that were given up.
    pub(crate) rejected: usize,
    /// Whether the next bolder choice failed only because the samples are too few to show that it is good.
    pub(crate) short_of_samples: bool,
}

/// Tests the choices of `sequence`, safest first, on the samples of `bench`, with a loss of at most `tolerance` to be shown at
/// the level `delta`.
///
/// Where these samples could not show it even of an unchanged model, or no choice passes, the estimate decides instead: the
/// boldest before the first whose loss, cautiously estimated, passes the tolerance. Nothing is shown then.
pub(crate) fn certify(
    layers: &[Layer<'_>],
    bench: &Bench<'_>,
    sequence: &[Choice],
    tolerance: f64,
    delta: f64,
) -> Result<Certified, Error> {
    let unchanged = bench.judge().compare(bench.judge().reference());
    let attainable = unchanged.upper_bound(delta).is_some_and(|bound| bound <= tolerance) && !bench.is_synthetic();
    let mut measured = Vec::new();
    let (mut shown, mut estimated) = (0, 0);
    for choice in sequence {
        let verdict = bench.compare(dense_patch(layers, choice)?)?;
        tracing::debug!(loss = verdict.loss(), bound = ?verdict.upper_bound(delta), "a choice on held-out samples");
        let within = verdict.loss() <= tolerance && bench.cautious(&verdict) <= tolerance;
        if attainable && shown == measured.len() && verdict.upper_bound(delta).is_some_and(|bound| bound <= tolerance) {
            shown += 1;
        }
        if within && estimated == measured.len() {
            estimated += 1;
        }
        measured.push(verdict);
        let ended = if shown > 0 { shown < measured.len() } else { estimated < measured.len() };
        if ended {
            break;
        }
    }
    let taken = if shown > 0 { shown } else { estimated };
    let short_of_samples = measured.get(taken).is_some_and(|v| v.loss() <= tolerance && !v.is_dead());
    let choice = taken.checked_sub(1).and_then(|k| sequence.get(k)).cloned();
    Ok(Certified {
        choice: choice.unwrap_or_else(|| vec![None; layers.len()]),
        rejected: sequence.len() - taken,
        short_of_samples,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
