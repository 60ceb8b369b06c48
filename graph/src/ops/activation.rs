//! Activations and other functions of one element.

use burn_backend::Scalar;
use burn_backend::ops::{ActivationOps, FloatTensorOps};

use super::{Op, float};
use crate::attributes::Node;
use crate::backend::{Taped, TapedTensor};
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;

fn map(f: impl Fn(TapedTensor) -> TapedTensor + Send + Sync + 'static) -> Op {
    float(move |inputs| Ok(inputs.float(0)?.map(&f)))
}

fn function(f: impl Fn(Tensor) -> Result<Tensor, Problem> + Send + Sync + 'static) -> Op {
    float(move |inputs| f(inputs.float(0)?))
}

/// Functions without attributes.
pub(super) fn plain(op: &str) -> Option<Op> {
    Some(match op {
        "Relu" => map(Taped::relu),
        "Sigmoid" => map(Taped::sigmoid),
        "Tanh" => map(Taped::float_tanh),
        "Erf" => map(Taped::float_erf),
        "Sqrt" => map(Taped::float_sqrt),
        "Exp" => map(Taped::float_exp),
        "Log" => map(Taped::float_log),
        "Sin" => map(Taped::float_sin),
        "Cos" => map(Taped::float_cos),
        "Reciprocal" => map(Taped::float_recip),
        "Softplus" => function(softplus),
        "Softsign" => function(|x| x.clone().div(x.map(Taped::float_abs).plus(1.0))),
        "HardSwish" => function(|x| x.clone().mul(hard_sigmoid(x, 1.0 / 6.0, 0.5))),
        "Mish" => function(|x| x.clone().mul(softplus(x)?.map(Taped::float_tanh))),
        _ => return None,
    })
}

/// min(x, 0)
fn negative_part(x: Tensor) -> Tensor {
    x.times(-1.0).map(Taped::relu).times(-1.0)
}

/// log(1 + eˣ), as max(x, 0) + log(1 + e^−|x|), which does not overflow.
fn softplus(x: Tensor) -> Result<Tensor, Problem> {
    let rest = x.clone().map(Taped::float_abs).times(-1.0).map(|x| Taped::float_log1p(Taped::float_exp(x)));
    x.map(Taped::relu).add(rest)
}

fn clamp(x: Tensor, low: f32, high: f32) -> Tensor {
    x.map(|x| Taped::float_clamp(x, Scalar::Float(low.into()), Scalar::Float(high.into())))
}

fn hard_sigmoid(x: Tensor, alpha: f32, beta: f32) -> Tensor {
    clamp(x.times(alpha).plus(beta), 0.0, 1.0)
}

pub(super) fn hard(node: &Node) -> Result<Op, Problem> {
    let (alpha, beta) = (node.float_or("alpha", 0.2)?, node.float_or("beta", 0.5)?);
    Ok(function(move |x| Ok(hard_sigmoid(x, alpha, beta))))
}

/// x·sigmoid(αx)
pub(super) fn swish(node: &Node) -> Result<Op, Problem> {
    let alpha = node.float_or("alpha", 1.0)?;
    Ok(function(move |x| x.clone().mul(x.times(alpha).map(Taped::sigmoid))))
}

pub(super) fn leaky_relu(node: &Node) -> Result<Op, Problem> {
    let alpha = node.float_or("alpha", 0.01)?;
    Ok(function(move |x| x.clone().map(Taped::relu).add(negative_part(x).times(alpha))))
}

/// The slope broadcasts to x.
pub(super) fn prelu(_: &Node) -> Result<Op, Problem> {
    Ok(float(|inputs| {
        let (x, slope) = (inputs.float(0)?, inputs.float(1)?);
        let shape = x.shape();
        let y = x.clone().map(Taped::relu).add(negative_part(x).mul(slope)?)?;
        if y.shape() != shape {
            refuse!("the slope does not broadcast to {shape:?}");
        }
        Ok(y)
    }))
}

/// x above zero, α·(e^(x/s) − 1) below, all times γ.
fn exponential(x: Tensor, alpha: f32, inner: f32, gamma: f32) -> Result<Tensor, Problem> {
    let below = negative_part(x.clone()).times(1.0 / inner).map(Taped::float_exp).plus(-1.0).times(alpha);
    Ok(x.map(Taped::relu).add(below)?.times(gamma))
}

pub(super) fn elu(node: &Node) -> Result<Op, Problem> {
    let alpha = node.float_or("alpha", 1.0)?;
    Ok(function(move |x| exponential(x, alpha, 1.0, 1.0)))
}

pub(super) fn celu(node: &Node) -> Result<Op, Problem> {
    let alpha = node.float_or("alpha", 1.0)?;
    if alpha == 0.0 {
        refuse!("alpha is zero");
    }
    Ok(function(move |x| exponential(x, alpha, alpha, 1.0)))
}

pub(super) fn selu(node: &Node) -> Result<Op, Problem> {
    let (alpha, gamma) = (node.float_or("alpha", 1.673_263_2)?, node.float_or("gamma", 1.050_701)?);
    Ok(function(move |x| exponential(x, alpha, 1.0, gamma)))
}

/// Exact, or with tanh.
pub(super) fn gelu(node: &Node) -> Result<Op, Problem> {
    let half_of_one_plus = |x: Tensor, curve: Tensor| x.times(0.5).mul(curve.plus(1.0));
    match node.text_or("approximate", "none")? {
        "none" => Ok(function(move |x| {
            let curve = x.clone().times(std::f32::consts::FRAC_1_SQRT_2).map(Taped::float_erf);
            half_of_one_plus(x, curve)
        })),
        "tanh" => Ok(function(move |x| {
            let cube = x.clone().mul(x.clone())?.mul(x.clone())?;
            // √(2/π)
            let inner = cube.times(0.044_715).add(x.clone())?.times(0.797_884_6);
            half_of_one_plus(x, inner.map(Taped::float_tanh))
        })),
        other => refuse!("approximation {other}"),
    }
}

/// Bounds are attributes before opset 11, inputs from there on.
pub(super) fn clip(node: &Node) -> Result<Op, Problem> {
    let fixed = (node.float("min")?, node.float("max")?);
    Ok(float(move |inputs| {
        let x = inputs.float(0)?;
        let low = inputs.optional_scalar(1)?.or(fixed.0).unwrap_or(f32::MIN);
        let high = inputs.optional_scalar(2)?.or(fixed.1).unwrap_or(f32::MAX);
        Ok(clamp(x, low.min(high), high))
    }))
}
