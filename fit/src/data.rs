//! Calibration and held-out data: one array per model input, read from NumPy files.

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, OwnedRepr};
use ndarray_npy::{NpzReader, ReadNpyError, ReadNpzError, ReadableElement};
use rand::SeedableRng as _;
use tract_onnx::prelude::{DatumType, Tensor};

use crate::error::Error;

/// Array name under which a `.npz` file may hold class labels.
pub const LABELS: &str = "labels";

/// What the data must look like for one model input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the graph input.
    pub name: String,
    /// Element type.
    pub element: DatumType,
    /// Extents; `None` where the model leaves one open. The first counts the samples.
    pub shape: Vec<Option<usize>>,
}

impl InputSpec {
    fn shape_text(&self) -> String {
        let dims: Vec<String> = self.shape.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
        format!("[{}]", dims.join(", "))
    }
}

/// Samples for every input of a model, in the model's input order, with labels when the file has them.
#[derive(Debug, Clone)]
pub struct Dataset {
    inputs: Vec<Tensor>,
    labels: Option<Vec<i64>>,
    samples: usize,
    synthetic: bool,
}

impl Dataset {
    /// Reads a `.npz` file (arrays by input name), a `.npy` file (models with one input) or a folder of `NAME.npy` files.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file when it is missing, unreadable, holds the wrong names, shapes or types, or no samples.
    pub fn load(path: &Path, specs: &[InputSpec]) -> Result<Self, Error> {
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let kind = std::fs::metadata(path).map_err(|e| fail(format!("cannot be read ({e})")))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let (inputs, labels) = if kind.is_dir() {
            load_folder(path, specs)?
        } else if extension == "npz" {
            load_npz(path, specs)?
        } else if extension == "npy" {
            let [spec] = specs else {
                return Err(fail(format!(
                    "a .npy file serves models with one input, this one has {}: give a .npz file with one array per input",
                    specs.len()
                )));
            };
            (vec![load_npy(path, spec)?], None)
        } else {
            return Err(fail("is neither a .npz file, a .npy file nor a folder of .npy files".into()));
        };
        Self::assemble(path, specs, inputs, labels)
    }

    fn assemble(
        path: &Path,
        specs: &[InputSpec],
        inputs: Vec<Tensor>,
        labels: Option<Vec<i64>>,
    ) -> Result<Self, Error> {
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let mut samples = None;
        for (spec, tensor) in specs.iter().zip(&inputs) {
            let shape = tensor.shape();
            let fits = shape.len() == spec.shape.len()
                && shape.iter().zip(&spec.shape).skip(1).all(|(&have, want)| want.is_none_or(|want| want == have));
            if !fits || shape.is_empty() {
                return Err(fail(format!(
                    "array '{}' has shape {shape:?}, the model wants {} with the samples along the first dimension",
                    spec.name,
                    spec.shape_text()
                )));
            }
            if let Some(Some(batch)) = spec.shape.first()
                && !shape[0].is_multiple_of(*batch)
            {
                return Err(fail(format!(
                    "array '{}' has {} samples, the model takes exactly {batch} at a time: give a multiple of {batch}",
                    spec.name, shape[0]
                )));
            }
            if *samples.get_or_insert(shape[0]) != shape[0] {
                return Err(fail(format!(
                    "array '{}' has {} samples, the others have {samples:?}",
                    spec.name, shape[0]
                )));
            }
            if let Ok(values) = tensor.to_plain_array_view::<f32>()
                && !values.iter().all(|v| v.is_finite())
            {
                return Err(fail(format!("array '{}' holds NaN or infinity", spec.name)));
            }
        }
        let samples = samples.unwrap_or(0);
        if samples == 0 {
            return Err(fail("holds no samples".into()));
        }
        if let Some(labels) = &labels
            && labels.len() != samples
        {
            return Err(fail(format!("array '{LABELS}' has {} entries for {samples} samples", labels.len())));
        }
        Ok(Dataset { inputs, labels, samples, synthetic: false })
    }

