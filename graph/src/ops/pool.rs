//! Pools, in terms of the one over two axes: windows are separable.

use burn_backend::ops::{FloatTensorOps, ModuleOps};

use super::window::{self, Attributes, Window};
use super::{Op, float};
use crate::attributes::Node;
use crate::backend::Taped;
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;

/// x: N×C×spatial, 1 to 3 spatial axes.
pub(super) fn max_pool(node: &Node) -> Result<Op, Problem> {
    pool(node, |x, mut window| {
        let x = if window.is_symmetric() {
            x
        } else {
            let padded = x.pad(&window.tensor_pads(), f32::MIN);
            window.pads.fill((0, 0));
            padded
        };
        by_two_axes(x, &window, |x, k, s, p, d| Tensor(Taped::max_pool2d(x.0, k, s, p, d, false)))
    })
}

/// x: N×C×spatial, 1 to 3 spatial axes.
pub(super) fn average_pool(node: &Node) -> Result<Op, Problem> {
    let all = node.flag("count_include_pad")?;
    pool(node, move |x, mut window| {
        if window.dilations.iter().any(|&dilation| dilation != 1) {
            refuse!("a dilated average");
        }
        let extents = x.shape()[2..].to_vec();
        let scales = scales(&window, &extents, all);
        let x = x.pad(&window.tensor_pads(), 0.0);
        window.pads.fill((0, 0));
        let y = by_two_axes(x, &window, |x, k, s, p, _| Tensor(Taped::avg_pool2d(x.0, k, s, p, true, false)))?;
        match scales {
            Some(scales) => y.mul(scales),
            None => Ok(y),
        }
    })
}

/// Kernel elements per counted element, for every place of the output; `None` where all are counted everywhere.
fn scales(window: &Window, extents: &[usize], all: bool) -> Option<Tensor> {
    let mut scales = vec![1.0_f32];
    for (axis, &extent) in extents.iter().enumerate() {
        let (begin, end) = window.pads[axis];
        // In coordinates of the padded input.
        let (first, last) = if all { (0, begin + extent + end) } else { (begin, begin + extent) };
        let kernel = window.kernel[axis];
        let counted = |place: usize| {
            let start = place * window.strides[axis];
            (start + kernel).min(last).saturating_sub(start.max(first)).max(1)
        };
        let along = (0..window.output[axis]).map(|place| kernel as f32 / counted(place) as f32);
        let along: Vec<f32> = along.collect();
        scales = scales.iter().flat_map(|&outer| along.iter().map(move |inner| outer * inner)).collect();
    }
    if scales.iter().all(|&scale| scale == 1.0) {
        return None;
    }
    Some(Tensor::from_array(&window.output, scales))
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

type Pair = [usize; 2];

/// Pools the last two axes, then, of three, the first. `f` gets a rank-4 tensor, kernel, stride, padding and dilation.
fn by_two_axes(
    x: Tensor,
    window: &Window,
    f: impl Fn(Tensor, Pair, Pair, Pair, Pair) -> Tensor,
) -> Result<Tensor, Problem> {
    let shape = x.shape();
    let pooled: Vec<usize> = shape[..2].iter().chain(&window.output).copied().collect();
    // One axis as a plane of width one, or two as they are.
    let pass = |x: Tensor, axes: &[usize]| {
        let pair =
            |values: &dyn Fn(usize) -> usize, neutral| [values(axes[0]), axes.get(1).map_or(neutral, |&a| values(a))];
        let kernel = pair(&|axis| window.kernel[axis], 1);
        let stride = pair(&|axis| window.strides[axis], 1);
        let padding = pair(&|axis| window.pads[axis].0, 0);
        f(x, kernel, stride, padding, pair(&|axis| window.dilations[axis], 1))
    };
    match window.kernel.len() {
        1 => pass(x.reshape(&[shape[0], shape[1], shape[2], 1])?, &[0]).reshape(&pooled),
        2 => Ok(pass(x, &[0, 1])),
        _ => {
            let outer = shape[0] * shape[1];
            let planes = pass(x.reshape(&[outer, shape[2], shape[3], shape[4]])?, &[1, 2]);
            let columns = pass(planes.reshape(&[outer, 1, shape[2], pooled[3] * pooled[4]])?, &[0]);
            columns.reshape(&pooled)
        }
    }
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
        let axes = spatial(&x)?;
        Ok(axes.fold(x, |x, axis| x.map(|x| Taped::float_max_dim(x, axis))))
    })
}

fn spatial(x: &Tensor) -> Result<std::ops::Range<usize>, Problem> {
    if x.rank() < 3 {
        refuse!("input {:?} has no spatial axis", x.shape());
    }
    Ok(2..x.rank())
}
