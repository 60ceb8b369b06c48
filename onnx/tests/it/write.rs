//! Files are written whole or not at all.

use std::fs;
use std::path::Path;

use adntn_onnx::{Edited, Error, ExternalData, Patch, pb};
use prost::Message;

use crate::build::{floats, open, sample};

fn large() -> pb::ModelProto {
    let mut model = sample();
    model.graph.as_mut().unwrap().initializer.push(floats("large", &[1.0; 1000]));
    model
}

fn edited() -> Edited {
    open(&large()).unwrap().apply(&Patch::default()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_old_file_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    let written = edited().write(&path, ExternalData::Never).unwrap();
    assert_eq!(fs::read(&path).unwrap(), large().encode_to_vec());
    assert_eq!((written.model_bytes, written.data_bytes), (edited().len(), 0));
    assert_eq!(names(folder.path()), ["m.onnx"]);
}

#[test]
fn old_external_data_are_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    fs::write(folder.path().join("m.onnx.data"), "old").unwrap();
    edited().write(&path, ExternalData::Always).unwrap();
    assert_eq!(names(folder.path()), ["m.onnx", "m.onnx.data"]);
    assert_eq!(fs::metadata(folder.path().join("m.onnx.data")).unwrap().len(), 4000);
}

#[cfg(unix)]
#[test]
fn files_get_ordinary_rights() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, ordinary) = (folder.path().join("m.onnx"), folder.path().join("ordinary"));
    edited().write(&path, ExternalData::Never).unwrap();
    fs::write(&ordinary, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&ordinary));
}

#[test]
fn where_nothing_can_be_written_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/m.onnx");
    fs::write(folder.path().join("file"), "").unwrap();
    let under_a_file = folder.path().join("file/m.onnx");
    for path in [&missing, &under_a_file] {
        for external in [ExternalData::Never, ExternalData::Always] {
            let error = edited().write(path, external).unwrap_err();
            assert!(matches!(error, Error::Write { .. }) && error.to_string().contains("m.onnx"), "{error}");
        }
    }
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn folders_in_the_way_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    fs::create_dir(folder.path().join("m.onnx.data")).unwrap();
    let error = edited().write(&path, ExternalData::Always).unwrap_err();
    assert!(error.to_string().contains("m.onnx.data") && error.to_string().contains("folder"), "{error}");
    assert_eq!(names(folder.path()), ["m.onnx.data"]);
    // Without external data that name is not needed.
    edited().write(&path, ExternalData::Never).unwrap();
    let error = edited().write(folder.path(), ExternalData::Never).unwrap_err();
    assert!(matches!(error, Error::Target { .. }), "{error}");
    let error = edited().write(Path::new("/"), ExternalData::Never).unwrap_err();
    assert!(matches!(error, Error::Target { .. }), "{error}");
}

/// Even the superuser cannot create files there.
#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_folder_is_an_error() {
    let error = edited().write(Path::new("/proc/m.onnx"), ExternalData::Never).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
}
