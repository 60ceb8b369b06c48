//! The NumPy files that samples come in.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, OwnedRepr};
use ndarray_npy::{NpzReader, ReadNpyError, ReadNpzError, ReadableElement};
use tract_onnx::prelude::{DatumType, Tensor};

use super::{InputSpec, LABELS};
use crate::error::Error;

/// One tensor per input, and the labels when there are some.
type Loaded = (Vec<Tensor>, Option<Vec<i64>>);

pub(super) fn load_npz(path: &Path, specs: &[InputSpec]) -> Result<Loaded, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let file = File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
    let mut npz =
        NpzReader::new(BufReader::new(file)).map_err(|e| fail(format!("is not a readable .npz file ({e})")))?;
    let names: Vec<String> = npz
        .names()
        .map_err(|e| fail(format!("is not a readable .npz file ({e})")))?
        .into_iter()
        .map(|n| n.trim_end_matches(".npy").to_string())
        .collect();
    let mut inputs = Vec::new();
    for spec in specs {
        if !names.contains(&spec.name) {
            return Err(fail(format!(
                "has no array named '{}' (it has: {}): name the arrays after the model's inputs",
                spec.name,
                if names.is_empty() { "nothing".into() } else { names.join(", ") }
            )));
        }
        inputs.push(npz_array(&mut npz, path, spec)?);
    }
    let labels = if names.iter().any(|n| n == LABELS) && specs.iter().all(|s| s.name != LABELS) {
        Some(npz_labels(&mut npz, path)?)
    } else {
        None
    };
    Ok((inputs, labels))
}

fn npz_labels(npz: &mut NpzReader<BufReader<File>>, path: &Path) -> Result<Vec<i64>, Error> {
    if let Ok(a) = npz.by_name::<OwnedRepr<i64>, ndarray::Ix1>(LABELS) {
        return Ok(a.to_vec());
    }
    if let Ok(a) = npz.by_name::<OwnedRepr<i32>, ndarray::Ix1>(LABELS) {
        return Ok(a.iter().map(|&v| i64::from(v)).collect());
    }
    if let Ok(a) = npz.by_name::<OwnedRepr<u8>, ndarray::Ix1>(LABELS) {
        return Ok(a.iter().map(|&v| i64::from(v)).collect());
    }
    Err(Error::Data {
        path: path.to_path_buf(),
        problem: format!("array '{LABELS}' must be one-dimensional with integer type int64, int32 or uint8"),
    })
}

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

fn npz_array(npz: &mut NpzReader<BufReader<File>>, path: &Path, spec: &InputSpec) -> Result<Tensor, Error> {
    fn read<T: ReadableElement + tract_onnx::prelude::Datum + Copy>(
        npz: &mut NpzReader<BufReader<File>>,
        path: &Path,
        spec: &InputSpec,
    ) -> Result<Tensor, Error> {
        let array: ArrayD<T> = npz.by_name(&spec.name).map_err(|e| match e {
            ReadNpzError::Npy(e) => npy_error(path, spec, e),
            e @ ReadNpzError::Zip(_) => {
                Error::Data { path: path.to_path_buf(), problem: format!("array '{}' cannot be read ({e})", spec.name) }
            }
        })?;
        tensor(array)
    }
    let fail = |problem| Error::Data { path: path.to_path_buf(), problem };
    by_element!(spec.element, read(npz, path, spec), fail)
}

pub(super) fn load_npy(path: &Path, spec: &InputSpec) -> Result<Tensor, Error> {
    fn read<T: ReadableElement + tract_onnx::prelude::Datum + Copy>(
        path: &Path,
        spec: &InputSpec,
    ) -> Result<Tensor, Error> {
        tensor(ndarray_npy::read_npy::<_, ArrayD<T>>(path).map_err(|e| npy_error(path, spec, e))?)
    }
    let fail = |problem| Error::Data { path: path.to_path_buf(), problem };
    by_element!(spec.element, read(path, spec), fail)
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
    let labels = match &labels {
        Some(p) => {
            let a: ndarray::Array1<i64> = ndarray_npy::read_npy(p)
                .map_err(|e| Error::Data { path: p.clone(), problem: format!("labels must be int64 ({e})") })?;
            files.retain(|f| f != p);
            Some(a.to_vec())
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
        return Err(fail("holds no .npy files".into()));
    }
    let parts = files.iter().map(|p| load_npy(p, spec)).collect::<Result<Vec<_>, _>>()?;
    let parts = parts
        .into_iter()
        .zip(&files)
        .map(|(mut t, p)| {
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
    Ok((vec![all], labels))
}

fn npy_error(path: &Path, spec: &InputSpec, e: ReadNpyError) -> Error {
    let problem = match e {
        ReadNpyError::WrongDescriptor(found) => {
            format!(
                "array '{}' has type {found}, the model wants {}: save it with that type",
                spec.name,
                numpy_name(spec.element)
            )
        }
        e => format!("array '{}' cannot be read ({e})", spec.name),
    };
    Error::Data { path: path.to_path_buf(), problem }
}

/// NumPy's name of an element type.
fn numpy_name(element: DatumType) -> String {
    match element {
        DatumType::F32 => "float32".into(),
        DatumType::F64 => "float64".into(),
        DatumType::I64 => "int64".into(),
        DatumType::I32 => "int32".into(),
        DatumType::I8 => "int8".into(),
        DatumType::U8 => "uint8".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn tensor<T: tract_onnx::prelude::Datum + Copy>(array: ArrayD<T>) -> Result<Tensor, Error> {
    let shape = array.shape().to_vec();
    let values = array.as_standard_layout();
    let slice = values.as_slice().unwrap_or_default();
    Tensor::from_shape(&shape, slice).map_err(|e| Error::Shape(e.to_string()))
}
