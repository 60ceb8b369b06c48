//! The tiny models on disk are what `make_tiny` makes, and each has its parameter file.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../examples/tiny/mod.rs"]
mod tiny;

use std::collections::BTreeSet;

#[test]
fn the_files_are_what_the_program_makes() {
    let mut names = BTreeSet::new();
    for (name, bytes) in tiny::files() {
        let file = common::tiny().join(format!("{name}.onnx"));
        let found = std::fs::read(&file).unwrap_or_else(|e| panic!("{name}.onnx: {e}; run the example make_tiny"));
        assert!(found == bytes, "{name}.onnx differs from what the example make_tiny writes");
        names.insert(name.to_owned());
    }
    for (extension, what) in [("onnx", "models"), ("toml", "parameter files")] {
        let found: BTreeSet<String> = std::fs::read_dir(common::tiny())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == extension))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(found, names, "{what}");
    }
}
