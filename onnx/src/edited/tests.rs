//! The size limit, which tests cannot reach with real sizes.

use super::*;
use crate::pb;

/// A model with two weights of 4 KB each, one an initializer, one in an attribute.
fn model() -> Model {
    let weight = |name: &str| pb::TensorProto {
        name: Some(name.into()),
        dims: vec![1000],
        data_type: Some(1),
        raw_data: Some(vec![7; 4000].into()),
        ..Default::default()
    };
    let value = |name: &str| pb::ValueInfoProto { name: Some(name.into()), ..Default::default() };
    let attribute =
        pb::AttributeProto { name: Some("value".into()), t: Some(weight("")), r#type: Some(4), ..Default::default() };
    let constant = pb::NodeProto {
        op_type: Some("Constant".into()),
        output: vec!["constant".into()],
        attribute: vec![attribute],
        ..Default::default()
    };
    let add = pb::NodeProto {
        op_type: Some("Add".into()),
        input: vec!["constant".into(), "weight".into()],
        output: vec!["sum".into()],
        ..Default::default()
    };
    let graph = pb::GraphProto {
        node: vec![constant, add],
        initializer: vec![weight("weight")],
        output: vec![value("sum")],
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(10),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(21) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(prost::Message::encode_to_vec(&model).into(), None).unwrap()
}

fn unchanged() -> Edited {
    model().apply(&Patch::default()).unwrap()
}

#[test]
fn auto_detaches_no_more_than_the_limit_needs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let edited = unchanged();
    let all = edited.len();
    for (limit, data_bytes) in [(all, 0), (all - 1, 4000), (5000, 4000), (1000, 4000 + 4000)] {
        let written = edited.stage_within(&path, ExternalData::Auto, limit).unwrap().commit().unwrap();
        assert_eq!(written.data_bytes, data_bytes, "limit {limit}");
        assert!(written.model_bytes <= limit);
        let read = Model::open(&path).unwrap();
        let embedded = read.apply(&Patch::default()).unwrap().model().unwrap();
        assert_eq!(embedded.graph(), model().graph(), "limit {limit}");
    }
}

#[test]
fn what_cannot_get_small_enough_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let edited = unchanged();
    for (external, limit) in
        [(ExternalData::Never, edited.len() - 1), (ExternalData::Auto, 50), (ExternalData::Always, 50)]
    {
        let error = edited.stage_within(&path, external, limit).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
