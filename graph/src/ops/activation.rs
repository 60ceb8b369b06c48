//! Activations and other functions of one element.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{Op, float};
use crate::attributes::Node;
use crate::error::{Problem, refuse};
use crate::numeric::{erf, exp, sigmoid, tanh};
use crate::tensor::{Curve, curve, pair};

fn map(curve: impl Curve) -> Op {
    float(move |inputs| Ok(inputs.float(0)?.map(curve)))
}

// Comparisons are such that what is not a number stays that.
curve!(Relu, Value, |x| if x < 0.0 { 0.0 } else { x }, |y| f32::from(y > 0.0));
curve!(Sigmoid, Value, |x| sigmoid(x), |y| y * (1.0 - y));
curve!(Tanh, Value, |x| tanh(x), |y| 1.0 - y * y);
curve!(Erf, Argument, |x| erf(x), |x| FRAC_2_SQRT_PI * exp(-x * x));
curve!(Sqrt, Value, |x| x.sqrt(), |y| 0.5 / y);
curve!(Exp, Value, |x| exp(x), |y| y);
curve!(Log, Argument, |x| x.ln(), |x| 1.0 / x);
curve!(Sin, Argument, |x| x.sin(), |x| x.cos());
curve!(Cos, Argument, |x| x.cos(), |x| -x.sin());
curve!(Reciprocal, Value, |x| 1.0 / x, |y| -y * y);
curve!(Abs, Argument, |x| x.abs(), |x| if x == 0.0 { 0.0 } else { x.signum() });
curve!(Softplus, Argument, |x| softplus(x), |x| sigmoid(x));
curve!(Softsign, Argument, |x| x / (1.0 + x.abs()), |x| 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs())));
curve!(HardSwish, Argument, |x| x * HARD.value(x), |x| HARD.value(x) + x * HARD.slope(x));
curve!(Mish, Argument, |x| x * tanh(softplus(x)), |x| {
    let curve = tanh(softplus(x));
    curve + x * (1.0 - curve * curve) * sigmoid(x)
});

/// Functions without attributes.
pub(super) fn plain(op: &str) -> Option<Op> {
    Some(match op {
        "Relu" => map(Relu),
        "Sigmoid" => map(Sigmoid),
        "Tanh" => map(Tanh),
        "Erf" => map(Erf),
        "Sqrt" => map(Sqrt),
        "Exp" => map(Exp),
        "Log" => map(Log),
        "Sin" => map(Sin),
        "Cos" => map(Cos),
        "Reciprocal" => map(Reciprocal),
        "Softplus" => map(Softplus),
        "Softsign" => map(Softsign),
        "HardSwish" => map(HardSwish),
        "Mish" => map(Mish),
        _ => return None,
    })
}

/// log(1 + eˣ), as max(x, 0) + log(1 + e^−|x|), which does not overflow.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    (if x < 0.0 { 0.0 } else { x }) + exp(-x.abs()).ln_1p()
}

#[derive(Clone, Copy)]
struct Clamp {
    low: f32,
    high: f32,
}
curve!(
    impl Clamp,
    Argument,
    |Clamp { low, high }, x| if x.is_nan() { x } else { x.max(low).min(high) },
    |bounds, x| f32::from(x >= bounds.low && x <= bounds.high)
);

/// αx + β between 0 and 1.
#[derive(Clone, Copy)]
struct HardSigmoid {
    alpha: f32,
    beta: f32,
}
curve!(impl HardSigmoid, Argument, |HardSigmoid { alpha, beta }, x| (alpha * x + beta).clamp(0.0, 1.0), |this, x| {
    let line = this.alpha * x + this.beta;
    if (0.0..=1.0).contains(&line) { this.alpha } else { 0.0 }
});

const HARD: HardSigmoid = HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };

pub(super) fn hard(node: &Node) -> Result<Op, Problem> {
    Ok(map(HardSigmoid { alpha: node.float_or("alpha", 0.2)?, beta: node.float_or("beta", 0.5)? }))
}

