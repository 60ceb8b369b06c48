//! Whole compilations through the command, as a user runs them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use adntn_compiler::Report;
use adntn_compiler::report::Claim;
use adntn_onnx::Model;
use common::{check_in_runtimes, fixture, graph, root, run, samples, stderr, tensor, write};

fn compile(dir: &Path, model: &Path, more: &[&str]) -> Report {
    let mut args = vec![model.to_str().unwrap(), "out.onnx", "--report", "report.json"];
    args.extend(more);
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn compile_digits(dir: &Path, model: &str) -> Report {
    let calibration = fixture("mnist-calibration.npz");
    let held_out = fixture("mnist-held-out.npz");
    compile(
        dir,
        &fixture(model),
        &["--calibration", calibration.to_str().unwrap(), "--held-out", held_out.to_str().unwrap()],
    )
}

fn digits_shrink(model: &str, at_least: f64) {
    let dir = tempfile::tempdir().unwrap();
    let report = compile_digits(dir.path(), model);
    let size = std::fs::metadata(dir.path().join("out.onnx")).unwrap().len();
    let output = report.output.as_ref().unwrap();
    assert_eq!(output.bytes, size);
    assert!(report.file_ratio().unwrap() >= at_least, "{:?}", report.file_ratio());
    let quality = report.quality.as_ref().unwrap();
    assert!(quality.within_tolerance && quality.loss <= 0.01 && quality.claim == Claim::Shown, "{quality:?}");
    let (before, after) = quality.accuracy().unwrap();
    assert!(before - after <= 0.01 && quality.upper_bound.unwrap() <= 0.01);
    let data = report.data.as_ref().unwrap();
    assert_eq!((data.fit_samples, data.selection_samples, data.held_out_samples), (192, 64, 512));
    for layer in report.layers.iter().filter(|l| l.replaced) {
        assert!(layer.bytes_after < layer.bytes_before, "{layer:?}");
        assert!(
            layer.weight_error.unwrap() > 0.0
                && layer.output_error.unwrap() < 1.0
                && layer.top1_agreement.unwrap() > 0.9
        );
    }
    check_in_runtimes(dir.path(), &fixture(model), Some(&fixture("mnist-held-out.npz")));
}

#[test]
fn lenet5_becomes_smaller_and_runs_everywhere() {
    digits_shrink("lenet5-mnist.onnx", 20.0);
}

/// Elements of the float32 initializers of a model, by name.
fn plain(path: &Path) -> std::collections::BTreeMap<String, Vec<f32>> {
    let model = Model::open(path).unwrap();
    let float = adntn_onnx::pb::tensor_proto::DataType::Float as i32;
    let tensors = model.graph().initializer.iter().filter(|tensor| tensor.data_type() == float);
    tensors.map(|tensor| (tensor.name().to_owned(), model.floats(tensor).unwrap().into_owned())).collect()
}

#[test]
fn biases_and_small_weights_take_fewer_bytes_unless_layers_are_left_alone() {
    let (model, calibration) = (fixture("lenet5-mnist.onnx"), fixture("mnist-calibration.npz"));
    let calibration = ["-c", calibration.to_str().unwrap()];
    let original = plain(&model);
    let dir = tempfile::tempdir().unwrap();
    let report = compile(dir.path(), &model, &calibration);
    let left = plain(&dir.path().join("out.onnx"));
    // But for what unpacks the rest.
    assert!(left.values().map(Vec::len).sum::<usize>() < 80, "{left:?}");
    // They are parameters all the same.
    let (before, after) = (report.input.parameters, report.output.unwrap().parameters);
    let replaced = report.layers.iter().filter(|l| l.replaced);
    let weights: u64 = replaced.map(|l| l.parameters_before - l.parameters_after).sum();
    assert_eq!(after, before - weights);

    let report = compile(dir.path(), &model, &[&calibration[..], &["--layers", "^7$"]].concat());
    assert!(report.layers.iter().any(|l| l.layer == "7" && l.replaced));
    let left = plain(&dir.path().join("out.onnx"));
    for (name, values) in original.iter().filter(|(name, _)| !name.starts_with("7.")) {
        assert_eq!(left.get(name), Some(values), "{name}");
    }
    // What is replaced has its own bias, which takes over a mean error.
    assert!(!left.contains_key("7.weight") && left.get("7.bias") != original.get("7.bias"));
}

#[test]
fn the_number_of_threads_does_not_change_the_file() {
    let files = ["1", "3"].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        command.arg(fixture("lenet5-mnist.onnx")).arg(dir.path().join("out.onnx")).env("RAYON_NUM_THREADS", threads);
        command.arg("-c").arg(fixture("mnist-calibration.npz")).arg("--no-cache");
        assert!(command.output().unwrap().status.success());
        std::fs::read(dir.path().join("out.onnx")).unwrap()
    });
    assert!(files[0] == files[1] && files[0].len() < 40_000);
}

