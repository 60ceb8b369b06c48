//! Statistics of the activations that enter each layer.

use std::collections::{BTreeMap, HashMap};

use adntn_fit::data::Dataset;
use adntn_fit::gram::{Gram, GramBuilder, Silent, Variation};
use adntn_fit::runner::{Loaded, Output};
use adntn_fit::unfold::{Padding, Patches, Unfold};
use adntn_onnx::{Model, Patch, pb};
use adntn_passes::{Candidate, DenseUse, LayerKind, Stored};

use crate::error::Error;

/// Ridge of the activation statistics: the weight of directions in which no sample varies.
const RIDGE: f32 = 0.02;
/// The same for a weight of which rows are taken too: to those all directions are alike.
const RIDGE_OF_TIED: f32 = 0.5;
/// The same where samples are made up, and others may vary otherwise.
const RIDGE_OF_MADE_UP: f32 = 0.2;

/// One read of a candidate's weight: the value that enters the layer and how its rows are read.
struct Tap {
    candidate: usize,
    value: usize,
    /// `None` for the rows that are taken of a table, one by one.
    unfold: Option<Unfold>,
}

/// What is collected of the activations that enter a layer.
enum Collected {
    Moments(GramBuilder),
    /// Of a table, which rows are taken: no moments, since the rows are as independent as one-hot vectors are, and all values of
    /// one weigh the same.
    Rows(Variation),
}

/// Takes the rows that enter candidates.
trait Collector {
    /// Whether rows of this candidate are to be read; where not, that there are `count` of them is all that is noted.
    fn wants(&mut self, candidate: usize, count: usize) -> bool;
    fn add(&mut self, candidate: usize, rows: &[f32]);
}

impl Collector for Vec<Collected> {
    fn wants(&mut self, candidate: usize, count: usize) -> bool {
        match &mut self[candidate] {
            Collected::Moments(builder) if builder.is_full() => {
                builder.pass_over(count);
                false
            }
            _ => true,
        }
    }

    fn add(&mut self, candidate: usize, rows: &[f32]) {
        match &mut self[candidate] {
            Collected::Moments(builder) => builder.add(rows),
            Collected::Rows(variation) => variation.add(rows),
        }
    }
}

impl Collector for Vec<Variation> {
    fn wants(&mut self, candidate: usize, _: usize) -> bool {
        self[candidate].silent().is_some()
    }

    fn add(&mut self, candidate: usize, rows: &[f32]) {
        self[candidate].add(rows);
    }
}

/// What is known of the activations that enter a layer.
pub(crate) enum Statistics {
    /// Their second moments.
    Known(Box<Gram>),
    /// They are there, and say nothing.
    Silent(Silent),
    /// The layer has a form that they cannot be read off.
    Unknown,
}

/// Samples on which activations are first looked at for whether they vary.
const GLANCE: usize = 64;

/// Samples that statistics are taken of, at most, but for layers with more than half as many inputs.
const MOST_STATISTICS: usize = 4096;

/// Of so many samples, those that statistics are taken of: more say hardly more of second moments.
pub(crate) fn samples_for_statistics(candidates: &[&Candidate], samples: usize) -> usize {
    let widest = candidates.iter().map(|c| c.inputs).max().unwrap_or(0);
    (2 * widest).max(MOST_STATISTICS).min(samples)
}

/// Runs `data` through `model` and returns the input statistics of every candidate.
///
/// The mean is removed for the candidates in `centred`: those whose bias can absorb it.
pub(crate) fn input_statistics(
    model: &Model,
    candidates: &[&Candidate],
    centred: &[bool],
    data: &Dataset,
) -> Result<Vec<Statistics>, Error> {
    let collected = |c: &&Candidate| match c.is_table() {
        true => Collected::Rows(variation(c)),
        false => Collected::Moments(GramBuilder::new(c.inputs)),
    };
    let mut all: Vec<Collected> = candidates.iter().map(collected).collect();
    let read = for_each_row(model, candidates, data, &mut all)?;
    let finish = |(candidate, collected, centred): (&&Candidate, Collected, bool)| match collected {
        Collected::Moments(builder) => {
            let ridge = match (candidate.has_rows_taken(), data.is_synthetic()) {
                (true, _) => RIDGE_OF_TIED,
                (false, true) => RIDGE_OF_MADE_UP,
                (false, false) => RIDGE,
            };
            builder.finish(centred, ridge).map_or_else(Statistics::Silent, |gram| Statistics::Known(Box::new(gram)))
        }
        Collected::Rows(variation) => variation.silent().map_or(Statistics::Unknown, Statistics::Silent),
    };
    let all = candidates.iter().zip(all).zip(centred).zip(read);
    Ok(all
        .map(|(((candidate, collected), &centred), read)| match read {
            true => finish((candidate, collected, centred)),
            false => Statistics::Unknown,
        })
        .collect())
}

