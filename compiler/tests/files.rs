//! Files: nothing that is read is written, all that is written appears together, and nothing half done.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use adntn_compiler::{Error, Event, Observer, Options, compile, compile_staged, compile_with};
use adntn_onnx::{ExternalData, Model, Patch};
use common::{graph, run, samples, smooth, stderr, tensor, write};

/// Everything below a folder with its content.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                folders.push(path);
            } else if path.is_file() {
                all.push((name, fs::read(&path).unwrap()));
            } else {
                all.push((name, Vec::new()));
            }
        }
    }
    all.sort();
    all
}

/// What has to be asked for before a checkpoint may be.
fn training(option: &str) -> &'static [&'static str] {
    if option == "--checkpoint" { &["--fit", "end-to-end"] } else { &[] }
}

fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let before = content(folder);
    let output = run(folder, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
    assert!(content(folder) == before, "{args:?} changed something");
}

#[cfg(unix)]
#[test]
fn no_path_that_is_read_is_written() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(folder.path(), "plain.onnx", |_| {});
    let model = Model::open(&at("plain.onnx")).unwrap();
    model.apply(&Patch::default()).unwrap().write(&at("in.onnx"), ExternalData::Always).unwrap();
    let data = content(folder.path()).into_iter().find(|(name, _)| name.ends_with(".data")).unwrap().0;
    fs::create_dir_all(at("samples/inner")).unwrap();
    samples(&at("samples"), "x.npy", 16);
    samples(folder.path(), "x.npy", 16);
    samples(folder.path(), "held.npy", 16);
    ndarray_npy::write_npy(at("labels.npy"), &ndarray::Array1::<i64>::zeros(16)).unwrap();
    fs::hard_link(at("in.onnx"), at("hard.onnx")).unwrap();
    fs::hard_link(at("samples/x.npy"), at("hard.npy")).unwrap();
    symlink("in.onnx", at("soft.onnx")).unwrap();
    symlink(".", at("here")).unwrap();
    let base = ["in.onnx", "out.onnx", "-c", "x.npy", "--held-out", "held.npy", "--held-out-labels", "labels.npy"];
    let with = |more: &[&str], parts: &[&str]| refused(folder.path(), &[&base[..], more].concat(), parts);
    let to = |out: &str, parts: &[&str]| refused(folder.path(), &["in.onnx", out, "-c", "samples"], parts);
    to(&data, &["output", "external data", "choose another"]);
    to("hard.onnx", &["hard.onnx"]);
    to("soft.onnx", &["soft.onnx"]);
    to("here/in.onnx", &["in.onnx"]);
    to("samples/out.onnx", &["output", "calibration", "choose another"]);
    to("samples/inner/out.onnx", &["output", "calibration"]);
    to("hard.npy", &["output", "calibration"]);
    for option in ["--report", "--diagram", "--checkpoint"] {
        for (path, what) in [
            ("in.onnx", "the model"),
            ("hard.onnx", "the model"),
            ("here/x.npy", "calibration"),
            ("held.npy", "held-out samples"),
            ("labels.npy", "held-out labels"),
            ("out.onnx", "the output"),
            ("here/out.onnx", "the output"),
            (data.as_str(), "external data"),
        ] {
            with(&[training(option), &[option, path]].concat(), &[what, "choose another"]);
        }
    }
    with(&["--report", "same", "--diagram", "here/same"], &["report", "diagram"]);
    // The name that the output's data would get.
    fs::copy(at("in.onnx"), at("copy.onnx")).unwrap();
    refused(folder.path(), &["copy.onnx", "in.onnx", "--external-data"], &["external data", "output"]);
}

#[cfg(unix)]
#[test]
fn nothing_but_regular_files_is_replaced_or_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(folder.path(), "in.onnx", |_| {});
    samples(folder.path(), "x.npy", 16);
    fs::create_dir(at("with-pipe")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for pipe in ["pipe.npy", "with-pipe/x.npy", "pipe.onnx"] {
        assert!(std::process::Command::new("mkfifo").arg(at(pipe)).status().unwrap().success());
    }
    fs::write(at("aim"), "kept").unwrap();
    std::os::unix::fs::symlink("aim", at("link")).unwrap();
    for odd in ["/dev/null", "pipe.npy", "folder", "link"] {
        refused(folder.path(), &["in.onnx", odd], &[odd]);
        for option in ["--report", "--diagram", "--checkpoint"] {
            let given = ["in.onnx", "out.onnx", "-c", "x.npy", option, odd];
            refused(folder.path(), &[&given[..], training(option)].concat(), &[odd]);
        }
    }
    for option in ["-c", "--labels", "--held-out", "--held-out-labels"] {
        refused(folder.path(), &["in.onnx", "out.onnx", option, "pipe.npy"], &["pipe.npy", "no regular file"]);
    }
    refused(folder.path(), &["in.onnx", "out.onnx", "-c", "with-pipe"], &["x.npy", "no regular file"]);
    refused(folder.path(), &["pipe.onnx", "out.onnx"], &["pipe.onnx"]);
}

