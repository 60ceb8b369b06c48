//! Which files a compilation reads and which it writes: none of them may be both.

use std::fs::{self, FileType, Metadata};
use std::path::{Path, PathBuf};

use adntn_onnx::{Model, check_target, is_own_data, sample_data_path};

use crate::error::Error;
use crate::options::Options;

/// How deep a folder of samples is read: images may lie in folders of their own, one a class.
const DEPTH: usize = 2;

/// A path and what it is for.
struct Named<'p> {
    what: &'static str,
    path: &'p Path,
}

/// Refuses paths that name one file for two purposes, of which one is writing, or something that cannot be read or
/// replaced: before any work, and once `model` is open with its external data too.
pub(crate) fn check(options: &Options, model: Option<&Model>) -> Result<(), Error> {
    let reads = reads(options, model);
    let writes = writes(options);
    for read in &reads {
        check_readable(read)?;
    }
    if options.external_data && options.writes_model() {
        // Its name is longer than the output's, and some are too long.
        check_target(&sample_data_path(&options.output))?;
    }
    if let Some(cache) = options.cache.as_ref().filter(|_| !options.dry_run) {
        let cache = Named { what: "the cache", path: &cache.folder };
        let place = Place::of(cache.path);
        if let Some(read) = reads.iter().find(|read| lies_in(&place, read.path)) {
            return Err(overlap(&cache, read));
        }
    }
    for (number, write) in writes.iter().enumerate() {
        check_target(write.path)?;
        if let Some(other) = writes[..number].iter().find(|other| Place::of(other.path).is(&Place::of(write.path))) {
            return Err(overlap(write, other));
        }
        let output = Named { what: OUTPUT, path: &options.output };
        if write.what != OUTPUT && would_be_data(&output, write) {
            return Err(overlap(write, &Named { what: "the output's external data", ..output }));
        }
        let target = Place::of(write.path);
        for read in reads.iter().filter(|read| !(read.what == write.what && read.path == write.path)) {
            if target.is(&Place::of(read.path)) || lies_in(&target, read.path) || would_be_data(write, read) {
                return Err(overlap(write, read));
            }
        }
    }
    Ok(())
}

fn overlap(write: &Named<'_>, other: &Named<'_>) -> Error {
    Error::Overlap {
        what: write.what,
        path: write.path.to_owned(),
        other: other.what,
        other_path: other.path.to_owned(),
    }
}

fn reads<'o>(options: &'o Options, model: Option<&'o Model>) -> Vec<Named<'o>> {
    let training = &options.training;
    let given = [
        ("the model", Some(&options.input)),
        ("the calibration samples", options.calibration.as_ref()),
        ("the labels", options.labels.as_ref()),
        ("the held-out samples", options.held_out.as_ref()),
        ("the held-out labels", options.held_out_labels.as_ref()),
        ("the settings", options.settings.as_ref()),
        (CHECKPOINT, training.checkpoint.as_ref().filter(|_| training.resume)),
    ];
    let given = given.into_iter().filter_map(|(what, path)| Some(Named { what, path: path? }));
    let data = model.into_iter().flat_map(Model::external_files);
    given.chain(data.map(|path| Named { what: "the model's external data", path })).collect()
}

const CHECKPOINT: &str = "the checkpoint";
const OUTPUT: &str = "the output";

fn writes(options: &Options) -> Vec<Named<'_>> {
    let written = [
        (OUTPUT, Some(&options.output).filter(|_| options.writes_model())),
        ("the report", options.report.as_ref()),
        ("the diagram", options.diagram.as_ref()),
        (CHECKPOINT, options.training.checkpoint.as_ref().filter(|_| options.writes_model())),
        ("the plan", options.plan.as_ref()),
    ];
    written.into_iter().filter_map(|(what, path)| Some(Named { what, path: path? })).collect()
}

/// Whether external data of the output may get the name of another file, or have it from an earlier run.
fn would_be_data(output: &Named<'_>, other: &Named<'_>) -> bool {
    let beside = |path: &Path| folder_of(path).canonicalize().ok();
    output.what == OUTPUT
        && other.path.file_name().is_some_and(|name| is_own_data(output.path, name))
        && beside(output.path) == beside(other.path)
}

/// Refuses what would be waited for, such as a pipe. What is missing is told by who reads it.
fn check_readable(read: &Named<'_>) -> Result<(), Error> {
    let refuse = |path: &Path| Err(Error::NotAFile { what: read.what, path: path.to_owned() });
    let Ok(there) = fs::metadata(read.path) else { return Ok(()) };
    if !there.is_dir() {
        return if there.is_file() { Ok(()) } else { refuse(read.path) };
    }
    let mut found = None;
    walk(read.path, DEPTH, &mut |path, kind| {
        let plain = |kind: FileType| kind.is_file() || kind.is_dir();
        let odd = match kind.is_symlink() {
            true => fs::metadata(path).is_ok_and(|there| !plain(there.file_type())),
            false => !plain(kind),
        };
        if odd && found.is_none() {
            found = Some(path.to_owned());
        }
    });
    found.map_or(Ok(()), |path| refuse(&path))
}

/// Whether a file that is written lies in a folder that is read, or is one of the files there under another name.
fn lies_in(target: &Place, folder: &Path) -> bool {
    let Ok(real) = folder.canonicalize() else { return false };
    if !real.is_dir() {
        return false;
    }
    if target.real.as_ref().is_some_and(|path| path.starts_with(&real)) {
        return true;
    }
    let Some(identity) = target.identity else { return false };
    let mut found = false;
    walk(&real, DEPTH, &mut |path, _| found = found || fs::metadata(path).ok().and_then(identify) == Some(identity));
    found
}

/// Calls `visit` with everything in a folder, and in the folders there, so many levels deep.
fn walk(folder: &Path, depth: usize, visit: &mut dyn FnMut(&Path, FileType)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        visit(&path, kind);
        if depth > 1 && (kind.is_dir() || kind.is_symlink() && path.is_dir()) {
            walk(&path, depth - 1, visit);
        }
    }
}

/// Where a file is or would be.
struct Place {
    /// Its path without links.
    real: Option<PathBuf>,
    /// Device and number of a file that exists: the same under all its names.
    identity: Option<(u64, u64)>,
}

impl Place {
    fn of(path: &Path) -> Place {
        let would_be = || Some(folder_of(path).canonicalize().ok()?.join(path.file_name()?));
        let real = path.canonicalize().ok().or_else(would_be);
        Place { real, identity: fs::metadata(path).ok().and_then(identify) }
    }

    fn is(&self, other: &Place) -> bool {
        let same = |one: &Option<PathBuf>, other: &Option<PathBuf>| one.is_some() && one == other;
        same(&self.real, &other.real) || self.identity.is_some() && self.identity == other.identity
    }
}

#[cfg(unix)]
fn identify(metadata: Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identify(_: Metadata) -> Option<(u64, u64)> {
    None
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
