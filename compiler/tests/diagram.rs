//! Diagrams of generators: the text of small ones, well-formedness, and the command's `--diagram`.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use adntn_compiler::diagram::{Panel, svg};
use adntn_compiler::{Activation, Arrangement as _, GeneratorSpec, Topology};
use adntn_networks::{Activations, Bonds, Shape, Tree};
use common::{fixture, root, run, samples, stderr, write};

fn panel(topology: Topology, (outputs, inputs): (usize, usize), legs: &str, bond: usize) -> Panel {
    let layout = legs.parse().unwrap();
    let network = GeneratorSpec::new(topology, outputs, inputs, layout, Bonds::Uniform(bond), Activation::Tanh);
    Panel { layer: "fc1".into(), op: "Gemm".into(), dims: vec![outputs as i64, inputs as i64], note: None, network }
}

/// 24 legs whose leaves lie at different depths, and trees of other arity.
fn unusual() -> Vec<Panel> {
    let mut panels = Vec::new();
    let many = ["o2 i2"; 12].join(" ");
    panels.push(panel(Topology::Mera, (4096, 4000), &many, 6));
    let mut ternary = panel(Topology::Mera, (64, 729), "o4 i9 i3 o4 i3 i3 o2 i3 o2", 10);
    ternary.network.tree = Tree::with_arity(9, 3).unwrap();
    ternary.network.activations = Activations::PerLevel(vec![Activation::Softsign, Activation::LeakyRelu]);
    ternary.network.output_scale = true;
    panels.push(ternary);
    let mut train = panel(Topology::Attn, (1024, 100_000), "o1024 i10 i10 i10 i10 i10", 300);
    train.network.tree = Tree::custom(vec![vec![1, 2], vec![1, 1, 2], vec![1, 1, 1, 2], vec![1, 1, 1, 1, 2]]).unwrap();
    panels.push(train);
    panels.push(panel(Topology::Ttn, (7, 11), "o4 o2 i4 i3", 3));
    panels
}

/// Parses the page and checks that every core of every panel is there once.
fn check(page: &str, panels: &[Panel]) {
    let document = roxmltree::Document::parse(page).unwrap();
    let drawn: Vec<&str> = document.descendants().filter_map(|node| node.attribute("data-core")).collect();
    let wanted: Vec<String> = panels
        .iter()
        .flat_map(|panel| Shape::new(&panel.network).unwrap().cores)
        .map(|core| core.kind.to_string())
        .collect();
    assert_eq!(drawn, wanted);
    let texts: Vec<&str> = document.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).collect();
    for panel in panels {
        for word in panel.network.layout.to_string().split(' ') {
            assert!(texts.contains(&word.split('@').next().unwrap()), "leg {word} is not drawn");
        }
    }
    // Nothing reaches beyond the page.
    let svg = document.root_element();
    let size = |name: &str| svg.attribute(name).unwrap().parse::<f64>().unwrap();
    assert!(size("width") > 600.0 && size("height") > 300.0);
}

#[test]
fn every_topology_is_drawn_as_reviewed() {
    for &topology in Topology::ALL {
        let panels = [panel(topology, (64, 36), "o4 i3 o4 i3 o2 i2 o2 i2", 5)];
        let page = svg(&panels).unwrap();
        check(&page, &panels);
        assert!(page.contains(topology.title()));
        snapshot(&topology.to_string(), &page);
    }
}

#[test]
fn every_core_of_unusual_trees_is_drawn_once() {
    let panels = unusual();
    let page = svg(&panels).unwrap();
    check(&page, &panels);
    if let Some(folder) = std::env::var_os("ADNTN_DIAGRAMS") {
        std::fs::write(Path::new(&folder).join("unusual.svg"), page).unwrap();
    }
}

/// Boxes of cores in one row keep apart, so that nothing is drawn over anything else.
#[test]
fn cores_do_not_overlap() {
    for panel in unusual() {
        let page = svg(std::slice::from_ref(&panel)).unwrap();
        let document = roxmltree::Document::parse(&page).unwrap();
        let number = |text: &str| text.parse::<f64>().unwrap();
        let mut boxes: Vec<[f64; 4]> = Vec::new();
        for core in document.descendants().filter(|node| node.has_attribute("data-core")) {
            let shape = core.children().find(|n| n.has_tag_name("rect") || n.has_tag_name("polygon")).unwrap();
            boxes.push(if let Some(points) = shape.attribute("points") {
                let points: Vec<(f64, f64)> = points
                    .split(' ')
                    .map(|p| p.split_once(',').unwrap())
                    .map(|(x, y)| (number(x), number(y)))
                    .collect();
                let x: BTreeSet<i64> = points.iter().map(|p| p.0 as i64).collect();
                [*x.first().unwrap() as f64, *x.last().unwrap() as f64, points[0].1, points[2].1]
            } else {
                let at = |name| number(shape.attribute(name).unwrap());
                [at("x"), at("x") + at("width"), at("y"), at("y") + at("height")]
            });
        }
        for (k, a) in boxes.iter().enumerate() {
            for b in &boxes[k + 1..] {
                let apart = a[1] < b[0] || b[1] < a[0] || a[3] < b[2] || b[3] < a[2];
                assert!(apart, "{a:?} and {b:?} overlap");
            }
        }
    }
}

