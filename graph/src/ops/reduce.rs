//! Reductions over axes.

use burn_backend::ops::FloatTensorOps;

use super::{Op, single};
use crate::attributes::Node;
use crate::backend::Taped;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;
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
    let maximum = |x: Tensor| axes.iter().fold(x, |x, &axis| x.map(|x| Taped::float_max_dim(x, axis)));
    Ok(match kind {
        Kind::Sum => x.sum(axes),
        Kind::Mean => x.mean(axes),
        Kind::Max => maximum(x),
        Kind::Min => maximum(x.times(-1.0)).times(-1.0),
        Kind::Prod => axes.iter().try_fold(x, |x, &axis| product(x, axis))?,
        Kind::L1 => x.map(Taped::float_abs).sum(axes),
        Kind::L2 => x.clone().mul(x)?.sum(axes).map(Taped::float_sqrt),
        Kind::SumSquare => x.clone().mul(x)?.sum(axes),
        Kind::LogSum => x.sum(axes).map(Taped::float_log),
        Kind::LogSumExp => {
            // The largest is taken out as a constant: it cancels in the gradient.
            let largest = Tensor::constant(maximum(Tensor::constant(x.clone().into_plain())).into_plain());
            x.sub(largest.clone())?.map(Taped::float_exp).sum(axes).map(Taped::float_log).add(largest)?
        }
    })
}

/// Factor by factor, which has a gradient for zeros and negative numbers too.
fn product(x: Tensor, axis: usize) -> Result<Tensor, Problem> {
    let shape = x.shape();
    let slice = |at: usize| {
        let whole = shape.iter().map(|&extent| (0, extent));
        let ranges: Vec<_> = whole.enumerate().map(|(a, range)| if a == axis { (at, at + 1) } else { range }).collect();
        x.clone().crop(&ranges)
    };
    (1..shape[axis]).try_fold(slice(0), |total, at| total.mul(slice(at)))
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
