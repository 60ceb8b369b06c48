//! Resize and Upsample, axis by axis: nearest elements, or linear between two.

use super::select::select;
use super::{Op, float};
use crate::attributes::Node;
use crate::error::{Problem, refuse};
use crate::tensor::Tensor;
use crate::value::{Inputs, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Debug)]
struct Settings {
    linear: bool,
    coordinates: Coordinates,
    rounding: Rounding,
}

impl Coordinates {
    /// Where the element `place` of the output lies in the input.
    fn source(self, place: usize, scale: f64, from: usize, to: usize) -> f64 {
        let place = place as f64;
        match self {
            Coordinates::PytorchHalfPixel if to == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (place + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if to == 1 => 0.0,
            Coordinates::AlignCorners => place * (from as f64 - 1.0) / (to as f64 - 1.0),
            Coordinates::Asymmetric => place / scale,
        }
    }
}

impl Rounding {
    fn round(self, place: f64) -> f64 {
        match self {
            Rounding::PreferFloor => (place - 0.5).ceil(),
            Rounding::PreferCeil => (place + 0.5).floor(),
            Rounding::Floor => place.floor(),
            Rounding::Ceil => place.ceil(),
        }
    }
}

fn settings(node: &Node) -> Result<Settings, Problem> {
    let linear = match node.text_or("mode", "nearest")? {
        "nearest" => false,
        "linear" | "bilinear" => true,
        other => refuse!("mode {other}"),
    };
    // Before opset 11 there is nothing to choose.
    let old = node.opset < 11;
    let coordinates =
        match node.text_or("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })? {
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            other => refuse!("coordinates {other}"),
        };
    let rounding = match node.text_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })? {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => refuse!("rounding {other}"),
    };
    if node.flag("antialias")?
        || node.flag("exclude_outside")?
        || node.text_or("keep_aspect_ratio_policy", "stretch")? != "stretch"
    {
        refuse!("antialias, exclude_outside or an aspect ratio to keep");
    }
    if node.attribute("axes").is_some() {
        refuse!("chosen axes");
    }
    Ok(Settings { linear, coordinates, rounding })
}

/// Scales are an attribute (Upsample 7), the second input (Upsample 9, Resize 10) or the third, the fourth being sizes.
pub(super) fn resize(node: &Node) -> Result<Op, Problem> {
    let settings = settings(node)?;
    let fixed = node.attribute("scales").map(|attribute| attribute.floats.clone());
    let modern = node.proto.op_type() == "Resize" && node.opset >= 11;
    Ok(float(move |inputs| {
        let mut x = inputs.float(0)?;
        let shape = x.shape();
        let sizes = if modern { inputs.optional_ints(3).filter(|sizes| !sizes.is_empty()) } else { None };
        let scales = match &sizes {
            Some(sizes) => sizes.iter().zip(&shape).map(|(&to, &from)| to as f64 / from as f64).collect::<Vec<_>>(),
            None => scales(fixed.as_ref(), inputs, if modern { 2 } else { 1 })?,
        };
        if scales.len() != shape.len() || sizes.as_ref().is_some_and(|sizes| sizes.len() != shape.len()) {
            refuse!("scales or sizes do not fit {shape:?}");
        }
        for (axis, (&scale, &from)) in scales.iter().zip(&shape).enumerate() {
            let to = match &sizes {
                Some(sizes) => sizes[axis] as f64,
                None => (from as f64 * scale).floor(),
            };
            if !(1.0..2_147_483_648.0).contains(&to) || !scale.is_finite() {
                refuse!("axis {axis} of {shape:?} scaled by {scale}");
            }
            x = along(x, axis, scale, (from, to as usize), &settings)?;
        }
        Ok(x)
    }))
}

fn scales(fixed: Option<&Vec<f32>>, inputs: &mut Inputs, place: usize) -> Result<Vec<f64>, Problem> {
    let scales = match fixed {
        Some(scales) => scales.clone(),
        None => inputs.float(place)?.to_array().values,
    };
    Ok(scales.into_iter().map(f64::from).collect())
}

fn along(x: Tensor, axis: usize, scale: f64, (from, to): (usize, usize), how: &Settings) -> Result<Tensor, Problem> {
    if from == to && scale == 1.0 {
        return Ok(x);
    }
    let last = from as f64 - 1.0;
    let sources = (0..to).map(|place| how.coordinates.source(place, scale, from, to));
    if !how.linear {
        let places: Vec<usize> = sources.map(|source| how.rounding.round(source).clamp(0.0, last) as usize).collect();
        return select(Value::Float(x), axis, &places)?.into_float();
    }
    let sources: Vec<f64> = sources.map(|source| source.clamp(0.0, last)).collect();
    let below: Vec<usize> = sources.iter().map(|source| source.floor() as usize).collect();
    let above: Vec<usize> = below.iter().map(|&place| (place + 1).min(from - 1)).collect();
    let mut shape = vec![1; x.rank()];
    shape[axis] = to;
    let share: Vec<f32> = sources.iter().map(|source| (source - source.floor()) as f32).collect();
    let low = select(Value::Float(x.clone()), axis, &below)?.into_float()?;
    let high = select(Value::Float(x), axis, &above)?.into_float()?;
    let share = Tensor::from_array(&shape, share);
    low.clone().add(high.sub(low)?.mul(share)?)
}
