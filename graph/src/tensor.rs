//! Float tensors of any rank that may be on the tape, with the shapes checked before the tensor library sees them.

use burn_backend::ops::{FloatTensorOps, PadMode};
use burn_backend::{AutodiffBackend, Scalar, Slice, TensorMetadata};

use crate::Array;
use crate::backend::{self, PlainTensor, Taped, TapedTensor};
use crate::broadcast::{broadcast, with_rank};
use crate::error::{Problem, refuse};

/// A float32 tensor. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tensor(pub TapedTensor);

impl Tensor {
    /// Without a gradient.
    pub(crate) fn constant(tensor: PlainTensor) -> Tensor {
        Tensor(Taped::from_inner(tensor))
    }

    /// With a gradient.
    pub(crate) fn leaf(tensor: PlainTensor) -> Tensor {
        Tensor(Taped::from_inner(tensor).require_grad())
    }

    pub(crate) fn from_array(shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor::constant(backend::from_array(Array { shape: shape.to_vec(), values }))
    }

    pub(crate) fn into_plain(self) -> PlainTensor {
        Taped::inner(self.0)
    }

    pub(crate) fn to_array(&self) -> Array {
        backend::into_array(Taped::inner(self.0.clone()))
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.0.is_tracked()
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        self.0.shape().to_vec()
    }

    pub(crate) fn rank(&self) -> usize {
        self.0.shape().num_dims()
    }

    /// Another shape of as many elements.
    pub(crate) fn reshape(self, shape: &[usize]) -> Result<Tensor, Problem> {
        let now = self.shape();
        if now == shape {
            return Ok(self);
        }
        if now.iter().product::<usize>() != shape.iter().product::<usize>() {
            refuse!("shape {now:?} cannot become {shape:?}");
        }
        Ok(Tensor(Taped::float_reshape(self.0, backend::shape(shape))))
    }

    /// Axes in another order.
    pub(crate) fn permute(self, order: &[usize]) -> Tensor {
        if order.iter().copied().eq(0..order.len()) {
            return self;
        }
        Tensor(Taped::float_permute(self.0, order))
    }

    /// Ones in front of the shape, up to `rank` axes.
    pub(crate) fn with_rank(self, rank: usize) -> Result<Tensor, Problem> {
        let shape = with_rank(&self.shape(), rank);
        self.reshape(&shape)
    }

    /// Repeats axes of extent one.
    pub(crate) fn expand(self, shape: &[usize]) -> Result<Tensor, Problem> {
        let tensor = self.with_rank(shape.len())?;
        if broadcast(&tensor.shape(), shape)? != shape {
            refuse!("shape {:?} does not broadcast to {shape:?}", tensor.shape());
        }
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        Ok(Tensor(Taped::float_expand(tensor.0, backend::shape(shape))))
    }

    fn pair(self, other: Tensor) -> Result<(TapedTensor, TapedTensor), Problem> {
        broadcast(&self.shape(), &other.shape())?;
        let rank = self.rank().max(other.rank());
        Ok((self.with_rank(rank)?.0, other.with_rank(rank)?.0))
    }

    pub(crate) fn add(self, other: Tensor) -> Result<Tensor, Problem> {
        self.pair(other).map(|(a, b)| Tensor(Taped::float_add(a, b)))
    }

    pub(crate) fn sub(self, other: Tensor) -> Result<Tensor, Problem> {
        self.pair(other).map(|(a, b)| Tensor(Taped::float_sub(a, b)))
    }

    pub(crate) fn mul(self, other: Tensor) -> Result<Tensor, Problem> {
        self.pair(other).map(|(a, b)| Tensor(Taped::float_mul(a, b)))
    }

    pub(crate) fn div(self, other: Tensor) -> Result<Tensor, Problem> {
        self.pair(other).map(|(a, b)| Tensor(Taped::float_div(a, b)))
    }

    pub(crate) fn pow(self, other: Tensor) -> Result<Tensor, Problem> {
        self.pair(other).map(|(a, b)| Tensor(Taped::float_powf(a, b)))
    }

    pub(crate) fn plus(self, number: f32) -> Tensor {
        Tensor(Taped::float_add_scalar(self.0, scalar(number)))
    }

    pub(crate) fn times(self, number: f32) -> Tensor {
        if number == 1.0 { self } else { Tensor(Taped::float_mul_scalar(self.0, scalar(number))) }
    }

    pub(crate) fn map(self, f: impl FnOnce(TapedTensor) -> TapedTensor) -> Tensor {
        Tensor(f(self.0))
    }

    /// Sum over `axes`, which stay with extent one.
    pub(crate) fn sum(self, axes: &[usize]) -> Tensor {
        axes.iter().fold(self, |tensor, &axis| Tensor(Taped::float_sum_dim(tensor.0, axis)))
    }

    /// Mean over `axes`, which stay with extent one.
    pub(crate) fn mean(self, axes: &[usize]) -> Tensor {
        let shape = self.shape();
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        self.sum(axes).times(1.0 / count as f32)
    }

    /// `start..end` of every axis.
    pub(crate) fn crop(self, ranges: &[(usize, usize)]) -> Tensor {
        let shape = self.shape();
        if ranges.iter().zip(&shape).all(|(&(start, end), &extent)| start == 0 && end == extent) {
            return self;
        }
        let slices: Vec<Slice> =
            ranges.iter().map(|&(start, end)| Slice::new(start as isize, Some(end as isize), 1)).collect();
        Tensor(Taped::float_slice(self.0, &slices))
    }

    /// Constant values before and after every axis.
    pub(crate) fn pad(self, pads: &[(usize, usize)], fill: f32) -> Tensor {
        if pads.iter().all(|&pad| pad == (0, 0)) {
            return self;
        }
        Tensor(Taped::float_pad(self.0, pads, PadMode::Constant(fill)))
    }
}

fn scalar(number: f32) -> Scalar {
    Scalar::Float(f64::from(number))
}
