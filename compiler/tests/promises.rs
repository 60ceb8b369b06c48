//! What the compiler promises about weights of any size, selections, reasons and closing words.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use adntn_compiler::Report;
use adntn_compiler::report::{LayerReport, StopReason};
use common::{graph, node, run, samples, smooth, stderr, tensor, write};

/// Compiles `in.onnx`; returns the report and what was printed.
fn compile(dir: &Path, more: &[&str]) -> (Report, String) {
    let mut args = vec!["in.onnx", "out.onnx", "--report", "report.json", "--min-elements", "64"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{more:?}: {}", stderr(&output));
    (serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap(), stderr(&output))
}

/// The command must refuse `args` with one sentence.
fn refused(dir: &Path, more: &[&str]) -> String {
    let mut args = vec!["in.onnx", "out.onnx", "--min-elements", "64"];
    args.extend(more);
    let output = run(dir, &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{more:?}: {text}");
    assert!(!dir.join("out.onnx").exists());
    text
}

fn row<'r>(report: &'r Report, layer: &str) -> &'r LayerReport {
    report.layers.iter().find(|row| row.layer == layer).unwrap()
}

fn reason(report: &Report, layer: &str) -> String {
    row(report, layer).reason.clone().unwrap_or_default()
}

/// The perceptron with a second branch beside the first layer, whose weight has the given values.
fn with_branch(dir: &Path, values: &[f32]) {
    write(dir, "in.onnx", |m| {
        let graph = graph(m);
        graph.initializer.push(tensor("branch.weight", &[48, 64], values));
        graph.node[1].input[0] = "both".into();
        graph.node.insert(1, node("Add", "join", &["product", "side"], "both"));
        graph.node.insert(1, node("MatMul", "branch", &["x", "branch.weight"], "side"));
    });
}

#[test]
fn no_weight_is_an_error_whatever_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    samples(dir, "x.npy", 64);
    let scaled = |factor: f32| smooth(48, 64).iter().map(|x| x * factor).collect::<Vec<f32>>();
    let mut outlier = smooth(48, 64);
    outlier[1000] = 1e30;
    let mut lone = vec![0.0; 48 * 64];
    lone[7] = 1e-3;
    for (name, values, expected) in [
        ("zero", vec![0.0; 48 * 64], Some("stays dense: all its values are zero")),
        ("denormal", scaled(1e-40), Some("stays dense: its values are too small")),
        ("tiny", scaled(1e-30), None),
        ("huge", scaled(1e18), None),
        ("constant", vec![0.25; 48 * 64], None),
        ("outlier", outlier, None),
        ("lone", lone, None),
    ] {
        with_branch(dir, &values);
        let trained =
            ["in.onnx", "out.onnx", "--min-elements", "64", "-c", "x.npy", "--fit", "end-to-end", "--epochs", "1"];
        let output = run(dir, &trained);
        assert!(matches!(output.status.code(), Some(0 | 2 | 3)), "{name}: {}", stderr(&output));
        for data in [&["--calibration", "x.npy"][..], &[]] {
            let (report, text) = compile(dir, &[data, &["--tolerance", "30%"]].concat());
            assert!(!text.contains("internal error"), "{name}: {text}");
            match expected {
                Some(reason_begins) => {
                    assert!(reason(&report, "branch").starts_with(reason_begins), "{name}: {text}");
                    assert!(row(&report, "hidden").replaced, "{name}: {text}");
                }
                None => {
                    let branch = row(&report, "branch");
                    assert!(branch.replaced || branch.reason.is_some(), "{name}: {text}");
                }
            }
            // A dry run knows as much.
            let (dry, _) = compile(dir, &["--dry-run"]);
            assert_eq!(row(&dry, "branch").possible_ratios.is_none(), expected.is_some(), "{name}");
            if name == "tiny" || name == "huge" {
                // Scaled to an ordinary size it is as smooth as ever.
                let branch = row(&report, "branch");
                assert!(branch.weight_error.is_none_or(|e| e.is_finite() && e < 1.0), "{name}: {text}");
            }
        }
    }
    // The model itself cannot be run with such a weight, so only a dry run gets as far as the layers.
    with_branch(dir, &scaled(3e38));
    let (report, _) = compile(dir, &["--dry-run"]);
    assert!(reason(&report, "branch").starts_with("stays dense: its values are too large"));
    assert!(row(&report, "hidden").possible_ratios.is_some());
}

