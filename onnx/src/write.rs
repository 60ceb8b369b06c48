//! Files written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::rope::Rope;
use crate::{Error, Written};

/// The external data file of the model file `model`: `NAME.onnx.data`.
pub(crate) fn data_path(model: &Path) -> Result<PathBuf, Error> {
    let mut name = OsString::from(file_name(model)?);
    name.push(".data");
    Ok(model.with_file_name(name))
}

/// How a model refers to a data file beside it.
pub(crate) fn location(data: &Path) -> Result<&str, Error> {
    let problem = "external data need a file name in UTF-8";
    data.file_name().and_then(|name| name.to_str()).ok_or_else(|| Error::Target { file: data.to_owned(), problem })
}

/// Writes both files beside their targets, then puts them in place, the data first.
pub(crate) fn write(model_path: &Path, model: &Rope, data: Option<(&Path, &Rope)>) -> Result<Written, Error> {
    file_name(model_path)?;
    for path in [Some(model_path), data.map(|(path, _)| path)].into_iter().flatten() {
        if path.is_dir() {
            return Err(Error::Target { file: path.to_owned(), problem: "there is a folder of that name" });
        }
    }
    let staged_data = match data {
        Some((path, content)) => Some((path, stage(path, content)?)),
        None => None,
    };
    let staged_model = stage(model_path, model)?;
    place(model_path, staged_model, staged_data)?;
    Ok(Written { model_bytes: model.len(), data_bytes: data.map_or(0, |(_, content)| content.len()) })
}

/// Renames the data file, then the model; where the second fails, undoes the first.
fn place(model_path: &Path, model: TempPath, data: Option<(&Path, TempPath)>) -> Result<(), Error> {
    let mut undo = None;
    if let Some((path, data)) = data {
        let old = keep_old(path).map_err(|problem| failed(path, problem))?;
        data.persist(path).map_err(|error| failed(path, error.error))?;
        undo = Some((path, old));
    }
    if let Err(error) = model.persist(model_path) {
        match undo {
            // Nothing more can be done where undoing fails as well; the first error is the one to tell.
            Some((path, Some(old))) => drop(old.persist(path)),
            Some((path, None)) => drop(fs::remove_file(path)),
            None => {}
        }
        return Err(failed(model_path, error.error));
    }
    // The rename itself is on the disk once the folder is; some file systems do not offer this.
    if let Ok(folder) = File::open(folder_of(model_path)) {
        drop(folder.sync_all());
    }
    Ok(())
}

/// Another name for the file at `path`, if there is one; it goes away when dropped.
fn keep_old(path: &Path) -> io::Result<Option<TempPath>> {
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    // A file system without hard links has to do with moving the old file out of the way.
    let set_aside = |name: &Path| match fs::hard_link(path, name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::rename(path, name),
        linked => linked,
    };
    let old = tempfile::Builder::new().prefix(".old-").make_in(folder_of(path), set_aside)?;
    Ok(Some(old.into_temp_path()))
}

/// A file with this content, flushed to the disk, in the folder of `path`; gone when dropped.
fn stage(path: &Path, content: &Rope) -> Result<TempPath, Error> {
    let write = || {
        let mut file = create_beside(path)?;
        let mut writer = BufWriter::with_capacity(1 << 16, file.as_file_mut());
        content.pieces().iter().try_for_each(|piece| writer.write_all(piece))?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        Ok(file.into_temp_path())
    };
    write().map_err(|problem| failed(path, problem))
}

/// With the rights of a file that is created in the ordinary way, not those of a secret.
fn create_beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(path))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_name(path: &Path) -> Result<&std::ffi::OsStr, Error> {
    path.file_name().ok_or_else(|| Error::Target { file: path.to_owned(), problem: "the path names no file" })
}

fn failed(path: &Path, problem: io::Error) -> Error {
    Error::Write { file: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last step fails where the model's name is suddenly a folder's.
    #[test]
    fn data_are_put_back_where_the_model_cannot_be_placed() {
        for old in [Some("old data"), None] {
            let folder = tempfile::tempdir().unwrap();
            let (model, data) = (folder.path().join("m.onnx"), folder.path().join("m.onnx.data"));
            fs::create_dir(&model).unwrap();
            fs::write(model.join("something"), "").unwrap();
            if let Some(old) = old {
                fs::write(&data, old).unwrap();
            }
            let content = Rope::from(bytes::Bytes::from_static(b"new"));
            let staged = (data.as_path(), stage(&data, &content).unwrap());
            let error = place(&model, stage(&model, &content).unwrap(), Some(staged)).unwrap_err();
            assert!(matches!(error, Error::Write { .. }), "{error}");
            assert_eq!(fs::read_to_string(&data).ok().as_deref(), old);
            let left = fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(left, 1 + usize::from(old.is_some()));
        }
    }
}
