//! What to compile and how.

use std::path::PathBuf;
use std::time::Duration;

use adntn_fit::data::ImageOptions;
use adntn_fit::layerwise::Effort;
use adntn_fit::quality::{CustomMetric, Metric};
use adntn_networks::{Activation, KernelLegs, Topology};
use regex::Regex;

use crate::cache::CacheOptions;
use crate::goal::SearchEffort;
use crate::layout::LayoutChoice;
use crate::probe::Probe;
use crate::rules::GeneratorChoice;
use crate::training::{FitKind, Training};

/// How the cores of a generator are stored in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreType {
    /// Four bytes a parameter.
    Float32,
    /// Two bytes a parameter and one Cast node a core; the cores are rounded before anything is measured.
    Float16,
}

impl CoreType {
    /// Bytes of one parameter.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            CoreType::Float32 => 4,
            CoreType::Float16 => 2,
        }
    }
}

impl std::fmt::Display for CoreType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            CoreType::Float32 => "float32",
            CoreType::Float16 => "float16",
        })
    }
}

impl std::str::FromStr for CoreType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "float32" => Ok(CoreType::Float32),
            "float16" => Ok(CoreType::Float16),
            other => Err(format!("`{other}` is not a known core type; known are float16, float32")),
        }
    }
}

/// Everything [`compile`](crate::compile) needs to know; [`Options::new`] gives the defaults of the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model to compile.
    pub input: PathBuf,
    /// Where the compiled model goes; never the input itself.
    pub output: PathBuf,
    /// Calibration samples: `.npz` or `.safetensors` (arrays by input name), `.npy` (one input), a folder of `.npy` files, or a
    /// folder of images, which may lie in folders of their own, one a class.
    pub calibration: Option<PathBuf>,
    /// Class labels of the calibration samples (`.npy`), where they are not with the samples.
    pub labels: Option<PathBuf>,
    /// Samples for the final measurement only; without them a quarter of the calibration samples is set aside.
    pub held_out: Option<PathBuf>,
    /// Class labels of the held-out samples (`.npy`), where they are not with the samples.
    pub held_out_labels: Option<PathBuf>,
    /// How images become inputs.
    pub images: ImageOptions,
    /// Largest accepted loss of quality of the whole model, as a share (0.01 is 1 %).
    pub tolerance: f64,
    /// How outputs are judged: by name, or all of them that hold real numbers; the last match counts. Without an entry the
    /// metric follows from labels, operators and types.
    pub metrics: Vec<(Option<String>, Metric)>,
    /// A metric of the caller's own, in place of all others.
    pub metric_function: Option<CustomMetric>,
    /// Score from which on a probability is a decision for it; 0.5 unless given.
    pub threshold: Option<f32>,
    /// Confidence with which the loss is to be shown to be within the tolerance, above 0 and below 1.
    pub confidence: f64,
    /// Only layers whose name or node name matches are considered.
    pub layers: Option<Regex>,
    /// Layers whose name or node name matches are left alone.
    pub exclude: Option<Regex>,
    /// Which networks replace the weights.
    pub topology: Topology,
    /// Use this bond dimension χ only, instead of searching for the smallest that will do. Where the legs of a weight carry
    /// less, they decide, and the report says so.
    pub bond: Option<usize>,
    /// The nonlinearity σ between levels.
    pub activation: Activation,
    /// How cores are stored.
    pub core_type: CoreType,
    /// Use this leg layout only, instead of trying all.
    pub layout: Option<LayoutChoice>,
    /// Give the kernel axes of convolutions legs of their own, here; without this they are split together with the channels.
    pub kernel_legs: Option<KernelLegs>,
    /// Seed of everything random.
    pub seed: u64,
    /// Weights with fewer elements are left alone.
    pub min_elements: usize,
    /// How the cores are fitted.
    pub fit: FitKind,
    /// Settings of end-to-end fits.
    pub training: Training,
    /// Settings of the generators of some layers. Of what several that match a layer say of one setting, the one with the highest
    /// priority counts; with the same priority they may not contradict each other.
    pub generators: Vec<GeneratorChoice>,
    /// Use layouts of so many legs only, instead of trying several; those of kernel axes are not counted.
    pub legs: Option<usize>,
    /// Work spent on each fit.
    pub effort: Effort,
    /// Wall-clock time for the whole compilation, more or less: the search ends so that the final test fits in. Results then
    /// depend on the machine.
    pub time: Option<Duration>,
    /// Work spent on the search.
    pub search_effort: SearchEffort,
    /// End the search as soon as the output takes no more bytes than this, with its external data, and take the safest choice that
    /// does; nothing is written where nothing found is that small.
    pub max_size: Option<u64>,
    /// Stop after finding the candidates; nothing is fitted or written.
    pub dry_run: bool,
    /// Store the output's tensors in a file of their own beside the model, whatever its size, unless the files would be
    /// larger than the input. It is named by its content: `OUT.onnx.0123456789abcdef.data`.
    pub external_data: bool,
    /// Try the model in a process of its own before it is run in this one; `None` trusts it.
    pub probe: Option<Probe>,
    /// Where the report goes as JSON, together with the model.
    pub report: Option<PathBuf>,
    /// Where a drawing of the networks goes as SVG, together with the model.
    pub diagram: Option<PathBuf>,
    /// Write a model that loses more quality than the tolerance allows, too.
    pub accept_worse: bool,
    /// The file that these settings come from, if they come from one: it is not read, but nothing may be written over it.
    pub settings: Option<PathBuf>,
    /// Where results are kept, and looked for, so that what was worked out once is not worked out again; `None` keeps nothing.
    pub cache: Option<CacheOptions>,
    /// Where [`plan`](crate::plan) writes.
    pub plan: Option<PathBuf>,
}

