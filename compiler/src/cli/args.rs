//! The arguments of `adntn-compile`.

use std::path::PathBuf;
use std::time::Duration;

use adntn_compiler::{
    Activation, Augment, CoreType, Error, FitKind, GeneratorChoice, ImageOptions, KernelLegs, LayoutChoice, LossKind,
    Metric, Options, SearchEffort, Topology, Training,
};
use regex::Regex;

use super::values::{bytes, confidence, metric, named, number, positive, ratio, share, size, time, weighted};

/// Makes a trained ONNX model smaller by replacing dense weights with low ranks, digits of few levels and tensor networks fitted to
/// them.
#[derive(Debug, clap::Parser)]
#[command(name = "adntn-compile", version, max_term_width = 110)]
pub(crate) struct Args {
    /// The model to compile.
    #[arg(value_name = "IN.onnx")]
    input: PathBuf,

    /// Where the compiled model goes (not needed with --dry-run).
    #[arg(value_name = "OUT.onnx", required_unless_present = "dry_run")]
    output: Option<PathBuf>,

    /// Samples of real inputs: .npz or .safetensors (arrays by input name), .npy, a folder of .npy files, or a folder of images
    /// (in folders of their own, one a class, or not); labels, as an array `labels` or by class, add accuracy to the report.
    #[arg(short, long, value_name = "FILE|DIR", help_heading = "Data")]
    calibration: Option<PathBuf>,

    /// Class labels of the calibration samples, where they are not with the samples.
    #[arg(long, value_name = "FILE.npy", help_heading = "Data")]
    labels: Option<PathBuf>,

    /// Samples for the final measurement, new to the original too; without it a quarter of the calibration samples, or up to half
    /// where that shows the tolerance, is set aside.
    #[arg(long, value_name = "FILE|DIR", help_heading = "Data")]
    held_out: Option<PathBuf>,

    /// Class labels of the held-out samples, where they are not with the samples.
    #[arg(long, value_name = "FILE.npy", help_heading = "Data")]
    held_out_labels: Option<PathBuf>,

    /// Height and width of images, for models that leave them open.
    #[arg(long, value_name = "N|HxW", value_parser = size, help_heading = "Data")]
    image_size: Option<(usize, usize)>,

    /// Resize the shorter side of images to so many pixels before the middle is cut out; by default as few as fill the input.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Data")]
    image_resize: Option<u16>,

    /// Number that a white pixel counts before mean and std: 1 or 255 with most models.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = positive, help_heading = "Data")]
    image_white: f32,

