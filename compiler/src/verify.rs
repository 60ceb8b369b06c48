//! Measuring the written file against the original.

use adntn_fit::data::Dataset;
use adntn_fit::quality::{relative_rms, sqnr_db};
use adntn_fit::runner::Output;
use adntn_onnx::{Model, Patch};

use crate::error::Error;
use crate::layer::Layer;
use crate::select::{Choice, dense_patch};
use crate::trial::{Bench, run};

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
    // Where the system gives no thread more, they run side by side.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok();
    let one_by_one = |data: &Dataset| {
        let run = || run(emitted, Patch::default(), data, &[]);
        pool.as_ref().map_or_else(run, |pool| pool.install(run))
    };
    let replaced = layers.iter().zip(choice).filter(|(_, key)| key.is_some());
    if replaced.map(|(layer, _)| layer.candidate.elements()).sum::<usize>() > FORMED_ANEW {
        let mut patch = rest;
        patch.merge(dense_patch(layers, choice)?);
        let of_file = one_by_one(probe)?;
        let of_numbers = run(model, patch.clone(), probe, &[])?;
        if relative_rms(&of_numbers, &of_file).is_some_and(|error| error <= ROUNDING) {
            return run(model, patch, bench.data(), &[]);
        }
    }
    one_by_one(bench.data())
}

/// Effect on the model of one replaced layer alone.
pub(crate) struct LayerEffect {
    pub(crate) output_error: f64,
    pub(crate) sqnr_db: f64,
    pub(crate) top1_agreement: Option<f64>,
}

/// The effect of each chosen generator alone: on its layer's output, and on the model's.
pub(crate) fn layer_effects(
    model: &Model,
    layers: &[Layer<'_>],
    choice: &Choice,
    bench: &Bench<'_>,
) -> Result<Vec<Option<LayerEffect>>, Error> {
    let data = bench.data();
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
        let output_error = relative_rms(&original[own + slot..=own + slot], &got[own..]).unwrap_or(f64::MAX);
        let of_model = bench.judge().compare(&got[..own]);
        effects[index] = Some(LayerEffect {
            output_error,
            sqnr_db: sqnr_db(output_error),
            top1_agreement: of_model.outputs.iter().find_map(|c| c.figures.agreement),
        });
    }
    Ok(effects)
}
