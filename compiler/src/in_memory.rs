//! Compilations without files: bytes and arrays in, bytes and a report out.

use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use crate::compiled::compile_with;
use crate::error::Error;
use crate::observer::Observer;
use crate::options::Options;
use crate::report::Report;

/// A compiled model in memory.
#[derive(Debug)]
pub struct CompiledBytes {
    /// The ONNX file.
    pub model: Vec<u8>,
    /// What was compiled, and how good it is.
    pub report: Report,
}

/// Compiles the ONNX file `model` as `options` say, but for their paths of model, samples, report and diagram, which count for
/// nothing, and external data: one file comes back. It is empty where [`Options::dry_run`] asks for the report only.
///
/// Model and samples go through a temporary folder, from which they are mapped: a compilation holds no second copy of them.
///
/// ```no_run
/// use adntn_compiler::{Arrays, Options, Silent, compile_bytes};
///
/// let mut samples = Arrays::new();
/// for image in std::iter::repeat_n([0.5_f32; 784], 512) {
///     samples.push("input", &[1, 28, 28], &image)?;
/// }
/// let model = std::fs::read("model.onnx").unwrap_or_default();
/// let small = compile_bytes(&model, Some(&samples), None, &Options::new("", ""), &mut Silent)?;
/// println!("{} -> {} bytes", model.len(), small.model.len());
/// # Ok::<(), adntn_compiler::Error>(())
/// ```
///
/// # Errors
/// As for [`compile_with`]; [`Error::Write`] where the temporary folder takes no files; [`Error::Model`] for a model whose
/// weights lie in files of their own, which are not there.
pub fn compile_bytes(
    model: &[u8],
    calibration: Option<&Arrays>,
    held_out: Option<&Arrays>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<CompiledBytes, Error> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write { path: std::env::temp_dir(), source })?;
    let mut own = options.clone();
    own.input = folder.path().join("model.onnx");
    std::fs::write(&own.input, model).map_err(|source| Error::Write { path: own.input.clone(), source })?;
    own.output = folder.path().join("compiled.onnx");
    // One file is what comes back.
    own.external_data = false;
    (own.labels, own.held_out_labels) = (None, None);
    // A report on disk would name the temporary folder.
    (own.report, own.diagram) = (None, None);
    let samples = |arrays: Option<&Arrays>, name: &str| arrays.map(|a| a.write(&folder.path().join(name))).transpose();
    own.calibration = samples(calibration, "calibration.safetensors")?;
    own.held_out = samples(held_out, "held-out.safetensors")?;
    let mut report = compile_with(&own, observer)?;
    let bytes = |path: &Path| std::fs::read(path).map_err(|source| Error::Write { path: path.to_owned(), source });
    let compiled = if options.dry_run { Vec::new() } else { bytes(&own.output)? };
    let named = |path: &mut String| {
        if let Some(name) = Path::new(path).strip_prefix(folder.path()).ok().and_then(Path::to_str) {
            *path = name.to_owned();
        }
    };
    named(&mut report.input.path);
    report.output.iter_mut().for_each(|output| named(&mut output.path));
    if let Some(data) = &mut report.data {
        named(&mut data.source);
        data.held_out_source.iter_mut().for_each(named);
    }
    Ok(CompiledBytes { model: compiled, report })
}

/// Samples as arrays, one for each input of a model, samples first.
#[derive(Debug, Clone, Default)]
pub struct Arrays {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    /// Extents of one sample.
    shape: Vec<usize>,
    samples: usize,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Arrays {
    /// No samples yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one or more samples, row-major, to the array of an input; `shape` are the extents of one, none for an input that
    /// takes one number a sample.
    ///
    /// # Errors
    /// [`Error::Usage`] when `values` are no whole number of samples, or are of another type or shape than those before.
    pub fn push<T: Number>(&mut self, input: &str, shape: &[usize], values: &[T]) -> Result<&mut Self, Error> {
        let each = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0);
        let samples = each.filter(|&each| values.len().is_multiple_of(each)).map(|each| values.len() / each);
        let Some(samples) = samples else {
            let n = values.len();
            return Err(Error::Usage(format!(
                "{n} numbers for input `{input}` are no whole number of samples of shape {shape:?}: give all of each"
            )));
        };
        let at = self.entries.iter().position(|entry| entry.name == input).unwrap_or_else(|| {
            let (name, shape) = (input.to_owned(), shape.to_vec());
            self.entries.push(Entry { name, shape, samples: 0, dtype: T::DTYPE, bytes: Vec::new() });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[at];
        if (entry.dtype, entry.shape.as_slice()) != (T::DTYPE, shape) {
            return Err(Error::Usage(format!(
                "samples of type {:?} and shape {shape:?} for input `{input}` follow some of type {:?} and shape {:?}: give all of one kind",
                T::DTYPE,
                entry.dtype,
                entry.shape
            )));
        }
        entry.samples += samples;
        values.iter().for_each(|&value| value.append(&mut entry.bytes));
        Ok(self)
    }

    /// Appends class labels, one for each sample.
    ///
    /// # Errors
    /// As for [`push`](Self::push), where an input is called `labels`.
    pub fn push_labels(&mut self, labels: &[i64]) -> Result<&mut Self, Error> {
        self.push(adntn_fit::data::LABELS, &[], labels)
    }

    /// Writes them as a safetensors file.
    fn write(&self, path: &Path) -> Result<PathBuf, Error> {
        let mut views = Vec::new();
        for entry in &self.entries {
            let shape = std::iter::once(entry.samples).chain(entry.shape.iter().copied()).collect();
            // The bytes of an entry are those of its shape.
            let view = TensorView::new(entry.dtype, shape, &entry.bytes);
            views.push((entry.name.as_str(), view.map_err(|error| Error::Internal(error.to_string()))?));
        }
        safetensors::serialize_to_file(views, None, path).map_err(|error| match error {
            SafeTensorError::IoError(source) => Error::Write { path: path.to_owned(), source },
            error => Error::Internal(error.to_string()),
        })?;
        Ok(path.to_owned())
    }
}

/// Numbers that samples may be of.
pub trait Number: Copy + sealed::Sealed {
    #[doc(hidden)]
    const DTYPE: Dtype;
    #[doc(hidden)]
    fn append(self, bytes: &mut Vec<u8>);
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($kind:ty: $name:ident),*) => {$(
        impl sealed::Sealed for $kind {}
        impl Number for $kind {
            const DTYPE: Dtype = Dtype::$name;
            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers!(f64: F64, f32: F32, i64: I64, i32: I32, i16: I16, i8: I8, u64: U64, u32: U32, u16: U16, u8: U8);

impl sealed::Sealed for bool {}
impl Number for bool {
    const DTYPE: Dtype = Dtype::BOOL;
    fn append(self, bytes: &mut Vec<u8>) {
        bytes.push(self.into());
    }
}
