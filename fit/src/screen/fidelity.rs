//! Attributes that tract reads otherwise than ONNX Runtime, or not at all: what would be measured is another network.
//!
//! Found by running single operators in both (`fit/tests/operators.rs`). What can be said in other nodes is rewritten
//! instead (`runner::rewrite`).

use adntn_onnx::pb;
use adntn_onnx::pb::tensor_proto::DataType;

use super::rules::{Attributes, refuse_unless};
use super::value::Value;
use super::window::short;

/// Refuses a node that tract computes otherwise than ONNX Runtime.
pub(super) fn check(node: &pb::NodeProto, inputs: &[Value], opset: i64) -> Result<(), String> {
    let attributes = Attributes(node);
    let flag = |name: &str| attributes.int(name).unwrap_or(0) != 0;
    match node.op_type() {
        "LSTM" | "GRU" | "RNN" => recurrent(&attributes, node.op_type()),
        "ConvTranspose" => output_shape(&attributes, inputs),
        "MaxPool" | "AveragePool" => pool(node, &attributes, inputs),
        "GlobalLpPool" => Err("is an average of powers in tract, not a norm".into()),
        "Resize" => resize(node, &attributes, inputs, opset),
        "Softmax" | "LogSoftmax" | "Hardmax" if opset < 13 => over_samples(&attributes, inputs),
        "Pad" => {
            let pads = attributes.ints("pads").or_else(|| inputs.get(1)?.ints.as_deref()).unwrap_or_default();
            refuse_unless(pads.iter().all(|&pad| pad >= 0), || format!("pads by {}, and tract cannot cut", short(pads)))
        }
        "QuantizeLinear" => {
            let kind = attributes.int("output_dtype").unwrap_or(0);
            let plain = kind == 0 || kind == DataType::Uint8 as i64 || is_given(node, 2);
            refuse_unless(plain, || format!("has output_dtype {kind}, which tract ignores"))
        }
        "GridSample" => {
            let cubic = matches!(attributes.text("mode"), b"bicubic" | b"cubic");
            let zeros = matches!(attributes.text("padding_mode"), b"" | b"zeros");
            refuse_unless(!cubic || zeros, || "is bicubic with padding, which tract reads otherwise".into())
        }
        "BatchNormalization" => {
            refuse_unless(!flag("training_mode"), || "has training_mode, which tract ignores".into())
        }
        "Einsum" => einsum(attributes.text("equation")),
        "Attention" => refuse_unless(!(flag("is_causal") && is_given(node, 4)), || {
            "has is_causal and a past, which tract masks otherwise".into()
        }),
        "MultiHeadAttention" => {
            refuse_unless(!flag("unidirectional"), || "has unidirectional, which tract ignores".into())
        }
        "Normalizer" => refuse_unless(matches!(attributes.text("norm"), b"L1" | b"L2"), || {
            "has norm MAX, for which tract takes absolute values".into()
        }),
        _ => Ok(()),
    }
}

fn is_given(node: &pb::NodeProto, input: usize) -> bool {
    node.input.get(input).is_some_and(|name| !name.is_empty())
}

fn recurrent(attributes: &Attributes<'_>, op: &str) -> Result<(), String> {
    let default: &[&str] = match op {
        "LSTM" => &["sigmoid", "tanh", "tanh"],
        "GRU" => &["sigmoid", "tanh"],
        _ => &["tanh"],
    };
    let given = attributes.get("activations").map(|attribute| attribute.strings.as_slice()).unwrap_or_default();
    let usual = given.iter().zip(default.iter().cycle()).all(|(one, own)| one.eq_ignore_ascii_case(own.as_bytes()));
    refuse_unless(usual, || {
        let names: Vec<_> = given.iter().map(|name| String::from_utf8_lossy(name)).collect();
        format!("has activations {}, which tract ignores", names.join(", "))
    })?;
    if let Some(clip) = attributes.get("clip").and_then(|attribute| attribute.f).filter(|&clip| clip != 0.0) {
        return Err(format!("has clip {clip}, which tract ignores"));
    }
    for name in ["input_forget", "layout"] {
        let value = attributes.int(name).unwrap_or(0);
        refuse_unless(value == 0, || format!("has {name} {value}, which tract does not compute as ONNX says"))?;
    }
    Ok(())
}

/// tract keeps the paddings that are given and grows the end, where ONNX says that the paddings follow from the shape.
fn output_shape(attributes: &Attributes<'_>, inputs: &[Value]) -> Result<(), String> {
    let Some(shape) = attributes.ints("output_shape") else { return Ok(()) };
    let spatial = |at: usize| -> Option<Vec<i64>> {
        let dims = inputs.get(at)?.dims.as_ref()?.get(2..)?;
        dims.iter().map(|dim| i64::try_from((*dim)?).ok()).collect()
    };
    let agrees = || {
        let (extents, kernel) = (spatial(0)?, spatial(1)?);
        let rank = extents.len();
        let one = |name: &str, axis: usize, default: i64| {
            attributes.ints(name).and_then(|list| list.get(axis).copied()).unwrap_or(default)
        };
        (shape.len() == rank && kernel.len() == rank).then_some(())?;
        let explicit = matches!(attributes.text("auto_pad"), b"" | b"NOTSET");
        let fits = |axis: usize| -> Option<bool> {
            let steps = extents[axis].checked_sub(1)?.checked_mul(one("strides", axis, 1))?;
            let reach = (kernel[axis] - 1).checked_mul(one("dilations", axis, 1))?.checked_add(1)?;
            let full = steps.checked_add(reach)?.checked_add(one("output_padding", axis, 0))?;
            let total = full.checked_sub(shape[axis])?;
            let pads = [one("pads", axis, 0), one("pads", rank + axis, 0)];
            Some(explicit && total >= 0 && total % 2 == 0 && pads == [total / 2; 2])
        };
        (0..rank).map(fits).collect::<Option<Vec<bool>>>().filter(|fits| fits.iter().all(|&fits| fits))
    };
    refuse_unless(agrees().is_some(), || format!("has output_shape {}, which tract pads otherwise", short(shape)))
}

