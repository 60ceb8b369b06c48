//! Leg layouts: in which order the legs of W hang on the leaves of the tree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::factorise::factorise;
use crate::permute::Blocks;
use crate::{Error, Leg, Side, Tree};

/// The two standard orders of the legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutKind {
    /// o₁ i₁ o₂ i₂ …: pairs of an output and an input leg share a parent.
    Interleaved,
    /// o₁ o₂ … i₁ i₂ …: the top tensor joins outputs and inputs.
    Separated,
}

impl LayoutKind {
    /// Every kind.
    pub const ALL: &'static [LayoutKind] = &[LayoutKind::Interleaved, LayoutKind::Separated];

    /// Name as written in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            LayoutKind::Interleaved => "interleaved",
            LayoutKind::Separated => "separated",
        }
    }
}

impl fmt::Display for LayoutKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LayoutKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        LayoutKind::ALL.iter().copied().find(|k| k.name() == text).ok_or_else(|| Error::UnknownName {
            what: "layout",
            given: text.to_owned(),
            known: "interleaved, separated",
        })
    }
}

/// Where the legs of a convolution's kernel axes hang; they are the fastest varying digits of the input side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelLegs {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Among the input legs, as if they were further channel legs.
    WithInputs,
}

impl KernelLegs {
    /// Every placement.
    pub const ALL: &'static [KernelLegs] = &[KernelLegs::First, KernelLegs::Last, KernelLegs::WithInputs];

    /// Name as written in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            KernelLegs::First => "first",
            KernelLegs::Last => "last",
            KernelLegs::WithInputs => "with-inputs",
        }
    }
}

impl fmt::Display for KernelLegs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KernelLegs {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        KernelLegs::ALL.iter().copied().find(|k| k.name() == text).ok_or_else(|| Error::UnknownName {
            what: "place of kernel legs",
            given: text.to_owned(),
            known: "first, last, with-inputs",
        })
    }
}

/// The legs of a weight in leaf order.
///
/// *Leaf order* is the row-major order of the tensor whose axes are the legs in this order; it is the order in which a
/// generator produces W.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Leg>", into = "Vec<Leg>")]
pub struct LegLayout {
    legs: Vec<Leg>,
    outputs: usize,
    inputs: usize,
}

impl LegLayout {
    /// o₁ i₁ o₂ i₂ …; with unequal numbers of legs the rarer side is spread evenly.
    ///
    /// # Errors
    /// As [`LegLayout::custom`].
    pub fn interleaved(o: &[usize], i: &[usize]) -> Result<Self, Error> {
        Self::custom(interleave(o, i))
    }

    /// o₁ o₂ … i₁ i₂ ….
    ///
    /// # Errors
    /// As [`LegLayout::custom`].
    pub fn separated(o: &[usize], i: &[usize]) -> Result<Self, Error> {
        Self::custom(side(Side::Output, o).chain(side(Side::Input, i)).collect())
    }

    /// Any order of legs.
    ///
    /// # Errors
    /// When a leg has dimension 0, when the places of a side are not 0, 1, 2, … once each, when there are fewer than four
    /// legs, or when the product of all dimensions overflows.
    pub fn custom(legs: Vec<Leg>) -> Result<Self, Error> {
        if let Some(leg) = legs.iter().position(|leg| leg.dim == 0) {
            return Err(Error::EmptyLeg { leg });
        }
        for side in [Side::Output, Side::Input] {
            let count = legs.iter().filter(|leg| leg.side == side).count();
            let missing = (0..count).find(|&p| !legs.iter().any(|leg| leg.side == side && leg.place == p));
            if let Some(place) = missing {
                return Err(Error::Places { side: side.name(), count, place });
            }
        }
        Tree::balanced(legs.len())?;
        let product = |side| {
            let mut dims = legs.iter().filter(|leg| leg.side == side).map(|leg| leg.dim);
            dims.try_fold(1usize, usize::checked_mul).ok_or(Error::TooLarge)
        };
        let (outputs, inputs) = (product(Side::Output)?, product(Side::Input)?);
        outputs.checked_mul(inputs).filter(|&n| n <= isize::MAX as usize / 8).ok_or(Error::TooLarge)?;
        Ok(LegLayout { legs, outputs, inputs })
    }

    /// A layout of `legs` legs (half of them outputs) for an outputs × inputs matrix, with the factors of [`factorise`].
    ///
    /// The larger factors of one side meet the smaller ones of the other where they are neighbours, so that the tree's
    /// bonds are of like dimension.
    ///
    /// # Errors
    /// As [`LegLayout::custom`], and when a dimension is 0.
    pub fn for_matrix(kind: LayoutKind, outputs: usize, inputs: usize, legs: usize) -> Result<Self, Error> {
        Self::for_conv(kind, KernelLegs::WithInputs, outputs, inputs, &[], legs)
    }