impl Options {
    /// Whether they ask for networks of some kind: nothing else is on offer then.
    pub(crate) fn asks_for_networks(&self) -> bool {
        self.fit == FitKind::EndToEnd
            || (self.topology, self.activation) != (Topology::Ttn, Activation::Tanh)
            || self.core_type == CoreType::Float32
            || self.bond.or(self.legs).is_some()
            || self.layout.is_some()
            || self.kernel_legs.is_some()
    }

    /// Whether a model is to be written.
    pub(crate) fn writes_model(&self) -> bool {
        !self.dry_run && self.plan.is_none()
    }

    /// The settings for a layer of this name and weight.
    pub(crate) fn for_layer(&self, layer: &str, weight: &str) -> Options {
        let mut choices: Vec<&GeneratorChoice> =
            self.generators.iter().filter(|choice| choice.is_for(layer, weight)).collect();
        choices.sort_by_key(|choice| choice.priority);
        choices.into_iter().fold(self.clone(), |options, choice| choice.applied(&options))
    }

    /// Default settings for compiling `input` to `output`.
    #[must_use]
    pub fn new(input: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Options {
            input: input.into(),
            output: output.into(),
            calibration: None,
            labels: None,
            held_out: None,
            held_out_labels: None,
            images: ImageOptions::default(),
            tolerance: 0.01,
            metrics: Vec::new(),
            metric_function: None,
            threshold: None,
            confidence: 0.95,
            layers: None,
            exclude: None,
            topology: Topology::Ttn,
            bond: None,
            activation: Activation::Tanh,
            core_type: CoreType::Float16,
            layout: None,
            kernel_legs: None,
            seed: 0,
            min_elements: 256,
            fit: FitKind::default(),
            training: Training::default(),
            generators: Vec::new(),
            legs: None,
            effort: Effort::default(),
            time: None,
            search_effort: SearchEffort::default(),
            max_size: None,
            dry_run: false,
            external_data: false,
            probe: None,
            report: None,
            diagram: None,
            accept_worse: false,
            settings: None,
            cache: None,
            plan: None,
        }
    }
}
