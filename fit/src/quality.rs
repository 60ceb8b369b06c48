//! How close a compiled model's outputs are to the original's.

use serde::{Deserialize, Serialize};

use crate::runner::Output;

/// What "quality" means for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of samples whose largest output has the same index as in the original: for classifiers.
    Top1Agreement,
    /// Root mean square of the difference over that of the original's outputs: for everything else.
    RelativeRms,
    /// Share of samples whose largest output is the labelled one.
    Accuracy,
}

impl Metric {
    /// A model with one output of shape `[samples, classes]`, two classes or more, is taken for a classifier.
    #[must_use]
    pub fn for_outputs(outputs: &[Output]) -> Self {
        match outputs {
            [only] if only.shape.len() == 2 && only.shape[1] >= 2 => Metric::Top1Agreement,
            _ => Metric::RelativeRms,
        }
    }
}

/// Differences between two sets of outputs over the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Root mean square of the difference over that of the reference, all outputs together; 0 is identical.
    pub relative_rms: f64,
    /// Samples with the same top class, and samples in all; `None` unless the outputs are `[samples, classes]`.
    pub top1: Option<(usize, usize)>,
}

impl Comparison {
    /// Compares `got` with `reference`, output by output.
    ///
    /// Returns `None` when their shapes differ.
    #[must_use]
    pub fn of(reference: &[Output], got: &[Output]) -> Option<Self> {
        if reference.len() != got.len() || reference.iter().zip(got).any(|(r, g)| r.shape != g.shape) {
            return None;
        }
        let pairs = || reference.iter().zip(got).flat_map(|(r, g)| r.values.iter().zip(&g.values));
        let error: f64 = pairs().map(|(&r, &g)| (f64::from(g) - f64::from(r)).powi(2)).sum();
        let power: f64 = pairs().map(|(&r, _)| f64::from(r).powi(2)).sum();
        let top1 = match (reference, got) {
            ([r], [g]) if r.shape.len() == 2 && r.shape[1] >= 2 => {
                let same = top_classes(r).zip(top_classes(g)).filter(|(a, b)| a == b).count();
                Some((same, r.shape[0]))
            }
            _ => None,
        };
        Some(Comparison { relative_rms: ratio(error.sqrt(), power.sqrt()), top1 })
    }

    /// Loss of quality under `metric`: 0 when the outputs agree, 1 when nothing is left.
    #[must_use]
    pub fn loss(&self, metric: Metric) -> f64 {
        match (metric, self.top1) {
            (Metric::Top1Agreement, Some((same, all))) => 1.0 - same as f64 / all.max(1) as f64,
            _ => self.relative_rms,
        }
    }
}

fn ratio(error: f64, power: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / power.max(f64::MIN_POSITIVE) }
}

/// Index of the largest output of every sample of a `[samples, classes]` array; the first one on a tie.
pub fn top_classes(output: &Output) -> impl Iterator<Item = usize> + '_ {
    let classes = output.shape.last().copied().unwrap_or(1).max(1);
    output.values.chunks_exact(classes).map(|row| {
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &v)| if v > best.1 { (i, v) } else { best }).0
    })
}

/// Share of samples whose top class is the label; `None` unless the output is `[samples, classes]`.
#[must_use]
pub fn accuracy(outputs: &[Output], labels: &[i64]) -> Option<f64> {
    let [only] = outputs else { return None };
    if only.shape.len() != 2 || only.shape[0] != labels.len() || labels.is_empty() {
        return None;
    }
    let right =
        top_classes(only).zip(labels).filter(|&(top, &label)| i64::try_from(top).is_ok_and(|t| t == label)).count();
    Some(right as f64 / labels.len() as f64)
}

/// Signal to quantisation-noise ratio in decibels for a relative RMS error.
#[must_use]
pub fn sqnr_db(relative_rms: f64) -> f64 {
    -20.0 * relative_rms.max(1e-30).log10()
}

