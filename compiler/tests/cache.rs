//! What is kept between compilations, and fits that several processes share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adntn_compiler::report::{CacheReport, StopReason};
use adntn_compiler::{CacheOptions, Event, Observer, Options, Report, compile, compile_with};
use adntn_onnx::pb;
use common::{graph, run, samples, smooth, stderr, tensor, write};

/// Changes of the perceptron to one with a weight that is worth keeping.
fn widen(model: &mut pb::ModelProto) {
    let graph = graph(model);
    graph.initializer[0] = tensor("hidden.weight", &[48, 128], &smooth(48, 128));
    graph.initializer[1] = tensor("hidden.bias", &[128], &[0.1; 128]);
    graph.initializer[2] = tensor("head.weight", &[128, 8], &smooth(128, 8));
}

const BASE: [&str; 6] = ["in.onnx", "out.onnx", "-c", "x.npy", "--report", "report.json"];
const TOLERANCE: [&str; 2] = ["-t", "5%"];

/// The file and the report of a compilation in `dir` with further arguments.
fn compiled(dir: &Path, more: &[&str]) -> (Vec<u8>, Report) {
    let tolerance = if more.contains(&"-t") { &[][..] } else { &TOLERANCE };
    let output = run(dir, &[&BASE[..], tolerance, more].concat());
    assert!(output.status.success(), "{more:?}: {}", stderr(&output));
    let report = serde_json::from_slice(&fs::read(dir.join("report.json")).unwrap()).unwrap();
    (fs::read(dir.join("out.onnx")).unwrap(), report)
}

fn cached(dir: &Path, more: &[&str]) -> (Vec<u8>, CacheReport) {
    let (file, report) = compiled(dir, &[&["--cache-dir", "cache"], more].concat());
    (file, report.cache.unwrap())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "in.onnx", widen);
    samples(folder.path(), "x.npy", 64);
    folder
}

fn entries(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let entries = files.filter(|path| path.extension().is_some_and(|end| end == "adntn"));
    entries.map(|path| (path.clone(), path.metadata().unwrap().len())).collect()
}

/// The report without times and what is said of the cache.
fn told(mut report: Report) -> Report {
    report.seconds.clear();
    report.cache = None;
    report
}

#[test]
fn a_search_that_was_made_before_gives_the_same_file_and_report() {
    let folder = folder();
    let dir = folder.path();
    // Digits and low ranks, or fitted networks.
    for more in [&[][..], &["--bond", "2", "--legs", "4"]] {
        let (plain, report) = compiled(dir, more);
        assert!(report.layers.iter().any(|layer| layer.replaced), "{more:?}");
        assert_eq!(report.cache, None);
        for before in [false, true] {
            let (file, other) = compiled(dir, &[&["--cache-dir", "cache"], more].concat());
            assert!(file == plain, "{more:?}");
            let cache = other.cache.clone().unwrap();
            assert_eq!((cache.search_found, cache.damaged), (before, 0), "{more:?}");
            assert!(if before { cache.kept == 0 } else { cache.kept > 2 }, "{cache:?}");
            assert_eq!(told(other), told(report.clone()));
        }
    }
    let text = stderr(&run(dir, &[&BASE[..], &TOLERANCE, &["--cache-dir", "cache"]].concat()));
    assert!(text.contains("Cache     this search was made before"), "{text}");
}

#[test]
fn choices_that_were_trained_through_the_network_are_kept_with_what_was_trained_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "in.onnx", widen);
    samples(dir, "x.npy", 2400);
    let tolerance = ["-t", "10%"];
    let (plain, report) = compiled(dir, &tolerance);
    let forms: Vec<&str> = report.layers.iter().filter_map(|layer| layer.form.as_deref()).collect();
    assert!(forms.iter().any(|form| form.ends_with("trained through the network")), "{forms:?}");
    for before in [false, true] {
        let (file, cache) = cached(dir, &tolerance);
        assert_eq!((cache.search_found, cache.damaged), (before, 0));
        assert!(file == plain);
    }
}