#[test]
fn inputs_too_small_for_their_moments_give_no_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    for size in [0.0, 1e-40, 1e-30, 1e18, 1e30] {
        let values: Vec<f32> = (0..64 * 48).map(|k| ((k as f32) * 0.7).sin() * size).collect();
        let array = ndarray::Array2::from_shape_vec((64, 48), values).unwrap();
        ndarray_npy::write_npy(dir.join("x.npy"), &array).unwrap();
        let output = run(dir, &["in.onnx", "out.onnx", "--min-elements", "64", "-c", "x.npy"]);
        assert!(matches!(output.status.code(), Some(0 | 2 | 3)), "{size}: {}", stderr(&output));
        assert!(!stderr(&output).contains("internal error"), "{size}: {}", stderr(&output));
    }
}

#[test]
fn patterns_that_match_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    for (option, value, pattern) in
        [("--layers", "fc9", "fc9"), ("--exclude", "fc9", "fc9"), ("--generator", "fc9=bond:2", "fc9")]
    {
        let text = refused(dir, &[option, value]);
        assert!(
            text.contains(&format!("{option} `{pattern}` matches no layer; the layers are hidden, head")),
            "{text}"
        );
        assert!(refused(dir, &[option, value, "--dry-run"]).contains("matches no layer"));
    }
    // The one that is left alone is named with its reason.
    write(dir, "in.onnx", |m| {
        graph(m).output.push(adntn_onnx::pb::ValueInfoProto {
            name: Some("head.weight".into()),
            ..graph(&mut common::perceptron()).output[0].clone()
        })
    });
    let text = refused(dir, &["--layers", "head"]);
    assert!(text.contains("MatMul `head` is left alone (weight is a graph output)"), "{text}");
    assert!(run(dir, &["in.onnx", "--dry-run", "--exclude", "head"]).status.success());
}

#[test]
fn rules_for_layers_count_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    let text = refused(dir, &["--generator", "hidden=layout:o8 i8 o8 i12"]);
    assert!(text.contains("layer hidden has a weight of 64×48"), "{text}");
    // The layout given for all fits one layer only, and the other has its own.
    let args = ["--layout", "o8 i8 o8 i6", "--generator", "head=layout:o2 i8 o4 i8,bond:2", "--dry-run"];
    let (report, _) = compile(dir, &args);
    let legs = |layer| row(&report, layer).network.as_ref().unwrap().layout.to_string();
    assert_eq!((legs("hidden"), legs("head")), ("o8 i8 o8 i6".into(), "o2 i8 o4 i8".into()));
    let (low, high) = row(&report, "head").possible_ratios.unwrap();
    assert!((low - high).abs() < 1e-9, "one bond was asked for: {low} to {high}");

    // Notes and reasons speak of the rule, not of the settings of the others.
    samples(dir, "x.npy", 64);
    let rules = ["--generator", "head=ratio:500", "--generator", "hidden=legs:4,bond:99"];
    let common = ["--fit", "end-to-end", "--calibration", "x.npy", "--epochs", "1", "--ratio", "4"];
    let (report, text) = compile(dir, &[&rules[..], &common[..]].concat());
    assert!(reason(&report, "head").contains("500 times smaller"), "{text}");
    assert!(text.contains("Layer hidden: χ = 99 is more than some of its legs carry"), "{text}");
}

#[test]
fn closing_words_are_true() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // Nothing can be replaced.
    write(dir, "in.onnx", |m| {
        for name in ["hidden.weight", "head.weight"] {
            let mut shown = graph(m).output[0].clone();
            shown.name = Some(name.into());
            graph(m).output.push(shown);
        }
    });
    let (report, text) = compile(dir, &[]);
    assert_eq!(report.stopped, Some(StopReason::NothingConsidered));
    assert!(text.contains("nothing to replace: see Not considered"), "{text}");
    // Nothing is selected.
    write(dir, "in.onnx", |_| {});
    let (report, text) = compile(dir, &["--exclude", "."]);
    assert_eq!(report.stopped, Some(StopReason::NothingConsidered));
    assert!(text.contains("no layer was selected"), "{text}");
    // Nothing is smaller.
    let (report, text) = compile(dir, &["--layers", "head", "--bond", "99"]);
    assert_eq!(report.stopped, Some(StopReason::NoGain), "{text}");
    // Something else is in the way.
    write(dir, "in.onnx", |m| graph(m).initializer[0] = tensor("hidden.weight", &[48, 64], &[0.0; 48 * 64]));
    let (report, text) = compile(dir, &["--layers", "hidden"]);
    assert_eq!(report.stopped, Some(StopReason::Unsuitable));
    assert!(text.contains("no weight could be replaced"), "{text}");
    // Smallest only where it is so.
    write(dir, "in.onnx", |_| {});
    let (report, text) = compile(dir, &["--tolerance", "100%"]);
    if report.stopped == Some(StopReason::Smallest) {
        for row in &report.layers {
            assert!(row.generator.as_ref().is_some_and(|g| g.bond == 1), "{text}");
        }
    }
}

