//! Fuzzing: models and calibration files made by rule and then broken, through the command, each in a folder of its own.
//!
//! Whatever the input, the command ends in bounded time and memory with exit code 0, 2 or 3, says what is wrong in one line,
//! touches nothing that it was given, and what it writes can be read and is no larger than the input (`fuzz/run.rs`).
//! See "Fuzzing" in ARCHITECTURE.md.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "fuzz/build.rs"]
mod build;
mod common;
#[path = "fuzz/data.rs"]
mod data;
#[path = "fuzz/draw.rs"]
mod draw;
#[path = "fuzz/interface.rs"]
mod interface;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/run.rs"]
mod run;
#[path = "fuzz/wrap.rs"]
mod wrap;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adntn_onnx::pb;
use draw::Draw;
use prost::Message as _;

/// Cases of the smoke.
const CASES: u64 = 300;
/// Models beyond it, in bytes, are no seeds.
const SEED_BYTES: u64 = 70_000;

/// A number in an environment variable.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// The files of `folder` in the fixtures that end in `.onnx`, in order.
fn models(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(common::fixture(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "onnx") && path.metadata().unwrap().len() < SEED_BYTES);
    paths.sort();
    paths
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|&w| w.to_owned()).collect()
}

/// Further arguments of a case; those that need samples only where there are some.
fn arguments(draw: &mut Draw, outputs: &[String], samples: bool) -> Vec<String> {
    let tolerance = draw.pick(&["50%", "50%", "100%", "5%", "0"]);
    let mut args = text(&["--min-elements", draw.pick(&["16", "16", "64"]), "-t", tolerance]);
    if draw.chance(40) {
        let quick: &[&[&str]] = &[
            &["--dry-run"],
            &["--external-data"],
            &["--bond", "2"],
            &["--topology", "mera", "--bond", "2"],
            &["--activation", "identity"],
            &["--layout", "separated"],
            &["--kernel-legs", "first"],
            &["--core-type", "float32"],
            &["--exclude", "1"],
            &["--layers", "0"],
            &["--memory", "0"],
            &["--metric", "cosine"],
            &["--metric", "top-class"],
            &["--metric", "positions", "--confidence", "50%"],
        ];
        args.extend(text(draw.pick(quick)));
    }
    if draw.chance(8) && !outputs.is_empty() {
        let metric = draw.pick(&["equal", "sequence", "decisions", "not-compared", "accuracy", "error"]);
        args.push(format!("--metric={}={metric}", draw.pick(outputs)));
    }
    if samples && draw.chance(20) {
        args.extend(text(&["--fit", "end-to-end", "--epochs", "1", "--ratio", draw.pick(&["1.5", "4", "50"])]));
        let training: &[&[&str]] = &[
            &[],
            &["--train-rest"],
            &["--batch", "7", "--loss", "cosine"],
            &["--loss", "values", "--rate", "0.5"],
            &["--rate", "1e30"],
            &["--temperature", "1e-30", "--label-share", "100%"],
            &["--half-cache"],
            &["--match", "active0=1e20"],
            &["--match", "product0=0.5"],
            &["--legs", "4"],
            &["--generator", ".=bond:1,topology:mera"],
            &["--generator", ".=legs:4,activation:relu,ratio:2"],
        ];
        args.extend(text(draw.pick(training)));
    }
    if draw.chance(25) {
        args.extend(text(&["--report", "report.json"]));
    }
    if draw.chance(15) {
        args.extend(text(&["--diagram", "diagram.svg"]));
    }
    args
}

/// Writes case `case` into `dir`; the arguments after the two models, and how it was made.
fn make(seed: u64, case: u64, seeds: &[PathBuf], dir: &Path) -> (Vec<String>, String) {
    let mut draw = Draw::new(seed, case);
    let (mut model, mut made) = match draw.below(10) {
        0..4 => (build::network(&mut draw), "network".to_owned()),
        4 => (common::perceptron(), "perceptron".to_owned()),
        _ => {
            let path = draw.pick(seeds);
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (pb::ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap_or_default(), name)
        }
    };
    let intact = model.clone();
    let count = draw.pick(&[0, 1, 1, 1, 2, 2, 3, 5]);
    for change in mutate::mutate(&mut draw, &mut model, count) {
        made.push_str(", ");
        made.push_str(change);
    }
    let mut bytes = mutate::encode(&model);
    if draw.chance(8) {
        made.push_str(", bytes");
        let other = mutate::encode(&intact);
        mutate::bytes(&mut draw, &mut bytes, &other);
    }
    std::fs::write(dir.join("in.onnx"), bytes).unwrap();
    if model.graph.iter().flat_map(|g| &g.initializer).any(|t| !t.external_data.is_empty()) || made.contains("external")
    {
        let numbers: Vec<u8> = (0..16384u32).flat_map(|k| ((k as f32) * 0.01).sin().to_le_bytes()).collect();
        std::fs::write(dir.join("side.bin"), numbers).unwrap();
    }
    let graph = model.graph.as_ref().unwrap_or(&pb::GraphProto::default()).clone();
    let outputs: Vec<String> = graph.output.iter().map(|o| o.name().to_owned()).filter(|n| !n.contains('\0')).collect();
    let samples = draw.chance(65);
    let mut args = arguments(&mut draw, &outputs, samples);
    if samples {
        let of = if draw.chance(85) { graph } else { intact.graph.unwrap_or_default() };
        args.extend(data::write(&mut draw, &of, dir));
    }
    (args, made)
}

