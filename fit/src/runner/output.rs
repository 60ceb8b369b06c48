//! Outputs of a model as numbers.

use tract_onnx::prelude::{DatumType, Tensor};

use super::axes::Rows;
use crate::error::Error;
use crate::text::one_line;

/// Roundings, in units of the last place, that sums in another order differ by.
const ROUNDING: f64 = 2.0;

/// What the elements of an output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Floating point numbers of any width.
    Float,
    /// Integers of any width.
    Integer,
    /// Truth values.
    Bool,
}

/// One output tensor of a run, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Extents of the array.
    pub shape: Vec<usize>,
    /// Elements as float32; integers beyond 2²⁴ and float64 numbers are rounded.
    pub values: Vec<f32>,
    /// What the elements are in the model.
    pub element: Element,
    /// The elements of an output of integers or truth values, exactly (uint64 beyond 2⁶³ wraps around); `None` for floating point
    /// numbers.
    pub integers: Option<Vec<i64>>,
    /// The elements of an output of float64 numbers, exactly; `None` for all others.
    pub doubles: Option<Vec<f64>>,
    /// Whether the first axis counts the samples. Otherwise the output is a constant, belongs to all samples of a run at once, or
    /// has as many rows as the data make it.
    pub per_sample: bool,
}

impl Output {
    /// Floating point numbers, samples along the first axis.
    #[must_use]
    pub fn floats(shape: Vec<usize>, values: Vec<f32>) -> Self {
        let per_sample = !shape.is_empty();
        Output { shape, values, element: Element::Float, integers: None, doubles: None, per_sample }
    }

    /// Converts any tensor of numbers or truth values. Whether its first axis counts the samples is not known here and taken for
    /// granted.
    ///
    /// # Errors
    /// [`Error::Runtime`] for a tensor that is not numeric.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self, Error> {
        let fail =
            |e: tract_onnx::prelude::TractError| Error::Runtime { action: "run", problem: one_line(&format!("{e:#}")) };
        let floats = tensor.cast_to::<f32>().map_err(fail)?;
        let view = floats.to_plain_array_view::<f32>().map_err(fail)?;
        let values = view.iter().copied().collect();
        let element = match tensor.datum_type() {
            DatumType::Bool => Element::Bool,
            dt if dt.is_float() => Element::Float,
            _ => Element::Integer,
        };
        let integers = match (element, tensor.datum_type()) {
            (Element::Float, _) => None,
            (_, DatumType::U64) => {
                let view = tensor.to_plain_array_view::<u64>().map_err(fail)?;
                Some(view.iter().map(|&v| v.cast_signed()).collect())
            }
            _ => {
                let whole = tensor.cast_to::<i64>().map_err(fail)?;
                Some(whole.to_plain_array_view::<i64>().map_err(fail)?.iter().copied().collect())
            }
        };
        let doubles = match tensor.datum_type() {
            DatumType::F64 => Some(tensor.to_plain_array_view::<f64>().map_err(fail)?.iter().copied().collect()),
            _ => None,
        };
        let shape = tensor.shape().to_vec();
        let per_sample = !shape.is_empty();
        Ok(Output { shape, values, element, integers, doubles, per_sample })
    }

    /// An element as exactly as it is known.
    #[must_use]
    pub fn value(&self, at: usize) -> f64 {
        let double = self.doubles.as_ref().and_then(|doubles| doubles.get(at).copied());
        double.unwrap_or_else(|| self.values.get(at).copied().map_or(f64::NAN, f64::from))
    }

    /// Differences of equal numbers, relative to their size, that the order of sums can make: numbers that vary by less are
    /// the same.
    #[must_use]
    pub fn rounding(&self) -> f64 {
        if self.doubles.is_some() { ROUNDING * f64::EPSILON } else { ROUNDING * f64::from(f32::EPSILON) }
    }

    /// How many samples there are along the first axis, and how many elements each has.
    pub(crate) fn samples_and_width(&self) -> (usize, usize) {
        let samples = self.shape.first().copied().unwrap_or(1).max(1);
        (samples, (self.values.len() / samples).max(1))
    }

    /// The samples of one run along the first axis. An output without sample axis stays as it is.
    pub(super) fn samples_first(mut self, rows: Rows) -> Self {
        self.per_sample = true;
        match rows {
            Rows::Axis { axis, each } => {
                if axis > 0 {
                    let outer: usize = self.shape[..axis].iter().product();
                    let inner: usize = self.shape[axis + 1..].iter().product();
                    let samples = self.shape[axis];
                    self.values = moved(&self.values, outer, samples, inner);
                    self.integers = self.integers.map(|v| moved(&v, outer, samples, inner));
                    self.doubles = self.doubles.map(|v| moved(&v, outer, samples, inner));
                    self.shape.remove(axis);
                    self.shape.insert(0, samples);
                } else if each > 1 {
                    self.shape[0] /= each;
                    self.shape.insert(1, each);
                }
            }
            Rows::Run => self.shape.insert(0, 1),
            Rows::None => self.per_sample = false,
        }
        self
    }

    /// Puts `more`, the same output of another run, behind this one: along the first axis where the others agree, else as plain
    /// lists of elements; a scalar is a list of one.
    pub(super) fn append(&mut self, more: Output) {
        if self.shape.is_empty() {
            self.shape.push(1);
        }
        let theirs = if more.shape.is_empty() { vec![1] } else { more.shape };
        if self.shape[1..] == theirs[1..] {
            self.shape[0] += theirs[0];
        } else {
            self.shape = vec![self.values.len() + more.values.len()];
            self.per_sample = false;
        }
        self.values.extend(more.values);
        if let (Some(all), Some(more)) = (&mut self.integers, more.integers) {
            all.extend(more);
        }
        if let (Some(all), Some(more)) = (&mut self.doubles, more.doubles) {
            all.extend(more);
        }
    }
}

/// `[outer, samples, inner]` as `[samples, outer, inner]`.
fn moved<T: Copy>(values: &[T], outer: usize, samples: usize, inner: usize) -> Vec<T> {
    let mut to = Vec::with_capacity(values.len());
    for sample in 0..samples {
        for block in 0..outer {
            let at = (block * samples + sample) * inner;
            to.extend_from_slice(&values[at..at + inner]);
        }
    }
    to
}
