//! The relative error of an output: the difference over what the original's output varies by, channel by channel.
//!
//! Outputs mix numbers of different kinds (boxes in pixels beside scores below one, a mean beside a variance), offsets and
//! constants that say nothing. So every element is centred on its own mean over the samples, and the channels are divided by
//! their standard deviations before squares are added. What does not vary has no part in the signal; what is wrong there counts
//! as an error all the same.

use crate::runner::Output;

/// An output that varies by less than this share of the original's variation is dead.
const DEAD: f64 = 1e-3;

/// Centres of the elements and scales of the channels of a reference output.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    axis: usize,
    /// Of every element, over the samples.
    centre: Vec<f64>,
    /// Mean square that a difference is divided by, for every channel.
    scale: Vec<f64>,
    /// What the square of an element's deviation counts for the signal: 0 in channels that do not vary.
    weight: Vec<f64>,
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
        let moments = Moments::of(reference);
        let dispersion = |channels: &Channels| {
            let logs: Vec<f64> = channels.scale.iter().map(|s| s.max(1e-30).ln()).collect();
            let mean = logs.iter().sum::<f64>() / logs.len().max(1) as f64;
            logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logs.len().max(1) as f64
        };
        let mut best: Option<(f64, Channels)> = None;
        for axis in candidates {
            let channels = Self::along(reference, &moments, axis);
            let spread = dispersion(&channels);
            if best.as_ref().is_none_or(|(most, _)| spread > *most) {
                best = Some((spread, channels));
            }
        }
        best.map_or_else(|| Self::along(reference, &moments, rank), |(_, channels)| channels)
    }

    fn along(reference: &Output, moments: &Moments, axis: usize) -> Self {
        let count = reference.shape.get(axis).copied().unwrap_or(1).max(1);
        let mut channels = Channels { axis, centre: moments.mean.clone(), scale: Vec::new(), weight: vec![1.0; count] };
        let channel = channels.channel(reference);
        let (mut varies, mut size) = (vec![0.0; count], vec![0.0; count]);
        let (samples, width) = reference.samples_and_width();
        for at in 0..width {
            varies[channel(at)] += moments.deviation[at];
            size[channel(at)] += moments.square[at];
        }
        let entries = (samples * width / count).max(1) as f64;
        let rounding = reference.rounding().powi(2);
        let constant: Vec<bool> = (0..count).map(|c| varies[c] <= rounding * size[c]).collect();
        channels.scale = (0..count).map(|c| if constant[c] { size[c] } else { varies[c] } / entries).collect();
        // A channel of zeros has no size of its own: that of the others.
        let typical = channels.scale.iter().sum::<f64>() / count as f64;
        let typical = if typical > 0.0 { typical } else { 1.0 };
        channels.scale.iter_mut().filter(|s| **s == 0.0).for_each(|s| *s = typical);
        if constant.iter().all(|&constant| constant) {
            // Nothing varies: what there is is measured by its size.
            channels.centre.iter_mut().for_each(|centre| *centre = 0.0);
        } else {
            (0..count).filter(|&c| constant[c]).for_each(|c| channels.weight[c] = 0.0);
        }
        channels
    }

    /// The channel of an element of a sample.
    fn channel(&self, output: &Output) -> impl Fn(usize) -> usize + use<> {
        let count = output.shape.get(self.axis).copied().unwrap_or(1).max(1);
        let after: usize = output.shape.iter().skip(self.axis + 1).product::<usize>().max(1);
        move |at| at / after % count
    }

    /// Mean squared difference and mean square of every sample, in units of the channels' scales.
    pub(super) fn per_sample(&self, reference: &Output, got: &Output) -> (Vec<f64>, Vec<f64>) {
        let (samples, width) = reference.samples_and_width();
        let channel = self.channel(reference);
        if reference.values.len().min(got.values.len()) < samples * width {
            return (Vec::new(), Vec::new());
        }
        let one = |sample: usize| {
            let (mut error, mut signal) = (0.0, 0.0);
            for at in 0..width {
                let c = channel(at);
                let (r, g) = (reference.value(sample * width + at), got.value(sample * width + at));
                error += (g - r).powi(2) / self.scale[c];
                signal += self.weight[c] * (r - self.centre[at]).powi(2) / self.scale[c];
            }
            (error / width as f64, signal / width as f64)
        };
        (0..samples).map(one).unzip()
    }
}

/// Whether `got` hardly changes from sample to sample although the original does.
pub(super) fn is_dead(reference: &Output, got: &Output) -> bool {
    let (original, compiled) = (variation(reference), variation(got));
    original > 0.0 && compiled < DEAD * DEAD * original
}

/// Sum over the elements of the squared deviation from their mean over the samples.
fn variation(output: &Output) -> f64 {
    let moments = Moments::of(output);
    let (sum, size) = (moments.deviation.iter().sum::<f64>(), moments.square.iter().sum::<f64>());
    // Rounding alone makes a constant vary a little.
    if sum <= size * output.rounding().powi(2) { 0.0 } else { sum }
}

