//! Comparing a compiled model's outputs with the original's, every output by its own metric.

mod idle;
mod verdict;

use std::sync::Arc;

use super::error::{Channels, is_dead};
use super::losses::Losses;
use super::metric::{Metric, Rule};
use super::top::{Tops, flip, margin_deviations, tops};
use crate::error::Error;
use crate::runner::Output;
pub use verdict::{Compared, Expected, Figures, Verdict};

/// A caller's own metric: from the original's outputs, the compiled model's and the labels to a loss between 0 and 1 for every
/// sample.
#[derive(Clone)]
pub struct CustomMetric(pub Arc<CustomLoss>);

/// See [`CustomMetric`].
pub type CustomLoss = dyn Fn(&[Output], &[Output], Option<&[i64]>) -> Vec<f64> + Send + Sync;

impl std::fmt::Debug for CustomMetric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomMetric")
    }
}

/// An output whose relative error passes this has lost most of what it says, whatever its decisions.
const GUARD: f64 = 0.5;

/// The original's outputs on some samples, and how they are compared.
#[derive(Debug, Clone)]
pub struct Judge {
    rules: Vec<Rule>,
    reference: Vec<Output>,
    labels: Option<Vec<i64>>,
    custom: Option<CustomMetric>,
    channels: Vec<Option<Channels>>,
    tops: Vec<Option<Arc<Tops>>>,
    /// The same of other samples, of which only the original's outputs are known, and their labels.
    others: Vec<Option<Arc<Tops>>>,
    other_labels: Option<Vec<i64>>,
}

impl std::fmt::Debug for Tops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tops({} positions)", self.positions)
    }
}

impl Judge {
    /// `rules` has one entry for each output of `reference`, whose samples lie on the first axis (of outputs that are compared);
    /// `labels` one entry a sample.
    ///
    /// # Errors
    /// [`Error::Shape`] when a metric does not fit its output, with the remedy.
    pub fn new(
        rules: Vec<Rule>,
        reference: Vec<Output>,
        labels: Option<Vec<i64>>,
        custom: Option<CustomMetric>,
    ) -> Result<Self, Error> {
        for (rule, output) in rules.iter().zip(&reference) {
            check(rule, output, labels.as_deref())?;
        }
        let compared = |rule: &Rule| rule.metric != Metric::NotCompared;
        let pairs = || rules.iter().zip(&reference);
        let channels = pairs().map(|(rule, r)| compared(rule).then(|| Channels::of(r))).collect();
        let tops = all_tops(&rules, &reference);
        Ok(Judge { rules, reference, labels, custom, channels, tops, others: Vec::new(), other_labels: None })
    }

    /// Expects losses by the margins of other samples too, from the original's outputs on them and, if it has them of its own,
    /// their labels. Samples that weights were fitted to serve as well as any: the original's margins know nothing of that.
    #[must_use]
    pub fn with_margins_of(self, outputs: &[Output], labels: Option<&[i64]>) -> Self {
        if self.labels.is_some() != labels.is_some() || outputs.len() != self.rules.len() {
            return self;
        }
        let others = all_tops(&self.rules, outputs);
        Judge { others, other_labels: labels.map(<[i64]>::to_vec), ..self }
    }