/// How much what enters a candidate varies; of a table, which row is taken.
fn variation(candidate: &Candidate) -> Variation {
    Variation::new(if candidate.is_table() { 1 } else { candidate.inputs })
}

/// Whether the activations that enter each candidate say nothing about it.
pub(crate) fn silent(
    model: &Model,
    candidates: &[&Candidate],
    data: &Dataset,
    block: usize,
) -> Result<Vec<Statistics>, Error> {
    let mut found: Vec<Option<Silent>> = candidates.iter().map(|_| None).collect();
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let glance: Vec<usize> = (0..GLANCE.next_multiple_of(block.max(1)).min(data.samples())).collect();
    for part in [&data.select(&glance)?, data] {
        let chosen: Vec<&Candidate> = left.iter().map(|&at| candidates[at]).collect();
        let mut variations: Vec<Variation> = chosen.iter().map(|c| variation(c)).collect();
        let read = for_each_row(model, &chosen, part, &mut variations)?;
        for ((at, variation), read) in left.iter().zip(&variations).zip(read) {
            found[*at] = variation.silent().filter(|_| read);
        }
        left.retain(|&at| found[at].is_some());
        if left.is_empty() {
            break;
        }
    }
    Ok(found.into_iter().map(|silent| silent.map_or(Statistics::Unknown, Statistics::Silent)).collect())
}

