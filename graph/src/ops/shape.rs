//! Operators that move values without changing them.

use super::elementwise;
use super::{Op, single, window};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;
use crate::value::{Host, Inputs, Value};

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

/// The order of the axes; reversed where it is not given.
pub(super) fn transpose(node: &Node) -> Result<Op, Problem> {
    let order = node.ints("perm")?;
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let rank = x.shape().len();
        let order: Vec<usize> = match &order {
            Some(order) => order.iter().map(|&axis| broadcast::axis(axis, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            refuse!("the order {order:?} of {rank} axes");
        }
        permuted(x, &order)
    }))
}

/// Axes in another order, a permutation.
fn permuted(value: Value, order: &[usize]) -> Result<Value, Problem> {
    match value {
        Value::Float(tensor) => Ok(Value::Float(tensor.permute(order))),
        Value::Host(host) if order.iter().copied().eq(0..order.len()) => Ok(Value::Host(host)),
        Value::Host(host) => {
            let steps = |axis: usize| host.shape[axis + 1..].iter().product::<usize>();
            let shape: Vec<usize> = order.iter().map(|&axis| host.shape[axis]).collect();
            let element = |flat: usize| {
                let mut rest = flat;
                let places = order.iter().rev().map(|&axis| {
                    let place = rest % host.shape[axis];
                    rest /= host.shape[axis];
                    place * steps(axis)
                });
                host.values[places.sum::<usize>()]
            };
            let values = (0..host.values.len()).map(element).collect();
            Ok(Value::Host(Host { shape, values, truth: host.truth }))
        }
    }
}

/// Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input from there on.
fn axes_of(fixed: Option<&Vec<i64>>, inputs: &mut Inputs) -> Option<Vec<i64>> {
    fixed.cloned().or_else(|| inputs.optional_ints(1))
}

pub(super) fn squeeze(node: &Node) -> Result<Op, Problem> {
    let fixed = node.ints("axes")?;
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let shape = x.shape();
        let ones = || (0..shape.len()).filter(|&axis| shape[axis] == 1).collect();
        let axes = match axes_of(fixed.as_ref(), inputs) {
            Some(axes) => broadcast::axes(&axes, shape.len())?,
            None => ones(),
        };
        if axes.iter().any(|&axis| shape[axis] != 1) {
            refuse!("axes {axes:?} of {shape:?} are not all of extent one");
        }
        let left: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
        reshaped(x, &left)
    }))
}

pub(super) fn unsqueeze(node: &Node) -> Result<Op, Problem> {
    let fixed = node.ints("axes")?;
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let shape = x.shape();
        let Some(axes) = axes_of(fixed.as_ref(), inputs) else { refuse!("the axes are missing") };
        let rank = shape.len() + axes.len();
        let axes = broadcast::axes(&axes, rank)?;
        let mut rest = shape.iter().copied();
        let target = (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { rest.next().unwrap_or(1) });
        reshaped(x, &target.collect::<Vec<_>>())
    }))
}

/// Repeats axes of extent one; the shapes broadcast each other.
pub(super) fn expand() -> Op {
    single(|inputs| {
        let (x, wanted) = (inputs.value(0)?, inputs.ints(1)?);
        let Some(wanted) = wanted.iter().map(|&extent| usize::try_from(extent).ok()).collect::<Option<Vec<_>>>() else {
            refuse!("shape {wanted:?}");
        };
        let shape = broadcast::broadcast(&x.shape(), &wanted)?;
        Ok(match x {
            Value::Float(tensor) => Value::Float(tensor.expand(&shape)?),
            Value::Host(host) => {
                let values = elementwise::expand(&host.values, &host.shape, &shape)?;
                Value::Host(Host { shape, values, truth: host.truth })
            }
        })
    })
}

/// All inputs one after the other along an axis.
pub(super) fn concat(node: &Node) -> Result<Op, Problem> {
    let axis = node.int_or("axis", 1)?;
    Ok(single(move |inputs| {
        let parts: Vec<Value> = (0..inputs.len()).map(|place| inputs.value(place)).collect::<Result<_, _>>()?;
        // Exporters concatenate with empty shapes.
        let some: Vec<Value> = parts.iter().filter(|part| !part.shape().contains(&0)).cloned().collect();
        let Some(first) = some.first().or(parts.first()) else { refuse!("nothing to concatenate") };
        let mut shape = first.shape();
        let axis = broadcast::axis(axis, shape.len())?;
        for part in &some {
            let own = part.shape();
            if own.len() != shape.len() || (0..own.len()).any(|at| at != axis && own[at] != shape[at]) {
                refuse!("shapes {shape:?} and {own:?} along axis {axis}");
            }
        }
        shape[axis] = some.iter().map(|part| part.shape()[axis]).sum();
        let whole = some.iter().all(|part| matches!(part, Value::Host(_)));
        if whole {
            let truth = some.iter().all(|part| matches!(part, Value::Host(host) if host.truth)) && !some.is_empty();
            let hosts: Vec<Host> = some.into_iter().map(Value::into_host).collect();
            let outer = shape[..axis].iter().product();
            let mut values = Vec::new();
            for row in 0..outer {
                for host in &hosts {
                    let length = host.values.len() / outer;
                    values.extend_from_slice(&host.values[row * length..(row + 1) * length]);
                }
            }
            return Ok(Value::Host(Host { shape, values, truth }));
        }
        let tensors = some.into_iter().map(Value::into_float).collect::<Result<_, _>>()?;
        Tensor::concat(tensors, axis).map(Value::Float)
    }))
}

/// Squares of `blocksize` from channels to places, or back. x: N×C×H×W.
pub(super) fn depth_to_space(node: &Node) -> Result<Op, Problem> {
    let Some(block) =
        node.int("blocksize")?.and_then(|block| usize::try_from(block).ok()).filter(|n| (1..=window::MOST).contains(n))
    else {
        refuse!("blocksize is missing");
    };
    let back = node.proto.op_type() == "SpaceToDepth";
    let columns_last = match node.text_or("mode", "DCR")? {
        "DCR" => true,
        "CRD" => false,
        other => refuse!("mode {other}"),
    };
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let [n, c, h, w] = x.shape()[..] else { refuse!("input {:?} is not N×C×H×W", x.shape()) };
        let fits = if back { h % block == 0 && w % block == 0 } else { c % (block * block) == 0 };
        if !fits {
            refuse!("input {:?} in blocks of {block}", x.shape());
        }
        let square = block * block;
        if back {
            let x = reshaped(x, &[n, c, h / block, block, w / block, block])?;
            return reshaped(permuted(x, &[0, 3, 5, 1, 2, 4])?, &[n, c * square, h / block, w / block]);
        }
        let depth = c / square;
        let (split, order) = if columns_last {
            ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2])
        } else {
            ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3])
        };
        reshaped(permuted(reshaped(x, &split)?, &order)?, &[n, depth, h * block, w * block])
    }))
}
