//! The relative error of an output: the difference over what the original's output varies by, channel by channel.
//!
//! Outputs mix numbers of different kinds (boxes in pixels beside scores below one, a mean beside a variance), and constants
//! that say nothing. So each channel is centred and divided by its own standard deviation before squares are added.

use crate::runner::Output;

/// A channel that varies by less than this share of its size counts as constant.
const CONSTANT: f64 = 1e-5;
/// An output that varies by less than this share of the original's variation is dead.
const DEAD: f64 = 1e-3;

/// Means and scales of the channels of a reference output.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    axis: usize,
    mean: Vec<f64>,
    /// Mean square that a difference is divided by.
    scale: Vec<f64>,
}

impl Channels {
    /// The channels of `reference`, whose samples lie on the first axis. Of arrays with three axes or more the second or the
    /// last one holds the channels: the one whose entries differ more in scale.
    pub(super) fn of(reference: &Output) -> Self {
        let rank = reference.shape.len();
        let candidates = match rank {
            0 | 1 => vec![rank],
            2 => vec![1],
            _ => vec![1, rank - 1],
        };
        let dispersion = |channels: &Channels| {
            let logs: Vec<f64> = channels.scale.iter().map(|s| s.max(1e-30).ln()).collect();
            let mean = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
            logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logs.len().max(1) as f64
        };
        let mut best: Option<(f64, Channels)> = None;
        for axis in candidates {
            let channels = Self::along(reference, axis);
            let spread = dispersion(&channels);
            if best.as_ref().is_none_or(|(most, _)| spread > *most) {
                best = Some((spread, channels));
            }
        }
        best.map_or_else(|| Self::along(reference, rank), |(_, channels)| channels)
    }

    fn along(reference: &Output, axis: usize) -> Self {
        let count = reference.shape.get(axis).copied().unwrap_or(1).max(1);
        let (mut mean, mut square, mut entries) = (vec![0.0; count], vec![0.0; count], 0usize);
        let channels = Channels { axis, mean: Vec::new(), scale: Vec::new() };
        channels.for_each(reference, |c, v| {
            mean[c] += v;
            entries += usize::from(c == 0);
        });
        mean.iter_mut().for_each(|m| *m /= entries.max(1) as f64);
        let mut size = vec![0.0; count];
        channels.for_each(reference, |c, v| {
            square[c] += (v - mean[c]).powi(2);
            size[c] += v * v;
        });
        let varies = |c: usize| square[c] > CONSTANT * CONSTANT * size[c];
        let mut scale: Vec<f64> =
            (0..count).map(|c| if varies(c) { square[c] } else { size[c] } / entries.max(1) as f64).collect();
        // A channel of zeros has no size of its own: that of the others.
        let typical = scale.iter().sum::<f64>() / count as f64;
        scale.iter_mut().filter(|s| **s == 0.0).for_each(|s| *s = if typical > 0.0 { typical } else { 1.0 });
        (0..count).filter(|&c| !varies(c)).for_each(|c| mean[c] = 0.0);
        Channels { axis, mean, scale }
    }

    fn for_each(&self, output: &Output, mut f: impl FnMut(usize, f64)) {
        let count = output.shape.get(self.axis).copied().unwrap_or(1).max(1);
        let after: usize = output.shape.iter().skip(self.axis + 1).product::<usize>().max(1);
        for (k, &v) in output.values.iter().enumerate() {
            f(k / after % count, f64::from(v));
        }
    }

