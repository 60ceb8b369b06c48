//! Conv and its transpose.

use super::window::{self, Attributes, Window};
use super::{Op, float};
use crate::attributes::Node;
use crate::convolution::{Geometry, gradient_of_image, gradient_of_weight, outputs};
use crate::error::{Problem, refuse};
use crate::tensor::{Node as Taped, Plain, Tensor, elements, sum_to};

fn groups(node: &Node) -> Result<usize, Problem> {
    match usize::try_from(node.int_or("group", 1)?) {
        Ok(groups) if (1..=window::MOST).contains(&groups) => Ok(groups),
        _ => refuse!("the number of groups must be positive"),
    }
}

/// Values along one to three axes as along three, with `neutral` for those in front.
fn three(values: impl ExactSizeIterator<Item = usize>, neutral: usize) -> [usize; 3] {
    let mut all = [neutral; 3];
    let missing = 3_usize.saturating_sub(values.len());
    all.iter_mut().skip(missing).zip(values).for_each(|(place, value)| *place = value);
    all
}

/// The sizes of a convolution of an image, N×C×spatial, with a weight, O×(C/groups)×kernel, to N×O×output.
fn geometry(image: &[usize], weight: &[usize], groups: usize, window: &Window) -> Geometry {
    Geometry {
        samples: image[0],
        groups,
        inputs: weight[1],
        outputs: weight[0] / groups,
        extent: three(image[2..].iter().copied(), 1),
        kernel: three(weight[2..].iter().copied(), 1),
        strides: three(window.strides.iter().copied(), 1),
        dilations: three(window.dilations.iter().copied(), 1),
        begin: three(window.pads.iter().map(|pad| pad.0), 0),
        output: three(window.output.iter().copied(), 1),
    }
}

/// The sum of a gradient, N×O×places, for every filter.
fn gradient_of_bias(gradient: &Plain) -> Plain {
    let [samples, filters] = [gradient.shape()[0], gradient.shape()[1]];
    let places = gradient.len() / (samples * filters);
    sum_to(gradient.clone().with_shape(&[samples, filters, places]), &[1, filters, 1]).with_shape(&[filters])
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
        let window = attributes.over(&from[2..], &shape[2..])?;
        let geometry = geometry(&from, &shape, groups, &window);
        let output: Vec<usize> = [from[0], shape[0]].iter().chain(&window.output).copied().collect();
        elements(&output)?;
        let (bias, bias_node) = bias.map_or((None, None), |bias| (Some(bias.value), bias.node));
        let bias = bias.as_ref().map(Plain::values);
        let values = outputs(&geometry, x.value.values(), weight.value.values(), bias);
        let saved_x = weight.node.is_some().then_some(x.value);
        let saved_weight = x.node.is_some().then_some(weight.value);
        let node = Taped::record(vec![x.node, weight.node, bias_node], move |gradient, parents| {
            if parents.want(2) {
                parents.give(2, gradient_of_bias(&gradient));
            }
            if let Some(x) = saved_x {
                let values = gradient_of_weight(&geometry, x.values(), gradient.values());
                parents.give(1, Plain::new(shape, values));
            }
            if let Some(weight) = saved_weight {
                let values = gradient_of_image(&geometry, gradient.values(), weight.values());
                parents.give(0, Plain::new(from, values));
            }
        });
        Ok(Tensor { value: Plain::new(output, values), node })
    }))
}

fn check_bias(bias: Option<&Tensor>, channels: usize) -> Result<(), Problem> {
    match bias.map(Tensor::shape) {
        Some(shape) if shape != [channels] => refuse!("bias {shape:?} for {channels} channels"),
        _ => Ok(()),
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
            Some(extra) => extra.iter().map(|&more| more.clamp(0, window::MOST as i64) as usize).collect(),
            None => vec![0; rank],
        };
        let mut window = Window {
            kernel: shape[2..].to_vec(),
            strides: strides.clone().unwrap_or_else(ones),
            dilations: dilations.clone().unwrap_or_else(ones),
            pads: window::pairs(&given_pads.clone().unwrap_or_else(|| vec![0; 2 * rank])),
            output: ones(),
        };
        let lengths = [window.strides.len(), window.dilations.len(), window.pads.len(), extra.len()];
        if lengths != [rank; 4] || target.as_ref().is_some_and(|target| target.len() != rank) {
            refuse!("strides, dilations, pads or output shape do not fit {rank} spatial axes");
        }
        let mut output = vec![from[0], channels];
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
            output.push(whole + extra[axis] - end - begin);
        }
        elements(&output)?;
        // The gradient of the image of a convolution that goes from the output to the input.
        window.output = from[2..].to_vec();
        let geometry = geometry(&output, &shape, groups, &window);
        let values = gradient_of_image(&geometry, x.value.values(), weight.value.values());
        let saved_x = weight.node.is_some().then_some(x.value);
        let saved_weight = x.node.is_some().then_some(weight.value);
        let node = Taped::record(vec![x.node, weight.node], move |gradient, parents| {
            if let Some(x) = saved_x {
                let values = gradient_of_weight(&geometry, gradient.values(), x.values());
                parents.give(1, Plain::new(shape, values));
            }
            if let Some(weight) = saved_weight {
                let values = outputs(&geometry, gradient.values(), weight.values(), None);
                parents.give(0, Plain::new(from, values));
            }
        });
        let y = Tensor { value: Plain::new(output, values), node };
        let Some(bias) = bias else { return Ok(y) };
        let along: Vec<usize> = std::iter::once(channels).chain(ones()).collect();
        y.add(bias.reshape(&along)?)
    }))
}
