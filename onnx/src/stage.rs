//! A model that is written but has no name yet, with its external data, which are named by their content: so an old
//! model keeps its old data until the new model, which refers to the new ones, is there.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::external::{ExternalFiles, Identity};
use crate::rope::Rope;
use crate::staged_file::{StagedFile, check_target, commit_all, file_name, folder_of};
use crate::tensors::Found;
use crate::{Error, Model, Written, fault, mapped, pb, tensor, tensors};

/// Characters of the content's hash in the name of a data file.
const DIGITS: usize = 16;

/// A model written to the folder it is to appear in, without its name. It can be read back and judged; dropped, it is
/// gone.
#[derive(Debug)]
pub struct Staged {
    model: StagedFile,
    data: Option<(String, StagedFile)>,
    /// Files that the model was made from, whatever they are called.
    sources: Vec<Identity>,
    /// The file that the model was read from.
    source: Option<Identity>,
    written: Written,
}

/// Where a model came from: what must not be removed.
pub(crate) struct Origin {
    pub model: Option<Identity>,
    pub data: Vec<Identity>,
}

impl Staged {
    /// Writes both files; the data under the name that `model` refers to.
    pub(crate) fn new(
        path: &Path,
        model: &Rope,
        data: Option<(String, &Rope)>,
        origin: Origin,
    ) -> Result<Staged, Error> {
        check_target(path)?;
        let written = Written { model_bytes: model.len(), data_bytes: data.as_ref().map_or(0, |data| data.1.len()) };
        let data = match data {
            Some((name, content)) => {
                let path = path.with_file_name(&name);
                check_target(&path)?;
                check_same(&path, content)?;
                Some((name, StagedFile::of_pieces(&path, content.pieces().iter().map(|piece| &**piece))?))
            }
            None => None,
        };
        let model = StagedFile::of_pieces(path, model.pieces().iter().map(|piece| &**piece))?;
        Ok(Staged { model, data, sources: origin.data, source: origin.model, written })
    }

    /// What was written, read back from the staged files.
    ///
    /// # Errors
    /// [`Error::Write`] where they cannot be read; none of the model itself, as [`Edited::model`](crate::Edited::model).
    pub fn model(&self) -> Result<Model, Error> {
        let mut files = ExternalFiles::default();
        if let Some((name, data)) = &self.data {
            files.insert(name.clone(), data.map()?);
        }
        Model::assemble(self.model.map()?, files, None).map_err(|error| error.in_file(self.model.target()))
    }

    /// The sizes.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Gives the files their names, the data first, in place of what has them. A process that is killed at any moment
    /// leaves the old model or the new one, each with its data. The data of the old model are removed last, where they
    /// have a name that this crate gave them.
    ///
    /// # Errors
    /// [`Error::Write`] and [`Error::Target`]; then everything is as before.
    pub fn commit(self) -> Result<Written, Error> {
        self.commit_with(Vec::new())
    }

    /// The same, together with other files, which get their names before the model: all of them appear, or none.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn commit_with(self, others: Vec<StagedFile>) -> Result<Written, Error> {
        // What one process finds outdated another may refer to by then, so they take turns.
        let folder = fs::File::open(folder_of(self.model.target())).ok();
        let _turn = folder.as_ref().filter(|folder| is_locked_soon(folder));
        let outdated = self.outdated();
        let Staged { model, data, written, .. } = self;
        let files = data.into_iter().map(|(_, data)| data).chain(others).chain([model]);
        commit_all(files.collect())?;
        for path in outdated {
            fault::point();
            // What cannot be removed does no harm.
            drop(fs::remove_file(path));
        }
        Ok(written)
    }

    /// The data files of the model that is to be replaced which nothing will refer to.
    fn outdated(&self) -> Vec<PathBuf> {
        let target = self.model.target();
        let Ok(old) = fs::metadata(target) else { return Vec::new() };
        // Under another name the old model stays.
        if links(&old) > 1 {
            return Vec::new();
        }
        let replaces_source = self.source.is_some() && self.source == Identity::of(&old);
        let mut outdated: Vec<PathBuf> = old_locations(target)
            .into_iter()
            .filter(|location| is_own_data(target, location))
            .filter(|location| self.data.as_ref().is_none_or(|(name, _)| name != location))
            .map(|location| target.with_file_name(location))
            .filter(|path| {
                let Ok(there) = fs::symlink_metadata(path) else { return false };
                let read = Identity::of(&there).is_none_or(|identity| self.sources.contains(&identity));
                there.is_file() && (replaces_source || !read)
            })
            .collect();
        outdated.sort();
        outdated.dedup();
        outdated
    }
}