/// x·sigmoid(αx)
#[derive(Clone, Copy)]
struct Swish(f32);
curve!(impl Swish, Argument, |Swish(alpha), x| x * sigmoid(alpha * x), |Swish(alpha), x| {
    let curve = sigmoid(alpha * x);
    curve + alpha * x * curve * (1.0 - curve)
});

pub(super) fn swish(node: &Node) -> Result<Op, Problem> {
    Ok(map(Swish(node.float_or("alpha", 1.0)?)))
}

#[derive(Clone, Copy)]
struct Leaky(f32);
curve!(impl Leaky, Argument, |Leaky(alpha), x| if x < 0.0 { alpha * x } else { x }, |Leaky(alpha), x| {
    if x > 0.0 { 1.0 } else { alpha }
});

pub(super) fn leaky_relu(node: &Node) -> Result<Op, Problem> {
    Ok(map(Leaky(node.float_or("alpha", 0.01)?)))
}

pair!(Sloped, |x, slope| if x < 0.0 { slope * x } else { x });
pair!(SlopedByInput, |x, slope| if x > 0.0 { 1.0 } else { slope });
pair!(SlopedBySlope, |x, _slope| x.min(0.0));

/// The slope broadcasts to x.
pub(super) fn prelu(_: &Node) -> Result<Op, Problem> {
    Ok(float(|inputs| {
        let (x, slope) = (inputs.float(0)?, inputs.float(1)?);
        let shape = x.shape();
        let y = x.binary(slope, Sloped, SlopedByInput, SlopedBySlope)?;
        if y.shape() != shape {
            refuse!("the slope does not broadcast to {shape:?}");
        }
        Ok(y)
    }))
}

/// x above zero, α·(e^(x/s) − 1) below, all times γ.
#[derive(Clone, Copy)]
struct Exponential {
    alpha: f32,
    inner: f32,
    gamma: f32,
}
curve!(
    impl Exponential,
    Argument,
    |this, x| this.gamma * if x < 0.0 { this.alpha * (x / this.inner).exp_m1() } else { x },
    |this, x| this.gamma * if x > 0.0 { 1.0 } else { this.alpha / this.inner * exp(x / this.inner) }
);

pub(super) fn elu(node: &Node) -> Result<Op, Problem> {
    Ok(map(Exponential { alpha: node.float_or("alpha", 1.0)?, inner: 1.0, gamma: 1.0 }))
}

pub(super) fn celu(node: &Node) -> Result<Op, Problem> {
    let alpha = node.float_or("alpha", 1.0)?;
    if alpha == 0.0 {
        refuse!("alpha is zero");
    }
    Ok(map(Exponential { alpha, inner: alpha, gamma: 1.0 }))
}

pub(super) fn selu(node: &Node) -> Result<Op, Problem> {
    let (alpha, gamma) = (node.float_or("alpha", 1.673_263_2)?, node.float_or("gamma", 1.050_701)?);
    Ok(map(Exponential { alpha, inner: 1.0, gamma }))
}

curve!(Gelu, Argument, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)), |x| {
    // 1/√(2π)
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * 0.398_942_3 * exp(-0.5 * x * x)
});

/// √(2/π)·(x + 0.044715·x³)
#[inline(always)]
fn bent(x: f32) -> f32 {
    0.797_884_6 * (x + 0.044_715 * x * x * x)
}

curve!(GeluByTanh, Argument, |x| 0.5 * x * (1.0 + tanh(bent(x))), |x| {
    let curve = tanh(bent(x));
    0.5 * (1.0 + curve) + 0.5 * x * (1.0 - curve * curve) * 0.797_884_6 * (1.0 + 0.134_145 * x * x)
});

/// Exact, or with tanh.
pub(super) fn gelu(node: &Node) -> Result<Op, Problem> {
    match node.text_or("approximate", "none")? {
        "none" => Ok(map(Gelu)),
        "tanh" => Ok(map(GeluByTanh)),
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
        Ok(x.map(Clamp { low: low.min(high), high }))
    }))
}
