//! Help, files of settings, and what is printed of settings.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::Report;
use common::{fixture, refused, root, run, samples, snapshot, stderr, write};

/// Lines and columns of a screen.
const SCREEN: (usize, usize) = (45, 100);

/// What the command prints on standard output.
fn printed(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn settings(dir: &Path, text: &str) {
    std::fs::write(dir.join("x.toml"), text).unwrap();
}

/// What is said of a file of settings that is refused, in one sentence with the file.
fn refused_file(dir: &Path, text: &str, more: &[&str]) -> String {
    settings(dir, text);
    let message = refused(dir, &[&["in.onnx", "out.onnx", "--config", "x.toml"], more].concat());
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("x.toml"), "{message}");
    message
}

#[test]
fn ordinary_help_fits_one_screen() {
    let dir = tempfile::tempdir().unwrap();
    let text = printed(dir.path(), &["--help"]);
    assert!(text.lines().count() <= SCREEN.0, "{} lines", text.lines().count());
    assert!(text.lines().all(|line| line.chars().count() <= SCREEN.1), "{text}");
    assert_eq!(text, printed(dir.path(), &["-h"]));
    snapshot("help", &text);
    let all = printed(dir.path(), &["--help-all"]);
    assert!(all.lines().all(|line| line.chars().count() <= SCREEN.1), "{all}");
    // Whatever is in one is in the other.
    for word in text.split([' ', ',', '.', '\n']).filter(|word| word.starts_with("--")) {
        assert!(all.contains(word), "{word} is not in --help-all");
    }
    snapshot("help-all", &all);
}

#[test]
fn numbers_below_zero_are_told_the_range() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in.onnx", |_| {});
    for args in [["-t", "-1"], ["--tolerance", "-0.1"], ["--max-size", "-5"], ["--epochs", "-2"], ["--seed", "-1"]] {
        let text = refused(dir.path(), &[&["in.onnx", "out.onnx"], &args[..]].concat());
        assert!(text.contains(args[1]) && text.contains(args[0].trim_start_matches("-t")), "{args:?}: {text}");
        assert!(!text.contains("unexpected argument"), "{args:?}: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_asked_for_and_could_not_be_printed_is_an_error() {
    for args in ["--print-config", "--help", "--help-all", "--version"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_adntn-compile")).arg(args).stdout(full).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {}", stderr(&output));
        assert!(stderr(&output).contains("standard output"), "{args}: {}", stderr(&output));
    }
}

#[test]
fn printed_settings_are_those_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let defaults = printed(dir, &["--print-config"]);
    settings(
        dir,
        "tolerance = 0.02\nlayers = \"^fc\"\nmetric = [\"a=error\", \"b=cosine\"]\nfit = \"end-to-end\"\ntrain-rest = true\n\
         image-mean = [0.5, -1]\n[[rule]]\nlayers = \"1$\"\nbond = 4\n",
    );
    let line = ["--config", "x.toml", "--tolerance", "3%", "--metric=c=equal", "--generator", "2$=legs:8"];
    let given = printed(dir, &[&line[..], &["--print-config"]].concat());
    for text in [&defaults, &given] {
        settings(dir, text);
        assert_eq!(text, &printed(dir, &["--print-config", "--config", "x.toml"]));
    }
    snapshot(
        "print-config",
        &format!(
            "$ adntn-compile --print-config\n{defaults}\n$ adntn-compile {} --print-config\n{given}",
            line.join(" ")
        ),
    );
    // A switch can be taken back, and settings of training fall with it.
    settings(dir, &given);
    let other = printed(dir, &["--config", "x.toml", "--print-config", "--train-rest=false"]);
    assert!(other.contains("train-rest = false") && other.contains("ratio = 50"), "{other}");
    let other = printed(dir, &["--config", "x.toml", "--print-config", "--fit", "layer-wise"]);
    assert!(!other.contains("train-rest") && other.contains("bond = 4"), "{other}");
}

