//! Files that are written before they have their names: whole or not at all, several of them together.
//!
//! Where the system offers it (Linux), a staged file has no name until it gets its own, so that nothing is left behind
//! by a process that is killed. Where an old file is replaced, the new one needs another name for a moment; such names
//! begin with [`PREFIX`], their files are locked, and one whose owner is gone is removed by the next write to the same
//! target.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::{Error, fault};

/// Names for a moment begin with this.
const PREFIX: &str = ".writing-";

/// The content of a file, on the disk but not under its name yet. Dropped, it is gone.
#[derive(Debug)]
pub struct StagedFile {
    target: PathBuf,
    file: File,
    /// The name it has until then, where the system has no files without one.
    name: Option<TempPath>,
}

impl StagedFile {
    /// Writes `content` to a file that is to be `target`, in its folder, and flushes it to the disk.
    ///
    /// # Errors
    /// As for [`check_target`]; [`Error::Write`] where the folder cannot be written or the disk is full.
    pub fn new(target: &Path, content: &[u8]) -> Result<StagedFile, Error> {
        StagedFile::of_pieces(target, [content])
    }

    pub(crate) fn of_pieces<'p>(
        target: &Path,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<StagedFile, Error> {
        check_target(target)?;
        sweep(target);
        let write = || {
            let (file, name) = create(target)?;
            fault::point();
            let mut writer = BufWriter::with_capacity(1 << 16, &file);
            pieces.into_iter().try_for_each(|piece| writer.write_all(piece))?;
            writer.flush()?;
            drop(writer);
            fault::point();
            file.sync_all()?;
            Ok(StagedFile { target: target.to_owned(), file, name })
        };
        write().map_err(|problem| failed(target, problem))
    }

    /// Where it is to appear.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// What was written, mapped.
    pub(crate) fn map(&self) -> Result<bytes::Bytes, Error> {
        crate::mapped::map(&self.file).map_err(|problem| failed(&self.target, problem))
    }

    /// Gives the file its name, in place of what has it.
    ///
    /// # Errors
    /// As for [`commit_all`].
    pub fn commit(self) -> Result<(), Error> {
        commit_all(vec![self])
    }

    fn take_name(self) -> Result<(), Error> {
        let StagedFile { target, file, name } = self;
        check_target(&target)?;
        let persist = |name: TempPath| {
            fault::point();
            name.persist(&target).map_err(|error| error.error)
        };
        let named = match name {
            Some(name) => persist(name),
            None => {
                fault::point();
                match link(&file, &target) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        fault::point();
                        let mut names = tempfile::Builder::new();
                        let name = names.prefix(&prefix(&target)).make_in(folder_of(&target), |name| link(&file, name));
                        name.and_then(|name| persist(name.into_temp_path()))
                    }
                    linked => linked,
                }
            }
        };
        named.map_err(|problem| failed(&target, problem))?;
        fault::point();
        // A name is on the disk once its folder is; some file systems do not offer this.
        if let Ok(folder) = File::open(folder_of(&target)) {
            drop(folder.sync_all());
        }
        Ok(())
    }
}

