//! ArgMax and ArgMin: places of the largest and smallest numbers. They have no gradient.

use super::{Op, single};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::value::{Host, Value};

pub(super) fn arg(node: &Node) -> Result<Op, Problem> {
    let largest = node.proto.op_type() == "ArgMax";
    let axis = node.int_or("axis", 0)?;
    let keep = node.int_or("keepdims", 1)? != 0;
    let last = node.flag("select_last_index")?;
    Ok(single(move |inputs| {
        let array = match inputs.value(0)? {
            Value::Float(tensor) => tensor.to_array(),
            Value::Host(host) => host.to_array(),
        };
        let &[axis] = broadcast::axes(&[axis], array.shape.len())?.as_slice() else { refuse!("axis {axis}") };
        let extent = array.shape[axis];
        if extent == 0 {
            refuse!("an axis without elements");
        }
        let inner: usize = array.shape[axis + 1..].iter().product();
        let outer: usize = array.shape[..axis].iter().product();
        let mut values = Vec::with_capacity(outer * inner);
        for start in 0..outer * inner {
            let at = |k: usize| array.values[(start / inner * extent + k) * inner + start % inner];
            let better = |a: f32, b: f32| (if largest { a > b } else { a < b }) || (last && a == b);
            let place = (1..extent).fold(0, |best, k| if better(at(k), at(best)) { k } else { best });
            values.push(place as i64);
        }
        let mut shape = array.shape;
        if keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        Ok(Value::Host(Host { shape, values, truth: false }))
    }))
}
