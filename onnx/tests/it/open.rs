//! What a model must be to be opened, and how it is read.

use adntn_onnx::{Error, Model, Patch, TensorProblem, pb};
use bytes::Bytes;

use crate::build;

#[test]
fn paths_that_are_no_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.onnx");
    let error = Model::open(&missing).unwrap_err();
    assert!(matches!(error.problem(), Error::NotFound), "{error}");
    assert!(error.to_string().contains("missing.onnx"), "{error}");
    assert!(matches!(Model::open(folder.path()).unwrap_err().problem(), Error::Folder));
    let empty = folder.path().join("empty.onnx");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(Model::open(&empty).unwrap_err().problem(), Error::Empty));
    let text = folder.path().join("text.onnx");
    std::fs::write(&text, "not a model").unwrap();
    assert!(matches!(Model::open(&text).unwrap_err().problem(), Error::Text));
    let inside_a_file = empty.join("model.onnx");
    assert!(matches!(Model::open(&inside_a_file).unwrap_err().problem(), Error::Read(_)));
}

#[cfg(unix)]
#[test]
fn devices_are_refused() {
    let error = Model::open(std::path::Path::new("/dev/null")).unwrap_err();
    assert!(matches!(error.problem(), Error::NotRegular), "{error}");
}

#[test]
fn tensors_that_contradict_themselves_are_refused_wherever_they_stand() {
    let short = pb::TensorProto { raw_data: Some(Bytes::from_static(&[0; 15])), ..build::floats("bad", &[0.0; 4]) };
    let constant = |attribute| {
        let mut node = build::node("Constant", &[], &["c"]);
        node.attribute = vec![attribute];
        node
    };
    let sparse = pb::SparseTensorProto { values: Some(short.clone()), ..Default::default() };
    let in_body = pb::GraphProto { initializer: vec![short.clone()], ..Default::default() };
    let mut models = vec![build::sample(); 6];
    let graph = |model: &mut pb::ModelProto| std::mem::take(model.graph.as_mut().unwrap());
    let with = |model: &mut pb::ModelProto, change: &dyn Fn(&mut pb::GraphProto)| {
        let mut changed = graph(model);
        change(&mut changed);
        model.graph = Some(changed);
    };
    with(&mut models[0], &|graph| graph.initializer.push(short.clone()));
    with(&mut models[1], &|graph| graph.node.push(constant(build::attribute_tensor("value", short.clone()))));
    with(&mut models[2], &|graph| graph.node.push(constant(build::attribute_graph("body", in_body.clone()))));
    with(&mut models[3], &|graph| graph.sparse_initializer.push(sparse.clone()));
    models[4].functions = vec![pb::FunctionProto {
        node: vec![constant(build::attribute_tensor("value", short.clone()))],
        ..Default::default()
    }];
    models[5].training_info =
        vec![pb::TrainingInfoProto { initialization: Some(in_body.clone()), ..Default::default() }];
    for (number, model) in models.iter().enumerate() {
        let error = build::open(model).unwrap_err();
        let Error::Tensor { tensor, problem: TensorProblem::RawLength { expected: 16, found: 15, .. } } = &error else {
            panic!("{number}: {error}")
        };
        assert_eq!(tensor, "bad");
    }
}

#[test]
fn impossible_shapes_and_types_are_refused() {
    let with = |tensor: pb::TensorProto| {
        let mut model = build::sample();
        model.graph.as_mut().unwrap().initializer.push(tensor);
        build::open(&model).unwrap_err().to_string()
    };
    let base = build::floats("w", &[1.0]);
    for (tensor, part) in [
        (pb::TensorProto { dims: vec![2, -3], ..base.clone() }, "negative dimension -3 at axis 1"),
        (pb::TensorProto { dims: vec![i64::MAX, 9], ..base.clone() }, "overflows"),
        (pb::TensorProto { data_type: Some(77), ..base.clone() }, "unknown data type 77"),
        (pb::TensorProto { data_type: None, ..base.clone() }, "unknown data type 0"),
        (pb::TensorProto { raw_data: None, ..base.clone() }, "0 entries in float_data"),
    ] {
        let message = with(tensor);
        assert!(message.contains("`w`") && message.contains(part), "{message}");
    }
}

#[test]
fn training_and_local_functions_are_no_obstacle() {
    let mut model = build::sample();
    model.functions = vec![pb::FunctionProto {
        name: Some("f".into()),
        node: vec![build::node("Neg", &["p"], &["q"])],
        ..Default::default()
    }];
    // A training graph reads what the main graph defines.
    let algorithm = pb::GraphProto { node: vec![build::node("Neg", &["a"], &["g"])], ..Default::default() };
    model.training_info = vec![pb::TrainingInfoProto { algorithm: Some(algorithm), ..Default::default() }];
    build::open(&model).unwrap();
}

