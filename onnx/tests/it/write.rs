//! Files are written whole or not at all.

use std::fs;
use std::path::Path;

use adntn_onnx::{Edited, Error, ExternalData, Model, Patch, StagedFile, pb};
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

/// The name of the only data file in a folder.
fn data_name(folder: &Path) -> String {
    let mut data = names(folder).into_iter().filter(|name| name.ends_with(".data"));
    let name = data.next().unwrap();
    assert_eq!(data.next(), None);
    name
}

#[test]
fn data_are_named_by_their_content_and_replace_only_the_own_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let others = ["m.onnx.data", "m.onnx.0123456789abcdef.data", "n.onnx.0123456789abcdef.data"];
    for other in others {
        fs::write(folder.path().join(other), "not of this model").unwrap();
    }
    edited().write(&path, ExternalData::Always).unwrap();
    let first: Vec<_> = names(folder.path()).into_iter().filter(|name| !others.contains(&name.as_str())).collect();
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(adntn_onnx::is_own_data(&path, &first[1]) && !adntn_onnx::is_own_data(&path, others[0]), "{first:?}");
    assert_eq!(fs::metadata(folder.path().join(&first[1])).unwrap().len(), 4000);
    // The same again changes nothing.
    edited().write(&path, ExternalData::Always).unwrap();
    assert_eq!(names(folder.path()).len(), 5);
    // Without data the old ones go, and nothing else.
    edited().write(&path, ExternalData::Never).unwrap();
    let mut left: Vec<_> = others.into_iter().chain(["m.onnx"]).collect();
    left.sort_unstable();
    assert_eq!(names(folder.path()), left);
}

#[test]
fn data_that_another_model_reads_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("m.onnx"), folder.path().join("copy.onnx"));
    edited().write(&path, ExternalData::Always).unwrap();
    fs::copy(&path, &copy).unwrap();
    // The model that is read has its data under the name of the one that is replaced.
    let source = Model::open(&copy).unwrap();
    source.apply(&Patch::default()).unwrap().write(&path, ExternalData::Never).unwrap();
    Model::open(&copy).unwrap();
    // As a hard link the old model stays under its other name, and so do its data.
    edited().write(&path, ExternalData::Always).unwrap();
    fs::hard_link(&path, folder.path().join("link.onnx")).unwrap();
    edited().write(&path, ExternalData::Never).unwrap();
    Model::open(&folder.path().join("link.onnx")).unwrap();
}

#[test]
fn whoever_writes_the_same_model_at_the_same_time_its_data_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let write = |external| {
        for _ in 0..100 {
            edited().write(&path, external).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write(ExternalData::Always));
        scope.spawn(|| write(ExternalData::Never));
        for _ in 0..100 {
            edited().write(&path, ExternalData::Always).unwrap();
            // The other one may replace the model, and remove its data, between both reads of opening it.
            let opened = (0..50).any(|_| Model::open(&path).is_ok());
            assert!(opened);
        }
    });
    let model = Model::open(&path).unwrap();
    let own = 1 + model.external_files().len();
    assert_eq!(names(folder.path()).len(), own);
}

#[test]
fn a_name_of_the_content_with_another_content_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    edited().write(&path, ExternalData::Always).unwrap();
    let data = folder.path().join(data_name(folder.path()));
    fs::write(&data, vec![7; 4000]).unwrap();
    let error = edited().write(&path, ExternalData::Always).unwrap_err();
    assert!(matches!(error, Error::Target { .. }) && error.to_string().contains(".data"), "{error}");
    assert_eq!(fs::read(&data).unwrap(), vec![7; 4000]);
}

#[test]
fn what_is_staged_can_be_read_and_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    for external in [ExternalData::Never, ExternalData::Always] {
        let staged = edited().stage(&path, external).unwrap();
        #[cfg(target_os = "linux")]
        assert!(names(folder.path()).is_empty());
        let read = staged.model().unwrap();
        let tensor = &read.graph().initializer[read.index().initializer("large").unwrap()];
        assert_eq!(*read.floats(tensor).unwrap(), [1.0; 1000]);
        drop(staged);
        assert!(names(folder.path()).is_empty());
    }
    let staged = edited().stage(&path, ExternalData::Always).unwrap();
    let written = staged.written();
    assert_eq!(staged.commit().unwrap(), written);
    assert_eq!(written.model_bytes, fs::metadata(&path).unwrap().len());
}

#[test]
fn several_files_appear_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("old.json"), "old").unwrap();
    let files = || ["old.json", "new.svg"].map(|name| StagedFile::new(&at(name), b"new").unwrap()).into();
    // The last step fails where the model's name is suddenly a folder's.
    let staged = edited().stage(&at("m.onnx"), ExternalData::Always).unwrap();
    let others: Vec<StagedFile> = files();
    fs::create_dir(at("m.onnx")).unwrap();
    let error = staged.commit_with(others).unwrap_err();
    assert!(matches!(error, Error::Target { .. }), "{error}");
    assert_eq!(names(folder.path()), ["m.onnx", "old.json"]);
    assert_eq!(fs::read(at("old.json")).unwrap(), b"old");
    fs::remove_dir(at("m.onnx")).unwrap();
    edited().stage(&at("m.onnx"), ExternalData::Never).unwrap().commit_with(files()).unwrap();
    assert_eq!(names(folder.path()), ["m.onnx", "new.svg", "old.json"]);
    assert_eq!(fs::read(at("old.json")).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn nothing_but_regular_files_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "kept").unwrap();
    std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("broken")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for name in ["link", "broken", "socket", "/dev/null"] {
        for external in [ExternalData::Never, ExternalData::Always] {
            let error = edited().write(&at(name), external).unwrap_err();
            assert!(matches!(error, Error::Target { .. }) && error.to_string().contains(name), "{error}");
        }
        assert!(matches!(StagedFile::new(&at(name), b""), Err(Error::Target { .. })));
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"kept");
    assert_eq!(names(folder.path()), ["broken", "file", "link", "socket"]);
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
    edited().write(&path, ExternalData::Always).unwrap();
    let data = folder.path().join(data_name(folder.path()));
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let error = edited().write(&path, ExternalData::Always).unwrap_err();
    assert!(error.to_string().contains(".data") && error.to_string().contains("folder"), "{error}");
    assert_eq!(names(folder.path()).len(), 2);
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