#[cfg(target_os = "linux")]
#[test]
fn folders_that_take_no_files_are_known_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    samples(folder.path(), "x.npy", 16);
    fs::write(folder.path().join("file"), "kept").unwrap();
    // The model is not even there.
    for (odd, words) in [("/proc/odd", "choose a path"), ("file/odd", "folder is a file"), ("no/odd", "does not exist")]
    {
        refused(folder.path(), &["in.onnx", odd], &[odd, words]);
        for option in ["--report", "--diagram", "--checkpoint"] {
            let given = ["in.onnx", "out.onnx", "-c", "x.npy", option, odd];
            refused(folder.path(), &[&given[..], training(option)].concat(), &[odd, words]);
        }
    }
}

/// A model whose layer cannot be had smaller at this accuracy, forced to be.
fn worse(folder: &Path) -> Vec<&'static str> {
    write(folder, "in.onnx", |_| {});
    samples(folder, "x.npy", 256);
    vec![
        "in.onnx",
        "out.onnx",
        "-c",
        "x.npy",
        "--fit",
        "end-to-end",
        "--bond",
        "1",
        "--epochs",
        "1",
        "--tolerance",
        "0",
        "--report",
        "report.json",
        "--diagram",
        "diagram.svg",
        "--batch",
        "64",
    ]
}

#[test]
fn a_worse_model_is_written_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let args = worse(folder.path());
    let before = content(folder.path());
    let output = run(folder.path(), &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("--accept-worse") && text.contains("Written   nothing") && text.contains("Quality"),
        "{text}"
    );
    assert!(content(folder.path()) == before);

    let output = run(folder.path(), &[&args[..], &["--accept-worse"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for name in ["out.onnx", "report.json", "diagram.svg"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::write(folder.path().join("ordinary"), "").unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        for name in ["out.onnx", "report.json", "diagram.svg"] {
            assert_eq!(mode(name), mode("ordinary"), "{name}");
        }
    }
}

/// Stops when `after` events of training have come, or at once.
struct Stopping {
    after: Option<usize>,
    seen: usize,
}

impl Observer for Stopping {
    fn event(&mut self, event: Event<'_>) {
        self.seen += usize::from(matches!(event, Event::Train(_)));
    }

    fn stop(&mut self) -> bool {
        self.after.is_none_or(|after| self.seen >= after)
    }
}

#[test]
fn what_is_ended_before_the_first_pass_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    worse(folder.path());
    let mut options = Options::new(folder.path().join("in.onnx"), folder.path().join("out.onnx"));
    options.calibration = Some(folder.path().join("x.npy"));
    options.min_elements = 64;
    let before = content(folder.path());
    let ended = |options: &Options, after| compile_with(options, &mut Stopping { after, seen: 0 });
    assert!(matches!(ended(&options, None), Err(Error::Interrupted)));
    options.fit = adntn_compiler::FitKind::EndToEnd;
    options.training.batch = Some(16);
    options.training.epochs = Some(50);
    options.accept_worse = true;
    options.training.ratio = 4.0;
    for after in [None, Some(0), Some(2)] {
        let error = ended(&options, after).unwrap_err();
        assert!(matches!(error, Error::Interrupted) && error.exit_code() == 130, "{after:?}: {error}");
    }
    assert!(content(folder.path()) == before);
    // After a pass the best so far is there.
    let compiled = compile_staged(&options, &mut Stopping { after: Some(30), seen: 0 }).unwrap();
    assert!(compiled.is_interrupted() && content(folder.path()) == before);
    compiled.save().unwrap();
    assert!(folder.path().join("out.onnx").exists());
}

#[test]
fn a_library_call_gets_an_error_for_a_worse_model() {
    let folder = tempfile::tempdir().unwrap();
    worse(folder.path());
    let mut options = Options::new(folder.path().join("in.onnx"), folder.path().join("out.onnx"));
    options.calibration = Some(folder.path().join("x.npy"));
    options.fit = adntn_compiler::FitKind::EndToEnd;
    options.bond = Some(1);
    options.training.epochs = Some(1);
    options.tolerance = 0.0;
    let error = compile(&options).unwrap_err();
    assert!(matches!(error, Error::OutsideTolerance { .. }) && error.exit_code() == 3, "{error}");
    assert!(!folder.path().join("out.onnx").exists());
}

/// The exit code of a run that gets `signal` once it has said `word`, and what it said.
#[cfg(target_os = "linux")]
fn signalled(folder: &Path, args: &[&str], signal: &str, word: Option<&str>) -> (Option<i32>, String) {
    use std::io::{BufRead as _, Read as _};
    use std::os::unix::process::ExitStatusExt as _;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_adntn-compile"))
        .current_dir(folder)
        .args(args)
        .arg("--no-cache")
        .env("NO_COLOR", "1")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    match word {
        Some(word) => while !text.contains(word) && said.read_line(&mut text).unwrap() > 0 {},
        None => std::thread::sleep(std::time::Duration::from_millis(5)),
    }
    std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    said.read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    (status.code().or(status.signal().map(|signal| 128 + signal)), text)
}

#[cfg(target_os = "linux")]
#[test]
fn signals_end_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "in.onnx", |_| {});
    samples(folder, "x.npy", 2000);
    let before = content(folder);
    let args = "in.onnx out.onnx -c x.npy --fit end-to-end --ratio 4 --epochs 10000 --batch 8 --accept-worse";
    let args: Vec<&str> = args.split(' ').collect();
    let (code, text) = signalled(folder, &args, "-TERM", Some("pass 1/"));
    assert_eq!(code, Some(143), "{text}");
    assert!(content(folder) == before, "{text}");
    // Early: there is nothing to be written.
    let (code, text) = signalled(folder, &args, "-INT", None);
    assert!(code == Some(130) && content(folder) == before, "{code:?} {text}");
    let (code, text) = signalled(folder, &args, "-INT", Some("pass 2/"));
    assert_eq!(code, Some(4), "{text}");
    assert!(folder.join("out.onnx").exists(), "{text}");
    // The same in a search, once a choice is fitted and accepted.
    fs::remove_file(folder.join("out.onnx")).unwrap();
    write(folder, "in.onnx", |model| {
        let weights = &mut graph(model).initializer;
        weights[0] = tensor("hidden.weight", &[48, 1024], &smooth(48, 1024));
        weights[1] = tensor("hidden.bias", &[1024], &[0.1; 1024]);
        weights[2] = tensor("head.weight", &[1024, 8], &smooth(1024, 8));
    });
    let args = ["in.onnx", "out.onnx", "-c", "x.npy", "-t", "10%", "-v"];
    let (code, text) = signalled(folder, &args, "-INT", Some("phase=\"searching\""));
    assert!(code == Some(130) && !folder.join("out.onnx").exists(), "{code:?} {text}");
    let (code, text) = signalled(folder, &args, "-INT", Some("fitted=true accepted=true"));
    assert!(code == Some(4) && folder.join("out.onnx").exists(), "{code:?} {text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_nobody_takes_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "in.onnx", |_| {});
    let run = |file: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        command.current_dir(folder.path()).args(["in.onnx", "out.onnx", "-vv", "--no-cache"]);
        match file {
            Some(path) => command.stderr(fs::OpenOptions::new().write(true).open(path).unwrap()),
            None => {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                command.stderr(writer)
            }
        };
        command.status().unwrap()
    };
    for file in [Some("/dev/full"), None] {
        assert_eq!(run(file).code(), Some(0), "{file:?}");
        fs::remove_file(folder.path().join("out.onnx")).unwrap();
    }
}

