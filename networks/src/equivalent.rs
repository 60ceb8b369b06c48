//! Generators that are older things under another name.

use std::fmt;

use crate::{Activation, Error, GeneratorSpec, Leg, Shape, Side};

/// What a tree of two levels whose top tensor is a matrix really is.
///
/// Its two isometries are free matrices on either side of the χ×χ matrix σ(top), and a free matrix absorbs whatever stands
/// next to it: the weight, with its legs sorted into those of the one isometry and those of the other, is any matrix of a rank
/// up to χ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Equivalent {
    /// All outputs on one side, all inputs on the other: W = A·B with an inner dimension of `rank`.
    LowRank {
        /// The rank.
        rank: usize,
    },
    /// Outputs or inputs on both sides: W is a sum of `terms` products A ⊗ B.
    KroneckerSum {
        /// Number of terms.
        terms: usize,
        /// Whether rows or columns have to be permuted first, since the legs of A do not come before those of B.
        permuted: bool,
    },
}

impl fmt::Display for Equivalent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Equivalent::LowRank { rank } => format!("low rank r={rank}"),
            Equivalent::KroneckerSum { terms, permuted } => {
                let products = if *terms == 1 { "one Kronecker product" } else { "Kronecker products" };
                let count = if *terms == 1 { String::new() } else { format!("sum of {terms} ") };
                format!("{count}{products}{}", if *permuted { " (permuted)" } else { "" })
            }
        };
        f.pad(&text)
    }
}

impl GeneratorSpec {
    /// What else this generator is called, if it is no more than that. Generators with disentanglers, with σ on the last level
    /// or with three levels and more are more than that, and so is a sum of Kronecker products with a factor for each row.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn equivalent(&self) -> Result<Option<Equivalent>, Error> {
        let shape = Shape::new(self)?;
        let [top, _] = shape.levels.as_slice() else { return Ok(None) };
        let children: Vec<_> = shape.tree().children(1).collect();
        let ([first, second], [a, b]) = (top.as_slice(), children.as_slice()) else { return Ok(None) };
        // A leg that passes through has no free matrix of its own, so that σ would count.
        let plain = shape.disentanglers(1).is_empty() && self.activation_at(1) == Activation::Identity;
        if !plain || a.len() < 2 || b.len() < 2 {
            return Ok(None);
        }
        let legs = self.layout.legs();
        let (a, b) = (&legs[a.clone()], &legs[b.clone()]);
        let rank = (*first).min(*second);
        let has = |legs: &[Leg], side| legs.iter().any(|leg| leg.side == side && leg.dim > 1);
        let outputs = (has(a, Side::Output), has(b, Side::Output));
        let inputs = (has(a, Side::Input), has(b, Side::Input));
        let apart = matches!((outputs, inputs), ((true, false), (false, true)) | ((false, true), (true, false)));
        if apart {
            return Ok(Some(Equivalent::LowRank { rank: rank.min(self.outputs).min(self.inputs) }));
        }
        if self.output_scale {
            return Ok(None);
        }
        let orders = [Side::Output, Side::Input].map(|side| order(a, b, side));
        let permuted =
            orders.contains(&Order::Mixed) || (orders.contains(&Order::Before) && orders.contains(&Order::Behind));
        Ok(Some(Equivalent::KroneckerSum { terms: rank, permuted }))
    }
}

/// How the legs of one side in one group of legs stand to those in another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Before,
    Behind,
    /// There are none in one of the groups.
    Either,
    Mixed,
}

fn order(a: &[Leg], b: &[Leg], side: Side) -> Order {
    let places = |legs: &[Leg]| -> Vec<usize> {
        legs.iter().filter(|leg| leg.side == side && leg.dim > 1).map(|leg| leg.place).collect()
    };
    let (a, b) = (places(a), places(b));
    match (a.iter().min().zip(a.iter().max()), b.iter().min().zip(b.iter().max())) {
        (Some((_, last)), Some((first, _))) if last < first => Order::Before,
        (Some((first, _)), Some((_, last))) if last < first => Order::Behind,
        (Some(_), Some(_)) => Order::Mixed,
        _ => Order::Either,
    }
}
