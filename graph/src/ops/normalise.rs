//! Normalisations.

use super::elementwise::Power;
use super::{Op, float};
use crate::attributes::Node;
use crate::broadcast;
use crate::error::{Problem, refuse};
use crate::tensor::parallel::pieces;
use crate::tensor::{Node as Taped, Plain, Tensor, curve};

curve!(ReciprocalRoot, Value, |x| 1.0 / x.sqrt(), |y| -0.5 * y * y * y);

/// 1/√(variance + ε)
fn reciprocal_root(variance: Tensor, epsilon: f32) -> Tensor {
    variance.plus(epsilon).map(ReciprocalRoot)
}

/// C as 1×C×1×…, to go along the second of `rank` axes.
fn along_channels(vector: Tensor, channels: usize, rank: usize) -> Result<Tensor, Problem> {
    if vector.shape() != [channels] {
        refuse!("parameters {:?} for {channels} channels", vector.shape());
    }
    let mut shape = vec![1; rank];
    shape[1] = channels;
    vector.reshape(&shape)
}

/// Batch normalisation with the stored statistics. x: N×C×…; scale, shift, mean, variance: C.
pub(super) fn batch(node: &Node) -> Result<Op, Problem> {
    if node.flag("training_mode")? || (node.opset < 7 && !node.flag("is_test")?) {
        refuse!("statistics of the batch (training mode)");
    }
    if node.int_or("spatial", 1)? != 1 {
        refuse!("statistics per place");
    }
    let epsilon = node.float_or("epsilon", 1e-5)?;
    Ok(float(move |inputs| {
        let x = inputs.float(0)?;
        let (scale, shift) = (inputs.float(1)?, inputs.float(2)?);
        let (mean, variance) = (inputs.float(3)?, inputs.float(4)?);
        let shape = x.shape();
        if shape.len() < 2 {
            refuse!("input {shape:?} has no channels");
        }
        // One multiply-add on the large tensor; the rest is on vectors.
        let factor = scale.mul(reciprocal_root(variance, epsilon))?;
        let offset = shift.sub(mean.mul(factor.clone())?)?;
        let factor = along_channels(factor, shape[1], shape.len())?;
        x.mul(factor)?.add(along_channels(offset, shape[1], shape.len())?)
    }))
}

/// (x − mean)/√(variance + ε) over `axes`.
fn standardise(x: Tensor, axes: &[usize], epsilon: f32) -> Result<Tensor, Problem> {
    let count: usize = axes.iter().map(|&axis| x.value.shape()[axis]).product();
    let mean = x.clone().mean(axes);
    let centred = x.sub(mean)?;
    let variance = centred.clone().sum_of_squares(axes).times(1.0 / count as f32);
    centred.mul(reciprocal_root(variance, epsilon))
}

/// Normalises every sample and channel over its places. x: N×C×spatial; scale, shift: C.
pub(super) fn instance(node: &Node) -> Result<Op, Problem> {
    let epsilon = node.float_or("epsilon", 1e-5)?;
    Ok(float(move |inputs| {
        let (x, scale, shift) = (inputs.float(0)?, inputs.float(1)?, inputs.float(2)?);
        let shape = x.shape();
        if shape.len() < 3 {
            refuse!("input {shape:?} has no spatial axis");
        }
        let axes: Vec<usize> = (2..shape.len()).collect();
        let y = standardise(x, &axes, epsilon)?;
        y.mul(along_channels(scale, shape[1], shape.len())?)?.add(along_channels(shift, shape[1], shape.len())?)
    }))
}

/// Normalises over the axes from `axis` on; scale and shift broadcast to them.
pub(super) fn layer(node: &Node) -> Result<Op, Problem> {
    let first = node.int_or("axis", -1)?;
    let epsilon = node.float_or("epsilon", 1e-5)?;
    Ok(float(move |inputs| {
        let (x, scale, shift) = (inputs.float(0)?, inputs.float(1)?, inputs.optional_float(2)?);
        let shape = x.shape();
        let axes: Vec<usize> = (broadcast::axis(first, shape.len())?..shape.len()).collect();
        let y = standardise(x, &axes, epsilon)?.mul(scale)?;
        let y = match shift {
            Some(shift) => y.add(shift)?,
            None => y,
        };
        if y.shape() != shape {
            refuse!("scale or shift do not broadcast to {shape:?}");
        }
        Ok(y)
    }))
}

/// Normalises every sample and group of channels. x: N×C×spatial; scale, shift: C, or one per group before opset 21.
pub(super) fn group(node: &Node) -> Result<Op, Problem> {
    let epsilon = node.float_or("epsilon", 1e-5)?;
    let Some(groups) = node.int("num_groups")?.and_then(|groups| usize::try_from(groups).ok()).filter(|&n| n > 0)
    else {
        refuse!("num_groups is missing");
    };
    let per_group = node.opset < 21;
    Ok(float(move |inputs| {
        let (x, scale, shift) = (inputs.float(0)?, inputs.float(1)?, inputs.float(2)?);
        let shape = x.shape();
        if shape.len() < 3 || shape[1] % groups != 0 {
            refuse!("input {shape:?} in {groups} groups");
        }
        let inner: usize = shape[2..].iter().product();
        let split = x.reshape(&[shape[0], groups, shape[1] / groups * inner])?;
        let y = standardise(split, &[2], epsilon)?;
        if per_group {
            let y = y.mul(along_channels(scale, groups, 3)?)?.add(along_channels(shift, groups, 3)?)?;
            return y.reshape(&shape);
        }
        let y = y.reshape(&shape)?.mul(along_channels(scale, shape[1], shape.len())?)?;
        y.add(along_channels(shift, shape[1], shape.len())?)
    }))
}

/// x / (bias + α/size · Σ x²)^β, the sum over `size` channels around each. x: N×C×….
pub(super) fn local_response(node: &Node) -> Result<Op, Problem> {
    let (alpha, beta, bias) =
        (node.float_or("alpha", 1e-4)?, node.float_or("beta", 0.75)?, node.float_or("bias", 1.0)?);
    let Some(size) = node.int("size")?.and_then(|size| usize::try_from(size).ok()).filter(|size| size % 2 == 1) else {
        refuse!("the number of channels to sum over must be odd");
    };
    Ok(float(move |inputs| {
        let x = inputs.float(0)?;
        let shape = x.shape();
        if shape.len() < 2 || size > 1 << 16 {
            refuse!("{size} channels around each of {shape:?}");
        }
        let sum = around(x.clone().mul(x.clone())?, size / 2);
        x.mul(sum.times(alpha / size as f32).plus(bias).map(Power(-beta)))
    }))
}

/// The sum of each element and those of `reach` channels before and after it. x: N×C×….
fn around(x: Tensor, reach: usize) -> Tensor {
    fn sums(x: &Plain, reach: usize) -> Plain {
        let (channels, inner) = (x.shape()[1], x.shape()[2..].iter().product::<usize>());
        let mut values = vec![0.0; x.len()];
        pieces(&mut values, channels * inner, |start, sample| {
            for (channel, sum) in sample.chunks_mut(inner).enumerate() {
                for near in channel.saturating_sub(reach)..=(channel + reach).min(channels - 1) {
                    let row = &x.values()[start + near * inner..][..inner];
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
        });
        Plain::new(x.shape().to_vec(), values)
    }
    let value = sums(&x.value, reach);
    // Each element is near those that are near it.
    let node = Taped::record(vec![x.node], move |gradient, parents| parents.give(0, sums(&gradient, reach)));
    Tensor { value, node }
}
