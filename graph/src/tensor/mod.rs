//! Float tensors of any rank that may be on a tape. What does not fit is refused; nothing here panics on the shapes of a model.

mod fold;
mod map;
mod moves;
pub(crate) mod parallel;
mod plain;
mod tape;
#[cfg(test)]
mod tests;
mod zip;

use std::sync::Arc;

pub(crate) use fold::{dot, joined, sum_axis, sum_to, total};
pub(crate) use map::{Curve, From, curve};
pub(crate) use moves::elements;
pub(crate) use plain::Plain;
pub(crate) use tape::{Node, backward};
pub(crate) use zip::{Pair, Swapped, combine, pair};

use crate::Array;
use crate::broadcast::with_rank;
use crate::error::Problem;

/// A float32 tensor. Cheap to clone. Functions that take one write over its values where nobody else has them.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub value: Plain,
    /// `None` without a gradient.
    pub node: Option<Arc<Node>>,
}

impl Tensor {
    /// Without a gradient.
    pub(crate) fn constant(value: Plain) -> Tensor {
        Tensor { value, node: None }
    }

    /// With a gradient.
    pub(crate) fn leaf(value: Plain) -> Tensor {
        Tensor { value, node: Some(Node::leaf()) }
    }

    /// As many values as the shape has elements, which the caller sees to.
    pub(crate) fn from_array(shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor::constant(Plain::new(shape.to_vec(), values))
    }

    pub(crate) fn to_array(&self) -> Array {
        self.value.clone().into_array()
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        self.value.shape().to_vec()
    }

    pub(crate) fn rank(&self) -> usize {
        self.value.shape().len()
    }

    /// Ones in front of the shape, up to `rank` axes.
    pub(crate) fn with_rank(self, rank: usize) -> Result<Tensor, Problem> {
        let shape = with_rank(self.value.shape(), rank);
        self.reshape(&shape)
    }

    pub(crate) fn plus(self, number: f32) -> Tensor {
        let Tensor { value, node } = self;
        let node = Node::record(vec![node], |gradient, parents| parents.give(0, gradient));
        Tensor { value: map::apply(value, Plus(number)), node }
    }

    pub(crate) fn times(self, number: f32) -> Tensor {
        if number == 1.0 { self } else { self.map(Times(number)) }
    }
}

#[derive(Clone, Copy)]
struct Plus(f32);
curve!(impl Plus, Nothing, |Plus(number), x| x + number, |_, _| 1.0);

#[derive(Clone, Copy)]
struct Times(f32);
curve!(impl Times, Nothing, |Times(number), x| x * number, |Times(number), _| number);
