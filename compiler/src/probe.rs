//! A model that we did not make is tried in a process of its own, with limits, before it is run in this one: what it does
//! there to memory, stack or clock ends that process only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use adntn_fit::runner::Loaded;
use adntn_onnx::{Model, Patch};

/// The first argument of a trial, which no user gives.
const ARGUMENT: &str = "--probe-model";
/// Memory of a trial beside what grows with the model, in bytes.
const MEMORY: u64 = 2 << 30;
/// Copies of the model that loading takes: its messages, tensors, and packed weights, some of them twice.
const COPIES: u64 = 6;
/// Processor time of a trial beside what grows with the model, in seconds.
const SECONDS: u64 = 20;
/// Bytes of model that are worth one second more.
const BYTES_PER_SECOND: u64 = 16 << 20;
/// Clock time for every second of processor time: machines are shared.
const PATIENCE: u32 = 3;

/// How to try a model in a process of its own: by a program that calls [`Probe::serve`] first of all, such as
/// `adntn-compile`. The trial loads the model and runs one sample of zeros, with at most 2 GiB and six times the model's
/// size of address space, and at most 20 s and a second for every 16 MiB of the model of processor time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    program: PathBuf,
    seconds: u64,
}

impl Probe {
    /// A trial by `program`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Probe { program: program.into(), seconds: SECONDS }
    }

    /// The same with another time for small models, in seconds.
    #[must_use]
    pub fn with_seconds(self, seconds: u64) -> Self {
        Probe { seconds: seconds.max(1), ..self }
    }

    /// What the process of a trial does; `None` when `arguments` (without the program's name) ask for no trial.
    #[must_use]
    pub fn serve(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
        let mut arguments = arguments.into_iter();
        if arguments.next()? != ARGUMENT {
            return None;
        }
        let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
        let (Some(memory), Some(seconds), Some(whole)) = (number(), number(), number()) else {
            return Some(ExitCode::from(2));
        };
        limit(memory, seconds);
        // tract takes a failed allocation for a panic like any other, which the parent would meet without the limit.
        std::panic::set_hook(Box::new(|info| {
            let text = info.payload_as_str().unwrap_or_default();
            if text.contains("alloc") || text.contains("capacity overflow") {
                std::process::abort();
            }
        }));
        // What is refused in an orderly way is refused here as well: only the end of this process counts.
        let mut attempt = || -> Option<()> {
            let model = Model::open(Path::new(&arguments.next()?)).ok()?;
            if whole != 0 {
                return Loaded::new(model.apply(&Patch::default()).ok()?.to_bytes()).ok()?.rehearse().ok();
            }
            let bytes = match adntn_fit::outline(&model).ok()? {
                Some(outline) => outline,
                None => model.apply(&Patch::default()).ok()?.to_bytes(),
            };
            Loaded::new(bytes).ok()?.check().ok()
        };
        let _ = attempt();
        Some(ExitCode::SUCCESS)
    }

    /// Tries the model at `path` of `bytes` bytes; with its weights, or (`whole` is false) shapes alone. Where no process can be
    /// started, nothing is known and the model passes. Where `stop` says so the trial ends at once, and shows nothing.
    pub(crate) fn run(&self, path: &Path, bytes: u64, whole: bool, stop: &mut dyn FnMut() -> bool) -> Trial {
        let seconds = self.seconds + bytes / BYTES_PER_SECOND;
        let memory = bytes.saturating_mul(if whole { COPIES } else { 1 }).saturating_add(MEMORY);
        let memory = machine_memory().map_or(memory, |most| memory.min(most.max(MEMORY)));
        let mut command = Command::new(&self.program);
        command.arg(ARGUMENT).args([memory, seconds, u64::from(whole)].map(|number| number.to_string())).arg(path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Every thread reserves address space, and the trace of a panic takes memory.
        command.env("RAYON_NUM_THREADS", "1").env("RUST_BACKTRACE", "0");
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::warn!(%error, program = %self.program.display(), "a model cannot be tried in a process of its own");
                return Trial::Passed;
            }
        };
        match wait(&mut child, Duration::from_secs(seconds) * PATIENCE, stop) {
            Outcome::Ended(status) if status.success() => Trial::Passed,
            Outcome::Ended(status) => Trial::Failed(reason(status, memory, seconds)),
            Outcome::Late => Trial::Failed(format!("it took more than {seconds} s of processor time")),
            Outcome::Unknown => Trial::Passed,
            Outcome::Stopped => Trial::Interrupted,
        }
    }
}

/// What a trial has shown.
pub(crate) enum Trial {
    Passed,
    /// What ended it.
    Failed(String),
    /// The caller wants no more.
    Interrupted,
}

enum Outcome {
    Ended(ExitStatus),
    Late,
    Stopped,
    Unknown,
}

fn wait(child: &mut Child, patience: Duration, stop: &mut dyn FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    let outcome = loop {
        match child.try_wait() {
            Ok(Some(status)) => return Outcome::Ended(status),
            Ok(None) if start.elapsed() > patience => break Outcome::Late,
            Ok(None) if stop() => break Outcome::Stopped,
            Ok(None) => std::thread::sleep(pause),
            Err(_) => break Outcome::Unknown,
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    };
    // It may have ended meanwhile; then there is nothing to end.
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

#[cfg(unix)]
fn reason(status: ExitStatus, memory: u64, seconds: u64) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(libc::SIGABRT) => format!("it needed more than {} MiB of memory, or gave up by itself", memory >> 20),
        Some(libc::SIGXCPU | libc::SIGKILL) => {
            format!("it took more than {seconds} s of processor time, or was killed")
        }
        Some(libc::SIGSEGV | libc::SIGBUS) => "it ran out of stack or memory (signal 11)".into(),
        Some(signal) => format!("it was ended by signal {signal}"),
        None => format!("it ended with {status}"),
    }
}

#[cfg(not(unix))]
fn reason(status: ExitStatus, _: u64, _: u64) -> String {
    format!("it ended with {status}")
}

/// Three quarters of the machine's memory, in bytes.
#[cfg(unix)]
fn machine_memory() -> Option<u64> {
    // SAFETY: sysconf reads a number of the system and touches no memory of ours.
    #[allow(unsafe_code)]
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    Some(u64::try_from(pages).ok()?.saturating_mul(u64::try_from(page).ok()?) / 4 * 3).filter(|&bytes| bytes > 0)
}

#[cfg(not(unix))]
fn machine_memory() -> Option<u64> {
    None
}

/// Limits this process; where the system refuses, the parent's clock is left.
#[cfg(unix)]
fn limit(memory: u64, seconds: u64) {
    let limits = [(libc::RLIMIT_AS, memory), (libc::RLIMIT_CPU, seconds), (libc::RLIMIT_CORE, 0)];
    for (what, most) in limits {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: setrlimit reads the struct it is given, which lives until it returns, and touches no other memory.
        #[allow(unsafe_code)]
        unsafe {
            libc::setrlimit(what, &limit);
        }
    }
    // SAFETY: prctl with PR_SET_PDEATHSIG takes a number and touches no memory: this process ends with its parent.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

#[cfg(not(unix))]
fn limit(_: u64, _: u64) {}