    /// Mean squared difference and mean square of every sample, in units of the channels' scales.
    pub(super) fn per_sample(&self, reference: &Output, got: &Output) -> (Vec<f64>, Vec<f64>) {
        let samples = reference.shape.first().copied().unwrap_or(1).max(1);
        let width = (reference.values.len() / samples).max(1);
        let count = self.mean.len();
        let after: usize = reference.shape.iter().skip(self.axis + 1).product::<usize>().max(1);
        let rows = reference.values.chunks_exact(width).zip(got.values.chunks_exact(width));
        rows.map(|(r, g)| {
            let (mut error, mut signal) = (0.0, 0.0);
            for (k, (&r, &g)) in r.iter().zip(g).enumerate() {
                let c = k / after % count;
                let (r, g) = (f64::from(r), f64::from(g));
                error += (g - r).powi(2) / self.scale[c];
                signal += (r - self.mean[c]).powi(2) / self.scale[c];
            }
            (error / width as f64, signal / width as f64)
        })
        .unzip()
    }
}

/// Whether `got` hardly changes from sample to sample although the original does.
pub(super) fn is_dead(reference: &Output, got: &Output) -> bool {
    let (original, compiled) = (variation(reference), variation(got));
    original > 0.0 && compiled < DEAD * DEAD * original
}

/// Sum over the elements of the squared deviation from their mean over the samples.
fn variation(output: &Output) -> f64 {
    let samples = output.shape.first().copied().unwrap_or(1).max(1);
    let width = (output.values.len() / samples).max(1);
    let (mut mean, mut size) = (vec![0.0f64; width], 0.0);
    for row in output.values.chunks_exact(width) {
        for (m, &v) in mean.iter_mut().zip(row) {
            *m += f64::from(v) / samples as f64;
            size += f64::from(v) * f64::from(v);
        }
    }
    let mut sum = 0.0;
    for row in output.values.chunks_exact(width) {
        sum += row.iter().zip(&mean).map(|(&v, m)| (f64::from(v) - m).powi(2)).sum::<f64>();
    }
    // Rounding alone makes a constant vary a little.
    if sum <= size * 1e-13 { 0.0 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(shape: &[usize], values: &[f32]) -> Output {
        Output::floats(shape.to_vec(), values.to_vec())
    }

    fn relative(reference: &Output, got: &Output) -> f64 {
        let (e, s) = Channels::of(reference).per_sample(reference, got);
        (e.iter().sum::<f64>() / s.iter().sum::<f64>()).sqrt()
    }

    #[test]
    fn a_small_channel_counts_as_much_as_a_large_one() {
        let r = output(&[4, 2], &[1000.0, 0.1, 2000.0, 0.2, 3000.0, 0.3, 4000.0, 0.4]);
        let g = output(&[4, 2], &[1000.0, 0.25, 2000.0, 0.25, 3000.0, 0.25, 4000.0, 0.25]);
        assert!((relative(&r, &g) - 0.5f64.sqrt()).abs() < 1e-6);
        // The same with positions, channels last and channels second.
        let channels_last = |o: &Output| output(&[2, 2, 2], &o.values);
        assert!(relative(&channels_last(&r), &channels_last(&g)) > 0.6);
    }

    #[test]
    fn offsets_are_no_signal() {
        let r = output(&[2, 1], &[100.0, 101.0]);
        assert!((relative(&r, &output(&[2, 1], &[100.5, 100.5])) - 1.0).abs() < 1e-6);
        assert!(is_dead(&r, &output(&[2, 1], &[100.5, 100.5])));
        assert!(!is_dead(&r, &output(&[2, 1], &[100.2, 100.9])));
        // A constant output that stays what it was has lost nothing.
        let constant = output(&[2, 1], &[3.0, 3.0]);
        assert!(!is_dead(&constant, &constant));
        assert_eq!(relative(&constant, &constant), 0.0);
        assert!((relative(&constant, &output(&[2, 1], &[3.3, 3.3])) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn channels_of_zeros_are_measured_by_the_others() {
        let r = output(&[3, 2], &[0.0, 1.0, 0.0, -1.0, 0.0, 0.5]);
        let g = output(&[3, 2], &[1.0, 1.0, -1.0, -1.0, 1.0, 0.5]);
        assert!(relative(&r, &g) > 0.5);
    }
}
