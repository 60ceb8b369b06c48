//! NumPy files as samples. Arrays are mapped, or unpacked into a mapped file when they are larger than memory allows.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, ArrayViewD, OwnedRepr};
use ndarray_npy::{NpzReader, ReadNpyError, ReadNpzError, ReadableElement, ViewElement, ViewNpyError, ViewNpyExt as _};
use tract_onnx::prelude::{Datum, DatumType, Tensor};
use zip::ZipArchive;

use super::column::Column;
use super::{InputSpec, LABELS, Loaded, element_name};
use crate::error::Error;

/// A type that arrays of samples may have.
trait Element: ReadableElement + ViewElement + Datum + Copy {}
impl<T: ReadableElement + ViewElement + Datum + Copy> Element for T {}

/// Calls `$load::<T>($args)` with the Rust type of `$element`.
macro_rules! by_element {
    ($element:expr, $load:ident($($arg:expr),*), $fail:expr) => {
        match $element {
            DatumType::F32 => $load::<f32>($($arg),*),
            DatumType::F64 => $load::<f64>($($arg),*),
            DatumType::I64 => $load::<i64>($($arg),*),
            DatumType::I32 => $load::<i32>($($arg),*),
            DatumType::I8 => $load::<i8>($($arg),*),
            DatumType::U8 => $load::<u8>($($arg),*),
            DatumType::Bool => $load::<bool>($($arg),*),
            other => Err($fail(format!("the model wants {other:?}, which .npy files cannot give here"))),
        }
    };
}

pub(super) fn load_npz(path: &Path, specs: &[InputSpec], memory: u64) -> Result<Loaded, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let unreadable = |e: &dyn std::fmt::Display| fail(format!("is not a readable .npz file ({e})"));
    let file = File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| unreadable(&e))?;
    let names: Vec<String> = archive.file_names().map(|n| n.trim_end_matches(".npy").to_string()).collect();
    let mut unpacked = 0u64;
    for spec in specs {
        if !names.contains(&spec.name) {
            return Err(fail(super::no_array(&spec.name, &names)));
        }
        unpacked = unpacked.saturating_add(archive.by_name(&format!("{}.npy", spec.name)).map_or(0, |e| e.size()));
    }
    let open = || {
        let file = File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
        NpzReader::new(BufReader::new(file)).map_err(|e| unreadable(&e))
    };
    let columns = if unpacked > memory {
        specs.iter().map(|spec| spill(&mut archive, path, spec)).collect::<Result<Vec<_>, _>>()?
    } else {
        let mut npz = open()?;
        specs.iter().map(|spec| npz_array(&mut npz, path, spec)).collect::<Result<Vec<_>, _>>()?
    };
    let labelled = names.iter().any(|n| n == LABELS) && specs.iter().all(|s| s.name != LABELS);
    let labels = if labelled { Some(npz_labels(&mut open()?, path)?) } else { None };
    Ok((columns, labels))
}

fn npz_labels(npz: &mut NpzReader<BufReader<File>>, path: &Path) -> Result<Vec<i64>, Error> {
    macro_rules! read {
        ($($element:ty),*) => {$(
            if let Ok(labels) = npz.by_name::<OwnedRepr<$element>, ndarray::Ix1>(LABELS) {
                return Ok(labels.iter().map(|&v| i64::from(v)).collect());
            }
        )*};
    }
    read!(i64, i32, u8, u32, i16, u16, i8);
    Err(Error::Data { path: path.to_path_buf(), problem: format!("array '{LABELS}' {LABELS_ARE}") })
}

/// What labels must be.
pub(super) const LABELS_ARE: &str = "must be one-dimensional with an integer type such as int64";

/// Reads a `.npy` file of labels.
pub(super) fn read_labels(path: &Path) -> Result<Vec<i64>, Error> {
    macro_rules! read {
        ($($element:ty),*) => {$(
            if let Ok(labels) = ndarray_npy::read_npy::<_, ndarray::Array1<$element>>(path) {
                return Ok(labels.iter().map(|&v| i64::from(v)).collect());
            }
        )*};
    }
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
    read!(i64, i32, u8, u32, i16, u16, i8);
    Err(fail(format!("holds no labels: the array {LABELS_ARE}")))
}

fn npz_array(npz: &mut NpzReader<BufReader<File>>, path: &Path, spec: &InputSpec) -> Result<Column, Error> {
    fn read<T: Element>(npz: &mut NpzReader<BufReader<File>>, path: &Path, spec: &InputSpec) -> Result<Column, Error> {
        let array: ArrayD<T> = npz.by_name(&spec.name).map_err(|e| match e {
            ReadNpzError::Npy(e) => npy_error(path, spec, e),
            e @ ReadNpzError::Zip(_) => {
                Error::Data { path: path.to_path_buf(), problem: format!("array '{}' cannot be read ({e})", spec.name) }
            }
        })?;
        in_memory(array)
    }
    let fail = |problem| Error::Data { path: path.to_path_buf(), problem };
    by_element!(spec.element, read(npz, path, spec), fail)
}