/// Wilson score interval at 95 % for `hits` of `trials`
/// (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927).
#[must_use]
pub fn wilson_interval(hits: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (z, n) = (1.959_964_f64, trials as f64);
    let p = hits as f64 / n;
    let centre = p + z * z / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

/// Share of samples whose top class is expected to change, given how far the outputs moved and how decided the
/// reference is: the mean over samples of Φ(−margin/σ), with σ² twice the mean squared error of one output.
///
/// A count of changed classes on few samples says little below one in their number; the margins of all samples say more.
/// `None` unless the outputs are one array `[samples, classes]` with two classes or more.
#[must_use]
pub fn expected_disagreement(reference: &[Output], got: &[Output]) -> Option<f64> {
    let ([r], [g]) = (reference, got) else { return None };
    let [samples, classes] = *r.shape.as_slice() else { return None };
    if classes < 2 || samples == 0 || r.shape != g.shape {
        return None;
    }
    // A shift common to all classes of a sample changes no ranking.
    let mut power = 0.0;
    for (r, g) in r.values.chunks_exact(classes).zip(g.values.chunks_exact(classes)) {
        let shift: f64 = r.iter().zip(g).map(|(&r, &g)| f64::from(g - r)).sum::<f64>() / classes as f64;
        power += r.iter().zip(g).map(|(&r, &g)| (f64::from(g - r) - shift).powi(2)).sum::<f64>();
    }
    let sigma = (2.0 * power / (samples * (classes - 1)) as f64).sqrt();
    if sigma == 0.0 {
        return Some(0.0);
    }
    let flips = r.values.chunks_exact(classes).map(|row| {
        let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for &v in row {
            if v > first {
                (first, second) = (v, first);
            } else if v > second {
                second = v;
            }
        }
        normal_tail(f64::from(first - second) / sigma)
    });
    Some(flips.sum::<f64>() / samples as f64)
}

/// P(Z > x) for a standard normal Z, x ≥ 0 (Abramowitz and Stegun 26.2.17, absolute error below 7.5e-8).
fn normal_tail(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let poly =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * poly
}

/// Root mean square of the difference over the standard deviation of the reference across samples, worst output.
///
/// Constant offsets that all samples share do not count as signal here, so outputs that hardly react to their input
/// are not mistaken for well-reproduced ones.
#[must_use]
pub fn centred_rms(reference: &[Output], got: &[Output]) -> f64 {
    let mut worst = 0.0f64;
    for (r, g) in reference.iter().zip(got) {
        let samples = r.shape.first().copied().unwrap_or(1).max(1);
        let width = (r.values.len() / samples).max(1);
        let mut mean = vec![0.0f64; width];
        for row in r.values.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / samples as f64);
        }
        let mut signal = 0.0;
        let mut error = 0.0;
        for (r, g) in r.values.chunks_exact(width).zip(g.values.chunks_exact(width)) {
            for ((&r, &g), m) in r.iter().zip(g).zip(&mean) {
                signal += (f64::from(r) - m).powi(2);
                error += (f64::from(g) - f64::from(r)).powi(2);
            }
        }
        worst = worst.max(ratio(f64::sqrt(error), f64::sqrt(signal)));
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(values: &[f32]) -> Vec<Output> {
        vec![Output::floats(vec![values.len() / 2, 2], values.to_vec())]
    }

    #[test]
    fn counts_agreement_and_error() {
        let c = Comparison::of(&output(&[1.0, 0.0, 0.0, 1.0]), &output(&[1.0, 0.0, 2.0, 1.0])).unwrap();
        assert_eq!(c.top1, Some((1, 2)));
        assert!((c.relative_rms - 2.0f64.sqrt()).abs() < 1e-12);
        assert!((c.loss(Metric::Top1Agreement) - 0.5).abs() < 1e-12);
        assert!((c.loss(Metric::RelativeRms) - c.relative_rms).abs() < 1e-12);
    }

    #[test]
    fn shapes_must_agree() {
        assert!(Comparison::of(&output(&[1.0, 0.0]), &output(&[1.0, 0.0, 2.0, 1.0])).is_none());
    }

    #[test]
    fn zero_reference_with_zero_error_is_no_loss() {
        let c = Comparison::of(&output(&[0.0, 0.0]), &output(&[0.0, 0.0])).unwrap();
        assert_eq!(c.relative_rms, 0.0);
    }

    #[test]
    fn accuracy_counts_labels() {
        assert_eq!(accuracy(&output(&[1.0, 0.0, 0.0, 1.0]), &[0, 0]), Some(0.5));
        assert_eq!(accuracy(&output(&[1.0, 0.0]), &[0, 0]), None);
    }

    #[test]
    fn wilson_matches_published_values() {
        // 81 of 263: 0.2553 … 0.3662 (Newcombe 1998, table I, method 3).
        let (low, high) = wilson_interval(81, 263);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        assert!((wilson_interval(512, 512).1 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn normal_tail_matches_tables() {
        for (x, p) in [(0.0, 0.5), (1.0, 0.158_655), (1.96, 0.024_998), (3.0, 0.001_350)] {
            assert!((normal_tail(x) - p).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn expected_disagreement_grows_with_the_error_and_ignores_shifts() {
        let r = output(&[1.0, 0.0, 0.0, 3.0]);
        assert_eq!(expected_disagreement(&r, &output(&[2.0, 1.0, 5.0, 8.0])), Some(0.0));
        let small = expected_disagreement(&r, &output(&[1.1, 0.0, 0.0, 3.1])).unwrap();
        let large = expected_disagreement(&r, &output(&[2.0, 0.0, 0.0, 4.0])).unwrap();
        assert!(0.0 < small && small < large && large < 0.5, "{small} {large}");
    }

    #[test]
    fn centred_rms_sees_through_constant_outputs() {
        let r = output(&[100.0, 0.0, 101.0, 0.0]);
        assert!(Comparison::of(&r, &output(&[100.5, 0.0, 100.5, 0.0])).unwrap().relative_rms < 0.01);
        assert!((centred_rms(&r, &output(&[100.5, 0.0, 100.5, 0.0])) - 1.0).abs() < 1e-6);
    }
}
