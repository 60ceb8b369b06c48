//! Whether the activations that enter a layer say anything about it.

use std::fmt;

/// Mean squares of activations that float32 can sum and divide by.
const ORDINARY: std::ops::Range<f64> = 1e-36..1e36;
/// Activations that deviate by less from the first one, as a share of their squares, differ by rounding alone.
const ROUNDING: f64 = 1e-13;

/// Why the activations that enter a layer say nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Silent {
    /// There are none.
    NoRows,
    /// All of them are zero.
    Zeros,
    /// All of them are the same.
    Same,
    /// Their squares are lost in float32.
    TooSmall,
    /// Their squares are beyond float32.
    TooLarge,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Silent::NoRows => "nothing enters it",
            Silent::Zeros => "its inputs are all zero",
            Silent::Same => "its inputs are all the same",
            Silent::TooSmall => "its inputs are too small for float32 arithmetic",
            Silent::TooLarge => "its inputs are too large for float32 arithmetic",
        })
    }
}

/// How much rows of activations differ from each other.
#[derive(Debug, Clone)]
pub struct Variation {
    first: Vec<f32>,
    features: usize,
    rows: usize,
    squares: f64,
    /// Sum of squared deviations from the first row.
    spread: f64,
}

impl Variation {
    /// For rows with `features` columns.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Variation { first: Vec::new(), features, rows: 0, squares: 0.0, spread: 0.0 }
    }

    /// Adds rows (row-major, `features` columns).
    pub fn add(&mut self, rows: &[f32]) {
        if self.first.is_empty() {
            self.first = rows.iter().take(self.features).copied().collect();
        }
        for row in rows.chunks_exact(self.features.max(1)) {
            for (&v, &first) in row.iter().zip(&self.first) {
                self.squares += f64::from(v).powi(2);
                self.spread += (f64::from(v) - f64::from(first)).powi(2);
            }
            self.rows += 1;
        }
    }

    /// Why the rows say nothing, if so.
    #[must_use]
    pub fn silent(&self) -> Option<Silent> {
        let mean = self.squares / (self.rows * self.features).max(1) as f64;
        if self.rows == 0 || self.features == 0 {
            Some(Silent::NoRows)
        } else if mean == 0.0 {
            Some(Silent::Zeros)
        } else if mean < ORDINARY.start {
            Some(Silent::TooSmall)
        } else if !ORDINARY.contains(&mean) {
            Some(Silent::TooLarge)
        } else if self.spread <= ROUNDING * self.squares {
            Some(Silent::Same)
        } else {
            None
        }
    }
}
