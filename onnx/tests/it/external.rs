//! External data: what is read, what is refused, what is written.

use std::fs;
use std::path::Path;

use adntn_onnx::{Error, ExternalData, ExternalProblem, Model, Patch, TensorProblem, pb};
use prost::Message;

use crate::build::{floats, node, sample};

fn refer(tensor: pb::TensorProto, entries: &[(&str, &str)]) -> pb::TensorProto {
    let entry = |(key, value): &(&str, &str)| pb::StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some((*value).to_owned()),
    };
    pb::TensorProto {
        raw_data: None,
        external_data: entries.iter().map(entry).collect(),
        data_location: Some(1),
        ..tensor
    }
}

/// The sample whose weight `b` (four floats) lies elsewhere.
fn with_external(entries: &[(&str, &str)]) -> pb::ModelProto {
    let mut model = sample();
    let tensor = &mut model.graph.as_mut().unwrap().initializer[1];
    *tensor = refer(tensor.clone(), entries);
    model
}

fn open_in(folder: &Path, model: &pb::ModelProto) -> Result<Model, Error> {
    let path = folder.join("m.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    Model::open(&path)
}

/// A folder with `w.bin`, the floats 0 to 7.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), numbers(0..8)).unwrap();
    folder
}

fn numbers(range: std::ops::Range<u16>) -> Vec<u8> {
    range.flat_map(|number| f32::from(number).to_le_bytes()).collect()
}

