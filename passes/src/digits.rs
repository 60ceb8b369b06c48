//! Weights in digits: what the readers of a weight read instead, and the nodes that turn bytes into numbers.
//!
//! Digits of one kind lie in one tensor for all layers, so that the nodes that unpack them are paid once:
//!
//! ```text
//! bytes[M,1] ─Cast─Mul─Floor─┬──────────────────────Sub─Sub─Reshape[N,block]─Mul─Reshape[·]─Split─┬─Reshape─ weight
//!                            └─Mul─Floor─Mul(levels)─┘             scales[N,1]─Cast─┘              └─Reshape─ factor …
//! ```
//!
//! Digit k of a byte is `⌊b·c⌋ − levels·⌊⌊b·c⌋/levels⌋` with c a little above levels⁻ᵏ, so that the floor is exact whether a
//! runtime multiplies or divides. Digits that fill a byte are signed bytes, and only scaled. All values are exact in float32 but
//! for the last product, which every runtime rounds alike.

use std::collections::BTreeMap;

use adntn_families::{Digits, LowRank, Quantised, Replacement};
use adntn_onnx::{Model, Patch, pb};
use pb::tensor_proto::DataType;

use crate::Error;
use crate::candidate::{Candidate, Stored};
use crate::emit::Emitter;
use crate::name::free_prefix;
use crate::replace::{replace_by_generator, stored_dims};

/// Metadata value of the nodes that make a weight, or a factor of one, of unpacked digits.
pub(crate) const UNPACK_PASS: &str = "unpack_digits";
/// Metadata value of the nodes that multiply factors.
pub(crate) const LOW_RANK_PASS: &str = "replace_by_low_rank";
/// Where the values of a low rank are named, as those of a generator are under its topology.
pub(crate) const LOW_RANK_PART: &str = "low-rank";
/// Where weights in digits are named.
pub(crate) const DIGITS_PART: &str = "digits";
/// About what a tensor takes in the file besides its digits: an output of Split and a Reshape.
const PART_BYTES: u64 = 140;
/// Most values that are unpacked together: what a runtime holds several times while it folds.
const MOST_TOGETHER: usize = 1 << 24;
/// Added to a factor so that the floor of an exact quotient is never the one below.
const ABOVE: f32 = 1.0 + 1.0 / 4096.0;

/// A value to be unpacked.
#[derive(Debug, Clone)]
struct Part {
    name: String,
    dims: Vec<usize>,
    /// The values, in the order of `dims`.
    values: Quantised,
    /// First node that reads it.
    before: usize,
}

/// What puts a [`Replacement`] in the place of a weight.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Changes of the graph, which may read the values of `parts`.
    patch: Patch,
    /// Values to be unpacked.
    parts: Vec<Part>,
}

impl From<Patch> for Rewrite {
    fn from(patch: Patch) -> Self {
        Rewrite { patch, parts: Vec::new() }
    }
}

impl Rewrite {
    /// Takes the changes of `other` along.
    pub fn merge(&mut self, other: Rewrite) {
        self.patch.merge(other.patch);
        self.parts.extend(other.parts);
    }

    /// All changes, with the nodes that unpack digits for all of them together.
    #[must_use]
    pub fn into_patch(self, model: &Model) -> Patch {
        // Of nodes at one place of the graph those that come first in the patch come first in the graph.
        let mut patch = unpack(model, &self.parts);
        patch.merge(self.patch);
        patch
    }

    /// Bytes it adds to the file, but for what all parts of a file share.
    #[must_use]
    pub fn added_bytes(&self) -> u64 {
        self.patch.added_bytes() + self.parts.iter().map(|part| part.values.bytes() + PART_BYTES).sum::<u64>()
    }
}

/// Whether nodes that unpack digits are valid in the model: its version of ONNX has integer constants.
#[must_use]
pub fn takes_digits(model: &Model) -> bool {
    model.opset() >= 9 || (model.proto().ir_version() >= 4 && model.opset() >= 7)
}

/// Puts `replacement` in the place of the weight of `candidate`.
///
/// # Errors
/// As [`replace_by_generator`].
pub fn replace_by(model: &Model, candidate: &Candidate, replacement: &Replacement) -> Result<Rewrite, Error> {
    let made = match replacement {
        Replacement::Network(generator) => {
            return Ok(replace_by_generator(model, candidate, generator)?.into());
        }
        Replacement::Digits(weight) => (weight.rows(), weight.columns()),
        Replacement::LowRank(factors) => (factors.outer.rows(), factors.inner.columns()),
    };
    if made != (candidate.outputs, candidate.inputs) {
        return Err(Error::GeneratorShape {
            layer: candidate.layer.clone(),
            outputs: candidate.outputs,
            inputs: candidate.inputs,
            made_outputs: made.0,
            made_inputs: made.1,
        });
    }
    let before = candidate.first_use();
    let (name, part) = match replacement {
        Replacement::LowRank(factors) => return low_rank(model, candidate, factors),
        Replacement::Digits(weight) => (format!("{}/{DIGITS_PART}/weight", candidate.layer), weight.clone()),
        Replacement::Network(_) => unreachable!("returned above"),
    };
    let patch = candidate.rewired_to(model, &name)?;
    Ok(Rewrite { patch, parts: vec![Part { name, dims: stored_dims(candidate), values: part, before }] })
}

