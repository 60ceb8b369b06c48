//! The trainable side of a fit: generators, digits and low ranks in place of weights, and plain parameters such as biases.
//!
//! What is in digits is trained as numbers; the network sees them rounded.

use std::ops::Range;
use std::sync::Arc;

use adntn_families::{LowRank, Quantised, round_core, round_cores};
use adntn_graph::Array;
use adntn_networks::{Generator, LegLayout, Workspace};

use crate::distill::optimizer::Group;
use crate::error::Error;
use crate::matrix::{self, multiply, plain};

/// What stands in the place of one leaf of the network.
#[derive(Debug, Clone)]
pub enum Part {
    /// A weight made by a generator.
    Generator {
        /// The generator.
        generator: Box<Generator>,
        /// Extents of the weight as the model stores it.
        dims: Vec<usize>,
        /// Whether the model stores inputs × outputs instead of outputs × inputs.
        transposed: bool,
    },
    /// A weight in digits, in the order in which the model stores it.
    Digits {
        /// The digits; their scales stay.
        weight: Box<Quantised>,
        /// Extents of the weight as the model stores it.
        dims: Vec<usize>,
    },
    /// A weight made of two thin factors in digits.
    LowRank {
        /// The factors; their scales stay.
        factors: Box<LowRank>,
        /// Extents of the weight as the model stores it.
        dims: Vec<usize>,
        /// Whether the model stores inputs × outputs instead of outputs × inputs.
        transposed: bool,
    },
    /// Numbers of their own.
    Plain(Array),
}

impl Part {
    fn shape(&self) -> &[usize] {
        match self {
            Part::Generator { dims, .. } | Part::Digits { dims, .. } | Part::LowRank { dims, .. } => dims,
            Part::Plain(array) => &array.shape,
        }
    }

    /// Its factors in the order of the product that the model stores.
    fn factors(factors: &LowRank, transposed: bool) -> [&Quantised; 2] {
        if transposed { [&factors.inner, &factors.outer] } else { [&factors.outer, &factors.inner] }
    }
}

/// The parts, their parameters in one vector, and all buffers of a step.
#[derive(Debug)]
pub struct Student {
    slots: Vec<Slot>,
    /// All parameters, part after part.
    params: Vec<f32>,
    /// Whether the network sees the cores of generators rounded to 8 bits.
    rounds_cores: bool,
}

#[derive(Debug)]
struct Slot {
    part: Part,
    range: Range<usize>,
    /// The layout, its sides exchanged when the weight is stored inputs × outputs.
    layout: Option<LegLayout>,
    workspace: Workspace<f32>,
    /// The leaf's value; its memory serves every step anew once the network has let go of it.
    value: Arc<Array>,
    /// The gradient in leaf order.
    gradient: Vec<f32>,
    /// Factors as they were rounded last.
    rounded: Vec<f32>,
}

