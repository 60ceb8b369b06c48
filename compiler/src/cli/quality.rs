//! Quality in words.

use std::fmt::Write as _;

use adntn_compiler::Metric;
use adntn_compiler::report::{Bound, Claim, OutputReport, QualityReport};

/// A kind of sample that is missing among n with a probability of 5 % makes up about 3/n of all.
const MISSING: f64 = 3.0;

/// The lines on quality, the first one without its heading.
pub(super) fn lines(quality: &QualityReport, tolerance: f64) -> String {
    let compared: Vec<&OutputReport> = quality.outputs.iter().filter(|o| o.metric != Metric::NotCompared).collect();
    let mut text = String::new();
    for output in &compared {
        let name = if compared.len() > 1 { format!("{}: ", output.output) } else { String::new() };
        let _ = write!(text, "{name}{}\n          ", figures(output));
    }
    text + &claim(quality, tolerance)
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// What was measured of one output: its own metric first, then the others, so that none hides what another shows.
fn figures(output: &OutputReport) -> String {
    let mut parts = Vec::new();
    if output.dead {
        parts.push("constant, or of another shape, where the original's is not".to_owned());
    }
    if let Some((before, after)) = output.accuracy_before.zip(output.accuracy_after) {
        parts.push(format!("accuracy {} → {}", percent(before), percent(after)));
    }
    if let Some(share) = output.agreement {
        let of = if output.sequence_agreement.is_some() { "positions" } else { "samples" };
        parts.push(format!("same top class on {} of {of}", percent(share)));
    }
    if let Some(share) = output.sequence_agreement {
        parts.push(format!("on {} of samples at every position", percent(share)));
    }
    if let Some(share) = output.decisions {
        parts.push(format!("same decision on {}", percent(share)));
    }
    if let Some(cosine) = output.cosine {
        parts.push(format!("cosine {cosine:.4}"));
    }
    match (output.metric, output.loss) {
        (Metric::Equal, Some(loss)) => parts.push(format!("{} of elements equal", percent(1.0 - loss))),
        (Metric::Custom, Some(loss)) => parts.push(format!("{} lost by the caller's own metric", percent(loss))),
        _ => {}
    }
    if let Some(error) = output.error {
        parts.push(format!("outputs differ by {:.3}% of their variation", error * 100.0));
    }
    parts.join(", ")
}

fn claim(quality: &QualityReport, tolerance: f64) -> String {
    let (lost, tolerance) = (percent(quality.loss.clamp(0.0, 1.0)), percent(tolerance));
    // Never rounded to certainty.
    let rounded = (quality.confidence * 1e4).round() / 1e2;
    let confidence = if rounded < 100.0 { rounded } else { quality.confidence * 1e2 };
    let confidence = format!("{confidence}% confidence");
    let samples = match quality.samples {
        1 => "1 held-out sample".to_owned(),
        n => format!("{} held-out samples", super::text::count(n as u64)),
    };
    match (quality.claim, quality.upper_bound) {
        (Claim::Shown, Some(bound)) => format!(
            "shown with {confidence} on {samples}: at most {} lost, within the tolerance of {tolerance}",
            percent(bound)
        ),
        (Claim::Estimated, Some(bound)) => format!(
            "estimated on {samples} with {confidence}: at most {} lost on samples like these, within the tolerance \
             of {tolerance} (a bootstrap; kinds of samples rarer than about {} may be missing among them)",
            percent(bound),
            percent((MISSING / quality.samples.max(1) as f64).min(1.0))
        ),
        (Claim::Outside, _) => {
            format!("NOT within the tolerance of {tolerance}: {lost} lost on {samples}")
        }
        (_, bound) => {
            let mut text = format!("{lost} lost on {samples}, within the tolerance of {tolerance}; ");
            match bound {
                Some(bound) => {
                    let says =
                        if quality.bound == Some(Bound::Bootstrap) { "let a bootstrap estimate" } else { "show" };
                    let _ = write!(text, "with {confidence} they {says} no more than {} lost", percent(bound));
                }
                None if quality.samples == 1 => text.push_str("it shows nothing about others"),
                None => text.push_str("they show nothing about others"),
            }
            if let Some(needed) = quality.samples_needed {
                let count = |samples: usize| super::text::count(samples as u64);
                let _ = write!(text, "; about {} held-out samples like these would do for {tolerance}", count(needed));
                if let Some(all) = quality.calibration_needed {
                    let _ = write!(text, ", set aside from {}", count(all));
                }
            }
            text
        }
    }
}
