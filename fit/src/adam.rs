//! Adam with a warm-up and a cosine schedule, its steps scaled to the size of each core.

use std::ops::Range;

/// Settings of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps in all.
    pub steps: usize,
    /// Largest step as a share of a core's root mean square.
    pub peak: f32,
    /// Share of the steps during which the rate rises linearly.
    pub warmup: f32,
}

impl Schedule {
    /// Relative step size of step `t` (0-based): linear rise, then half a cosine down to zero.
    #[must_use]
    pub fn rate(&self, t: usize) -> f32 {
        let total = self.steps.max(1) as f32;
        let warm = (self.warmup * total).max(1.0);
        let t = t as f32 + 1.0;
        if t <= warm {
            return self.peak * t / warm;
        }
        let phase = (t - warm) / (total - warm).max(1.0);
        self.peak * 0.5 * (1.0 + (std::f32::consts::PI * phase.min(1.0)).cos())
    }
}

/// Adam (D. P. Kingma, J. Ba, arXiv 1412.6980, algorithm 1), one step size per core.
///
/// The cores of a generator differ in size by orders of magnitude (a top tensor carries the singular values, isometries
/// have entries below one), so a common step size would suit only one of them.
#[derive(Debug)]
pub struct Adam {
    cores: Vec<(Range<usize>, f32)>,
    first: Vec<f32>,
    second: Vec<f32>,
    step: i32,
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.99;
const EPSILON: f32 = 1e-12;

impl Adam {
    /// State for `params`, whose cores occupy the given ranges.
    #[must_use]
    pub fn new(params: &[f32], cores: &[Range<usize>]) -> Self {
        let cores = cores
            .iter()
            .map(|r| {
                let core = &params[r.clone()];
                let square: f32 = core.iter().map(|v| v * v).sum();
                (r.clone(), (square / core.len().max(1) as f32).sqrt().max(1e-6))
            })
            .collect();
        Adam { cores, first: vec![0.0; params.len()], second: vec![0.0; params.len()], step: 0 }
    }

    /// One step against `gradient`, at the relative size `rate`.
    pub fn step(&mut self, params: &mut [f32], gradient: &[f32], rate: f32) {
        self.step += 1;
        let (c1, c2) = (1.0 - BETA1.powi(self.step), 1.0 - BETA2.powi(self.step));
        for (range, size) in &self.cores {
            // Gradients shrink with the fit; only their direction counts, so epsilon is relative to the core's own.
            for i in range.clone() {
                let g = gradient[i];
                self.first[i] = BETA1 * self.first[i] + (1.0 - BETA1) * g;
                self.second[i] = BETA2 * self.second[i] + (1.0 - BETA2) * g * g;
                let direction = (self.first[i] / c1) / ((self.second[i] / c2).sqrt() + EPSILON);
                params[i] -= rate * size * direction;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_then_falls_to_zero() {
        let s = Schedule { steps: 100, peak: 0.1, warmup: 0.1 };
        assert!(s.rate(0) < s.rate(5) && (s.rate(9) - 0.1).abs() < 1e-7);
        assert!(s.rate(50) > s.rate(90) && s.rate(99) < 1e-6);
    }

    #[test]
    fn finds_the_minimum_of_a_badly_scaled_bowl() {
        let target = [1000.0f32, -2000.0, 0.001, 0.002];
        let mut x = vec![900.0f32, -1500.0, 0.002, 0.001];
        let mut adam = Adam::new(&x, &[0..2, 2..4]);
        let schedule = Schedule { steps: 600, peak: 0.02, warmup: 0.05 };
        for t in 0..600 {
            let g: Vec<f32> = x.iter().zip(&target).map(|(x, t)| 2.0 * (x - t)).collect();
            adam.step(&mut x, &g, schedule.rate(t));
        }
        for (x, t) in x.iter().zip(&target) {
            assert!((x - t).abs() < 1e-2 * t.abs(), "{x} {t}");
        }
    }
}