impl Student {
    /// Parts in the order of the network's leaves.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        let mut params = Vec::new();
        let slots = parts.into_iter().map(|part| {
            let start = params.len();
            let layout = match &part {
                Part::Generator { generator, transposed, .. } => {
                    params.extend_from_slice(generator.params());
                    let layout = &generator.spec().layout;
                    Some(if *transposed { layout.transposed() } else { layout.clone() })
                }
                Part::Digits { weight, .. } => {
                    params.extend(weight.stored_values());
                    None
                }
                Part::LowRank { factors, transposed, .. } => {
                    for factor in Part::factors(factors, *transposed) {
                        params.extend(factor.stored_values());
                    }
                    None
                }
                Part::Plain(array) => {
                    params.extend_from_slice(&array.values);
                    None
                }
            };
            let shape = part.shape().to_vec();
            Slot {
                part,
                range: start..params.len(),
                layout,
                workspace: Workspace::new(),
                value: Arc::new(Array { shape, values: Vec::new() }),
                gradient: Vec::new(),
                rounded: Vec::new(),
            }
        });
        let slots = slots.collect();
        Student { slots, params, rounds_cores: false }
    }

    /// The same, with the cores of generators in 8 bits: trained as numbers, seen rounded.
    #[must_use]
    pub fn with_rounded_cores(mut self) -> Self {
        self.rounds_cores = true;
        self
    }

    /// All parameters, part after part.
    #[must_use]
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// The same, to be changed.
    pub fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    /// Elements of all leaves together.
    #[must_use]
    pub fn leaf_elements(&self) -> usize {
        self.slots.iter().map(|slot| slot.value.shape.iter().product::<usize>()).sum()
    }

    /// How many parameters belong to generators.
    #[must_use]
    pub fn generator_parameters(&self) -> usize {
        self.slots.iter().filter(|s| matches!(s.part, Part::Generator { .. })).map(|s| s.range.len()).sum()
    }

    /// Groups of like size: every core, every scale, every plain part. `decay` shrinks plain parts of two dimensions or
    /// more; cores, biases and norms keep their size.
    #[must_use]
    pub fn groups(&self, decay: f32) -> Vec<Group> {
        let mut groups = Vec::new();
        for Slot { part, range, .. } in &self.slots {
            match part {
                Part::Generator { generator, .. } => {
                    let of = |r: Range<usize>| range.start + r.start..range.start + r.end;
                    let parts = crate::layerwise::core_ranges(generator.shape());
                    groups.extend(parts.into_iter().map(|r| Group::of(&self.params, of(r), 1e-6, 0.0)));
                }
                Part::Digits { .. } => groups.push(Group::of(&self.params, range.clone(), 1e-6, 0.0)),
                Part::LowRank { factors, transposed, .. } => {
                    let middle = range.start + Part::factors(factors, *transposed)[0].len();
                    groups.push(Group::of(&self.params, range.start..middle, 1e-6, 0.0));
                    groups.push(Group::of(&self.params, middle..range.end, 1e-6, 0.0));
                }
                Part::Plain(array) => {
                    let decay = if array.shape.len() > 1 { decay } else { 0.0 };
                    groups.push(Group::of(&self.params, range.clone(), 1e-2, decay));
                }
            }
        }
        groups
    }

    /// The values of all leaves.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a parameter is not finite: the fit has diverged.
    pub fn leaves(&mut self) -> Result<Vec<Arc<Array>>, Error> {
        if self.params.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFinite { what: "the parameters under training (the fit diverged)".into() });
        }
        for slot in &mut self.slots {
            let params = &self.params[slot.range.clone()];
            if Arc::get_mut(&mut slot.value).is_none() {
                slot.value = Arc::new(Array { shape: slot.value.shape.clone(), values: Vec::new() });
            }
            let Some(Array { values, .. }) = Arc::get_mut(&mut slot.value) else { continue };
            match (&mut slot.part, &slot.layout) {
                (Part::Generator { generator, transposed, .. }, Some(layout)) => {
                    generator.params_mut().copy_from_slice(params);
                    if self.rounds_cores {
                        let cores: Vec<_> = generator.shape().cores.iter().map(|core| core.range.clone()).collect();
                        cores.into_iter().for_each(|core| round_core(&mut generator.params_mut()[core]));
                    }
                    let (rows, columns) = sides(generator, *transposed);
                    layout.scatter(generator.forward(&mut slot.workspace), rows, columns, values);
                }
                (Part::Digits { weight, .. }, _) => {
                    values.clear();
                    weight.round_into(params, values);
                }
                (Part::LowRank { factors, transposed, .. }, _) => {
                    let [left, right] = Part::factors(factors, *transposed);
                    slot.rounded.clear();
                    left.round_into(&params[..left.len()], &mut slot.rounded);
                    right.round_into(&params[left.len()..], &mut slot.rounded);
                    let (l, r) = slot.rounded.split_at(left.len());
                    let ([m, k], [_, n]) = (left.stored_shape(), right.stored_shape());
                    values.resize(m * n, 0.0);
                    multiply(m, n, k, plain(l, k), plain(r, n), false, values);
                }
                _ => {
                    values.clear();
                    values.extend_from_slice(params);
                }
            }
        }
        Ok(self.slots.iter().map(|slot| Arc::clone(&slot.value)).collect())
    }

    /// The gradient by all parameters, given the gradients by the leaves of the last [`Student::leaves`].
    pub fn pull_back(&mut self, leaves: &[Option<Array>], gradient: &mut [f32]) {
        gradient.fill(0.0);
        for (slot, leaf) in self.slots.iter_mut().zip(leaves) {
            let Some(leaf) = leaf else { continue };
            let out = &mut gradient[slot.range.clone()];
            match (&slot.part, &slot.layout) {
                (Part::Generator { generator, transposed, .. }, Some(layout)) => {
                    let (rows, columns) = sides(generator, *transposed);
                    layout.gather(&leaf.values, rows, columns, &mut slot.gradient);
                    out.copy_from_slice(generator.adjoint(&mut slot.workspace, &slot.gradient));
                }
                (Part::LowRank { factors, transposed, .. }, _) => {
                    let [left, right] = Part::factors(factors, *transposed);
                    let ([m, k], [_, n]) = (left.stored_shape(), right.stored_shape());
                    let (l, r) = slot.rounded.split_at(left.len());
                    let (by_left, by_right) = out.split_at_mut(left.len());
                    multiply(m, k, n, plain(&leaf.values, n), matrix::transposed(r, n), false, by_left);
                    multiply(k, n, m, matrix::transposed(l, k), plain(&leaf.values, n), false, by_right);
                }
                // Straight through the rounding (Y. Bengio, N. Léonard and A. Courville, arXiv 1308.3432).
                _ => out.copy_from_slice(&leaf.values),
            }
        }
    }

    /// The parts with the parameters `params`, in order.
    #[must_use]
    pub fn parts(&self, params: &[f32]) -> Vec<Part> {
        let part = |slot: &Slot| {
            let values = &params[slot.range.clone()];
            let mut part = slot.part.clone();
            match &mut part {
                Part::Generator { generator, .. } => {
                    generator.params_mut().copy_from_slice(values);
                    if self.rounds_cores {
                        round_cores(generator);
                    }
                }
                Part::Digits { weight, .. } => **weight = weight.rounded(values),
                Part::LowRank { factors, transposed, .. } => {
                    let LowRank { outer, inner } = factors.as_mut();
                    let (left, right) = if *transposed { (inner, outer) } else { (outer, inner) };
                    let (l, r) = values.split_at(left.len());
                    (*left, *right) = (left.rounded(l), right.rounded(r));
                }
                Part::Plain(array) => array.values.copy_from_slice(values),
            }
            part
        };
        self.slots.iter().map(part).collect()
    }
}

fn sides(generator: &Generator, transposed: bool) -> (usize, usize) {
    let spec = generator.spec();
    if transposed { (spec.inputs, spec.outputs) } else { (spec.outputs, spec.inputs) }
}