/// Unpacks an array into a temporary file.
fn spill(archive: &mut ZipArchive<BufReader<File>>, path: &Path, spec: &InputSpec) -> Result<Column, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let mut entry = archive
        .by_name(&format!("{}.npy", spec.name))
        .map_err(|e| fail(format!("array '{}' cannot be read ({e})", spec.name)))?;
    let mut file = tempfile::tempfile().map_err(Error::Cache)?;
    std::io::copy(&mut entry, &mut file).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
            fail(format!("array '{}' cannot be read ({e})", spec.name))
        }
        _ => Error::Cache(e),
    })?;
    by_element!(spec.element, column(&file, path, spec), fail)
}

pub(super) fn load_npy(path: &Path, spec: &InputSpec) -> Result<Column, Error> {
    let fail = |problem| Error::Data { path: path.to_path_buf(), problem };
    let file = File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
    by_element!(spec.element, column(&file, path, spec), fail)
}

/// The array of a `.npy` file: mapped, or read where it is not in C order.
fn column<T: Element>(file: &File, path: &Path, spec: &InputSpec) -> Result<Column, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let unreadable = |e: &dyn std::fmt::Display| fail(format!("array '{}' cannot be read ({e})", spec.name));
    let map = crate::mapped::map(file).map_err(|e| unreadable(&e))?;
    let (shape, offset) = {
        let view = match ArrayViewD::<T>::view_npy(&map) {
            Ok(view) => view,
            Err(ViewNpyError::WrongDescriptor(found)) => {
                return Err(npy_error(path, spec, ReadNpyError::WrongDescriptor(found)));
            }
            Err(ViewNpyError::MisalignedData | ViewNpyError::NonNativeEndian) => {
                let array = ndarray_npy::ReadNpyExt::read_npy(&map[..]).map_err(|e| npy_error(path, spec, e))?;
                return in_memory::<T>(array);
            }
            Err(e) => return Err(unreadable(&e)),
        };
        if !view.is_standard_layout() || view.is_empty() {
            return in_memory(view.to_owned());
        }
        (view.shape().to_vec(), view.as_ptr() as usize - map.as_ptr() as usize)
    };
    Column::mapped(map, offset, shape, spec.element).ok_or_else(|| unreadable(&"the file ends too early"))
}

pub(super) fn load_folder(path: &Path, specs: &[InputSpec]) -> Result<Loaded, Error> {
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
    if let Some(inputs) = specs.iter().map(|s| named(&files, &s.name).map(|p| (p, s))).collect::<Option<Vec<_>>>() {
        let inputs = inputs.into_iter().map(|(p, s)| load_npy(&p, s)).collect::<Result<_, _>>()?;
        return Ok((inputs, labels));
    }
    let [spec] = specs else {
        let names: Vec<String> = specs.iter().map(|s| format!("{}.npy", s.name)).collect();
        return Err(fail(format!("must hold {}", names.join(", "))));
    };
    if files.is_empty() {
        return Err(fail(
            "holds neither .npy files nor images (bmp, jpeg, png, pnm, webp), nor folders of images".into(),
        ));
    }
    let parts = files
        .iter()
        .map(|p| {
            let column = load_npy(p, spec)?;
            let mut t = column.gather(0..column.samples())?;
            // One sample a file, without the sample dimension, is as common as a batch a file.
            if t.rank() + 1 == spec.shape.len() {
                t.insert_axis(0).map_err(|e| Error::Shape(e.to_string()))?;
            }
            let fits = t.rank() == spec.shape.len()
                && t.shape().iter().zip(&spec.shape).skip(1).all(|(&have, want)| want.is_none_or(|w| w == have));
            if fits {
                return Ok(t);
            }
            let problem =
                format!("has shape {:?}, the model's input '{}' wants {}", t.shape(), spec.name, spec.shape_text());
            Err(Error::Data { path: p.clone(), problem })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let all = Tensor::stack_tensors(0, &parts).map_err(|e| fail(format!("holds arrays of different shapes ({e})")))?;
    Ok((vec![Column::new(all)], labels))
}

fn npy_error(path: &Path, spec: &InputSpec, e: ReadNpyError) -> Error {
    let problem = match e {
        ReadNpyError::WrongDescriptor(found) => {
            format!(
                "array '{}' has type {found}, the model wants {}: save it with that type",
                spec.name,
                element_name(spec.element)
            )
        }
        e => format!("array '{}' cannot be read ({e})", spec.name),
    };
    Error::Data { path: path.to_path_buf(), problem }
}

fn in_memory<T: Element>(array: ArrayD<T>) -> Result<Column, Error> {
    let shape = array.shape().to_vec();
    let values = array.as_standard_layout();
    let slice = values.as_slice().unwrap_or_default();
    Tensor::from_shape(&shape, slice).map(Column::new).map_err(|e| Error::Shape(e.to_string()))
}
