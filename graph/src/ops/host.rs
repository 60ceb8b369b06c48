//! Operators that make integers, or turn them into numbers: the arithmetic of shapes.

use adntn_onnx::pb::tensor_proto::DataType;

use super::{Op, single};
use crate::attributes::Node;
use crate::broadcast;
use crate::constants;
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;
use crate::value::{Constant, Host, Inputs, Value};

/// The shape of the input, or from axis `start` to axis `end` of it.
pub(super) fn shape(node: &Node) -> Result<Op, Problem> {
    let (start, end) = (node.int_or("start", 0)?, node.int("end")?);
    Ok(single(move |inputs| {
        let shape = inputs.value(0)?.shape();
        let rank = shape.len() as i64;
        let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (place(start), place(end.unwrap_or(rank)));
        let taken = shape.get(start..end).unwrap_or(&[]);
        Ok(Value::Host(Host::vector(taken.iter().map(|&extent| extent as i64).collect())))
    }))
}

/// The number of elements.
pub(super) fn size() -> Op {
    single(|inputs| {
        let elements: usize = inputs.value(0)?.shape().iter().product();
        Ok(Value::Host(Host { shape: Vec::new(), values: vec![elements as i64], truth: false }))
    })
}

/// Every float type is float32 here: casts among them change nothing, and gradients pass.
pub(super) fn cast(node: &Node) -> Result<Op, Problem> {
    use DataType::{Bfloat16, Bool, Double, Float, Float16, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    let Some(to) = node.int("to")?.and_then(|to| DataType::try_from(to as i32).ok()) else { refuse!("no known type") };
    match to {
        Float | Double | Float16 | Bfloat16 => Ok(single(|inputs| Ok(Value::Float(inputs.float(0)?)))),
        Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64 | Bool => Ok(single(move |inputs| {
            let mut host = match inputs.value(0)? {
                Value::Host(host) => host,
                Value::Float(tensor) => {
                    let array = tensor.to_array();
                    let whole = |&value: &f32| if to == Bool { i64::from(value != 0.0) } else { value as i64 };
                    Host { values: array.values.iter().map(whole).collect(), shape: array.shape, truth: false }
                }
            };
            host.truth = to == Bool;
            if host.truth {
                host.values.iter_mut().for_each(|value| *value = i64::from(*value != 0));
            }
            Ok(Value::Host(host))
        })),
        other => refuse!("a cast to {}", other.as_str_name()),
    }
}

/// start, start + step, … before limit.
pub(super) fn range() -> Op {
    const MOST: i64 = 1 << 28;
    single(|inputs: &mut Inputs| {
        let (start, limit, step) = (inputs.value(0)?, inputs.value(1)?, inputs.value(2)?);
        if let (Value::Host(start), Value::Host(limit), Value::Host(step)) = (&start, &limit, &step) {
            let ([start], [limit], [step]) = (&start.values[..], &limit.values[..], &step.values[..]) else {
                refuse!("bounds that are not single numbers");
            };
            if limit.saturating_sub(*start).checked_div(*step).is_none_or(|count| count > MOST) {
                refuse!("a range from {start} to {limit} by {step}");
            }
            let along = std::iter::successors(Some(*start), |at| at.checked_add(*step));
            let values = along.take_while(|at| if *step > 0 { at < limit } else { at > limit }).collect();
            return Ok(Value::Host(Host::vector(values)));
        }
        let number = |value: Value| match value.into_float()?.to_array().values[..] {
            [only] => Ok(only),
            _ => Err(Problem::from("bounds that are not single numbers")),
        };
        let (start, limit, step) = (number(start)?, number(limit)?, number(step)?);
        let count = ((limit - start) / step).ceil();
        if !(1.0..MOST as f32).contains(&count) {
            refuse!("a range from {start} to {limit} by {step}");
        }
        let values: Vec<f32> = (0..count as usize).map(|at| start + at as f32 * step).collect();
        Ok(Value::Float(Tensor::from_array(&[values.len()], values)))
    })
}

/// One number repeated to a shape.
pub(super) fn constant_of_shape(node: &Node) -> Result<Op, Problem> {
    let tensor = node.attribute("value").and_then(|attribute| attribute.t.as_ref());
    let value = tensor.map(|tensor| constants::from_tensor(node.model, tensor)).transpose()?;
    Ok(single(move |inputs| {
        let wanted = inputs.ints(0)?;
        let shape: Option<Vec<usize>> = wanted.iter().map(|&extent| usize::try_from(extent).ok()).collect();
        let count = shape.as_deref().and_then(broadcast::host_elements);
        let (Some(shape), Some(count)) = (shape, count) else { refuse!("shape {wanted:?}") };
        match &value {
            Some(Constant::Host(host)) if host.values.len() == 1 => {
                Ok(Value::Host(Host { shape, values: vec![host.values[0]; count], truth: host.truth }))
            }
            Some(Constant::Host(_)) => refuse!("a value that is not a single number"),
            _ if count == 0 => Ok(Value::Host(Host { shape, values: Vec::new(), truth: false })),
            Some(constant) => Ok(Value::Float(constant.value().into_float()?.reshape(&[])?.expand(&shape)?)),
            None => Ok(Value::Float(Tensor::from_array(&shape, vec![0.0; count]))),
        }
    }))
}