#[test]
fn fc2_becomes_smaller_and_runs_everywhere() {
    digits_shrink("fc2-mnist.onnx", 60.0);
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let file = |threads: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adntn-compile"));
        command.current_dir(dir.path()).env("RAYON_NUM_THREADS", threads);
        command.args([
            "in.onnx",
            "out.onnx",
            "--calibration",
            "x.npy",
            "--tolerance",
            "5%",
            "--seed",
            "4",
            "--no-cache",
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read(dir.path().join("out.onnx")).unwrap()
    };
    let one = file("1");
    assert_eq!(one, file("1"));
    assert_eq!(one, file("3"));
    assert_ne!(one, std::fs::read(model).unwrap(), "nothing was replaced");
}

#[test]
fn every_tiny_model_comes_out_valid() {
    let tiny = fixture("tiny");
    let mut files: Vec<_> = std::fs::read_dir(tiny).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    assert!(files.len() > 20);
    let mut replaced = 0;
    for file in files {
        let dir = tempfile::tempdir().unwrap();
        // Without data every input is made up, and a loose tolerance lets small layers be replaced.
        let report = compile(dir.path(), &file, &["--tolerance", "60%", "--min-elements", "256"]);
        let (before, after) = (report.input.bytes, report.output.as_ref().unwrap().bytes);
        assert!(after <= before, "{}: {before} → {after}", file.display());
        replaced += report.layers.iter().filter(|l| l.replaced).count();
        if !report.layers.iter().any(|l| l.replaced) {
            assert_eq!(
                std::fs::read(&file).unwrap(),
                std::fs::read(dir.path().join("out.onnx")).unwrap(),
                "{}",
                file.display()
            );
        } else if file.file_stem().is_some_and(|s| s == "left-alone") {
            // Its own outputs are not finite, so there is nothing for the runtimes to agree on.
            assert!(report.notes.iter().any(|n| n.contains("not finite")), "{:?}", report.notes);
        } else {
            check_in_runtimes(dir.path(), &file, None);
        }
    }
    assert!(replaced >= 10, "only {replaced} layers were replaced");
}

#[test]
fn what_cannot_shrink_is_written_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 32);
    let report = compile(dir.path(), &model, &["--calibration", "x.npy", "--tolerance", "0", "--exclude", "hidden"]);
    assert!(report.layers.iter().all(|l| !l.replaced && l.reason.is_some()));
    assert_eq!(std::fs::read(model).unwrap(), std::fs::read(dir.path().join("out.onnx")).unwrap());
}

