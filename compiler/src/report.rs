//! The report of a compilation: what changed, by how much, and how that was measured.
//!
//! Its JSON form follows `compiler/report.schema.json`; sizes are bytes, times seconds, errors and shares plain numbers
//! (0.01 is 1 %).

use adntn_fit::distill::{Check, Ended};
use adntn_fit::quality::Metric;
use adntn_networks::GeneratorSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagram::{self, Panel};
use crate::error::Error;

/// Version of the JSON form; raised when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 2;

/// Everything there is to say about one compilation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this form.
    pub schema_version: u32,
    /// Version of adntn that made the report.
    pub adntn_version: String,
    /// The model that was read.
    pub input: FileReport,
    /// The model that was written; absent after a dry run.
    pub output: Option<FileReport>,
    /// The settings that mattered.
    pub settings: Settings,
    /// Where the samples came from and how they were used; absent when none could be run.
    pub data: Option<DataReport>,
    /// Quality of the written file; absent after a dry run or when the model could not be run.
    pub quality: Option<QualityReport>,
    /// The fit through the network; absent after a layer-wise one.
    pub training: Option<TrainingReport>,
    /// Every dense weight that could be replaced, in graph order.
    pub layers: Vec<LayerReport>,
    /// Every other node with a weight, with the reason; products of two activations have none.
    pub skipped: Vec<SkippedReport>,
    /// Things the user should know, a sentence each.
    pub notes: Vec<String>,
    /// Which limit ended the search for smaller generators.
    pub stopped: Option<StopReason>,
    /// What came from the cache; absent where there is none.
    pub cache: Option<CacheReport>,
    /// Wall-clock seconds of each phase.
    pub seconds: Vec<PhaseTime>,
}

/// A model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileReport {
    /// Its path as given.
    pub path: String,
    /// Its size with the external data it refers to.
    pub bytes: u64,
    /// Parameters (elements of all floating-point initializers and constants).
    pub parameters: u64,
}

/// Settings of the compilation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Largest accepted loss of quality.
    pub tolerance: f64,
    /// Confidence with which that is to be shown.
    pub confidence: f64,
    /// `layer-wise` or `end-to-end`.
    pub fit: String,
    /// Seed of everything random.
    pub seed: u64,
    /// σ between levels.
    pub activation: String,
    /// How cores are stored: `float16` or `float32`.
    pub core_type: String,
    /// Which networks replace the weights: `ttn`, `attn` or `mera`.
    pub topology: String,
    /// The only leg layout allowed, if restricted: a name, or legs in leaf order.
    pub layout: Option<String>,
    /// Where the kernel axes of convolutions have legs of their own, if they do.
    pub kernel_legs: Option<String>,
    /// The only bond dimension allowed, if restricted.
    pub bond: Option<usize>,
}

/// The samples used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataReport {
    /// The calibration file, or `synthetic` for standard normal noise.
    pub source: String,
    /// The held-out file; absent when part of the calibration samples was set aside instead.
    pub held_out_source: Option<String>,
    /// Samples whose activations weigh the fits.
    pub fit_samples: usize,
    /// Samples on which candidates are compared.
    pub selection_samples: usize,
    /// Samples used for the final measurement only.
    pub held_out_samples: usize,
}

/// What a cache of fits was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheReport {
    /// Its folder.
    pub folder: String,
    /// Whether a search with the same model, samples and settings had been kept, so that there was none.
    pub search_found: bool,
    /// Entries read.
    pub found: usize,
    /// Entries written.
    pub kept: usize,
    /// Entries that were damaged and removed.
    pub damaged: usize,
}

/// A fit through the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingReport {
    /// The layers whose generators were trained together.
    pub layers: Vec<String>,
    /// Parameters of these generators.
    pub generator_parameters: u64,
    /// Other parameters that were trained: biases and norms, and dense weights with `--train-rest`.
    pub plain_parameters: u64,
    /// Samples trained on, changed copies included.
    pub fit_samples: usize,
    /// Samples of the checks, which training does not see.
    pub selection_samples: usize,
    /// Samples in a step.
    pub batch: usize,
    /// Passes begun.
    pub epochs: usize,
    /// Steps taken.
    pub steps: usize,
    /// The step at which a fit was resumed.
    pub resumed_at: Option<usize>,
    /// Largest step relative to a core.
    pub rate: f32,
    /// Temperature of the distillation.
    pub temperature: f32,
    /// Share of the labels in the objective.
    pub label_share: f32,
    /// Selection samples at the start: accuracy if there are labels, else agreement, else one minus the relative RMS error.
    #[schemars(with = "serde_json::Value")]
    pub start: Check,
    /// The same for the parameters that were kept.
    #[schemars(with = "serde_json::Value")]
    pub best: Check,
    /// Why it ended: `completed`, `no-improvement` or `interrupted`.
    #[schemars(with = "String")]
    pub ended: Ended,
    /// Whether cached values went to a temporary file.
    pub cached_in_file: bool,
}

