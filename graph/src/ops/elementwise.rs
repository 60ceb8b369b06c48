//! Arithmetic, comparison and choice, with numpy's broadcasting. Integers are computed as integers.

use super::activation::Abs;
use super::{Op, float, single};
use crate::attributes::Node;
use crate::broadcast::{broadcast, host_elements, with_rank};
use crate::error::{Problem, refuse};
use crate::tensor::{Node as Taped, Plain, Tensor, combine, curve, pair};
use crate::value::{Host, Inputs, Value};

/// Add, Sub, Mul, Div.
pub(super) fn arithmetic(node: &Node) -> Result<Op, Problem> {
    if node.opset < 7 && node.flag("broadcast")? {
        refuse!("broadcasting along an axis, as before opset 7");
    }
    let op = node.proto.op_type().to_owned();
    Ok(single(move |inputs| binary(inputs.value(0)?, inputs.value(1)?, &op)))
}

fn binary(a: Value, b: Value, op: &str) -> Result<Value, Problem> {
    if let (Value::Host(a), Value::Host(b)) = (&a, &b) {
        return integers(a, b, op).map(Value::Host);
    }
    let (a, b) = (a.into_float()?, b.into_float()?);
    Ok(Value::Float(match op {
        "Add" | "Sum" | "Mean" => a.add(b)?,
        "Sub" => a.sub(b)?,
        "Mul" => a.mul(b)?,
        "Div" => a.div(b)?,
        "Max" => a.max(b)?,
        "Min" => a.min(b)?,
        _ => return Err(Problem::Unsupported),
    }))
}

fn integers(a: &Host, b: &Host, op: &str) -> Result<Host, Problem> {
    let f: fn(i64, i64) -> Option<i64> = match op {
        "Add" | "Sum" => i64::checked_add,
        "Sub" => i64::checked_sub,
        "Mul" => i64::checked_mul,
        "Div" => i64::checked_div,
        // With the sign of the divisor.
        "Mod" => |a, b| a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        "Max" => |a, b| Some(a.max(b)),
        "Min" => |a, b| Some(a.min(b)),
        _ => refuse!("{op} of integers"),
    };
    zip(a, b, f)
}

/// Two arrays of integers element by element.
fn zip(a: &Host, b: &Host, f: impl Fn(i64, i64) -> Option<i64>) -> Result<Host, Problem> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (a, b) = (expand(&a.values, &a.shape, &shape)?, expand(&b.values, &b.shape, &shape)?);
    match a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect() {
        Some(values) => Ok(Host { shape, values, truth: false }),
        None => refuse!("integer arithmetic overflows or divides by zero"),
    }
}

/// The elements of an array of shape `own` repeated to a shape to which it broadcasts.
pub(super) fn expand<T: Copy>(values: &[T], own: &[usize], shape: &[usize]) -> Result<Vec<T>, Problem> {
    let own = with_rank(own, shape.len());
    let Some(count) = host_elements(shape) else { refuse!("shape {shape:?}") };
    let element = |flat: usize| {
        let (mut rest, mut at, mut step) = (flat, 0, 1);
        for (&extent, &own) in shape.iter().zip(&own).rev() {
            at += if own == 1 { 0 } else { rest % extent * step };
            rest /= extent;
            step *= own;
        }
        values[at]
    };
    Ok((0..count).map(element).collect())
}

/// Mod of integers with the sign of the divisor.
pub(super) fn modulo(node: &Node) -> Result<Op, Problem> {
    if node.flag("fmod")? {
        refuse!("the remainder of floats");
    }
    Ok(single(|inputs| match (inputs.value(0)?, inputs.value(1)?) {
        (Value::Host(a), Value::Host(b)) => integers(&a, &b, "Mod").map(Value::Host),
        _ => refuse!("the remainder of floats"),
    }))
}

/// Sum, Mean, Max, Min of any number of inputs.
pub(super) fn variadic(node: &Node) -> Op {
    let op = node.proto.op_type().to_owned();
    let mean = op == "Mean";
    single(move |inputs| {
        let mut total = inputs.value(0)?;
        for place in 1..inputs.len() {
            total = binary(total, inputs.value(place)?, &op)?;
        }
        Ok(match total {
            Value::Float(tensor) if mean => Value::Float(tensor.times(1.0 / inputs.len() as f32)),
            total => total,
        })
    })
}

/// x to a fixed power.
#[derive(Clone, Copy)]
pub(super) struct Power(pub f32);
curve!(impl Power, Argument, |Power(n), x| x.powf(n), |Power(n), x| if n == 0.0 { 0.0 } else { n * x.powf(n - 1.0) });