    /// The original's outputs.
    #[must_use]
    pub fn reference(&self) -> &[Output] {
        &self.reference
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Compares `got`, output by output. Outputs of other shapes than the original's are dead.
    #[must_use]
    pub fn compare(&self, got: &[Output]) -> Verdict {
        let mut outputs: Vec<Compared> = (0..self.rules.len()).map(|at| self.output(at, got.get(at))).collect();
        let fits = outputs.iter().all(|c| !c.dead) && got.len() >= self.reference.len();
        if let (Some(custom), true) = (&self.custom, fits) {
            let losses = (custom.0)(&self.reference, got, self.labels.as_deref());
            let broken = losses.is_empty() || losses.iter().any(|l| !l.is_finite());
            let losses = losses.into_iter().map(|l| l.clamp(0.0, 1.0)).collect();
            outputs.iter_mut().for_each(|c| (c.losses, c.expected) = (None, None));
            outputs.push(Compared {
                metric: Metric::Custom,
                losses: Some(Losses::Shares(losses)),
                expected: None,
                dead: broken,
                figures: Figures::default(),
            });
        }
        Verdict { outputs }
    }

    fn output(&self, at: usize, got: Option<&Output>) -> Compared {
        let (rule, reference) = (&self.rules[at], &self.reference[at]);
        let mut compared =
            Compared { metric: rule.metric, losses: None, expected: None, dead: false, figures: Figures::default() };
        if rule.metric == Metric::NotCompared {
            return compared;
        }
        let Some(got) = got.filter(|g| g.shape == reference.shape && g.values.len() == reference.values.len()) else {
            compared.dead = true;
            return compared;
        };
        let Some(channels) = &self.channels[at] else { return compared };
        let (error, signal) = channels.per_sample(reference, got);
        let squares = Losses::Squares { error, signal };
        compared.dead = got.values.iter().any(|v| !v.is_finite()) || is_dead(reference, got);
        compared.figures.error = Some(squares.mean());
        let n = reference.shape.first().copied().unwrap_or(1);
        match rule.metric {
            Metric::TopClass | Metric::Accuracy | Metric::Positions | Metric::Sequence => {
                if let Some(before) = &self.tops[at] {
                    let others = self.others.get(at).and_then(Option::as_deref);
                    self.scores(&mut compared, rule, before, others, reference, got);
                }
            }
            Metric::Cosine => {
                let losses = cosine_losses(reference, got);
                compared.figures.cosine = Some(1.0 - losses.iter().sum::<f64>() / losses.len().max(1) as f64);
                compared.losses = Some(Losses::Shares(losses));
            }
            Metric::Equal => {
                compared.losses = Some(match (&reference.integers, &got.integers) {
                    (Some(r), Some(g)) => shares(r, g, n, |r, g| r != g),
                    _ => shares(&reference.values, &got.values, n, |r, g| r != g),
                });
                compared.figures.error = None;
            }
            Metric::Decisions => {
                let decides = |score: f32| score >= rule.threshold;
                let losses = shares(&reference.values, &got.values, n, |r, g| decides(r) != decides(g));
                compared.figures.decisions = Some(1.0 - losses.mean());
                let deviation = [root_mean_square(reference, got)];
                let margins = reference.values.iter().map(|&r| flip(f64::from((r - rule.threshold).abs()), &deviation));
                let loss = margins.sum::<f64>() / reference.values.len().max(1) as f64;
                compared.expected = Some(Expected { loss, samples: n });
                // Decisions that are nearly all alike say nothing about a score that is lost.
                compared.dead |= squares.mean() > GUARD;
                compared.losses = Some(losses);
            }
            _ => compared.losses = Some(squares),
        }
        compared
    }

    /// `before` is of the samples that are compared, `others` of those of which only the original's outputs are known.
    fn scores(
        &self,
        compared: &mut Compared,
        rule: &Rule,
        before: &Tops,
        others: Option<&Tops>,
        reference: &Output,
        got: &Output,
    ) {
        let after = tops(got, rule.class_axis);
        let n = reference.shape.first().copied().unwrap_or(1);
        let positions = before.positions.max(1);
        let others = others.filter(|others| others.positions.max(1) == positions);
        let changed: Vec<usize> = before
            .first
            .chunks_exact(positions)
            .zip(after.first.chunks_exact(positions))
            .map(|(b, a)| b.iter().zip(a).filter(|(b, a)| b != a).count())
            .collect();
        let whole = changed.iter().filter(|&&c| c > 0).count();
        if positions > 1 {
            compared.figures.sequence = Some(1.0 - whole as f64 / n.max(1) as f64);
        }
        compared.figures.agreement = Some(1.0 - changed.iter().sum::<usize>() as f64 / (n * positions).max(1) as f64);
        let fitting = |labels: &[i64], tops: &Tops| positions == 1 && labels.len() == tops.first.len();
        let labels = self.labels.as_deref().filter(|labels| fitting(labels, before));
        let right = |top: u32, label: i64| i64::from(top) == label;
        if let Some(labels) = labels {
            let accuracy = |tops: &Tops| {
                tops.first.iter().zip(labels).filter(|&(&t, &l)| right(t, l)).count() as f64 / n.max(1) as f64
            };
            compared.figures.accuracy = Some((accuracy(before), accuracy(&after)));
        }
        compared.losses = Some(match (rule.metric, labels) {
            (Metric::Accuracy, Some(labels)) => {
                let pairs = || before.first.iter().zip(&after.first).zip(labels);
                let lost = pairs().filter(|&((&b, &a), &l)| right(b, l) && !right(a, l)).count();
                let won = pairs().filter(|&((&b, &a), &l)| !right(b, l) && right(a, l)).count();
                Losses::Paired { lost, won, n }
            }
            (Metric::Positions, _) if positions > 1 => {
                Losses::Shares(changed.iter().map(|&c| c as f64 / positions as f64).collect())
            }
            _ => Losses::Counts { lost: whole, n },
        });
        let margins = before.margin.len() + others.map_or(0, |others| others.margin.len());
        let deviations = margin_deviations(reference, got, rule.class_axis, margins);
        let (mut loss, mut samples) = (0.0, 0);
        let all = [(Some(before), labels), (others, self.other_labels.as_deref())];
        for (tops, labels) in all.into_iter().filter_map(|(tops, labels)| Some((tops?, labels))) {
            let labels = labels.filter(|labels| fitting(labels, tops));
            loss += expected_losses(rule.metric, tops, labels, &deviations);
            samples += tops.first.len() / positions;
        }
        compared.expected = Some(Expected { loss: (loss / samples.max(1) as f64).max(0.0), samples });
    }
}

/// The sum of the losses of all samples that margins which stray by `deviations` let expect.
fn expected_losses(metric: Metric, tops: &Tops, labels: Option<&[i64]>, deviations: &[f64]) -> f64 {
    let positions = tops.positions.max(1);
    let flips: Vec<f64> = tops.margin.iter().map(|&m| flip(f64::from(m), deviations)).collect();
    match (metric, labels) {
        (Metric::Accuracy, Some(labels)) => {
            // Where the original is wrong and its second choice right, a flip is a gain.
            let right = |top: u32, label: i64| f64::from(u8::from(i64::from(top) == label));
            let effect = tops.first.iter().zip(&tops.second).zip(labels).zip(&flips);
            effect.map(|(((&first, &second), &label), &flip)| flip * (right(first, label) - right(second, label))).sum()
        }
        (Metric::Sequence, _) => {
            let keep = |sample: &[f64]| 1.0 - sample.iter().map(|f| 1.0 - f).product::<f64>();
            flips.chunks_exact(positions).map(keep).sum()
        }
        _ => flips.iter().sum::<f64>() / positions as f64,
    }
}

/// The largest scores of each output that is judged by them.
fn all_tops(rules: &[Rule], outputs: &[Output]) -> Vec<Option<Arc<Tops>>> {
    let scored =
        |rule: &Rule| matches!(rule.metric, Metric::TopClass | Metric::Accuracy | Metric::Positions | Metric::Sequence);
    let pairs = rules.iter().zip(outputs);
    pairs.map(|(rule, output)| scored(rule).then(|| Arc::new(tops(output, rule.class_axis)))).collect()
}

/// Refuses a metric that does not fit its output.
fn check(rule: &Rule, output: &Output, labels: Option<&[i64]>) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Shape(format!("output `{}` {why}", rule.output)));
    let shape = &output.shape;
    let axis = rule.class_axis.unwrap_or(shape.len().saturating_sub(1));
    let positions: usize = shape.iter().enumerate().filter(|&(k, _)| k != 0 && k != axis).map(|(_, &d)| d).product();
    match rule.metric {
        Metric::TopClass | Metric::Accuracy | Metric::Positions | Metric::Sequence
            if shape.len() < 2 || shape.get(axis).is_none_or(|&classes| classes < 2) =>
        {
            refuse(format!(
                "has shape {shape:?}, which holds no scores of two classes or more: choose another metric than {}",
                rule.metric
            ))
        }
        Metric::TopClass | Metric::Accuracy if positions != 1 => refuse(format!(
            "has shape {shape:?}, scores at {positions} positions: choose the metric positions or sequence instead of {}",
            rule.metric
        )),
        Metric::Cosine if shape.iter().skip(1).product::<usize>() < 2 => refuse(format!(
            "has shape {shape:?}, one number a sample, which has no direction: choose another metric than {}",
            rule.metric
        )),
        Metric::Accuracy if labels.is_none() => {
            refuse("cannot be judged by its accuracy without labels: give labels with the samples".into())
        }
        _ => Ok(()),
    }
}

