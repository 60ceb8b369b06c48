//! What stays plain beside replaced weights, biases above all, in fewer bytes: rounded to float16 or digits, and stored as such.
//!
//! Rounding and storing are two things. [`round_plain`] and [`kept_in_half`] change numbers, before anything is measured. When the
//! patch is made, [`smaller`] finds by the numbers alone what they can be stored as without loss. So what is measured is what is
//! written, whoever rounded it.
//!
//! ```text
//! halves[Σn] ─Cast─Split─┬─ bias
//!                        └─ bias …
//! ```
//!
//! The values keep their names, so nothing that reads them changes.

use std::collections::BTreeSet;

use adntn_families::{Digits, Quantised, Site};
use adntn_onnx::{Model, Patch, pb};
use half::f16;
use pb::tensor_proto::DataType;

use crate::Error;
use crate::digits::{Part, UNPACK_PASS};
use crate::emit::Emitter;
use crate::lowering::FOLDABLE_BYTES;
use crate::plain::{PlainKind, plain_kind};
use crate::tensor::{float_tensor, halves};

/// Elements from which on a float16 vector has a Cast of its own, instead of a part in the one of all.
const ALONE: usize = 4096;
/// What a Cast of its own has to save: it takes about 30 bytes in the file, and a node for a few bytes more is not worth it.
const CAST_BYTES: usize = 64;
/// The same for a Cast and a Split that several vectors share, which take about 96, and how much less a vector takes as an output
/// of Split.
const SHARED_BYTES: usize = 128;
const SHARED_GAIN: usize = 8;
/// About what the nodes and constants take that unpack digits of 256 levels.
const DIGITS_BYTES: usize = 230;
/// The smallest normal float16 number: those below lose digits.
const SMALLEST_NORMAL: f32 = 1.0 / 16384.0;
/// Vectors of fewer elements are hardly smaller in digits, which come in whole blocks.
const FEWEST_IN_DIGITS: usize = 32;
/// From so many elements on nodes that unpack digits of another kind are worth their bytes.
const MANY: usize = 512;

/// How plain numbers beside a replaced weight are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To float16 numbers.
    Half,
    /// As suits numbers beside a weight in such digits.
    Beside(Digits),
}

/// Rounds the biases that `patch` gives new values as suits the digits of the weight beside them, and all else to float16.
///
/// What is beyond float16, or so small that it would lose digits there, stays as it is; so does what `model` does not know as
/// a bias, a norm or a weight.
pub fn round_plain(model: &Model, patch: &mut Patch, rounding: Rounding) {
    for (name, tensor) in &mut patch.replace_initializers {
        let (Some(values), Some(dims)) = (plain_values(tensor), dims(tensor)) else { continue };
        let Some(kind) = plain_kind(model, tensor) else { continue };
        let own = match rounding {
            Rounding::Beside(own) if kind == PlainKind::Bias && dims.len() == 1 => Some(own),
            _ => None,
        };
        let rounded = own
            .filter(|&own| has_digits_beside(own, values.len()))
            .and_then(|_| in_digits(&values))
            .map(|quantised| quantised.stored_values())
            .or_else(|| to_half(&values, kind));
        if let Some(rounded) = rounded {
            *tensor = float_tensor(name, &dims, &rounded);
        }
    }
}

/// Whether `count` numbers beside a weight in digits `own` are in digits of 256 levels.
///
/// Never in fewer: a bias that took over the mean error of a coarse weight is as large as the layer's outputs, and 16 levels
/// of it are as wrong as the weight.
fn has_digits_beside(own: Digits, count: usize) -> bool {
    count >= MANY || (own == Digits::Bytes && count >= FEWEST_IN_DIGITS)
}

/// The patch that rounds to float16 what a rewrite leaves alone: biases, norms, and weights that are no candidates, but not the
/// values called `left`.
///
/// # Errors
/// When data cannot be read.
pub fn kept_in_half(model: &Model, left: &BTreeSet<String>) -> Result<Patch, Error> {
    let mut patch = Patch::default();
    for tensor in &model.graph().initializer {
        let Some(kind) = plain_kind(model, tensor).filter(|_| !left.contains(tensor.name())) else { continue };
        let Some(dims) = dims(tensor).filter(|dims| is_foldable(dims)) else { continue };
        let values = model.floats(tensor)?;
        if let Some(rounded) = to_half(&values, kind) {
            let tensor = float_tensor(tensor.name(), &dims, &rounded);
            patch.replace_initializers.insert(tensor.name().to_owned(), tensor);
        }
    }
    Ok(patch)
}

/// The values as float16 numbers; `None` where they lose more than the last digits: factors one by one, what is summed up in
/// relation to all of it.
fn to_half(values: &[f32], kind: PlainKind) -> Option<Vec<f32>> {
    let squares: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let typical = (squares / values.len().max(1) as f64).sqrt() as f32;
    let is_large_enough = |x: f32| match kind {
        PlainKind::Norm => x == 0.0 || x.abs() >= SMALLEST_NORMAL,
        PlainKind::Bias | PlainKind::Weight => typical == 0.0 || typical >= SMALLEST_NORMAL,
    };
    let rounded = values.iter().map(|&x| {
        let half = f16::from_f32(x).to_f32();
        (half.is_finite() && is_large_enough(x)).then_some(half)
    });
    rounded.collect()
}

fn in_digits(values: &[f32]) -> Option<Quantised> {
    let site = Site { weight: values, outputs: 1, inputs: values.len(), is_transposed: false, moments: None };
    site.prepare(0).digits(&site, Digits::Bytes)
}

/// Initializers that are stored in another way.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) digits: Vec<Part>,
    pub(crate) halves: Vec<Half>,
}

