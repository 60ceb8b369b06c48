//! NumPy files as samples. Arrays are mapped where they can be, and unpacked no further than their headers and the model agree.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::array::{Array, Sink, Store, open};
use super::column::Column;
use super::npy::Header;
use super::{InputSpec, LABELS, Labels, Loaded};
use crate::error::Error;
use crate::text::{self, one_line};

/// Bytes read from an archive at a time.
const PIECE: usize = 1 << 20;
/// A byte of deflated data makes no more bytes than this.
const INFLATES: u64 = 1032;

/// An archive may unpack to so many bytes whatever its own size, or to [`REPEATS`] times its size. Arrays that shrink further
/// repeat themselves: so large, they are no samples but an archive made to fill memory.
const SMALL: u64 = 256 << 20;
const REPEATS: u64 = 100;

/// Reads arrays by input name, and labels.
pub(super) fn load_npz(path: &Path, specs: &[InputSpec], memory: u64) -> Result<Loaded, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let file = open(path)?;
    let size = file.metadata().map_or(0, |m| m.len());
    let archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| fail(format!("is not a readable .npz file ({})", one_line(&e.to_string()))))?;
    let names: Vec<String> = archive.file_names().map(|n| n.strip_suffix(".npy").unwrap_or(n).to_string()).collect();
    let mut archive = Archive { archive, path, memory, room: SMALL.max(size.saturating_mul(REPEATS)) };
    let mut columns = Vec::new();
    for spec in specs {
        // Archives of other programs may lack the ending.
        if !names.contains(&spec.name) && archive.archive.index_for_name(&spec.name).is_none() {
            return Err(fail(super::no_array(&spec.name, &names)));
        }
        let fits = |header: &Header| {
            let place = spec.place(&header.shape, header.stored)?;
            spec.whole_batches(&header.shape, place)
        };
        let array = archive.unpack(&spec.name, fits)?;
        columns.push(Column::of(spec, array).map_err(fail)?);
    }
    let labelled = names.iter().any(|n| n == LABELS) && specs.iter().all(|s| s.name != LABELS);
    let labels = if labelled {
        let fits = |header: &Header| match header.shape.as_slice() {
            [_] | [_, 1] => Ok(()),
            shape => Err(format!("array '{LABELS}' has shape {shape:?}; give one label for each sample")),
        };
        let array = archive.unpack(LABELS, fits)?;
        Some(Labels::Array { path: path.to_path_buf(), array })
    } else {
        None
    };
    Ok((columns, labels))
}

/// An archive that is read, and what it may still take.
struct Archive<'p> {
    archive: ZipArchive<BufReader<File>>,
    path: &'p Path,
    /// Bytes that may be kept in memory.
    memory: u64,
    /// Bytes that may still be unpacked.
    room: u64,
}

impl Archive<'_> {
    /// Reads the array `name`, once `fits` has seen its header.
    fn unpack(&mut self, name: &str, fits: impl FnOnce(&Header) -> Result<(), String>) -> Result<Array, Error> {
        let Archive { archive, path, memory, room } = self;
        let shown = text::name(name);
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let unreadable = |e: &dyn std::fmt::Display| fail(format!("array '{shown}' cannot be read ({e})"));
        // Archives of other programs may lack the ending.
        let entry = [format!("{name}.npy"), name.to_owned()].into_iter().find_map(|n| archive.index_for_name(&n));
        let Some(entry) = entry else { return Err(unreadable(&"it is not there")) };
        let mut entry = archive.by_index(entry).map_err(|e| unreadable(&one_line(&e.to_string())))?;
        let header = Header::read(&mut entry).map_err(|e| unreadable(&e))?;
        fits(&header).map_err(fail)?;
        let holds =
            entry.size().min(entry.compressed_size().saturating_mul(INFLATES)).saturating_sub(header.offset as u64);
        let size = header.size as u64;
        if size > holds {
            return Err(unreadable(&format!("its header promises {size} bytes, the file holds at most {holds}")));
        }
        *room = room.checked_sub(size).ok_or_else(|| {
            unreadable(&format!(
                "it would take {size} bytes, more than {REPEATS} times what the archive has: give arrays that large as .npy files"
            ))
        })?;
        // An array that is put in order afterwards is held twice.
        let mut once = if header.is_plain() { None } else { Some(*memory / 2) };
        let mut sink = Sink::new(size, once.as_mut().unwrap_or(memory))?;
        let mut piece = vec![0; PIECE.min(header.size.max(1))];
        let mut left = header.size;
        while left > 0 {
            let part = piece.len().min(left);
            entry.read_exact(&mut piece[..part]).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => unreadable(&"it ends too early"),
                _ => unreadable(&one_line(&e.to_string())),
            })?;
            sink.write(&piece[..part])?;
            left -= part;
        }
        // Reading up to the end compares the checksum.
        match entry.read(&mut piece[..1]) {
            Ok(0) => {}
            Ok(_) => return Err(unreadable(&"it holds more than its header says")),
            Err(e) => return Err(unreadable(&one_line(&e.to_string()))),
        }
        let store = sink.finish()?;
        let store = if header.is_plain() { store } else { header.reorder(store.bytes(), memory)? };
        Ok(Array { shape: header.shape, stored: header.stored, store })
    }
}

