//! Reductions over axes.

use super::activation::{Abs, Exp, Log, Sqrt};
use super::{Op, single};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::tensor::{Node as Taped, Plain, Tensor};
use crate::value::{Host, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

/// The axes are an attribute, or the second input from opset 18 on (13 for sums).
pub(super) fn reduce(node: &Node) -> Result<Op, Problem> {
    let kind = match node.proto.op_type() {
        "ReduceSum" => Kind::Sum,
        "ReduceMean" => Kind::Mean,
        "ReduceMax" => Kind::Max,
        "ReduceMin" => Kind::Min,
        "ReduceProd" => Kind::Prod,
        "ReduceL1" => Kind::L1,
        "ReduceL2" => Kind::L2,
        "ReduceSumSquare" => Kind::SumSquare,
        "ReduceLogSum" => Kind::LogSum,
        "ReduceLogSumExp" => Kind::LogSumExp,
        _ => return Err(Problem::Unsupported),
    };
    let fixed = node.ints("axes")?;
    let keep = node.int_or("keepdims", 1)? != 0;
    let none_is_none = node.flag("noop_with_empty_axes")?;
    Ok(single(move |inputs| {
        let x = inputs.value(0)?;
        let shape = x.shape();
        let given = fixed.clone().or_else(|| inputs.optional_ints(1)).unwrap_or_default();
        let axes = match given.is_empty() {
            true if none_is_none => return Ok(x),
            true => (0..shape.len()).collect(),
            false => broadcast::axes(&given, shape.len())?,
        };
        let left = |extent: usize| if keep { Some(extent) } else { None };
        let reduced = shape.iter().enumerate();
        let reduced = reduced.filter_map(|(axis, &extent)| if axes.contains(&axis) { left(1) } else { Some(extent) });
        let reduced: Vec<usize> = reduced.collect();
        match x {
            Value::Float(x) => Ok(Value::Float(floats(x, &axes, kind)?.reshape(&reduced)?)),
            Value::Host(host) => super::shape::reshaped(Value::Host(integers(host, &axes, kind)?), &reduced),
        }
    }))
}

fn floats(x: Tensor, axes: &[usize], kind: Kind) -> Result<Tensor, Problem> {
    Ok(match kind {
        Kind::Sum => x.sum(axes),
        Kind::Mean => x.mean(axes),
        Kind::Max => x.largest(axes),
        Kind::Min => x.times(-1.0).largest(axes).times(-1.0),
        Kind::Prod => axes.iter().fold(x, |x, &axis| product(x, axis)),
        Kind::L1 => x.map(Abs).sum(axes),
        Kind::L2 => x.sum_of_squares(axes).map(Sqrt),
        Kind::SumSquare => x.sum_of_squares(axes),
        Kind::LogSum => x.sum(axes).map(Log),
        Kind::LogSumExp => {
            // The largest is taken out as a constant: it cancels in the gradient.
            let largest = Tensor::constant(x.value.clone()).largest(axes);
            x.sub(largest.clone())?.map(Exp).sum(axes).map(Log).add(largest)?
        }
    })
}

/// The product along an axis, which stays with extent one. Its gradient takes the factors before and after each, so that
/// it holds for zeros too.
fn product(x: Tensor, axis: usize) -> Tensor {
    let Tensor { value, node } = x;
    let from = value.shape().to_vec();
    let (extent, inner) = (from[axis], from[axis + 1..].iter().product::<usize>());
    let place = move |line: usize, at: usize| (line / inner * extent + at) * inner + line % inner;
    let mut shape = from.clone();
    shape[axis] = 1;
    let along = |line: usize| (0..extent).map(|at| value.values()[place(line, at)]).product();
    let values = (0..shape.iter().product()).map(along).collect();
    let node = Taped::record(vec![node], move |gradient, parents| {
        let mut slopes = vec![0.0; value.len()];
        for (line, &gradient) in gradient.values().iter().enumerate() {
            let mut before = gradient;
            for at in (0..extent).map(|at| place(line, at)) {
                slopes[at] = before;
                before *= value.values()[at];
            }
            let mut after = 1.0;
            for at in (0..extent).rev().map(|at| place(line, at)) {
                slopes[at] *= after;
                after *= value.values()[at];
            }
        }
        parents.give(0, Plain::new(from, slopes));
    });
    Tensor { value: Plain::new(shape, values), node }
}

fn integers(host: Host, axes: &[usize], kind: Kind) -> Result<Host, Problem> {
    let fold: fn(i64, i64) -> i64 = match kind {
        Kind::Sum => i64::wrapping_add,
        Kind::Prod => i64::wrapping_mul,
        Kind::Max => i64::max,
        Kind::Min => i64::min,
        _ => refuse!("this reduction of integers"),
    };
    axes.iter().try_fold(host, |host, &axis| {
        let mut shape = host.shape.clone();
        let (extent, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        if extent == 0 {
            refuse!("a reduction of nothing");
        }
        shape[axis] = 1;
        let count: usize = shape.iter().product();
        let element = |flat: usize| {
            let start = flat / inner * extent * inner + flat % inner;
            let along = (0..extent).map(|at| host.values[start + at * inner]);
            along.reduce(fold).unwrap_or(0)
        };
        Ok(Host { values: (0..count).map(element).collect(), shape, truth: false })
    })
}
