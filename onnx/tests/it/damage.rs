//! Files that are cut short, overwritten or no models at all.

use adntn_onnx::{Error, Model, Patch, pb};
use bytes::Bytes;
use proptest::prelude::*;

use crate::build;

fn read(bytes: &[u8]) -> Result<Model, Error> {
    Model::from_bytes(Bytes::copy_from_slice(bytes), None)
}

#[test]
fn a_model_cut_short_anywhere_is_an_error_or_a_model() {
    let whole = build::bytes(&build::sample());
    let valid: Vec<usize> = (0..whole.len()).filter(|&length| read(&whole[..length]).is_ok()).collect();
    // The last field is the only operator set, and without it there is no model.
    assert_eq!(valid, []);
    let mut with_notes = build::sample();
    with_notes.metadata_props = vec![pb::StringStringEntryProto { key: Some("note".into()), value: None }];
    let noted = build::bytes(&with_notes);
    let valid: Vec<usize> = (0..noted.len()).filter(|&length| read(&noted[..length]).is_ok()).collect();
    // Cut before the notes, it is the model without them.
    assert_eq!(valid, [whole.len()]);
}

#[test]
fn the_place_of_a_cut_is_told() {
    let whole = build::bytes(&build::sample());
    let error = read(&whole[..whole.len() / 2]).unwrap_err();
    let Error::Malformed { offset, field, reason } = &error else { panic!("{error}") };
    assert_eq!((*offset, field.as_str()), (8, "graph"), "{error}");
    assert!(reason.contains("are left"), "{error}");
}

#[test]
fn the_innermost_broken_field_is_told() {
    let mut model = build::sample();
    let name = "broken-name";
    model.graph.as_mut().unwrap().node[2].name = Some(name.into());
    let mut bytes = build::bytes(&model).to_vec();
    let place = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    bytes[place] = 0xff;
    let error = read(&bytes).unwrap_err();
    let Error::Malformed { offset, field, .. } = &error else { panic!("{error}") };
    assert_eq!((*offset, field.as_str()), (place as u64 - 2, "graph.node[2].name"), "{error}");
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn what_is_no_model_is_refused() {
    assert!(matches!(read(b""), Err(Error::Empty)));
    for text in ["hello, world\n", "{\"ir_version\": 8}", "ir_version: 8\ngraph {\n}\n", "Grüße\n", "PK"] {
        assert!(matches!(read(text.as_bytes()), Err(Error::Text)), "{text}");
    }
    assert!(read(&[0; 1000]).is_err());
    assert!(read(&[0xff; 1000]).is_err());
    assert!(read(b"PK\x03\x04\x14\x00\x00\x00\x08\x00").is_err());
    let without = |change: fn(&mut pb::ModelProto)| {
        let mut model = build::sample();
        change(&mut model);
        build::open(&model).unwrap_err()
    };
    assert!(matches!(without(|model| model.ir_version = None), Error::NoIrVersion));
    assert!(matches!(without(|model| model.graph = None), Error::NoGraph));
    assert!(matches!(without(|model| model.opset_import.clear()), Error::NoOpset));
}

/// If in If in If …, each three messages deeper than the one around it.
fn nested(depth: usize) -> pb::GraphProto {
    let mut graph = pb::GraphProto { name: Some("innermost".into()), ..Default::default() };
    for _ in 0..depth {
        let mut node = build::node("If", &[], &["out"]);
        node.attribute = vec![build::attribute_graph("then_branch", graph)];
        graph = pb::GraphProto { node: vec![node], ..Default::default() };
    }
    graph
}

#[test]
fn deep_nesting_is_read_or_refused_but_never_overflows() {
    let deep = build::open(&build::model(nested(30))).unwrap();
    deep.apply(&Patch::default()).unwrap().model().unwrap();
    let error = build::open(&build::model(nested(40))).unwrap_err();
    let Error::TooDeep { field, .. } = &error else { panic!("{error}") };
    assert!(field.starts_with("graph.node[0].attribute[0].g.node[0]"), "{field}");
    // Deeper than any stack: each layer wraps the last one as graph, node and attribute.
    let mut bytes = Vec::new();
    while bytes.len() < 40_000 {
        for tag in [0x32, 0x2a, 0x0a] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.extend(bytes);
            bytes = outer;
        }
    }
    let mut model = vec![0x08, 10, 0x3a];
    prost::encoding::encode_varint(bytes.len() as u64, &mut model);
    model.extend(bytes);
    let error = read(&model).unwrap_err();
    assert!(matches!(error, Error::TooDeep { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = read(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn overwritten_bytes_are_read_without_panic(places in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut bytes = build::bytes(&build::sample()).to_vec();
        let length = bytes.len();
        for (place, byte) in places {
            bytes[place % length] = byte;
        }
        // What is still a model must also go through unchanged.
        if let Ok(model) = read(&bytes) {
            prop_assert_eq!(model.apply(&Patch::default()).unwrap().to_bytes(), bytes);
        }
    }
}