    /// A layout for the weight of a convolution, seen as a matrix of outputs × (channels · kernel axes): `legs` legs, half of
    /// them outputs and the others channels, with the factors of [`factorise`], and one leg for every kernel axis longer
    /// than 1. Only channels and outputs are ever padded.
    ///
    /// # Errors
    /// As [`LegLayout::custom`], and when a dimension is 0.
    pub fn for_conv(
        kind: LayoutKind,
        place: KernelLegs,
        outputs: usize,
        channels: usize,
        kernel: &[usize],
        legs: usize,
    ) -> Result<Self, Error> {
        let inputs = kernel.iter().fold(channels, |n, &d| n.saturating_mul(d));
        if outputs == 0 || inputs == 0 {
            return Err(Error::EmptyWeight { outputs, inputs });
        }
        if legs < 4 {
            return Err(Error::LegCount { legs, needed: 4 });
        }
        let o = factorise(outputs, legs / 2).dims;
        let mut i = factorise(channels, legs - legs / 2).dims;
        i.reverse();
        let kernel = kernel.iter().copied().filter(|&axis| axis > 1);
        let apart: Vec<Leg> = match place {
            KernelLegs::WithInputs => {
                i.extend(kernel);
                Vec::new()
            }
            KernelLegs::First | KernelLegs::Last => {
                (i.len()..).zip(kernel).map(|(place, dim)| Leg { side: Side::Input, dim, place }).collect()
            }
        };
        let rest = match kind {
            LayoutKind::Interleaved => interleave(&o, &i),
            LayoutKind::Separated => side(Side::Output, &o).chain(side(Side::Input, &i)).collect(),
        };
        Self::custom(if place == KernelLegs::First { [apart, rest].concat() } else { [rest, apart].concat() })
    }

    /// An interleaved layout of about `legs` legs whose input legs each belong to one of `axes`, the extents that the columns are
    /// flattened from, the slowest first: neighbours along an axis, such as pixels of a row, are then neighbours in the tree.
    ///
    /// Every axis longer than 1 has a leg at least, so there may be more legs than wished for. Only outputs are ever padded.
    ///
    /// # Errors
    /// As [`LegLayout::custom`], and when a dimension is 0.
    pub fn for_axes(outputs: usize, axes: &[usize], legs: usize) -> Result<Self, Error> {
        let inputs = axes.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        if outputs == 0 || inputs == 0 {
            return Err(Error::EmptyWeight { outputs, inputs });
        }
        if legs < 4 {
            return Err(Error::LegCount { legs, needed: 4 });
        }
        let mut parts: Vec<(usize, Vec<usize>)> = axes.iter().filter(|&&d| d > 1).map(|&d| (d, vec![d])).collect();
        // The axis with the largest legs is split further, as far as it has factors.
        let split = |&(axis, ref dims): &(usize, Vec<usize>)| {
            let factors = factorise(axis, dims.len() + 1);
            (factors.padded == axis && !factors.dims.contains(&1)).then_some(factors.dims)
        };
        while parts.iter().map(|part| part.1.len()).sum::<usize>() < legs - legs / 2 {
            let largest = |part: &(usize, Vec<usize>)| part.1.iter().copied().max().unwrap_or(0);
            let next = parts.iter().enumerate().filter_map(|(k, part)| Some((largest(part), k, split(part)?)));
            let Some((_, k, dims)) = next.max_by_key(|&(size, k, _)| (size, std::cmp::Reverse(k))) else { break };
            parts[k].1 = dims;
        }
        let i: Vec<usize> = parts.into_iter().flat_map(|part| part.1).collect();
        Self::interleaved(&factorise(outputs, legs / 2).dims, &i)
    }

    /// The balanced binary tree over the legs.
    pub fn tree(&self) -> Tree {
        Tree::grown(self.legs.len(), 2)
    }

    /// The legs in leaf order.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// Their dimensions.
    pub fn dims(&self) -> Vec<usize> {
        self.legs.iter().map(|leg| leg.dim).collect()
    }

    /// Rows of the padded W: the product of the output legs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the padded W: the product of the input legs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Legs of one side in place order.
    pub fn side(&self, side: Side) -> Vec<Leg> {
        let mut legs: Vec<Leg> = self.legs.iter().copied().filter(|leg| leg.side == side).collect();
        legs.sort_unstable_by_key(|leg| leg.place);
        legs
    }

