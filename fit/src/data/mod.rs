//! Calibration and held-out data: one array per model input, from NumPy or safetensors files or a folder of images. Arrays are
//! read where they lie, so they may be larger than memory.

mod column;
mod images;
mod numpy;
mod tensors;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use column::Column;
use rand::SeedableRng as _;
use tract_onnx::prelude::{DatumType, Tensor};

pub use images::ImageOptions;
pub(crate) use images::are_last;

use crate::error::Error;

/// One array per input, and the labels when there are some.
type Loaded = (Vec<Column>, Option<Vec<i64>>);

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

/// How samples are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// A `.npy` file of class labels, which counts more than labels that come with the samples.
    pub labels: Option<PathBuf>,
    /// How images become inputs.
    pub images: ImageOptions,
    /// Bytes of memory for samples that cannot be read where they lie (compressed arrays, decoded images); beyond it they go to
    /// a temporary file.
    pub memory: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { labels: None, images: ImageOptions::default(), memory: 4 << 30 }
    }
}

/// Samples for every input of a model, in the model's input order, with labels when the file has them. Selections of it share
/// the arrays.
#[derive(Debug, Clone)]
pub struct Dataset {
    columns: Arc<Vec<Column>>,
    /// Rows of the arrays, all of them where there is no list.
    rows: Option<Arc<Vec<usize>>>,
    labels: Option<Vec<i64>>,
    classes: Arc<[String]>,
    samples: usize,
    synthetic: bool,
}

impl Dataset {
    /// Reads a `.npz` or `.safetensors` file (arrays by input name), a `.npy` file (models with one input), a folder of
    /// `NAME.npy` files, or a folder of images or of folders of images (one a class, numbered in the order of their names).
    ///
    /// # Errors
    /// [`Error::Data`] naming the file when it is missing, unreadable, holds the wrong names, shapes or types, or no samples;
    /// [`Error::Cache`] when a temporary file is needed and cannot be written.
    pub fn load(path: &Path, specs: &[InputSpec], reading: &Reading) -> Result<Self, Error> {
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let kind = std::fs::metadata(path).map_err(|e| fail(format!("cannot be read ({e})")))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let mut classes = Vec::new();
        let (columns, labels) = match extension.as_str() {
            _ if kind.is_dir() => {
                let images = images::Listing::of(path).map_err(|e| fail(format!("cannot be listed ({e})")))?;
                if images.is_empty() {
                    numpy::load_folder(path, specs)?
                } else {
                    let (columns, labelled) = images.load(path, specs, &reading.images, reading.memory)?;
                    let (labels, names) = labelled.unzip();
                    classes = names.unwrap_or_default();
                    (columns, labels)
                }
            }
            "npz" => numpy::load_npz(path, specs, reading.memory)?,
            "safetensors" => tensors::load(path, specs)?,
            "npy" => {
                let [spec] = specs else {
                    return Err(fail(format!(
                        "a .npy file serves models with one input, this one has {}: give a .npz file with one array per input",
                        specs.len()
                    )));
                };
                (vec![numpy::load_npy(path, spec)?], None)
            }
            _ => {
                return Err(fail(
                    "is neither a .npz, .safetensors or .npy file nor a folder of images or .npy files".into(),
                ));
            }
        };
        let labels = match &reading.labels {
            Some(file) => {
                classes.clear();
                Some(numpy::read_labels(file)?)
            }
            None => labels,
        };
        let mut data = Self::assemble(reading.labels.as_deref().unwrap_or(path), path, specs, columns, labels)?;
        data.classes = classes.into();
        Ok(data)
    }