/// Float16 numbers that take the place of an initializer.
#[derive(Debug, Clone)]
pub(crate) struct Half {
    name: String,
    dims: Vec<usize>,
    raw: Vec<u8>,
    before: usize,
    /// Whether a rewrite put it in the place of a weight, which a later compilation has to know.
    is_weight: bool,
}

impl Half {
    /// A weight called `name`, `raw` in the order of `dims`.
    pub(crate) fn weight(name: String, dims: Vec<usize>, raw: Vec<u8>, before: usize) -> Self {
        Half { name, dims, raw, before, is_weight: true }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.raw.len() as u64
    }

    fn elements(&self) -> usize {
        self.raw.len() / 2
    }

    fn is_alone(&self) -> bool {
        self.dims.len() != 1 || self.elements() >= ALONE
    }
}

/// Takes out of `patch` the new values of initializers that can be stored in fewer bytes without loss: in digits of 256
/// levels, which the file unpacks anyway if it `has_bytes`, or as float16.
pub(crate) fn smaller(model: &Model, patch: &mut Patch, has_bytes: bool) -> Stored {
    let mut stored = Stored::default();
    for (name, tensor) in &patch.replace_initializers {
        let (Some(before), Some(values), Some(dims)) = (first_reader(model, name), plain_values(tensor), dims(tensor))
        else {
            continue;
        };
        if let Some(quantised) = lossless(&values, &dims, has_bytes) {
            stored.digits.push(Part { name: Some(name.clone()), dims, values: quantised, before });
        } else if let Some(raw) = halves(&values).filter(|_| is_foldable(&dims)) {
            stored.halves.push(Half { name: name.clone(), dims, raw, before, is_weight: false });
        }
    }
    let vectors: Vec<&Half> = stored.halves.iter().filter(|half| !half.is_alone()).collect();
    let elements: usize = vectors.iter().map(|half| half.elements()).sum();
    let is_shared = vectors.len() > 1 && 2 * elements + SHARED_GAIN * vectors.len() > SHARED_BYTES;
    stored.halves.retain(|half| match half.is_alone() {
        false if is_shared => true,
        _ => 2 * half.elements() > CAST_BYTES + half.name.len(),
    });
    let gone = stored.digits.iter().filter_map(|part| part.name.clone());
    for name in gone.chain(stored.halves.iter().map(|half| half.name.clone())) {
        patch.replace_initializers.remove(&name);
        patch.remove_initializers.insert(name);
    }
    stored
}

/// The vector in digits that make exactly these values, if that takes fewer bytes.
fn lossless(values: &[f32], dims: &[usize], has_bytes: bool) -> Option<Quantised> {
    if dims.len() != 1 || values.len() < FEWEST_IN_DIGITS {
        return None;
    }
    let shared = if has_bytes { 0 } else { DIGITS_BYTES };
    let is_smaller = Digits::Bytes.bytes(values.len()) as usize + shared < 4 * values.len();
    let quantised = in_digits(values).filter(|_| is_smaller)?;
    (quantised.stored_values() == values).then_some(quantised)
}

/// Writes the nodes and initializers that make float32 values of float16 numbers.
pub(crate) fn emit_halves(emitter: &mut Emitter<'_>, halves: &[Half]) {
    let (alone, together): (Vec<&Half>, Vec<&Half>) = halves.iter().partition(|half| half.is_alone());
    let is_single = together.len() == 1;
    for half in alone.iter().chain(together.iter().filter(|_| is_single)) {
        emitter.go_before(half.before);
        let stored = emitter.bytes(DataType::Float16, &half.dims, half.raw.clone());
        let pass = half.is_weight.then_some(UNPACK_PASS);
        emitter.cast_to_float_as(half.name.clone(), stored, pass);
    }
    let Some(before) = together.iter().map(|half| half.before).min().filter(|_| !is_single) else { return };
    emitter.go_before(before);
    let lengths: Vec<usize> = together.iter().map(|half| half.elements()).collect();
    let raw = together.iter().flat_map(|half| half.raw.iter().copied()).collect();
    let stored = emitter.bytes(DataType::Float16, &[lengths.iter().sum()], raw);
    let numbers = emitter.cast_to_float(stored);
    emitter.split(numbers, together.iter().map(|half| half.name.clone()).collect(), &lengths);
}

/// The first node that reads an initializer which a node may make instead: nothing but nodes of the main graph knows it.
fn first_reader(model: &Model, name: &str) -> Option<usize> {
    let (graph, index) = (model.graph(), model.index());
    let is_annotated = graph.quantization_annotation.iter().any(|annotation| {
        let parameters = annotation.quant_parameter_tensor_names.iter().map(pb::StringStringEntryProto::value);
        parameters.chain([annotation.tensor_name()]).any(|annotated| annotated == name)
    });
    let is_known = is_annotated || index.is_captured(name) || index.is_graph_input(name) || index.is_graph_output(name);
    let readers = index.uses(name).iter().map(|usage| usage.node);
    readers.min().filter(|_| !is_known && model.proto().training_info.is_empty())
}

/// Whether runtimes form a float32 tensor of these extents when they load a model, and not in every run.
fn is_foldable(dims: &[usize]) -> bool {
    dims.iter().fold(4_u64, |bytes, &dim| bytes.saturating_mul(dim as u64)) < FOLDABLE_BYTES
}

/// The values of a float32 tensor that this crate made.
fn plain_values(tensor: &pb::TensorProto) -> Option<Vec<f32>> {
    let raw = tensor.raw_data.as_ref().filter(|_| tensor.data_type() == DataType::Float as i32)?;
    Some(raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn dims(tensor: &pb::TensorProto) -> Option<Vec<usize>> {
    tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect()
}
