//! The human form of a report.

use std::fmt::Write as _;

use adntn_compiler::report::{CacheReport, LayerReport, StopReason, TrainingReport};
use adntn_compiler::{Arrangement as _, Ended, Report, Topology};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use console::{Style, measure_text_width};

use super::plain::{clean, cut};
use super::quality;

/// Characters of a name in a table.
const NAME: usize = 28;
/// Characters of an operator in a table.
const OP: usize = 18;
/// Columns that a line of a table takes, unless its numbers alone take more.
const WIDTH: usize = 110;

/// What became of a compilation's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They have their names.
    Written,
    /// Outside the tolerance: there are none.
    Refused,
    /// There were to be none.
    DryRun,
}

/// The report as aligned text, coloured when standard error is a terminal that wants it.
pub(crate) fn render(report: &Report, outcome: Outcome) -> String {
    let dry_run = outcome == Outcome::DryRun;
    let mut text = String::new();
    if report.layers.is_empty() {
        text.push_str("No dense weight was found that could be replaced.\n");
    } else {
        text.push_str(&if dry_run { candidates(&report.layers) } else { layers(&report.layers) });
        text.push('\n');
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(text, "\nNot considered:");
        text.push_str(&skipped(report));
        text.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(text, "\n{} {note}", Style::new().for_stderr().yellow().apply_to("note:"));
    }
    if let Some(data) = &report.data {
        let held_out = data.held_out_source.as_deref().unwrap_or("set aside from these");
        let _ = writeln!(
            text,
            "\nSamples   {}: {} to fit, {} to choose; {} held out ({held_out})",
            data.source, data.fit_samples, data.selection_samples, data.held_out_samples
        );
    }
    if let Some(training) = &report.training {
        let _ = writeln!(text, "{}", trained(training));
    }
    if let Some(quality) = &report.quality {
        let _ = writeln!(text, "Quality   {}", quality::lines(quality, report.settings.tolerance));
    }
    if let Some(output) = &report.output {
        let ratio = report.file_ratio().unwrap_or(1.0);
        let bold = Style::new().for_stderr().bold();
        let _ = writeln!(
            text,
            "File      {} → {} ({}){}",
            bytes(report.input.bytes),
            bytes(output.bytes),
            bold.apply_to(format!("{ratio:.2}x smaller")),
            stopped(report)
        );
        let _ =
            writeln!(text, "Weights   {} → {} parameters", count(report.input.parameters), count(output.parameters));
        let total: f64 = report.seconds.iter().map(|s| s.seconds).sum();
        let parts: Vec<String> = report
            .seconds
            .iter()
            .filter(|s| s.seconds >= 0.05)
            .map(|s| format!("{} {:.1}", s.phase, s.seconds))
            .collect();
        let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        let _ = writeln!(text, "Time      {total:.1} s{parts}");
        if let Some(cache) = report.cache.as_ref().filter(|cache| cache.found + cache.damaged > 0) {
            let _ = writeln!(text, "Cache     {}", cached(cache));
        }
        let _ = match outcome {
            Outcome::Refused => write!(text, "Written   nothing"),
            _ => write!(text, "Written   {}", output.path),
        };
    } else {
        let _ =
            write!(text, "\nFile      {}: {}, nothing written (dry run)", report.input.path, bytes(report.input.bytes));
    }
    text
}

fn stopped(report: &Report) -> &'static str {
    let any = report.layers.iter().any(|layer| layer.replaced);
    match report.stopped {
        Some(StopReason::Tolerance) if any => "; smaller would lose more quality than allowed",
        Some(StopReason::Tolerance) => "; replacing a weight would lose more quality than allowed",
        Some(StopReason::Samples) => "; smaller may do, but the held-out samples are too few to show it",
        Some(StopReason::Smallest) => "; every layer has the smallest form on offer",
        Some(StopReason::Coarsest) => "; the search tries nothing smaller",
        Some(StopReason::NoGain) => "; nothing on offer is smaller than its weight",
        Some(StopReason::NothingConsidered) if !report.layers.is_empty() => "; no layer was selected",
        Some(StopReason::NothingConsidered) if report.skipped.is_empty() => "; nothing to replace",
        Some(StopReason::NothingConsidered) => "; nothing to replace: see Not considered",
        Some(StopReason::Unsuitable) => "; no weight could be replaced: see the reasons above",
        Some(StopReason::Interrupted) => "; interrupted: the best found so far",
        Some(StopReason::Time) if any => "; the time was up: the best found so far",
        Some(StopReason::Time) => "; the time was up before anything smaller was found",
        Some(StopReason::Size) => "; as small as was asked for",
        Some(StopReason::Unmeasured) => "; held to the weight error, quality not measured",
        _ => "",
    }
}

/// What came from the cache.
fn cached(cache: &CacheReport) -> String {
    let CacheReport { found, kept, damaged, .. } = cache;
    let damaged = if *damaged == 0 { String::new() } else { format!(", {damaged} damaged and made again") };
    match cache.search_found {
        true => format!("this search was made before, with the same model, samples and settings{damaged}"),
        false => format!("{found} result{} found, {kept} kept{damaged}", if *found == 1 { "" } else { "s" }),
    }
}

fn trained(training: &TrainingReport) -> String {
    let ended = match training.ended {
        Ended::NoImprovement => ", ended early without further improvement",
        Ended::Interrupted => ", interrupted",
        _ => "",
    };
    let labels = match training.label_share {
        0.0 => String::new(),
        share => format!(", labels {:.0}%", share * 100.0),
    };
    format!(
        "Training  {} parameters of {} generator{} and {} others on {} samples, {} passes ({} steps of {}{labels}){ended}\n          quality on {} selection samples {:.2}% → {:.2}%",
        count(training.generator_parameters),
        training.layers.len(),
        if training.layers.len() == 1 { "" } else { "s" },
        count(training.plain_parameters),
        count(training.fit_samples as u64),
        training.epochs,
        count(training.steps as u64),
        training.batch,
        count(training.selection_samples as u64),
        training.start.quality * 100.0,
        training.best.quality * 100.0
    )
}

fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn layers(rows: &[LayerReport]) -> String {
    let header =
        ["layer", "op", "shape", "parameters", "→", "bytes", "→", "ratio", "weight err", "output err", "SQNR", "top-1"];
    let mut table = table(&header, &[3, 4, 5, 6, 7, 8, 9, 10, 11]);
    let mut remarks = vec!["what stands for it".to_owned()];
    for row in rows {
        let shape = dims(&row.shape);
        let percent = |v: Option<f64>, digits: usize| v.map_or("–".into(), |v| format!("{:.digits$}%", v * 100.0));
        let note = match (&row.generator, row.form.as_ref().or(row.reason.as_ref())) {
            (Some(g), _) => match &g.equivalent {
                Some(known) => format!("{known} ({})", g.legs),
                None => format!("{} {} χ={} {}", title(&g.topology), g.legs, g.bond, g.activation),
            },
            (None, Some(form)) => form.clone(),
            (None, None) => String::new(),
        };
        let times = row.bytes_before as f64 / row.bytes_after.max(1) as f64;
        let ratio = Cell::new(if row.replaced { format!("{times:.1}x") } else { "–".into() });
        table.add_row(vec![
            Cell::new(cut(&clean(&row.layer), NAME)),
            Cell::new(cut(&clean(&row.op), OP)),
            Cell::new(shape),
            Cell::new(count(row.parameters_before)),
            Cell::new(count(row.parameters_after)),
            Cell::new(bytes(row.bytes_before)),
            Cell::new(bytes(row.bytes_after)),
            ratio,
            Cell::new(percent(row.weight_error, 1)),
            Cell::new(percent(row.output_error, 1)),
            Cell::new(row.output_sqnr_db.map_or("–".into(), |v| format!("{v:.1} dB"))),
            Cell::new(percent(row.top1_agreement, 2)),
        ]);
        remarks.push(note);
    }
    remarked(&table, &remarks)
}

fn candidates(rows: &[LayerReport]) -> String {
    let mut table = table(&["layer", "op", "weight", "shape", "parameters", "bytes"], &[4, 5]);
    let mut remarks = vec!["possible ratios".to_owned()];
    for row in rows {
        let ratios = match (row.possible_ratios, &row.reason) {
            (Some((low, high)), _) => format!("{low:.1}x to {}x", count(high as u64)),
            (None, Some(reason)) => reason.clone(),
            (None, None) => String::new(),
        };
        table.add_row(vec![
            cut(&clean(&row.layer), NAME),
            cut(&clean(&row.op), OP),
            cut(&clean(&row.weight), NAME),
            dims(&row.shape),
            count(row.parameters_before),
            bytes(row.bytes_before),
        ]);
        remarks.push(ratios);
    }
    remarked(&table, &remarks)
}

fn skipped(report: &Report) -> String {
    let mut table = table(&["  node", "op", "weight", "shape"], &[]);
    let mut remarks = vec!["why".to_owned()];
    for row in &report.skipped {
        table.add_row(vec![
            format!("  {}", cut(&clean(&row.node), NAME)),
            cut(&clean(&row.op), OP),
            cut(&clean(&row.weight), NAME),
            dims(&row.shape),
        ]);
        remarks.push(row.reason.clone());
    }
    remarked(&table, &remarks)
}

/// The rows of a table, each with a remark: at its end where there is room, otherwise on lines of its own below.
fn remarked(table: &Table, remarks: &[String]) -> String {
    let rows: Vec<String> = table.lines().collect();
    let longest = rows.iter().map(|row| measure_text_width(row)).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (row, remark) in rows.iter().zip(remarks) {
        let remark = &clean(remark);
        let padding = " ".repeat(longest - measure_text_width(row));
        if longest + 1 + measure_text_width(remark) <= WIDTH {
            lines.push(format!("{row}{padding} {remark}").trim_end().to_owned());
        } else {
            lines.push(row.trim_end().to_owned());
            lines.extend(wrapped(remark, WIDTH - 8).into_iter().map(|line| format!("        {line}")));
        }
    }
    lines.join("\n")
}

/// A text in lines of at most `width` columns, broken between words; a longer word has a line of its own, cut.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, width);
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(&word) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

fn dims(shape: &[i64]) -> String {
    cut(&shape.iter().map(i64::to_string).collect::<Vec<_>>().join("×"), NAME)
}

/// A topology as the literature writes it.
fn title(topology: &str) -> String {
    topology.parse::<Topology>().map_or_else(|_| topology.to_owned(), |known| known.title().to_owned())
}

/// Digits in groups of three.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Bytes in decimal units.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_remarks_go_below_their_rows() {
        let mut table = table(&["node", "op"], &[]);
        table.add_row(vec!["fc1", "Gemm"]);
        table.add_row(vec!["fc2", "Gemm"]);
        let long = format!("{} {}", "a reason of many words".repeat(12), "w".repeat(300));
        let text = remarked(&table, &["why".into(), "too small".into(), long]);
        assert!(text.lines().all(|line| measure_text_width(line) <= WIDTH), "{text}");
        assert!(text.lines().any(|line| line.contains("fc1") && line.ends_with("too small")), "{text}");
        assert!(text.lines().count() > 4, "{text}");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(16_777_216), "16,777,216");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(248_425), "248.4 kB");
        assert_eq!(bytes(93_091_955), "93.09 MB");
    }
}
