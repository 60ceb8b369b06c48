//! External data: files beside the model that hold tensors. A model is input from anywhere, so a location may only
//! name a plain file in or under the model's folder.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::{Error, ExternalProblem, TensorProblem, mapped, pb, tensor};

/// The external data files of a model, mapped.
#[derive(Debug, Default)]
pub(crate) struct ExternalFiles {
    folder: Option<PathBuf>,
    /// The folder of the model file itself, where the one named is a symbolic link.
    real_folder: Option<PathBuf>,
    files: BTreeMap<String, Bytes>,
    identities: Vec<Identity>,
    paths: Vec<PathBuf>,
}

/// Which file it is, whatever its name. `None` where the system does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        Some(Identity(metadata.dev(), metadata.ino()))
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_: &Metadata) -> Option<Identity> {
        None
    }
}

impl ExternalFiles {
    /// For a model in `folder`; `None` where it has none, and so no external data.
    pub(crate) fn new(folder: Option<&Path>) -> ExternalFiles {
        // The parent of a bare file name is the empty path, which no system call takes.
        let folder = folder.map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        ExternalFiles { folder: folder.map(Path::to_owned), ..ExternalFiles::default() }
    }

    /// For a model file at `path`.
    pub(crate) fn of_model(path: &Path) -> ExternalFiles {
        let real = path.canonicalize().ok();
        let real_folder = real.and_then(|real| real.parent().map(Path::to_owned));
        ExternalFiles { real_folder, ..ExternalFiles::new(Some(path.parent().unwrap_or(Path::new("")))) }
    }

    /// A file that is there already, under the name that the model has for it.
    pub(crate) fn insert(&mut self, location: String, content: Bytes) {
        self.files.insert(location, content);
    }

    /// Which files these are.
    pub(crate) fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// Their paths as they were opened.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Opens the file that a checked, external tensor refers to and checks the range. `label` names the tensor.
    pub(crate) fn open(&mut self, tensor: &pb::TensorProto, label: &dyn Fn() -> String) -> Result<Span, Error> {
        let wrong = |problem| Error::Tensor { tensor: label(), problem };
        let reference = Reference::read(tensor).map_err(wrong)?;
        let external = |problem| Error::External { tensor: label(), location: reference.location.clone(), problem };
        if !self.files.contains_key(&reference.location) {
            check_location(&reference.location).map_err(external)?;
            let folder = self.folder.as_deref().ok_or_else(|| wrong(TensorProblem::NoFolder))?;
            let real_folder = self.real_folder.as_deref();
            let (bytes, named) = open_plain(folder, real_folder, &reference.location).map_err(external)?;
            self.identities.extend(Identity::of(&named));
            self.paths.push(folder.join(&reference.location));
            self.files.insert(reference.location.clone(), bytes);
        }
        let file = &self.files[&reference.location];
        let range = reference.range(tensor, file.len() as u64, label)?;
        Ok(Span { location: reference.location, start: range.start, end: range.end })
    }

    /// The data of an external tensor of the model these files belong to.
    pub(crate) fn data(&self, tensor: &pb::TensorProto) -> Result<Bytes, Error> {
        self.locate(tensor).map(|(file, range)| file.slice(range))
    }

    /// The same, borrowed.
    pub(crate) fn slice(&self, tensor: &pb::TensorProto) -> Result<&[u8], Error> {
        self.locate(tensor).map(|(file, range)| &file[range])
    }

    fn locate(&self, tensor: &pb::TensorProto) -> Result<(&Bytes, Range<usize>), Error> {
        let wrong = |problem| Error::Tensor { tensor: tensor.name().to_owned(), problem };
        let reference = Reference::read(tensor).map_err(wrong)?;
        let file = self.files.get(&reference.location).ok_or_else(|| wrong(TensorProblem::NoFolder))?;
        let range = reference.range(tensor, file.len() as u64, &|| tensor.name().to_owned())?;
        Ok((file, range.start as usize..range.end as usize))
    }

    /// The files that were opened, by the names that the model has for them.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(location, content)| (location.as_str(), content.as_ref()))
    }

    /// Whether the model has no external data.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// A stretch of an external file: its first byte and the one after its last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub location: String,
    pub start: u64,
    pub end: u64,
}

