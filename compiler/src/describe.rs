//! Filling in the report's rows.

use adntn_networks::{GeneratorSpec, Side};
use adntn_onnx::{Model, pb};
use adntn_passes::Candidate;

use crate::error::Error;
use crate::layer::{Key, Layer};
use crate::menu::{Family, middle};
use crate::options::Options;
use crate::report::{GeneratorReport, LayerReport, StopReason};
use crate::select::Selection;
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

/// A layer in a dry run, with the range of ratios its generators span.
pub(crate) fn possible(candidate: &Candidate, families: &[Family]) -> LayerReport {
    let ranges: Vec<(usize, usize)> = families.iter().filter_map(|f| f.parameter_range()).collect();
    let least = ranges.iter().map(|r| r.0).min();
    let most = ranges.iter().map(|r| r.1).max();
    let elements = candidate.elements() as f64;
    let mut row = kept(candidate, "dry run");
    match (least, most) {
        (Some(least), Some(most)) => row.possible_ratios = Some((elements / most as f64, elements / least as f64)),
        _ => row.reason = Some("no gain: no generator is smaller than this weight".into()),
    }
    row.network = middle(families).map(|(family, bond)| family.spec(bond));
    row
}

/// A layer after the search.
pub(crate) fn layer(
    layer: &Layer<'_>,
    key: Option<Key>,
    effect: Option<LayerEffect>,
    options: &Options,
    selection: &Selection,
) -> Result<(usize, LayerReport), Error> {
    let candidate = layer.candidate;
    let Some(key) = key else {
        let reason = if let Some(reason) = &layer.reason {
            reason.clone()
        } else if !layer.has_gain() {
            "no gain: no generator is smaller than this weight".to_owned()
        } else if selection.stopped == StopReason::Given {
            format!("no generator is {} times smaller than this weight or more", options.training.ratio)
        } else if selection.accepted.iter().all(|c| c.iter().all(Option::is_none)) {
            format!("no generator keeps the model within {:.2}% of its quality", options.tolerance * 100.0)
        } else {
            "kept dense so that the model stays within the tolerance".to_owned()
        };
        return Ok((candidate.id, kept(candidate, &reason)));
    };
    let family = &layer.families[key.0];
    let Some(fitted) = layer.fitted(key) else {
        return Err(Error::Internal(format!("layer {} was chosen but not fitted", candidate.layer)));
    };
    let after = fitted.generator.parameter_count() as u64;
    let spec = fitted.generator.spec();
    let levels = fitted.generator.shape().levels.clone();
    let mut row = kept(candidate, "");
    row.replaced = true;
    row.reason = None;
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
    });
    row.network = Some(spec.clone());
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

/// Dimensions of the legs of one side, the slowest varying first.
fn side(spec: &GeneratorSpec, side: Side) -> Vec<usize> {
    spec.layout.side(side).iter().map(|leg| leg.dim).collect()
}

/// Elements of all floating-point initializers and constants of the main graph.
pub(crate) fn parameters(model: &Model) -> u64 {
    use pb::tensor_proto::DataType;
    let floating = |t: &pb::TensorProto| {
        matches!(
            DataType::try_from(t.data_type()),
            Ok(DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16)
        )
    };
    let elements = |t: &pb::TensorProto| t.dims.iter().map(|&d| u64::try_from(d).unwrap_or(0)).product::<u64>();
    let graph = model.graph();
    let constants =
        graph.node.iter().filter(|n| n.op_type() == "Constant").flat_map(|n| &n.attribute).filter_map(|a| a.t.as_ref());
    graph.initializer.iter().chain(constants).filter(|t| floating(t)).map(elements).sum()
}

/// A note on an output that was not measured itself.
pub(crate) fn stand_in(stand_in: &adntn_fit::runner::StandIn) -> String {
    let adntn_fit::runner::StandIn { output, value, operator } = stand_in;
    format!(
        "Output '{output}' comes from {operator}, which cannot be run here: '{value}', which feeds it, was measured in its place."
    )
}
