//! What tract is given computes what ONNX Runtime computes, or is refused: single operators with the attributes that
//! runtimes disagree on (`onnx-fixtures/operators`).
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::path::Path;

use adntn_fit::data::{Dataset, Reading};
use adntn_fit::runner::Loaded;
use adntn_onnx::{Model, Patch};
use ndarray::{ArrayD, Ix1, OwnedRepr};
use ndarray_npy::{NpzReader, NpzWriter};

/// What became of a case.
#[derive(Debug, PartialEq)]
enum Fate {
    Right,
    /// Refused before anything is run, with the reason.
    Refused(String),
    /// tract refused.
    NotRun(String),
    Wrong(f32),
}

/// The same up to rounding, but for a rare half that is rounded the other way.
const CLOSE: f32 = 2e-4;

/// The same up to rounding to float16.
const HALF: f32 = 2e-3;

struct Case {
    name: String,
    model: Vec<u8>,
    input: ArrayD<f32>,
    outputs: Vec<ArrayD<f32>>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../onnx-fixtures/operators/cases.npz");
    let mut file = NpzReader::new(File::open(path).unwrap()).unwrap();
    let names = file.names().unwrap();
    let models: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("/model")).collect();
    let array = |file: &mut NpzReader<File>, name: &str| file.by_name::<OwnedRepr<f32>, ndarray::IxDyn>(name);
    models
        .into_iter()
        .map(|name| Case {
            name: name.to_owned(),
            model: file.by_name::<OwnedRepr<u8>, Ix1>(&format!("{name}/model")).unwrap().to_vec(),
            input: array(&mut file, &format!("{name}/x")).unwrap(),
            outputs: (0..).map_while(|at| array(&mut file, &format!("{name}/y{at}")).ok()).collect(),
        })
        .collect()
}

fn fate(case: &Case, folder: &Path) -> Fate {
    let model = Model::from_bytes(case.model.clone().into(), None).unwrap();
    if let Err(error) = adntn_fit::screen(&model) {
        return Fate::Refused(error.to_string());
    }
    let run = || -> Result<Option<Vec<Vec<f32>>>, adntn_fit::Error> {
        let loaded = Loaded::new(model.apply(&Patch::default()).unwrap().to_bytes())?;
        if !loaded.stand_ins().is_empty() {
            return Ok(None);
        }
        let path = folder.join("x.npz");
        let mut file = NpzWriter::new(File::create(&path).unwrap());
        file.add_array("x", &case.input).unwrap();
        file.finish().unwrap();
        let data = Dataset::load(&path, loaded.inputs(), &Reading::default())?;
        let outputs = loaded.into_runner(&data)?.outputs(&data)?;
        Ok(Some(outputs.into_iter().map(|output| output.values).collect()))
    };
    match run() {
        Ok(None) => Fate::NotRun("another value stands in for an output".into()),
        Err(error) => Fate::NotRun(error.to_string()),
        Ok(Some(outputs)) if outputs.len() != case.outputs.len() => Fate::Wrong(f32::INFINITY),
        Ok(Some(outputs)) => {
            let worst = outputs.iter().zip(&case.outputs).map(|(got, expected)| distance(got, expected));
            match worst.fold(0.0, f32::max) {
                worst if worst <= if case.name.ends_with("float16") { HALF } else { CLOSE } => Fate::Right,
                worst => Fate::Wrong(worst),
            }
        }
    }
}

/// The largest difference over the largest value.
fn distance(got: &[f32], expected: &ArrayD<f32>) -> f32 {
    if got.len() != expected.len() {
        return f32::INFINITY;
    }
    let scale = expected.iter().fold(1e-6_f32, |most, value| most.max(value.abs()));
    got.iter().zip(expected).fold(0.0, |most, (a, b)| f32::max(most, (a - b).abs() / scale))
}

/// Beginnings of the names of cases that are not run, since tract lacks the operator or says no.
const NOT_RUN: [&str; 33] = [
    // Two states that are not given, with all outputs.
    "LSTM forward",
    "LSTM reverse",
    "LSTM no bias",
    "LSTM default activations",
    "LSTM opset",
    "LSTM lengths",
    "GRU lengths",
    "RNN lengths",
    "ConvTranspose SAME_UPPER stride 4",
    "ConvTranspose SAME_UPPER output_padding",
    "LpPool",
    "MaxUnpool",
    "Upsample",
    "Cast BFLOAT16",
    "BatchNormalization opset 7 not spatial",
    "QuantizeLinear blocks",
    "DequantizeLinear weight by blocks",
    "Pad wrap",
    "GatherND negative",
    "ScatterND negative",
    "OneHot out of range",
    "Compress",
    "ReverseSequence",
    "Attention softcap",
    "Attention qk",
    "Attention mask of bools",
    "MultiHeadAttention bias",
    "FusedMatMul",
    "LinearRegressor SOFTMAX_ZERO",
    "LinearClassifier SOFTMAX_ZERO",
    "Scaler",
    "TreeEnsembleRegressor",
    "function",
];

