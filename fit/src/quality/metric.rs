//! What "quality" means for an output.

use serde::{Deserialize, Serialize};

/// How an output is compared with the original's. Losses lie between 0 (nothing lost) and 1, those of [`Metric::Error`] may
/// exceed 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Metric {
    /// Share of samples whose largest score has another index than in the original.
    TopClass,
    /// Share of labelled samples that the original gets right, minus the share that the compiled model gets right.
    Accuracy,
    /// Root mean square of the difference over the standard deviation of the original's output, every channel by itself.
    Error,
    /// One minus the cosine of the angle between the outputs for a sample, averaged.
    Cosine,
    /// Share of elements that differ, averaged over the samples: for integer and bool outputs.
    Equal,
    /// Share of positions whose largest score has another index, averaged over the samples.
    Positions,
    /// Share of samples of which some position has another index.
    Sequence,
    /// Share of decisions (score at or above a threshold) that differ, averaged over the samples.
    Decisions,
    /// By a function of the caller's own.
    Custom,
    /// Not at all.
    NotCompared,
}

impl Metric {
    /// Metrics that may be asked for by name.
    pub const NAMED: [Metric; 9] = [
        Metric::TopClass,
        Metric::Accuracy,
        Metric::Error,
        Metric::Cosine,
        Metric::Equal,
        Metric::Positions,
        Metric::Sequence,
        Metric::Decisions,
        Metric::NotCompared,
    ];

    /// Its name in settings and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Metric::TopClass => "top-class",
            Metric::Accuracy => "accuracy",
            Metric::Error => "error",
            Metric::Cosine => "cosine",
            Metric::Equal => "equal",
            Metric::Positions => "positions",
            Metric::Sequence => "sequence",
            Metric::Decisions => "decisions",
            Metric::Custom => "custom",
            Metric::NotCompared => "not-compared",
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Metric::NAMED.into_iter().find(|m| m.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Metric::NAMED.iter().map(|m| m.name()).collect();
            format!("`{text}` is not a known metric; known are {}", known.join(", "))
        })
    }
}

/// How one output of a model is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Name of the output.
    pub output: String,
    /// The metric that the tolerance bounds.
    pub metric: Metric,
    /// Axis of the class scores; `None` is the last one.
    pub class_axis: Option<usize>,
    /// Scores at or above it are decided for.
    pub threshold: f32,
}

impl Rule {
    /// The metric on the last axis, with a threshold of 0.5.
    #[must_use]
    pub fn new(output: &str, metric: Metric) -> Self {
        Rule { output: output.to_owned(), metric, class_axis: None, threshold: 0.5 }
    }
}
