//! Progress on the terminal: one line for the phase, one bar for the fit in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adntn_compiler::{Event, Observer};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws on standard error; silent unless that is a terminal.
pub(crate) struct Bars {
    bar: ProgressBar,
    phase: String,
    trials: usize,
    stop: Arc<AtomicBool>,
}

impl Bars {
    /// `stop` is set when the user wants a fit to end.
    pub(crate) fn new(stop: Arc<AtomicBool>) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        Bars { bar, phase: String::new(), trials: 0, stop }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸ "));
        }
    }
}

impl Observer for Bars {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Phase(name) => {
                name.clone_into(&mut self.phase);
                self.bar.unset_length();
                self.style("{spinner} {msg} [{elapsed}]");
                self.bar.set_message(name.to_owned());
            }
            Event::Fit { layer, generator, step, steps, error } => {
                if step == 0 {
                    self.bar.reset_eta();
                    self.bar.set_length(steps as u64);
                    self.style("{spinner} {msg} {bar:20} {pos}/{len} {eta} left");
                }
                self.bar.set_position(step as u64 + 1);
                self.bar.set_message(format!("fitting {layer} ({generator}): output error {:.1}%", error * 100.0));
            }
            Event::Cache { done, all } => {
                self.bar.set_length(all as u64);
                self.style("{spinner} {msg} {bar:20} {pos}/{len} samples {eta} left");
                self.bar.set_position(done as u64);
            }
            Event::Train(p) => {
                self.style("{spinner} {msg} {bar:20} {prefix} left");
                self.bar.set_length(p.steps as u64);
                self.bar.set_position(p.step as u64);
                self.bar.set_prefix(HumanDuration(Duration::from_secs_f64(p.seconds_left)).to_string());
                let ending = if self.stop.load(Ordering::Relaxed) { "ending, " } else { "" };
                self.bar.set_message(format!(
                    "{ending}training, pass {}/{}: loss {:.4}, quality {:.2}% (best {:.2}%)",
                    p.epoch,
                    p.epochs,
                    p.loss,
                    p.check.quality * 100.0,
                    p.best.quality * 100.0
                ));
            }
            Event::Trial { loss, bytes, accepted } => {
                self.trials += 1;
                self.style("{spinner} {msg} [{elapsed}]");
                let verdict = if accepted { "kept" } else { "too far" };
                self.bar.set_message(format!(
                    "{}: trial {}, weights {:.1}x smaller, expected loss {:.2}% ({verdict})",
                    self.phase,
                    self.trials,
                    bytes.0 as f64 / bytes.1.max(1) as f64,
                    loss * 100.0
                ));
            }
        }
    }

    fn stop(&mut self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