    /// The layout of the transposed weight: every leg on the other side, in the same leaf order.
    pub fn transposed(&self) -> Self {
        let flipped = |leg: &Leg| Leg {
            side: match leg.side {
                Side::Output => Side::Input,
                Side::Input => Side::Output,
            },
            ..*leg
        };
        LegLayout { legs: self.legs.iter().map(flipped).collect(), outputs: self.inputs, inputs: self.outputs }
    }

    /// Brings `w` (outputs × inputs, row-major) into leaf order, padded with zeros; `out` is resized.
    ///
    /// # Panics
    /// When `w` is shorter than outputs · inputs, or the matrix is larger than the layout covers.
    pub fn gather<T: Copy + Default + Send + Sync>(&self, w: &[T], outputs: usize, inputs: usize, out: &mut Vec<T>) {
        assert!(
            outputs <= self.outputs && inputs <= self.inputs && w.len() >= outputs * inputs,
            "matrix and layout differ"
        );
        Blocks::new(self).gather(w, outputs, inputs, out);
    }

    /// Brings `leaf` (leaf order, padded) back to outputs × inputs, row-major, without the padding; `out` is resized.
    ///
    /// # Panics
    /// When `leaf` has not outputs() · inputs() elements, or the matrix is larger than the layout covers.
    pub fn scatter<T: Copy + Default + Send + Sync>(
        &self,
        leaf: &[T],
        outputs: usize,
        inputs: usize,
        out: &mut Vec<T>,
    ) {
        assert!(
            outputs <= self.outputs && inputs <= self.inputs && leaf.len() == self.outputs * self.inputs,
            "tensor and layout differ"
        );
        Blocks::new(self).scatter(leaf, outputs, inputs, out);
    }
}

impl fmt::Display for LegLayout {
    /// The legs in leaf order: `o4 i8 o2 i8`. A leg that does not come in the order of its side's places says which place it
    /// has: `o4@1 o8@0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = [0, 0];
        let legs = self.legs.iter().map(|leg| {
            let (letter, count) = match leg.side {
                Side::Output => ('o', &mut next[0]),
                Side::Input => ('i', &mut next[1]),
            };
            let place = if leg.place == *count { String::new() } else { format!("@{}", leg.place) };
            *count += 1;
            format!("{letter}{}{place}", leg.dim)
        });
        f.pad(&legs.collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for LegLayout {
    type Err = Error;

    /// Reads what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut next = [0, 0];
        let leg = |word: &str| {
            let unknown =
                || Error::UnknownName { what: "leg", given: word.to_owned(), known: "o4, i4, o4@1 and the like" };
            let (side, count) = match word.chars().next() {
                Some('o') => (Side::Output, &mut next[0]),
                Some('i') => (Side::Input, &mut next[1]),
                _ => return Err(unknown()),
            };
            let (dim, place) = word[1..].split_once('@').map_or((&word[1..], None), |(dim, place)| (dim, Some(place)));
            let dim = dim.parse().map_err(|_| unknown())?;
            let place = place.map_or(Ok(*count), str::parse).map_err(|_| unknown())?;
            *count += 1;
            Ok(Leg { side, dim, place })
        };
        Self::custom(text.split_whitespace().map(leg).collect::<Result<_, _>>()?)
    }
}

impl TryFrom<Vec<Leg>> for LegLayout {
    type Error = Error;

    fn try_from(legs: Vec<Leg>) -> Result<Self, Error> {
        Self::custom(legs)
    }
}

impl From<LegLayout> for Vec<Leg> {
    fn from(layout: LegLayout) -> Self {
        layout.legs
    }
}

fn interleave(o: &[usize], i: &[usize]) -> Vec<Leg> {
    let (mut a, mut b) = (side(Side::Output, o).peekable(), side(Side::Input, i).peekable());
    let mut legs = Vec::with_capacity(o.len() + i.len());
    while let Some(leg) = match (a.peek(), b.peek()) {
        // The leg whose side is less far along comes first: compares places as fractions of their side's count.
        (Some(x), Some(y)) if x.place * i.len() <= y.place * o.len() => a.next(),
        (_, Some(_)) => b.next(),
        (Some(_), None) => a.next(),
        (None, None) => None,
    } {
        legs.push(leg);
    }
    legs
}

fn side(side: Side, dims: &[usize]) -> impl Iterator<Item = Leg> {
    dims.iter().enumerate().map(move |(place, &dim)| Leg { side, dim, place })
}
