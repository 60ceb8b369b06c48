//! Elements picked along axes: Slice, Gather, Split, Tile, and padding by elements of the input.

use super::shape::reshaped;
use super::{Op, single};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::value::{Host, Value};

/// The elements `indices` along `axis`, each in range, in this order.
pub(super) fn select(value: Value, axis: usize, indices: &[usize]) -> Result<Value, Problem> {
    let shape = value.shape();
    if indices.iter().copied().eq(0..shape[axis]) {
        return Ok(value);
    }
    match value {
        Value::Float(_) if indices.is_empty() => refuse!("nothing is selected from {shape:?}"),
        Value::Float(tensor) if indices.windows(2).all(|pair| pair[0] + 1 == pair[1]) => {
            let mut ranges: Vec<(usize, usize)> = shape.iter().map(|&extent| (0, extent)).collect();
            ranges[axis] = (indices[0], indices[0] + indices.len());
            Ok(Value::Float(tensor.crop(&ranges)))
        }
        Value::Float(tensor) => tensor.select(axis, indices.to_vec()).map(Value::Float),
        Value::Host(host) => {
            let outer: usize = shape[..axis].iter().product();
            let inner: usize = shape[axis + 1..].iter().product();
            let mut values = Vec::new();
            for before in 0..outer {
                for index in indices {
                    let start = (before * shape[axis] + index) * inner;
                    values.extend_from_slice(&host.values[start..start + inner]);
                }
            }
            let mut shape = shape;
            shape[axis] = indices.len();
            Ok(Value::Host(Host { shape, values, truth: host.truth }))
        }
    }
}

/// Starts, ends, axes and steps are attributes before opset 10, inputs from there on.
pub(super) fn slice(node: &Node) -> Result<Op, Problem> {
    let fixed = (node.ints("starts")?, node.ints("ends")?, node.ints("axes")?);
    Ok(single(move |inputs| {
        let mut x = inputs.value(0)?;
        let rank = x.shape().len();
        let (starts, ends, axes, steps) = match &fixed {
            (Some(starts), Some(ends), axes) => (starts.clone(), ends.clone(), axes.clone(), None),
            _ => (inputs.ints(1)?, inputs.ints(2)?, inputs.optional_ints(3), inputs.optional_ints(4)),
        };
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            refuse!("starts, ends, axes and steps differ in number");
        }
        for (((start, end), axis), step) in starts.iter().zip(ends).zip(axes).zip(steps) {
            let axis = broadcast::axis(axis, rank)?;
            x = select(x.clone(), axis, &stepped(*start, end, step, x.shape()[axis])?)?;
        }
        Ok(x)
    }))
}

/// The indices that a slice takes, as numpy counts.
fn stepped(start: i64, end: i64, step: i64, extent: usize) -> Result<Vec<usize>, Problem> {
    if step == 0 {
        refuse!("a step of zero");
    }
    let extent = extent as i64;
    let wrap = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
    let (start, end) = (wrap(start).clamp(low, high), wrap(end).clamp(low, high));
    let along = std::iter::successors(Some(start), |at| at.checked_add(step));
    Ok(along.take_while(|&at| if step > 0 { at < end } else { at > end }).map(|at| at as usize).collect())
}

/// Indices of any shape, negative from the end, along one axis.
pub(super) fn gather(node: &Node) -> Result<Op, Problem> {
    let axis = node.int_or("axis", 0)?;
    Ok(single(move |inputs| {
        let (x, indices) = (inputs.value(0)?, inputs.value(1)?.into_host());
        let shape = x.shape();
        let axis = broadcast::axis(axis, shape.len())?;
        let extent = shape[axis] as i64;
        let wrap = |&index: &i64| usize::try_from(if index < 0 { index + extent } else { index }).ok();
        let found: Option<Vec<usize>> = indices.values.iter().map(wrap).collect();
        let Some(found) = found.filter(|found| found.iter().all(|&index| index < shape[axis])) else {
            refuse!("an index outside axis {axis} of {shape:?}");
        };
        let target: Vec<usize> =
            shape[..axis].iter().chain(&indices.shape).chain(&shape[axis + 1..]).copied().collect();
        reshaped(select(x, axis, &found)?, &target)
    }))
}

