//! Conv and its transpose.

use burn_backend::ops::{ConvOptions, ConvTransposeOptions, ModuleOps};

use super::window::{self, Attributes, Window};
use super::{Op, float};
use crate::attributes::Node;
use crate::backend::{Taped, TapedTensor};
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;

fn groups(node: &Node) -> Result<usize, Problem> {
    match usize::try_from(node.int_or("group", 1)?) {
        Ok(groups) if groups > 0 => Ok(groups),
        _ => refuse!("the number of groups must be positive"),
    }
}

fn array<const N: usize, T: Copy + Default>(values: &[T]) -> [T; N] {
    std::array::from_fn(|axis| values.get(axis).copied().unwrap_or_default())
}

fn options<const N: usize>(window: &Window, groups: usize) -> ConvOptions<N> {
    let begins: Vec<usize> = window.pads.iter().map(|pad| pad.0).collect();
    ConvOptions::new(array(&window.strides), array(&begins), array(&window.dilations), groups)
}

/// x: N×C×spatial, weight: O×(C/groups)×kernel, bias: O; 1 to 3 spatial axes.
pub(super) fn conv(node: &Node) -> Result<Op, Problem> {
    let attributes = Attributes::read(node)?;
    let declared = window::positive(node, "kernel_shape")?;
    let groups = groups(node)?;
    Ok(float(move |inputs| {
        let (x, weight) = (inputs.float(0)?, inputs.float(1)?);
        let bias = inputs.optional_float(2)?;
        let (from, shape) = (x.shape(), weight.shape());
        if from.len() != shape.len() || !(3..=5).contains(&shape.len()) {
            refuse!("input {from:?} and weight {shape:?}: 1 to 3 spatial axes are covered");
        }
        if declared.as_ref().is_some_and(|kernel| kernel[..] != shape[2..]) {
            refuse!("kernel_shape {declared:?} for a weight {shape:?}");
        }
        if from[1] != shape[1] * groups || shape[0] % groups != 0 {
            refuse!("input {from:?} and weight {shape:?} in {groups} groups");
        }
        check_bias(bias.as_ref(), shape[0])?;
        let mut window = attributes.over(&from[2..], &shape[2..])?;
        let x = if window.is_symmetric() {
            x
        } else {
            let padded = x.pad(&window.tensor_pads(), 0.0);
            window.pads.fill((0, 0));
            padded
        };
        let bias = bias.map(|bias| bias.0);
        Ok(Tensor(match shape.len() - 2 {
            1 => Taped::conv1d(x.0, weight.0, bias, options(&window, groups)),
            2 => Taped::conv2d(x.0, weight.0, bias, options(&window, groups)),
            _ => Taped::conv3d(x.0, weight.0, bias, options(&window, groups)),
        }))
    }))
}

fn check_bias(bias: Option<&Tensor>, channels: usize) -> Result<(), Problem> {
    match bias.map(Tensor::shape) {
        Some(shape) if shape != [channels] => refuse!("bias {shape:?} for {channels} channels"),
        _ => Ok(()),
    }
}

/// The whole transposed convolution, without padding.
fn transpose_2_or_3(x: TapedTensor, weight: TapedTensor, window: &Window, groups: usize) -> TapedTensor {
    fn whole<const N: usize>(window: &Window, groups: usize) -> ConvTransposeOptions<N> {
        ConvTransposeOptions::new(array(&window.strides), [0; N], [0; N], array(&window.dilations), groups)
    }
    match window.kernel.len() {
        1 => Taped::conv_transpose1d(x, weight, None, whole(window, groups)),
        2 => Taped::conv_transpose2d(x, weight, None, whole(window, groups)),
        _ => Taped::conv_transpose3d(x, weight, None, whole(window, groups)),
    }
}

/// x: N×C×spatial, weight: C×(O/groups)×kernel, bias: O; 1 to 3 spatial axes.
pub(super) fn conv_transpose(node: &Node) -> Result<Op, Problem> {
    let strides = window::positive(node, "strides")?;
    let dilations = window::positive(node, "dilations")?;
    let given_pads = window::pads(node)?;
    let extra = node.ints("output_padding")?;
    let target = window::positive(node, "output_shape")?;
    let auto = node.text_or("auto_pad", "NOTSET")?.to_owned();
    let groups = groups(node)?;
    Ok(float(move |inputs| {
        let (x, weight) = (inputs.float(0)?, inputs.float(1)?);
        let bias = inputs.optional_float(2)?;
        let (from, shape) = (x.shape(), weight.shape());
        if from.len() != shape.len() || !(3..=5).contains(&shape.len()) {
            refuse!("input {from:?} and weight {shape:?}: 1 to 3 spatial axes are covered");
        }
        if from[1] != shape[0] || shape[0] % groups != 0 {
            refuse!("input {from:?} and weight {shape:?} in {groups} groups");
        }
        let channels = shape[1] * groups;
        check_bias(bias.as_ref(), channels)?;
        let rank = shape.len() - 2;
        let ones = || vec![1; rank];
        let extra: Vec<usize> = match &extra {
            Some(extra) => extra.iter().map(|&more| usize::try_from(more).unwrap_or(0)).collect(),
            None => vec![0; rank],
        };
        let mut window = Window {
            kernel: shape[2..].to_vec(),
            strides: strides.clone().unwrap_or_else(ones),
            dilations: dilations.clone().unwrap_or_else(ones),
            pads: window::pairs(&given_pads.clone().unwrap_or_else(|| vec![0; 2 * rank])),
            overhang: vec![0; rank],
            output: ones(),
        };
        let lengths = [window.strides.len(), window.dilations.len(), window.pads.len(), extra.len()];
        if lengths != [rank; 4] || target.as_ref().is_some_and(|target| target.len() != rank) {
            refuse!("strides, dilations, pads or output shape do not fit {rank} spatial axes");
        }
        let mut crop = vec![(0, from[0]), (0, channels)];
        let mut grow = vec![(0, 0); 2];
        for axis in 0..rank {
            let whole = (from[axis + 2] - 1) * window.strides[axis] + window.reach(axis);
            let wanted = match (&target, auto.as_str()) {
                (Some(target), _) => Some(target[axis]),
                (None, "SAME_UPPER" | "SAME_LOWER") => Some(from[axis + 2] * window.strides[axis]),
                (None, _) => None,
            };
            if let Some(wanted) = wanted {
                let Some(total) = (whole + extra[axis]).checked_sub(wanted) else {
                    refuse!("an output of {wanted} from {whole} elements");
                };
                let (less, more) = (total / 2, total - total / 2);
                window.pads[axis] = if auto == "SAME_UPPER" { (less, more) } else { (more, less) };
            } else if auto == "VALID" {
                window.pads[axis] = (0, 0);
            }
            let (begin, end) = window.pads[axis];
            if begin + end >= whole + extra[axis] {
                refuse!("padding {:?} leaves nothing", window.pads);
            }
            let end = whole + extra[axis] - end;
            crop.push((begin, end.min(whole)));
            grow.push((0, end.saturating_sub(whole)));
        }
        let y = Tensor(transpose_2_or_3(x.0, weight.0, &window, groups)).crop(&crop).pad(&grow, 0.0);
        let Some(bias) = bias else { return Ok(y) };
        let along: Vec<usize> = std::iter::once(channels).chain(ones()).collect();
        y.add(bias.reshape(&along)?)
    }))
}