/// Keeps the files of a broken case and says how to run it again.
fn finding(dir: &Path, name: &str, args: &[String], made: &str, what: &str) -> String {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    let _ = std::fs::remove_dir_all(&kept);
    copy(dir, &kept);
    std::fs::write(kept.join("args"), args.join("\n")).unwrap();
    std::fs::write(kept.join("what"), format!("{made}\n{what}\n")).unwrap();
    format!("{name} ({made}): {what}\n  in {}: adntn-compile in.onnx out.onnx {}", kept.display(), args.join(" "))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Runs `next` until it gives nothing, on as many threads as there are processors; what was broken.
fn on_all_processors(next: impl Fn() -> Option<Result<i32, String>> + Sync) -> (Vec<String>, [usize; 4]) {
    let (broken, codes) = (Mutex::new(Vec::new()), Mutex::new([0; 4]));
    let threads = number("ADNTN_FUZZ_THREADS")
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n.max(1) as usize);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(result) = next() {
                    match result {
                        Ok(code) => codes.lock().unwrap()[code as usize] += 1,
                        Err(what) => {
                            eprintln!("{what}\n");
                            broken.lock().unwrap().push(what);
                        }
                    }
                }
            });
        }
    });
    (broken.into_inner().unwrap(), codes.into_inner().unwrap())
}

#[test]
fn made_up_and_broken_inputs_end_in_order() {
    let seeds = [models("tiny"), models("fuzz")].concat();
    let seed = number("ADNTN_FUZZ_SEED").unwrap_or(0);
    let (first, end) = match number("ADNTN_FUZZ_CASE") {
        Some(case) => (case, case + 1),
        None => (0, CASES),
    };
    let long = number("ADNTN_FUZZ_SECONDS").map(Duration::from_secs);
    let (start, counter) = (Instant::now(), AtomicU64::new(first));
    let (broken, codes) = on_all_processors(|| {
        let case = counter.fetch_add(1, Ordering::Relaxed);
        if long.map_or(case >= end, |long| start.elapsed() > long) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (args, made) = make(seed, case, &seeds, dir.path());
        let name = format!("ADNTN_FUZZ_SEED={seed} ADNTN_FUZZ_CASE={case}");
        let written = dir.path().join("out.onnx");
        let result = run::check(dir.path(), &args).and_then(|code| {
            let again = code == 0 && case % 4 == 0 && written.exists();
            if again { run::reload(dir.path(), &args[1]).map(|()| code) } else { Ok(code) }
        });
        Some(result.map_err(|what| {
            let kept = format!("{seed}-{case}");
            format!("{name}: {}", finding(dir.path(), &kept, &args, &made, &what))
        }))
    });
    let ran = codes.iter().sum::<usize>() + broken.len();
    eprintln!("{ran} cases in {:.1?}: exit codes 0, 1, 2, 3: {codes:?}, {} broken", start.elapsed(), broken.len());
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// `NAME.onnx` with the samples `NAME.*` beside it, if there are some, and with the arguments in `NAME.args`, one a line.
#[test]
fn the_corpus_ends_in_order() {
    let corpus = models("fuzz");
    let counter = AtomicU64::new(0);
    let start = Instant::now();
    let (broken, codes) = on_all_processors(|| {
        let path = corpus.get(counter.fetch_add(1, Ordering::Relaxed) as usize)?;
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(path, dir.path().join("in.onnx")).unwrap();
        let mut args = match std::fs::read_to_string(path.with_extension("args")) {
            Ok(lines) => lines.lines().map(str::to_owned).collect(),
            Err(_) => text(&["--min-elements", "64", "-t", "30%"]),
        };
        for kind in ["npy", "npz", "safetensors"] {
            let (from, to) = (path.with_extension(kind), format!("samples.{kind}"));
            if from.exists() {
                std::fs::copy(from, dir.path().join(&to)).unwrap();
                if !args.contains(&to) {
                    args.extend(["-c".into(), to]);
                }
            }
        }
        let began = Instant::now();
        let name = path.file_stem().unwrap().to_string_lossy();
        let result = run::check(dir.path(), &args).map_err(|what| finding(dir.path(), &name, &args, "corpus", &what));
        if began.elapsed().as_secs() >= 3 {
            eprintln!("{name}: {:.1?}", began.elapsed());
        }
        Some(result)
    });
    eprintln!("{} files in {:.1?}: exit codes 0, 1, 2, 3: {codes:?}", corpus.len(), start.elapsed());
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}
