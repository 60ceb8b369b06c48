//! Filling in the report's rows.

use std::collections::BTreeSet;

use adntn_families::Replacement;
use adntn_fit::runner::Likeness;
use adntn_networks::{Arrangement as _, GeneratorSpec, Side};
use adntn_onnx::{Model, Patch, pb};
use adntn_passes::{Candidate, SkipReason, Survey, Unused, takes_digits};

use crate::error::Error;
use crate::layer::{Key, Layer, Size};
use crate::menu::{self, Family};
use crate::options::Options;
use crate::report::{GeneratorReport, LayerReport, StopReason};
use crate::select::{Choice, Selection};
use crate::verify::LayerEffect;

/// A layer that stays dense.
pub(crate) fn kept(candidate: &Candidate, reason: &str) -> LayerReport {
    let parameters = candidate.elements() as u64;
    LayerReport {
        layer: candidate.layer.clone(),
        op: candidate.kind.to_string(),
        weight: candidate.weight.clone(),
        shape: candidate.dims.clone(),
        replaced: false,
        reason: Some(reason.into()),
        form: None,
        generator: None,
        parameters_before: parameters,
        parameters_after: parameters,
        ratio: 1.0,
        bytes_before: candidate.bytes,
        bytes_after: candidate.bytes,
        weight_error: None,
        output_error: None,
        output_sqnr_db: None,
        top1_agreement: None,
        possible_ratios: None,
        network: None,
    }
}

/// A layer in a dry run, with the range of ratios of what is on offer under the layer's own `options`.
pub(crate) fn possible(model: &Model, candidate: &Candidate, options: &Options) -> LayerReport {
    let size = Size::of(model, candidate);
    let families = menu::families(candidate, options, size.unit == 1.0 && takes_digits(model));
    let no_network = || if families.is_empty() { menu::obstacle(candidate, options) } else { None };
    if let Some(reason) = size.obstacle.or_else(no_network) {
        return kept(candidate, &reason);
    }
    let core_bytes = options.core_type.bytes();
    let ends = |family: &Family| {
        let steps = family.steps();
        let bytes = |step: Option<&usize>| family.least_bytes(*step?, candidate, core_bytes);
        bytes(steps.first()).zip(bytes(steps.last()))
    };
    let least = families.iter().filter_map(ends).map(|(least, _)| least).min();
    let most = families.iter().filter_map(ends).map(|(_, most)| most).filter(|&most| most < candidate.bytes).max();
    let bytes = candidate.bytes as f64;
    let mut row = kept(candidate, "dry run");
    row.possible_ratios = least.zip(most).map(|(least, most)| (bytes / most as f64, bytes / least as f64));
    row.network = menu::middle(&menu::networks(candidate, options)).map(|(family, bond)| family.spec(bond));
    row
}