/// Sizes are an attribute before opset 13, an input from there on; without them the parts are equal.
pub(super) fn split(node: &Node) -> Result<Op, Problem> {
    let axis = node.int_or("axis", 0)?;
    let fixed = node.ints("split")?;
    let parts = node.int("num_outputs")?.map_or(node.proto.output.len(), |parts| usize::try_from(parts).unwrap_or(0));
    Ok(Box::new(move |inputs| {
        let x = inputs.value(0)?;
        let shape = x.shape();
        let axis = broadcast::axis(axis, shape.len())?;
        let sizes: Vec<usize> = match fixed.clone().or_else(|| inputs.optional_ints(1)) {
            Some(sizes) => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(),
            None => {
                let size = shape[axis].div_ceil(parts.max(1));
                (0..parts).map(|part| shape[axis].saturating_sub(part * size).min(size)).collect()
            }
        };
        if sizes.iter().sum::<usize>() != shape[axis] || sizes.contains(&0) {
            refuse!("parts {sizes:?} of axis {axis} of {shape:?}");
        }
        let mut start = 0;
        let mut outputs = Vec::new();
        for size in sizes {
            let indices: Vec<usize> = (start..start + size).collect();
            outputs.push(select(x.clone(), axis, &indices)?);
            start += size;
        }
        Ok(outputs)
    }))
}

pub(super) fn tile() -> Op {
    single(|inputs| {
        let mut x = inputs.value(0)?;
        let (shape, repeats) = (x.shape(), inputs.ints(1)?);
        if repeats.len() != shape.len() {
            refuse!("{repeats:?} repeats of {shape:?}");
        }
        // Empty extents count as one: rows of nothing are counted too.
        let tiled = shape
            .iter()
            .zip(&repeats)
            .map(|(&extent, &n)| extent.max(1).checked_mul(usize::try_from(n).unwrap_or(1).max(1)));
        if tiled.collect::<Option<Vec<_>>>().as_deref().and_then(broadcast::host_elements).is_none() {
            refuse!("{repeats:?} repeats of {shape:?}");
        }
        for (axis, (&extent, repeats)) in shape.iter().zip(repeats).enumerate() {
            let indices: Vec<usize> = (0..repeats).flat_map(|_| 0..extent).collect();
            x = select(x, axis, &indices)?;
        }
        Ok(x)
    })
}

/// Constant, reflected or repeated edges; negative padding crops. Amounts and value are attributes before opset 11.
pub(super) fn pad(node: &Node) -> Result<Op, Problem> {
    let mode = node.text_or("mode", "constant")?.to_owned();
    let fixed = node.ints("pads")?.or(node.ints("paddings")?);
    let fixed_value = node.float_or("value", 0.0)?;
    if !matches!(mode.as_str(), "constant" | "reflect" | "edge" | "wrap") {
        refuse!("mode {mode}");
    }
    Ok(single(move |inputs| {
        let mut x = inputs.value(0)?;
        let rank = x.shape().len();
        let (pads, fill, axes) = match &fixed {
            Some(pads) => (pads.clone(), fixed_value, None),
            None => (inputs.ints(1)?, inputs.optional_scalar(2)?.unwrap_or(0.0), inputs.optional_ints(3)),
        };
        let axes = axes.unwrap_or_else(|| (0..rank as i64).collect());
        if pads.len() != 2 * axes.len() {
            refuse!("{} amounts for {} axes", pads.len(), axes.len());
        }
        let mut around = vec![(0, 0); rank];
        for (at, &axis) in axes.iter().enumerate() {
            let axis = broadcast::axis(axis, rank)?;
            let (begin, end) = (pads[at], pads[at + axes.len()]);
            let extent = x.shape()[axis] as i64;
            if begin.saturating_add(end).saturating_add(extent) <= 0 || begin.max(end) > 1 << 31 {
                refuse!("padding {pads:?} of {:?}", x.shape());
            }
            let constant = mode == "constant";
            let (first, last) = if constant { ((-begin).max(0), extent + end.min(0)) } else { (-begin, extent + end) };
            let indices: Option<Vec<usize>> = (first..last).map(|place| mirrored(place, extent, &mode)).collect();
            let Some(indices) = indices else { refuse!("padding {pads:?} reaches too far") };
            x = select(x, axis, &indices)?;
            if constant {
                around[axis] = (begin.max(0) as usize, end.max(0) as usize);
            }
        }
        if around.iter().all(|&pad| pad == (0, 0)) {
            return Ok(x);
        }
        x.into_float()?.pad(&around, fill).map(Value::Float)
    }))
}

/// Which element stands at a place outside the input.
fn mirrored(place: i64, extent: i64, mode: &str) -> Option<usize> {
    let found = match mode {
        "reflect" if place < 0 => -place,
        "reflect" if place >= extent => 2 * (extent - 1) - place,
        "edge" => place.clamp(0, extent - 1),
        "wrap" => place.rem_euclid(extent),
        _ => place,
    };
    usize::try_from(found).ok().filter(|&found| (found as i64) < extent)
}