#[test]
fn names_reach_the_terminal_escaped_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let evil = "w\u{1b}]0;title\u{7}\u{1b}[2J\u{202e}\r";
    let long = "n".repeat(3000);
    for (name, weight) in [("evil.onnx", evil), ("long.onnx", long.as_str())] {
        write(folder.path(), name, |model| {
            let graph = graph(model);
            graph.initializer[0].name = Some(weight.into());
            graph.node[0].input[1] = weight.into();
            graph.node[0].name = Some(weight.into());
            graph.initializer[2].name = Some(format!("{weight}2"));
            graph.node[3].input[1] = format!("{weight}2");
        });
    }
    write(folder.path(), "undefined.onnx", |model| graph(model).node[2].input[0] = format!("{evil}{long}"));
    let shown = |output: &Output| {
        let text = stderr(output);
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        text
    };
    for name in ["evil.onnx", "long.onnx"] {
        for args in [&[name, "--dry-run", "-v"][..], &[name, "out.onnx", "-vv"]] {
            let text = shown(&run(folder.path(), args));
            let tables = text.split("note:").next().unwrap();
            let widest = tables
                .lines()
                .filter(|line| line.contains("MatMul") && !line.contains("DEBUG"))
                .map(|line| line.chars().count())
                .max();
            assert!(widest.unwrap() <= 145, "{text}");
        }
    }
    let text = shown(&run(folder.path(), &["undefined.onnx", "out.onnx"]));
    assert!(text.contains("undefined.onnx") && text.chars().count() < 400, "{text}");
}

#[test]
fn external_data_are_never_larger_than_the_input() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "in.onnx", |model| {
        let more = (0..250).map(|n| tensor(&format!("t{n}"), &[260], &[n as f32; 260]));
        graph(model).initializer.extend(more);
    });
    samples(folder.path(), "x.npy", 32);
    let before = fs::metadata(folder.path().join("in.onnx")).unwrap().len();
    for more in [&["--exclude", "."][..], &[]] {
        let args = [&["in.onnx", "out.onnx", "-c", "x.npy", "--external-data"], more].concat();
        let output = run(folder.path(), &args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let written = content(folder.path()).into_iter().filter(|(name, _)| name.starts_with("out.onnx"));
        let after: usize = written.map(|(_, bytes)| bytes.len()).sum();
        assert!(after as u64 <= before, "{before} → {after}");
        Model::open(&folder.path().join("out.onnx")).unwrap();
    }
}
