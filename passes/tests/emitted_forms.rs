//! Every form a generator can be emitted in computes the generator's weight.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../../networks/tests/common/mod.rs"]
mod random;

use adntn_networks::{Activation, Bonds, Generator, GeneratorSpec, Leg, LegLayout, Side};
use adntn_onnx::{Model, pb};
use adntn_passes::{Error, FindOptions, find_candidates_with, replace_by_dense, replace_by_generator};
use pb::tensor_proto::DataType;
use proptest::prelude::*;
use prost::Message;
use rand::SeedableRng;

/// A model of one MatMul with an o×i weight of zeros, as its right (stored i×o) or left (stored o×i) operand.
fn model(o: usize, i: usize, left: bool, opset: i64, ir: i64) -> Model {
    let dims = if left { [o as i64, i as i64] } else { [i as i64, o as i64] };
    let named = |name: &str| pb::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: Some(DataType::Float as i32),
                shape: None,
            })),
            ..Default::default()
        }),
        ..Default::default()
    };
    let weight = pb::TensorProto {
        name: Some("w".to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: dims.to_vec(),
        raw_data: Some(vec![0; 4 * o * i].into()),
        ..Default::default()
    };
    let operands = if left { ["w", "x"] } else { ["x", "w"] };
    let node = pb::NodeProto {
        op_type: Some("MatMul".to_owned()),
        input: operands.map(str::to_owned).to_vec(),
        output: vec!["y".to_owned()],
        ..Default::default()
    };
    let mut input = vec![named("x")];
    if ir < 4 {
        input.push(named("w"));
    }
    let graph = pb::GraphProto {
        name: Some("g".to_owned()),
        node: vec![node],
        initializer: vec![weight],
        input,
        output: vec![named("y")],
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(ir),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(opset) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
}

/// Emits `generator` into a one-layer model and checks the weight that its reader then gets.
fn check(generator: &Generator, left: bool, opset: i64, ir: i64) {
    let spec = generator.spec();
    let model = model(spec.outputs, spec.inputs, left, opset, ir);
    let survey = find_candidates_with(&model, &FindOptions { min_elements: 1 });
    let candidate = &survey.candidates[0];
    let patch = replace_by_generator(&model, candidate, generator).unwrap();
    let edited = model.apply(&patch).unwrap().model().unwrap();
    common::assert_generator(&edited, &model, candidate, generator);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Every topology, tree, order of legs, σ by level, with and without scales of the outputs.
    #[test]
    fn a_random_generator_is_emitted_truly(
        generator in random::generators(),
        left in any::<bool>(),
        version in prop::sample::select(&[(7, 3), (9, 3), (7, 4), (10, 5), (17, 8)][..]),
    ) {
        check(&generator.cast(), left, version.0, version.1);
    }
}

fn spec(layout: LegLayout, bond: usize) -> GeneratorSpec {
    GeneratorSpec::ttn(layout.outputs(), layout.inputs(), layout, Bonds::Uniform(bond), Activation::Tanh)
}

fn drawn(spec: GeneratorSpec) -> Generator {
    Generator::random(spec, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap()
}

#[test]
fn the_interleaved_layout_needs_no_transposition_and_the_separated_one_a_small_one_at_most() {
    let (o, i) = ([4, 3, 2, 4], [3, 5, 2, 2]);
    for left in [true, false] {
        for (layout, largest) in [
            (LegLayout::interleaved(&o, &i).unwrap(), 0),
            (LegLayout::separated(&o, &i).unwrap(), usize::from(!left) * 5_usize.pow(4)),
        ] {
            let generator = drawn(spec(layout, 5));
            let model = model(96, 60, left, 17, 8);
            let survey = find_candidates_with(&model, &FindOptions::default());
            let patch = replace_by_generator(&model, &survey.candidates[0], &generator).unwrap();
            let edited = model.apply(&patch).unwrap().model().unwrap();
            for node in edited.graph().node.iter().filter(|n| n.op_type() == "Transpose") {
                let elements = common::interpreter::evaluate(&edited, &node.output[0]).1.len();
                assert!(elements <= largest, "{} moves {elements} elements", node.name());
            }
        }
    }
}

#[test]
fn cores_in_bytes_are_emitted_as_bytes() {
    for (left, version) in [(true, (7, 4)), (false, (13, 8)), (true, (9, 3))] {
        let mut generator = drawn(spec(LegLayout::interleaved(&[8, 8], &[8, 8]).unwrap(), 24));
        adntn_families::round_cores(&mut generator);
        let model = model(64, 64, left, version.0, version.1);
        let survey = find_candidates_with(&model, &FindOptions::default());
        let patch = replace_by_generator(&model, &survey.candidates[0], &generator).unwrap();
        let bytes = patch.added_bytes();
        let edited = model.apply(&patch).unwrap().model().unwrap();
        common::assert_generator(&edited, &model, &survey.candidates[0], &generator);
        let types: Vec<i32> = edited.graph().initializer.iter().map(pb::TensorProto::data_type).collect();
        assert!(left && version.0 == 9 || types.contains(&(DataType::Int8 as i32)), "{types:?}");
        assert!(bytes < 2 * generator.parameter_count() as u64, "{bytes} bytes for {}", generator.parameter_count());
    }
}

/// Cores are joined on large levels only, with disentanglers between them and without.
#[test]
fn large_levels_are_emitted_truly() {
    for &topology in adntn_networks::Topology::ALL {
        for left in [true, false] {
            let layout = LegLayout::interleaved(&[4, 4, 4, 2, 2, 2, 2, 1], &[2, 2, 2, 4, 4, 2, 2, 4]).unwrap();
            let mut spec = spec(layout, 8);
            spec.topology = topology;
            check(&drawn(spec), left, 17, 8);
        }
    }
}

/// A layout of four legs from (side, dim, place).
fn custom(legs: [(Side, usize, usize); 4]) -> LegLayout {
    LegLayout::custom(legs.map(|(side, dim, place)| Leg { side, dim, place }).to_vec()).unwrap()
}

#[test]
fn layouts_that_no_order_of_parents_sorts_are_emitted_truly() {
    use Side::{Input, Output};
    for layout in [
        // Outputs ask for the second parent first, inputs for the first.
        custom([(Output, 3, 1), (Input, 4, 0), (Output, 5, 0), (Input, 2, 1)]),
        // One parent holds two outputs that are no neighbours.
        custom([(Output, 3, 0), (Output, 4, 2), (Output, 5, 1), (Input, 2, 0)]),
    ] {
        for left in [true, false] {
            check(&drawn(spec(layout.clone(), 5)), left, 17, 8);
        }
    }
}

#[test]
fn nothing_is_left_of_the_old_weight() {
    let generator = drawn(spec(LegLayout::interleaved(&[4, 8], &[8, 4]).unwrap(), 4));
    for ir in [3, 8] {
        let model = model(32, 32, false, 7, ir);
        let survey = find_candidates_with(&model, &FindOptions::default());
        let patch = replace_by_generator(&model, &survey.candidates[0], &generator).unwrap();
        let edited = model.apply(&patch).unwrap().model().unwrap();
        let graph = edited.graph();
        assert!(graph.initializer.iter().all(|t| t.name() != "w"));
        assert_eq!(graph.input.iter().map(|v| v.name()).collect::<Vec<_>>(), ["x"]);
        if ir < 4 {
            assert!(graph.initializer.is_empty(), "initializers would have to be listed as inputs");
        }
        for node in graph.node.iter().filter(|n| n.output[0] != "y") {
            assert!(node.name().is_empty() && node.output[0].starts_with("w/ttn/"), "{node:?}");
        }
        // The first node says what all that comes of it is, and a later survey needs no more.
        let props = graph.node.iter().flat_map(|n| &n.metadata_props).map(|p| (p.key(), p.value()));
        assert_eq!(props.collect::<Vec<_>>(), [("adntn.pass", "replace_by_generator")]);
        let survey = find_candidates_with(&edited, &FindOptions { min_elements: 1 });
        assert!(survey.candidates.is_empty());
        let reasons: Vec<_> = survey.skipped.iter().map(|s| s.reason.to_string()).collect();
        assert_eq!(reasons, ["already replaced"]);
    }
}

#[test]
fn emitting_twice_gives_the_second_generator_another_name() {
    let generator = drawn(spec(LegLayout::interleaved(&[4, 8], &[8, 4]).unwrap(), 4));
    let first = model(32, 32, false, 17, 8);
    let survey = find_candidates_with(&first, &FindOptions::default());
    let patch = replace_by_generator(&first, &survey.candidates[0], &generator).unwrap();
    let mut proto = first.apply(&patch).unwrap().model().unwrap().proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    // A second layer whose weight has the name that the first one had.
    graph.initializer.push(pb::TensorProto {
        name: Some("w".to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: vec![32, 32],
        raw_data: Some(vec![0; 4096].into()),
        ..Default::default()
    });
    graph.node.push(pb::NodeProto {
        op_type: Some("MatMul".to_owned()),
        input: vec!["y".to_owned(), "w".to_owned()],
        output: vec!["z".to_owned()],
        ..Default::default()
    });
    graph.output[0].name = Some("z".to_owned());
    let second = Model::from_bytes(proto.encode_to_vec().into(), None).unwrap();
    let survey = find_candidates_with(&second, &FindOptions::default());
    let layers: Vec<&str> = survey.candidates.iter().map(|c| c.layer.as_str()).collect();
    assert_eq!(layers, ["w_2"]);
    let patch = replace_by_generator(&second, &survey.candidates[0], &generator).unwrap();
    let edited = second.apply(&patch).unwrap().model().unwrap();
    common::assert_generator(&edited, &second, &survey.candidates[0], &generator);
}

#[test]
fn a_generator_of_another_shape_is_refused() {
    let generator = drawn(spec(LegLayout::interleaved(&[4, 8], &[8, 4]).unwrap(), 4));
    let model = model(32, 33, true, 17, 8);
    let survey = find_candidates_with(&model, &FindOptions::default());
    let error = replace_by_generator(&model, &survey.candidates[0], &generator).unwrap_err();
    assert!(matches!(error, Error::GeneratorShape { inputs: 33, made_inputs: 32, .. }), "{error}");
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let mut generator = drawn(spec(LegLayout::interleaved(&[4, 8], &[8, 4]).unwrap(), 4));
    let model = model(32, 32, true, 17, 8);
    let survey = find_candidates_with(&model, &FindOptions::default());
    generator.params_mut()[3] = f32::NAN;
    let error = replace_by_generator(&model, &survey.candidates[0], &generator).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    let error = replace_by_dense(&model, &survey.candidates[0], &[f32::INFINITY; 1024]).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    let error = replace_by_dense(&model, &survey.candidates[0], &[0.0; 1023]).unwrap_err();
    assert!(matches!(error, Error::WeightLength { found: 1023, .. }), "{error}");
}

#[test]
fn a_weight_that_runtimes_would_not_fold_is_refused() {
    // The legs cover 2^28 elements, 1 GiB, of which the small weight is a slice; nothing of that size is ever allocated.
    let layout = LegLayout::interleaved(&[128, 128], &[128, 128]).unwrap();
    let mut spec = spec(layout, 2);
    (spec.outputs, spec.inputs) = (32, 32);
    let parameters = adntn_networks::Shape::new(&spec).unwrap().parameters();
    let generator = Generator::new(spec, vec![0.5; parameters]).unwrap();
    let model = model(32, 32, true, 17, 8);
    let survey = find_candidates_with(&model, &FindOptions::default());
    let error = replace_by_generator(&model, &survey.candidates[0], &generator).unwrap_err();
    assert!(matches!(error, Error::IntermediateTooLarge { bytes, .. } if bytes == 1 << 30), "{error}");
}

#[test]
fn a_candidate_of_another_model_is_refused() {
    let with_weight = model(32, 32, true, 17, 8);
    let survey = find_candidates_with(&with_weight, &FindOptions::default());
    let mut proto = with_weight.proto().clone();
    proto.graph.as_mut().unwrap().initializer[0].name = Some("other".to_owned());
    proto.graph.as_mut().unwrap().node[0].input[0] = "other".to_owned();
    let other = Model::from_bytes(proto.encode_to_vec().into(), None).unwrap();
    let error = replace_by_dense(&other, &survey.candidates[0], &[0.0; 1024]).unwrap_err();
    assert!(matches!(error, Error::ForeignCandidate { .. }), "{error}");
}
