//! Gemm and MatMul.

use rayon::prelude::*;

use super::elementwise::expand;
use super::{Op, float};
use crate::attributes::Node;
use crate::broadcast::broadcast;
use crate::error::{Problem, refuse};
use crate::matrix::{Matrix, Target, multiply, multiply_into};
use crate::tensor::{Node as Taped, Plain, Tensor, elements, sum_to};

/// a·b, or with the transposes of matrices that are turned. Gradients have the layout of the factors.
fn product(a: Tensor, turn_a: bool, b: Tensor, turn_b: bool) -> Tensor {
    fn matrix(tensor: &Plain, turn: bool) -> Matrix<'_> {
        let columns = tensor.shape().last().copied().unwrap_or(1);
        Matrix::new(tensor.values(), tensor.len() / columns, columns).turned_if(turn)
    }
    let values = multiply(matrix(&a.value, turn_a), matrix(&b.value, turn_b));
    let rows = a.value.shape()[usize::from(turn_a)];
    let shape = vec![rows, values.len() / rows];
    let (a_shape, b_shape) = (a.shape(), b.shape());
    let saved_a = b.node.is_some().then_some(a.value);
    let saved_b = a.node.is_some().then_some(b.value);
    let node = Taped::record(vec![a.node, b.node], move |gradient, parents| {
        if let Some(a) = saved_a {
            let (a, gradient) = (matrix(&a, turn_a), matrix(&gradient, false));
            let values = if turn_b { multiply(gradient.turned(), a) } else { multiply(a.turned(), gradient) };
            parents.give(1, Plain::new(b_shape, values));
        }
        if let Some(b) = saved_b {
            let (b, gradient) = (matrix(&b, turn_b), matrix(&gradient, false));
            let values = if turn_a { multiply(b, gradient.turned()) } else { multiply(gradient, b.turned()) };
            parents.give(0, Plain::new(a_shape, values));
        }
    });
    Tensor { value: Plain::new(shape, values), node }
}

/// Products of the last two axes of tensors of the same rank; the others broadcast to `batch`.
fn products(a: Tensor, b: Tensor, batch: &[usize]) -> Result<Tensor, Problem> {
    let (a_shape, b_shape) = (a.shape(), b.shape());
    let outer = batch.len();
    let (rows, inner, columns) = (a_shape[outer], a_shape[outer + 1], b_shape[outer + 1]);
    let whole = |rows: usize, columns: usize| batch.iter().copied().chain([rows, columns]).collect::<Vec<_>>();
    let shape = whole(rows, columns);
    elements(&shape)?;
    // Which matrix of a factor each product takes.
    let taken = |own: &[usize]| {
        let all: Vec<usize> = (0..own[..outer].iter().product()).collect();
        expand(&all, &own[..outer], batch)
    };
    let (of_a, of_b) = (taken(&a_shape)?, taken(&b_shape)?);
    let values = each(&shape, |number| {
        let left = Matrix::new(&a.value.values()[of_a[number] * rows * inner..], rows, inner);
        (left, Matrix::new(&b.value.values()[of_b[number] * inner * columns..], inner, columns))
    });
    let (a_whole, b_whole) = (whole(rows, inner), whole(inner, columns));
    elements(&a_whole)?;
    elements(&b_whole)?;
    let saved_a = b.node.is_some().then_some(a.value);
    let saved_b = a.node.is_some().then_some(b.value);
    let node = Taped::record(vec![a.node, b.node], move |gradient, parents| {
        let of = |number: usize| Matrix::new(&gradient.values()[number * rows * columns..], rows, columns);
        if let Some(a) = saved_a {
            let left = |number: usize| Matrix::new(&a.values()[of_a[number] * rows * inner..], rows, inner);
            let slopes = each(&b_whole, |number| (left(number).turned(), of(number)));
            parents.give(1, sum_to(Plain::new(b_whole, slopes), &b_shape));
        }
        if let Some(b) = saved_b {
            let right = |number: usize| Matrix::new(&b.values()[of_b[number] * inner * columns..], inner, columns);
            let slopes = each(&a_whole, |number| (of(number), right(number).turned()));
            parents.give(0, sum_to(Plain::new(a_whole, slopes), &a_shape));
        }
    });
    Ok(Tensor { value: Plain::new(shape, values), node })
}