/// x^y; negative bases have a gradient where y is one number without a gradient.
pub(super) fn pow() -> Op {
    float(|inputs| {
        let (x, y) = (inputs.float(0)?, inputs.float(1)?);
        let single = y.shape().iter().all(|&extent| extent == 1) && !y.is_tracked() && y.rank() <= x.rank();
        if !single {
            return x.pow(y);
        }
        let exponent = y.to_array().values.first().copied().unwrap_or(1.0);
        if exponent == 2.0 {
            return x.clone().mul(x);
        }
        Ok(x.map(Power(exponent)))
    })
}

/// Neg, Abs.
pub(super) fn sign(node: &Node) -> Op {
    let negate = node.proto.op_type() == "Neg";
    single(move |inputs| {
        Ok(match inputs.value(0)? {
            Value::Float(x) if negate => Value::Float(x.times(-1.0)),
            Value::Float(x) => Value::Float(x.map(Abs)),
            Value::Host(mut host) => {
                let f = if negate { i64::wrapping_neg } else { i64::wrapping_abs };
                host.values.iter_mut().for_each(|value| *value = f(*value));
                Value::Host(host)
            }
        })
    })
}

/// Numbers of any kind, to compare them.
fn numbers(value: &Value) -> (Vec<usize>, Vec<f64>) {
    match value {
        Value::Host(host) => (host.shape.clone(), host.values.iter().map(|&value| value as f64).collect()),
        Value::Float(tensor) => {
            let array = tensor.to_array();
            (array.shape, array.values.into_iter().map(f64::from).collect())
        }
    }
}

/// Comparisons and logic. They have no gradient.
pub(super) fn compare(node: &Node) -> Result<Op, Problem> {
    let f: fn(&f64, &f64) -> bool = match node.proto.op_type() {
        "Equal" => f64::eq,
        "Greater" => f64::gt,
        "GreaterOrEqual" => f64::ge,
        "Less" => f64::lt,
        "LessOrEqual" => f64::le,
        "And" => |a, b| *a != 0.0 && *b != 0.0,
        "Or" => |a, b| *a != 0.0 || *b != 0.0,
        "Xor" => |a, b| (*a != 0.0) != (*b != 0.0),
        _ => return Err(Problem::Unsupported),
    };
    Ok(single(move |inputs| {
        let (a, b) = (numbers(&inputs.value(0)?), numbers(&inputs.value(1)?));
        let shape = broadcast(&a.0, &b.0)?;
        let (a, b) = (expand(&a.1, &a.0, &shape)?, expand(&b.1, &b.0, &shape)?);
        let values = a.iter().zip(&b).map(|(a, b)| i64::from(f(a, b))).collect();
        Ok(Value::Host(Host { shape, values, truth: true }))
    }))
}

pub(super) fn not() -> Op {
    single(|inputs| {
        let mut host = inputs.value(0)?.into_host();
        host.values.iter_mut().for_each(|value| *value = i64::from(*value == 0));
        Ok(Value::Host(host))
    })
}

/// Where(condition, a, b).
pub(super) fn choose() -> Op {
    single(|inputs: &mut Inputs| {
        let condition = inputs.value(0)?.into_host();
        let (a, b) = (inputs.value(1)?, inputs.value(2)?);
        let shape = broadcast(&broadcast(&a.shape(), &b.shape())?, &condition.shape)?;
        let condition = expand(&condition.values, &condition.shape, &shape)?;
        if let (Value::Host(a), Value::Host(b)) = (&a, &b) {
            let (ours, theirs) = (expand(&a.values, &a.shape, &shape)?, expand(&b.values, &b.shape, &shape)?);
            let chosen = condition.iter().zip(ours.iter().zip(&theirs));
            let values = chosen.map(|(&condition, (&a, &b))| if condition != 0 { a } else { b }).collect();
            return Ok(Value::Host(Host { shape, values, truth: a.truth && b.truth }));
        }
        let (a, b) = (a.into_float()?.expand(&shape)?, b.into_float()?.expand(&shape)?);
        let mask = condition.iter().map(|&value| f32::from(value != 0)).collect();
        Ok(Value::Float(chosen(a, b, Plain::new(shape, mask))))
    })
}

/// a where the mask is not zero, b elsewhere; all three of the same shape.
fn chosen(a: Tensor, b: Tensor, mask: Plain) -> Tensor {
    pair!(Kept, |value, mask| if mask == 0.0 { 0.0 } else { value });
    pair!(Dropped, |value, mask| if mask == 0.0 { value } else { 0.0 });
    // One of the two is zero everywhere.
    pair!(Joined, |a, b| a + b);
    let a_value = combine(a.value, mask.clone(), Kept);
    let b_value = combine(b.value, mask.clone(), Dropped);
    let value = combine(a_value, b_value, Joined);
    let node = Taped::record(vec![a.node, b.node], move |gradient, parents| {
        if parents.want(1) {
            parents.give(1, combine(gradient.clone(), mask.clone(), Dropped));
        }
        if parents.want(0) {
            parents.give(0, combine(gradient, mask, Kept));
        }
    });
    Tensor { value, node }
}
