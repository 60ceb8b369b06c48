//! Calibration and held-out data: one array per model input, from NumPy or safetensors files or a folder of images. Arrays are
//! read where they lie, so they may be larger than memory.

mod array;
mod column;
mod element;
mod images;
mod npy;
mod numpy;
mod place;
mod split;
mod synthetic;
mod tensors;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use array::Array;
use column::Column;
use place::Place;
use tract_onnx::prelude::{DatumType, Tensor};

pub use images::ImageOptions;
pub(crate) use images::are_last;
pub use split::split;
pub(crate) use synthetic::Filling;

use crate::error::Error;
use crate::text;

/// One array per input, and the labels when there are some.
type Loaded = (Vec<Column>, Option<Labels>);

/// Class labels before it is known how many there must be.
#[derive(Debug)]
enum Labels {
    Known(Vec<i64>),
    /// An array of this file.
    Array {
        path: PathBuf,
        array: Array,
    },
}

/// Array name under which a `.npz` file may hold class labels.
pub const LABELS: &str = "labels";

/// What the data must look like for one model input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the graph input.
    pub name: String,
    /// Element type.
    pub element: DatumType,
    /// Extents; `None` where the model leaves one open.
    pub shape: Vec<Option<usize>>,
    /// The axis that counts the samples; `None` for an input that has none. Such an input is given one array of its own shape,
    /// for all samples, or one with an axis more in front, which has one value for each sample.
    pub sample_axis: Option<usize>,
}

impl InputSpec {
    pub(crate) fn shape_text(&self) -> String {
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
    /// The file or folder they came from.
    source: Option<Arc<Path>>,
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
                    numpy::load_folder(path, specs, reading.memory)?
                } else {
                    let (columns, labelled) = images.load(path, specs, &reading.images, reading.memory)?;
                    let (labels, names) = labelled.unzip();
                    classes = names.unwrap_or_default();
                    (columns, labels)
                }
            }
            _ if !kind.is_file() => {
                return Err(fail("is not a regular file: give a file or a folder of samples".into()));
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
                (vec![numpy::load_npy(path, spec, &mut { reading.memory })?], None)
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
        let mut data = Self::assemble(path, specs, columns, labels)?;
        data.classes = classes.into();
        Ok(data)
    }

    fn assemble(
        path: &Path,
        specs: &[InputSpec],
        mut columns: Vec<Column>,
        labels: Option<Labels>,
    ) -> Result<Self, Error> {
        let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
        let together = columns.iter().any(|c| matches!(c.place(), Place::Axis(_)));
        if together {
            // One value with an axis in front is one value all the same.
            columns.iter_mut().filter(|c| c.samples() == Some(1)).for_each(Column::share_equal);
        }
        let counted = specs.iter().zip(&columns).filter_map(|(spec, column)| Some((spec, column.samples()?)));
        let mut first: Option<(&InputSpec, usize)> = None;
        for (spec, samples) in counted {
            let (other, count) = *first.get_or_insert((spec, samples));
            if count != samples {
                return Err(fail(format!(
                    "array '{}' has {samples} samples, '{}' has {count}",
                    text::name(&spec.name),
                    text::name(&other.name)
                )));
            }
        }
        let Some((_, samples)) = first else {
            return Err(fail(format!(
                "no array has an axis that counts samples: give '{}' as [samples, …]",
                specs.first().map_or(String::new(), |s| text::name(&s.name))
            )));
        };
        if samples == 0 {
            return Err(fail("holds no samples".into()));
        }
        for (spec, column) in specs.iter().zip(&columns) {
            if let Some(loss) = column.loss() {
                return Err(fail(loss.about(&text::name(&spec.name))));
            }
        }
        if together {
            columns.iter_mut().for_each(Column::share_equal);
        }
        let one_by_one = columns.iter().any(|c| c.place() == Place::Each);
        let batch = specs.iter().zip(&columns).find_map(|(spec, column)| match column.place() {
            Place::Axis(axis) => spec.shape[axis].filter(|&batch| batch != 1).map(|batch| (spec, batch)),
            Place::Each | Place::Shared => None,
        });
        if let (true, Some((spec, batch))) = (one_by_one, batch) {
            return Err(fail(format!(
                "input '{}' takes exactly {batch} samples at a time, but another array has one value for each of them: give that \
                 input one value for all samples",
                text::name(&spec.name)
            )));
        }
        let labels = match labels {
            None => None,
            Some(Labels::Known(labels)) => Some(labels),
            Some(Labels::Array { path, array }) => Some(array.labels(samples).map_err(|problem| {
                let problem = format!("array '{LABELS}' {problem}");
                Error::Data { path, problem }
            })?),
        };
        Ok(Dataset {
            columns: Arc::new(columns),
            rows: None,
            labels,
            classes: [].into(),
            samples,
            synthetic: false,
            source: Some(path.into()),
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

    /// Extents that every input of the model gets when `samples` of these are run together.
    #[must_use]
    pub fn shapes(&self, samples: usize) -> Vec<Vec<usize>> {
        self.columns.iter().map(|column| column.model_shape(samples)).collect()
    }

    /// Most samples that can be run together: 1 where an input without sample axis has a value for each sample.
    #[must_use]
    pub fn most_at_once(&self) -> Option<usize> {
        self.columns.iter().any(|c| c.place() == Place::Each).then_some(1)
    }

    /// The file or folder the samples came from; `None` for made-up ones.
    #[must_use]
    pub fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// Least and largest number of the array for input `index`; `None` unless it holds whole numbers from a file.
    #[must_use]
    pub fn range(&self, index: usize) -> Option<(i128, i128)> {
        self.columns.get(index)?.range()
    }

    /// Rows of the arrays that hold these samples.
    fn rows(&self, samples: Range<usize>) -> impl ExactSizeIterator<Item = usize> + Clone + '_ {
        samples.map(|sample| self.rows.as_ref().map_or(sample, |rows| rows[sample]))
    }

    /// The arrays of these samples alone, to be changed.
    pub(crate) fn inputs_mut(&mut self) -> Result<Vec<&mut Tensor>, Error> {
        let all = || self.rows(0..self.samples);
        let own: Vec<Column> = self.columns.iter().map(|c| c.copied(all())).collect::<Result<_, _>>()?;
        self.rows = None;
        self.columns = Arc::new(own);
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
                for piece in column.pieces(row) {
                    hash.update(piece);
                }
            }
            hash.finalize()
        };
        rows.into_par_iter().map(one).collect()
    }

    /// The arrays of the samples in `range`, one for each input, as the model takes them.
    ///
    /// # Errors
    /// [`Error::Shape`] when the range ends past the samples or has more than [`most_at_once`](Dataset::most_at_once).
    pub fn inputs(&self, range: Range<usize>) -> Result<Vec<Tensor>, Error> {
        if range.end > self.samples {
            return Err(Error::Shape(format!("samples to {} of {}", range.end, self.samples)));
        }
        let of = |column: &Column| {
            let mut tensor = column.gather(self.rows(range.clone()))?;
            if column.place() == Place::Each {
                if range.len() != 1 {
                    return Err(Error::Shape(format!("{} samples at once for a model that takes one", range.len())));
                }
                tensor.remove_axis(0).map_err(|e| Error::Shape(e.to_string()))?;
            }
            Ok(tensor)
        };
        self.columns.iter().map(of).collect()
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
            source: self.source.clone(),
        })
    }
}

/// That a file lacks an array, and what it has.
fn no_array(name: &str, names: &[String]) -> String {
    format!(
        "has no array named '{}' (it has: {}): name the arrays after the model's inputs",
        text::name(name),
        text::listed(names)
    )
}