    /// Taken off the channels of images: one number or one for each.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        default_value = "0",
        help_heading = "Data"
    )]
    image_mean: Vec<f32>,

    /// The channels of images are divided by it: one number or one for each.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", help_heading = "Data")]
    image_std: Vec<f32>,

    /// The model takes the colours of images in the order blue, green, red.
    #[arg(long, help_heading = "Data")]
    image_bgr: bool,

    /// Images have their channels last (NHWC); by default that is read off the model's input.
    #[arg(long, help_heading = "Data")]
    channels_last: bool,

    /// Largest accepted loss of quality of the whole model, as a share or in percent.
    #[arg(short, long, value_name = "SHARE", default_value = "1%", value_parser = share, help_heading = "Quality")]
    tolerance: f64,

    /// How outputs are judged: top-class, accuracy (needs labels), error, cosine, equal, positions, sequence, decisions or
    /// not-compared; for one output, or for all that hold real numbers. By default labels, Softmax, ArgMax and Sigmoid decide,
    /// else the relative error. May be given several times.
    #[arg(long, value_name = "[OUTPUT=]NAME", value_parser = metric, help_heading = "Quality")]
    metric: Vec<(Option<String>, Metric)>,

    /// Probability from which on an output decides for what it stands for (default 0.5).
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true, help_heading = "Quality")]
    threshold: Option<f32>,

    /// Confidence with which the held-out samples have to show that the loss is within the tolerance.
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = confidence, help_heading = "Quality")]
    confidence: f64,

    /// Time for the whole compilation, such as 90s, 10m or 1h: the search ends in time with the best found so far.
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Search")]
    time: Option<Duration>,

    /// How much the search tries: quick (no training), normal (minutes of training for small models) or max.
    #[arg(long, value_name = "LEVEL", value_parser = named::<SearchEffort>, default_value = "normal", help_heading = "Search")]
    effort: SearchEffort,

    /// End as soon as the file takes no more than this, such as 500kB, with the least loss found at that size.
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Search")]
    max_size: Option<u64>,

    /// Consider only layers whose name or weight matches.
    #[arg(long, value_name = "REGEX", help_heading = "Search")]
    layers: Option<Regex>,

    /// Leave layers alone whose name or weight matches.
    #[arg(long, value_name = "REGEX", help_heading = "Search")]
    exclude: Option<Regex>,

    /// Which networks are offered: ttn (tree tensor network), attn (with disentanglers on the physical legs) or mera (with
    /// disentanglers on every level). Asking for networks of some kind, here or by --bond, --activation, --layout, --kernel-legs,
    /// --legs or --core-type float32, leaves low ranks and digits out.
    #[arg(long, value_name = "NAME", value_parser = named::<Topology>, help_heading = "Search")]
    topology: Option<Topology>,

    /// Use this bond dimension only, instead of searching for the smallest that keeps the quality.
    #[arg(long, value_name = "N", help_heading = "Search")]
    bond: Option<usize>,

    /// The nonlinearity between levels: identity, tanh, relu, leaky-relu or softsign.
    #[arg(long, value_name = "NAME", value_parser = named::<Activation>, help_heading = "Search")]
    activation: Option<Activation>,

    /// Use this leg layout only: interleaved, separated, or legs in leaf order such as "o8 i8 o8 i8".
    #[arg(long, value_name = "NAME|LEGS", value_parser = named::<LayoutChoice>, help_heading = "Search")]
    layout: Option<LayoutChoice>,

    /// Give the kernel axes of convolutions legs of their own: first, last, or with-inputs (among the input legs).
    #[arg(long, value_name = "NAME", value_parser = named::<KernelLegs>, help_heading = "Search")]
    kernel_legs: Option<KernelLegs>,

    /// How cores are stored: float16 (half the bytes, rounded before anything is measured) or float32.
    #[arg(long, value_name = "NAME", value_parser = named::<CoreType>, help_heading = "Search")]
    core_type: Option<CoreType>,

    /// Leave weights with fewer elements alone.
    #[arg(long, value_name = "N", help_heading = "Search")]
    min_elements: Option<usize>,

    /// Seed of everything random; the same seed gives the same file.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Search")]
    seed: u64,

    /// Use layouts of so many legs only, those of kernel axes not counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(4..=60), help_heading = "Search")]
    legs: Option<u8>,

    /// How cores are fitted: layer-wise (each against its weight, the smallest within the tolerance is searched for) or
    /// end-to-end (all together through the network, against the model's own outputs and the labels; needs --calibration).
    #[arg(long, value_name = "KIND", value_parser = named::<FitKind>, default_value = "layer-wise", help_heading = "Training")]
    fit: FitKind,

    /// End-to-end: how many times fewer parameters each replaced layer gets, at least (default 50).
    #[arg(long, value_name = "N", value_parser = ratio, help_heading = "Training")]
    ratio: Option<f64>,

    /// End-to-end: settings for the layers that match: REGEX=KEY:VALUE,… with keys topology, layout, legs, bond, activation,
    /// ratio. May be given several times.
    #[arg(long, value_name = "SETTINGS", value_parser = named::<GeneratorChoice>, help_heading = "Training")]
    generator: Vec<GeneratorChoice>,

    /// Passes over the fit samples; by default as many as show 600,000 samples, between 6 and 60.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    epochs: Option<u32>,

    /// Samples in a step; by default a fiftieth of the fit samples, between 8 and 256.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    batch: Option<u32>,

    /// Largest step, as a share of a core's root mean square (default 0.06).
    #[arg(long, value_name = "SHARE", value_parser = positive, help_heading = "Training")]
    rate: Option<f32>,

    /// Temperature at which class probabilities are compared with the original's (default 2).
    #[arg(long, value_name = "T", value_parser = positive, help_heading = "Training")]
    temperature: Option<f32>,

    /// Share of the labels in the objective, where the calibration samples have them (default 30%); the
    /// rest is the original's outputs.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Training")]
    label_share: Option<f64>,

    /// How outputs are compared: auto (class probabilities, or mean squares for other outputs), values or cosine.
    #[arg(long, value_name = "NAME", value_parser = named::<LossKind>, help_heading = "Training")]
    loss: Option<LossKind>,

    /// Match this inner value of the original too, with a weight beside the outputs' 1. May be given several times.
    #[arg(long, value_name = "VALUE=WEIGHT", value_parser = weighted, help_heading = "Training")]
    r#match: Vec<(String, f32)>,

    /// Train the dense weights behind the first replaced layer too, not only biases and norms.
    #[arg(long, help_heading = "Training")]
    train_rest: bool,

    /// Train on mirror images too.
    #[arg(long, help_heading = "Training")]
    augment_flip: bool,

    /// Train on images shifted by up to so many pixels too.
    #[arg(long, value_name = "PIXELS", default_value_t = 0, help_heading = "Training")]
    augment_shift: u8,

    /// Train on images turned, stretched, slanted and bent too: so many percent of 14 degrees, 15% and 5%.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, help_heading = "Training")]
    augment_warp: u8,

    /// Changed copies of every image; 1 by default where images are changed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), help_heading = "Training")]
    augment_copies: Option<u8>,

    /// Memory for decoded samples, and for the values before the first replaced layer, in MiB; what has no room goes to a
    /// temporary file.
    #[arg(long, value_name = "MIB", default_value_t = 4096, help_heading = "Data")]
    memory: u64,

    /// Store cached values in temporary files as float16: half the size, rounded.
    #[arg(long, help_heading = "Training")]
    half_cache: bool,

    /// Keep the state of the fit here after every pass.
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    checkpoint: Option<PathBuf>,

    /// Go on from the checkpoint, if there is one.
    #[arg(long, requires = "checkpoint", help_heading = "Training")]
    resume: bool,

    /// Also write the report as JSON.
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    report: Option<PathBuf>,

    /// Also draw the networks that replace the layers, as SVG; with --dry-run one for each layer from the middle of those on
    /// offer.
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    diagram: Option<PathBuf>,

    /// List the layers with their shapes and possible ratios; fit and write nothing.
    #[arg(long, help_heading = "Output")]
    dry_run: bool,

    /// Write even a model that loses more quality than the tolerance allows; without this that is exit code 3 and no file.
    #[arg(long, help_heading = "Output")]
    accept_worse: bool,

    /// Write the tensors into a file beside the model, OUT.onnx.HASH.data, named by its content; the old one is removed.
    #[arg(long, help_heading = "Output")]
    external_data: bool,

    /// Say more about what happens; twice for even more.
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

