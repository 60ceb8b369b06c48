//! Real models: those of the repository always, those of the PyPI package `onnx` where `ADNTN_ONNX_MODELS` says where
//! they are.

use std::path::{Path, PathBuf};

use adntn_onnx::{Model, Patch, pb};
use bytes::Bytes;

fn onnx_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            // What fuzzing starts from is broken on purpose.
            if path.is_dir() && !path.ends_with("onnx-fixtures/fuzz") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "onnx") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there is no .onnx file in {}", folder.display());
    found
}

/// A patch with one of everything that adds, and the one that takes it all out again.
fn there_and_back(model: &Model) -> (Patch, impl Fn(&Model) -> Patch) {
    let graph = model.graph();
    let name = |stem: &str| (0..).map(|n| format!("{stem}{n}")).find(|name| !model.index().is_taken(name)).unwrap();
    let (weight, copy) = (name("added_weight"), name("added_copy"));
    let tensor = pb::TensorProto {
        name: Some(weight.clone()),
        data_type: Some(1),
        dims: vec![3],
        raw_data: Some(Bytes::from_static(&[1; 12])),
        ..Default::default()
    };
    let node = pb::NodeProto {
        op_type: Some("Identity".into()),
        input: vec![weight.clone()],
        output: vec![copy.clone()],
        ..Default::default()
    };
    let place = graph.node.len() / 2;
    let there = Patch { add_initializers: vec![tensor], insert_nodes: vec![(place, node)], ..Patch::default() };
    let back = move |model: &Model| Patch {
        remove_nodes: model.index().producer(&copy).into_iter().collect(),
        remove_initializers: [weight.clone()].into(),
        ..Patch::default()
    };
    (there, back)
}

fn check(folder: &Path) {
    for path in onnx_files(folder) {
        let original = std::fs::read(&path).unwrap();
        let model = Model::open(&path).unwrap();
        assert_eq!(model.size_bytes(), original.len() as u64, "{}", path.display());

        let unchanged = model.apply(&Patch::default()).unwrap();
        assert_eq!(unchanged.len(), original.len() as u64, "{}", path.display());
        assert!(unchanged.to_bytes() == original, "{} changes without a patch", path.display());

        let (there, back) = there_and_back(&model);
        let edited = model.apply(&there).unwrap();
        assert!(edited.to_bytes() != original, "{}", path.display());
        assert_eq!(edited.len(), edited.to_bytes().len() as u64, "{}", path.display());
        let edited = edited.model().unwrap();
        assert_eq!(edited.graph().node.len(), model.graph().node.len() + 1);
        let restored = edited.apply(&back(&edited)).unwrap();
        assert!(restored.to_bytes() == original, "{} does not come back", path.display());
    }
}

#[test]
fn the_models_of_the_repository_come_back_byte_for_byte() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../onnx-fixtures"));
}

#[test]
fn the_models_of_the_onnx_package_come_back_byte_for_byte() {
    if let Some(folder) = std::env::var_os("ADNTN_ONNX_MODELS") {
        check(Path::new(&folder));
    }
}

#[test]
#[should_panic(expected = "there is no .onnx file")]
fn a_folder_without_models_fails_the_check() {
    check(tempfile::tempdir().unwrap().path());
}