/// Of every element of a sample, over the samples: its mean, the sum of its squares, and that of its squared deviations.
struct Moments {
    mean: Vec<f64>,
    square: Vec<f64>,
    deviation: Vec<f64>,
}

impl Moments {
    fn of(output: &Output) -> Self {
        let (samples, width) = output.samples_and_width();
        let mut moments = Moments { mean: vec![0.0; width], square: vec![0.0; width], deviation: vec![0.0; width] };
        if output.values.len() < samples * width {
            return moments;
        }
        // The first sample is taken off before sums are made, so that the mean of equal numbers is exact.
        for sample in 0..samples {
            for at in 0..width {
                let value = output.value(sample * width + at);
                moments.mean[at] += value - output.value(at);
                moments.square[at] += value * value;
            }
        }
        for at in 0..width {
            moments.mean[at] = output.value(at) + moments.mean[at] / samples as f64;
        }
        if samples == 1 {
            // One sample varies within itself at most.
            let mean = moments.mean.iter().sum::<f64>() / width as f64;
            moments.mean.iter_mut().for_each(|m| *m = mean);
        }
        for sample in 0..samples {
            for at in 0..width {
                moments.deviation[at] += (output.value(sample * width + at) - moments.mean[at]).powi(2);
            }
        }
        moments
    }
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
    fn large_offsets_hide_nothing() {
        let wave = |k: usize| (k as f64 * 0.7).sin() * 0.6;
        let half = |k: usize| wave(k) / 2.0;
        let pressure = |of: &dyn Fn(usize) -> f64| {
            output(&[64, 1], &(0..64).map(|k| 101_325.0 + of(k) as f32).collect::<Vec<_>>())
        };
        let found = relative(&pressure(&wave), &pressure(&half));
        assert!((found - 0.5).abs() < 0.02, "{found}");
        let doubles = |offset: f64, of: &dyn Fn(usize) -> f64| {
            let values: Vec<f64> = (0..64).map(|k| offset + of(k)).collect();
            Output {
                doubles: Some(values.clone()),
                ..output(&[64, 1], &values.iter().map(|&v| v as f32).collect::<Vec<_>>())
            }
        };
        for offset in [1e6, 3e7, 1e9] {
            let found = relative(&doubles(offset, &wave), &doubles(offset, &half));
            assert!((found - 0.5).abs() < 1e-3, "{offset}: {found}");
            assert!(is_dead(&doubles(offset, &wave), &doubles(offset, &|_| 0.0)));
        }
        assert_eq!(relative(&doubles(0.1, &|_| 0.0), &doubles(0.1, &|_| 0.0)), 0.0);
        // Rounding of a constant is no variation.
        let rounded = output(&[4, 1], &[1.0, 1.0 + f32::EPSILON, 1.0, 1.0 - f32::EPSILON / 2.0]);
        assert!(relative(&rounded, &output(&[4, 1], &[1.0; 4])) < 1e-6);
    }

    #[test]
    fn a_grid_that_is_the_same_for_all_samples_is_no_signal() {
        // [samples, anchors, x and y]: a cell of 100 pixels and about one pixel within it.
        let boxes = |share: f32| {
            let within = |sample: usize, k: usize| share * ((sample * 7 + k * 3) as f32 * 1.3).sin();
            let cell = |k: usize| 100.0 * (k / 2) as f32;
            let values = (0..40).flat_map(|sample| (0..16).map(move |k| cell(k) + within(sample, k)));
            output(&[40, 8, 2], &values.collect::<Vec<_>>())
        };
        let found = relative(&boxes(1.0), &boxes(0.6));
        assert!((found - 0.4).abs() < 0.01, "{found}");
    }

    #[test]
    fn constants_dilute_no_error() {
        // One channel of a hundred varies.
        let wide = |share: f32, constant: f32| {
            let row = |k: usize| (0..100).map(move |c| if c == 0 { share * (k as f32).sin() } else { constant });
            output(&[50, 100], &(0..50).flat_map(row).collect::<Vec<_>>())
        };
        let found = relative(&wide(1.0, 1.0), &wide(0.7, 1.0));
        assert!((found - 0.3).abs() < 1e-3, "{found}");
        let moved = relative(&wide(1.0, 1.0), &wide(1.0, 1.05));
        assert!(moved > 0.05, "{moved}");
    }

    #[test]
    fn channels_of_zeros_are_measured_by_the_others() {
        let r = output(&[3, 2], &[0.0, 1.0, 0.0, -1.0, 0.0, 0.5]);
        let g = output(&[3, 2], &[1.0, 1.0, -1.0, -1.0, 1.0, 0.5]);
        assert!(relative(&r, &g) > 0.5);
    }
}
