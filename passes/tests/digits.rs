//! Weights in digits and low ranks in digits: the emitted nodes compute the values that were measured.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use adntn_families::{Digits, Replacement, Site};
use adntn_onnx::{Model, pb};
use adntn_passes::{Candidate, FindOptions, Rewrite, Stored, describe, find_candidates_with, replace_by, takes_digits};
use pb::tensor_proto::DataType;
use proptest::prelude::*;
use prost::Message as _;

/// A chain of MatMuls and Gemms with the given extents of their weights, read as inputs×outputs or the other way round.
fn model(weights: &[(usize, usize, bool)], opset: i64) -> Model {
    let mut graph = pb::GraphProto { name: Some("g".to_owned()), ..Default::default() };
    let named = |name: &str| pb::ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
    graph.input.push(named("x0"));
    for (k, &(rows, columns, is_transposed)) in weights.iter().enumerate() {
        let values = (0..rows * columns).flat_map(|i| (((i * 31 + k * 7) as f32 * 0.37 + 0.2).sin()).to_le_bytes());
        graph.initializer.push(pb::TensorProto {
            name: Some(format!("fc{k}")),
            data_type: Some(DataType::Float as i32),
            dims: vec![rows as i64, columns as i64],
            raw_data: Some(values.collect::<Vec<u8>>().into()),
            ..Default::default()
        });
        let attribute = pb::AttributeProto {
            name: Some("transB".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
            i: Some(1),
            ..Default::default()
        };
        graph.node.push(pb::NodeProto {
            op_type: Some(if is_transposed { "MatMul" } else { "Gemm" }.to_owned()),
            input: vec![format!("x{k}"), format!("fc{k}")],
            output: vec![format!("x{}", k + 1)],
            attribute: if is_transposed { Vec::new() } else { vec![attribute] },
            ..Default::default()
        });
    }
    graph.output.push(named(&format!("x{}", weights.len())));
    let model = pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(opset) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
}

fn replacement(model: &Model, candidate: &Candidate, digits: Digits, rank: Option<usize>) -> Replacement {
    let weight = candidate.weight_matrix(model).unwrap();
    let site = Site {
        weight: &weight,
        outputs: candidate.outputs,
        inputs: candidate.inputs,
        is_transposed: candidate.stored == Stored::InputOutput,
        moments: None,
    };
    let prepared = site.prepare(rank.unwrap_or(0));
    match rank {
        Some(rank) => Replacement::LowRank(prepared.low_rank(&site, rank, digits).unwrap().0),
        None => Replacement::Digits(prepared.digits(&site, digits).unwrap()),
    }
}

/// Puts a replacement in the place of every weight; returns the model and the weights that its readers should get.
fn rewritten(model: &Model, kinds: &[(Digits, Option<usize>)]) -> (Model, Vec<Vec<f32>>) {
    let survey = find_candidates_with(model, &FindOptions { min_elements: 1 });
    assert!(takes_digits(model) && survey.candidates.len() == kinds.len());
    let (mut all, mut weights) = (Rewrite::default(), Vec::new());
    for (candidate, &(digits, rank)) in survey.candidates.iter().zip(kinds) {
        let replacement = replacement(model, candidate, digits, rank);
        all.merge(replace_by(model, candidate, &replacement).unwrap());
        weights.push(replacement.matrix());
    }
    (model.apply(&all.into_patch(model)).unwrap().model().unwrap(), weights)
}

fn check(model: &Model, kinds: &[(Digits, Option<usize>)]) {
    let (edited, weights) = rewritten(model, kinds);
    let survey = find_candidates_with(model, &FindOptions { min_elements: 1 });
    for ((candidate, weight), (_, rank)) in survey.candidates.iter().zip(&weights).zip(kinds) {
        common::assert_weight(&edited, model, candidate, weight);
        if rank.is_none() {
            // Not only nearly: what is measured is what is written.
            let reader =
                edited.graph().node.iter().find(|n| n.output == model.graph().node[candidate.uses[0].node].output);
            let (_, values) = common::interpreter::evaluate(&edited, &reader.unwrap().input[1]);
            assert_eq!(values, common::stored(candidate, weight));
        }
    }
}

#[test]
fn every_kind_of_digits_in_one_file() {
    let model = model(&[(12, 40, false), (12, 33, true), (7, 33, false), (7, 5, true), (48, 5, false)], 17);
    let kinds = [
        (Digits::Three, None),
        (Digits::Sixteen, Some(4)),
        (Digits::Bytes, None),
        (Digits::Sixteen, None),
        (Digits::Four, None),
    ];
    check(&model, &kinds);
    let (edited, _) = rewritten(&model, &kinds);
    insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("digits", describe(&edited));
    });
}

#[test]
fn a_weight_alone_needs_no_split_where_it_fills_its_blocks() {
    let model = model(&[(12, 40, false)], 17);
    let (edited, _) = rewritten(&model, &[(Digits::Bytes, None)]);
    assert!(edited.graph().node.iter().all(|n| n.op_type() != "Split"));
    assert_eq!(edited.graph().node.len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_weights_in_any_digits(
        shapes in prop::collection::vec((1_usize..30, 1_usize..30, any::<bool>(), 0_usize..5, any::<bool>()), 1..5),
        opset in prop::sample::select(vec![7_i64, 11, 13, 21]),
    ) {
        let weights: Vec<_> = shapes.iter().map(|&(r, c, t, ..)| (r, c, t)).collect();
        let kinds: Vec<_> =
            shapes.iter().map(|&(r, c, _, d, low)| (Digits::ALL[d], low.then_some(1 + r.min(c) / 4))).collect();
        check(&model(&weights, opset), &kinds);
    }
}
