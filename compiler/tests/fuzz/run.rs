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

/// Whether the command may leave `name` beside the files that it was given.
fn is_output(name: &str) -> bool {
    matches!(name, "out.onnx" | "report.json" | "diagram.svg")
        || name.starts_with("out.onnx.") && name.ends_with(".data")
}

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
    let program = std::env::var_os("ADNTN_FUZZ_COMMAND").unwrap_or(env!("CARGO_BIN_EXE_adntn-compile").into());
    let mut command = Command::new(program);
    command
        .args(["in.onnx", "out.onnx", "--no-cache"])
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
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
    // That the runner panicked at a node is a reason for a note; what the standard library prints of a panic is none.
    if let Some(word) = ["' panicked", ") panicked", "it panicked (", "internal error", "RUST_BACKTRACE"]
        .iter()
        .find(|w| stderr.contains(**w))
    {
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
    let place = ["in.onnx", "samples", "output `", "value `", "layer", "--"];
    if code == 2 && !place.iter().any(|word| last.contains(word)) {
        return broken("an error names no file, output, layer or option");
    }
    if code == 2 && last.contains("give --calibration") && args.iter().any(|a| a == "-c") {
        return broken("an error asks for what was given");
    }
    let mut after = files(dir);
    let mut made: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    after.retain(|path, bytes| {
        let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
        let kept = before.contains_key(path) || !is_output(&name);
        if !kept {
            made.insert(name, std::mem::take(bytes));
        }
        kept
    });
    if before != after {
        let changed = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).map(|(path, _)| path);
        let gone = before.keys().filter(|path| !after.contains_key(*path));
        return broken(&format!("files changed, appeared or went: {:?}", changed.chain(gone).collect::<Vec<_>>()));
    }
    if !files(scratch.path()).is_empty() {
        return broken("temporary files are left");
    }
    let dry = args.iter().any(|a| a == "--dry-run");
    if (code != 0 || dry) && made.keys().any(|name| name.starts_with("out.onnx")) {
        return broken(&format!("a model was written with exit code {code}"));
    }
    if code != 0 && !made.is_empty() {
        return broken(&format!("a report or diagram was written with exit code {code}"));
    }
    if std::env::var_os("ADNTN_FUZZ_VERBOSE").is_some() {
        eprintln!("{code} {}", if code == 2 { last.replace(&*dir.to_string_lossy(), "") } else { String::new() });
    }
    if code == 0
        && let Err(what) = results(dir, dry, &made)
    {
        return broken(&what);
    }
    Ok(code)
}

/// Whether what was written can be read and keeps its promises.
fn results(dir: &Path, dry: bool, made: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
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
    // Before IR version 4 initializers are listed among the inputs as well; those of replaced weights go.
    let inputs = |graph: &pb::GraphProto| {
        let free = graph.input.iter().filter(|i| graph.initializer.iter().all(|t| t.name() != i.name()));
        free.map(|i| i.name().to_owned()).collect::<Vec<_>>()
    };
    if inputs(source.graph()) != inputs(output.graph()) {
        return Err("the inputs have changed".into());
    }
    if source.graph().output != output.graph().output {
        return Err("the outputs have changed".into());
    }
    let size: usize = made.iter().filter(|(name, _)| name.starts_with("out.onnx")).map(|(_, bytes)| bytes.len()).sum();
    // Tensors that share bytes of external data are apart once they are embedded: the files are what may not grow.
    let given: u64 =
        ["in.onnx", "side.bin"].iter().filter_map(|name| dir.join(name).metadata().ok()).map(|m| m.len()).sum();
    let (size, limit) = ((size as u64).max(output.size_bytes()), source.size_bytes().max(given));
    if size > limit {
        return Err(format!("the output has {size} bytes, the input {limit}"));
    }
    Ok(())
}

/// Whether the model that was written to `dir` is one that the command takes, with the same least size of a weight: smaller ones
/// are not looked at, and may hold NaN.
pub fn reload(dir: &Path, min_elements: &str) -> Result<(), String> {
    let again = tempfile::tempdir().unwrap();
    for (path, bytes) in files(dir) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("out.onnx") || name == "side.bin" {
            std::fs::write(again.path().join(if name == "out.onnx" { "in.onnx" } else { &name }), bytes).unwrap();
        }
    }
    match check(again.path(), &["--dry-run".to_owned(), "--min-elements".into(), min_elements.into()])? {
        0 => Ok(()),
        code => Err(format!("the compiled model is refused with exit code {code}")),
    }
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
