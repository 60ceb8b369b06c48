//! Whether a metric says anything on the samples at hand.

use super::{Judge, Metric};
use crate::runner::Output;

/// So many samples, spread over all, are tried in place of all others by [`Judge::idle`].
const CONSTANTS: usize = 4;

impl Judge {
    /// For each output whether its metric says nothing on these samples, since it would let a constant output pass as well, with a
    /// loss within `tolerance`: a threshold that no score reaches, one class for all samples, vectors that all point the same way.
    #[must_use]
    pub fn idle(&self, tolerance: f64) -> Vec<bool> {
        let pairs = self.rules.iter().zip(&self.reference).enumerate();
        pairs
            .map(|(at, (rule, reference))| {
                let of_interest = !matches!(rule.metric, Metric::Error | Metric::NotCompared) && self.custom.is_none();
                // An output of whole numbers that is always the same is kept by what keeps it the same.
                let is_fixed = || rule.metric == Metric::Equal && repeated(reference, 0) == *reference;
                let passes = |constant: Output| {
                    let compared = self.output(at, Some(&constant));
                    compared.losses.is_some_and(|losses| losses.mean() <= tolerance)
                };
                let (samples, _) = reference.samples_and_width();
                let mut rows = (0..CONSTANTS.min(samples)).map(|k| k * samples / CONSTANTS.min(samples));
                of_interest
                    && !is_fixed()
                    && (passes(averaged(reference)) || rows.any(|row| passes(repeated(reference, row))))
            })
            .collect()
    }
}

/// `output` with the sample `row` in place of all.
fn repeated(output: &Output, row: usize) -> Output {
    fn all<T: Copy>(values: &[T], samples: usize, width: usize, row: usize) -> Vec<T> {
        values.get(row * width..(row + 1) * width).unwrap_or_default().repeat(samples)
    }
    let (samples, width) = output.samples_and_width();
    Output {
        values: all(&output.values, samples, width, row),
        integers: output.integers.as_ref().map(|values| all(values, samples, width, row)),
        doubles: output.doubles.as_ref().map(|values| all(values, samples, width, row)),
        ..output.clone()
    }
}

/// `output` with the mean of all samples in place of each.
fn averaged(output: &Output) -> Output {
    let (samples, width) = output.samples_and_width();
    let mean = |at: usize| (0..samples).map(|sample| output.value(sample * width + at)).sum::<f64>() / samples as f64;
    let row: Vec<f64> = (0..width.min(output.values.len())).map(mean).collect();
    let values: Vec<f32> = row.iter().map(|&v| v as f32).collect();
    Output {
        values: values.repeat(samples),
        doubles: output.doubles.as_ref().map(|_| row.repeat(samples)),
        ..output.clone()
    }
}
