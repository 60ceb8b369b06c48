//! Fields that the schema does not know, in any place and of any kind, pass through every edit.

use adntn_onnx::{Model, Patch, Use};
use bytes::Bytes;
use proptest::prelude::*;
use prost::encoding::encode_varint;

use crate::build::{floats, node, sample};

/// One encoded field with a number that ONNX does not use.
fn unknown_field() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![100_u64..200, Just(536_870_911)];
    let content = prop_oneof![
        any::<u64>().prop_map(|value| {
            let mut bytes = Vec::new();
            encode_varint(value, &mut bytes);
            (0, bytes)
        }),
        // A number in more bytes than it needs.
        (0_u8..128, 1_usize..9).prop_map(|(value, longer)| {
            let mut bytes = vec![value | 0x80];
            bytes.resize(longer, 0x80);
            bytes.push(0);
            (0, bytes)
        }),
        any::<[u8; 8]>().prop_map(|bytes| (1, bytes.to_vec())),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|content| {
            let mut bytes = Vec::new();
            encode_varint(content.len() as u64, &mut bytes);
            bytes.extend(content);
            (2, bytes)
        }),
        // A group with a group and a number in it; its end is put on below.
        Just((3, vec![0x0b, 0x10, 0x05, 0x0c])),
        any::<[u8; 4]>().prop_map(|bytes| (5, bytes.to_vec())),
    ];
    (number, content).prop_map(|(number, (kind, content))| {
        let mut field = Vec::new();
        encode_varint(number << 3 | kind, &mut field);
        field.extend(content);
        if kind == 3 {
            encode_varint(number << 3 | 4, &mut field);
        }
        field
    })
}

/// Fields of one message, taken apart at the top level: the message must be minimally encoded and without groups.
fn parts(message: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = message;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let before = rest;
        let tag = prost::encoding::decode_varint(&mut rest).unwrap();
        let skip = match tag & 7 {
            0 => {
                prost::encoding::decode_varint(&mut rest).unwrap();
                0
            }
            1 => 8,
            5 => 4,
            _ => prost::encoding::decode_varint(&mut rest).unwrap() as usize,
        };
        rest = &rest[skip..];
        parts.push(before[..before.len() - rest.len()].to_vec());
    }
    parts
}

fn with_unknown(mut parts: Vec<Vec<u8>>, unknown: &[(usize, Vec<u8>)]) -> Vec<u8> {
    for (place, field) in unknown {
        parts.insert(place % (parts.len() + 1), field.clone());
    }
    parts.concat()
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![tag];
    encode_varint(content.len() as u64, &mut field);
    field.extend(content);
    field
}

type Unknown = Vec<(usize, Vec<u8>)>;

/// The sample with unknown fields in the model, the graph and every node, the graph in one or in two pieces.
fn model_bytes(in_model: &Unknown, in_graph: &Unknown, in_node: &Unknown, split: Option<usize>) -> Vec<u8> {
    let model = prost::Message::encode_to_vec(&sample());
    let of_model = parts(&model).into_iter().flat_map(|part| {
        if part[0] != 0x3a {
            return vec![part];
        }
        let graph = prost::Message::encode_to_vec(&sample().graph.unwrap());
        let of_graph = parts(&graph).into_iter().map(|part| match part[0] {
            0x0a => {
                let mut content = &part[1..];
                prost::encoding::decode_varint(&mut content).unwrap();
                field(0x0a, &with_unknown(parts(content), in_node))
            }
            _ => part,
        });
        let of_graph: Vec<_> = of_graph.collect();
        match split {
            Some(place) => {
                let (first, second) = of_graph.split_at(place % of_graph.len());
                vec![field(0x3a, &first.concat()), field(0x3a, &with_unknown(second.to_vec(), in_graph))]
            }
            None => vec![field(0x3a, &with_unknown(of_graph, in_graph))],
        }
    });
    with_unknown(of_model.collect(), in_model)
}

fn unknown() -> impl Strategy<Value = Unknown> {
    proptest::collection::vec((any::<usize>(), unknown_field()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unknown_fields_survive_an_edit_and_its_reversal(
        in_model in unknown(), in_graph in unknown(), in_node in unknown(),
        split in proptest::option::of(any::<usize>()), place in 0_usize..=4,
    ) {
        let original = Bytes::from(model_bytes(&in_model, &in_graph, &in_node, split));
        let model = Model::from_bytes(original.clone(), None).unwrap();
        prop_assert_eq!(model.proto(), &sample());
        prop_assert_eq!(model.apply(&Patch::default()).unwrap().to_bytes(), original.clone());

        let there = Patch {
            add_initializers: vec![floats("new", &[1.0; 100])],
            insert_nodes: vec![(place, node("Neg", &["new"], &["copy"]))],
            rewire: vec![(Use { node: 2, input: 1 }, "a".to_owned())],
            ..Patch::default()
        };
        let edited = model.apply(&there).unwrap();
        let bytes = edited.to_bytes();
        prop_assert_eq!(edited.len(), bytes.len() as u64);
        for (_, field) in in_model.iter().chain(&in_graph).chain(&in_node) {
            prop_assert!(bytes.windows(field.len()).any(|window| window == field));
        }
        let edited = edited.model().unwrap();
        prop_assert_eq!(&edited.graph().node[place].output, &["copy"]);
        let rewired = if place <= 2 { 3 } else { 2 };
        prop_assert_eq!(&edited.graph().node[rewired].input, &["r", "a"]);

        let back = Patch {
            remove_nodes: [place].into(),
            remove_initializers: ["new".to_owned()].into(),
            rewire: vec![(Use { node: rewired, input: 1 }, "b".to_owned())],
            ..Patch::default()
        };
        prop_assert_eq!(edited.apply(&back).unwrap().to_bytes(), original);
    }
}
