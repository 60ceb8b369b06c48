//! Pools.

use super::window::{self, Attributes, Window};
use super::{Op, float};
use crate::attributes::Node;
use crate::error::{Problem, refuse};
use crate::pooling::{self, Axis};
use crate::tensor::{Node as Taped, Plain, Tensor, elements};

/// x: N×C×spatial, 1 to 3 spatial axes.
pub(super) fn max_pool(node: &Node) -> Result<Op, Problem> {
    pool(node, |x, window| {
        let Tensor { value, node } = x;
        let from = value.shape().to_vec();
        let shape: Vec<usize> = from[..2].iter().chain(&window.output).copied().collect();
        let count = elements(&shape)?;
        let axes = axes(&window, &from, |_, taken| taken);
        if axes.iter().map(|axis| axis.extent).product::<usize>() >= u32::MAX as usize {
            refuse!("input {from:?} is too large");
        }
        let (values, places) = pooling::largest(&axes, value.values(), count, node.is_some());
        let node = Taped::record(vec![node], move |gradient, parents| {
            parents.give(0, Plain::new(from, pooling::gradient_of_largest(&axes, gradient.values(), &places)));
        });
        Ok(Tensor { value: Plain::new(shape, values), node })
    })
}

/// x: N×C×spatial, 1 to 3 spatial axes.
pub(super) fn average_pool(node: &Node) -> Result<Op, Problem> {
    let all = node.flag("count_include_pad")?;
    pool(node, move |x, window| {
        if window.dilations.iter().any(|&dilation| dilation != 1) {
            refuse!("a dilated average");
        }
        let Tensor { value, node } = x;
        let from = value.shape().to_vec();
        let shape: Vec<usize> = from[..2].iter().chain(&window.output).copied().collect();
        let count = elements(&shape)?;
        // Elements of the window inside the padding; beyond it, where the extent is rounded up, nothing is counted.
        let with_padding = |axis: usize, place: usize| {
            let padded = from[axis + 2] + window.pads[axis].0 + window.pads[axis].1;
            window.kernel[axis].min(padded - (place * window.strides[axis]).min(padded))
        };
        let axes = axes(&window, &from, |(axis, place), taken| if all { with_padding(axis, place) } else { taken });
        let values = pooling::averages(&axes, value.values(), count);
        let node = Taped::record(vec![node], move |gradient, parents| {
            parents.give(0, Plain::new(from, pooling::gradient_of_averages(&axes, gradient.values())));
        });
        Ok(Tensor { value: Plain::new(shape, values), node })
    })
}

/// The windows along three axes. `counted`: by how much a sum along an axis is divided at a place, given how many elements
/// are taken there.
fn axes(window: &Window, shape: &[usize], counted: impl Fn((usize, usize), usize) -> usize) -> [Axis; 3] {
    let rank = window.kernel.len();
    std::array::from_fn(|axis| {
        let Some(axis) = (axis + rank).checked_sub(3) else { return Axis::single() };
        let (extent, dilation) = (shape[axis + 2], window.dilations[axis]);
        let along = (0..window.output[axis]).map(|place| {
            let start = place * window.strides[axis];
            let before = window.pads[axis].0.saturating_sub(start).div_ceil(dilation);
            let first = start + before * dilation - window.pads[axis].0.min(start + before * dilation);
            let room = extent.saturating_sub(first).div_ceil(dilation);
            let taken = window.kernel[axis].saturating_sub(before).min(room);
            pooling::Place { first, taken, counted: counted((axis, place), taken).max(1) as f32 }
        });
        Axis { extent, dilation, places: along.collect() }
    })
}

fn pool(
    node: &Node,
    f: impl Fn(Tensor, Window) -> Result<Tensor, Problem> + Send + Sync + 'static,
) -> Result<Op, Problem> {
    let attributes = Attributes::read(node)?;
    let Some(kernel) = window::positive(node, "kernel_shape")? else { refuse!("kernel_shape is missing") };
    Ok(float(move |inputs| {
        let x = inputs.float(0)?;
        let shape = x.shape();
        if !(3..=5).contains(&shape.len()) {
            refuse!("input {shape:?}: 1 to 3 spatial axes are covered");
        }
        let window = attributes.over(&shape[2..], &kernel)?;
        if window.pads.iter().zip(0..).any(|(pad, axis)| pad.0.max(pad.1) >= window.reach(axis)) {
            refuse!("padding {:?} as wide as the window", window.pads);
        }
        f(x, window)
    }))
}

/// x: N×C×spatial to N×C×1×….
pub(super) fn global_average_pool() -> Op {
    float(|inputs| {
        let x = inputs.float(0)?;
        let axes: Vec<usize> = spatial(&x)?.collect();
        Ok(x.mean(&axes))
    })
}

/// x: N×C×spatial to N×C×1×…. Equal maxima: one of them gets the gradient.
pub(super) fn global_max_pool() -> Op {
    float(|inputs| {
        let x = inputs.float(0)?;
        let axes: Vec<usize> = spatial(&x)?.collect();
        Ok(x.largest(&axes))
    })
}

fn spatial(x: &Tensor) -> Result<std::ops::Range<usize>, Problem> {
    if x.rank() < 3 {
        refuse!("input {:?} has no spatial axis", x.shape());
    }
    Ok(2..x.rank())
}
