//! Measuring the written file against the original.

use adntn_fit::data::Dataset;
use adntn_fit::quality::{Comparison, Metric, accuracy, sqnr_db, wilson_interval};
use adntn_fit::runner::Output;
use adntn_onnx::{Model, Patch};

use crate::error::Error;
use crate::layer::Layer;
use crate::report::QualityReport;
use crate::select::{Choice, dense_patch};
use crate::trial::{Bench, Measured, run};

/// Weights with more elements in all are formed once and not in every run.
const FORMED_ANEW: usize = 4 << 20;
/// Relative difference of outputs that the order of float32 sums can make.
const ROUNDING: f64 = 1e-3;

/// Outputs of the written file. tract forms the weights anew in every run, so the runs go one by one: side by side they
/// would hold every weight several times. Where that would take minutes, the file is run on the few samples of `probe`; if its
/// outputs there are those of the model with the same weights as plain numbers, that model stands for it on the others.
pub(crate) fn outputs(
    emitted: &Model,
    model: &Model,
    layers: &[Layer<'_>],
    choice: &Choice,
    rest: Patch,
    bench: &Bench<'_>,
    probe: &Dataset,
) -> Result<Vec<Output>, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|e| Error::Internal(e.to_string()))?;
    let replaced = layers.iter().zip(choice).filter(|(_, key)| key.is_some());
    if replaced.map(|(layer, _)| layer.candidate.elements()).sum::<usize>() > FORMED_ANEW {
        let mut patch = dense_patch(layers, choice)?;
        patch.merge(rest);
        let of_file = pool.install(|| run(emitted, Patch::default(), probe, &[]))?;
        let of_numbers = run(model, patch.clone(), probe, &[])?;
        if Comparison::of(&of_numbers, &of_file).is_some_and(|c| c.relative_rms <= ROUNDING) {
            return run(model, patch, bench.data(), &[]);
        }
    }
    pool.install(|| run(emitted, Patch::default(), bench.data(), &[]))
}

/// Effect on the model of one replaced layer alone.
pub(crate) struct LayerEffect {
    pub(crate) output_error: f64,
    pub(crate) sqnr_db: f64,
    pub(crate) top1_agreement: Option<f64>,
}

/// Quality of `got` (the written file's outputs) against `reference` (the original's).
pub(crate) fn quality(
    reference: &[Output],
    got: &[Output],
    measured: &Measured,
    metric: Metric,
    labels: Option<&[i64]>,
    tolerance: f64,
) -> QualityReport {
    let comparison = &measured.comparison;
    if let (Metric::Accuracy, Some(labels)) = (metric, labels)
        && let (Some(before), Some(after)) = (accuracy(reference, labels), accuracy(got, labels))
    {
        let loss = (before - after).max(0.0);
        return QualityReport {
            metric,
            before,
            after,
            interval: Some(wilson_interval((after * labels.len() as f64).round() as usize, labels.len())),
            loss,
            within_tolerance: loss <= tolerance,
            relative_rms: comparison.relative_rms,
            accuracy_before: Some(before),
            accuracy_after: Some(after),
        };
    }
    let metric = if metric == Metric::Accuracy { Metric::for_outputs(reference) } else { metric };
    let (before, after, interval) = match (metric, comparison.top1) {
        (Metric::Top1Agreement, Some((same, all))) => {
            (1.0, same as f64 / all.max(1) as f64, Some(wilson_interval(same, all)))
        }
        _ => (0.0, comparison.relative_rms, None),
    };
    QualityReport {
        metric,
        before,
        after,
        interval,
        loss: measured.observed,
        within_tolerance: measured.observed <= tolerance,
        relative_rms: comparison.relative_rms,
        accuracy_before: labels.and_then(|l| accuracy(reference, l)),
        accuracy_after: labels.and_then(|l| accuracy(got, l)),
    }
}

/// The effect of each chosen generator alone: on its layer's output, and on the model's.
pub(crate) fn layer_effects(
    model: &Model,
    layers: &[Layer<'_>],
    choice: &Choice,
    data: &Dataset,
) -> Result<Vec<Option<LayerEffect>>, Error> {
    let taps: Vec<String> = layers
        .iter()
        .map(|layer| layer.candidate.uses.first().and_then(|u| model.graph().node.get(u.node)?.output.first().cloned()))
        .map(Option::unwrap_or_default)
        .collect();
    let chosen: Vec<usize> = (0..layers.len()).filter(|&i| choice[i].is_some() && !taps[i].is_empty()).collect();
    let wanted: Vec<String> = chosen.iter().map(|&i| taps[i].clone()).collect();
    if wanted.is_empty() {
        return Ok(layers.iter().map(|_| None).collect());
    }
    let own = model.graph().output.len();
    let original = run(model, Patch::default(), data, &wanted)?;
    let mut effects: Vec<Option<LayerEffect>> = layers.iter().map(|_| None).collect();
    for (slot, &index) in chosen.iter().enumerate() {
        let Some(key) = choice[index] else { continue };
        let patch = layers[index].dense_patch(key)?;
        let got = run(model, patch, data, std::slice::from_ref(&wanted[slot]))?;
        let of_layer = Comparison::of(&original[own + slot..=own + slot], &got[own..]);
        let of_model = Comparison::of(&original[..own], &got[..own]);
        let output_error = of_layer.map_or(f64::MAX, |c| c.relative_rms);
        effects[index] = Some(LayerEffect {
            output_error,
            sqnr_db: sqnr_db(output_error),
            top1_agreement: of_model.and_then(|c| c.top1).map(|(same, all)| same as f64 / all.max(1) as f64),
        });
    }
    Ok(effects)
}
