//! Runs the command on one case and holds it to what it promises for every input.

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use adntn_onnx::{Model, pb};

/// Address space of the command, in bytes.
const MEMORY: u64 = 4 << 30;
/// Its processor time, in seconds; its trial of a model has a limit of its own.
const PROCESSOR: u64 = 20;
/// Clock time on a machine that does other work beside.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest line of an error, in bytes.
const LINE: usize = 2000;
/// What the command may leave beside the files that it was given.
const OUTPUTS: [&str; 4] = ["out.onnx", "out.onnx.data", "report.json", "diagram.svg"];

/// Every file under `dir` with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Compiles `dir/in.onnx` to `dir/out.onnx` with further `args`; the exit code, or what was broken.
pub fn check(dir: &Path, args: &[String]) -> Result<i32, String> {
    let before = files(dir);
    let scratch = tempfile::tempdir().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
    command.args(["in.onnx", "out.onnx"]).args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(log.reopen().unwrap()).env("NO_COLOR", "1").env("TMPDIR", scratch.path());
    command.env("RAYON_NUM_THREADS", "1").env("RUST_BACKTRACE", "0");
    limit(&mut command);
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                child.kill().unwrap();
                child.wait().unwrap();
                return Err(format!("no end in {PATIENCE:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let mut printed = Vec::new();
    std::io::Read::read_to_end(&mut child.stdout.take().unwrap(), &mut printed).unwrap();
    let stderr = std::fs::read(log.path()).unwrap();
    let stderr = String::from_utf8(stderr).map_err(|_| "standard error is not UTF-8".to_owned())?;
    let broken = |what: &str| Err(format!("{what}\n{}", stderr.chars().take(6000).collect::<String>()));
    let Some(code @ (0 | 2 | 3)) = status.code() else {
        return broken(&format!("ended with {:?}, signal {:?}", status.code(), status.signal()));
    };
    if !printed.is_empty() {
        return broken("something on standard output");
    }
    if let Some(word) = ["panicked", "internal error", "RUST_BACKTRACE"].iter().find(|w| stderr.contains(**w)) {
        return broken(&format!("standard error says '{word}'"));
    }
    if stderr.chars().any(|c| c.is_control() && c != '\n') {
        return broken("control characters on standard error");
    }
    let errors = stderr.lines().filter(|l| l.starts_with("error: ")).count();
    let last = stderr.lines().last().unwrap_or_default();
    if code == 2 && (errors != 1 || !last.starts_with("error: ") || last.len() > LINE) {
        return broken("an error is not one line that ends the output");
    }
    let mut after = files(dir);
    let made: BTreeMap<_, _> = OUTPUTS
        .iter()
        .filter_map(|name| after.remove_entry(&dir.join(name)).map(|(_, bytes)| (*name, bytes)))
        .collect();
    if before != after {
        let changed = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).map(|(path, _)| path);
        let gone = before.keys().filter(|path| !after.contains_key(*path));
        return broken(&format!("files changed, appeared or went: {:?}", changed.chain(gone).collect::<Vec<_>>()));
    }
    if !files(scratch.path()).is_empty() {
        return broken("temporary files are left");
    }
    let dry = args.iter().any(|a| a == "--dry-run");
    if (code != 0 || dry) && (made.contains_key("out.onnx") || made.contains_key("out.onnx.data")) {
        return broken(&format!("a model was written with exit code {code}"));
    }
    if code == 2 && !made.is_empty() {
        return broken("a report or diagram was written with exit code 2");
    }
    if code == 0 {
        if let Err(what) = results(dir, dry, &made) {
            return broken(&what);
        }
    }
    Ok(code)
}

/// Whether what was written can be read and keeps its promises.
fn results(dir: &Path, dry: bool, made: &BTreeMap<&str, Vec<u8>>) -> Result<(), String> {
    if let Some(json) = made.get("report.json") {
        serde_json::from_slice::<adntn_compiler::Report>(json).map_err(|e| format!("the report is no JSON: {e}"))?;
    }
    if let Some(svg) = made.get("diagram.svg") {
        let text = std::str::from_utf8(svg).map_err(|e| format!("the diagram: {e}"))?;
        roxmltree::Document::parse(text).map_err(|e| format!("the diagram is no XML: {e}"))?;
    }
    if dry {
        return Ok(());
    }
    let open = |name: &str| Model::open(&dir.join(name)).map_err(|e| format!("{name} cannot be opened: {e}"));
    let (source, output) = (open("in.onnx")?, open("out.onnx")?);
    let names = |values: &[pb::ValueInfoProto]| values.iter().map(|v| v.name().to_owned()).collect::<Vec<_>>();
    if names(&source.graph().input) != names(&output.graph().input) {
        return Err("the inputs have changed".into());
    }
    if source.graph().output != output.graph().output {
        return Err("the outputs have changed".into());
    }
    let size: usize = ["out.onnx", "out.onnx.data"].iter().filter_map(|name| made.get(name).map(Vec::len)).sum();
    let (size, limit) = ((size as u64).max(output.size_bytes()), source.size_bytes());
    if size > limit {
        return Err(format!("the output has {size} bytes, the input {limit}"));
    }
    Ok(())
}

/// Limits the command's memory and processor time.
#[allow(unsafe_code)]
fn limit(command: &mut Command) {
    let set = || {
        for (what, most) in [(libc::RLIMIT_AS, MEMORY), (libc::RLIMIT_CPU, PROCESSOR), (libc::RLIMIT_CORE, 0)] {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: setrlimit reads the struct it is given and may be called between fork and exec.
            if unsafe { libc::setrlimit(what, &limit) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure only calls setrlimit, which is safe to call after a fork.
    unsafe { command.pre_exec(set) };
}
