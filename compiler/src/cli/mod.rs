//! Command line: arguments in, human report and exit code out.

mod apply;
mod args;
mod config;
mod help;
mod plain;
mod print;
mod progress;
mod quality;
mod settings;
mod signals;
mod spread;
mod text;
mod threads;
mod values;

use std::io::{self, Write as _};
use std::process::ExitCode;

use adntn_compiler::{Error, Options, Probe, Report, compile_staged};
use clap::error::ErrorKind;

use settings::{Refusal, Settings};
use text::Outcome;

/// Exit code of a run that was ended early and wrote the best it had found.
const ENDED_EARLY: u8 = 4;

/// Characters of a word in a log line, with its colours.
const LONGEST_LOGGED: usize = 120;

/// Parses the command line, compiles and prints.
pub(crate) fn run() -> ExitCode {
    if let Some(code) = Probe::serve(std::env::args_os().skip(1)) {
        return code;
    }
    let settings = match Settings::read(std::env::args_os()) {
        Ok(settings) => settings,
        Err(Refusal::CommandLine(answer)) if answer.kind() == ErrorKind::DisplayHelp => {
            return answered(&help::ordinary());
        }
        Err(Refusal::CommandLine(answer)) if answer.kind() == ErrorKind::DisplayVersion => {
            return answered(&answer.to_string());
        }
        Err(Refusal::CommandLine(answer)) => answer.exit(),
        Err(Refusal::File(error)) => return refused(&error, &error.to_string()),
    };
    if settings.args.help_all {
        return answered(&help::all());
    }
    start_logging(settings.args.verbose);
    quiet_panics();
    act(&settings).unwrap_or_else(|error| refused(&error, &settings.explain(&error)))
}

fn refused(error: &Error, sentence: &str) -> ExitCode {
    let style = console::Style::new().for_stderr().red().bold();
    say(&format!("{} {}", style.apply_to("error:"), plain::clean(sentence)));
    ExitCode::from(error.exit_code())
}

/// Prints what was asked for.
fn answered(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{}", text.trim_end()).and_then(|()| io::stdout().flush()) {
        // A closed standard output wants no more.
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            let error = Error::Usage(format!("standard output takes nothing ({problem}): write to another place"));
            refused(&error, &error.to_string())
        }
        _ => ExitCode::SUCCESS,
    }
}

fn act(settings: &Settings) -> Result<ExitCode, Error> {
    spread::check(settings)?;
    if let Some(path) = &settings.args.work {
        return spread::work(settings, path);
    }
    let mut options = settings.options()?;
    if settings.args.print_config {
        return Ok(answered(&settings.printed(&options.generators)?));
    }
    if let Some(missing) = settings.missing() {
        return Err(Error::Usage(format!("{missing} is missing: give it, or see --help")));
    }
    options.cache = settings.cache();
    match &settings.args.plan {
        Some(path) => spread::plan(settings, options, path),
        None => compile(options, settings.args.quiet),
    }
}

fn compile(mut options: Options, quiet: bool) -> Result<ExitCode, Error> {
    threads::start()?;
    options.probe = std::env::current_exe().ok().map(Probe::new);
    let mut progress = progress::Bars::new(signals::watch(), quiet);
    let result = compile_staged(&options, &mut progress);
    progress.finish();
    let compiled = result?;
    let early = compiled.is_interrupted();
    let tell = |report: &Report, outcome| {
        if !quiet {
            show(report, outcome)
        }
    };
    if let Err(refused) = compiled.check() {
        if matches!(refused, Error::OutsideTolerance { .. } | Error::DeadOutput { .. }) {
            tell(compiled.report(), Outcome::Refused);
        }
        return Err(refused);
    }
    let report = compiled.save()?;
    tell(&report, if options.dry_run { Outcome::DryRun } else { Outcome::Written });
    Ok(if early { ExitCode::from(ENDED_EARLY) } else { ExitCode::SUCCESS })
}

/// Prints a report, whose texts may come from the model.
fn show(report: &Report, outcome: Outcome) {
    let cleaned = serde_json::to_value(report).and_then(|mut value| {
        plain::clean_all(&mut value);
        serde_json::from_value::<Report>(value)
    });
    say(&text::render(cleaned.as_ref().unwrap_or(report), outcome));
}

/// Everything for people goes to standard error, so that standard output stays free for pipelines.
pub(super) fn say(text: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{}", plain::lines(text));
}

fn start_logging(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => "adntn_compiler=debug,adntn_passes=debug,adntn_fit=debug,warn",
        _ => "adntn_compiler=trace,adntn_passes=trace,adntn_fit=trace,info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| filter.into());
    // Fails only when a subscriber is installed already.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).without_time();
    let _ = log.with_ansi(console::colors_enabled_stderr()).try_init();
}

/// Standard error for log lines: what it does not take is lost, since a log must not end the run.
struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = plain::lines(&String::from_utf8_lossy(line));
        let words: Vec<String> = text.split(' ').map(|word| plain::cut(word, LONGEST_LOGGED)).collect();
        let _ = io::stderr().write_all(words.join(" ").as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A panic of the runner is caught and reported as one sentence; its backtrace would only confuse.
fn quiet_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !adntn_fit::runner::is_guarded() {
            default(info);
        }
    }));
}