/// For every sample the share of its elements that `differ`.
fn shares<T: Copy>(reference: &[T], got: &[T], samples: usize, differ: impl Fn(T, T) -> bool) -> Losses {
    let width = (reference.len() / samples.max(1)).max(1);
    let rows = reference.chunks_exact(width).zip(got.chunks_exact(width));
    let shares: Vec<f64> =
        rows.map(|(r, g)| r.iter().zip(g).filter(|&(&r, &g)| differ(r, g)).count() as f64 / width as f64).collect();
    if width == 1 {
        return Losses::Counts { lost: shares.iter().filter(|&&s| s > 0.0).count(), n: shares.len() };
    }
    Losses::Shares(shares)
}

/// One minus the cosine of every sample, at most 1: an angle of more than 90° has lost everything.
fn cosine_losses(reference: &Output, got: &Output) -> Vec<f64> {
    let (samples, width) = reference.samples_and_width();
    let dot = |a: &Output, b: &Output, at: usize| (at..at + width).map(|k| a.value(k) * b.value(k)).sum::<f64>();
    let one = |sample: usize| {
        let at = sample * width;
        let lengths = (dot(reference, reference, at) * dot(got, got, at)).sqrt();
        // Of two vectors of zeros none has a direction to lose.
        if lengths == 0.0 {
            let differ = (at..at + width).any(|k| reference.value(k) != got.value(k));
            f64::from(u8::from(differ))
        } else {
            (1.0 - dot(reference, got, at) / lengths).clamp(0.0, 1.0)
        }
    };
    (0..samples).map(one).collect()
}

fn root_mean_square(reference: &Output, got: &Output) -> f64 {
    let squares = (0..reference.values.len()).map(|k| (got.value(k) - reference.value(k)).powi(2));
    (squares.sum::<f64>() / reference.values.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests;