/// The products of many pairs of matrices, one after the other. The last two axes of `shape` are those of a product.
fn each<'a>(shape: &[usize], factors: impl Fn(usize) -> (Matrix<'a>, Matrix<'a>) + Sync) -> Vec<f32> {
    let columns = shape.last().copied().unwrap_or(1);
    let size: usize = shape.iter().rev().take(2).product();
    let mut values = vec![0.0; shape.iter().product()];
    if values.len() == size {
        let (a, b) = factors(0);
        return multiply(a, b);
    }
    values.par_chunks_mut(size).enumerate().for_each(|(number, values)| {
        let (a, b) = factors(number);
        multiply_into(Target { values, step: columns, add: false }, a, b);
    });
    values
}

/// alpha·A·B + beta·C, A and B each possibly transposed; C broadcasts to M×N.
pub(super) fn gemm(node: &Node) -> Result<Op, Problem> {
    let (alpha, beta) = (node.float_or("alpha", 1.0)?, node.float_or("beta", 1.0)?);
    let (turn_a, turn_b) = (node.flag("transA")?, node.flag("transB")?);
    Ok(float(move |inputs| {
        let (a, b, c) = (inputs.float(0)?, inputs.float(1)?, inputs.optional_float(2)?);
        if a.rank() != 2 || b.rank() != 2 {
            refuse!("factors {:?} and {:?} must be matrices", a.shape(), b.shape());
        }
        let (rows, inner) = if turn_a { (a.shape()[1], a.shape()[0]) } else { (a.shape()[0], a.shape()[1]) };
        let (b_inner, columns) = if turn_b { (b.shape()[1], b.shape()[0]) } else { (b.shape()[0], b.shape()[1]) };
        if inner != b_inner {
            refuse!("factors {:?} and {:?} do not fit", a.shape(), b.shape());
        }
        elements(&[rows, columns])?;
        let y = product(a, turn_a, b, turn_b).times(alpha);
        let Some(c) = c.filter(|_| beta != 0.0) else { return Ok(y) };
        let y = y.add(c.times(beta))?;
        if y.shape() != [rows, columns] {
            refuse!("C does not broadcast to {:?}", [rows, columns]);
        }
        Ok(y)
    }))
}

/// numpy's matmul: leading axes broadcast, a vector is a row on the left and a column on the right.
pub(super) fn matmul() -> Op {
    float(|inputs| {
        let (a, b) = (inputs.float(0)?, inputs.float(1)?);
        let (a_shape, b_shape) = (a.shape(), b.shape());
        if a_shape.is_empty() || b_shape.is_empty() {
            refuse!("a factor is a scalar");
        }
        let a = if a_shape.len() == 1 { a.reshape(&[1, a_shape[0]])? } else { a };
        let b = if b_shape.len() == 1 { b.reshape(&[b_shape[0], 1])? } else { b };
        let (left, right) = (a.shape(), b.shape());
        let (rows, inner) = (left[left.len() - 2], left[left.len() - 1]);
        let (b_inner, columns) = (right[right.len() - 2], right[right.len() - 1]);
        if inner != b_inner {
            refuse!("factors {a_shape:?} and {b_shape:?} do not fit");
        }
        let batch = broadcast(&left[..left.len() - 2], &right[..right.len() - 2])?;
        let y = if right.len() == 2 {
            let flat = left.iter().product::<usize>() / inner;
            elements(&[flat, columns])?;
            product(a.reshape(&[flat, inner])?, false, b, false)
        } else {
            let rank = left.len().max(right.len());
            products(a.with_rank(rank)?, b.with_rank(rank)?, &batch)?
        };
        let mut shape = batch;
        shape.extend(Some(rows).filter(|_| a_shape.len() > 1));
        shape.extend(Some(columns).filter(|_| b_shape.len() > 1));
        y.reshape(&shape)
    })
}