#[test]
fn options_restrict_the_search() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    let options = [
        "--calibration",
        "x.npy",
        "--tolerance",
        "100%",
        "--bond",
        "3",
        "--layout",
        "separated",
        "--activation",
        "softsign",
    ];
    let report = compile(dir.path(), &model, &options);
    let generator = report.layers.iter().find(|l| l.layer.contains("hidden")).unwrap().generator.clone().unwrap();
    assert_eq!(
        (generator.bond, generator.layout.as_str(), generator.activation.as_str()),
        (3, "separated", "softsign")
    );
    let only = compile(dir.path(), &model, &[&options[..], &["--layers", "head", "--min-elements", "64"]].concat());
    let row = |name: &str| only.layers.iter().find(|l| l.layer.contains(name)).unwrap().clone();
    assert!(row("head").replaced);
    assert_eq!(row("hidden").reason.as_deref(), Some("not selected by --layers"));
}

#[test]
fn kernel_legs_and_custom_layouts_run_everywhere() {
    let lenet = fixture("lenet5-mnist.onnx");
    let data = fixture("mnist-calibration.npz");
    let options = |more: &[&'static str]| {
        let calibration = ["--calibration", data.to_str().unwrap(), "--tolerance", "60%", "--layers", "^3$"];
        let dir = tempfile::tempdir().unwrap();
        let report = compile(dir.path(), &lenet, &[&calibration[..], more].concat());
        check_in_runtimes(dir.path(), &lenet, Some(&data));
        report.layers.iter().find(|l| l.layer == "3").unwrap().generator.clone().unwrap()
    };
    let generator = options(&["--kernel-legs", "last", "--bond", "4", "--layout", "interleaved"]);
    assert_eq!((generator.kernel_legs.as_deref(), generator.legs.as_str()), (Some("last"), "o4 i2 o4 i3 i5 i5"));
    assert_eq!(generator.levels, [vec![4, 4, 4], vec![4, 2, 4, 3, 5, 5]]);
    let generator = options(&["--bond", "4", "--layout", "i25@1 o4 i6@0 o4"]);
    assert_eq!((generator.layout.as_str(), generator.legs.as_str()), ("custom", "i25@1 o4 i6@0 o4"));
    assert_eq!((generator.output_legs, generator.input_legs), (vec![4, 4], vec![6, 25]));
}

#[test]
fn every_topology_runs_everywhere() {
    for (topology, title) in [("ttn", "TTN"), ("attn", "aTTN"), ("mera", "MERA")] {
        let dir = tempfile::tempdir().unwrap();
        let model = write(dir.path(), "in.onnx", |_| {});
        samples(dir.path(), "x.npy", 64);
        for legs in ["o4 i4 o4 i3 o2 i2 o2 i2", "o8 i8 o4 i3 o2 i2"] {
            let options = ["--calibration", "x.npy", "--tolerance", "100%", "--layers", "hidden", "--bond", "3"];
            let choice = ["--layout", legs, "--topology", topology, "--diagram", "out.svg"];
            let report = compile(dir.path(), &model, &[&options[..], &choice].concat());
            let generator = report.layers.iter().find(|l| l.layer == "hidden").unwrap().generator.clone().unwrap();
            assert_eq!((generator.topology.as_str(), generator.legs.as_str()), (topology, legs));
            assert_eq!(report.settings.topology, topology);
            assert!(std::fs::read_to_string(dir.path().join("out.svg")).unwrap().contains(&format!("as {title} with")));
            check_in_runtimes(dir.path(), &model, None);
        }
    }
}

/// A tree whose last three legs share a parent.
#[test]
fn five_legs_run_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let lenet = fixture("lenet5-mnist.onnx");
    let data = fixture("mnist-calibration.npz");
    let options = ["--calibration", data.to_str().unwrap(), "--tolerance", "60%", "--layers", "^3$", "--bond", "4"];
    let report = compile(dir.path(), &lenet, &[&options[..], &["--layout", "i5@1 o4 i6@0 o4@1 i5"]].concat());
    let row = report.layers.iter().find(|l| l.layer == "3").unwrap();
    assert_eq!(row.generator.as_ref().unwrap().legs, "i5@1 o4 i6@0 o4 i5");
    check_in_runtimes(dir.path(), &lenet, Some(&data));
}