/// Runs `data` through `model` and hands on the rows that enter each candidate; tells of which they could be read.
fn for_each_row(
    model: &Model,
    candidates: &[&Candidate],
    data: &Dataset,
    collector: &mut impl Collector,
) -> Result<Vec<bool>, Error> {
    let mut values: Vec<String> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut taps = Vec::new();
    // A node that no output needs is not run, so what enters it may have any shape: there are no statistics then.
    let mut read = vec![false; candidates.len()];
    for (position, candidate) in candidates.iter().enumerate() {
        for usage in &candidate.uses {
            let Some((name, unfold)) = activation(model, candidate, usage) else { continue };
            let value = *numbers.entry(name).or_insert_with_key(|name| {
                values.push(name.clone());
                values.len() - 1
            });
            taps.push(Tap { candidate: position, value, unfold });
            read[position] = true;
        }
    }
    let tapped = tapped_model(model, Patch::default(), &values)?;
    let runner = Loaded::new(tapped.bytes)?.into_runner(data)?;
    let mut rows = Vec::new();
    runner.for_each(data, |_, outputs| {
        for tap in &taps {
            let Some(tensor) = outputs.get(tapped.positions[tap.value]) else { continue };
            let activation = Output::from_tensor(tensor)?;
            let Some(unfold) = &tap.unfold else {
                // Counted from 1, since the first row is one like any other.
                let rows: Vec<f32> = activation.values.iter().map(|row| row + 1.0).collect();
                collector.add(tap.candidate, &rows);
                continue;
            };
            let features = candidates[tap.candidate].inputs;
            if !collector.wants(tap.candidate, unfold.count_rows(&activation, features)) {
                continue;
            }
            rows.clear();
            match unfold.append_rows(&activation, features, &mut rows) {
                Ok(()) => collector.add(tap.candidate, &rows),
                Err(adntn_fit::Error::Shape(problem)) => {
                    tracing::debug!(layer = candidates[tap.candidate].layer, problem, "no statistics");
                    read[tap.candidate] = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(read)
}

/// A serialised model with extra outputs, and where each of them is among the outputs.
pub(crate) struct Tapped {
    pub(crate) bytes: bytes::Bytes,
    pub(crate) positions: Vec<usize>,
}

/// `model` with `patch` applied and `values` made graph outputs (those that are not already).
pub(crate) fn tapped_model(model: &Model, mut patch: Patch, values: &[String]) -> Result<Tapped, Error> {
    let mut outputs: BTreeMap<&str, usize> =
        model.graph().output.iter().enumerate().map(|(i, o)| (o.name(), i)).collect();
    let mut positions = Vec::new();
    // A model may list an output twice, so there may be more of them than names.
    let mut next = model.graph().output.len();
    for value in values {
        let position = *outputs.entry(value).or_insert(next);
        if position == next {
            next += 1;
            // An input that becomes an output too would lose its type if this declared none.
            let input = model.graph().input.iter().find(|input| input.name() == value);
            let r#type = input.and_then(|input| input.r#type.clone());
            patch.add_outputs.push(pb::ValueInfoProto { name: Some(value.clone()), r#type, ..Default::default() });
        }
        positions.push(position);
    }
    Ok(Tapped { bytes: model.apply(&patch)?.to_bytes(), positions })
}

/// The value a layer multiplies its weight with, and how rows are read off it; `None` for forms without statistics.
fn activation(model: &Model, candidate: &Candidate, usage: &DenseUse) -> Option<(String, Option<Unfold>)> {
    let node = model.graph().node.get(usage.node)?;
    if usage.kind == LayerKind::Gather {
        // Where layers multiply with it as well, their activations are what is known.
        return node.input.get(1).filter(|_| candidate.is_table()).map(|rows| (rows.clone(), None));
    }
    let name = node.input.get(if usage.input == 0 { 1 } else { 0 })?.clone();
    let integer = |key: &str| node.attribute.iter().find(|a| a.name() == key).map_or(0, pb::AttributeProto::i);
    let unfold = match usage.kind {
        LayerKind::Conv => Unfold::Patches(patches(node, candidate)?),
        LayerKind::MatMul if usage.input == 0 => Unfold::LastButOneAxis,
        LayerKind::MatMul => Unfold::LastAxis,
        LayerKind::Gemm => {
            // The activation's features are its last axis unless it is the transposed operand A, or the plain operand B.
            let transposed = if usage.input == 1 { integer("transA") != 0 } else { integer("transB") == 0 };
            if transposed { Unfold::LastButOneAxis } else { Unfold::LastAxis }
        }
        LayerKind::Gather => return None,
    };
    debug_assert!(matches!(usage.stored, Stored::OutputInput | Stored::InputOutput));
    Some((name, Some(unfold)))
}

fn patches(node: &pb::NodeProto, candidate: &Candidate) -> Option<Patches> {
    let attribute = |key: &str| node.attribute.iter().find(|a| a.name() == key);
    let sizes = |key: &str| -> Option<Vec<usize>> {
        attribute(key).and_then(|a| a.ints.iter().map(|&v| usize::try_from(v).ok()).collect())
    };
    let kernel: Vec<usize> =
        candidate.dims.get(2..)?.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let rank = kernel.len();
    let auto = attribute("auto_pad").map(|a| String::from_utf8_lossy(a.s()).into_owned());
    let padding = match auto.as_deref() {
        Some("SAME_UPPER") => Padding::Same { upper: true },
        Some("SAME_LOWER") => Padding::Same { upper: false },
        Some("VALID") => Padding::Explicit(vec![(0, 0); rank]),
        _ => {
            let pads = sizes("pads").unwrap_or_else(|| vec![0; 2 * rank]);
            if pads.len() != 2 * rank {
                return None;
            }
            Padding::Explicit((0..rank).map(|d| (pads[d], pads[rank + d])).collect())
        }
    };
    Some(Patches {
        kernel,
        strides: sizes("strides").unwrap_or_else(|| vec![1; rank]),
        dilations: sizes("dilations").unwrap_or_else(|| vec![1; rank]),
        padding,
    })
}