/// Beginnings of the names of cases that tract would compute otherwise, and a word of the reason.
const REFUSED: [(&str, &str); 32] = [
    ("LSTM other activations", "activations"),
    ("GRU other activations", "activations"),
    ("RNN other activations", "activations"),
    ("LSTM clip", "clip"),
    ("GRU clip", "clip"),
    ("RNN clip", "clip"),
    ("LSTM input_forget", "input_forget"),
    ("ConvTranspose output_shape even", "output_shape"),
    ("ConvTranspose output_shape odd", "output_shape"),
    ("ConvTranspose output_shape SAME", "output_shape"),
    ("ConvTranspose output_shape and other pads", "output_shape"),
    ("MaxPool SAME_UPPER dilations", "dilations"),
    ("MaxPool indices SAME_UPPER dilations", "dilations"),
    ("AveragePool SAME_UPPER dilations", "dilations"),
    ("GlobalLpPool", "tract"),
    ("Resize nearest align_corners", "align_corners"),
    ("Resize linear align_corners", "align_corners"),
    ("Resize cubic align_corners", "align_corners"),
    ("Resize nearest half_pixel_symmetric", "half_pixel_symmetric"),
    ("Resize linear half_pixel_symmetric", "half_pixel_symmetric"),
    ("Resize cubic half_pixel_symmetric", "half_pixel_symmetric"),
    ("Resize cubic pytorch_half_pixel", "pytorch_half_pixel"),
    ("Resize opset 10 nearest by [0.6, 2]", "opset"),
    ("Resize crop", "tf_crop_and_resize"),
    ("BatchNormalization training", "training_mode"),
    ("QuantizeLinear output_dtype", "output_dtype"),
    ("Pad negative", "-1"),
    ("Einsum", "equation"),
    ("GridSample {'mode': 'bicubic', 'padding_mode'", "bicubic"),
    ("Attention past causal", "is_causal"),
    ("MultiHeadAttention unidirectional", "unidirectional"),
    ("Normalizer MAX", "MAX"),
];

/// Cases that begin like some of those above and are right.
const RIGHT: [&str; 13] = [
    "LSTM reverse state",
    "LSTM reverse in the middle, opset 9",
    "LSTM default activations bidirectional",
    "Resize nearest align_corners floor by [2, 2]",
    "Resize linear align_corners to [3, 4]",
    "Resize cubic pytorch_half_pixel floor by [2, 2]",
    "ConvTranspose output_shape and its pads",
    "GRU reverse state",
    "Celu 1.7 ",
    "Swish 0.5 ",
    "Cast UINT8",
    "Einsum ij,jk->ik",
    "Softmax opset 11 axis 0",
];

#[test]
fn what_tract_is_given_is_right_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    let mut unused: Vec<&str> = REFUSED.iter().map(|(beginning, _)| *beginning).chain(NOT_RUN).collect();
    for case in cases() {
        let fate = fate(&case, folder.path());
        let as_listed = match &fate {
            Fate::Right => true,
            Fate::Refused(reason) => {
                let listed = REFUSED.iter().find(|(beginning, _)| case.name.starts_with(beginning));
                listed.is_some_and(|(_, word)| reason.contains(word) && reason.contains("node"))
            }
            Fate::NotRun(_) => NOT_RUN.iter().any(|beginning| case.name.starts_with(beginning)),
            Fate::Wrong(_) => false,
        };
        if fate == Fate::Right {
            right.push(case.name.clone());
        } else {
            unused.retain(|beginning| !case.name.starts_with(beginning));
        }
        if !as_listed {
            wrong.push(format!("{}: {fate:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unused.is_empty(), "run after all: {unused:?}");
    let missing: Vec<_> = RIGHT.iter().filter(|&&name| !right.iter().any(|right| right == name)).collect();
    assert!(missing.is_empty(), "not run: {missing:?}");
}