#[test]
fn a_bond_beyond_what_the_legs_carry_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |_| {});
    samples(dir.path(), "x.npy", 64);
    // The pair o2 i1 carries no more than 2.
    let layout = ["--layers", "hidden", "--layout", "o4 i4 o4 i3 o2 i1 o2 i4"];
    let options = ["--calibration", "x.npy", "--tolerance", "100%", "--bond", "4"];
    let report = compile(dir.path(), &model, &[&layout[..], &options].concat());
    let generator = report.layers.iter().find(|l| l.layer == "hidden").unwrap().generator.clone().unwrap();
    assert_eq!((generator.bond, generator.levels[1].as_slice()), (4, &[4, 4, 2, 4][..]));
    let note = "Layer hidden: χ = 4 is more than some of its legs carry; its bonds were clamped to 2 to 4.";
    assert!(report.notes.iter().any(|n| n == note), "{:?}", report.notes);
    let report = compile(dir.path(), &model, &["--bond", "5000", "--layers", "hidden"]);
    assert!(report.notes.iter().any(|n| n.contains("clamped") && n.contains("Layer hidden")), "{:?}", report.notes);
}

#[test]
fn a_dry_run_lists_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &[fixture("lenet5-mnist.onnx").to_str().unwrap(), "--dry-run"]);
    assert!(output.status.success());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let text = stderr(&output).replace(fixture("").to_str().unwrap(), "onnx-fixtures/");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/cli"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("dry-run-lenet5", text));
}

#[test]
fn a_model_tract_cannot_run_is_compiled_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    // An operator of a private domain: valid for a runtime that has it.
    let model = write(dir.path(), "in.onnx", |m| {
        m.opset_import.push(adntn_onnx::pb::OperatorSetIdProto { domain: Some("private".into()), version: Some(1) });
        graph(m).node[2].op_type = Some("Swirl".into());
        graph(m).node[2].domain = Some("private".into());
        let low_rank: Vec<f32> =
            (0..48 * 64).map(|k| ((k / 64) as f32 * 0.3).sin() * ((k % 64) as f32 * 0.2).cos()).collect();
        graph(m).initializer[0] = tensor("hidden.weight", &[48, 64], &low_rank);
    });
    let report = compile(dir.path(), &model, &[]);
    assert!(report.quality.is_none());
    assert!(report.notes.iter().any(|n| n.contains("could not be run")), "{:?}", report.notes);
    let hidden = report.layers.iter().find(|l| l.layer.contains("hidden")).unwrap();
    assert!(hidden.replaced && hidden.weight_error.unwrap() <= 0.01, "{hidden:?}");
}

#[test]
fn external_data_goes_beside_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), "in.onnx", |m| {
        graph(m).initializer.push(tensor("rest", &[5000], &[0.5; 5000]));
        graph(m).node.push(common::node("Identity", "keep", &["rest"], "kept"));
    });
    samples(dir.path(), "x.npy", 32);
    let report = compile(dir.path(), &model, &["--calibration", "x.npy", "--external-data", "--tolerance", "50%"]);
    let model_bytes = std::fs::metadata(dir.path().join("out.onnx")).unwrap().len();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let data = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "data")).unwrap();
    let data_bytes = std::fs::metadata(data).unwrap().len();
    assert_eq!(report.output.unwrap().bytes, model_bytes + data_bytes);
    assert!(data_bytes > model_bytes);
    Model::open(&dir.path().join("out.onnx")).unwrap();
}

#[test]
fn the_report_schema_is_the_documented_one() {
    let documented: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root().join("compiler/report.schema.json")).unwrap()).unwrap();
    assert!(
        documented == Report::schema(),
        "compiler/report.schema.json is old, write it again: cargo run -p adntn-compiler --example report_schema"
    );
}
