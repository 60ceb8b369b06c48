//! How close a compiled model's outputs are to the original's: a metric for every output, losses sample by sample, and what
//! they say about samples that were not measured.

mod bounds;
mod error;
mod judge;
mod losses;
mod metric;
mod top;

pub use bounds::{fewest_without_loss, student};
pub use judge::{Compared, CustomLoss, CustomMetric, Expected, Figures, Judge, Verdict};
pub use losses::Losses;
pub use metric::{Metric, Rule};

use crate::runner::Output;

/// Root mean square of the difference over that of the reference, all outputs together; `None` when shapes differ. Tells apart
/// rounding from a mistake; [`Judge`] is what measures quality.
#[must_use]
pub fn relative_rms(reference: &[Output], got: &[Output]) -> Option<f64> {
    if reference.len() != got.len() || reference.iter().zip(got).any(|(r, g)| r.shape != g.shape) {
        return None;
    }
    let pairs = || reference.iter().zip(got).flat_map(|(r, g)| (0..r.values.len()).map(|k| (r.value(k), g.value(k))));
    let error: f64 = pairs().map(|(r, g)| (g - r).powi(2)).sum();
    let power: f64 = pairs().map(|(r, _)| r.powi(2)).sum();
    Some(if error == 0.0 { 0.0 } else { error.sqrt() / power.sqrt().max(f64::MIN_POSITIVE) })
}

/// Signal to noise ratio in decibels for a relative RMS error.
#[must_use]
pub fn sqnr_db(relative_rms: f64) -> f64 {
    -20.0 * relative_rms.max(1e-30).log10()
}