#[test]
fn names_cannot_break_the_page() {
    let mut odd = panel(Topology::Ttn, (16, 16), "o4 i4 o4 i4", 2);
    odd.layer = format!("a<b> & \"c\" {} \u{1}\u{ffff}", "very/long".repeat(40));
    let panels = [odd];
    let page = svg(&panels).unwrap();
    check(&page, &panels);
    assert!(page.lines().all(|line| line.len() < 2000 || line.contains("<title>")));
}

#[test]
fn a_page_without_networks_says_so() {
    let page = svg(&[]).unwrap();
    roxmltree::Document::parse(&page).unwrap();
    assert!(page.contains("No layer is replaced"));
}

#[test]
fn an_inconsistent_network_is_an_error() {
    let mut broken = panel(Topology::Ttn, (16, 16), "o4 i4 o4 i4", 2);
    broken.network.bonds = Bonds::PerLevel(vec![2, 2, 2]);
    let error = svg(&[broken]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("bond dimensions"), "{error}");
}

/// The arguments that draw the figures of `docs/generators.md`.
fn figure(topology: Topology, to: &str) -> Vec<String> {
    let model = fixture("fc2-mnist.onnx").to_str().unwrap().to_owned();
    let rest = format!("--dry-run --layers ^1$ --bond 8 --topology {topology} --diagram {to}");
    let layout = ["--layout".to_owned(), "o4 i4 o8 i7 o4 i4 o8 i7".to_owned()];
    std::iter::once(model).chain(rest.split(' ').map(str::to_owned)).chain(layout).collect()
}

#[test]
fn the_figures_of_the_documentation_are_what_the_program_draws() {
    let dir = tempfile::tempdir().unwrap();
    for &topology in Topology::ALL {
        let args = figure(topology, "figure.svg");
        let output = run(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", stderr(&output));
        let drawn = std::fs::read_to_string(dir.path().join("figure.svg")).unwrap();
        let name = format!("docs/{topology}.svg");
        let kept = std::fs::read_to_string(root().join(&name)).unwrap_or_default();
        assert!(drawn == kept, "{name} is not what the program draws: see docs/generators.md for the command");
    }
}

#[test]
fn a_dry_run_draws_every_selected_layer() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("lenet5-mnist.onnx");
    let args = [model.to_str().unwrap(), "--dry-run", "--kernel-legs", "last", "--diagram", "out.svg"];
    let output = run(dir.path(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let page = std::fs::read_to_string(dir.path().join("out.svg")).unwrap();
    roxmltree::Document::parse(&page).unwrap();
    for words in ["Layer 3", "Layer 7", "Layer 9", "16×6×5×5", "dry run", "i5 i5, tree"] {
        assert!(page.contains(words), "{words} is missing");
    }
}

#[test]
fn a_compilation_draws_what_replaced_the_layers() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "in.onnx", |_| {});
    samples(dir, "x.npy", 64);
    let args = [
        "in.onnx",
        "out.onnx",
        "--calibration",
        "x.npy",
        "--tolerance",
        "100%",
        "--bond",
        "3",
        "--diagram",
        "out.svg",
        "--report",
        "report.json",
    ];
    let output = run(dir, &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = std::fs::read_to_string(dir.join("out.svg")).unwrap();
    let report: adntn_compiler::Report =
        serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap();
    assert_eq!(page, report.diagram().unwrap(), "the JSON report draws the same");
    assert!(page.contains("Layer hidden") && !page.contains("dry run"));

    let output = run(dir, &["in.onnx", "out.onnx", "--exclude", ".", "--diagram", "none.svg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(std::fs::read_to_string(dir.join("none.svg")).unwrap().contains("No layer is replaced"));
}

#[test]
fn paths_that_would_lose_something_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let model = write(dir, "in.onnx", |_| {});
    let before = std::fs::read(&model).unwrap();
    for (args, why) in [
        (&["--diagram", "in.onnx"][..], "in.onnx: the diagram would overwrite the model"),
        (&["--diagram", "./in.onnx"], "./in.onnx: the diagram would overwrite the model"),
        (&["--diagram", "./out.onnx"], "the diagram would overwrite"),
        (&["--report", "./in.onnx"], "./in.onnx: the report would overwrite the model"),
        (&["--diagram", "a", "--report", "./a"], "would overwrite the"),
        (&["--diagram", "nowhere/a.svg"], "nowhere/a.svg: the diagram's folder does not exist"),
    ] {
        let output = run(dir, &[&["in.onnx", "out.onnx"][..], args].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1);
    }
    assert_eq!(std::fs::read(&model).unwrap(), before);
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/diagrams"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
