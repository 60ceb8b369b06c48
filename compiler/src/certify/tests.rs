use adntn_fit::data::{Dataset, Reading};
use adntn_fit::runner::Loaded;
use adntn_onnx::{Model, Patch, pb};
use adntn_passes::{FindOptions, find_candidates_with};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::layer::Key;
use crate::metric::Yardstick;
use crate::options::{CoreType, Options};

/// `x [N,16] → MatMul 16×16 → y`.
fn model() -> Model {
    let dim = |value| pb::tensor_shape_proto::Dimension { value: Some(value), ..Default::default() };
    let named = |name: &str| {
        use pb::tensor_shape_proto::dimension::Value;
        let shape = vec![dim(Value::DimParam("N".into())), dim(Value::DimValue(16))];
        let tensor = pb::type_proto::Tensor {
            elem_type: Some(pb::tensor_proto::DataType::Float as i32),
            shape: Some(pb::TensorShapeProto { dim: shape }),
        };
        let value = Some(pb::type_proto::Value::TensorType(tensor));
        pb::ValueInfoProto {
            name: Some(name.into()),
            r#type: Some(pb::TypeProto { value, ..Default::default() }),
            ..Default::default()
        }
    };
    let values =
        (0..256).map(|k| ((k / 16) as f32 * 0.9).sin() * ((k % 16) as f32 * 0.7).cos() + 0.1 * ((k * k) as f32).sin());
    let graph = pb::GraphProto {
        name: Some("g".into()),
        node: vec![pb::NodeProto {
            op_type: Some("MatMul".into()),
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            ..Default::default()
        }],
        initializer: vec![pb::TensorProto {
            name: Some("w".into()),
            dims: vec![16, 16],
            data_type: Some(pb::tensor_proto::DataType::Float as i32),
            raw_data: Some(values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()),
            ..Default::default()
        }],
        input: vec![named("x")],
        output: vec![named("y")],
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
}

fn samples(model: &Model, count: usize) -> Dataset {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let values: Vec<f32> = (0..count * 16).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    let path = dir.path().join("x.npy");
    ndarray_npy::write_npy(&path, &ndarray::Array2::from_shape_vec((count, 16), values).unwrap()).unwrap();
    let loaded = Loaded::new(model.apply(&Patch::default()).unwrap().to_bytes()).unwrap();
    Dataset::load(&path, loaded.inputs(), &Reading::default()).unwrap()
}

/// Calls `test` with a bench of `count` samples, the layer, and its choices from the safest to the boldest with their losses.
fn with_choices(count: usize, test: impl FnOnce(&Bench<'_>, &[Layer<'_>], &[Choice], &[f64])) {
    let model = model();
    let survey = find_candidates_with(&model, &FindOptions { min_elements: 1 });
    let mut options = Options::new("in.onnx", "out.onnx");
    options.core_type = CoreType::Float32;
    let mut layer = Layer::new(&model, &survey.candidates[0], None, false, &options);
    let family = layer.families.iter().position(|f| f.networks().is_some_and(|n| n.bonds.len() >= 3)).unwrap();
    let bonds = layer.families[family].steps().to_vec();
    let keys: Vec<Key> = [bonds[2], bonds[1], bonds[0]].map(|bond| (family, bond)).to_vec();
    keys.iter().for_each(|&key| layer.start(key).unwrap());
    let layers = [layer];
    let data = samples(&model, count);
    let reference = crate::trial::run(&model, Patch::default(), &data, &[]).unwrap();
    let yardstick = Yardstick::choose(&model, &reference, &[], count, false, &options).unwrap();
    let bench = Bench::new(&model, data, &yardstick).unwrap();
    let choices: Vec<Choice> = keys.into_iter().map(|key| vec![Some(key)]).collect();
    let loss = |choice| bench.compare(dense_patch(&layers, choice).unwrap()).unwrap().loss();
    let losses: Vec<f64> = choices.iter().map(loss).collect();
    assert!(losses[0] < losses[1] && losses[1] < losses[2], "{losses:?}");
    test(&bench, &layers, &choices, &losses);
}

#[test]
fn the_last_choice_before_the_first_failure_is_taken() {
    with_choices(400, |bench, layers, choices, losses| {
        // The boldest fails, and so a finer one is taken instead of none.
        let between = (losses[1] * losses[2]).sqrt();
        let found = certify(layers, bench, choices, between, 0.05).unwrap();
        assert_eq!((&found.choice, found.rejected), (&choices[1], 1));
        let all = certify(layers, bench, choices, losses[2] * 1.5, 0.05).unwrap();
        assert_eq!((&all.choice, all.rejected), (&choices[2], 0));
        let none = certify(layers, bench, choices, losses[0] * 0.5, 0.05).unwrap();
        assert_eq!((none.choice, none.rejected), (vec![None], 3));
    });
}

#[test]
fn testing_ends_at_the_first_failure() {
    with_choices(400, |bench, layers, choices, losses| {
        let sequence = [choices[0].clone(), choices[2].clone(), choices[1].clone()];
        let found = certify(layers, bench, &sequence, (losses[1] * losses[2]).sqrt(), 0.05).unwrap();
        assert_eq!((&found.choice, found.rejected), (&choices[0], 2));
    });
}

#[test]
fn a_loss_within_the_tolerance_is_not_enough() {
    with_choices(400, |bench, layers, choices, losses| {
        // Just above the loss on these samples, below the bound on all others.
        let found = certify(layers, bench, choices, losses[1] * 1.001, 0.05).unwrap();
        assert_eq!(&found.choice, &choices[0]);
        assert!(found.short_of_samples);
    });
}

#[test]
fn too_few_samples_leave_the_estimate() {
    with_choices(12, |bench, layers, choices, losses| {
        let found = certify(layers, bench, choices, losses[1] * 2.0, 0.05).unwrap();
        assert!(found.choice == choices[1] || found.choice == choices[2]);
        assert_eq!(certify(layers, bench, choices, losses[0] * 0.5, 0.05).unwrap().choice, [None]);
    });
}