/// What ended a compilation with this outcome; `search` is what ended its search.
pub(crate) fn stopped(layers: &[Layer<'_>], choice: &Choice, search: &Selection) -> StopReason {
    if layers.is_empty() {
        return StopReason::NothingConsidered;
    }
    let none = choice.iter().all(Option::is_none);
    if none && layers.iter().all(|layer| layer.obstacle().is_some()) {
        let no_gain = |layer: &Layer<'_>| layer.obstacle().is_some_and(|reason| reason.starts_with("no gain"));
        return if layers.iter().all(no_gain) { StopReason::NoGain } else { StopReason::Unsuitable };
    }
    if search.stopped != StopReason::Smallest {
        return search.stopped;
    }
    if search.accepted.last() != Some(choice) {
        // Smaller ones were found, and failed on the held-out samples.
        return StopReason::Tolerance;
    }
    let smallest = |(layer, key): (&Layer<'_>, &Option<Key>)| match key {
        Some(key) => layer.is_smallest(*key),
        None => layer.obstacle().is_some(),
    };
    if layers.iter().zip(choice).all(smallest) { StopReason::Smallest } else { StopReason::Coarsest }
}

/// A layer after the search; `options` are its own.
pub(crate) fn layer(
    layer: &Layer<'_>,
    key: Option<Key>,
    effect: Option<LayerEffect>,
    options: &Options,
    selection: &Selection,
) -> Result<(usize, LayerReport), Error> {
    let candidate = layer.candidate;
    let Some(key) = key else {
        let reason = if let Some(reason) = layer.obstacle() {
            reason
        } else if selection.stopped == StopReason::Given {
            let times = options.training.ratio;
            match layer.is_larger_in_file() {
                true => format!("no generator that is {times} times smaller takes fewer bytes in the file"),
                false => format!("no generator is {times} times smaller than this weight or more"),
            }
        } else if selection.stopped == StopReason::Unmeasured {
            format!("nothing smaller is within {:.2}% of this weight", options.tolerance * 100.0)
        } else if selection.accepted.iter().all(|c| c.iter().all(Option::is_none)) {
            format!("nothing smaller keeps the model within {:.2}% of its quality", options.tolerance * 100.0)
        } else {
            "kept dense so that the model stays within the tolerance".to_owned()
        };
        return Ok((candidate.id, kept(candidate, &reason)));
    };
    let Some(fitted) = layer.fitted(key) else {
        return Err(Error::Internal(format!("layer {} was chosen but not fitted", candidate.layer)));
    };
    let after = fitted.replacement.parameter_count() as u64;
    let mut row = kept(candidate, "");
    row.replaced = true;
    row.reason = None;
    let trained = if layer.is_trained(key) { ", trained through the network" } else { "" };
    row.form = Some(format!("{}{trained}", form(&fitted.replacement)));
    if let (Replacement::Network(generator), Family::Networks(family)) = (&fitted.replacement, &layer.families[key.0]) {
        let spec = generator.spec();
        let levels = generator.shape().levels.clone();
        row.generator = Some(GeneratorReport {
            topology: spec.topology.to_string(),
            layout: family.layout.name.into(),
            kernel_legs: family.layout.kernel_legs.map(|place| place.to_string()),
            legs: spec.layout.to_string(),
            output_legs: side(spec, Side::Output),
            input_legs: side(spec, Side::Input),
            bond: levels[..levels.len() - 1].iter().flatten().copied().max().unwrap_or(key.1).min(key.1),
            levels,
            activation: spec.activation_at(0).to_string(),
            steps: fitted.steps,
            fit_errors: (fitted.start_error, fitted.error),
            equivalent: spec.equivalent().ok().flatten().map(|e| e.to_string()),
        });
        row.network = Some(spec.clone());
    }
    row.parameters_after = after;
    row.ratio = row.parameters_before as f64 / after.max(1) as f64;
    row.bytes_after = layer.bytes(key);
    row.weight_error = layer.weight_error(key)?;
    if let Some(effect) = effect {
        row.output_error = Some(effect.output_error);
        row.output_sqnr_db = Some(effect.sqnr_db);
        row.top1_agreement = effect.top1_agreement;
    }
    Ok((candidate.id, row))
}

/// What a replacement is, in a few words.
fn form(replacement: &Replacement) -> String {
    match replacement {
        Replacement::Network(generator) => generator.spec().topology.title().into(),
        Replacement::Digits(weight) => weight.digits().to_string(),
        Replacement::LowRank(factors) => format!("low rank r={}, {}", factors.rank(), factors.inner.digits()),
        Replacement::Halves(_) => "float16".into(),
    }
}

/// A sentence about initializers that are left out, if there are any.
pub(crate) fn unused(unused: &Unused) -> Option<String> {
    const SHOWN: usize = 3;
    let names: Vec<String> = unused.names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = match unused.names.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!("Nothing reads {}{more} ({} bytes): left out of the output.", names.join(", "), unused.bytes);
    (!names.is_empty()).then_some(text)
}

/// Dimensions of the legs of one side, the slowest varying first.
fn side(spec: &GeneratorSpec, side: Side) -> Vec<usize> {
    spec.layout.side(side).iter().map(|leg| leg.dim).collect()
}

/// Elements of all floating-point initializers and constants of the main graph.
pub(crate) fn parameters(model: &Model) -> u64 {
    let graph = model.graph();
    let constants =
        graph.node.iter().filter(|n| n.op_type() == "Constant").flat_map(|n| &n.attribute).filter_map(|a| a.t.as_ref());
    graph.initializer.iter().chain(constants).filter(|t| is_floating(t)).map(elements).sum()
}

fn is_floating(tensor: &pb::TensorProto) -> bool {
    use pb::tensor_proto::DataType;
    matches!(
        DataType::try_from(tensor.data_type()),
        Ok(DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16)
    )
}

fn elements(tensor: &pb::TensorProto) -> u64 {
    tensor.dims.iter().map(|&d| u64::try_from(d).unwrap_or(0)).product()
}

/// Parameters of a model whose weights are replaced as `rows` say: digits are parameters, their scales and the numbers that unpack
/// them are not. An initializer whose value a node makes from now on has as many as before.
pub(crate) fn parameters_after(model: &Model, patch: &Patch, rows: &[LayerReport]) -> u64 {
    let made: BTreeSet<&str> =
        patch.insert_nodes.iter().flat_map(|(_, node)| &node.output).map(String::as_str).collect();
    let is_gone = |tensor: &&pb::TensorProto| {
        patch.remove_initializers.contains(tensor.name()) && !made.contains(tensor.name()) && is_floating(tensor)
    };
    let gone: u64 = model.graph().initializer.iter().filter(is_gone).map(elements).sum();
    let replaced = rows.iter().filter(|row| row.replaced);
    let (before, after) = replaced.fold((0, 0), |(b, a), row| (b + row.parameters_before, a + row.parameters_after));
    // What is gone are the replaced weights, and what nothing read.
    (parameters(model) + after).saturating_sub(gone.max(before))
}

/// A note on an output that was not measured itself.
pub(crate) fn stand_in(stand_in: &adntn_fit::runner::StandIn) -> Option<String> {
    let adntn_fit::runner::StandIn { output, value, operator, likeness } = stand_in;
    let of_it = match likeness {
        Likeness::Same => "",
        Likeness::Unknown => " What becomes of it there is not known, so nothing is shown of this output.",
        // Told with the outputs that are not compared.
        Likeness::Another => return None,
    };
    Some(format!(
        "Output '{output}' comes from {operator}, which cannot be run here: '{value}', which feeds it, was measured in its \
         place.{of_it}"
    ))
}

/// A note where an earlier compilation has replaced layers.
pub(crate) fn compiled_before(survey: &Survey) -> Option<String> {
    let before = survey.skipped.iter().filter(|skipped| matches!(skipped.reason, SkipReason::Generator)).count();
    let layers = if before == 1 { "layer was" } else { "layers were" };
    (before > 0).then(|| {
        format!(
            "{before} {layers} compiled before: losses are measured against this file, not against the first original."
        )
    })
}
