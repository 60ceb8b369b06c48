//! The arguments of `adntn-compile`.
//!
//! The first paragraph of an argument's documentation is what `--help` says, all of it what `--help-all` says. Every argument but
//! those in [`NO_SETTINGS`](super::settings::NO_SETTINGS) is a key of files of settings too, and in what `--print-config` prints.

use std::path::PathBuf;
use std::time::Duration;

use adntn_compiler::{
    Activation, CoreType, FitKind, GeneratorChoice, KernelLegs, LayoutChoice, LossKind, Metric, SearchEffort, Topology,
};
use clap::ArgAction;
use regex::Regex;

use super::values::{bytes, confidence, metric, named, number, positive, ratio, share, size, time, weighted};

/// The arguments that `--help` shows; `--help-all` shows all.
pub(super) const ORDINARY: &[&str] = &[
    "input",
    "output",
    "calibration",
    "labels",
    "held_out",
    "tolerance",
    "metric",
    "confidence",
    "time",
    "effort",
    "max_size",
    "layers",
    "exclude",
    "report",
    "dry_run",
    "accept_worse",
    "external_data",
    "quiet",
    "verbose",
    "cache_dir",
    "no_cache",
    "config",
    "print_config",
    "help",
    "help_all",
    "version",
];

/// Heading of what says nothing without `--fit end-to-end`.
pub(super) const TRAINING: &str = "Training";

/// Makes a trained ONNX model smaller, within a tolerance of its quality, by replacing dense weights.
///
/// What replaces them are low ranks, digits of few levels and tensor networks fitted to them.
#[derive(Debug, clap::Parser)]
#[command(
    name = "adntn-compile",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "For images there are --image-mean, --image-std and more: see --help-all."
)]
pub(crate) struct Args {
    /// The model to compile.
    #[arg(value_name = "IN.onnx")]
    pub(super) input: Option<PathBuf>,

    /// Where the compiled model goes (not needed with --dry-run).
    #[arg(value_name = "OUT.onnx")]
    pub(super) output: Option<PathBuf>,

    /// Samples of real inputs: .npz, .safetensors, .npy, a folder of images.
    ///
    /// Arrays in .npz and .safetensors go by the names of the inputs. A folder holds .npy files, or images, in folders of their
    /// own, one a class, or not; labels, as an array `labels` or by class, add accuracy to the report.
    #[arg(short, long, value_name = "FILE|DIR", help_heading = "Data")]
    pub(super) calibration: Option<PathBuf>,

    /// Class labels of the samples, where they are not with them.
    #[arg(long, value_name = "FILE.npy", help_heading = "Data")]
    pub(super) labels: Option<PathBuf>,

    /// Samples for the final measurement, new to the original too.
    ///
    /// Without it a quarter of the calibration samples, or up to half where that shows the tolerance, is set aside.
    #[arg(long, value_name = "FILE|DIR", help_heading = "Data")]
    pub(super) held_out: Option<PathBuf>,

    /// Class labels of the held-out samples, where they are not with the samples.
    #[arg(long, value_name = "FILE.npy", help_heading = "Data")]
    pub(super) held_out_labels: Option<PathBuf>,

    /// Height and width of images, for models that leave them open.
    #[arg(long, value_name = "N|HxW", value_parser = size, help_heading = "Data")]
    pub(super) image_size: Option<(usize, usize)>,

    /// Resize the shorter side of images to so many pixels before the middle is cut out; by default as few as fill the input.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Data")]
    pub(super) image_resize: Option<u16>,

