//! A process that ends between any two calls to the system leaves the old model or the new one.

use std::fs;
use std::process::Command;

use super::*;
use crate::fault::ENDED;
use crate::{ExternalData, Patch};

/// `y = x + w` with 4,000 bytes of weight.
fn model(value: f32) -> Model {
    let name = |name: &str| Some(name.to_owned());
    let value_info = |text: &str| pb::ValueInfoProto { name: name(text), ..Default::default() };
    let graph = pb::GraphProto {
        node: vec![pb::NodeProto {
            op_type: name("Add"),
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            ..Default::default()
        }],
        initializer: vec![pb::TensorProto {
            name: name("w"),
            dims: vec![1000],
            data_type: Some(1),
            raw_data: Some(value.to_le_bytes().repeat(1000).into()),
            ..Default::default()
        }],
        input: vec![value_info("x")],
        output: vec![value_info("y")],
        ..Default::default()
    };
    let model = pb::ModelProto {
        ir_version: Some(10),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(21) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_bytes(model.encode_to_vec().into(), None).unwrap()
}

fn write(folder: &Path, value: f32, external: ExternalData) {
    let staged = model(value).apply(&Patch::default()).unwrap().stage(&folder.join("m.onnx"), external).unwrap();
    let report = StagedFile::new(&folder.join("report.json"), b"text").unwrap();
    staged.commit_with(vec![report]).unwrap();
}

/// What the model file computes with, if there is one; that it loads with its data.
fn value(folder: &Path) -> Option<f32> {
    let path = folder.join("m.onnx");
    if !path.exists() {
        return None;
    }
    let model = Model::open(&path).unwrap();
    let values = model.floats(&model.graph().initializer[0]).unwrap();
    assert!(values.iter().all(|value| *value == values[0]));
    Some(values[0])
}

const FOLDER: &str = "ADNTN_END_IN";

/// The part of the test that runs in a process of its own.
#[test]
fn write_in_a_process_of_its_own() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let external = match std::env::var("ADNTN_END_EXTERNAL").unwrap().as_str() {
            "always" => ExternalData::Always,
            _ => ExternalData::Never,
        };
        write(Path::new(&folder), 2.0, external);
    }
}

#[test]
fn a_process_that_is_killed_leaves_the_old_model_or_the_new_one() {
    use ExternalData::{Always, Never};
    let mut most = 0;
    for (old, new) in [(Some(Always), Always), (Some(Never), Always), (Some(Always), Never), (None, Always)] {
        let mut seen_new = false;
        for point in 1.. {
            let folder = tempfile::tempdir().unwrap();
            if let Some(old) = old {
                write(folder.path(), 1.0, old);
            }
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "stage::tests::write_in_a_process_of_its_own", "--test-threads=1"])
                .env(FOLDER, folder.path())
                .env("ADNTN_END_AT", point.to_string())
                .env("ADNTN_END_EXTERNAL", if new == Always { "always" } else { "never" })
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            let found = value(folder.path());
            let before = old.map(|_| 1.0);
            assert!(found == before || found == Some(2.0), "{old:?} {new:?} point {point}: {found:?}");
            assert!(!seen_new || found == Some(2.0), "once it is there, the new model stays");
            seen_new |= found == Some(2.0);
            if status.code() != Some(ENDED) {
                assert!(status.success() && seen_new);
                break;
            }
            most = point;
            // What is left behind does not last, and is not in the way.
            write(folder.path(), 3.0, new);
            assert_eq!(value(folder.path()), Some(3.0));
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = names.filter(|name| name.as_encoded_bytes().starts_with(b".writing-")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
    assert!(most >= 15, "{most} points");
}

#[test]
fn what_may_be_the_only_copy_is_not_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.onnx");
    let left = folder.path().join(format!(".writing-{}-abc", &blake3::hash(b"m.onnx").to_hex()[..8]));
    let aside = folder.path().join(".writing-00000000-abc");
    fs::write(&left, "an old model that was moved aside").unwrap();
    fs::write(&aside, "another one's").unwrap();
    // There is no model, so that may be it.
    StagedFile::new(&target, b"one").unwrap().commit().unwrap();
    assert!(left.exists() && aside.exists());
    StagedFile::new(&target, b"two").unwrap().commit().unwrap();
    assert!(!left.exists() && aside.exists());
    assert_eq!(fs::read(&target).unwrap(), b"two");
}
