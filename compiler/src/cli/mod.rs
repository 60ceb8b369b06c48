//! Command line: arguments in, human report and exit code out.

mod args;
mod progress;
mod quality;
mod text;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adntn_compiler::{Error, FitKind, Probe, compile_with};
use clap::Parser as _;

use args::Args;

/// Exit code after a second Ctrl-C: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// Parses the command line, compiles and prints.
pub(crate) fn run() -> ExitCode {
    if let Some(code) = Probe::serve(std::env::args_os().skip(1)) {
        return code;
    }
    let args = Args::parse();
    start_logging(args.verbose);
    quiet_panics();
    match compile(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let style = console::Style::new().for_stderr().red().bold();
            say(&format!("{} {error}", style.apply_to("error:")));
            ExitCode::from(error.exit_code())
        }
    }
}

fn compile(args: &Args) -> Result<(), Error> {
    let mut options = args.options()?;
    options.probe = std::env::current_exe().ok().map(Probe::new);
    for (what, path) in [("report", args.report()), ("diagram", args.diagram())] {
        if let Some(path) = path {
            check_writable(what, path)?;
        }
    }
    let stop = if options.fit == FitKind::EndToEnd { stop_on_interrupt() } else { Arc::default() };
    let mut progress = progress::Bars::new(stop);
    let result = compile_with(&options, &mut progress);
    progress.finish();
    let report = result?;
    if let Some(path) = args.report() {
        let json = serde_json::to_string_pretty(&report).map_err(|e| Error::Internal(e.to_string()))?;
        write_whole(path, &(json + "\n"))?;
    }
    if let Some(path) = args.diagram() {
        write_whole(path, &report.diagram()?)?;
    }
    say(&text::render(&report, options.dry_run));
    Ok(())
}

/// A flag that the first Ctrl-C sets, so that a fit ends with the best it has found; the second one ends the program.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Fails only where the system has no signals; Ctrl-C then does what it does everywhere.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    });
    stop
}

/// What cannot be written must be known before minutes are spent.
fn check_writable(what: &str, path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::Usage(format!("{}: the {what}'s folder does not exist", path.display())));
    }
    let probe = tempfile::NamedTempFile::new_in(folder);
    probe.map(drop).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

/// Writes a text file whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let fail = |source| Error::Write { path: path.to_path_buf(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Everything for people goes to standard error, so that standard output stays free for pipelines.
pub(super) fn say(text: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn start_logging(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => "adntn_compiler=debug,adntn_passes=debug,adntn_fit=debug,warn",
        _ => "adntn_compiler=trace,adntn_passes=trace,adntn_fit=trace,info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| filter.into());
    // Fails only when a subscriber is installed already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().try_init();
}

/// A panic inside tract is caught and reported as one sentence; its backtrace would only confuse.
fn quiet_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let in_tract = info.location().is_some_and(|l| l.file().contains("tract") || l.file().contains("ndarray"));
        if !in_tract {
            default(info);
        }
    }));
}
