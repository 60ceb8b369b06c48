//! Upper confidence bounds on a loss that was measured on a sample. All are one-sided: the true loss exceeds the bound with
//! probability at most δ, the `delta` of every function here.

use rand::{Rng as _, SeedableRng as _};
use statrs::distribution::{Binomial, ContinuousCDF as _, DiscreteCDF as _, StudentsT};
use statrs::function::beta::beta_reg;

/// Halvings of an interval of length one: the bound is found to 2⁻⁴⁰.
const HALVINGS: usize = 40;
/// Share of δ spent on the losses alone in [`paired`], the rest being for the difference.
const LOSSES_ALONE: f64 = 0.9;
/// Share of δ spent on the range of the nuisance parameter of [`difference`].
const NUISANCE: f64 = 0.05;
/// Values of that parameter that are tried.
const NUISANCE_POINTS: usize = 12;
/// Halvings for [`difference`], whose p-values cost much more: the bound is found to a millionth.
const COARSE_HALVINGS: usize = 20;
/// Resamples of [`ratio`].
const RESAMPLES: usize = 2000;
/// Fewer samples than this show nothing about a loss whose distribution is unknown.
pub(super) const FEWEST: usize = 20;

/// The largest rate of losses that `losses` among `n` samples leave possible (Clopper and Pearson, "The use of confidence or
/// fiducial limits illustrated in the case of the binomial", 1934).
#[must_use]
pub fn clopper_pearson(losses: usize, n: usize, delta: f64) -> f64 {
    if losses >= n {
        return 1.0;
    }
    // P(Bin(n, p) ≤ k) = 1 − I_p(k+1, n−k) falls with p.
    largest(|p| 1.0 - beta_reg(losses as f64 + 1.0, (n - losses) as f64, p) > delta)
}

/// The lower counterpart of [`clopper_pearson`].
fn clopper_pearson_lower(losses: usize, n: usize, delta: f64) -> f64 {
    1.0 - clopper_pearson(n - losses.min(n), n, delta)
}

/// Samples without a single loss that show a rate of at most `tolerance`: the least n with (1 − tolerance)ⁿ ≤ δ.
#[must_use]
pub fn fewest_without_loss(tolerance: f64, delta: f64) -> usize {
    if tolerance <= 0.0 {
        return usize::MAX;
    }
    if tolerance >= 1.0 {
        return 1;
    }
    (delta.ln() / (1.0 - tolerance).ln()).ceil() as usize
}

/// The largest difference `P(lost) − P(won)` that `lost` and `won` among `n` pairs leave possible: the smaller of two bounds
/// that share δ. What was lost alone bounds it tightly where little changed, the difference where much changed both ways.
#[must_use]
pub fn paired(lost: usize, won: usize, n: usize, delta: f64) -> f64 {
    if n == 0 || lost + won > n {
        return 1.0;
    }
    let alone = clopper_pearson(lost, n, LOSSES_ALONE * delta);
    if won == 0 { alone } else { alone.min(difference(lost, won, n, (1.0 - LOSSES_ALONE) * delta)) }
}

/// The exact unconditional test of the difference against each value, its p-value maximised over P(won) within a confidence
/// interval whose error counts as part of δ (Berger and Boos, "P values maximized over a confidence set for the nuisance
/// parameter", 1994).
fn difference(lost: usize, won: usize, n: usize, delta: f64) -> f64 {
    let spent = delta * NUISANCE;
    let (low, high) = (clopper_pearson_lower(won, n, spent / 2.0), clopper_pearson(won, n, spent / 2.0));
    let observed = lost as i64 - won as i64;
    let possible = |difference: f64| {
        let p_value = (0..=NUISANCE_POINTS).map(|k| {
            let p_won = low + (high - low) * k as f64 / NUISANCE_POINTS as f64;
            difference_at_most(observed, (p_won + difference).clamp(0.0, 1.0), p_won, n)
        });
        p_value.fold(0.0, f64::max) + spent > delta
    };
    // Below what was observed nothing is excluded.
    let from = (observed as f64 / n as f64).max(0.0);
    from + (1.0 - from) * largest_within(COARSE_HALVINGS, |share| possible(from + (1.0 - from) * share))
}

