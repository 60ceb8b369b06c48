//! What came of comparing a compiled model's outputs with the original's.

use crate::quality::losses::Losses;
use crate::quality::metric::Metric;

/// Most of what is lost is lost on the few samples with small margins, of which a small set may hold none. So many samples make
/// an estimate by margins twice as large (`bench/run promise` shows what it takes).
const UNSEEN: f64 = 192.0;
/// What margins let expect counts as much as so many samples with that loss: one that is lost among 64 says little by itself.
const COUNTED: f64 = 64.0;

/// What margins let expect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// The mean loss.
    pub loss: f64,
    /// Samples whose margins say so.
    pub samples: usize,
}

/// Further figures of an output, told beside its loss whatever its metric is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Relative error, centred per channel.
    pub error: Option<f64>,
    /// Mean cosine of the angle to the original's output.
    pub cosine: Option<f64>,
    /// Share of samples with the same top class.
    pub agreement: Option<f64>,
    /// Accuracy of the original and of the compiled model on the labels.
    pub accuracy: Option<(f64, f64)>,
    /// Share of samples with the same top class at every position.
    pub sequence: Option<f64>,
    /// Share of equal decisions.
    pub decisions: Option<f64>,
}

/// One output compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The metric of its rule.
    pub metric: Metric,
    /// What was lost; `None` for outputs that are not compared.
    pub losses: Option<Losses>,
    /// The loss that the original's margins let expect on further samples, where there are margins. Counts on few samples say
    /// little below one in their number; the margins of all of them say more.
    pub expected: Option<Expected>,
    /// Constant where the original's is not, or out of shape.
    pub dead: bool,
    /// Everything else worth telling.
    pub figures: Figures,
}

/// All outputs compared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// In the order of the rules.
    pub outputs: Vec<Compared>,
}

impl Verdict {
    /// The loss of the worst output; 0 where none is compared, infinite for a dead one.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.worst(|c| c.losses.as_ref().map_or(0.0, Losses::mean))
    }

    /// Standard error of the loss of the output that has the largest, as far as these samples tell.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.worst(|c| c.losses.as_ref().map_or(0.0, Losses::deviation))
    }

    /// A cautious estimate of the loss on further samples, for choosing: no less than what was observed, drawn towards what the
    /// margins let expect, and than what these let expect, the more so the fewer they are; with a standard error added to losses
    /// that have none.
    #[must_use]
    pub fn cautious(&self) -> f64 {
        self.worst(|c| match (&c.losses, c.expected) {
            (Some(losses), Some(expected)) => {
                let (n, unseen) = (losses.samples() as f64, UNSEEN / expected.samples.max(1) as f64);
                let observed = (n * losses.mean() + COUNTED * expected.loss) / (n + COUNTED);
                observed.max(expected.loss * (1.0 + unseen))
            }
            (Some(losses), None) => losses.mean() + losses.deviation(),
            (None, _) => 0.0,
        })
    }

    /// The loss on these samples or, if that is more, what the margins let expect on them, for samples that stand for nothing
    /// but themselves.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.worst(|c| {
            c.losses.as_ref().map_or(0.0, Losses::mean).max(c.expected.map_or(0.0, |expected| expected.loss))
        })
    }

    /// Quality of the worst output: the accuracy of the compiled model where labels judge it, else one minus the loss. It may be
    /// below 0.
    #[must_use]
    pub fn quality(&self) -> f64 {
        let of = |c: &Compared| match (c.metric, c.figures.accuracy, &c.losses) {
            (Metric::Accuracy, Some((_, after)), _) => after,
            (_, _, Some(losses)) => 1.0 - losses.mean(),
            (_, _, None) => 1.0,
        };
        let all = self.outputs.iter().map(of);
        if self.is_dead() { f64::MIN } else { all.fold(1.0, f64::min) }
    }

    /// The largest loss of the worst output that the samples leave possible, each output's wrong with probability at most
    /// `delta` (about, where it [is an estimate](Verdict::is_estimate)); `None` where the samples show nothing about some output, or none is compared.
    #[must_use]
    pub fn upper_bound(&self, delta: f64) -> Option<f64> {
        if self.outputs.iter().any(|c| c.dead) {
            return Some(f64::INFINITY);
        }
        let compared: Vec<&Losses> = self.outputs.iter().filter_map(|c| c.losses.as_ref()).collect();
        let bounds: Option<Vec<f64>> = compared.iter().map(|losses| losses.upper_bound(delta)).collect();
        bounds.filter(|b| !b.is_empty()).map(|b| b.into_iter().fold(0.0, f64::max))
    }

    /// Whether [`Verdict::upper_bound`] is an estimate for some output ([`Losses::is_estimate`]).
    #[must_use]
    pub fn is_estimate(&self) -> bool {
        self.outputs.iter().any(|c| c.losses.as_ref().is_some_and(Losses::is_estimate))
    }

    /// How many samples like these would show that the loss is within `tolerance`; `None` where no number would.
    #[must_use]
    pub fn samples_needed(&self, tolerance: f64, delta: f64) -> Option<usize> {
        let needed = self.outputs.iter().filter_map(|c| c.losses.as_ref()).map(|l| l.samples_needed(tolerance, delta));
        needed.collect::<Option<Vec<usize>>>()?.into_iter().max()
    }

    /// Whether some output is compared at all.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.outputs.iter().any(|c| c.losses.is_some())
    }

    /// Whether some output is constant although the original's is not.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.outputs.iter().any(|c| c.dead)
    }

    fn worst(&self, of: impl Fn(&Compared) -> f64) -> f64 {
        if self.is_dead() { f64::INFINITY } else { self.outputs.iter().map(of).fold(0.0, f64::max) }
    }
}
