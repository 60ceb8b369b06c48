//! Which calibration samples serve which purpose.

use std::collections::HashSet;

use adntn_fit::data::split;
use adntn_fit::quality::fewest_without_loss;

use crate::options::Options;

/// Shares of the calibration samples for fitting, selection and the held-out measurement.
const WITHOUT_HELD_OUT: [f64; 3] = [0.5, 0.25, 0.25];
/// Shares for fitting and selection when a held-out file is given.
const WITH_HELD_OUT: [f64; 2] = [0.75, 0.25];
/// Held-out samples, as a multiple of those that would show the tolerance without a single loss, with which there is room
/// for a loss or two.
const SHOWING: f64 = 1.67;
/// Share of the samples that may be held out for that.
const MOST_HELD_OUT: f64 = 0.5;
/// Most samples to select on, or that share of them: more would only be lost for fitting.
const MOST_SELECTION: f64 = 2000.0;
const SHARE_SELECTION: f64 = 1.0 / 10.0;
/// Of fewer different samples, or batches, none are kept apart: what is left to choose on would say less than copies do.
const LEAST_DIFFERENT: usize = 16;

/// Which shares of so many calibration samples serve to fit, to select and, without a held-out file, to measure.
fn shares(samples: usize, options: &Options) -> Vec<f64> {
    let mut shares = if options.held_out.is_some() { WITH_HELD_OUT.to_vec() } else { WITHOUT_HELD_OUT.to_vec() };
    if let Some(held_out) = shares.get_mut(2) {
        // A few more held-out samples may make the difference between showing the tolerance and not showing it.
        let wanted = SHOWING * fewest_without_loss(options.tolerance, 1.0 - options.confidence) as f64;
        let share = wanted / samples as f64;
        if share > *held_out && share <= MOST_HELD_OUT {
            let scale = (1.0 - share) / (1.0 - *held_out);
            *held_out = share;
            shares[..2].iter_mut().for_each(|s| *s *= scale);
        }
    }
    let spare = (shares[1] - SHARE_SELECTION.max(MOST_SELECTION / samples as f64)).max(0.0);
    shares[0] += spare;
    shares[1] -= spare;
    shares
}

/// The least number of calibration samples from which `held_out` would be set aside, in whole batches of `block`; `None` where
/// they are not set aside, or there are not that many.
pub(crate) fn calibration_for(held_out: usize, block: usize, options: &Options) -> Option<usize> {
    let block = block.max(1);
    let share = |blocks: usize| shares(blocks * block, options).get(2).copied();
    let enough =
        |blocks: usize| share(blocks).is_some_and(|s| (s * blocks as f64).floor() as usize * block >= held_out);
    share(1)?;
    let mut high = held_out.div_ceil(block).max(1);
    let mut low = 0;
    while !enough(high) {
        low = high;
        high = high.checked_mul(2).filter(|n| n.checked_mul(block).is_some_and(|n| n <= 1 << 40))?;
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high * block)
}

/// The samples of a calibration file by purpose.
pub(super) struct Parts {
    /// To fit, to select and, without a held-out file, to measure.
    pub(super) parts: Vec<Vec<usize>>,
    /// Samples that are equal to others.
    pub(super) copies: usize,
    /// Whether equal samples serve several purposes, because there are too few others.
    pub(super) repeated: bool,
}

/// The indices of the samples that are equal to none before.
pub(super) fn different(hashes: &[blake3::Hash]) -> Vec<usize> {
    let mut seen = HashSet::new();
    (0..hashes.len()).filter(|&k| seen.insert(hashes[k])).collect()
}

/// Splits samples so that equal ones serve one purpose, and choosing and measuring count them once; `None` for too few.
pub(super) fn parts(hashes: &[blake3::Hash], block: usize, options: &Options) -> Option<Parts> {
    let split = |samples: usize| {
        let parts = split(samples, &shares(samples, options), block, options.seed);
        (!parts.iter().any(Vec::is_empty)).then_some(parts)
    };
    let different = different(hashes);
    let copies = hashes.len() - different.len();
    let apart =
        if copies == 0 || different.len() >= LEAST_DIFFERENT * block.max(1) { split(different.len()) } else { None };
    let Some(parts) = apart else {
        return Some(Parts { parts: split(hashes.len())?, copies, repeated: copies > 0 });
    };
    let mut parts: Vec<Vec<usize>> =
        parts.into_iter().map(|part| part.into_iter().map(|k| different[k]).collect()).collect();
    if copies > 0 {
        // Fits weigh samples by how often they come.
        let fitted: HashSet<blake3::Hash> = parts[0].iter().map(|&k| hashes[k]).collect();
        parts[0] = (0..hashes.len()).filter(|&k| fitted.contains(&hashes[k])).collect();
        let whole = parts[0].len() - parts[0].len() % block.max(1);
        parts[0].truncate(whole);
    }
    Some(Parts { parts, copies, repeated: false })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_serve_one_purpose() {
        let options = Options::new("in.onnx", "out.onnx");
        let hashes = |different: usize, each: usize| -> Vec<blake3::Hash> {
            (0..different * each).map(|k| blake3::hash(&(k % different).to_le_bytes())).collect()
        };
        for block in [1, 3] {
            let hashes = hashes(60, 20);
            let Parts { parts, copies, repeated } = parts(&hashes, block, &options).unwrap();
            assert_eq!((copies, repeated), (60 * 19, false));
            let kinds: Vec<HashSet<_>> = parts.iter().map(|part| part.iter().map(|&k| hashes[k]).collect()).collect();
            assert!(kinds.iter().enumerate().all(|(k, a)| kinds[k + 1..].iter().all(|b| a.is_disjoint(b))));
            assert!(parts[1].len() == kinds[1].len() && parts[2].len() == kinds[2].len());
            assert!(parts[0].len() == 20 * kinds[0].len() && parts.iter().all(|part| part.len() % block == 0));
        }
        let few = parts(&hashes(7, 100), 1, &options).unwrap();
        assert!(few.repeated && few.copies == 693);
        assert!(parts(&hashes(1, 1), 1, &options).is_none());
    }

    #[test]
    fn so_many_calibration_samples_set_so_many_aside() {
        let mut options = Options::new("in.onnx", "out.onnx");
        for (held_out, block) in [(20, 1), (299, 1), (299, 8), (600, 1), (5000, 3)] {
            let needed = calibration_for(held_out, block, &options).unwrap();
            let set_aside = |samples: usize| split(samples, &shares(samples, &options), block, 0)[2].len();
            assert!(set_aside(needed) >= held_out, "{held_out}: {needed}");
            assert!(set_aside(needed - block) < held_out, "{held_out}: {needed}");
        }
        options.held_out = Some("held-out.npz".into());
        assert_eq!(calibration_for(20, 1, &options), None);
    }
}
