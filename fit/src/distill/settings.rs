//! How long and how fast a fit goes.

use serde::{Deserialize, Serialize};

/// Settings of a fit through the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Passes over the fit samples.
    pub epochs: usize,
    /// Samples in a step.
    pub batch: usize,
    /// Largest step as a share of a core's root mean square.
    pub rate: f32,
    /// Share of the steps during which the rate rises; it falls as half a cosine afterwards (one cycle).
    pub warmup: f32,
    /// Weight decay of plain weights; cores, biases and norms have none.
    pub decay: f32,
    /// Longest gradient as a multiple of the mean length over the last steps.
    pub clip: f32,
    /// Steps over which parameters are averaged, as a share of all steps.
    pub average: f32,
    /// Seed of the order of the samples.
    pub seed: u64,
}

/// Sample presentations of a whole fit by default, and the bounds on passes.
const PRESENTATIONS: usize = 600_000;
const EPOCHS: (usize, usize) = (6, 60);

impl Settings {
    /// Defaults for so many fit samples.
    #[must_use]
    pub fn for_samples(samples: usize) -> Self {
        let samples = samples.max(1);
        Settings {
            epochs: (PRESENTATIONS / samples).clamp(EPOCHS.0, EPOCHS.1),
            batch: (samples / 50).clamp(8, 256).min(samples),
            rate: 0.06,
            warmup: 0.15,
            decay: 1e-4,
            clip: 4.0,
            average: 0.01,
            seed: 0,
        }
    }

    /// Steps of one pass over so many samples; the last batch takes what it lacks from the beginning of the pass, so that every
    /// sample is used in every pass.
    #[must_use]
    pub fn steps_per_epoch(&self, samples: usize) -> usize {
        samples.div_ceil(self.batch.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sets_are_seen_more_often() {
        let (small, large) = (Settings::for_samples(192), Settings::for_samples(55_000));
        assert_eq!((small.epochs, small.batch, small.steps_per_epoch(192)), (60, 8, 24));
        assert_eq!((large.epochs, large.batch, large.steps_per_epoch(55_000)), (10, 256, 215));
        assert_eq!(Settings::for_samples(0).steps_per_epoch(0), 1);
    }
}