    /// Number that a white pixel counts before mean and std: 1 or 255 with most models.
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive, help_heading = "Data")]
    pub(super) image_white: f32,

    /// Taken off the channels of images: one number or one for each.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        default_value = "0",
        value_parser = number,
        help_heading = "Data"
    )]
    pub(super) image_mean: Vec<f32>,

    /// The channels of images are divided by it: one number or one for each.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1",
        value_parser = number,
        help_heading = "Data"
    )]
    pub(super) image_std: Vec<f32>,

    /// The model takes the colours of images in the order blue, green, red.
    #[arg(long, help_heading = "Data")]
    pub(super) image_bgr: bool,

    /// Images have their channels last (NHWC); by default that is read off the model's input.
    #[arg(long, help_heading = "Data")]
    pub(super) channels_last: bool,

    /// Largest accepted loss of quality of the whole model.
    ///
    /// A share, or percent.
    #[arg(short, long, value_name = "SHARE", default_value = "1%", value_parser = share, help_heading = "Quality")]
    pub(super) tolerance: f64,

    /// How outputs are judged: top-class, accuracy, error, cosine, …
    ///
    /// Further ones are equal, positions, sequence, decisions and not-compared; accuracy needs labels. For one output, or for all
    /// that hold real numbers. By default labels, Softmax, ArgMax and Sigmoid decide, else the relative error.
    /// May be given several times.
    #[arg(long, value_name = "[OUTPUT=]NAME", value_parser = metric, help_heading = "Quality")]
    pub(super) metric: Vec<(Option<String>, Metric)>,

    /// Probability from which on an output decides for what it stands for (default 0.5).
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true, help_heading = "Quality")]
    pub(super) threshold: Option<f32>,

    /// Confidence with which samples have to show that.
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = confidence, help_heading = "Quality")]
    pub(super) confidence: f64,

    /// Time for the whole compilation, such as 90s, 10m or 1h.
    ///
    /// The search ends in time with the best found so far.
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Search")]
    pub(super) time: Option<Duration>,

    /// How much the search tries: quick, normal or max.
    ///
    /// With quick nothing is trained; normal trains small models for minutes.
    #[arg(long, value_name = "LEVEL", value_parser = named::<SearchEffort>, default_value = "normal", help_heading = "Search")]
    pub(super) effort: SearchEffort,

    /// End as soon as the file takes no more than this, such as 500kB.
    ///
    /// Of what was found at that size, the one with the least loss is taken.
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Search")]
    pub(super) max_size: Option<u64>,

    /// Consider only layers whose name or weight matches.
    #[arg(long, value_name = "REGEX", help_heading = "Search")]
    pub(super) layers: Option<Regex>,

    /// Leave layers alone whose name or weight matches.
    #[arg(long, value_name = "REGEX", help_heading = "Search")]
    pub(super) exclude: Option<Regex>,

    /// Which networks are offered: ttn (tree tensor network), attn (with disentanglers on the physical legs) or mera (with
    /// disentanglers on every level).
    ///
    /// Asking for networks of some kind, here or by --bond, --activation, --layout, --kernel-legs, --legs or --core-type float32,
    /// leaves low ranks and digits out.
    #[arg(long, value_name = "NAME", default_value = "ttn", value_parser = named::<Topology>, help_heading = "Search")]
    pub(super) topology: Topology,

    /// Use this bond dimension only, instead of searching for the smallest that keeps the quality.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Search")]
    pub(super) bond: Option<u32>,

    /// The nonlinearity between levels: identity, tanh, relu, leaky-relu or softsign.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "tanh",
        value_parser = named::<Activation>,
        help_heading = "Search"
    )]
    pub(super) activation: Activation,

    /// Use this leg layout only: interleaved, separated, or legs in leaf order such as "o8 i8 o8 i8".
    #[arg(long, value_name = "NAME|LEGS", value_parser = named::<LayoutChoice>, help_heading = "Search")]
    pub(super) layout: Option<LayoutChoice>,

    /// Give the kernel axes of convolutions legs of their own: first, last, or with-inputs (among the input legs).
    #[arg(long, value_name = "NAME", value_parser = named::<KernelLegs>, help_heading = "Search")]
    pub(super) kernel_legs: Option<KernelLegs>,

    /// How cores are stored: float16 (half the bytes, rounded before anything is measured) or float32.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "float16",
        value_parser = named::<CoreType>,
        help_heading = "Search"
    )]
    pub(super) core_type: CoreType,

    /// Leave weights with fewer elements alone.
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Search")]
    pub(super) min_elements: usize,

    /// Seed of everything random; the same seed gives the same file.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Search")]
    pub(super) seed: u64,

    /// Use layouts of so many legs only, those of kernel axes not counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(4..=60), help_heading = "Search")]
    pub(super) legs: Option<u8>,

    /// How cores are fitted: layer-wise (each against its weight, the smallest within the tolerance is searched for) or
    /// end-to-end (all together through the network, against the model's own outputs and the labels; needs --calibration).
    #[arg(
        long,
        value_name = "KIND",
        value_parser = named::<FitKind>,
        default_value = "layer-wise",
        help_heading = TRAINING
    )]
    pub(super) fit: FitKind,

    /// End-to-end: how many times fewer parameters each replaced layer gets, at least.
    #[arg(long, value_name = "N", default_value = "50", value_parser = ratio, help_heading = TRAINING)]
    pub(super) ratio: f64,

    /// Settings for the layers that match: REGEX=KEY:VALUE,… with keys topology, layout, legs, bond, activation, ratio.
    ///
    /// May be given several times; of what several say of one setting the last counts. In files of settings these are [[rule]]
    /// tables.
    #[arg(long, value_name = "SETTINGS", value_parser = named::<GeneratorChoice>, help_heading = TRAINING)]
    pub(super) generator: Vec<GeneratorChoice>,

    /// Passes over the fit samples; by default as many as show 600,000 samples, between 6 and 60.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = TRAINING)]
    pub(super) epochs: Option<u32>,

    /// Samples in a step; by default a fiftieth of the fit samples, between 8 and 256.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = TRAINING)]
    pub(super) batch: Option<u32>,

    /// Largest step, as a share of a core's root mean square (default 0.06).
    #[arg(long, value_name = "SHARE", value_parser = positive, help_heading = TRAINING)]
    pub(super) rate: Option<f32>,

    /// Temperature at which class probabilities are compared with the original's.
    #[arg(long, value_name = "T", default_value = "2", value_parser = positive, help_heading = TRAINING)]
    pub(super) temperature: f32,

    /// Share of the labels in the objective, where the calibration samples have them; the rest is the original's outputs.
    #[arg(long, value_name = "SHARE", default_value = "30%", value_parser = share, help_heading = TRAINING)]
    pub(super) label_share: f64,

    /// How outputs are compared: auto (class probabilities, or mean squares for other outputs), values or cosine.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = named::<LossKind>, help_heading = TRAINING)]
    pub(super) loss: LossKind,

    /// Match this inner value of the original too, with a weight beside the outputs' 1. May be given several times.
    #[arg(long, value_name = "VALUE=WEIGHT", value_parser = weighted, help_heading = TRAINING)]
    pub(super) r#match: Vec<(String, f32)>,

    /// Train the dense weights behind the first replaced layer too, not only biases and norms.
    #[arg(long, help_heading = TRAINING)]
    pub(super) train_rest: bool,

    /// Train on mirror images too.
    #[arg(long, help_heading = TRAINING)]
    pub(super) augment_flip: bool,

    /// Train on images shifted by up to so many pixels too.
    #[arg(long, value_name = "PIXELS", default_value_t = 0, help_heading = TRAINING)]
    pub(super) augment_shift: u8,

    /// Train on images turned, stretched, slanted and bent too: so many percent of 14 degrees, 15% and 5%.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, help_heading = TRAINING)]
    pub(super) augment_warp: u8,

    /// Changed copies of every image; 1 by default where images are changed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), help_heading = TRAINING)]
    pub(super) augment_copies: Option<u8>,

    /// Memory for decoded samples, and for the values before the first replaced layer, in MiB; what has no room goes to a
    /// temporary file.
    #[arg(long, value_name = "MIB", default_value_t = 4096, help_heading = "Data")]
    pub(super) memory: u64,

    /// Store cached values in temporary files as float16: half the size, rounded.
    #[arg(long, help_heading = TRAINING)]
    pub(super) half_cache: bool,

    /// Keep the state of the fit here after every pass.
    #[arg(long, value_name = "FILE", help_heading = TRAINING)]
    pub(super) checkpoint: Option<PathBuf>,

    /// Go on from the checkpoint, if there is one.
    #[arg(long, help_heading = TRAINING)]
    pub(super) resume: bool,

    /// Also write the report as JSON.
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    pub(super) report: Option<PathBuf>,

    /// Also draw the networks that replace the layers, as SVG; with --dry-run one for each layer from the middle of those on
    /// offer.
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub(super) diagram: Option<PathBuf>,

    /// List the layers and what they could become; fit and write nothing.
    #[arg(long, help_heading = "Output")]
    pub(super) dry_run: bool,

    /// Write even a model that loses more quality than the tolerance allows.
    ///
    /// Without this that is exit code 3 and no file.
    #[arg(long, help_heading = "Output")]
    pub(super) accept_worse: bool,

    /// Write the tensors into a file beside the model.
    ///
    /// It is OUT.onnx.HASH.data, named by its content; the old one is removed.
    #[arg(long, help_heading = "Output")]
    pub(super) external_data: bool,

    /// Say nothing but what goes wrong.
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    pub(super) quiet: bool,

    /// Say more about what happens; twice for even more.
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub(super) verbose: u8,

    /// Write the independent fits of this compilation into a file, and what they need into the cache; compile nothing.
    #[arg(long, value_name = "FILE.json", help_heading = "Spreading")]
    pub(super) plan: Option<PathBuf>,

    /// Do fits of such a file into the cache (docs/spread.md).
    #[arg(long, value_name = "FILE.json", help_heading = "Spreading")]
    pub(super) work: Option<PathBuf>,

    /// Do the share number K, from 1 on, of N only.
    #[arg(long, value_name = "K/N", help_heading = "Spreading")]
    pub(super) shard: Option<String>,

    /// Take settings from a file (docs/config.md); options given here win.
    #[arg(long, value_name = "FILE.toml", help_heading = "General")]
    pub(super) config: Option<PathBuf>,

    /// Print the settings that are in force, as such a file, and end.
    #[arg(long, help_heading = "General")]
    pub(super) print_config: bool,

    /// Look for kept results, and keep new ones, in this folder.
    ///
    /// It is the folder adntn among the user's caches by default. Any number of processes may use it at once.
    #[arg(long, value_name = "DIR", help_heading = "General")]
    pub(super) cache_dir: Option<PathBuf>,

    /// Keep no results of fits, and look for none.
    #[arg(long, help_heading = "General")]
    pub(super) no_cache: bool,

    /// Bytes that all that is kept may take; what was not used for longest goes first.
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "2GB", help_heading = "General")]
    pub(super) cache_size: u64,

    /// Print the ordinary options.
    #[arg(short, long, action = ArgAction::HelpShort, help_heading = "General")]
    help: Option<bool>,

    /// Print all options.
    #[arg(long, help_heading = "General")]
    pub(super) help_all: bool,

    /// Print the version.
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "General")]
    version: Option<bool>,
}
