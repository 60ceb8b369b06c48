//! Weights in digits: what the readers of a weight read instead, and the nodes that turn bytes into numbers.
//!
//! Digits of one kind lie in one tensor for all layers, so that the nodes that unpack them are paid once:
//!
//! ```text
//! bytes[N,n,1] ─Cast─Mul(places)─Floor─MatMul(carries)─Sub(zero)─Mul─Reshape[-1]─Split─┬─Reshape─ weight
//!                                                   scales[N,1,1]─Cast─┘                ├─Reshape─ factor …
//!                                                                                      └─ bias
//! ```
//!
//! Digit k of a byte is `⌊b·cₖ⌋ − levels·⌊b·cₖ₊₁⌋` with cₖ a little above levels⁻ᵏ, so that the floor is exact whether a runtime
//! multiplies or divides. The second step is a product with a matrix of ones and, below them, −levels. Digits that fill a byte
//! are signed bytes, and only scaled. All values are exact in float32 but for the last product, which every runtime rounds
//! alike.

use std::collections::BTreeMap;

use adntn_families::{Digits, Halves, LowRank, Quantised, Replacement};
use adntn_onnx::{Model, Patch, pb};
use pb::tensor_proto::DataType;

use crate::Error;
use crate::candidate::{Candidate, Stored};
use crate::emit::Emitter;
use crate::name::Fresh;
use crate::replace::{replace_by_generator, stored_dims};
use crate::store::{self, Half};

/// Metadata value of the node that all unpacked digits of one kind come from.
pub(crate) const UNPACK_PASS: &str = "unpack_digits";
/// Last part of the name of a weight that is a product of factors in digits.
pub(crate) const LOW_RANK_PART: &str = "low-rank";
/// The same of a weight in digits.
pub(crate) const DIGITS_PART: &str = "digits";
/// The same of a weight in float16.
pub(crate) const HALVES_PART: &str = "float16";
/// About what a tensor takes in the file besides its digits: an output of Split, a Reshape and its shape.
const PART_BYTES: u64 = 55;
/// The same of a product: a MatMul and the name of the weight.
const PRODUCT_BYTES: u64 = 45;
/// The same of float16 numbers: a Cast and two names.
const CAST_BYTES: u64 = 70;
/// Most values that are unpacked together: what a runtime holds several times while it folds.
const MOST_TOGETHER: usize = 1 << 24;
/// Added to a factor so that the floor of an exact quotient is never the one below.
const ABOVE: f32 = 1.0 + 1.0 / 4096.0;

/// A value to be unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its name, if it needs a certain one.
    pub(crate) name: Option<String>,
    pub(crate) dims: Vec<usize>,
    /// The values, in the order of `dims`.
    pub(crate) values: Quantised,
    /// First node that reads it.
    pub(crate) before: usize,
}

/// A weight that is the product of two parts.
#[derive(Debug, Clone)]
struct Product {
    name: String,
    dims: Vec<usize>,
    /// Where the left and the right factor stand among the parts.
    factors: [usize; 2],
    before: usize,
}

/// What puts a [`Replacement`] in the place of a weight.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Changes of the graph, which may read the values of `parts` and `products`.
    patch: Patch,
    /// Values to be unpacked.
    parts: Vec<Part>,
    products: Vec<Product>,
    /// Weights in float16.
    halves: Vec<Half>,
}

impl From<Patch> for Rewrite {
    fn from(patch: Patch) -> Self {
        Rewrite { patch, ..Rewrite::default() }
    }
}

impl Rewrite {
    /// Takes the changes of `other` along.
    pub fn merge(&mut self, other: Rewrite) {
        let before = self.parts.len();
        self.patch.merge(other.patch);
        self.parts.extend(other.parts);
        self.halves.extend(other.halves);
        self.products.extend(other.products.into_iter().map(|mut product| {
            product.factors.iter_mut().for_each(|factor| *factor += before);
            product
        }));
    }

