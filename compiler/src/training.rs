//! Settings of end-to-end fits.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use adntn_fit::distill::Augment;
use adntn_networks::{Activation, Topology};
use regex::Regex;

use crate::layout::LayoutChoice;
use crate::options::Options;

/// How the cores are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// Settings of the generators of some layers: `REGEX=legs:24,bond:3`.
#[derive(Debug, Clone)]
pub struct GeneratorChoice {
    /// Layers whose name or weight matches.
    pub layers: Regex,
    topology: Option<Topology>,
    layout: Option<LayoutChoice>,
    legs: Option<usize>,
    bond: Option<usize>,
    activation: Option<Activation>,
    ratio: Option<f64>,
}

impl GeneratorChoice {
    /// Whether a ratio is among the settings.
    #[must_use]
    pub fn has_ratio(&self) -> bool {
        self.ratio.is_some()
    }

    /// `options` as they are for the layers of this choice.
    #[must_use]
    pub(crate) fn applied(&self, options: &Options) -> Options {
        let mut own = options.clone();
        own.topology = self.topology.unwrap_or(own.topology);
        own.layout = self.layout.clone().or(own.layout);
        own.legs = self.legs.or(own.legs);
        own.bond = self.bond.or(own.bond);
        own.activation = self.activation.unwrap_or(own.activation);
        if let Some(ratio) = self.ratio {
            own.training.ratio = ratio;
            own.bond = self.bond;
        }
        own
    }
}

impl FromStr for GeneratorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "write REGEX=KEY:VALUE,… with keys topology, layout, legs, bond, activation, ratio";
        let (pattern, settings) = text.rsplit_once('=').ok_or_else(|| format!("`{text}`: {wanted}"))?;
        let layers = Regex::new(pattern).map_err(|e| e.to_string())?;
        let (mut topology, mut layout, mut legs, mut bond, mut activation, mut ratio) = Default::default();
        for setting in settings.split(',') {
            let (key, value) = setting.split_once(':').ok_or_else(|| format!("`{setting}`: {wanted}"))?;
            match key.trim() {
                "topology" => topology = Some(parsed(key, value)?),
                "layout" => layout = Some(parsed(key, value)?),
                "legs" => legs = Some(parsed(key, value)?),
                "bond" => bond = Some(at_least_one(key, value, usize::MAX)?),
                "activation" => activation = Some(parsed(key, value)?),
                "ratio" => ratio = Some(at_least_one(key, value, f64::MAX)?),
                other => return Err(format!("`{other}` is no setting of a generator: {wanted}")),
            }
        }
        Ok(GeneratorChoice { layers, topology, layout, legs, bond, activation, ratio })
    }
}

/// A number from 1 to `most`.
fn at_least_one<T: FromStr<Err: fmt::Display> + PartialOrd + From<u8>>(
    key: &str,
    value: &str,
    most: T,
) -> Result<T, String> {
    let number: T = parsed(key, value)?;
    let fits = (T::from(1)..=most).contains(&number);
    if fits { Ok(number) } else { Err(format!("{key} `{value}`: give 1 or more")) }
}

fn parsed<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, String> {
    value.trim().parse().map_err(|e: T::Err| format!("{key} `{value}`: {e}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_changes_what_it_names() {
        let choice: GeneratorChoice = "^fc[12]$=legs:24, bond:3,layout:interleaved".parse().unwrap();
        assert!(choice.layers.is_match("fc1") && !choice.layers.is_match("fc3"));
        let mut options = Options::new("a", "b");
        options.topology = Topology::Mera;
        let own = choice.applied(&options);
        assert_eq!((own.legs, own.bond, own.topology), (Some(24), Some(3), Topology::Mera));
        let ratio: GeneratorChoice = "x=ratio:400".parse().unwrap();
        assert_eq!((ratio.applied(&own).bond, ratio.applied(&own).training.ratio), (None, 400.0));
    }

    #[test]
    fn what_is_no_choice_is_explained() {
        for wrong in [
            "fc1",
            "fc1=",
            "fc1=bond",
            "fc1=bond:x",
            "fc1=bond:0",
            "fc1=ratio:nan",
            "fc1=ratio:0.5",
            "fc1=ratio:inf",
            "fc1=colour:red",
            "(=bond:3",
        ] {
            assert!(wrong.parse::<GeneratorChoice>().is_err(), "{wrong}");
        }
    }
}
