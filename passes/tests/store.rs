//! What stays plain beside replaced weights: rounded without harm, stored without loss, under its own name.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use adntn_families::Digits;
use adntn_onnx::{Model, Patch, pb};
use adntn_passes::{Rewrite, Rounding, kept_in_half, replace_values, round_plain};
use pb::tensor_proto::DataType;
use proptest::prelude::*;
use prost::Message as _;

/// A weight with its bias, a batch normalisation and a further product, each named after what it is.
struct Layers {
    outputs: usize,
    bias: Vec<f32>,
    variance: Vec<f32>,
    opset: i64,
    /// Initializers that `graph.input` lists.
    listed: Vec<&'static str>,
}

impl Layers {
    fn of(outputs: usize) -> Self {
        let values = |seed: f32| (0..outputs).map(|k| (k as f32 * 0.7 + seed).sin()).collect();
        Layers { outputs, bias: values(0.3), variance: vec![1.0; outputs], opset: 17, listed: Vec::new() }
    }

    fn model(&self) -> Model {
        let n = self.outputs;
        let mut graph = pb::GraphProto { name: Some("g".to_owned()), ..Default::default() };
        let named = |name: &str| pb::ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
        graph.input = [&["x"][..], &self.listed].concat().into_iter().map(named).collect();
        let waves = |count: usize| (0..count).map(|k| (k as f32 * 0.37 + 0.2).sin()).collect::<Vec<f32>>();
        for (name, dims, values) in [
            ("w", vec![n, 4], waves(4 * n)),
            ("b", vec![n], self.bias.clone()),
            ("scale", vec![n], waves(n)),
            ("shift", vec![n], waves(n)),
            ("mean", vec![n], waves(n)),
            ("variance", vec![n], self.variance.clone()),
            ("v", vec![n, 3], waves(3 * n)),
        ] {
            graph.initializer.push(pb::TensorProto {
                name: Some(name.to_owned()),
                data_type: Some(DataType::Float as i32),
                dims: dims.iter().map(|&d| d as i64).collect(),
                raw_data: Some(values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()),
                ..Default::default()
            });
        }
        let transposed = pb::AttributeProto {
            name: Some("transB".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
            i: Some(1),
            ..Default::default()
        };
        for (op, inputs, output, attribute) in [
            ("Gemm", &["x", "w", "b"][..], "h", vec![transposed]),
            ("BatchNormalization", &["h", "scale", "shift", "mean", "variance"], "i", Vec::new()),
            ("MatMul", &["i", "v"], "y", Vec::new()),
        ] {
            graph.node.push(pb::NodeProto {
                op_type: Some(op.to_owned()),
                input: inputs.iter().map(|&name| name.to_owned()).collect(),
                output: vec![output.to_owned()],
                attribute,
                ..Default::default()
            });
        }
        graph.output.push(named("y"));
        let model = pb::ModelProto {
            ir_version: Some(8),
            opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(self.opset) }],
            graph: Some(graph),
            ..Default::default()
        };
        Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
    }
}