#[test]
fn compiling_twice_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    let (report, text) = compile(dir, &["--tolerance", "30%"]);
    assert!(row(&report, "hidden").replaced, "{text}");
    let once = std::fs::read(dir.join("out.onnx")).unwrap();
    std::fs::copy(dir.join("out.onnx"), dir.join("in.onnx")).unwrap();
    let (report, text) = compile(dir, &["--tolerance", "30%"]);
    assert_eq!(std::fs::read(dir.join("out.onnx")).unwrap(), once, "{text}");
    assert!(report.layers.iter().all(|row| !row.layer.contains("/ttn/")), "{text}");
    let hidden = report.skipped.iter().find(|row| row.node == "hidden").unwrap();
    assert_eq!(hidden.reason, "already replaced");
}

#[test]
fn initializers_that_nothing_reads_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |m| graph(m).initializer.push(tensor("ghost", &[64, 64], &smooth(64, 64))));
    let (report, text) = compile(dir, &["--exclude", "."]);
    assert!(text.contains("Nothing reads `ghost` (16384 bytes): left out of the output."), "{text}");
    let (before, after) = (report.input.bytes, report.output.unwrap().bytes);
    assert!(before - after > 16_384, "{text}");
    assert!(!text.contains("would lose more quality"), "{text}");
}

#[test]
fn a_ratio_is_met_by_more_than_outer_products() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |m| {
        let graph = graph(m);
        graph.initializer[0] = tensor("hidden.weight", &[48, 512], &smooth(48, 512));
        graph.initializer[1] = tensor("hidden.bias", &[512], &[0.1; 512]);
        graph.initializer[2] = tensor("head.weight", &[512, 8], &smooth(512, 8));
    });
    samples(dir, "x.npy", 64);
    let args = [
        "--fit",
        "end-to-end",
        "-c",
        "x.npy",
        "--epochs",
        "1",
        "--ratio",
        "74",
        "--layers",
        "hidden",
        "--accept-worse",
    ];
    let (report, text) = compile(dir, &args);
    let hidden = row(&report, "hidden");
    assert!(hidden.generator.as_ref().unwrap().bond >= 2 && hidden.ratio >= 74.0, "{text}");
    // Where nothing else fits, an outer product does; it comes closer to the ratio, which is no reason to take it.
    let (alone, text) = compile(dir, &[&args[..], &["--legs", "4"]].concat());
    assert_eq!(row(&alone, "hidden").generator.as_ref().unwrap().bond, 1, "{text}");
    assert!(row(&alone, "hidden").parameters_after > hidden.parameters_after, "{text}");
}

#[test]
fn trees_that_are_older_things_are_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    for (layout, known) in [("separated", "low rank r="), ("interleaved", "Kronecker product")] {
        let args = ["--tolerance", "50%", "--layers", "hidden", "--legs", "4", "--layout", layout];
        let (report, text) = compile(dir, &args);
        let generator = row(&report, "hidden").generator.as_ref().unwrap();
        assert!(generator.equivalent.as_ref().unwrap().contains(known), "{text}");
        assert!(text.contains(known), "{text}");
    }
    let (report, text) =
        compile(dir, &["--tolerance", "50%", "--layers", "hidden", "--legs", "4", "--topology", "mera"]);
    let generator = row(&report, "hidden").generator.as_ref();
    assert!(generator.is_none_or(|g| g.equivalent.is_none()), "{text}");
}

#[test]
fn errors_are_those_of_the_rounded_cores() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    for core_type in ["float16", "float32"] {
        // Without data a fit minimises the weight error, which is measured on what is written.
        let (report, text) = compile(dir, &["--tolerance", "5%", "--core-type", core_type, "--layout", "interleaved"]);
        let hidden = row(&report, "hidden");
        let (written, fitted) = (hidden.weight_error.unwrap(), hidden.generator.as_ref().unwrap().fit_errors.1);
        assert!((written - fitted).abs() <= 1e-5 * written.max(1e-3), "{core_type}: {written} and {fitted}: {text}");
    }
}
