//! Softmax and its logarithm.

use burn_backend::ops::ActivationOps;

use super::{Op, float};
use crate::attributes::Node;
use crate::backend::Taped;
use crate::broadcast;
use crate::error::Problem;
use crate::tensor::Tensor;

/// Over one axis; before opset 13 over all axes from `axis` on.
pub(super) fn softmax(node: &Node, logarithm: bool) -> Result<Op, Problem> {
    let together = node.opset < 13;
    let axis = node.int_or("axis", if together { 1 } else { -1 })?;
    let over = move |x: Tensor, axis: usize| {
        Tensor(if logarithm { Taped::log_softmax(x.0, axis) } else { Taped::softmax(x.0, axis) })
    };
    Ok(float(move |inputs| {
        let x = inputs.float(0)?;
        let shape = x.shape();
        if !together {
            return Ok(over(x, broadcast::axis(axis, shape.len())?));
        }
        // An axis after the last is legal there: each element alone.
        let first = if axis == shape.len() as i64 { shape.len() } else { broadcast::axis(axis, shape.len())? };
        let rows = shape[..first].iter().product();
        let columns = shape[first..].iter().product();
        over(x.reshape(&[rows, columns])?, 1).reshape(&shape)
    }))
}