#[test]
fn files_of_settings_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    settings(dir, "");
    let mut messages = String::new();
    for text in [
        // No TOML.
        "tolerance = \n",
        "bond = 3\nbond = 4\n",
        // No key.
        "layout = \"separated\"\n\ntolerence = 0.01\n",
        "min_elements = 64\n",
        "wibble = 1\n",
        "config = \"y.toml\"\n",
        "generator = \"fc=bond:3\"\n",
        // Another type.
        "epochs = 1.5\n",
        "epochs = \"12\"\n",
        "epochs = \"many\"\n",
        "tolerance = true\n",
        "dry-run = \"yes\"\n",
        "time = \"soon\"\n",
        "max-size = \"-1\"\n",
        "max-size = 0\n",
        "max-size = 1.5\n",
        "layers = 3\n",
        "metric = [3]\n",
        "bond = [3]\n",
        "seed = 2024-01-01\n",
        "[search]\nbond = 3\n",
        "[layers]\nbond = 3\n",
        // Out of range.
        "tolerance = 2\n",
        "confidence = \"100%\"\n",
        "bond = 0\n",
        "legs = 3\n",
        "seed = -1\n",
        "layers = \"(\"\n",
        "report = \"\"\n",
        "image-mean = [0.1, nan]\n",
        "activation = \"sine\"\n",
        // What says nothing.
        "ratio = 400\n",
        "fit = \"end-to-end\"\nresume = true\n",
        "fit = \"end-to-end\"\naugment-copies = 2\n",
        // Rules.
        "rule = 3\n",
        "[rule]\nlayers = \"hidden\"\nbond = 2\n",
        "[[rule]]\nbond = 3\n",
        "[[rule]]\nlayers = \"hidden\"\n",
        "[[rule]]\nlayers = 3\nbond = 3\n",
        "[[rule]]\nlayers = \"(\"\nbond = 3\n",
        "[[rule]]\nlayers = \"hidden\"\nbnd = 3\n",
        "[[rule]]\nlayers = \"hidden\"\ncolour = 3\n",
        "[[rule]]\nlayers = \"hidden\"\nbond = 3\n\ntolerance = 0.1\n",
        "[[rule]]\nlayers = \"hidden\"\nlegs = 61\n",
        "[[rule]]\nlayers = \"hidden\"\nbond = \"3\"\n",
        "[[rule]]\nlayers = \"hidden\"\npriority = \"high\"\nbond = 3\n",
        "[[rule]]\nlayers = \"hidden\"\nratio = 20\n",
        // With the model at hand.
        "layers = \"fc9\"\n",
        "layout = \"o8 i8 o8 i6\"\nkernel-legs = \"last\"\n",
        "[[rule]]\nlayers = \"fc9\"\nbond = 3\n",
        "[[rule]]\nlayers = \"hidden\"\nbond = 3\n\n[[rule]]\nlayers = \"hid\"\nbond = 4\n",
        "fit = \"end-to-end\"\n[[rule]]\nlayers = \"head\"\nbond = 3\n[[rule]]\nlayers = \".\"\nratio = 9\n",
    ] {
        let message = refused_file(dir, text, &[]);
        messages += &format!("{}\n    {message}\n", text.trim_end().replace('\n', " | "));
    }
    for args in [["absent.toml"], ["."], ["in.onnx"]] {
        let message = refused(dir, &["in.onnx", "out.onnx", "--config", args[0]]);
        assert_eq!(message.lines().count(), 1, "{message}");
        messages += &format!("--config {}\n    {message}\n", args[0]);
    }
    snapshot("refused-config", &messages);
}

#[test]
fn a_file_of_settings_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    settings(dir, "seed = 1\n");
    for args in [&["in.onnx", "x.toml"][..], &["in.onnx", "out.onnx", "--report", "x.toml"]] {
        let message = refused(dir, &[args, &["--config", "x.toml"]].concat());
        assert!(message.contains("would overwrite the settings"), "{message}");
    }
}

#[test]
fn the_command_line_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    samples(dir, "x.npy", 64);
    settings(dir, "layers = \"fc9\"\nmin-elements = 64\ndry-run = true\nreport = \"report.json\"\nseed = 5\n");
    let dry = run(dir, &["in.onnx", "--config", "x.toml", "--layers", "hidden"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    let done = run(
        dir,
        &["in.onnx", "out.onnx", "--config", "x.toml", "--layers", "hidden", "--dry-run=false", "-t", "30%", "-q"],
    );
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(stderr(&done), "", "asked to be quiet");
    assert!(dir.join("out.onnx").exists());
    let report: Report = serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap();
    assert_eq!(report.settings.seed, 5);
}

#[test]
fn rules_add_up_by_priority() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    let legs = |text: &str, more: &[&str]| {
        settings(dir, &format!("min-elements = 64\nreport = \"report.json\"\n{text}"));
        let output = run(dir, &[&["in.onnx", "--dry-run", "--config", "x.toml"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Report = serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap();
        let of = |layer| report.layers.iter().find(|row| row.layer == layer).unwrap().network.as_ref().unwrap();
        ["hidden", "head"].map(|layer| of(layer).layout.to_string())
    };
    let rules = "[[rule]]\nlayers = \"hidden\"\npriority = 1\nlayout = \"o8 i8 o8 i6\"\n\
                 [[rule]]\nlayers = \".\"\nlayout = \"o2 i8 o4 i8\"\nbond = 2\n";
    assert_eq!(legs(rules, &[]), ["o8 i8 o8 i6", "o2 i8 o4 i8"]);
    let over = ["--generator", "hidden=layout:o16 i6 o4 i8"];
    assert_eq!(legs(rules, &over), ["o16 i6 o4 i8", "o2 i8 o4 i8"]);
}

#[test]
fn the_documented_example_works_and_no_key_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let text = std::fs::read_to_string(root().join("docs/config.md")).unwrap();
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    settings(dir, example);
    let in_force = printed(dir, &["--print-config", "--config", "x.toml"]);
    for line in example.lines().filter(|line| line.contains(" = ")) {
        let (key, _) = line.split_once(" = ").unwrap();
        assert!(in_force.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}: {in_force}");
    }
    // It is for a shipped model: all its rules match.
    std::fs::create_dir(dir.join("target")).unwrap();
    let model = fixture("lenet5-mnist.onnx");
    let output = run(dir, &[model.to_str().unwrap(), "--dry-run", "--config", "x.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));

    let set = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let unset = |line: &str| line.strip_prefix("# not set: ").map(|keys| keys.split(", ").map(str::to_owned).collect());
    let keys: Vec<String> =
        in_force.lines().flat_map(|line| unset(line).unwrap_or_else(|| Vec::from_iter(set(line)))).collect();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        assert!(text.contains(&format!("`{key}`")), "docs/config.md does not speak of `{key}`");
    }
}
