//! What the integration tests share.
#![allow(dead_code)]

pub mod interpreter;

use std::path::PathBuf;

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
    let expected = stored(candidate, w);
    let dims: Vec<usize> = candidate.dims.iter().map(|&d| d as usize).collect();
    for u in &candidate.uses {
        let output = &original.graph().node[u.node].output[0];
        let reader = edited.graph().node.iter().find(|n| n.output.contains(output)).unwrap();
        let (shape, values) = interpreter::evaluate(edited, &reader.input[u.input]);
        assert_eq!(shape, dims, "{}", candidate.layer);
        let error = relative_error(&values, &expected);
        assert!(error < 1e-5, "{}: relative error {error}", candidate.layer);
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