/// The entries of `external_data` that matter here. The format lets the later of two equal keys win.
struct Reference {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Reference {
    fn read(tensor: &pb::TensorProto) -> Result<Reference, TensorProblem> {
        let entry = |key: &str| tensor.external_data.iter().rev().find(|entry| entry.key() == key);
        let number = |key: &'static str| entry(key).map(|entry| bytes_number(key, entry.value())).transpose();
        let location = entry("location").map(|entry| entry.value().to_owned()).unwrap_or_default();
        if location.is_empty() {
            return Err(TensorProblem::NoLocation);
        }
        Ok(Reference { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }

    /// The range in a file of `size` bytes. Where the model gives no length, the shape does.
    fn range(&self, tensor: &pb::TensorProto, size: u64, label: &dyn Fn() -> String) -> Result<Range<u64>, Error> {
        let wrong = |problem| Error::Tensor { tensor: label(), problem };
        let expected = tensor::byte_count(tensor).map_err(wrong)?;
        let length = self.length.unwrap_or(expected);
        tensor::check_length(tensor, length, expected).map_err(wrong)?;
        let end = u128::from(self.offset) + u128::from(length);
        if end > u128::from(size) {
            let problem = ExternalProblem::PastEnd { offset: self.offset, end, size };
            return Err(Error::External { tensor: label(), location: self.location.clone(), problem });
        }
        Ok(self.offset..self.offset + length)
    }
}

/// Digits only: the integer parser would also take a plus sign.
fn bytes_number(key: &'static str, value: &str) -> Result<u64, TensorProblem> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { value.parse().ok() } else { None };
    number.ok_or_else(|| TensorProblem::BadNumber { key, value: value.to_owned() })
}

fn check_location(location: &str) -> Result<(), ExternalProblem> {
    let drive = location.as_bytes().get(1) == Some(&b':');
    if location.starts_with('/') {
        return Err(ExternalProblem::Absolute);
    }
    if drive || location.contains(['\\', '\0']) || location.split('/').any(str::is_empty) {
        return Err(ExternalProblem::NotPortable);
    }
    if location.split('/').any(|part| part == "..") {
        return Err(ExternalProblem::Outside);
    }
    Ok(())
}

/// Maps `folder/location`, where every part below `folder` is what it seems to be, or which is a file beside the model
/// file itself: caches of downloads keep the files in one folder and links to them in another.
fn open_plain(folder: &Path, real_folder: Option<&Path>, location: &str) -> Result<(Bytes, Metadata), ExternalProblem> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => ExternalProblem::NotFound,
        _ => ExternalProblem::Read(error),
    };
    let mut path = folder.to_owned();
    let mut named = fs::metadata(folder).map_err(io)?;
    for part in location.split('/') {
        path.push(part);
        named = fs::symlink_metadata(&path).map_err(io)?;
        if named.is_symlink() {
            path = beside(real_folder, &folder.join(location)).ok_or(ExternalProblem::Symlink)?;
            named = fs::symlink_metadata(&path).map_err(io)?;
            break;
        }
    }
    // Before it is opened: opening a pipe would wait.
    check_plain(&named)?;
    let file = File::open(&path).map_err(io)?;
    // What was opened may no longer be what was looked at.
    let opened = file.metadata().map_err(io)?;
    check_plain(&opened)?;
    if !same_file(&named, &opened) {
        return Err(ExternalProblem::Replaced);
    }
    Ok((mapped::map(&file).map_err(ExternalProblem::Read)?, opened))
}

/// The file that `path` leads to, where it lies in `real_folder`.
fn beside(real_folder: Option<&Path>, path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    (real.parent() == Some(real_folder?)).then_some(real)
}

fn check_plain(metadata: &Metadata) -> Result<(), ExternalProblem> {
    if !metadata.is_file() {
        return Err(ExternalProblem::NotRegular);
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(metadata) > 1 {
        return Err(ExternalProblem::Hardlink);
    }
    Ok(())
}

#[cfg(unix)]
fn same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_file(one: &Metadata, other: &Metadata) -> bool {
    one.len() == other.len() && one.modified().ok() == other.modified().ok()
}
