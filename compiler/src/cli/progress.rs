//! Progress: on a terminal one line for the phase and one bar for the fit in progress, elsewhere a line for each pass of training.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adntn_compiler::{Event, Observer, Progress};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::bytes as size;
use super::{plain, say};

/// Follows a compilation on standard error.
pub(crate) struct Bars {
    bar: ProgressBar,
    /// Whether nobody sees the bar, so that lines are written.
    lines: bool,
    phase: String,
    trials: usize,
    /// What is in training.
    what: String,
    /// The last pass that a line was written for.
    passes: usize,
    stop: Arc<AtomicBool>,
}

impl Bars {
    /// `stop` is set when the user wants a fit to end; nothing is shown to those who want it `quiet`.
    pub(crate) fn new(stop: Arc<AtomicBool>, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let lines = bar.is_hidden() && !quiet;
        bar.enable_steady_tick(Duration::from_millis(120));
        Bars { bar, lines, phase: String::new(), trials: 0, what: String::new(), passes: 0, stop }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Names in it may come from the model.
    fn message(&self, text: &str) {
        self.bar.set_message(plain::clean(text));
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸ "));
        }
    }

    fn train(&mut self, p: &Progress) {
        let left = HumanDuration(Duration::from_secs_f64(p.seconds_left)).to_string();
        let message = format!(
            "training {}, pass {}/{}: loss {:.4}, quality {:.2}% (best {:.2}%)",
            self.what,
            p.epoch,
            p.epochs,
            p.loss,
            p.check.quality * 100.0,
            p.best.quality * 100.0
        );
        let per_pass = p.steps / p.epochs.max(1);
        if self.lines && p.epoch > self.passes && p.step.is_multiple_of(per_pass.max(1)) {
            self.passes = p.epoch;
            say(&format!("{message}, {left} left"));
        }
        self.style("{spinner} {msg} {bar:20} {prefix} left");
        self.bar.set_length(p.steps as u64);
        self.bar.set_position(p.step as u64);
        self.bar.set_prefix(left);
        let ending = if self.stop.load(Ordering::Relaxed) { "ending, " } else { "" };
        self.message(&format!("{ending}{message}"));
    }
}

impl Observer for Bars {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Phase(name) => {
                name.clone_into(&mut self.phase);
                self.bar.unset_length();
                self.style("{spinner} {msg} [{elapsed}]");
                self.message(name);
            }
            Event::Fit { layer, generator, step, steps, error } => {
                if step == 0 {
                    self.bar.reset_eta();
                    self.bar.set_length(steps as u64);
                    self.style("{spinner} {msg} {bar:20} {pos}/{len} {eta} left");
                }
                self.bar.set_position(step as u64 + 1);
                self.message(&format!("fitting {layer} ({generator}): output error {:.1}%", error * 100.0));
            }
            Event::Cache { done, all } => {
                if self.lines && done == all {
                    say(&format!("{}: {all} samples done", self.phase));
                }
                self.bar.set_length(all as u64);
                self.style("{spinner} {msg} {bar:20} {pos}/{len} samples {eta} left");
                self.bar.set_position(done as u64);
            }
            Event::Generators { weights, parameters } => {
                let ratio = weights as f64 / parameters.max(1) as f64;
                self.what = format!("at {ratio:.0}x");
                if self.lines {
                    say(&format!("generators in place of {weights} parameters: {parameters} ({ratio:.0}x fewer)"));
                }
            }
            Event::Attempt { bytes, best } => {
                (self.passes, self.what) = (0, size(bytes));
                let best = best.map_or(String::new(), |(bytes, loss)| {
                    format!(" (so far {} with {:.2}% lost)", size(bytes), loss * 100.0)
                });
                if self.lines {
                    say(&format!("trying {}{best}", self.what));
                }
                self.what.push_str(&best);
            }
            Event::Train(p) => self.train(&p),
            Event::Trial { loss, bytes, accepted } => {
                self.trials += 1;
                self.style("{spinner} {msg} [{elapsed}]");
                let verdict = if accepted { "kept" } else { "too far" };
                self.message(&format!(
                    "{}: trial {}, weights {:.1}x smaller, expected loss {:.2}% ({verdict})",
                    self.phase,
                    self.trials,
                    bytes.0 as f64 / bytes.1.max(1) as f64,
                    loss * 100.0
                ));
            }
            _ => {}
        }
    }

    fn stop(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