fn pool(node: &pb::NodeProto, attributes: &Attributes<'_>, inputs: &[Value]) -> Result<(), String> {
    let same = attributes.text("auto_pad").starts_with(b"SAME");
    let wide = attributes.ints("dilations").is_some_and(|dilations| dilations.iter().any(|&dilation| dilation != 1));
    refuse_unless(!(same && wide), || "has auto_pad and dilations, which tract pads otherwise".into())?;
    let indices = node.output.get(1).is_some_and(|name| !name.is_empty());
    refuse_unless(!indices || is_fixed(inputs.first()), || {
        "counts its Indices over all samples of a batch, so they depend on the batch".into()
    })
}

/// Whether the first extent is known.
fn is_fixed(value: Option<&Value>) -> bool {
    value.and_then(|value| value.dims.as_ref()?.first().copied().flatten()).is_some()
}

/// Before opset 13 all axes from the one named are taken together.
fn over_samples(attributes: &Attributes<'_>, inputs: &[Value]) -> Result<(), String> {
    let axis = attributes.int("axis").unwrap_or(1);
    let rank = inputs.first().and_then(Value::rank);
    let first = axis == 0 || rank.is_some_and(|rank| axis + rank as i64 == 0);
    refuse_unless(!first || is_fixed(inputs.first()), || {
        "goes over all samples of a batch (axis 0), so its results depend on the batch".into()
    })
}

fn resize(node: &pb::NodeProto, attributes: &Attributes<'_>, inputs: &[Value], opset: i64) -> Result<(), String> {
    let slot = if opset < 11 { 1 } else { 2 };
    let scales = inputs.get(slot).and_then(|value| value.floats.as_deref());
    if opset < 11 {
        let one_way = |scales: &[f32]| scales.iter().all(|&s| s >= 1.0) || scales.iter().all(|&s| s <= 1.0);
        let nearest = matches!(attributes.text("mode"), b"" | b"nearest");
        return refuse_unless(!nearest || scales.is_some_and(one_way), || {
            "scales up and down, or by what is computed, which tract rounds otherwise before opset 11".into()
        });
    }
    let place = attributes.text("coordinate_transformation_mode");
    let named = || format!("has coordinate_transformation_mode {}", String::from_utf8_lossy(place));
    if place == b"tf_crop_and_resize" {
        return Err(format!("{}, which tract reads otherwise", named()));
    }
    let extent = |axis: usize| inputs.first()?.dims.as_ref()?.get(axis).copied().flatten();
    let all = attributes.get("axes").is_none();
    let scaled = is_given(node, 2) && scales.is_none_or(|scales| !scales.is_empty());
    if matches!(place, b"align_corners" | b"half_pixel_symmetric") && scaled {
        let whole = |(axis, &scale): (usize, &f32)| {
            let exact = |extent: u64| (extent as f32 * scale).fract() == 0.0;
            scale.fract() == 0.0 || all && extent(axis).is_some_and(exact)
        };
        let exact = scales.is_some_and(|scales| scales.iter().enumerate().all(whole));
        refuse_unless(exact, || format!("{} and scales to parts of elements, which tract places otherwise", named()))?;
    }
    if place == b"pytorch_half_pixel" && attributes.text("mode") == b"cubic" {
        let sizes = inputs.get(3).and_then(|value| value.ints.as_deref());
        let vanishes = match (scaled, scales, sizes) {
            (true, Some(scales), _) => scales.iter().enumerate().any(|(axis, &scale)| {
                scale < 1.0 && extent(axis).filter(|_| all).is_none_or(|extent| extent as f32 * scale < 2.0)
            }),
            (false, _, Some(sizes)) => {
                sizes.iter().enumerate().any(|(axis, &size)| size == 1 && (!all || extent(axis) != Some(1)))
            }
            _ => true,
        };
        refuse_unless(!vanishes, || format!("{} and may leave one element, which tract places otherwise", named()))?;
    }
    Ok(())
}

fn einsum(equation: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(equation);
    let sides = text.split_once("->");
    let terms = sides.map_or(text.as_ref(), |(terms, _)| terms).split(',');
    let repeats = |term: &str| {
        let letters: Vec<char> = term.chars().filter(|letter| letter.is_alphabetic()).collect();
        letters.iter().enumerate().any(|(at, letter)| letters[..at].contains(letter))
    };
    let empty = sides.is_some_and(|(_, result)| result.trim().is_empty());
    refuse_unless(!empty, || format!("has equation {text}, which tract does not sum up"))?;
    let diagonal = terms.into_iter().any(repeats);
    refuse_unless(!diagonal, || format!("has equation {text}, of which tract does not take the diagonal"))
}