fn written(patch: &Patch, name: &str) -> Vec<f32> {
    let raw = patch.replace_initializers[name].raw_data.as_ref().unwrap();
    raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Applies `patch` as a rewrite; every value must come out as the patch has it, and nothing else may change.
fn stored(model: &Model, patch: &Patch) -> Model {
    let edited = model.apply(&Rewrite::from(patch.clone()).into_patch(model)).unwrap();
    let edited = edited.model().unwrap();
    for tensor in &model.graph().initializer {
        let wanted = match patch.replace_initializers.contains_key(tensor.name()) {
            true => written(patch, tensor.name()),
            false => model.floats(tensor).unwrap().into_owned(),
        };
        let (shape, values) = common::interpreter::evaluate(&edited, tensor.name());
        assert_eq!(shape, tensor.dims.iter().map(|&d| d as usize).collect::<Vec<_>>(), "{}", tensor.name());
        assert_eq!(values, wanted, "{}", tensor.name());
    }
    edited
}

fn kept(model: &Model) -> Patch {
    kept_in_half(model, &BTreeSet::from(["w".to_owned()])).unwrap()
}

fn size(model: &Model) -> usize {
    model.apply(&Patch::default()).unwrap().len() as usize
}

#[test]
fn what_is_kept_takes_half_the_bytes_and_nothing_else_changes() {
    for opset in [7, 13, 17] {
        let model = Layers { opset, ..Layers::of(96) }.model();
        let patch = kept(&model);
        let names: Vec<&str> = patch.replace_initializers.keys().map(String::as_str).collect();
        assert_eq!(names, ["b", "mean", "scale", "shift", "v", "variance"]);
        let edited = stored(&model, &patch);
        let ops: Vec<&str> = edited.graph().node.iter().map(|n| n.op_type()).collect();
        // Vectors share a Cast, the matrix has its own.
        assert_eq!(ops, ["Cast", "Split", "Gemm", "BatchNormalization", "Cast", "MatMul"]);
        assert!(size(&model) - size(&edited) > 2 * (5 * 96 + 3 * 96) - 150);
        // Nodes that were there before read what they read.
        assert_eq!(edited.graph().node[2], model.graph().node[0]);
    }
}

#[test]
fn few_numbers_stay_as_they_are() {
    let model = Layers::of(6).model();
    let edited = stored(&model, &kept(&model));
    assert!(size(&edited) <= size(&model), "{} instead of {}", size(&edited), size(&model));
    assert_eq!(edited.graph().node.len(), 3);
}

#[test]
fn what_float16_cannot_hold_is_not_rounded() {
    let mut layers = Layers::of(96);
    // A variance so small that float16 has few digits for it, beside a bias with the same value among larger ones.
    layers.variance[5] = 1e-6;
    layers.bias[5] = 1e-6;
    let model = layers.model();
    let patch = kept(&model);
    assert!(!patch.replace_initializers.contains_key("variance") && patch.replace_initializers.contains_key("b"));
    stored(&model, &patch);
    for bias in [1e5, 1e-7] {
        layers.bias = vec![bias; 96];
        assert!(!kept(&layers.model()).replace_initializers.contains_key("b"), "{bias}");
    }
}

#[test]
fn what_a_caller_may_name_or_was_left_alone_stays() {
    let model = Layers { listed: vec!["b"], ..Layers::of(96) }.model();
    let patch = kept(&model);
    assert!(!patch.replace_initializers.contains_key("b") && !patch.replace_initializers.contains_key("w"));
    // Not even where somebody else gives it new values.
    let patch = replace_values(&model, "b", &[0.5; 96]).unwrap();
    let edited = stored(&model, &patch);
    assert_eq!(edited.graph().node.len(), 3);
}

#[test]
fn a_long_bias_beside_digits_is_stored_in_digits() {
    let layers = Layers::of(640);
    let model = layers.model();
    for own in [Digits::Six, Digits::Bytes] {
        let mut patch = replace_values(&model, "b", &layers.bias).unwrap();
        patch.merge(replace_values(&model, "scale", &layers.bias).unwrap());
        round_plain(&model, &mut patch, Rounding::Beside(own));
        let error = common::relative_error(&written(&patch, "b"), &layers.bias);
        assert!(error > 1e-3 && error < 1e-2, "{own}: {error}");
        // Factors keep the digits of float16.
        assert!(common::relative_error(&written(&patch, "scale"), &layers.bias) < 1e-3);
        let edited = stored(&model, &patch);
        let saved = (size(&model) - size(&edited)) as f64;
        assert!(saved > 640.0 * (3.0 - 2.0 / 48.0 + 2.0) - 350.0, "{own}: {saved}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_is_rounded_is_stored_as_it_is(
        outputs in 1_usize..700,
        scale in -20_i32..12,
        digits in 0_usize..6,
        seed in any::<u32>(),
    ) {
        let mut layers = Layers::of(outputs);
        for (k, x) in layers.bias.iter_mut().enumerate() {
            *x = ((k as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) as f32 / 4e9 - 0.4) * 2_f32.powi(scale);
        }
        let model = layers.model();
        let mut patch = kept(&model);
        patch.merge(replace_values(&model, "b", &layers.bias).unwrap());
        let rounding = Digits::ALL.get(digits).map_or(Rounding::Half, |&own| Rounding::Beside(own));
        round_plain(&model, &mut patch, rounding);
        let edited = stored(&model, &patch);
        prop_assert!(size(&edited) <= size(&model));
    }
}
