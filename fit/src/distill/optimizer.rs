//! AdamW over parts of a parameter vector, and the average of the parameters over the last steps.

use std::ops::Range;

use rayon::prelude::*;

/// Parameters that one thread takes at a time; fixed, so that sums do not depend on the number of threads.
const PIECE: usize = 1 << 15;

/// A run of parameters that are of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Where they are.
    pub range: Range<usize>,
    /// A step of relative size one moves each of them by so much.
    pub size: f32,
    /// Share by which each shrinks in a step of relative size one.
    pub decay: f32,
}

impl Group {
    /// A group whose size is the root mean square of its values, at least `floor`.
    #[must_use]
    pub fn of(params: &[f32], range: Range<usize>, floor: f32, decay: f32) -> Self {
        let values = &params[range.clone()];
        let square: f32 = values.iter().map(|v| v * v).sum();
        Group { range, size: (square / values.len().max(1) as f32).sqrt().max(floor), decay }
    }
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.99;
const EPSILON: f32 = 1e-12;

/// AdamW (I. Loshchilov, F. Hutter, arXiv 1711.05101, algorithm 2) with a step size for each group.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    groups: Vec<Group>,
    /// First moments of the gradient.
    pub first: Vec<f32>,
    /// Second moments.
    pub second: Vec<f32>,
}

impl AdamW {
    /// An optimiser for `count` parameters, those of `groups`.
    #[must_use]
    pub fn new(count: usize, groups: Vec<Group>) -> Self {
        AdamW { groups, first: vec![0.0; count], second: vec![0.0; count] }
    }

    /// Step number `step` (the first is 0) against `gradient`, at the relative size `rate`.
    pub fn step(&mut self, params: &mut [f32], gradient: &[f32], rate: f32, step: usize) {
        let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let (c1, c2) = (1.0 - BETA1.powi(t), 1.0 - BETA2.powi(t));
        for group in &self.groups {
            let range = group.range.clone();
            let moments =
                self.first[range.clone()].par_chunks_mut(PIECE).zip(self.second[range.clone()].par_chunks_mut(PIECE));
            let pieces = params[range.clone()].par_chunks_mut(PIECE).zip(gradient[range].par_chunks(PIECE));
            pieces.zip(moments).for_each(|((params, gradient), (first, second))| {
                for (((p, &g), m), v) in params.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = BETA1 * *m + (1.0 - BETA1) * g;
                    *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                    let direction = (*m / c1) / ((*v / c2).sqrt() + EPSILON);
                    *p -= rate * (group.size * direction + group.decay * *p);
                }
            });
        }
    }
}

/// Scales `gradient` down to the norm `most` if it is longer; returns the norm it had.
pub fn clip(gradient: &mut [f32], most: f32) -> f64 {
    let square = |piece: &[f32]| piece.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    let squares: Vec<f64> = gradient.par_chunks(PIECE).map(square).collect();
    let norm = squares.iter().sum::<f64>().sqrt();
    if norm > f64::from(most) {
        let factor = (f64::from(most) / norm) as f32;
        gradient.par_chunks_mut(PIECE).for_each(|piece| piece.iter_mut().for_each(|g| *g *= factor));
    }
    norm
}

/// Moves `average` towards `params`, over a horizon of `steps` steps, shorter at the beginning.
pub fn average(average: &mut [f32], params: &[f32], step: usize, steps: usize) {
    let decay = (1.0 - 1.0 / steps.max(1) as f32).min((1 + step) as f32 / (10 + step) as f32);
    average.par_chunks_mut(PIECE).zip(params.par_chunks(PIECE)).for_each(|(average, params)| {
        average.iter_mut().zip(params).for_each(|(a, p)| *a = decay * *a + (1.0 - decay) * p);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_minimum_of_a_badly_scaled_bowl() {
        let target = [1000.0f32, -2000.0, 0.001, 0.002];
        let mut x = vec![900.0f32, -1500.0, 0.002, 0.001];
        let groups = vec![Group::of(&x, 0..2, 1e-6, 0.0), Group::of(&x, 2..4, 1e-6, 0.0)];
        let mut adam = AdamW::new(4, groups);
        let schedule = crate::Schedule { steps: 600, peak: 0.02, warmup: 0.05 };
        for t in 0..600 {
            let g: Vec<f32> = x.iter().zip(&target).map(|(x, t)| 2.0 * (x - t)).collect();
            adam.step(&mut x, &g, schedule.rate(t), t);
        }
        assert!(x.iter().zip(&target).all(|(x, t)| (x - t).abs() < 1e-2 * t.abs()), "{x:?}");
    }

    #[test]
    fn decay_shrinks_without_a_gradient() {
        let mut x = [2.0f32, 2.0];
        let mut adam = AdamW::new(2, vec![Group { range: 0..1, size: 1.0, decay: 0.1 }]);
        adam.step(&mut x, &[0.0, 5.0], 0.5, 0);
        assert_eq!(x, [1.9, 2.0]);
    }

    #[test]
    fn long_gradients_are_clipped() {
        let mut g = [3.0f32, 4.0];
        assert_eq!(clip(&mut g, 10.0), 5.0);
        assert_eq!(g, [3.0, 4.0]);
        assert_eq!(clip(&mut g, 1.0), 5.0);
        assert_eq!(g, [0.6, 0.8]);
    }

    #[test]
    fn the_average_follows() {
        let mut a = [0.0f32];
        for t in 0..200 {
            average(&mut a, &[1.0], t, 20);
        }
        assert!((a[0] - 1.0).abs() < 1e-3);
    }
}
