//! Names the sources, manifests, profile and target that a build is made of, so that a cache never takes what another state of the
//! compiler has left for its own.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

const CRATES: [&str; 8] = ["compiler", "passes", "graph", "fit", "families", "networks", "contraction", "onnx"];

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let mut files = BTreeMap::new();
    for name in CRATES {
        collect(&root.join(name).join("src"), name, &mut files);
    }
    let manifests = CRATES.iter().map(|name| format!("{name}/Cargo.toml"));
    for name in manifests.chain(["Cargo.toml".to_owned(), "Cargo.lock".to_owned()]) {
        if let Ok(content) = std::fs::read(root.join(&name)) {
            println!("cargo:rerun-if-changed={}", root.join(&name).display());
            files.insert(name, content);
        }
    }
    // Sums are rounded otherwise in another profile or for another target.
    for name in ["PROFILE", "TARGET"] {
        files.insert(name.to_owned(), std::env::var(name).unwrap_or_default().into_bytes());
    }
    let mut hash = DefaultHasher::new();
    files.hash(&mut hash);
    println!("cargo:rustc-env=ADNTN_SOURCES={:016x}", hash.finish());
}

/// The files in a folder, by their place in it.
fn collect(folder: &Path, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), format!("{name}/{}", entry.file_name().to_string_lossy()));
        if path.is_dir() {
            collect(&path, &name, files);
        } else if let Ok(content) = std::fs::read(&path) {
            files.insert(name, content);
        }
    }
}