#[test]
fn without_samples_too() {
    let folder = folder();
    let dir = folder.path();
    let file = |more: &[&str]| {
        let output = run(dir, &[&["in.onnx", "out.onnx"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        (fs::read(dir.join("out.onnx")).unwrap(), stderr(&output).contains("this search was made before"))
    };
    let (plain, _) = file(&["--no-cache"]);
    assert_eq!(file(&["--cache-dir", "cache"]), (plain.clone(), false));
    assert_eq!(file(&["--cache-dir", "cache"]), (plain, true));
}

#[test]
fn whatever_decides_the_result_is_looked_for_under_another_name() {
    let folder = folder();
    let dir = folder.path();
    let (first, _) = cached(dir, &[]);
    let model = fs::read(dir.join("in.onnx")).unwrap();
    let data = fs::read(dir.join("x.npy")).unwrap();
    let misses = |more: &[&str]| {
        let (file, cache) = cached(dir, more);
        assert!(!cache.search_found, "{more:?}");
        let (plain, _) = compiled(dir, &[more, &["--no-cache"]].concat());
        assert!(file == plain, "{more:?}");
        cache.found
    };
    // Statistics and what is on offer stay what they are.
    assert!(misses(&["-t", "6%"]) > 0);
    assert!(misses(&["--effort", "quick"]) > 0);
    assert_eq!(misses(&["--seed", "1"]), 0);
    misses(&["--min-elements", "2000"]);
    misses(&["--metric", "cosine"]);
    // What is trained has to be what the final test is likely to show.
    misses(&["--confidence", "60%"]);
    // A weight; then a sample.
    write(dir, "in.onnx", |model| {
        widen(model);
        let mut values = smooth(48, 128);
        values[1234] += 1e-3;
        graph(model).initializer[0] = tensor("hidden.weight", &[48, 128], &values);
    });
    assert_eq!(misses(&[]), 0);
    fs::write(dir.join("in.onnx"), model).unwrap();
    let mut other = data.clone();
    let last = other.len() - 2;
    other[last] ^= 1;
    fs::write(dir.join("x.npy"), other).unwrap();
    misses(&[]);
    fs::write(dir.join("x.npy"), data).unwrap();
    // What decides nothing is looked for under the same name.
    fs::rename(dir.join("x.npy"), dir.join("y.npy")).unwrap();
    fs::copy(dir.join("in.onnx"), dir.join("same.onnx")).unwrap();
    let args = ["same.onnx", "out.onnx", "-c", "y.npy", "-t", "5%", "--time", "1h", "--cache-dir", "cache"];
    let text = stderr(&run(dir, &args));
    assert!(text.contains("this search was made before"), "{text}");
    assert!(fs::read(dir.join("out.onnx")).unwrap() == first);
}

#[test]
fn the_final_test_is_always_run() {
    let folder = folder();
    let dir = folder.path();
    samples(dir, "new.npy", 40);
    let (_, before) = compiled(dir, &["--cache-dir", "cache", "--held-out", "new.npy"]);
    // As many others.
    let mut bytes = fs::read(dir.join("new.npy")).unwrap();
    let start = bytes.len() - 40 * 48 * 4;
    bytes[start..].reverse();
    let values: Vec<u8> = (0..40 * 48).flat_map(|k| (((k * 7) as f32 * 0.31).sin() * 0.5).to_le_bytes()).collect();
    bytes[start..].copy_from_slice(&values);
    fs::write(dir.join("new.npy"), bytes).unwrap();
    let (_, after) = compiled(dir, &["--cache-dir", "cache", "--held-out", "new.npy"]);
    assert!(after.cache.unwrap().search_found && !before.cache.unwrap().search_found);
    assert_ne!(after.quality.unwrap().loss, before.quality.unwrap().loss);
    assert!(after.seconds.iter().any(|phase| phase.phase == "checking on held-out samples"));
}

#[test]
fn damaged_entries_are_made_again() {
    let folder = folder();
    let dir = folder.path();
    let (first, _) = cached(dir, &[]);
    let whole = entries(&dir.join("cache"));
    assert!(whole.len() > 2);
    for (number, (path, length)) in whole.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        if number % 2 == 0 {
            bytes.truncate(bytes.len() / 2);
        } else {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        }
        fs::write(path, bytes).unwrap();
        assert_ne!(*length, 0);
    }
    let (file, cache) = cached(dir, &[]);
    assert!(file == first && cache.damaged > 1 && !cache.search_found, "{cache:?}");
    assert_eq!(entries(&dir.join("cache")), whole);
    let (file, cache) = cached(dir, &[]);
    assert!(file == first && cache.search_found && cache.damaged == 0, "{cache:?}");
}

#[test]
fn a_folder_that_cannot_be_written_is_told_and_changes_nothing() {
    let folder = folder();
    let dir = folder.path();
    let (plain, _) = compiled(dir, &["--no-cache"]);
    fs::write(dir.join("file"), b"").unwrap();
    fs::create_dir(dir.join("closed")).unwrap();
    let mut rights = fs::metadata(dir.join("closed")).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(dir.join("closed"), rights).unwrap();
    // Whoever may do everything may write there too.
    let is_closed = fs::write(dir.join("closed/try"), b"").is_err();
    for path in ["file", "file/below"].into_iter().chain(is_closed.then_some("closed")) {
        let (file, report) = compiled(dir, &["--cache-dir", path]);
        assert!(file == plain, "{path}");
        let notes: Vec<_> = report.notes.iter().filter(|note| note.contains("cannot be written")).collect();
        assert!(notes.len() == 1 && notes[0].contains(path), "{:?}", report.notes);
    }
}

#[test]
fn no_cache_writes_nothing_and_the_users_folder_is_the_default() {
    let folder = folder();
    let dir = folder.path();
    let caches = dir.join("caches");
    let compile = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        let status =
            command.current_dir(dir).args(BASE).args(more).env("XDG_CACHE_HOME", &caches).stderr(Stdio::null());
        assert!(status.status().unwrap().success());
    };
    compile(&["--no-cache"]);
    assert!(!caches.exists());
    compile(&["--no-cache", "--cache-dir", "cache"]);
    assert!(!caches.exists() && !dir.join("cache").exists());
    let output = run(dir, &["in.onnx", "--dry-run", "--cache-dir", "cache"]);
    assert!(output.status.success() && !dir.join("cache").exists());
    compile(&[]);
    assert!(entries(&caches.join("adntn")).len() > 2);
    // The library keeps nothing unless it is told where.
    assert_eq!(Options::new("in.onnx", "out.onnx").cache, None);
}

#[test]
fn a_folder_of_samples_is_no_cache() {
    let folder = folder();
    let dir = folder.path();
    fs::create_dir(dir.join("data")).unwrap();
    fs::rename(dir.join("x.npy"), dir.join("data/x.npy")).unwrap();
    for cache in ["data", "data/cache"] {
        let text = common::refused(dir, &["in.onnx", "out.onnx", "-c", "data", "--cache-dir", cache]);
        assert!(text.contains("the cache") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn several_processes_share_a_folder() {
    let folder = folder();
    let dir = folder.path();
    let (plain, _) = compiled(dir, &["--no-cache"]);
    let start = |number: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        command.current_dir(dir).args(["in.onnx", &format!("out{number}.onnx"), "-c", "x.npy", "-t", "5%"]);
        command.args(["--cache-dir", "cache"]).stderr(Stdio::null()).spawn().unwrap()
    };
    let all: Vec<_> = (0..4).map(start).collect();
    for (number, mut child) in all.into_iter().enumerate() {
        assert!(child.wait().unwrap().success());
        assert!(fs::read(dir.join(format!("out{number}.onnx"))).unwrap() == plain, "{number}");
    }
    let (file, cache) = cached(dir, &[]);
    assert!(file == plain && cache.search_found && cache.damaged == 0, "{cache:?}");
    // No temporary file is left.
    let left = fs::read_dir(dir.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.filter(|path| path.extension().is_none_or(|end| end != "adntn")).count(), 0);
}

#[test]
fn a_cache_keeps_to_its_size() {
    let folder = folder();
    let dir = folder.path();
    let (plain, _) = compiled(dir, &["--no-cache"]);
    let (_, cache) = cached(dir, &[]);
    let all: u64 = entries(&dir.join("cache")).values().sum();
    let most = all * 2 / 3;
    for seed in ["1", "2"] {
        cached(dir, &["--cache-size", &most.to_string(), "--seed", seed]);
        let now: u64 = entries(&dir.join("cache")).values().sum();
        assert!(now <= most && now > 0, "{now} of {most}");
    }
    assert!(cache.kept > 0);
    let (file, cache) = cached(dir, &["--cache-size", "10"]);
    assert!(file == plain && cache.kept == 0, "{cache:?}");
    let text = common::refused(dir, &["in.onnx", "out.onnx", "--cache-dir", "cache", "--cache-size", "0"]);
    assert!(text.contains("--cache-size"), "{text}");
}

/// Ends a search after so many trials.
struct Impatient {
    left: usize,
}

impl Observer for Impatient {
    fn event(&mut self, event: Event<'_>) {
        self.left -= usize::from(matches!(event, Event::Trial { .. })).min(self.left);
    }

    fn stop(&mut self) -> bool {
        self.left == 0
    }
}

#[test]
fn an_interrupted_search_is_not_kept_as_a_complete_one() {
    let folder = folder();
    let dir = folder.path();
    let mut options = Options::new(dir.join("in.onnx"), dir.join("out.onnx"));
    options.calibration = Some(dir.join("x.npy"));
    options.tolerance = 0.05;
    let plain = compile(&options).unwrap();
    options.cache = Some(CacheOptions::new(dir.join("cache")));
    let mut with_something = 0;
    for left in 1..100 {
        match compile_with(&options, &mut Impatient { left }) {
            Ok(report) if report.stopped == Some(StopReason::Interrupted) => with_something += 1,
            Ok(report) => {
                assert!(!report.cache.clone().unwrap().search_found && left > 3);
                assert_eq!(told(report), told(plain));
                break;
            }
            Err(error) => assert!(matches!(error, adntn_compiler::Error::Interrupted), "{error}"),
        }
    }
    assert!(with_something > 0);
    assert!(compile(&options).unwrap().cache.unwrap().search_found);
}

#[test]
fn nor_is_one_whose_time_was_up() {
    let folder = folder();
    let dir = folder.path();
    let mut options = Options::new(dir.join("in.onnx"), dir.join("out.onnx"));
    options.calibration = Some(dir.join("x.npy"));
    options.cache = Some(CacheOptions::new(dir.join("cache")));
    options.time = Some(std::time::Duration::from_millis(1));
    let report = compile(&options).unwrap();
    assert_eq!(report.stopped, Some(StopReason::Time));
    options.time = None;
    assert!(!compile(&options).unwrap().cache.unwrap().search_found);
}

fn plan(dir: &Path, more: &[&str]) -> String {
    let output = run(dir, &[&BASE[..4], &TOLERANCE, &["--plan", "plan.json", "--cache-dir", "cache"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    fs::read_to_string(dir.join("plan.json")).unwrap()
}

#[test]
fn fits_are_spread_over_two_processes() {
    let folder = folder();
    let dir = folder.path();
    write(dir, "in.onnx", |model| {
        widen(model);
        graph(model).initializer[2] = tensor("head.weight", &[128, 40], &smooth(128, 40));
        graph(model).output[0].r#type = None;
    });
    let rules = "[[rule]]\nlayers = \"head\"\nlegs = 6\npriority = 2\n";
    fs::write(dir.join("rules.toml"), format!("cache-size = \"1GB\"\nseed = 3\n{rules}")).unwrap();
    let (plain, _) = compiled(dir, &["--config", "rules.toml", "--no-cache"]);
    fs::remove_file(dir.join("out.onnx")).unwrap();
    let text = plan(dir, &["--config", "rules.toml"]);
    assert!(!dir.join("out.onnx").exists());
    let fits = text.matches("\"digest\"").count();
    assert!(fits > 5 && text.contains("--seed=3") && text.contains("--generator=head=legs:6"), "{text}");
    assert!(!text.contains("--cache") && !text.contains("--plan"), "{text}");
    // The samples are not needed any more.
    fs::rename(dir.join("x.npy"), dir.join("away.npy")).unwrap();
    let start = |shard: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        command.current_dir(dir).args(["--work", "plan.json", "--shard", shard, "--cache-dir", "cache"]);
        command.env("NO_COLOR", "1").stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = ["1/2", "2/2"].map(start);
    let mut made = 0;
    for child in both {
        let output = child.wait_with_output().unwrap();
        let text = stderr(&output);
        assert!(output.status.success(), "{text}");
        let number = text.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse::<usize>().unwrap();
        assert!(number > 0 && text.contains(", 0 found in the cache"), "{text}");
        made += number;
    }
    assert_eq!(made, fits);
    let output = run(dir, &["--work", "plan.json", "--cache-dir", "cache"]);
    assert!(stderr(&output).contains(&format!("Shard     1/1: 0 fits made, {fits} found in the cache")));
    // The compilation finds all of them: what is left for it are fits of networks and the search.
    fs::rename(dir.join("away.npy"), dir.join("x.npy")).unwrap();
    let (file, cache) = cached(dir, &["--config", "rules.toml"]);
    assert!(file == plain && !cache.search_found && cache.found >= fits, "{cache:?}");
    let (_, alone) = compiled(dir, &["--config", "rules.toml", "--cache-dir", "another"]);
    let statistics = text.split("\"statistics\": ").skip(1).map(|rest| rest.split(',').next());
    let statistics = statistics.collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(cache.kept + fits + statistics, alone.cache.unwrap().kept);
}

#[test]
fn what_cannot_be_shared_is_refused_in_one_sentence() {
    let folder = folder();
    let dir = folder.path();
    let text = plan(dir, &[]);
    let refused = |args: &[&str], word: &str| {
        let text = common::refused(dir, args);
        assert!(text.lines().count() == 1 && text.contains(word), "{args:?}: {text}");
    };
    let work = ["--work", "plan.json", "--cache-dir", "cache"];
    for shard in ["0/4", "5/4", "x", "1/0", "-1/4", "", "1.5/4"] {
        let given = format!("--shard={shard}");
        refused(&[&work[..], &[&given]].concat(), "such as 1/4");
    }
    refused(&[&work[..], &["-t", "1%"]].concat(), "--tolerance");
    refused(&[&work[..], &["in.onnx"]].concat(), "IN.onnx");
    refused(&["--work", "plan.json", "--no-cache"], "--no-cache");
    refused(&["--work", "plan.json", "--cache-dir", "other"], "not in the cache");
    refused(&["--work", "in.onnx", "--cache-dir", "cache"], "this is no plan");
    refused(&["--work", "missing.json", "--cache-dir", "cache"], "cannot be read");
    refused(&["in.onnx", "out.onnx", "--shard", "1/2", "--cache-dir", "cache"], "--work");
    refused(&["in.onnx", "--plan", "p.json", "--no-cache"], "--no-cache");
    refused(&["in.onnx", "--plan", "p.json", "--dry-run", "--cache-dir", "cache"], "--dry-run");
    refused(&["in.onnx", "--plan", "in.onnx", "--cache-dir", "cache"], "the plan");
    refused(
        &["in.onnx", "-c", "x.npy", "--plan", "p.json", "--fit", "end-to-end", "--cache-dir", "cache"],
        "end-to-end",
    );
    refused(&["in.onnx", "-c", "x.npy", "--plan", "p.json", "--cache-dir", "in.onnx"], "cannot be written");
    let small = ["--cache-dir", "small", "--cache-size", "20kB"];
    refused(&[&["in.onnx", "-c", "x.npy", "--plan", "p.json"][..], &small].concat(), "with --cache-size at least");
    for (from, to) in [
        ("\"made_by\": \"", "\"made_by\": \"9"),
        ("\"--tolerance=5%\"", "\"--wibble\""),
        ("\"digest\": \"", "\"digest\": \"0"),
    ] {
        fs::write(dir.join("plan.json"), text.replace(from, to)).unwrap();
        refused(&work, "again");
    }
    fs::write(dir.join("plan.json"), &text).unwrap();
    write(dir, "in.onnx", |_| {});
    refused(&work, "not the model");
}

#[test]
fn models_are_planned_under_any_name_that_a_plan_can_hold() {
    let folder = folder();
    let dir = folder.path();
    let plan = ["-c", "x.npy", "--plan", "plan.json", "--cache-dir", "cache", "--"];
    fs::copy(dir.join("in.onnx"), dir.join("--quiet.onnx")).unwrap();
    for args in [&[&plan[..], &["--quiet.onnx"]].concat()[..], &["--work", "plan.json", "--cache-dir", "cache"]] {
        let output = run(dir, args);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(b"\xff.onnx");
        fs::rename(dir.join("in.onnx"), dir.join(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        let output = command.current_dir(dir).args(plan).arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("UTF-8"), "{}", stderr(&output));
    }
}