    /// All changes, with the nodes that unpack digits for all of them together. Initializers with new values are stored as
    /// digits or float16 where that loses nothing and takes fewer bytes.
    #[must_use]
    pub fn into_patch(self, model: &Model) -> Patch {
        let Rewrite { patch: mut changes, mut parts, products, mut halves } = self;
        let has_bytes = parts.iter().any(|part| part.values.digits() == Digits::Bytes);
        let stored = store::smaller(model, &mut changes, has_bytes);
        parts.extend(stored.digits);
        halves.extend(stored.halves);
        // Of nodes at one place of the graph those that come first in the patch come first in the graph.
        let mut patch = Patch::default();
        if !parts.is_empty() || !halves.is_empty() {
            let mut emitter = Emitter::new(model, &mut patch, Fresh::for_shared(model), 0);
            let values = unpack(&mut emitter, &parts);
            products.iter().for_each(|product| multiply(&mut emitter, product, &values));
            store::emit_halves(&mut emitter, &halves);
        }
        patch.merge(changes);
        patch
    }

    /// Bytes it adds to the file, but for what all parts of a file share.
    #[must_use]
    pub fn added_bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|part| part.values.bytes() + PART_BYTES).sum::<u64>();
        let halves = self.halves.iter().map(|half| half.bytes() + CAST_BYTES).sum::<u64>();
        self.patch.added_bytes() + parts + halves + self.products.len() as u64 * PRODUCT_BYTES
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
        Replacement::Halves(weight) => (weight.rows(), weight.columns()),
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
    let part = match replacement {
        Replacement::LowRank(_) => LOW_RANK_PART,
        Replacement::Halves(_) => HALVES_PART,
        _ => DIGITS_PART,
    };
    let name = format!("{}/{part}", candidate.layer);
    let mut rewrite = Rewrite::from(candidate.rewired_to(model, &name)?);
    let dims = stored_dims(candidate);
    match replacement {
        Replacement::Digits(values) => {
            rewrite.parts.push(Part { name: Some(name), dims, values: values.clone(), before });
        }
        Replacement::LowRank(LowRank { outer, inner }) => {
            let factors = match candidate.stored {
                Stored::OutputInput => [outer, inner],
                Stored::InputOutput => [inner, outer],
            };
            rewrite.parts.extend(factors.map(|values| Part {
                name: None,
                dims: values.stored_shape().to_vec(),
                values: values.clone(),
                before,
            }));
            rewrite.products.push(Product { name, dims, factors: [0, 1], before });
        }
        Replacement::Halves(weight) => {
            rewrite.halves.push(Half::weight(name, dims, stored_halves(candidate, weight), before))
        }
        Replacement::Network(_) => unreachable!("returned above"),
    }
    Ok(rewrite)
}

/// Float16 numbers in the order in which the model stores the weight.
fn stored_halves(candidate: &Candidate, weight: &Halves) -> Vec<u8> {
    let (rows, columns) = (weight.rows(), weight.columns());
    let place = |at: usize| match candidate.stored {
        Stored::OutputInput => at,
        Stored::InputOutput => at % rows * columns + at / rows,
    };
    (0..rows * columns).flat_map(|at| weight.values()[place(at)].to_le_bytes()).collect()
}

/// Writes the nodes and initializers that make the values of `parts`; returns the names of these.
fn unpack(emitter: &mut Emitter<'_>, parts: &[Part]) -> Vec<String> {
    let mut groups: BTreeMap<Digits, Vec<Vec<usize>>> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        let groups = groups.entry(part.values.digits()).or_default();
        let size = |group: &Vec<usize>| group.iter().map(|&p| parts[p].values.len()).sum::<usize>();
        match groups.last_mut() {
            Some(last) if size(last) + part.values.len() <= MOST_TOGETHER => last.push(at),
            _ => groups.push(vec![at]),
        }
    }
    let mut names = vec![String::new(); parts.len()];
    for (digits, groups) in groups {
        for group in groups {
            let members: Vec<&Part> = group.iter().map(|&at| &parts[at]).collect();
            for (at, name) in group.iter().zip(unpack_group(emitter, digits, &members)) {
                names[*at] = name;
            }
        }
    }
    names
}