/// Waits for the lock of a file, which ends when it is closed; not for ever, since its holder may have been stopped, and not where
/// the file system has none.
fn is_locked_soon(file: &fs::File) -> bool {
    const PAUSE: Duration = Duration::from_millis(10);
    const PAUSES: usize = 500;
    for _ in 0..PAUSES {
        match file.try_lock() {
            Ok(()) => return true,
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(fs::TryLockError::Error(_)) => return false,
        }
    }
    false
}

/// The name of a data file with this content, for the model file `model`: `NAME.onnx.0123456789abcdef.data`.
pub(crate) fn data_name(model: &Path, content: &Rope) -> Result<String, Error> {
    let problem = "external data need a file name in UTF-8";
    let name = file_name(model)?.to_str().ok_or_else(|| Error::Target { file: model.to_owned(), problem })?;
    let mut hash = blake3::Hasher::new();
    for piece in content.pieces() {
        hash.update(piece);
    }
    Ok(format!("{name}.{}.data", &hash.finalize().to_hex()[..DIGITS]))
}

/// A path that external data of the model file `model` may get: as long as any.
pub fn sample_data_path(model: &Path) -> PathBuf {
    let mut name = model.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".{}.data", "0".repeat(DIGITS)));
    model.with_file_name(name)
}

/// Whether a file of this name may be one that this crate wrote as external data of the model file `model`.
pub fn is_own_data(model: &Path, name: impl AsRef<Path>) -> bool {
    let Some(mut start) = model.file_name().map(OsString::from) else { return false };
    start.push(".");
    let name = name.as_ref().as_os_str().as_encoded_bytes();
    let digits = name.strip_prefix(start.as_encoded_bytes()).and_then(|rest| rest.strip_suffix(b".data"));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Refuses to replace a file that has the name of this content, but another content.
fn check_same(path: &Path, content: &Rope) -> Result<(), Error> {
    let Ok(file) = fs::File::open(path) else { return Ok(()) };
    let same = mapped::map(&file).is_ok_and(|old| {
        let mut rest = &*old;
        old.len() as u64 == content.len()
            && content.pieces().iter().all(|piece| match rest.split_at_checked(piece.len()) {
                Some((head, tail)) => {
                    rest = tail;
                    head == &**piece
                }
                None => false,
            })
    });
    let problem = "another file has the name of these data: move it away";
    if same { Ok(()) } else { Err(Error::Target { file: path.to_owned(), problem }) }
}

/// Where the model at `path` has its data; nothing where it is no readable model.
fn old_locations(path: &Path) -> Vec<String> {
    let read = || -> Option<pb::ModelProto> {
        let bytes: Bytes = mapped::map(&fs::File::open(path).ok()?).ok()?;
        pb::ModelProto::decode(bytes).ok()
    };
    let mut locations = Vec::new();
    if let Some(model) = read() {
        let all = tensors::for_each(&model, &mut |found, _| {
            if let Found::Dense(tensor) = found
                && tensor::is_external(tensor)
            {
                let entries = tensor.external_data.iter().filter(|entry| entry.key() == "location");
                locations.extend(entries.map(|entry| entry.value().to_owned()));
            }
            Ok(())
        });
        drop(all);
    }
    locations.sort();
    locations.dedup();
    locations
}

#[cfg(unix)]
fn links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}

#[cfg(test)]
mod tests;