fn low_rank(model: &Model, candidate: &Candidate, factors: &LowRank) -> Result<Rewrite, Error> {
    let (layer, before) = (&candidate.layer, candidate.first_use());
    let part = |label: &str, values: &Quantised| Part {
        name: format!("{layer}/{LOW_RANK_PART}/{label}"),
        dims: values.stored_shape().to_vec(),
        values: values.clone(),
        before,
    };
    let parts = vec![part("outer", &factors.outer), part("inner", &factors.inner)];
    let names: Vec<String> = parts.iter().map(|p| p.name.clone()).collect();
    let inputs = match candidate.stored {
        Stored::OutputInput => names,
        Stored::InputOutput => names.into_iter().rev().collect(),
    };
    let mut added = Patch::default();
    let mut emitter = Emitter::new(model, &mut added, LOW_RANK_PASS, layer, LOW_RANK_PART, before);
    let dims = stored_dims(candidate);
    let is_matrix = dims.len() == 2;
    let mut weight = emitter.named_node(if is_matrix { "weight" } else { "product" }, "MatMul", inputs, Vec::new());
    if !is_matrix {
        weight = emitter.reshape("weight", weight, &dims);
    }
    let mut patch = candidate.rewired_to(model, &weight)?;
    patch.merge(added);
    Ok(Rewrite { patch, parts })
}

/// The initializers and nodes that make the values of `parts`.
fn unpack(model: &Model, parts: &[Part]) -> Patch {
    let mut groups: BTreeMap<Digits, Vec<Vec<&Part>>> = BTreeMap::new();
    for part in parts {
        let groups = groups.entry(part.values.digits()).or_default();
        let size = |group: &Vec<&Part>| group.iter().map(|p| p.values.len()).sum::<usize>();
        match groups.last_mut() {
            Some(last) if size(last) + part.values.len() <= MOST_TOGETHER => last.push(part),
            _ => groups.push(vec![part]),
        }
    }
    let prefix = free_prefix(model, "digits");
    let mut patch = Patch::default();
    for (digits, groups) in groups {
        for (at, group) in groups.iter().enumerate() {
            let number = if at == 0 { String::new() } else { format!("_{}", at + 1) };
            let kind = format!("{}{number}", digits.levels());
            unpack_group(model, &mut patch, &prefix, &kind, digits, group);
        }
    }
    patch
}

fn unpack_group(model: &Model, patch: &mut Patch, prefix: &str, kind: &str, digits: Digits, group: &[&Part]) {
    let before = group.iter().map(|part| part.before).min().unwrap_or(0);
    let mut emitter = Emitter::new(model, patch, UNPACK_PASS, prefix, kind, before);
    emitter.is_described = false;
    let packed: Vec<u8> = group.iter().flat_map(|part| part.values.packed()).collect();
    let scales: Vec<half::f16> = group.iter().flat_map(|part| part.values.scales().iter().copied()).collect();
    let (blocks, block) = (scales.len(), digits.block());

    let scales =
        emitter.bytes("scales", DataType::Float16, &[blocks, 1], scales.iter().flat_map(|s| s.to_le_bytes()).collect());
    let scales = emitter.cast_to_float("scale", scales);
    let mut value = if digits == Digits::Bytes {
        let signed = packed.iter().map(|&b| b.wrapping_sub(128)).collect();
        let bytes = emitter.bytes("bytes", DataType::Int8, &[blocks, block], signed);
        emitter.cast_to_float("number", bytes)
    } else {
        let bytes = emitter.bytes("bytes", DataType::Uint8, &[packed.len(), 1], packed);
        let (base, count) = (digits.levels() as f32, digits.per_byte());
        let number = emitter.cast_to_float("number", bytes);
        let factors: Vec<f32> = (0..count).map(|k| ABOVE / base.powi(k as i32)).collect();
        let factors = emitter.floats("places", &[count], &factors);
        let shifted = emitter.named_node("shifted", "Mul", vec![number, factors], Vec::new());
        let whole = emitter.named_node("whole", "Floor", vec![shifted], Vec::new());
        let factor = emitter.floats("per-level", &[], &[ABOVE / base]);
        let above = emitter.named_node("above", "Mul", vec![whole.clone(), factor], Vec::new());
        let above = emitter.named_node("carry", "Floor", vec![above], Vec::new());
        let levels = emitter.floats("levels", &[], &[base]);
        let above = emitter.named_node("carried", "Mul", vec![above, levels], Vec::new());
        let digit = emitter.named_node("digit", "Sub", vec![whole, above], Vec::new());
        let zero = emitter.floats("zero", &[], &[digits.zero()]);
        let signed = emitter.named_node("signed", "Sub", vec![digit, zero], Vec::new());
        emitter.reshape("blocks", signed, &[blocks, block])
    };
    value = emitter.named_node("scaled", "Mul", vec![value, scales], Vec::new());

    let padded: Vec<usize> = group.iter().map(|part| digits.padded(part.values.len())).collect();
    if let ([part], true) = (group, padded[0] == group[0].values.len()) {
        emitter.is_described = true;
        emitter.reshape_to(part.name.clone(), value, &part.dims);
        return;
    }
    let flat = emitter.reshape("flat", value, &[blocks * block]);
    // Padding has outputs of its own, which nothing reads.
    let (mut lengths, mut outputs) = (Vec::new(), Vec::new());
    for (part, padded) in group.iter().zip(&padded) {
        let length = part.values.len();
        lengths.push(length);
        outputs.push(emitter.name("part"));
        if *padded > length {
            lengths.push(padded - length);
            outputs.push(emitter.name("rest"));
        }
    }
    emitter.split(flat, &outputs, &lengths);
    // A later compilation finds these nodes in front of the layers, and has to know them.
    emitter.is_described = true;
    let mut at = 0;
    for (part, padded) in group.iter().zip(&padded) {
        emitter.reshape_to(part.name.clone(), outputs[at].clone(), &part.dims);
        at += if *padded > part.values.len() { 2 } else { 1 };
    }
}
