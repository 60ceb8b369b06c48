//! Progress on the terminal: one line for the phase, one bar for the fit in progress.

use std::time::Duration;

use adntn_compiler::{Event, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws on standard error; silent unless that is a terminal.
pub(crate) struct Bars {
    bar: ProgressBar,
    phase: String,
    trials: usize,
}

impl Bars {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(120));
        Bars { bar, phase: String::new(), trials: 0 }
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
}