impl Args {
    /// The library's options.
    pub(crate) fn options(&self) -> Result<Options, Error> {
        let mut options = Options::new(&self.input, self.output.clone().unwrap_or_default());
        options.calibration.clone_from(&self.calibration);
        options.labels.clone_from(&self.labels);
        options.held_out.clone_from(&self.held_out);
        options.held_out_labels.clone_from(&self.held_out_labels);
        options.images = ImageOptions {
            size: self.image_size,
            resize: self.image_resize.map(usize::from),
            white: self.image_white,
            mean: self.image_mean.clone(),
            std: self.image_std.clone(),
            bgr: self.image_bgr,
            channels_last: self.channels_last,
        };
        options.tolerance = self.tolerance;
        options.metrics.clone_from(&self.metric);
        options.threshold = self.threshold;
        options.confidence = self.confidence;
        options.layers.clone_from(&self.layers);
        options.exclude.clone_from(&self.exclude);
        options.time = self.time;
        options.search_effort = self.effort;
        options.max_size = self.max_size;
        options.bond = self.bond;
        options.activation = self.activation.unwrap_or(options.activation);
        options.core_type = self.core_type.unwrap_or(options.core_type);
        options.layout.clone_from(&self.layout);
        options.kernel_legs = self.kernel_legs;
        options.topology = self.topology.unwrap_or(options.topology);
        options.min_elements = self.min_elements.unwrap_or(options.min_elements);
        options.seed = self.seed;
        options.dry_run = self.dry_run;
        options.report.clone_from(&self.report);
        options.diagram.clone_from(&self.diagram);
        options.accept_worse = self.accept_worse;
        options.external_data = self.external_data;
        options.legs = self.legs.map(usize::from);
        options.fit = self.fit;
        options.generators.clone_from(&self.generator);
        options.training = self.training();
        self.check_training()?;
        Ok(options)
    }

