//! What was lost on each sample, and what that says about samples that were not measured.

use super::bounds;

/// Losses of one output, one entry a sample, in a form that says how they may be extrapolated.
#[derive(Debug, Clone, PartialEq)]
pub enum Losses {
    /// Lost or not: top class, exact sequence.
    Counts {
        /// Samples lost.
        lost: usize,
        /// Samples in all.
        n: usize,
    },
    /// What the labels say of two models: lost where only the original was right, won where only the compiled one was.
    Paired {
        /// Samples that only the original got right.
        lost: usize,
        /// Samples that only the compiled model got right.
        won: usize,
        /// Samples in all.
        n: usize,
    },
    /// Losses between 0 and 1: shares of elements, one minus the cosine, a caller's own.
    Shares(Vec<f64>),
    /// Squared errors and squared signals; the loss is the root of the ratio of their sums.
    Squares {
        /// Squared error of each sample.
        error: Vec<f64>,
        /// Square of the signal of each sample.
        signal: Vec<f64>,
    },
}

/// Most samples that are ever asked for.
const MOST: usize = 100_000_000;

impl Losses {
    /// Samples measured.
    #[must_use]
    pub fn samples(&self) -> usize {
        match self {
            Losses::Counts { n, .. } | Losses::Paired { n, .. } => *n,
            Losses::Shares(losses) => losses.len(),
            Losses::Squares { error, .. } => error.len(),
        }
    }

