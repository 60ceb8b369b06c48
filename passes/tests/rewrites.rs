//! Runs the rewrites on every tiny model as its parameter file asks and compares the graphs with the snapshots.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fmt::Write;
use std::path::Path;

use adntn_families::{Digits, Halves, Replacement, Site};
use adntn_networks::{
    Activations, Bonds, CoreKind, Generator, GeneratorSpec, KernelLegs, LayoutKind, LegLayout, Topology, Tree, start,
};
use adntn_onnx::Model;
use adntn_passes::{
    Candidate, Rewrite, Stored, describe, find_candidates, replace_by, replace_by_dense, replace_by_generator,
};
use serde::Deserialize;

/// The parameter file beside a tiny model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Parameters {
    /// What the model shows.
    about: String,
    /// Layers to replace; all candidates when absent.
    layers: Option<Vec<String>>,
    /// Plain numbers instead of a generator.
    #[serde(default)]
    dense: bool,
    /// Levels of the digits in the place of a generator.
    digits: Option<usize>,
    /// Float16 numbers in the place of a generator.
    #[serde(default)]
    halves: bool,
    #[serde(default)]
    topology: Topology,
    #[serde(default = "default_layout")]
    layout: String,
    #[serde(default = "default_legs")]
    legs: usize,
    kernel_legs: Option<KernelLegs>,
    arity: Option<usize>,
    #[serde(default = "default_bond")]
    bond: usize,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_last_linear")]
    last_linear: bool,
    #[serde(default)]
    output_scale: bool,
}

fn default_layout() -> String {
    "interleaved".to_owned()
}
fn default_legs() -> usize {
    8
}
fn default_bond() -> usize {
    6
}
fn default_activation() -> String {
    "tanh".to_owned()
}
fn default_last_linear() -> bool {
    true
}

impl Parameters {
    /// What is no generator.
    fn stored(&self, model: &Model, candidate: &Candidate) -> Option<Replacement> {
        let weight = candidate.weight_matrix(model).unwrap();
        if self.halves {
            return Some(Replacement::Halves(Halves::nearest(&weight, candidate.inputs).unwrap()));
        }
        let digits = Digits::ALL.into_iter().find(|digits| Some(digits.levels()) == self.digits)?;
        let (outputs, inputs, moments) = (candidate.outputs, candidate.inputs, None);
        let is_transposed = candidate.stored == Stored::InputOutput;
        let site = Site { weight: &weight, outputs, inputs, is_transposed, moments };
        site.prepare(0).digits(&site, digits).map(Replacement::Digits)
    }

    fn generator(&self, model: &Model, candidate: &Candidate) -> Generator {
        let kind: LayoutKind = self.layout.parse().unwrap();
        let (outputs, inputs) = (candidate.outputs, candidate.inputs);
        let layout = match self.kernel_legs {
            None => LegLayout::for_matrix(kind, outputs, inputs, self.legs),
            Some(place) => {
                let kernel: Vec<usize> = candidate.dims[2..].iter().map(|&d| d as usize).collect();
                let channels = inputs / kernel.iter().product::<usize>();
                LegLayout::for_conv(kind, place, outputs, channels, &kernel, self.legs)
            }
        }
        .unwrap();
        let tree = self.arity.map(|arity| Tree::with_arity(layout.legs().len(), arity).unwrap());
        let mut spec = GeneratorSpec::new(
            self.topology,
            candidate.outputs,
            candidate.inputs,
            layout,
            Bonds::Uniform(self.bond),
            self.activation.parse().unwrap(),
        );
        if !self.last_linear {
            spec.activations = Activations::Uniform(self.activation.parse().unwrap());
        }
        if let Some(tree) = tree {
            spec = spec.with_tree(tree).unwrap();
        }
        spec.output_scale = self.output_scale;
        let mut generator = start::hierarchical_svd(&candidate.weight_matrix(model).unwrap(), &spec, None).unwrap();
        // Starts have identities as disentanglers and factors of one, which would hide mistakes.
        let shape = generator.shape().clone();
        let disentanglers = shape.cores.iter().filter(|core| matches!(core.kind, CoreKind::Disentangler { .. }));
        for range in disentanglers.map(|core| core.range.clone()).chain([shape.output_scale()]) {
            let values = generator.params_mut()[range].iter_mut();
            values.enumerate().for_each(|(k, x)| *x += 0.1 * (k as f32).sin());
        }
        generator
    }
}

#[test]
fn every_rewrite_is_as_its_snapshot_says() {
    let mut files: Vec<_> = std::fs::read_dir(common::tiny())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for file in files {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            insta::assert_snapshot!(name, rewritten(&file));
        }
    });
}

/// Rewrites one model, checks the new weights by evaluating them, and tells what happened.
fn rewritten(file: &Path) -> String {
    let parameters: Parameters = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let model = Model::open(&file.with_extension("onnx")).unwrap();
    let survey = find_candidates(&model);
    let mut text = format!("{}\n\n", parameters.about);
    let mut patch = Rewrite::default();
    let mut replaced = Vec::new();
    for c in &survey.candidates {
        let chosen = parameters.layers.as_ref().is_none_or(|layers| layers.contains(&c.layer));
        let _ = writeln!(
            text,
            "candidate {}: {} {:?}, {}×{} stored {:?}, {} bytes, read by {} nodes{}",
            c.layer,
            c.kind,
            c.dims,
            c.outputs,
            c.inputs,
            c.stored,
            c.bytes,
            c.uses.len(),
            if chosen { "" } else { ", not asked for" }
        );
        if !chosen {
            continue;
        }
        if parameters.dense {
            let w: Vec<f32> = c.weight_matrix(&model).unwrap().iter().map(|x| 2.0 * x).collect();
            patch.merge(replace_by_dense(&model, c, &w).unwrap().into());
            replaced.push((c, None, w));
        } else if let Some(stored) = parameters.stored(&model, c) {
            patch.merge(replace_by(&model, c, &stored).unwrap());
            replaced.push((c, None, stored.matrix()));
        } else {
            let generator = parameters.generator(&model, c);
            patch.merge(replace_by_generator(&model, c, &generator).unwrap().into());
            let w = generator.matrix();
            replaced.push((c, Some(generator), w));
        }
    }
    for s in &survey.skipped {
        let _ = writeln!(text, "left alone: {} `{}`, weight `{}` {:?}: {}", s.op, s.node, s.weight, s.shape, s.reason);
    }
    let _ = write!(text, "\n{}", describe(&model));
    if replaced.is_empty() {
        return text;
    }
    let edited = model.apply(&patch.into_patch(&model)).unwrap().model().unwrap();
    for (candidate, generator, w) in &replaced {
        let _ = write!(text, "\n→ {}", candidate.layer);
        if let Some(g) = generator {
            let _ = write!(text, ": legs {:?}, {} parameters", g.shape().levels, g.parameter_count());
        }
        common::assert_weight(&edited, &model, candidate, w);
    }
    let _ = write!(text, "\n\n{}", describe(&edited));
    text
}
