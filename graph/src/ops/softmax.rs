//! Softmax and its logarithm.

use super::{Op, float};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::Problem;
use crate::numeric::exp;
use crate::tensor::parallel::{Kernel, pieces, rows_of, vectorised};
use crate::tensor::{Node as Taped, Plain, Tensor, dot, joined, total};

/// Over one axis; before opset 13 over all axes from `axis` on.
pub(super) fn softmax(node: &Node, logarithm: bool) -> Result<Op, Problem> {
    let together = node.opset < 13;
    let axis = node.int_or("axis", if together { 1 } else { -1 })?;
    Ok(float(move |inputs| {
        let x = inputs.float(0)?;
        let shape = x.shape();
        if !together {
            let axis = broadcast::axis(axis, shape.len())?;
            // The rows are those of the last axis.
            let mut order: Vec<usize> = (0..shape.len()).collect();
            order.swap(axis, shape.len() - 1);
            return Ok(over_rows(x.permute(&order), shape[axis], logarithm).permute(&order));
        }
        // An axis after the last is legal there: each element alone.
        let first = if axis == shape.len() as i64 { shape.len() } else { broadcast::axis(axis, shape.len())? };
        Ok(over_rows(x, shape[first..].iter().product(), logarithm))
    }))
}

/// Over rows of `width` elements.
fn over_rows(x: Tensor, width: usize, logarithm: bool) -> Tensor {
    let Tensor { mut value, node } = x;
    pieces(value.values_mut(), rows_of(width) * width, |_, values| vectorised(Forward { values, width, logarithm }));
    let saved = node.is_some().then(|| value.clone());
    let node = Taped::record(vec![node], move |mut gradient: Plain, parents| {
        let Some(value) = saved else { return };
        pieces(gradient.values_mut(), rows_of(width) * width, |start, gradient| {
            let values = &value.values()[start..start + gradient.len()];
            vectorised(Backward { gradient, values, width, logarithm });
        });
        parents.give(0, gradient);
    });
    Tensor { value, node }
}

struct Forward<'a> {
    values: &'a mut [f32],
    width: usize,
    logarithm: bool,
}

impl Kernel for Forward<'_> {
    #[inline(always)]
    fn run(self) {
        for row in self.values.chunks_mut(self.width) {
            let most = joined(row, f32::NEG_INFINITY, |x| x, |a, b| if a > b { a } else { b });
            if self.logarithm {
                let sum = joined(row, 0.0, |x| exp(x - most), |a, b| a + b);
                let shift = most + sum.ln();
                row.iter_mut().for_each(|x| *x -= shift);
            } else {
                row.iter_mut().for_each(|x| *x = exp(*x - most));
                let sum = total(row);
                let share = 1.0 / sum;
                row.iter_mut().for_each(|x| *x *= share);
            }
        }
    }
}

struct Backward<'a> {
    gradient: &'a mut [f32],
    values: &'a [f32],
    width: usize,
    logarithm: bool,
}

impl Kernel for Backward<'_> {
    #[inline(always)]
    fn run(self) {
        let rows = self.gradient.chunks_mut(self.width).zip(self.values.chunks(self.width));
        for (gradient, values) in rows {
            if self.logarithm {
                let sum = total(gradient);
                gradient.iter_mut().zip(values).for_each(|(g, &y)| *g -= exp(y) * sum);
            } else {
                let sum = dot(gradient, values);
                gradient.iter_mut().zip(values).for_each(|(g, &y)| *g = y * (*g - sum));
            }
        }
    }
}
