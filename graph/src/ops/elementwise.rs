//! Arithmetic and activations, element by element.

use burn_backend::ops::ActivationOps;

use super::{Op, float, single};
use crate::attributes::Node;
use crate::backend::Taped;
use crate::error::{Problem, refuse};
use crate::value::{Host, Value};

/// Add, Sub, Mul, Div with numpy's broadcasting; on integers as on integers.
pub(super) fn arithmetic(node: &Node) -> Result<Op, Problem> {
    if node.opset < 7 && node.flag("broadcast")? {
        refuse!("broadcasting along an axis, as before opset 7");
    }
    let op = node.proto.op_type().to_owned();
    Ok(single(move |inputs| {
        let (a, b) = (inputs.value(0)?, inputs.value(1)?);
        if let (Value::Host(a), Value::Host(b)) = (&a, &b) {
            return integers(a, b, &op).map(Value::Host);
        }
        let (a, b) = (a.into_float()?, b.into_float()?);
        Ok(Value::Float(match op.as_str() {
            "Add" => a.add(b)?,
            "Sub" => a.sub(b)?,
            "Mul" => a.mul(b)?,
            _ => a.div(b)?,
        }))
    }))
}

fn integers(a: &Host, b: &Host, op: &str) -> Result<Host, Problem> {
    super::shape::host_binary(a, b, |a, b| match op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        _ => a.checked_div(b),
    })
}

pub(super) fn relu() -> Op {
    float(|inputs| Ok(inputs.float(0)?.map(Taped::relu)))
}