/// P(B − C ≤ d) for trinomial counts with probabilities `p_lost`, `p_won` of a pair to count in B or C.
fn difference_at_most(d: i64, p_lost: f64, p_won: f64, n: usize) -> f64 {
    let q = (p_lost + p_won).min(1.0);
    if q <= 0.0 {
        return if d >= 0 { 1.0 } else { 0.0 };
    }
    let Ok(discordant) = Binomial::new(q, n as u64) else { return 1.0 };
    let share = (p_lost / q).clamp(0.0, 1.0);
    let spread = 9.0 * (n as f64 * q * (1.0 - q)).sqrt() + 9.0;
    let centre = n as f64 * q;
    let (first, last) = ((centre - spread).max(0.0) as u64, ((centre + spread) as u64).min(n as u64));
    let mut below = if first == 0 { 0.0 } else { discordant.cdf(first - 1) };
    let mut total = 0.0;
    for m in first..=last {
        let upto = discordant.cdf(m);
        let weight = upto - below;
        below = upto;
        // B − C ≤ d with B + C = m means B ≤ (m + d)/2.
        let most = (m as i64 + d).div_euclid(2);
        let within = match u64::try_from(most) {
            Err(_) => 0.0,
            Ok(most) if most >= m => 1.0,
            Ok(most) => Binomial::new(share, m).map_or(1.0, |b| b.cdf(most)),
        };
        total += weight * within;
    }
    total
}

/// The largest mean that losses between 0 and 1 of mean `observed` over `n` samples leave possible (Hoeffding–Bentkus: Bates,
/// Angelopoulos, Lei, Malik and Jordan, "Distribution-free, risk-controlling prediction sets", 2021, section 3.1).
#[must_use]
pub fn bounded_mean(observed: f64, n: usize, delta: f64) -> f64 {
    if n == 0 || observed >= 1.0 {
        return 1.0;
    }
    let observed = observed.max(0.0);
    let hits = (observed * n as f64).ceil() as u64;
    let p_value = |mean: f64| {
        let least = observed.min(mean);
        let hoeffding = (-(n as f64) * relative_entropy(least, mean)).exp();
        let bentkus = Binomial::new(mean, n as u64).map_or(1.0, |b| std::f64::consts::E * b.cdf(hits));
        hoeffding.min(bentkus)
    };
    observed + (1.0 - observed) * largest(|share| p_value(observed + (1.0 - observed) * share) > delta)
}

/// a·ln(a/b) + (1−a)·ln((1−a)/(1−b)).
fn relative_entropy(a: f64, b: f64) -> f64 {
    let term = |x: f64, y: f64| if x <= 0.0 { 0.0 } else { x * (x / y.max(f64::MIN_POSITIVE)).ln() };
    term(a, b) + term(1.0 - a, 1.0 - b)
}

/// An upper bound on sqrt(E[error]/E[signal]), or `None` for too few samples: the studentised bootstrap of the logarithm of the
/// ratio (Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 12.5). It holds approximately, the better the
/// more samples there are.
///
/// `error` and `signal` have one entry a sample; the resamples follow from their number alone.
#[must_use]
pub fn ratio(error: &[f64], signal: &[f64], delta: f64) -> Option<f64> {
    let n = error.len().min(signal.len());
    if n < FEWEST {
        return None;
    }
    let (centre, deviation) = log_ratio(error, signal, |k| k, n)?;
    if deviation == 0.0 {
        return Some((centre / 2.0).exp());
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0xB007 ^ n as u64);
    let mut chosen = vec![0usize; n];
    let mut studentised: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            chosen.iter_mut().for_each(|c| *c = (rng.next_u64() % n as u64) as usize);
            let (value, spread) = log_ratio(error, signal, |k| chosen[k], n)?;
            (spread > 0.0).then(|| (value - centre) / spread)
        })
        .collect();
    if studentised.len() < RESAMPLES / 2 {
        return None;
    }
    studentised.sort_by(f64::total_cmp);
    let at = ((delta * studentised.len() as f64).floor() as usize).min(studentised.len() - 1);
    Some(((centre - studentised[at] * deviation) / 2.0).exp())
}

/// How many standard errors, estimated from `n` samples, a normal mean is above what was observed with probability at most δ; `None`
/// for fewer than two.
pub(super) fn student(n: usize, delta: f64) -> Option<f64> {
    let freedom = n.checked_sub(1).filter(|&freedom| freedom > 0)?;
    Some(StudentsT::new(0.0, 1.0, freedom as f64).ok()?.inverse_cdf(1.0 - delta))
}