fn unpack_group(emitter: &mut Emitter<'_>, digits: Digits, group: &[&Part]) -> Vec<String> {
    emitter.go_before(group.iter().map(|part| part.before).min().unwrap_or(0));
    let value = scaled(emitter, digits, group);
    let is_whole = |part: &Part| digits.padded(part.values.len()) == part.values.len();
    if let [part] = group
        && is_whole(part)
    {
        return vec![emitter.reshape(part.name.clone(), value, &part.dims)];
    }
    let flat = emitter.flat(value);
    let (mut lengths, mut outputs, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
    for part in group {
        let length = part.values.len();
        lengths.push(length);
        // A vector needs no Reshape.
        let name = part.name.clone().filter(|_| part.dims.len() == 1).unwrap_or_else(|| emitter.name());
        outputs.push(name.clone());
        pieces.push(name);
        if !is_whole(part) {
            // Padding has outputs of its own, which nothing reads.
            lengths.push(digits.padded(length) - length);
            outputs.push(emitter.name());
        }
    }
    emitter.split(flat, outputs, &lengths);
    let shaped = |(part, piece): (&&Part, String)| match part.dims.as_slice() {
        [_] => piece,
        dims => emitter.reshape(part.name.clone(), piece, dims),
    };
    group.iter().zip(pieces).map(shaped).collect()
}

/// The values of a group, padded, block by block.
fn scaled(emitter: &mut Emitter<'_>, digits: Digits, group: &[&Part]) -> String {
    let packed: Vec<u8> = group.iter().flat_map(|part| part.values.packed()).collect();
    let scales: Vec<u8> = group.iter().flat_map(|part| part.values.scales()).flat_map(|s| s.to_le_bytes()).collect();
    let (blocks, count) = (scales.len() / 2, digits.per_byte());
    let block = digits.block() / count;
    if digits == Digits::Bytes {
        let signed = packed.iter().map(|&b| b.wrapping_sub(128)).collect();
        let bytes = emitter.bytes(DataType::Int8, &[blocks, block], signed);
        let numbers = emitter.cast_to_float(bytes);
        let scales = emitter.bytes(DataType::Float16, &[blocks, 1], scales);
        let scales = emitter.cast_to_float(scales);
        return emitter.marked_value_of(UNPACK_PASS, "Mul", vec![numbers, scales]);
    }
    let bytes = emitter.bytes(DataType::Uint8, &[blocks, block, 1], packed);
    let numbers = emitter.cast_to_float(bytes);
    let levels = digits.levels() as f32;
    let places: Vec<f32> = (0..count).map(|k| ABOVE / levels.powi(k as i32)).collect();
    let places = emitter.floats(&[count], &places);
    let shifted = emitter.value_of("Mul", vec![numbers, places]);
    let whole = emitter.value_of("Floor", vec![shifted]);
    let mut carries = vec![0.0; count * count];
    for k in 0..count {
        carries[k * count + k] = 1.0;
        if k > 0 {
            carries[k * count + k - 1] = -levels;
        }
    }
    let carries = emitter.floats(&[count, count], &carries);
    // A later compilation finds the values behind it in front of the layers, and has to know them.
    let digit = emitter.marked_value_of(UNPACK_PASS, "MatMul", vec![whole, carries]);
    let zero = emitter.floats(&[], &[digits.zero()]);
    let signed = emitter.value_of("Sub", vec![digit, zero]);
    let scales = emitter.bytes(DataType::Float16, &[blocks, 1, 1], scales);
    let scales = emitter.cast_to_float(scales);
    emitter.value_of("Mul", vec![signed, scales])
}

fn multiply(emitter: &mut Emitter<'_>, product: &Product, values: &[String]) {
    let Product { name, dims, factors, before } = product;
    emitter.go_before(*before);
    let factors = factors.map(|at| values[at].clone()).to_vec();
    if dims.len() == 2 {
        emitter.named_value_of(Some(name.clone()), "MatMul", factors);
    } else {
        let product = emitter.value_of("MatMul", factors);
        emitter.reshape(Some(name.clone()), product, dims);
    }
}
