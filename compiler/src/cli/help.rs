//! What `--help` and `--help-all` print.

use clap::{Command, CommandFactory as _};
use console::measure_text_width;

use super::args::{Args, ORDINARY};
use super::text::wrapped;

/// Columns of a line.
const WIDTH: usize = 100;
/// Columns that a description has at least, however long the names of options are.
const LEAST: usize = 40;

/// How the default of an option begins, and the same as one word.
const DEFAULT: &str = "[default: ";
const TOGETHER: &str = "[default:_";

/// The ordinary options.
pub(super) fn ordinary() -> String {
    let extra = |arg: &clap::Arg| !ORDINARY.contains(&arg.get_id().as_str());
    printed(Args::command().mut_args(|arg| if extra(&arg) { arg.hide(true) } else { arg }))
}

/// All options, with all that is said of them.
pub(super) fn all() -> String {
    let command = Args::command().after_help("Files of settings (--config): docs/config.md.");
    let command = command.mut_args(|arg| {
        let whole = arg.get_long_help().map(|text| text.to_string().replace("\n\n", " "));
        match whole {
            Some(text) => arg.help(text.trim_end_matches('.').to_owned()),
            None => arg,
        }
    });
    printed(with_long_about(command))
}

fn with_long_about(command: Command) -> Command {
    match command.get_long_about().map(|text| text.to_string().replace("\n\n", " ")) {
        Some(text) => command.about(text),
        None => command,
    }
}

/// As they are in most runs, both files are given.
fn printed(command: Command) -> String {
    let given = |arg: clap::Arg| if arg.is_positional() { arg.required(true) } else { arg };
    lines(&command.mut_args(given).render_help().to_string())
}

/// The same in lines of at most [`WIDTH`] columns; descriptions stay in their column.
fn lines(text: &str) -> String {
    let mut out = Vec::new();
    for line in text.replace(DEFAULT, TOGETHER).lines() {
        let (names, rest) = line.split_at(description(line));
        let column = measure_text_width(names);
        if column + measure_text_width(rest) <= WIDTH || column > WIDTH - LEAST {
            out.push(line.to_owned());
            continue;
        }
        for (number, part) in wrapped(rest, WIDTH - column).into_iter().enumerate() {
            out.push(if number == 0 { format!("{names}{part}") } else { format!("{}{part}", " ".repeat(column)) });
        }
    }
    out.join("\n").replace(TOGETHER, DEFAULT)
}

/// Where the description begins in a line on an option: behind its name and two spaces.
fn description(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    let Some(gap) = line[indent..].find("  ").map(|at| at + indent).filter(|_| indent > 0) else { return 0 };
    gap + line[gap..].len() - line[gap..].trim_start().len()
}
