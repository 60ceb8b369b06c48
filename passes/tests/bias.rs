//! Shifting a layer's bias.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use adntn_onnx::Model;
use adntn_passes::{Error, find_candidates, has_own_bias, shift_bias};

fn open(name: &str) -> Model {
    Model::open(&common::tiny().join(format!("{name}.onnx"))).unwrap()
}

/// The bias of the only layer of a tiny model before and after a shift by one.
fn shifted(name: &str, bias: &str) -> (Vec<f32>, Vec<f32>) {
    let model = open(name);
    let candidate = &find_candidates(&model).candidates[0];
    assert!(has_own_bias(&model, candidate));
    let patch = shift_bias(&model, candidate, &vec![1.0; candidate.outputs]).unwrap();
    let edited = model.apply(&patch).unwrap().model().unwrap();
    (common::interpreter::evaluate(&model, bias).1, common::interpreter::evaluate(&edited, bias).1)
}

#[test]
fn a_shift_counts_in_units_of_the_product() {
    // Gemm computes alpha·x·W + beta·b: with alpha = 0.5 and beta = 2 a product larger by 1 is a bias larger by 0.25.
    for (model, bias, step) in
        [("gemm-initializer", "head.fc.bias", 1.0), ("conv2d", "features.0.bias", 1.0), ("gemm-alpha-beta", "b", 0.25)]
    {
        let (before, after) = shifted(model, bias);
        assert_eq!(after, before.iter().map(|b| b + step).collect::<Vec<f32>>(), "{model}");
    }
}

#[test]
fn a_layer_without_a_bias_of_its_own_is_refused() {
    for name in ["matmul-right", "shared", "gemm-left", "gemm-transposed-activation"] {
        let model = open(name);
        let candidate = &find_candidates(&model).candidates[0];
        assert!(!has_own_bias(&model, candidate), "{name}");
        assert!(shift_bias(&model, candidate, &vec![1.0; candidate.outputs]).is_err(), "{name}");
    }
}

#[test]
fn a_shift_of_the_wrong_length_or_not_finite_is_refused() {
    let model = open("gemm-initializer");
    let candidate = &find_candidates(&model).candidates[0];
    for shift in [vec![1.0; 47], vec![f32::NAN; 48]] {
        let error = shift_bias(&model, candidate, &shift).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    }
}
