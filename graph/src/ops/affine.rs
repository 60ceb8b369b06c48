//! Gemm and MatMul: products with a matrix that is often the largest leaf.

use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_backend::ops::FloatTensorOps;

use super::{Op, float};
use crate::attributes::Node;
use crate::backend::{Plain, PlainTensor, Taped};
use crate::error::{Problem, refuse};
use crate::matrix::multiply;
use crate::tensor::Tensor;

/// x·W (x: M×K, W: K×N) or x·Wᵀ (W: N×K).
///
/// The tape of a plain product gives dW as a transposed view where W entered transposed, and turning 64 MB of it round
/// costs more than half the product. Here dW is made in the layout of W.
fn product(x: Tensor, weight: Tensor, transposed: bool) -> Tensor {
    let nodes = [x.0.node(), weight.0.node()];
    let tracked = (x.is_tracked(), weight.is_tracked());
    let (x, weight) = (x.into_plain(), weight.into_plain());
    let output = multiply(x.clone(), turned(weight.clone(), transposed));
    Tensor(match Product.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let state = Factors { x: tracked.1.then_some(x), weight: tracked.0.then_some(weight), transposed };
            prepared.finish(state, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    })
}

fn turned(matrix: PlainTensor, turn: bool) -> PlainTensor {
    if turn { Plain::float_swap_dims(matrix, 0, 1) } else { matrix }
}

#[derive(Debug)]
struct Product;

/// What the backward pass needs: each factor only where the other one has a gradient.
#[derive(Clone, Debug)]
struct Factors {
    x: Option<PlainTensor>,
    weight: Option<PlainTensor>,
    transposed: bool,
}

impl Backward<Plain, 2> for Product {
    type State = Factors;

    fn backward(self, ops: Ops<Factors, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Factors { x, weight, transposed } = ops.state;
        let grad = grads.consume::<Plain>(&ops.node);
        let [x_node, weight_node] = ops.parents;
        if let (Some(node), Some(x)) = (weight_node, x) {
            let (left, right) = if transposed { (grad.clone(), x) } else { (x, grad.clone()) };
            grads.register::<Plain>(node.id, multiply(turned(left, true), right));
        }
        if let (Some(node), Some(weight)) = (x_node, weight) {
            grads.register::<Plain>(node.id, multiply(grad, turned(weight, !transposed)));
        }
    }
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
        let a = if turn_a { a.permute(&[1, 0]) } else { a };
        let (rows, inner) = (a.shape()[0], a.shape()[1]);
        let (b_inner, columns) = if turn_b { (b.shape()[1], b.shape()[0]) } else { (b.shape()[0], b.shape()[1]) };
        if inner != b_inner {
            refuse!("factors {:?} and {:?} do not fit", a.shape(), b.shape());
        }
        let y = product(a, b, turn_b).times(alpha);
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
        let batch = crate::broadcast::broadcast(&left[..left.len() - 2], &right[..right.len() - 2])?;
        let y = if right.len() == 2 {
            let flat = left.iter().product::<usize>() / inner;
            product(a.reshape(&[flat, inner])?, b, false)
        } else {
            let rank = left.len().max(right.len());
            let (a, b) = (a.with_rank(rank)?, b.with_rank(rank)?);
            Tensor(Taped::float_matmul(a.0, b.0))
        };
        let mut shape = batch;
        shape.extend(Some(rows).filter(|_| a_shape.len() > 1));
        shape.extend(Some(columns).filter(|_| b_shape.len() > 1));
        y.reshape(&shape)
    })
}