    /// Standard normal samples for models whose inputs are all float32 with known extents; used when no data is given.
    ///
    /// # Errors
    /// [`Error::Shape`] when an input is not float32 or has an open dimension besides the first.
    pub fn synthetic(specs: &[InputSpec], samples: usize, seed: u64) -> Result<Self, Error> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_da7a);
        let mut inputs = Vec::new();
        let mut count = samples;
        for spec in specs {
            let cannot =
                |why: &str| Error::Shape(format!("input '{}' {why}, so no inputs can be made up for it", spec.name));
            if spec.element != DatumType::F32 {
                return Err(cannot("is not float32"));
            }
            let Some((first, rest)) = spec.shape.split_first() else { return Err(cannot("is a scalar")) };
            let rest: Option<Vec<usize>> = rest.iter().copied().collect();
            let Some(rest) = rest else { return Err(cannot("has open dimensions")) };
            if let Some(batch) = first {
                count = samples.next_multiple_of((*batch).max(1));
            }
            let mut shape = vec![count];
            shape.extend(rest);
            let len = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&n| n <= 1 << 28);
            let Some(len) = len else { return Err(cannot("is too large")) };
            let values: Vec<f32> = (0..len).map(|_| crate::random::normal(&mut rng)).collect();
            inputs.push(Tensor::from_shape(&shape, &values).map_err(|e| Error::Shape(e.to_string()))?);
        }
        if inputs.is_empty() {
            return Err(Error::Shape("the model has no inputs".into()));
        }
        Ok(Dataset { inputs, labels: None, samples: count, synthetic: true })
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Class labels, one per sample, when the file had them.
    #[must_use]
    pub fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    /// Whether the samples were made up ([`Dataset::synthetic`]).
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    /// Extents of every input array, samples first.
    #[must_use]
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(|t| t.shape().to_vec()).collect()
    }

    pub(crate) fn slice(&self, range: &Range<usize>) -> Result<Vec<Tensor>, Error> {
        self.inputs
            .iter()
            .map(|t| t.slice(0, range.start, range.end).map_err(|e| Error::Shape(e.to_string())))
            .collect()
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::Shape`] when an index is past the end.
    pub fn select(&self, indices: &[usize]) -> Result<Dataset, Error> {
        if indices.iter().any(|&i| i >= self.samples) {
            return Err(Error::Shape(format!("sample index past the {} samples", self.samples)));
        }
        let inputs = self.inputs.iter().map(|t| select_tensor(t, indices)).collect::<Result<_, _>>()?;
        let labels = self.labels.as_ref().map(|l| indices.iter().map(|&i| l[i]).collect());
        Ok(Dataset { inputs, labels, samples: indices.len(), synthetic: self.synthetic })
    }
}

fn select_tensor(t: &Tensor, indices: &[usize]) -> Result<Tensor, Error> {
    let rows = indices.iter().map(|&i| t.slice(0, i, i + 1)).collect::<Result<Vec<_>, _>>();
    rows.and_then(|rows| Tensor::stack_tensors(0, &rows)).map_err(|e| Error::Shape(e.to_string()))
}

/// Splits `samples` into disjoint index sets with the given shares, by a shuffle that depends on `seed` only.
/// `block` samples that belong together (a fixed batch) stay together. Shares are rounded down to whole blocks;
/// what is left over goes to the first part.
#[must_use]
pub fn split(samples: usize, shares: &[f64], block: usize, seed: u64) -> Vec<Vec<usize>> {
    let block = block.max(1);
    let blocks = samples / block;
    let mut order: Vec<usize> = (0..blocks).collect();
    crate::random::shuffle(&mut order, &mut rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x0005_5117));
    let mut counts: Vec<usize> = shares.iter().map(|s| (s * blocks as f64).floor() as usize).collect();
    let used: usize = counts.iter().sum();
    if let Some(first) = counts.first_mut() {
        *first += blocks.saturating_sub(used);
    }
    let mut rest = order.as_slice();
    counts
        .into_iter()
        .map(|n| {
            let (part, tail) = rest.split_at(n.min(rest.len()));
            rest = tail;
            let mut part = part.to_vec();
            part.sort_unstable();
            part.iter().flat_map(|b| b * block..(b + 1) * block).collect()
        })
        .collect()
}

type Loaded = (Vec<Tensor>, Option<Vec<i64>>);

fn load_npz(path: &Path, specs: &[InputSpec]) -> Result<Loaded, Error> {
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

fn load_npy(path: &Path, spec: &InputSpec) -> Result<Tensor, Error> {
    fn read<T: ReadableElement + tract_onnx::prelude::Datum + Copy>(
        path: &Path,
        spec: &InputSpec,
    ) -> Result<Tensor, Error> {
        tensor(ndarray_npy::read_npy::<_, ArrayD<T>>(path).map_err(|e| npy_error(path, spec, e))?)
    }
    let fail = |problem| Error::Data { path: path.to_path_buf(), problem };
    by_element!(spec.element, read(path, spec), fail)
}

fn load_folder(path: &Path, specs: &[InputSpec]) -> Result<Loaded, Error> {
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