    /// The loss on these samples. Below 0 where more was won than lost.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Losses::Counts { lost, n } => *lost as f64 / (*n).max(1) as f64,
            Losses::Paired { lost, won, n } => (*lost as f64 - *won as f64) / (*n).max(1) as f64,
            Losses::Shares(losses) => losses.iter().sum::<f64>() / losses.len().max(1) as f64,
            Losses::Squares { error, signal } => {
                let (error, signal) = (error.iter().sum::<f64>(), signal.iter().sum::<f64>());
                if error == 0.0 { 0.0 } else { (error / signal.max(f64::MIN_POSITIVE)).sqrt() }
            }
        }
    }

    /// Standard error of [`Losses::mean`], for a rough idea of how far it may be off.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        let n = self.samples().max(2) as f64;
        match self {
            Losses::Counts { .. } | Losses::Paired { .. } => {
                let (lost, won) = match self {
                    Losses::Paired { lost, won, .. } => (*lost as f64, *won as f64),
                    Losses::Counts { lost, .. } => (*lost as f64, 0.0),
                    _ => (0.0, 0.0),
                };
                ((lost + won - (lost - won).powi(2) / n) / (n * (n - 1.0))).max(0.0).sqrt()
            }
            Losses::Shares(losses) => {
                let mean = self.mean();
                (losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt()
            }
            Losses::Squares { error, signal } => {
                let (e, s) = (error.iter().sum::<f64>() / n, signal.iter().sum::<f64>() / n);
                if e == 0.0 || s == 0.0 {
                    return 0.0;
                }
                let squares: f64 = error.iter().zip(signal).map(|(x, y)| (x / e - y / s).powi(2)).sum();
                self.mean() / 2.0 * (squares / (n * (n - 1.0))).sqrt()
            }
        }
    }

    /// The largest loss on all samples that these leave possible, wrong with probability at most `delta` as far as
    /// [`Losses::is_estimate`] says; `None` where so few samples say nothing.
    #[must_use]
    pub fn upper_bound(&self, delta: f64) -> Option<f64> {
        match self {
            Losses::Counts { n: 0, .. } | Losses::Paired { n: 0, .. } => None,
            Losses::Counts { lost, n } => Some(bounds::clopper_pearson(*lost, *n, delta)),
            Losses::Paired { lost, won, n } => Some(bounds::paired(*lost, *won, *n, delta)),
            Losses::Shares(losses) if losses.is_empty() => None,
            Losses::Shares(losses) => Some(bounds::bounded_mean(losses, delta)),
            Losses::Squares { error, .. } if error.iter().all(|&e| e == 0.0) && error.len() >= bounds::FEWEST => {
                Some(0.0)
            }
            Losses::Squares { error, signal } => bounds::ratio(error, signal, delta),
        }
    }

    /// Whether [`Losses::upper_bound`] is an estimate (a bootstrap), which holds as far as the samples hold everything that
    /// matters, and not a bound whatever their distribution is. A squared error has no upper limit, so no number of samples bounds
    /// what a kind of sample that is not among them adds.
    #[must_use]
    pub fn is_estimate(&self) -> bool {
        matches!(self, Losses::Squares { .. })
    }

    /// How many samples, with losses at the rate of these, would bring the bound within `tolerance`; `None` where no number
    /// would, because the loss itself is not within it.
    #[must_use]
    pub fn samples_needed(&self, tolerance: f64, delta: f64) -> Option<usize> {
        let mean = self.mean().max(0.0);
        let n = self.samples();
        if n == 0 || mean >= tolerance {
            return None;
        }
        if let Losses::Shares(losses) = self {
            return bounds::betting_samples(losses, tolerance, delta, MOST).map(|needed| needed.max(n));
        }
        let bound_at = |more: usize| -> f64 {
            let scaled = |count: usize| (count as f64 / n as f64 * more as f64).ceil() as usize;
            match self {
                Losses::Counts { lost, .. } => bounds::clopper_pearson(scaled(*lost), more, delta),
                Losses::Paired { lost, won, .. } => bounds::paired(scaled(*lost), scaled(*won), more, delta),
                // The logarithm of the bound comes closer with the root of the number.
                Losses::Squares { .. } | Losses::Shares(_) => match self.upper_bound(delta) {
                    Some(bound) => mean * (bound / mean).powf((n as f64 / more as f64).sqrt()),
                    None if more < bounds::FEWEST => f64::INFINITY,
                    None if mean == 0.0 => 0.0,
                    // Too few for a bound: what their own scatter says of more of them.
                    None => bounds::student(n, delta).map_or(f64::INFINITY, |quantile| {
                        mean * (quantile * self.deviation() / mean * (n as f64 / more as f64).sqrt()).exp()
                    }),
                },
            }
        };
        let (mut low, mut high) = (n, n);
        while bound_at(high) > tolerance {
            if high >= MOST {
                return None;
            }
            low = high;
            high = high.saturating_mul(2);
        }
        while high - low > (high / 100).max(1) {
            let middle = usize::midpoint(low, high);
            if bound_at(middle) > tolerance { low = middle } else { high = middle }
        }
        Some(high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_needed_bring_the_bound_within_the_tolerance() {
        let none_lost = Losses::Counts { lost: 0, n: 64 };
        assert!((none_lost.upper_bound(0.05).unwrap() - 0.0457).abs() < 1e-3);
        let needed = none_lost.samples_needed(0.01, 0.05).unwrap();
        assert!((299..=303).contains(&needed), "{needed}");
        assert_eq!(Losses::Counts { lost: 1, n: 64 }.samples_needed(0.01, 0.05), None);
        let paired = Losses::Paired { lost: 2, won: 2, n: 400 };
        let needed = paired.samples_needed(0.01, 0.05).unwrap();
        assert!(needed > 400 && needed < 2000, "{needed}");
        let squares =
            Losses::Squares { error: (0..50).map(|k| 1e-5 * f64::from(k % 7)).collect(), signal: vec![1.0; 50] };
        assert!(squares.upper_bound(0.05).unwrap() > squares.mean());
        assert!(squares.samples_needed(squares.mean() * 1.01, 0.05).unwrap() > 50);
    }

    #[test]
    fn too_few_samples_for_a_bound_do_not_promise_one() {
        let error: Vec<f64> = (0..16).map(|k| 1e-5 * f64::from(1 + k % 7).powi(2)).collect();
        let few = Losses::Squares { error: error.clone(), signal: vec![1.0; 16] };
        assert_eq!(few.upper_bound(0.05), None);
        // Further samples like these, as many as are asked for, do show it.
        for factor in [1.05, 1.2, 2.0] {
            let tolerance = few.mean() * factor;
            let needed = few.samples_needed(tolerance, 0.05).unwrap();
            let error = error.iter().copied().cycle().take(needed).collect();
            let more = Losses::Squares { error, signal: vec![1.0; needed] };
            assert!(needed >= bounds::FEWEST && more.upper_bound(0.05).unwrap() <= tolerance, "{factor}: {needed}");
        }
        let none = Losses::Squares { error: vec![0.0; 16], signal: vec![1.0; 16] };
        assert_eq!(none.samples_needed(0.01, 0.05), Some(bounds::FEWEST));
        let one = Losses::Squares { error: vec![1e-6], signal: vec![1.0] };
        assert_eq!(one.samples_needed(0.01, 0.05), None);
    }

    #[test]
    fn so_many_samples_bound_a_mean_of_shares() {
        let losses: Vec<f64> = (0..200).map(|k| 1e-3 * f64::from(k % 9)).collect();
        let few = Losses::Shares(losses.clone());
        assert!(!few.is_estimate() && few.upper_bound(0.05).unwrap() > 0.01);
        for tolerance in [0.006, 0.01, 0.05] {
            let needed = few.samples_needed(tolerance, 0.05).unwrap();
            let more = |count: usize| Losses::Shares(losses.iter().copied().cycle().take(count).collect());
            assert!(more(needed * 11 / 10).upper_bound(0.05).unwrap() <= tolerance, "{tolerance}: {needed}");
            let half = more(needed / 2);
            assert!(needed == 200 || half.upper_bound(0.05).unwrap() > tolerance, "{tolerance}: {needed}");
        }
        assert_eq!(few.samples_needed(0.0035, 0.05), None);
    }

    #[test]
    fn more_may_be_won_than_lost() {
        let gain = Losses::Paired { lost: 1, won: 5, n: 100 };
        assert!(gain.mean() < 0.0 && gain.upper_bound(0.05).unwrap() >= 0.0);
    }
}
