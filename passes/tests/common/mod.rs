//! What the integration tests share.
#![allow(dead_code)]

pub mod interpreter;

use std::path::PathBuf;

use adntn_networks::Generator;
use adntn_onnx::Model;
use adntn_passes::{Candidate, Stored};

/// Folder of the tiny models.
pub fn tiny() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../onnx-fixtures/tiny"))
}

/// The O×I matrix in the order in which `candidate` is stored.
pub fn stored(candidate: &Candidate, w: &[f32]) -> Vec<f32> {
    let (o, i) = (candidate.outputs, candidate.inputs);
    match candidate.stored {
        Stored::OutputInput => w.to_vec(),
        Stored::InputOutput => (0..o * i).map(|k| w[(k % o) * i + k / o]).collect(),
    }
}

/// Checks that every reader of `candidate` now reads the O×I matrix `w`.
pub fn assert_weight(edited: &Model, original: &Model, candidate: &Candidate, w: &[f32]) {
    assert_weight_within(edited, original, candidate, w, 1e-5);
}

/// Checks that every reader of `candidate` now reads the weight of `generator`. Where its terms cancel, float32 loses digits in
/// whatever order they are added, so the error allowed is a multiple of that of the generator itself in float32.
pub fn assert_generator(edited: &Model, original: &Model, candidate: &Candidate, generator: &Generator) {
    let single = generator.matrix();
    let exact: Vec<f32> = generator.cast::<f64>().matrix().iter().map(|&w| w as f32).collect();
    let limit = (1e-5 + 8.0 * relative_error(&single, &exact)).min(1e-2);
    assert_weight_within(edited, original, candidate, &single, limit);
}

fn assert_weight_within(edited: &Model, original: &Model, candidate: &Candidate, w: &[f32], limit: f64) {
    let expected = stored(candidate, w);
    let dims: Vec<usize> = candidate.dims.iter().map(|&d| d as usize).collect();
    for u in &candidate.uses {
        let output = &original.graph().node[u.node].output[0];
        let reader = edited.graph().node.iter().find(|n| n.output.contains(output)).unwrap();
        let (shape, values) = interpreter::evaluate(edited, &reader.input[u.input]);
        assert_eq!(shape, dims, "{}", candidate.layer);
        let error = relative_error(&values, &expected);
        assert!(error < limit, "{}: relative error {error}", candidate.layer);
    }
}

/// ‖a − b‖ / ‖b‖.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(x, y)| square(f64::from(x - y))).sum();
    let size: f64 = b.iter().map(|&y| square(f64::from(y))).sum();
    (difference / size.max(f64::MIN_POSITIVE)).sqrt()
}
