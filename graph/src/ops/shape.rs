//! Operators that move values without changing them.

use super::{Op, single};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::value::{Host, Value};

/// A value in another shape of as many elements.
pub(super) fn reshaped(value: Value, shape: &[usize]) -> Result<Value, Problem> {
    match value {
        Value::Float(tensor) => Ok(Value::Float(tensor.reshape(shape)?)),
        Value::Host(host) if host.values.len() == shape.iter().product::<usize>() => {
            Ok(Value::Host(Host { shape: shape.to_vec(), ..host }))
        }
        Value::Host(host) => refuse!("shape {:?} cannot become {shape:?}", host.shape),
    }
}

/// As in inference: nothing is dropped.
pub(super) fn dropout(_: &Node) -> Result<Op, Problem> {
    Ok(single(|inputs| {
        if inputs.len() > 2 && inputs.optional_ints(2).is_some_and(|training| training.first() == Some(&1)) {
            refuse!("dropout in training mode");
        }
        inputs.value(0)
    }))
}

/// Two axes: those before `axis`, and the others.
pub(super) fn flatten(node: &Node) -> Result<Op, Problem> {
    let axis = node.int_or("axis", 1)?;
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let shape = x.shape();
        let first = if axis == shape.len() as i64 { shape.len() } else { broadcast::axis(axis, shape.len())? };
        reshaped(x, &[shape[..first].iter().product(), shape[first..].iter().product()])
    }))
}

/// A shape with −1 for what remains and 0 for what the input has there.
pub(super) fn resolve(wanted: &[i64], now: &[usize], allow_zero: bool) -> Result<Vec<usize>, Problem> {
    let mut shape = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (axis, &extent) in wanted.iter().enumerate() {
        shape.push(match extent {
            -1 if free.is_none() => {
                free = Some(axis);
                1
            }
            0 if !allow_zero => match now.get(axis) {
                Some(&extent) => extent,
                None => refuse!("shape {wanted:?} copies axis {axis} of {now:?}"),
            },
            _ => match usize::try_from(extent) {
                Ok(extent) => extent,
                Err(_) => refuse!("shape {wanted:?}"),
            },
        });
    }
    let elements: usize = now.iter().product();
    let Some(others) = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent)) else {
        refuse!("shape {wanted:?} is too large");
    };
    match free {
        Some(axis) if others > 0 && elements.is_multiple_of(others) => shape[axis] = elements / others,
        None if others == elements => {}
        _ => refuse!("shape {now:?} cannot become {wanted:?}"),
    }
    Ok(shape)
}

/// The shape is the second input, an attribute before opset 5.
pub(super) fn reshape(node: &Node) -> Result<Op, Problem> {
    let fixed = node.ints("shape")?;
    let allow_zero = node.flag("allowzero")?;
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let wanted = match &fixed {
            Some(shape) => shape.clone(),
            None => inputs.ints(1)?,
        };
        let shape = resolve(&wanted, &x.shape(), allow_zero)?;
        reshaped(x, &shape)
    }))
}

/// Two arrays of integers element by element, with broadcasting.
pub(super) fn host_binary(a: &Host, b: &Host, f: impl Fn(i64, i64) -> Option<i64>) -> Result<Host, Problem> {
    let shape = broadcast::broadcast(&a.shape, &b.shape)?;
    let (a, b) = (host_expand(a, &shape), host_expand(b, &shape));
    match a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect() {
        Some(values) => Ok(Host { shape, values, truth: false }),
        None => refuse!("integer arithmetic overflows or divides by zero"),
    }
}

/// The elements of an array of integers repeated to a shape to which it broadcasts.
pub(super) fn host_expand(host: &Host, shape: &[usize]) -> Vec<i64> {
    let own = broadcast::with_rank(&host.shape, shape.len());
    let count: usize = shape.iter().product();
    let element = |flat: usize| {
        let (mut rest, mut at, mut step) = (flat, 0, 1);
        for (&extent, &own) in shape.iter().zip(&own).rev() {
            at += if own == 1 { 0 } else { rest % extent * step };
            rest /= extent;
            step *= own;
        }
        host.values[at]
    };
    (0..count).map(element).collect()
}
