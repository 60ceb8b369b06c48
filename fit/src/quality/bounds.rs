//! Upper confidence bounds on a loss that was measured on a sample. All are one-sided: the true loss exceeds the bound with
//! probability at most δ, the `delta` of every function here. All hold whatever the distribution of the losses is, but [`ratio`],
//! which is an estimate.

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
/// What [`bounded_mean`] takes for the sum and the squared deviations of losses before it has seen any.
const PRIOR_MEAN: f64 = 0.5;
const PRIOR_VARIANCE: f64 = 0.25;
/// Most of the capital that is ever laid on one loss; with all of it a single loss of 1 would end the game.
const MOST_STAKED: f64 = 0.99;
/// Samples that the first, small stakes of [`bounded_mean`] cost.
const COLD: usize = 12;
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

/// The largest mean that `losses` between 0 and 1 leave possible, whatever their distribution: testing by betting (Waudby-Smith
/// and Ramdas, "Estimating means of bounded random variables by betting", 2024; as in Bates, Angelopoulos, Lei, Malik and Jordan,
/// "Distribution-free, risk-controlling prediction sets", 2021, section 3.1.3).
///
/// Against each mean a stake is laid on every loss to fall below it. If that is the mean, or less than the mean, the capital is
/// not expected to grow, and exceeds 1/δ with probability at most δ.
#[must_use]
pub fn bounded_mean(losses: &[f64], delta: f64) -> f64 {
    let n = losses.len();
    if n == 0 {
        return 1.0;
    }
    // Samples may lie sorted in a file; which comes when must not depend on what they are.
    let mut order: Vec<usize> = (0..n).collect();
    crate::random::shuffle(&mut order, &mut rand_chacha::ChaCha8Rng::seed_from_u64(0xBE7 ^ n as u64));
    let goal = -delta.ln();
    let (mut sum, mut squares) = (PRIOR_MEAN, PRIOR_VARIANCE);
    let bets: Vec<(f64, f64)> = order
        .into_iter()
        .enumerate()
        .map(|(seen, k)| {
            let loss = losses[k].clamp(0.0, 1.0);
            // The stake follows from what was seen before.
            let stake = stake(goal, n, squares / (seen as f64 + 1.0));
            sum += loss;
            squares += (loss - sum / (seen as f64 + 2.0)).powi(2);
            (stake, loss)
        })
        .collect();
    let most = |mean: f64| {
        let mut capital = 0.0f64;
        let mut best = 0.0f64;
        for &(stake, loss) in &bets {
            capital += (stake * (mean - loss)).ln_1p();
            best = best.max(capital);
        }
        best
    };
    largest(|mean| most(mean) < goal)
}

/// The share of the capital that is laid on a loss: the best for losses of this variance, as far as it is known.
fn stake(goal: f64, n: usize, variance: f64) -> f64 {
    (2.0 * goal / (n as f64 * variance.max(f64::MIN_POSITIVE))).sqrt().min(MOST_STAKED)
}

/// About how many samples with losses like these [`bounded_mean`] needs to show a mean of at most `tolerance`, by the growth that
/// is to be expected of the capital.
pub(super) fn betting_samples(losses: &[f64], tolerance: f64, delta: f64, most: usize) -> Option<usize> {
    let n = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / n;
    let variance = losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n;
    let goal = -delta.ln();
    let grown = |count: usize| {
        let prior = PRIOR_VARIANCE / (count as f64 + 1.0);
        let stake = stake(goal, count, variance + prior);
        let growth = losses.iter().map(|l| (stake * (tolerance - l)).ln_1p()).sum::<f64>() / n;
        // The first stakes are small.
        (count.saturating_sub(COLD)) as f64 * growth >= goal
    };
    let (mut low, mut high) = (1, 2);
    while !grown(high) {
        if high >= most {
            return None;
        }
        low = high;
        high *= 2;
    }
    while high - low > (high / 200).max(1) {
        let middle = usize::midpoint(low, high);
        if grown(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// An upper bound on sqrt(E[error]/E[signal]), or `None` for too few samples: the studentised bootstrap of the logarithm of the
/// ratio (Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 12.5). It holds approximately, the better the
/// more samples there are, and only as far as the samples hold everything that matters: a kind that makes up a share p of all is
/// missing among n with probability (1 − p)ⁿ, which is 5 % for p = 3/n, and no bootstrap knows what it would add.
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
/// for fewer than two (Student's distribution).
#[must_use]
pub fn student(n: usize, delta: f64) -> Option<f64> {
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
        let skewed = missed(400, |rng| {
            let losses: Vec<f64> = (0..150).map(|_| uniform(rng).powi(6)).collect();
            bounded_mean(&losses, 0.05) < 1.0 / 7.0
        });
        assert!(skewed <= 0.05, "{skewed}");
        // A rare kind of sample loses everything: most sets of 100 do not hold it.
        let rare = missed(400, |rng| {
            let losses: Vec<f64> = (0..100).map(|_| if uniform(rng) < 0.015 { 1.0 } else { 0.001 }).collect();
            bounded_mean(&losses, 0.05) < 0.015 + 0.985 * 0.001
        });
        assert!(rare <= 0.05, "{rare}");
        // Close to what is possible at all: 299 without a loss.
        assert!(bounded_mean(&[0.0; 320], 0.05) <= 0.01 && bounded_mean(&[0.0; 298], 0.05) > 0.01);
        let smooth: Vec<f64> = (0..1000).map(|k| 1e-3 * f64::from(k % 9)).collect();
        assert!(bounded_mean(&smooth, 0.05) < 0.0085);
        assert_eq!(bounded_mean(&[1.0; 4], 0.05), 1.0);
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
