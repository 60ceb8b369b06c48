//! Which part of a model is trained: the layers that a gradient reaches, the outputs it comes from, and all between.

use adntn_fit::data::Dataset;
use adntn_fit::runner::Loaded;
use adntn_graph::{Network, Path, Paths, Request, frontier, paths};
use adntn_onnx::{Model, Patch};
use adntn_passes::{PlainKind, plain_parameters, weight_value};

use crate::calibrate::tapped_model;
use crate::error::Error;
use crate::layer::Layer;
use crate::metric::Yardstick;
use crate::options::Options;

/// The part of a model that is trained.
pub(super) struct Tail {
    pub(super) network: Network,
    /// Plain parameters; the leaves of the network are the weights of the layers, then these.
    pub(super) plain: Vec<String>,
    pub(super) plain_elements: usize,
    /// Inputs of the network.
    pub(super) frontier: Vec<String>,
    /// Outputs of the network: values of those of the model that are in the loss, then inner values to match.
    pub(super) outputs: Vec<String>,
    /// The model's names of those outputs that are its own.
    pub(super) own_outputs: Vec<String>,
}

/// A layer that no gradient reaches, and why.
pub(super) struct Unreached {
    pub(super) layer: usize,
    pub(super) reason: String,
}

/// Finds what can be trained of the layers `wanted`, from which those are taken out that no gradient reaches. `None` when
/// operators without derivative keep it from all of them.
pub(super) fn find(
    model: &Model,
    layers: &[Layer<'_>],
    wanted: &mut Vec<usize>,
    data: &Dataset,
    yardstick: &Yardstick,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<(Option<Tail>, Vec<Unreached>), Error> {
    let training = &options.training;
    // The values of outputs: where one cannot be computed, the one that stands in for it.
    let own: Vec<String> = yardstick.outputs.iter().map(|judged| judged.value.clone()).collect();
    let matched: Vec<String> = training.matches.iter().map(|m| m.0.clone()).collect();
    if let Some(name) = matched.iter().find(|name| !is_value(model, name)) {
        return Err(Error::Data(adntn_graph::Error::NoValue { name: name.clone() }.into()));
    }
    let all: Vec<String> = own.iter().chain(&matched).cloned().collect();
    let by_sample = have_samples(model, &all, data)?;
    let sampled: Vec<String> = own.iter().zip(&by_sample).filter(|(_, by)| **by).map(|(o, _)| o.clone()).collect();
    let weight = |&i: &usize| Ok(weight_value(model, layers[i].candidate)?);
    let first = wanted.first().map_or("", |&i| layers[i].candidate.layer.as_str()).to_owned();
    let mut unreached = Vec::new();
    let mut obstructed = false;
    loop {
        let leaves: Vec<String> = wanted.iter().map(weight).collect::<Result<_, Error>>()?;
        // What stands behind one layer hides outputs from the others, so each is looked at alone before all together.
        let mut reach: Vec<Paths> =
            leaves.iter().map(|leaf| paths(model, std::slice::from_ref(leaf), &sampled)).collect::<Result<_, _>>()?;
        if reach.iter().all(|p| p.leaves == [true]) {
            let joint = paths(model, &leaves, &sampled)?;
            reach = joint.leaves.iter().map(|&l| Paths { outputs: joint.outputs.clone(), leaves: vec![l] }).collect();
        }
        let before = wanted.len();
        let mut at = 0..;
        wanted.retain(|&layer| {
            let Some(found) = at.next().and_then(|at| reach.get(at)) else { return true };
            let kept = found.leaves == [true];
            if !kept {
                obstructed |= found.outputs.iter().any(|path| matches!(path, Path::Obstructed { .. }));
                unreached.push(Unreached { layer, reason: reason(&found.outputs) });
            }
            kept
        });
        if wanted.len() == before || wanted.is_empty() {
            break;
        }
    }
    if wanted.is_empty() {
        return if obstructed || unreached.is_empty() {
            Ok((None, unreached))
        } else {
            Err(Error::Usage(format!(
                "no differentiable output of the model depends on layer {first} or another selected one (an output is trained \
                 through when it is floating point and has a row for each sample): select other layers with --layers"
            )))
        };
    }
    let weights: Vec<String> = wanted.iter().map(weight).collect::<Result<_, Error>>()?;
    let joint = paths(model, &weights, &all)?;
    let mut outputs: Vec<String> = Vec::new();
    let mut own_outputs = Vec::new();
    for (at, (value, judged)) in own.iter().zip(&yardstick.outputs).enumerate() {
        if outputs.contains(value) {
            continue;
        }
        let name = &judged.rule.output;
        let why = match &joint.outputs[at] {
            Path::Independent => "it does not depend on a trained layer".to_owned(),
            Path::Stepwise => "it has no derivative (integers, truth values, or made of such)".to_owned(),
            Path::Obstructed { node, op } => format!("{node} ({op}) before it has no derivative here"),
            Path::Differentiable if !by_sample[at] => "it has not one row for each sample".to_owned(),
            Path::Differentiable => {
                outputs.push(value.clone());
                own_outputs.push(name.clone());
                continue;
            }
        };
        notes.push(format!("Output {name} is left out of the loss: {why}."));
    }
    for (at, name) in matched.iter().enumerate() {
        if joint.outputs[own.len() + at] != Path::Differentiable || !by_sample[own.len() + at] {
            return Err(Error::Usage(format!(
                "the value `{name}` to match does not depend on a replaced layer with a derivative and a row for each sample: \
                 name one behind them"
            )));
        }
        outputs.push(name.clone());
    }
    let tail = Tail::new(model, layers, wanted, weights, outputs, own_outputs, training.train_rest)?;
    Ok((Some(tail), unreached))
}

impl Tail {
    fn new(
        model: &Model,
        layers: &[Layer<'_>],
        wanted: &[usize],
        weights: Vec<String>,
        outputs: Vec<String>,
        own_outputs: Vec<String>,
        train_rest: bool,
    ) -> Result<Self, Error> {
        let candidates: Vec<_> = wanted.iter().map(|&i| layers[i].candidate).collect();
        let mut plain = plain_parameters(model, &candidates);
        plain.retain(|p| train_rest || p.kind != PlainKind::Weight);
        // A parameter that no gradient reaches, or whose change reaches an output through what cannot be computed here, stays.
        let mut trainable = Vec::new();
        for p in plain {
            let found = paths(model, std::slice::from_ref(&p.name), &outputs)?;
            if found.leaves == [true] && !found.outputs.iter().any(|path| matches!(path, Path::Obstructed { .. })) {
                trainable.push(p);
            }
        }
        let mut plain = trainable;
        loop {
            let leaves: Vec<String> = weights.iter().cloned().chain(plain.iter().map(|p| p.name.clone())).collect();
            let cut = frontier(model, &leaves, &outputs)?;
            let network = Network::new(model, &Request { inputs: &cut, outputs: &outputs, trainable: &leaves })?;
            let count = plain.len();
            // Values that are not numbers do no harm only where the model does not read them (C of a Gemm with beta = 0).
            plain.retain(|p| network.initial(&p.name).is_ok_and(|a| a.values.iter().all(|v| v.is_finite())));
            if plain.len() < count {
                continue;
            }
            return Ok(Tail {
                network,
                plain_elements: plain.iter().map(|p| p.shape.iter().product::<usize>()).sum(),
                plain: plain.into_iter().map(|p| p.name).collect(),
                frontier: cut,
                outputs,
                own_outputs,
            });
        }
    }
}

fn is_value(model: &Model, name: &str) -> bool {
    let index = model.index();
    index.producer(name).is_some() || index.initializer(name).is_some() || index.is_graph_input(name)
}

/// Whether each value has one row, or some, for each sample.
fn have_samples(model: &Model, values: &[String], data: &Dataset) -> Result<Vec<bool>, Error> {
    let tapped = tapped_model(model, Patch::default(), values)?;
    let runner = Loaded::new(tapped.bytes)?.into_runner(data)?;
    let axes = runner.sample_axes();
    let alone = data.most_at_once() == Some(1);
    Ok(tapped.positions.iter().map(|&at| alone || axes.get(at).copied().flatten().is_some()).collect())
}

/// Why no gradient reaches a layer, given how the outputs depend on it.
fn reason(outputs: &[Path]) -> String {
    let obstacle = outputs.iter().find_map(|path| match path {
        Path::Obstructed { node, op } => Some(format!("not trained: {node} ({op}) behind it has no derivative here")),
        _ => None,
    });
    obstacle.unwrap_or_else(|| "not trained: no differentiable output of the model depends on it".into())
}