    fn assemble(
        labels_path: &Path,
        path: &Path,
        specs: &[InputSpec],
        columns: Vec<Column>,
        labels: Option<Vec<i64>>,
    ) -> Result<Self, Error> {
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let mut samples = None;
        for (spec, column) in specs.iter().zip(&columns) {
            let shape = column.shape();
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
            let first = *samples.get_or_insert(shape[0]);
            if first != shape[0] {
                return Err(fail(format!(
                    "array '{}' has {} samples, '{}' has {first}",
                    spec.name, shape[0], specs[0].name
                )));
            }
            if !column.is_finite() {
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
            let problem = format!("array '{LABELS}' has {} entries for {samples} samples", labels.len());
            return Err(Error::Data { path: labels_path.to_path_buf(), problem });
        }
        Ok(Dataset { columns: Arc::new(columns), rows: None, labels, classes: [].into(), samples, synthetic: false })
    }

    /// Standard normal samples for models whose inputs are all float32 with known extents; used when no data is given.
    ///
    /// # Errors
    /// [`Error::Shape`] when an input is not float32 or has an open dimension besides the first.
    pub fn synthetic(specs: &[InputSpec], samples: usize, seed: u64) -> Result<Self, Error> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_da7a);
        let mut columns = Vec::new();
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
            columns.push(Column::new(Tensor::from_shape(&shape, &values).map_err(|e| Error::Shape(e.to_string()))?));
        }
        if columns.is_empty() {
            return Err(Error::Shape("the model has no inputs".into()));
        }
        Ok(Dataset {
            columns: Arc::new(columns),
            rows: None,
            labels: None,
            classes: [].into(),
            samples: count,
            synthetic: true,
        })
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

    /// The folders that the labels number, where the samples are images in folders of their own; empty otherwise.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Whether the samples were made up ([`Dataset::synthetic`]).
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    /// Whether the samples came as images.
    #[must_use]
    pub fn has_images(&self) -> bool {
        self.columns.iter().any(Column::is_pixels)
    }

    /// Extents of every input array, samples first.
    #[must_use]
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        let of =
            |c: &Column| c.shape().iter().enumerate().map(|(i, &d)| if i == 0 { self.samples } else { d }).collect();
        self.columns.iter().map(of).collect()
    }

    /// Rows of the arrays that hold these samples.
    fn rows(&self, samples: Range<usize>) -> impl ExactSizeIterator<Item = usize> + '_ {
        samples.map(|sample| self.rows.as_ref().map_or(sample, |rows| rows[sample]))
    }

    /// The arrays of these samples alone, to be changed.
    pub(crate) fn inputs_mut(&mut self) -> Result<Vec<&mut Tensor>, Error> {
        let own = self.inputs(0..self.samples)?;
        self.rows = None;
        self.columns = Arc::new(own.into_iter().map(Column::new).collect());
        let columns = Arc::get_mut(&mut self.columns).map(|c| c.iter_mut().filter_map(Column::tensor_mut).collect());
        Ok(columns.unwrap_or_default())
    }

    /// A hash of every sample: of the bytes of all its inputs as they are stored, labels left out.
    #[must_use]
    pub fn hashes(&self) -> Vec<blake3::Hash> {
        use rayon::prelude::*;
        let rows: Vec<usize> = self.rows(0..self.samples).collect();
        let one = |row: usize| {
            let mut hash = blake3::Hasher::new();
            for column in self.columns.iter() {
                hash.update(column.bytes(row));
            }
            hash.finalize()
        };
        rows.into_par_iter().map(one).collect()
    }

    /// The arrays of the samples in `range`, one for each input.
    ///
    /// # Errors
    /// [`Error::Shape`] when the range ends past the samples.
    pub fn inputs(&self, range: Range<usize>) -> Result<Vec<Tensor>, Error> {
        if range.end > self.samples {
            return Err(Error::Shape(format!("samples to {} of {}", range.end, self.samples)));
        }
        self.columns.iter().map(|column| column.gather(self.rows(range.clone()))).collect()
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::Shape`] when an index is past the end.
    pub fn select(&self, indices: &[usize]) -> Result<Dataset, Error> {
        if indices.iter().any(|&i| i >= self.samples) {
            return Err(Error::Shape(format!("sample index past the {} samples", self.samples)));
        }
        let rows = indices.iter().map(|&i| self.rows.as_ref().map_or(i, |rows| rows[i])).collect();
        Ok(Dataset {
            columns: Arc::clone(&self.columns),
            rows: Some(Arc::new(rows)),
            labels: self.labels.as_ref().map(|l| indices.iter().map(|&i| l[i]).collect()),
            classes: Arc::clone(&self.classes),
            samples: indices.len(),
            synthetic: self.synthetic,
        })
    }
}

/// That a file lacks an array, and what it has.
fn no_array(name: &str, names: &[String]) -> String {
    let has = if names.is_empty() { "nothing".into() } else { names.join(", ") };
    format!("has no array named '{name}' (it has: {has}): name the arrays after the model's inputs")
}

/// NumPy's name of an element type.
fn element_name(element: DatumType) -> String {
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
