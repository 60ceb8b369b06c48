//! Calibration and held-out data: one array per model input, read from NumPy files.

mod files;

use std::ops::Range;
use std::path::Path;

use files::{load_folder, load_npy, load_npz};
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

    pub(crate) fn inputs_mut(&mut self) -> &mut [Tensor] {
        &mut self.inputs
    }

    /// A hash of every sample: of the bytes of all its inputs, labels left out.
    #[must_use]
    pub fn hashes(&self) -> Vec<blake3::Hash> {
        use rayon::prelude::*;
        let rows: Vec<&[u8]> = self.inputs.iter().map(Tensor::as_bytes).collect();
        let samples = self.samples;
        let one = |sample: usize| {
            let mut hash = blake3::Hasher::new();
            for bytes in &rows {
                let width = bytes.len() / samples.max(1);
                hash.update(&bytes[sample * width..(sample + 1) * width]);
            }
            hash.finalize()
        };
        (0..samples).into_par_iter().map(one).collect()
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