    fn training(&self) -> Training {
        let default = Training::default();
        let changed = self.augment_flip || self.augment_shift > 0 || self.augment_warp > 0;
        let number = |n: Option<u32>| n.and_then(|n| usize::try_from(n).ok());
        Training {
            ratio: self.ratio.unwrap_or(default.ratio),
            epochs: number(self.epochs),
            batch: number(self.batch),
            rate: self.rate,
            temperature: self.temperature.unwrap_or(default.temperature),
            labels: self.label_share.map_or(default.labels, |share| share as f32),
            loss: self.loss.unwrap_or(default.loss),
            matches: self.r#match.clone(),
            train_rest: self.train_rest,
            augment: Augment {
                copies: if changed { self.augment_copies.map_or(1, usize::from) } else { 0 },
                flip: self.augment_flip,
                shift: usize::from(self.augment_shift),
                warp: usize::from(self.augment_warp),
                channels_last: self.channels_last,
                seed: self.seed,
            },
            memory: self.memory.saturating_mul(1 << 20),
            half_cache: self.half_cache,
            checkpoint: self.checkpoint.clone(),
            resume: self.resume,
        }
    }

    /// Settings of training say nothing where nothing is trained.
    fn check_training(&self) -> Result<(), Error> {
        if self.fit == FitKind::EndToEnd {
            let augmented = self.augment_flip || self.augment_shift > 0 || self.augment_warp > 0;
            return match self.augment_copies {
                Some(_) if !augmented => Err(Error::Usage(
                    "--augment-copies changes nothing by itself: give --augment-flip, --augment-shift or --augment-warp too".into(),
                )),
                _ => Ok(()),
            };
        }
        let given = [
            ("--ratio", self.ratio.is_some()),
            ("--generator with the key ratio", self.generator.iter().any(GeneratorChoice::has_ratio)),
            ("--epochs", self.epochs.is_some()),
            ("--batch", self.batch.is_some()),
            ("--rate", self.rate.is_some()),
            ("--temperature", self.temperature.is_some()),
            ("--label-share", self.label_share.is_some()),
            ("--loss", self.loss.is_some()),
            ("--match", !self.r#match.is_empty()),
            ("--train-rest", self.train_rest),
            ("--augment-flip", self.augment_flip),
            ("--augment-shift", self.augment_shift > 0),
            ("--augment-warp", self.augment_warp > 0),
            ("--augment-copies", self.augment_copies.is_some()),
            ("--half-cache", self.half_cache),
            ("--checkpoint", self.checkpoint.is_some()),
            ("--resume", self.resume),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Error::Usage(format!(
                "{flag} is a setting of training through the network: give --fit end-to-end too, or leave it out"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