/// Quality of the written file against the original, on the held-out samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QualityReport {
    /// Every output of the model, in order; a metric of the caller's own comes last.
    pub outputs: Vec<OutputReport>,
    /// Loss of quality of the worst output: what the tolerance bounds.
    pub loss: f64,
    /// The largest loss that the samples leave possible, at `confidence`; absent where they say nothing about it.
    pub upper_bound: Option<f64>,
    /// What `upper_bound` rests on, for the weakest output; absent with it.
    pub bound: Option<Bound>,
    /// The confidence asked for.
    pub confidence: f64,
    /// What the samples say.
    pub claim: Claim,
    /// Whether the loss on the samples is within the tolerance.
    pub within_tolerance: bool,
    /// Samples measured.
    pub samples: usize,
    /// About how many held-out samples with losses at the same rate would bring `upper_bound` within the tolerance; absent where
    /// these do, or where no number would.
    pub samples_needed: Option<usize>,
    /// The calibration samples from which so many would be set aside; absent where there is a held-out file.
    pub calibration_needed: Option<usize>,
}

/// What the held-out samples say of the loss of quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Claim {
    /// At the confidence asked for, no more is lost than the tolerance allows, whatever the distribution of the losses is.
    Shown,
    /// A bootstrap estimates so, for samples like the held-out ones: kinds of samples rarer than about 3 divided by their number
    /// may be missing among them, and nothing bounds what they lose. No more can be said of relative errors.
    Estimated,
    /// The loss on the samples is within the tolerance, but they are too few, or not the right ones, to show it of others.
    NotShown,
    /// More is lost on the samples than the tolerance allows.
    Outside,
}

/// What an upper bound on a loss rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Bound {
    /// A test that holds for every distribution of losses between 0 and 1.
    Exact,
    /// A bootstrap, for losses without an upper limit: an estimate for samples like the held-out ones.
    Bootstrap,
}

/// One output of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputReport {
    /// Its name.
    pub output: String,
    /// How it is judged: `top-class`, `accuracy`, `error`, `cosine`, `equal`, `positions`, `sequence`, `decisions`, `custom` or
    /// `not-compared`.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// Why.
    pub evidence: String,
    /// Its loss of quality; absent where it is not compared, or constant although the original's is not.
    pub loss: Option<f64>,
    /// The largest loss that the samples leave possible.
    pub upper_bound: Option<f64>,
    /// What that rests on; absent with it.
    pub bound: Option<Bound>,
    /// Whether the metric would pass a constant output too at this tolerance, on these samples, so that it says nothing.
    #[serde(default)]
    pub says_nothing: bool,
    /// Root mean square of the difference over the standard deviation of the original's output, channel by channel.
    pub error: Option<f64>,
    /// Mean cosine of the angle to the original's output.
    pub cosine: Option<f64>,
    /// Share of samples (of positions, where there are several) with the same top class.
    pub agreement: Option<f64>,
    /// Share of samples with the same top class at every position.
    pub sequence_agreement: Option<f64>,
    /// Share of equal decisions.
    pub decisions: Option<f64>,
    /// Accuracy of the original on the labels.
    pub accuracy_before: Option<f64>,
    /// Accuracy of the compiled model on the same labels.
    pub accuracy_after: Option<f64>,
    /// Whether the output is constant although the original's is not, or out of shape. Such a model is never written.
    pub dead: bool,
}

impl QualityReport {
    /// Accuracy before and after on the labels, where there are some.
    #[must_use]
    pub fn accuracy(&self) -> Option<(f64, f64)> {
        self.outputs.iter().find_map(|o| o.accuracy_before.zip(o.accuracy_after))
    }

    /// Whether some output is constant although the original's is not.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.outputs.iter().any(|o| o.dead)
    }
}

