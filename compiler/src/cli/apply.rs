//! From arguments to the options of the library.

use adntn_compiler::{Augment, Error, FitKind, GeneratorChoice, ImageOptions, Options, Training};

use super::settings::{Settings, arguments, is_of_training};

impl Settings {
    /// The library's options.
    pub(super) fn options(&self) -> Result<Options, Error> {
        self.check_training()?;
        let args = &self.args;
        let files = (args.input.clone().unwrap_or_default(), args.output.clone().unwrap_or_default());
        let mut options = Options::new(files.0, files.1);
        options.calibration.clone_from(&args.calibration);
        options.labels.clone_from(&args.labels);
        options.held_out.clone_from(&args.held_out);
        options.held_out_labels.clone_from(&args.held_out_labels);
        options.images = ImageOptions {
            size: args.image_size,
            resize: args.image_resize.map(usize::from),
            white: args.image_white,
            mean: args.image_mean.clone(),
            std: args.image_std.clone(),
            bgr: args.image_bgr,
            channels_last: args.channels_last,
        };
        options.tolerance = args.tolerance;
        options.metrics.clone_from(&args.metric);
        options.threshold = args.threshold;
        options.confidence = args.confidence;
        options.layers.clone_from(&args.layers);
        options.exclude.clone_from(&args.exclude);
        options.time = args.time;
        options.search_effort = args.effort;
        options.max_size = args.max_size;
        options.bond = number(args.bond);
        options.activation = args.activation;
        options.core_type = args.core_type;
        options.layout.clone_from(&args.layout);
        options.kernel_legs = args.kernel_legs;
        options.topology = args.topology;
        options.min_elements = args.min_elements;
        options.seed = args.seed;
        options.dry_run = args.dry_run;
        options.report.clone_from(&args.report);
        options.diagram.clone_from(&args.diagram);
        options.accept_worse = args.accept_worse;
        options.external_data = args.external_data;
        options.legs = args.legs.map(usize::from);
        options.fit = args.fit;
        options.generators = self.generators();
        options.training = self.training();
        options.settings.clone_from(&args.config);
        Ok(options)
    }

    /// The rules of the file, and those of the command line, which go before them, the later ones first.
    fn generators(&self) -> Vec<GeneratorChoice> {
        let mut all: Vec<GeneratorChoice> = self.file.iter().flat_map(|file| file.rules.iter().cloned()).collect();
        let mut highest = all.iter().map(|choice| choice.priority).max().unwrap_or(0);
        for choice in &self.args.generator {
            highest = highest.saturating_add(1);
            all.push(choice.clone().with_priority(highest));
        }
        all
    }

    fn training(&self) -> Training {
        let args = &self.args;
        let changed = self.changes_images();
        Training {
            ratio: args.ratio,
            epochs: number(args.epochs),
            batch: number(args.batch),
            rate: args.rate,
            temperature: args.temperature,
            labels: args.label_share as f32,
            loss: args.loss,
            matches: args.r#match.clone(),
            train_rest: args.train_rest,
            augment: Augment {
                copies: if changed { args.augment_copies.map_or(1, usize::from) } else { 0 },
                flip: args.augment_flip,
                shift: usize::from(args.augment_shift),
                warp: usize::from(args.augment_warp),
                channels_last: args.channels_last,
                seed: args.seed,
            },
            memory: args.memory.saturating_mul(1 << 20),
            half_cache: args.half_cache,
            checkpoint: args.checkpoint.clone(),
            resume: args.resume,
        }
    }

    fn changes_images(&self) -> bool {
        let args = &self.args;
        args.augment_flip || args.augment_shift > 0 || args.augment_warp > 0
    }

    /// Settings of training say nothing where nothing is trained, and some say nothing by themselves.
    fn check_training(&self) -> Result<(), Error> {
        let args = &self.args;
        if args.fit == FitKind::EndToEnd {
            return match (self.given("augment_copies"), self.given("resume")) {
                (Some(name), _) if !self.changes_images() => Err(Error::Usage(format!(
                    "{name} changes nothing by itself: give --augment-flip, --augment-shift or --augment-warp too"
                ))),
                (_, Some(name)) if args.checkpoint.is_none() => {
                    Err(Error::Usage(format!("{name} has nothing to go on from: give --checkpoint FILE too")))
                }
                _ => Ok(()),
            };
        }
        let given = arguments().into_iter().filter(is_of_training);
        let given = given.filter_map(|arg| self.given(arg.get_id().as_str())).next();
        let rules = self.file.iter().filter(|_| self.given("fit").is_none()).flat_map(|file| &file.rules);
        let by_rule = || {
            let mut rules = args.generator.iter().chain(rules).filter(|choice| choice.has_ratio());
            rules.next().map(|choice| format!("{} with the key ratio", choice.source()))
        };
        match given.or_else(by_rule) {
            Some(name) => Err(Error::Usage(format!(
                "{name} is a setting of training through the network: give --fit end-to-end too, or leave it out"
            ))),
            None => Ok(()),
        }
    }
}

fn number(n: Option<u32>) -> Option<usize> {
    n.and_then(|n| usize::try_from(n).ok())
}
