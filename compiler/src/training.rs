//! Settings of end-to-end fits.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use adntn_fit::distill::Augment;

/// How the cores are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FitKind {
    /// Each generator against its weight, weighed by the layer's inputs; the smallest within the tolerance is searched for.
    #[default]
    LayerWise,
    /// All generators together through the network, against the model's own outputs and labels.
    EndToEnd,
}

impl FromStr for FitKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "layer-wise" => Ok(FitKind::LayerWise),
            "end-to-end" => Ok(FitKind::EndToEnd),
            other => Err(format!("`{other}` is not a known kind of fit; known are layer-wise, end-to-end")),
        }
    }
}

impl fmt::Display for FitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FitKind::LayerWise => "layer-wise",
            FitKind::EndToEnd => "end-to-end",
        })
    }
}

/// How outputs are compared with the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LossKind {
    /// Divergence of class probabilities for outputs `[samples, classes]`, mean squares for others.
    #[default]
    Auto,
    /// Mean squares.
    Values,
    /// The cosine of the angle, for embeddings.
    Cosine,
}

impl FromStr for LossKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(LossKind::Auto),
            "values" => Ok(LossKind::Values),
            "cosine" => Ok(LossKind::Cosine),
            other => Err(format!("`{other}` is not a known loss; known are auto, values, cosine")),
        }
    }
}

/// Settings of a fit through the network; what is `None` follows from the number of samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Parameters of a weight over those of its generator, at least; the generator is the largest that keeps to it.
    pub ratio: f64,
    /// Passes over the fit samples.
    pub epochs: Option<usize>,
    /// Samples in a step.
    pub batch: Option<usize>,
    /// Largest step as a share of a core's root mean square.
    pub rate: Option<f32>,
    /// Temperature of the distillation.
    pub temperature: f32,
    /// Share of the labels in the objective, where the calibration samples have them.
    pub labels: f32,
    /// How outputs are compared.
    pub loss: LossKind,
    /// Inner values to match as well, with their weight beside the outputs' 1.
    pub matches: Vec<(String, f32)>,
    /// Train the dense weights behind the first replaced layer too, not only biases and norms.
    pub train_rest: bool,
    /// Changed copies of the fit samples.
    pub augment: Augment,
    /// Bytes of memory for cached values; what has no room goes to a temporary file.
    pub memory: u64,
    /// Store cached values in that file as float16.
    pub half_cache: bool,
    /// Where the state of the fit is kept after every pass.
    pub checkpoint: Option<PathBuf>,
    /// Go on from the checkpoint if there is one.
    pub resume: bool,
}

impl Default for Training {
    fn default() -> Self {
        Training {
            ratio: 50.0,
            epochs: None,
            batch: None,
            rate: None,
            temperature: 2.0,
            labels: 0.3,
            loss: LossKind::Auto,
            matches: Vec::new(),
            train_rest: false,
            augment: Augment::default(),
            memory: 4 << 30,
            half_cache: false,
            checkpoint: None,
            resume: false,
        }
    }
}