/// The logarithm of Σerror/Σsignal over the chosen samples and its standard error (delta method).
fn log_ratio(error: &[f64], signal: &[f64], chosen: impl Fn(usize) -> usize, n: usize) -> Option<(f64, f64)> {
    let (mut e, mut s) = (0.0, 0.0);
    for k in 0..n {
        e += error[chosen(k)];
        s += signal[chosen(k)];
    }
    if e <= 0.0 || s <= 0.0 || !(e / s).is_finite() {
        return None;
    }
    let (e, s) = (e / n as f64, s / n as f64);
    let variance: f64 = (0..n).map(|k| (error[chosen(k)] / e - signal[chosen(k)] / s).powi(2)).sum::<f64>();
    Some(((e / s).ln(), (variance / (n as f64 * (n as f64 - 1.0))).sqrt()))
}

/// The largest x in [0, 1] for which `holds`, which is true up to some x and false beyond.
fn largest(holds: impl Fn(f64) -> bool) -> f64 {
    largest_within(HALVINGS, holds)
}

/// The same to 2^−`halvings`, rounded up.
fn largest_within(halvings: usize, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..halvings {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clopper_pearson_matches_published_values() {
        // No loss among 299 shows 1 % at 95 %; 3 of 100: the one-sided 95 % limit is 7.571 % (exact tables).
        assert!(clopper_pearson(0, 299, 0.05) <= 0.01 && clopper_pearson(0, 298, 0.05) > 0.01);
        assert_eq!(fewest_without_loss(0.01, 0.05), 299);
        assert!((clopper_pearson(3, 100, 0.05) - 0.07571).abs() < 1e-4);
        assert_eq!(clopper_pearson(5, 5, 0.05), 1.0);
    }

    fn uniform(rng: &mut rand_chacha::ChaCha8Rng) -> f64 {
        (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// How often the bound is below the truth in repeated samples.
    fn missed(runs: usize, mut bound_is_below: impl FnMut(&mut rand_chacha::ChaCha8Rng) -> bool) -> f64 {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        (0..runs).filter(|_| bound_is_below(&mut rng)).count() as f64 / runs as f64
    }

    #[test]
    fn paired_bounds_cover_the_truth() {
        for (p_lost, p_won, n) in [(0.02, 0.01, 300), (0.03, 0.025, 200), (0.005, 0.0, 400)] {
            let rate = missed(120, |rng| {
                let (mut lost, mut won) = (0, 0);
                for _ in 0..n {
                    let u = uniform(rng);
                    lost += usize::from(u < p_lost);
                    won += usize::from(u >= p_lost && u < p_lost + p_won);
                }
                paired(lost, won, n, 0.05) < p_lost - p_won
            });
            assert!(rate <= 0.09, "{p_lost} {p_won} {n}: {rate}");
        }
        // Without gains the bound is close to that of a plain rate.
        let (pair, plain) = (paired(2, 0, 500, 0.05), clopper_pearson(2, 500, 0.05));
        assert!(pair < plain + 0.001 && pair > plain, "{pair} {plain}");
        // Where much changes both ways, the difference counts.
        let both = paired(120, 110, 10_000, 0.05);
        assert!(both < 0.6 * clopper_pearson(120, 10_000, 0.05) && both > 0.001, "{both}");
    }

    #[test]
    fn bounded_means_cover_the_truth() {
        let rate = missed(400, |rng| {
            let n = 150;
            let sum: f64 = (0..n).map(|_| uniform(rng).powi(6)).sum();
            bounded_mean(sum / n as f64, n, 0.05) < 1.0 / 7.0
        });
        assert!(rate <= 0.05, "{rate}");
        assert!(bounded_mean(0.0, 299, 0.05) < 0.0135);
    }

    #[test]
    fn ratios_cover_the_truth_roughly() {
        for n in [24, 64, 256] {
            let rate = missed(300, |rng| {
                // Skewed errors: squares of squares.
                let error: Vec<f64> = (0..n).map(|_| uniform(rng).powi(4)).collect();
                let signal: Vec<f64> = (0..n).map(|_| 0.5 + uniform(rng)).collect();
                ratio(&error, &signal, 0.05).unwrap() < (0.2f64 / 1.0).sqrt()
            });
            assert!(rate <= 0.09, "{n}: {rate}");
        }
        assert_eq!(ratio(&[1.0; 5], &[1.0; 5], 0.05), None);
        assert!((ratio(&[0.04; 30], &[1.0; 30], 0.05).unwrap() - 0.2).abs() < 1e-9);
    }
}