#[test]
fn the_default_operator_set_is_found() {
    let import = |domain: Option<&str>, version| pb::OperatorSetIdProto {
        domain: domain.map(str::to_owned),
        version: Some(version),
    };
    for (imports, opset) in [
        (vec![import(Some("ai.onnx.ml"), 3), import(None, 17)], 17),
        (vec![import(Some("ai.onnx"), 18)], 18),
        (vec![import(Some("ai.onnx.ml"), 3)], 1),
    ] {
        let model = pb::ModelProto { opset_import: imports, ..build::sample() };
        assert_eq!(build::open(&model).unwrap().opset(), opset);
    }
}

#[test]
fn raw_data_are_slices_of_what_was_read() {
    let bytes = build::bytes(&build::sample());
    let model = Model::from_bytes(bytes.clone(), None).unwrap();
    let range = bytes.as_ptr_range();
    for tensor in &model.graph().initializer[..2] {
        assert!(range.contains(&tensor.raw_data().as_ptr()), "{} was copied", tensor.name());
    }
    // Nor does an edit copy: without one, the very same bytes come out.
    assert_eq!(model.apply(&Patch::default()).unwrap().to_bytes().as_ptr(), bytes.as_ptr());
}

/// A file of 256 MiB that takes no space on the disk: one tensor of zeros.
#[cfg(target_os = "linux")]
#[test]
fn a_large_file_is_not_read_into_memory() {
    use std::io::Write;
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let length = 1_u64 << 28;
    let sized = |tag: u8, length: u64, rest: u64| {
        let mut header = vec![tag];
        prost::encoding::encode_varint(length, &mut header);
        let total = header.len() as u64 + rest;
        (header, total)
    };
    let head = prost::Message::encode_to_vec(&pb::TensorProto {
        name: Some("zeros".into()),
        data_type: Some(1),
        dims: vec![length as i64 / 4],
        ..Default::default()
    });
    let (raw, total) = sized(0x4a, length, length);
    let (tensor, total) = sized(0x2a, head.len() as u64 + total, head.len() as u64 + total);
    let (graph, _) = sized(0x3a, total, total);
    let rest = prost::Message::encode_to_vec(&pb::ModelProto { graph: None, ..build::sample() });
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(&[rest, graph, tensor, head, raw].concat()).unwrap();
    let written = file.as_file().metadata().unwrap().len();
    file.as_file().set_len(written + length).unwrap();

    let before = resident();
    let model = Model::open(file.path()).unwrap();
    let edited = model.apply(&Patch::default()).unwrap();
    assert_eq!(model.tensor_bytes(&model.graph().initializer[0]).unwrap(), length);
    assert_eq!(edited.len(), written + length);
    // Other tests may run in this process, but none of them takes so much.
    assert!(resident() < before + length / 2, "from {before} to {}", resident());
}

#[test]
fn floats_come_from_raw_and_typed_data() {
    let model = build::open(&build::sample()).unwrap();
    let read = |name: &str| {
        let tensor = &model.graph().initializer[model.index().initializer(name).unwrap()];
        (model.floats(tensor).unwrap().into_owned(), model.tensor_bytes(tensor).unwrap())
    };
    assert_eq!(read("a"), (vec![1.0, 2.0, 3.0, 4.0], 16));
    assert_eq!(read("max"), (vec![6.0], 4));
    let int = pb::TensorProto { data_type: Some(7), int64_data: vec![1], ..build::floats("i", &[]) };
    let error = model.floats(&int).unwrap_err();
    assert!(error.to_string().contains("`i` is INT64, not FLOAT"), "{error}");
    let wrong = pb::TensorProto { dims: vec![3], ..build::floats("w", &[1.0]) };
    assert!(model.floats(&wrong).is_err());
}

#[test]
fn the_index_knows_who_makes_and_reads_what() {
    let model = build::open(&build::sample()).unwrap();
    let index = model.index();
    let uses = |name: &str| index.uses(name).iter().map(|place| (place.node, place.input)).collect::<Vec<_>>();
    assert_eq!((index.producer("r"), index.producer("a"), index.producer("then/out")), (Some(1), None, None));
    assert_eq!(uses("r"), [(2, 0)]);
    assert_eq!(uses("max"), [(1, 2)]);
    assert_eq!(uses(""), []);
    assert!(index.is_captured("a") && index.is_captured("r") && !index.is_captured("b"));
    assert!(index.is_graph_input("x") && !index.is_graph_input("a"));
    assert!(index.is_graph_output("y") && !index.is_graph_output("s"));
    assert!(index.is_taken("then/out") && index.is_taken("s") && !index.is_taken("fresh") && !index.is_taken(""));
}