/// Reads a `.npy` file: mapped, or put in order where it is stored otherwise.
pub(super) fn read_npy(path: &Path, memory: &mut u64) -> Result<Array, Error> {
    let fail = |e: &dyn std::fmt::Display| Error::Data {
        path: path.to_path_buf(),
        problem: format!("is not a readable .npy file ({e})"),
    };
    let file = open(path)?;
    let map = crate::mapped::map(&file).map_err(|e| fail(&e))?;
    let header = Header::read(&mut &map[..]).map_err(|e| fail(&e))?;
    let end = header.offset.checked_add(header.size).filter(|&end| end <= map.len());
    let Some(end) = end else {
        return Err(fail(&format!(
            "its header promises {} bytes, the file holds {}",
            header.size,
            map.len().saturating_sub(header.offset)
        )));
    };
    let store = if header.is_plain() {
        Store::Mapped { map, offset: header.offset }
    } else {
        header.reorder(&map[header.offset..end], memory)?
    };
    Ok(Array { shape: header.shape, stored: header.stored, store })
}

/// Reads a `.npy` file of labels.
pub(super) fn read_labels(path: &Path) -> Result<Labels, Error> {
    // Labels in order are mapped; others are few.
    Ok(Labels::Array { path: path.to_path_buf(), array: read_npy(path, &mut 0)? })
}

/// Reads a `.npy` file as the samples of one input.
pub(super) fn load_npy(path: &Path, spec: &InputSpec, memory: &mut u64) -> Result<Column, Error> {
    let array = read_npy(path, memory)?;
    Column::of(spec, array).map_err(|problem| Error::Data { path: path.to_path_buf(), problem })
}

/// Reads a folder of arrays: one named after each input, or, for a model with one input, samples in any number of files.
pub(super) fn load_folder(path: &Path, specs: &[InputSpec], memory: u64) -> Result<Loaded, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(|e| fail(format!("cannot be listed ({e})")))?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")))
        .collect();
    files.sort();
    let named =
        |files: &[PathBuf], name: &str| files.iter().find(|p| p.file_stem().is_some_and(|s| s == name)).cloned();
    let labels = named(&files, LABELS).filter(|_| specs.iter().all(|s| s.name != LABELS));
    let labels = match labels {
        Some(p) => {
            files.retain(|f| *f != p);
            Some(read_labels(&p)?)
        }
        None => None,
    };
    let mut left = memory;
    if let Some(inputs) = specs.iter().map(|s| named(&files, &s.name).map(|p| (p, s))).collect::<Option<Vec<_>>>() {
        let inputs = inputs.into_iter().map(|(p, s)| load_npy(&p, s, &mut left)).collect::<Result<_, _>>()?;
        return Ok((inputs, labels));
    }
    let [spec] = specs else {
        let names: Vec<String> = specs.iter().map(|s| format!("{}.npy", s.name)).collect();
        return Err(fail(format!("must hold {}", text::listed(&names))));
    };
    if files.is_empty() {
        return Err(fail(
            "holds neither .npy files nor images (bmp, jpeg, png, pnm, webp), nor folders of images".into(),
        ));
    }
    let column = Column::of(spec, joined(&files, spec, &mut left)?).map_err(fail)?;
    Ok((vec![column], labels))
}

/// The arrays of several files one after another. One sample a file, without a sample axis, is as common as a batch a file.
fn joined(files: &[PathBuf], spec: &InputSpec, memory: &mut u64) -> Result<Array, Error> {
    if let [file] = files
        && spec.sample_axis.is_some_and(|axis| axis > 0)
    {
        return read_npy(file, memory);
    }
    let mut parts: Vec<Array> = Vec::new();
    for file in files {
        let fail = |problem: String| Error::Data { path: file.clone(), problem };
        let mut array = read_npy(file, memory)?;
        let rank = spec.shape.len() + usize::from(spec.sample_axis.is_none());
        if array.shape.len() + 1 == rank {
            array.shape.insert(0, 1);
        }
        // A fixed batch is counted over all files.
        spec.place(&array.shape, array.stored).map_err(fail)?;
        if let Some(first) = parts.first()
            && (first.shape[1..] != array.shape[1..] || first.stored != array.stored)
        {
            return Err(fail(format!(
                "has shape {:?} and type {}, unlike {} with {:?} and {}: give arrays that differ in their number of samples only",
                array.shape,
                array.stored.name(),
                files[0].file_name().unwrap_or_default().to_string_lossy(),
                first.shape,
                first.stored.name()
            )));
        }
        parts.push(array);
    }
    let Some(first) = parts.first() else { return Err(Error::Shape("no arrays".into())) };
    let mut shape = first.shape.clone();
    let stored = first.stored;
    shape[0] = parts.iter().map(|p| p.shape[0]).sum();
    let size = super::array::size(&shape, stored).ok_or_else(|| Error::Shape("the arrays are too large".into()))?;
    let mut sink = Sink::new(size as u64, memory)?;
    for part in &parts {
        let bytes = super::array::size(&part.shape, stored).and_then(|n| part.store.bytes().get(..n));
        sink.write(bytes.unwrap_or_default())?;
    }
    Ok(Array { shape, stored, store: sink.finish()? })
}