/// One dense weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LayerReport {
    /// Readable name.
    pub layer: String,
    /// ONNX operator that uses it.
    pub op: String,
    /// Name of the weight in the model.
    pub weight: String,
    /// Shape of the weight as stored.
    pub shape: Vec<i64>,
    /// Whether the weight was replaced; if not, `reason` says why.
    pub replaced: bool,
    /// Why the layer stays dense.
    pub reason: Option<String>,
    /// What replaces the weight: a topology, `8 bits`, `low rank r=12, 4 bits`.
    pub form: Option<String>,
    /// The generator that replaces the weight, if a network does.
    pub generator: Option<GeneratorReport>,
    /// Elements of the weight.
    pub parameters_before: u64,
    /// Parameters of the generator, or of the weight if it stays.
    pub parameters_after: u64,
    /// `parameters_before / parameters_after`.
    pub ratio: f64,
    /// Bytes of the weight in the file.
    pub bytes_before: u64,
    /// Bytes of the cores and nodes in their place, or of the weight if it stays.
    pub bytes_after: u64,
    /// ‖W−G‖/‖W‖.
    pub weight_error: Option<f64>,
    /// Relative RMS error of this layer's output when only this layer is replaced, on the held-out samples.
    pub output_error: Option<f64>,
    /// The same as a signal to noise ratio in decibels.
    pub output_sqnr_db: Option<f64>,
    /// Share of held-out samples whose top class stays when only this layer is replaced, for classifiers.
    pub top1_agreement: Option<f64>,
    /// Smallest and largest ratio, by bytes, of what is on offer for this layer (a dry run's answer).
    pub possible_ratios: Option<(f64, f64)>,
    /// The network in place of the weight, everything but its numbers: legs, tree, bonds and σ. In a dry run the one in the
    /// middle of those on offer by number of parameters.
    #[schemars(with = "Option<serde_json::Value>")]
    pub network: Option<GeneratorSpec>,
}

/// The tensor network in place of a weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorReport {
    /// `ttn`, `attn` or `mera`.
    pub topology: String,
    /// `interleaved`, `separated` or `custom`.
    pub layout: String,
    /// Where the legs of a convolution's kernel axes are: `first`, `last` or `with-inputs`; absent when they have none.
    pub kernel_legs: Option<String>,
    /// All legs in leaf order, such as `o4 i8 o4 i8`.
    pub legs: String,
    /// Dimensions of the output legs.
    pub output_legs: Vec<usize>,
    /// Dimensions of the input legs.
    pub input_legs: Vec<usize>,
    /// Bond dimension χ, the largest in use.
    pub bond: usize,
    /// Leg dimensions of every level, from the top tensor to the physical legs.
    pub levels: Vec<Vec<usize>>,
    /// σ.
    pub activation: String,
    /// Optimiser steps of the fit.
    pub steps: usize,
    /// Expected relative output error on the fit samples at the start and after the fit, both after rounding.
    pub fit_errors: (f64, f64),
    /// What the network is better known as, if it is no more than that: `low rank r=12` or `sum of 12 Kronecker products`.
    pub equivalent: Option<String>,
}

/// A node that was not considered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedReport {
    /// Node name.
    pub node: String,
    /// ONNX operator.
    pub op: String,
    /// Name of the weight, if it has one.
    pub weight: String,
    /// Shape of the weight, if known.
    pub shape: Vec<i64>,
    /// Why it was left alone.
    pub reason: String,
}

/// Which limit ended the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StopReason {
    /// Anything smaller loses more quality than allowed.
    Tolerance,
    /// Smaller choices passed on the selection samples, and the held-out ones are too few to show that they keep the quality.
    Samples,
    /// Every layer has the smallest generator on offer.
    Smallest,
    /// Every layer has the coarsest generator that its search tries.
    Coarsest,
    /// No generator is smaller than its weight.
    NoGain,
    /// No weight was selected, or there is none that could be replaced.
    NothingConsidered,
    /// No weight can be replaced, for the reasons given with the layers.
    Unsuitable,
    /// The model could not be run, so weight errors bounded the choice.
    Unmeasured,
    /// The generators followed from the settings: there was no search.
    Given,
    /// The caller asked for an end; the best found so far was taken.
    Interrupted,
    /// The time was up; the best found so far was taken.
    Time,
    /// The size asked for was reached.
    Size,
}

/// Time of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTime {
    /// Name of the phase.
    pub phase: String,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Report {
    /// Bytes of the input over bytes of the output.
    #[must_use]
    pub fn file_ratio(&self) -> Option<f64> {
        self.output.as_ref().map(|o| self.input.bytes as f64 / o.bytes.max(1) as f64)
    }

    /// The networks of all layers as one SVG: those that replaced weights, or after a dry run the ones in the middle of what
    /// is on offer.
    ///
    /// # Errors
    /// [`Error::Network`] when a network in the report is inconsistent, as one read from a file may be.
    pub fn diagram(&self) -> Result<String, Error> {
        let note = self
            .output
            .is_none()
            .then(|| "dry run: the middle one, by parameters, of the networks on offer for this layer".to_owned());
        let panel = |layer: &LayerReport| {
            Some(Panel {
                layer: layer.layer.clone(),
                op: layer.op.clone(),
                dims: layer.shape.clone(),
                note: note.clone(),
                network: layer.network.clone()?,
            })
        };
        diagram::svg(&self.layers.iter().filter_map(panel).collect::<Vec<_>>())
    }

    /// The JSON Schema (draft 2020-12) of this report's JSON form.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Report).to_value()
    }
}