/// Gives files their names, one after the other. Where one cannot have its own, those before it are taken back, and
/// everything is as before.
///
/// # Errors
/// [`Error::Target`] and [`Error::Write`] for the file that cannot have its name.
pub fn commit_all(files: Vec<StagedFile>) -> Result<(), Error> {
    let mut undo: Vec<(PathBuf, Option<Kept>)> = Vec::new();
    let last = files.len().saturating_sub(1);
    for (number, file) in files.into_iter().enumerate() {
        let target = file.target.clone();
        // After the last one there is nothing to go wrong.
        let old = if number == last { Ok(None) } else { keep_old(&target) };
        let placed = old.map_err(|problem| failed(&target, problem)).and_then(|old| file.take_name().map(|()| old));
        match placed {
            Ok(old) => undo.push((target, old)),
            Err(error) => {
                for (path, old) in undo.into_iter().rev() {
                    // Nothing more can be done where undoing fails as well; the first error is the one to tell.
                    match old {
                        Some(old) => drop(old.name.persist(path)),
                        None => drop(fs::remove_file(path)),
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Whether a file may be written to `path`: nothing is there, or a regular file. A symbolic link is refused, since
/// replacing it would leave the file it points at as it is, and writing through it would change a file that was not
/// named.
///
/// # Errors
/// [`Error::Target`] where it may not; [`Error::Write`] where the system does not say.
pub fn check_target(path: &Path) -> Result<(), Error> {
    file_name(path)?;
    let refuse = |problem| Err(Error::Target { file: path.to_owned(), problem });
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Ok(()),
        Ok(there) if there.is_dir() => refuse("there is a folder of that name"),
        Ok(there) if there.is_symlink() => refuse("it is a symbolic link: name the file itself"),
        Ok(_) => refuse("it is no regular file but a device, a pipe or a socket: choose another path"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, error)),
    }
}

/// An old file under another name, which goes away when dropped.
struct Kept {
    name: TempPath,
    /// Keeps the lock.
    _file: Option<File>,
}

/// Another name for the file at `path`, if there is one.
fn keep_old(path: &Path) -> io::Result<Option<Kept>> {
    fault::point();
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = File::open(path).ok();
    if let Some(file) = &file {
        drop(file.try_lock());
    }
    // A file system without hard links has to do with moving the old file out of the way.
    let set_aside = |name: &Path| match fs::hard_link(path, name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::rename(path, name),
        linked => linked,
    };
    fault::point();
    let mut names = tempfile::Builder::new();
    let name = names.prefix(&prefix(path)).make_in(folder_of(path), set_aside)?.into_temp_path();
    Ok(Some(Kept { name, _file: file }))
}

/// A new file in the folder of `target`, locked, with the rights of one that is created in the ordinary way.
fn create(target: &Path) -> io::Result<(File, Option<TempPath>)> {
    if let Some(file) = create_unnamed(folder_of(target))? {
        drop(file.try_lock());
        return Ok((file, None));
    }
    let prefix = prefix(target);
    let mut names = tempfile::Builder::new();
    names.prefix(&prefix);
    #[cfg(unix)]
    names.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let (file, name) = names.tempfile_in(folder_of(target))?.into_parts();
    drop(file.try_lock());
    Ok((file, Some(name)))
}

/// `None` where the system or the file system has no files without a name.
#[cfg(target_os = "linux")]
fn create_unnamed(folder: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    if !Path::new(OPEN_FILES).is_dir() {
        return Ok(None);
    }
    fault::point();
    match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o666)) {
        Ok(file) => Ok(Some(file.into())),
        // What systems say that do not know the flag, or know it and cannot do it.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn create_unnamed(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// The folder in which the system lists the open files of this process.
#[cfg(target_os = "linux")]
const OPEN_FILES: &str = "/proc/self/fd";

/// Gives a file without a name one that nothing has.
#[cfg(target_os = "linux")]
fn link(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd;
    let open = format!("{OPEN_FILES}/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, open, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How names for a moment beside `target` begin, told from those of other targets.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    format!("{PREFIX}{}-", &blake3::hash(name).to_hex()[..8])
}

/// Removes what a process that was killed has left of `target`: a file whose lock is free has no owner. What cannot be
/// listed, opened or removed stays; so does everything where there is no `target`, since it may be the old one, moved aside.
fn sweep(target: &Path) {
    if fs::symlink_metadata(target).is_err() {
        return;
    }
    let prefix = prefix(target);
    let Ok(entries) = fs::read_dir(folder_of(target)) else { return };
    for entry in entries.flatten() {
        let regular = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !regular || !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn file_name(path: &Path) -> Result<&std::ffi::OsStr, Error> {
    path.file_name().ok_or_else(|| Error::Target { file: path.to_owned(), problem: "the path names no file" })
}

fn failed(path: &Path, problem: io::Error) -> Error {
    Error::Write { file: path.to_owned(), problem }
}