#[test]
fn data_are_found_by_offset_and_length() {
    let folder = folder();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::copy(folder.path().join("w.bin"), folder.path().join("sub/w.bin")).unwrap();
    for (entries, first) in [
        (&[("location", "w.bin")][..], 0.0),
        (&[("location", "w.bin"), ("offset", "16"), ("length", "16")], 4.0),
        (&[("location", "sub/w.bin"), ("offset", "4")], 1.0),
        (&[("location", "./w.bin"), ("offset", "8"), ("checksum", "not looked at")], 2.0),
    ] {
        let model = open_in(folder.path(), &with_external(entries)).unwrap();
        let tensor = &model.graph().initializer[1];
        let expected: Vec<f32> = (0..4_u8).map(|step| first + f32::from(step)).collect();
        assert_eq!(*model.floats(tensor).unwrap(), expected[..]);
        let file = fs::metadata(folder.path().join("m.onnx")).unwrap().len();
        assert_eq!(model.size_bytes(), file + 16);
    }
    // An offset that no float could be aligned to.
    fs::write(folder.path().join("odd.bin"), [vec![9], numbers(0..4)].concat()).unwrap();
    let model = open_in(folder.path(), &with_external(&[("location", "odd.bin"), ("offset", "1")])).unwrap();
    assert_eq!(*model.floats(&model.graph().initializer[1]).unwrap(), [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn hostile_locations_are_refused() {
    let folder = folder();
    for (location, part) in [
        ("../w.bin", "`..`"),
        ("sub/../../w.bin", "`..`"),
        ("..", "`..`"),
        ("/etc/passwd", "absolute"),
        ("C:/w.bin", "portable"),
        ("C:w.bin", "portable"),
        ("..\\w.bin", "portable"),
        ("\\\\host\\share\\w.bin", "portable"),
        ("sub//w.bin", "portable"),
        ("w.bin/", "portable"),
        ("w\0.bin", "portable"),
        ("missing.bin", "does not exist"),
        ("w.bin/inner", "cannot be read"),
        (".", "regular"),
    ] {
        let error = open_in(folder.path(), &with_external(&[("location", location)])).unwrap_err();
        assert!(matches!(error.problem(), Error::External { tensor, .. } if tensor == "b"), "{location}: {error}");
        assert!(error.to_string().contains(part), "{location}: {error}");
        assert!(error.to_string().contains("m.onnx"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::copy(at("w.bin"), at("real/w.bin")).unwrap();
    std::os::unix::fs::symlink(at("real/w.bin"), at("soft.bin")).unwrap();
    std::os::unix::fs::symlink(at("real"), at("soft")).unwrap();
    fs::copy(at("w.bin"), at("one.bin")).unwrap();
    fs::hard_link(at("one.bin"), at("two.bin")).unwrap();
    let problem = |location: &str| match open_in(folder.path(), &with_external(&[("location", location)])).unwrap_err()
    {
        Error::InFile { problem, .. } => match *problem {
            Error::External { problem, .. } => problem,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    };
    assert!(matches!(problem("soft.bin"), ExternalProblem::Symlink));
    assert!(matches!(problem("soft/w.bin"), ExternalProblem::Symlink));
    assert!(matches!(problem("one.bin"), ExternalProblem::Hardlink));
    open_in(folder.path(), &with_external(&[("location", "real/w.bin")])).unwrap();
}

/// Caches of downloads keep the files in one folder and links to them in another.
#[cfg(unix)]
#[test]
fn links_to_a_file_beside_the_model_itself_are_followed() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for made in ["blobs", "blobs/sub", "snapshots", "snapshots/abc", "elsewhere"] {
        fs::create_dir(at(made)).unwrap();
    }
    fs::write(at("blobs/1a"), with_external(&[("location", "w.bin"), ("offset", "4")]).encode_to_vec()).unwrap();
    let data = ["blobs/2b", "blobs/sub/2b", "elsewhere/2b"];
    data.iter().for_each(|data| fs::write(at(data), numbers(0..8)).unwrap());
    symlink("../../blobs/1a", at("snapshots/abc/m.onnx")).unwrap();
    for (number, data) in data.iter().enumerate() {
        symlink(Path::new("../..").join(data), at("snapshots/abc/w.bin")).unwrap();
        match Model::open(&at("snapshots/abc/m.onnx")) {
            Ok(model) => {
                assert_eq!(number, 0, "{data}");
                assert_eq!(*model.floats(&model.graph().initializer[1]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
                // What is written has its data inside the file or beside it.
                let out = at("out.onnx");
                model.apply(&Patch::default()).unwrap().write(&out, ExternalData::Auto).unwrap();
                Model::open(&out).unwrap();
            }
            Err(error) => {
                assert!(number > 0 && error.to_string().contains("symbolic link"), "{data}: {error}");
            }
        }
        fs::remove_file(at("snapshots/abc/w.bin")).unwrap();
    }
}

/// Only the stretches that tensors refer to are ever looked at.
#[cfg(target_os = "linux")]
#[test]
fn a_huge_sparse_file_is_not_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("w.bin")).unwrap();
    file.set_len(10 << 30).unwrap();
    let offset = ((10_u64 << 30) - 16).to_string();
    let model = open_in(folder.path(), &with_external(&[("location", "w.bin"), ("offset", &offset)])).unwrap();
    let edited = model.apply(&Patch::default()).unwrap();
    let since = std::time::Instant::now();
    for external in [ExternalData::Always, ExternalData::Auto] {
        let written = edited.write(&folder.path().join("out.onnx"), external).unwrap();
        assert!(written.model_bytes + written.data_bytes < 10_000);
    }
    assert!(since.elapsed().as_secs() < 5);
}

/// Many tensors of just the size that goes out, where gaps of a page would take three times their data.
#[test]
fn external_data_take_no_more_than_what_was_read() {
    let mut model = sample();
    let values: Vec<f32> = (0..300_u16).map(f32::from).collect();
    let tensors = (0..200).map(|n| floats(&format!("t{n}"), &values)).chain([floats("big", &[1.5; 200_000])]);
    model.graph.as_mut().unwrap().initializer.extend(tensors);
    let original = Model::from_bytes(model.encode_to_vec().into(), None).unwrap();
    let shrunk = Patch {
        replace_initializers: (0..200).map(|n| (format!("t{n}"), floats(&format!("t{n}"), &values[..280]))).collect(),
        ..Patch::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let written = original.apply(&shrunk).unwrap().write(&folder.path().join("m.onnx"), ExternalData::Always).unwrap();
    assert!(written.model_bytes + written.data_bytes <= original.size_bytes(), "{written:?}");
    assert!(written.data_bytes >= 800_000, "{written:?}");
}

#[test]
fn impossible_ranges_are_refused() {
    let folder = folder();
    for (key, value, part) in [
        ("offset", "20", "bytes 20 to 36 pass its end at 32"),
        ("offset", "18446744073709551615", "pass its end"),
        ("offset", "-4", "`-4`"),
        ("offset", "+4", "`+4`"),
        ("offset", "4 ", "`4 `"),
        ("offset", "", "``"),
        ("offset", "0x10", "`0x10`"),
        ("offset", "18446744073709551616", "not a number of bytes"),
        ("length", "-1", "`-1`"),
        ("length", "15", "15 bytes"),
        ("length", "17", "17 bytes"),
        ("length", "18446744073709551615", "18446744073709551615 bytes"),
    ] {
        let error = open_in(folder.path(), &with_external(&[("location", "w.bin"), (key, value)])).unwrap_err();
        assert!(error.to_string().contains(part) && error.to_string().contains("`b`"), "{key} {value}: {error}");
    }
    let error = open_in(folder.path(), &with_external(&[])).unwrap_err();
    assert!(matches!(error.problem(), Error::Tensor { problem: TensorProblem::NoLocation, .. }), "{error}");
}

#[test]
fn without_a_folder_there_are_no_external_data() {
    let bytes = with_external(&[("location", "w.bin")]).encode_to_vec();
    let error = Model::from_bytes(bytes.into(), None).unwrap_err();
    assert!(matches!(error, Error::Tensor { problem: TensorProblem::NoFolder, .. }), "{error}");
}

/// The sample with a large weight, a large typed one, a small one and one in a body.
fn large() -> pb::ModelProto {
    let mut model = sample();
    let graph = model.graph.as_mut().unwrap();
    let values: Vec<f32> = (0..300_u16).map(f32::from).collect();
    graph.initializer.push(floats("large", &values));
    graph.initializer.push(pb::TensorProto { raw_data: None, float_data: values.clone(), ..floats("typed", &values) });
    let body = graph.node[3].attribute[0].g.as_mut().unwrap();
    body.initializer.push(floats("in_body", &values));
    model
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    let tensor = &model.graph().initializer[model.index().initializer(name).unwrap()];
    model.floats(tensor).unwrap().into_owned()
}

/// The only data file in a folder.
fn data_of(folder: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "data")).unwrap()
}

/// Where gaps cost nothing that counts, tensors lie as readers that map them like it.
#[test]
fn large_tensors_begin_on_pages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let mut model = large();
    let big = |name: &str| floats(name, &[1.0; 20_000]);
    model.graph.as_mut().unwrap().initializer.extend([big("big"), floats("gone", &[0.0; 5_000]), big("bigger")]);
    let original = Model::from_bytes(model.encode_to_vec().into(), None).unwrap();
    let patch = Patch { remove_initializers: ["gone".into()].into(), ..Patch::default() };
    original.apply(&patch).unwrap().write(&path, ExternalData::Always).unwrap();
    let read = Model::open(&path).unwrap();
    for tensor in read.graph().initializer.iter().filter(|tensor| !tensor.external_data.is_empty()) {
        let offset = tensor.external_data.iter().find(|entry| entry.key() == "offset").unwrap().value();
        let step = if tensor.name().starts_with("big") { 4096 } else { 64 };
        assert!(offset.parse::<u64>().unwrap().is_multiple_of(step), "{}: {offset}", tensor.name());
        assert_eq!(values(&read, tensor.name()), values(&original, tensor.name()));
    }
}

#[test]
fn large_tensors_go_out_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("inside.onnx"), folder.path().join("outside.onnx"));
    let original = Model::from_bytes(large().encode_to_vec().into(), None).unwrap();
    let written = original.apply(&Patch::default()).unwrap().write(&outside, ExternalData::Always).unwrap();
    assert_eq!(written.model_bytes, fs::metadata(&outside).unwrap().len());
    let data = data_of(folder.path());
    assert_eq!(written.data_bytes, fs::metadata(&data).unwrap().len());
    assert_eq!(written.data_bytes, 3 * 1200);

    let read = Model::open(&outside).unwrap();
    for name in ["a", "large", "typed"] {
        assert_eq!(values(&read, name), values(&original, name));
    }
    let offsets: Vec<_> = read.graph().initializer.iter().flat_map(|tensor| &tensor.external_data).collect();
    let offsets: Vec<_> = offsets.iter().filter(|entry| entry.key() == "offset").map(|entry| entry.value()).collect();
    assert_eq!(offsets.len(), 2, "the small tensors stay inside");
    assert!(offsets.iter().all(|offset| offset.parse::<u64>().unwrap() % 8 == 0));
    assert_eq!(read.size_bytes(), written.model_bytes + 3 * 1200);

    // Written out again, its data move to the new file; written in, they become raw data.
    let again = folder.path().join("again.onnx");
    read.apply(&Patch::default()).unwrap().write(&again, ExternalData::Always).unwrap();
    fs::remove_file(data).unwrap();
    let again = Model::open(&again).unwrap();
    let embedded = again.apply(&Patch::default()).unwrap();
    let written = embedded.write(&inside, ExternalData::Auto).unwrap();
    assert_eq!((written.model_bytes, written.data_bytes), (embedded.len(), 0));
    let inside = Model::open(&inside).unwrap();
    assert_eq!(inside.proto(), embedded.model().unwrap().proto());
    for name in ["a", "large", "typed"] {
        assert_eq!(values(&inside, name), values(&original, name));
    }
    assert_eq!(inside.graph().node, original.graph().node);
}

#[test]
fn data_of_a_patch_go_out_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let original = Model::from_bytes(large().encode_to_vec().into(), None).unwrap();
    let patch = Patch {
        add_initializers: vec![floats("new", &[2.0; 400])],
        insert_nodes: vec![(0, node("Neg", &["new"], &["n"]))],
        ..Patch::default()
    };
    let written = original.apply(&patch).unwrap().write(&path, ExternalData::Always).unwrap();
    assert_eq!(written.data_bytes, 3 * 1200 + 1600);
    let read = Model::open(&path).unwrap();
    assert_eq!(values(&read, "new"), vec![2.0; 400]);
    assert_eq!(values(&read, "large"), values(&original, "large"));
}

#[test]
fn a_model_may_be_written_over_its_own_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let original = Model::from_bytes(large().encode_to_vec().into(), None).unwrap();
    original.apply(&Patch::default()).unwrap().write(&path, ExternalData::Always).unwrap();
    let read = Model::open(&path).unwrap();
    let patch =
        Patch { replace_initializers: [("large".into(), floats("large", &[3.0; 500]))].into(), ..Patch::default() };
    read.apply(&patch).unwrap().write(&path, ExternalData::Always).unwrap();
    // What was opened before still reads the old data.
    assert_eq!(values(&read, "large"), values(&original, "large"));
    let new = Model::open(&path).unwrap();
    assert_eq!(values(&new, "large"), vec![3.0; 500]);
    assert_eq!(values(&new, "typed"), values(&original, "typed"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_patch_cannot_bring_external_data() {
    let original = Model::from_bytes(sample().encode_to_vec().into(), None).unwrap();
    let elsewhere = refer(floats("new", &[1.0]), &[("location", "w.bin")]);
    let patch = Patch { add_initializers: vec![elsewhere], ..Patch::default() };
    assert!(matches!(original.apply(&patch), Err(Error::Tensor { problem: TensorProblem::NoFolder, .. })));
}

#[test]
fn without_large_tensors_no_data_file_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let original = Model::from_bytes(sample().encode_to_vec().into(), None).unwrap();
    let written = original.apply(&Patch::default()).unwrap().write(&path, ExternalData::Always).unwrap();
    assert_eq!(written.data_bytes, 0);
    assert_eq!(fs::read(&path).unwrap(), sample().encode_to_vec());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
