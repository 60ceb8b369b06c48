//! What single operators make of shapes, and which attributes and constant operands they may have.

use adntn_onnx::{Model, pb};

use super::value::{Value, broadcast};
use super::window::{Window, short};

/// Attributes of a node by name.
pub(super) struct Attributes<'n>(pub(super) &'n pb::NodeProto);

impl<'n> Attributes<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n pb::AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.i
    }

    /// `None` also where the list is empty.
    pub(super) fn ints(&self, name: &str) -> Option<&'n [i64]> {
        self.get(name).map(|attribute| attribute.ints.as_slice()).filter(|ints| !ints.is_empty())
    }

    pub(super) fn text(&self, name: &str) -> &'n [u8] {
        self.get(name).and_then(|attribute| attribute.s.as_deref()).unwrap_or_default()
    }
}

pub(super) fn refuse_unless(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

/// What is known of a node's outputs, in their order; nothing for operators that are not listed.
pub(super) fn outputs(model: &Model, node: &pb::NodeProto, inputs: &[Value], opset: i64) -> Result<Vec<Value>, String> {
    let attributes = Attributes(node);
    let absent = Value::default();
    let input = |at: usize| inputs.get(at).unwrap_or(&absent);
    let spatial = |value: &Value| value.dims.as_ref().and_then(|dims| dims.get(2..)).map(<[_]>::to_vec);
    let one = match node.op_type() {
        "Constant" => match attributes.get("value").and_then(|value| value.t.as_ref()) {
            Some(tensor) => Value::of_tensor(model, tensor),
            None => attributes.ints("value_ints").map_or(absent.clone(), |ints| Value::of_ints(ints.to_vec())),
        },
        "Identity"
        | "Relu"
        | "Sigmoid"
        | "Tanh"
        | "Neg"
        | "Abs"
        | "Exp"
        | "Log"
        | "Sqrt"
        | "Erf"
        | "Floor"
        | "Ceil"
        | "Softmax"
        | "LogSoftmax"
        | "LeakyRelu"
        | "Elu"
        | "Selu"
        | "Softplus"
        | "Softsign"
        | "HardSigmoid"
        | "HardSwish"
        | "Gelu"
        | "Clip"
        | "Cast"
        | "Not"
        | "BatchNormalization"
        | "LayerNormalization"
        | "InstanceNormalization"
        | "Dropout"
        | "Reciprocal"
        | "Sign"
        | "Sin"
        | "Cos"
        | "Round"
        | "LRN" => {
            let mut same = input(0).clone();
            if !matches!(node.op_type(), "Identity" | "Cast") {
                (same.ints, same.floats) = (None, None);
            }
            same
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Sum" | "Mean" | "Where" | "Equal" | "Less"
        | "Greater" | "And" | "Or" | "Xor" | "PRelu" => broadcast(&inputs.iter().collect::<Vec<_>>()),
        "Transpose" => transpose(&attributes, input(0))?,
        "Conv" | "ConvTranspose" => {
            let weight = input(1).dims.as_ref();
            let kernel = weight.and_then(|dims| dims.get(2..)?.iter().copied().collect::<Option<Vec<u64>>>());
            let groups = attributes.int("group").unwrap_or(1);
            refuse_unless((1..=1 << 24).contains(&groups), || format!("has {groups} groups"))?;
            let window = Window::new(node, kernel)?;
            let (Some(dims), Some(extents)) = (&input(0).dims, spatial(input(0))) else { return Ok(vec![absent]) };
            let channels = |axis: usize| weight.and_then(|dims| dims.get(axis).copied().flatten());
            let (made, extents) = if node.op_type() == "Conv" {
                (channels(0), window.slide(&extents)?)
            } else {
                (channels(1).map(|c| c.saturating_mul(groups.unsigned_abs())), window.spread(&extents))
            };
            Value::of_shape([vec![dims[0], made], extents].concat())
        }
        "MaxPool" | "AveragePool" | "LpPool" => {
            let window = Window::new(node, None)?;
            let (Some(dims), Some(extents)) = (&input(0).dims, spatial(input(0))) else { return Ok(vec![absent]) };
            let extents = window.slide(&extents)?;
            let pooled = Value::of_shape([dims[..2].to_vec(), extents].concat());
            return Ok(vec![pooled; node.output.len().min(2)]);
        }
        "MatMul" | "Gemm" => product(node.op_type(), &attributes, input(0), input(1)),
        "Pad" => pad(attributes.ints("pads").filter(|_| opset < 11), input(0), input(1), inputs.get(3))?,
        "ConstantOfShape" => match &input(0).ints {
            Some(ints) => Value::of_shape(extents(ints)?),
            None => absent.clone(),
        },
        "Expand" => match &input(1).ints {
            Some(ints) => broadcast(&[input(0), &Value::of_shape(extents(ints)?)]),
            None => absent.clone(),
        },
        "Tile" => match (&input(0).dims, &input(1).ints) {
            (_, Some(repeats)) if repeats.iter().any(|&n| n < 0) => {
                return Err(format!("repeats {} times", short(repeats)));
            }
            (Some(dims), Some(repeats)) => scaled(dims, repeats.iter().map(|&n| n as f64))?,
            _ => absent.clone(),
        },
        "Resize" | "Upsample" => resize(node, &attributes, inputs)?,
        "Range" => range(inputs)?,
        "OneHot" => match (&input(0).dims, input(1).ints.as_deref()) {
            (_, Some(&[depth])) if depth < 0 => return Err(format!("has a depth of {depth}")),
            (Some(dims), Some(&[depth])) => Value::of_shape([dims.clone(), vec![Some(depth.unsigned_abs())]].concat()),
            _ => absent.clone(),
        },
        "TopK" => top(&attributes, input(0), input(1).ints.as_deref())?,
        "Slice" => {
            let steps = input(4).ints.as_deref().unwrap_or_default();
            refuse_unless(!steps.contains(&0), || format!("has steps of {}", short(steps)))?;
            absent.clone()
        }
        "Reshape" => reshape(input(0), input(1), attributes.int("allowzero").unwrap_or(0) != 0)?,
        "Concat" => concat(&attributes, inputs)?,
        "Flatten" => Value::of_shape(vec![None, None]),
        _ => return Ok(Vec::new()),
    };
    Ok(vec![one])
}

fn top(attributes: &Attributes<'_>, input: &Value, count: Option<&[i64]>) -> Result<Value, String> {
    let (Some(dims), Some(&[count])) = (&input.dims, count) else { return Ok(Value::default()) };
    let axis = attributes.int("axis").unwrap_or(-1);
    let at = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).unwrap_or(usize::MAX);
    let wrong = || format!("takes the {count} largest along axis {axis}");
    let Some(&extent) = dims.get(at) else { return Err(wrong()) };
    let most = extent.unwrap_or(1 << 30);
    refuse_unless(u64::try_from(count).is_ok_and(|count| count <= most), wrong)?;
    let mut dims = dims.clone();
    dims[at] = Some(count.unsigned_abs());
    Ok(Value::of_shape(dims))
}

fn transpose(attributes: &Attributes<'_>, input: &Value) -> Result<Value, String> {
    let Some(perm) = attributes.ints("perm") else {
        return Ok(input
            .dims
            .as_ref()
            .map_or_else(Value::default, |d| Value::of_shape(d.iter().rev().copied().collect())));
    };
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    let wrong = || format!("has perm {}, which is no permutation of its axes", short(perm));
    refuse_unless(sorted.iter().zip(0..).all(|(&axis, at)| axis == at), wrong)?;
    let Some(dims) = &input.dims else { return Ok(Value::of_shape(vec![None; perm.len()])) };
    refuse_unless(dims.len() == perm.len(), wrong)?;
    Ok(Value::of_shape(perm.iter().map(|&axis| dims.get(axis as usize).copied().flatten()).collect()))
}

fn product(op: &str, attributes: &Attributes<'_>, a: &Value, b: &Value) -> Value {
    let (Some(left), Some(right)) = (&a.dims, &b.dims) else { return Value::default() };
    if left.len() < 2 || right.len() < 2 {
        return Value::default();
    }
    if op == "Gemm" {
        let flag = |name| usize::from(attributes.int(name).unwrap_or(0) != 0);
        return Value::of_shape(vec![left[flag("transA")], right[1 - flag("transB")]]);
    }
    let stacks = |dims: &[Option<u64>]| Value::of_shape(dims[..dims.len() - 2].to_vec());
    let mut dims = broadcast(&[&stacks(left), &stacks(right)]).dims.unwrap_or_default();
    dims.extend([left[left.len() - 2], right[right.len() - 1]]);
    Value::of_shape(dims)
}

fn pad(attribute: Option<&[i64]>, input: &Value, given: &Value, axes: Option<&Value>) -> Result<Value, String> {
    let Some(pads) = attribute.or(given.ints.as_deref()) else { return Ok(Value::default()) };
    let most = 1_i64 << 40;
    refuse_unless(pads.iter().all(|pad| (-most..=most).contains(pad)), || format!("pads by {}", short(pads)))?;
    let added: i64 = pads.iter().filter(|&&pad| pad > 0).sum();
    // Along whichever axis: the result has at least as many elements as are added there.
    refuse_unless(added <= 1 << 30, || format!("pads by {added} elements"))?;
    let Some(dims) = input.dims.as_ref().filter(|_| axes.is_none()) else { return Ok(Value::default()) };
    let rank = dims.len();
    refuse_unless(pads.len() == 2 * rank, || format!("has {} pads for {rank} axes", pads.len()))?;
    let extent = |axis: usize| {
        let total = i128::from(dims[axis]?) + i128::from(pads[axis]) + i128::from(pads[rank + axis]);
        u64::try_from(total).ok()
    };
    Ok(Value::of_shape((0..rank).map(extent).collect()))
}

/// A constant shape as extents.
fn extents(ints: &[i64]) -> Result<Vec<Option<u64>>, String> {
    refuse_unless(ints.iter().all(|&extent| extent >= 0), || format!("asks for the shape {}", short(ints)))?;
    Ok(ints.iter().map(|&extent| Some(extent.unsigned_abs())).collect())
}

fn scaled(dims: &[Option<u64>], scales: impl Iterator<Item = f64>) -> Result<Value, String> {
    let scales: Vec<f64> = scales.collect();
    refuse_unless(scales.len() == dims.len(), || format!("has {} factors for {} axes", scales.len(), dims.len()))?;
    let finite = scales.iter().all(|scale| scale.is_finite() && *scale >= 0.0);
    refuse_unless(finite, || "has a factor that is negative, infinite or no number".into())?;
    // An open extent is at least one, and grows as well.
    let grown = dims.iter().zip(&scales).map(|(dim, scale)| Some((dim.unwrap_or(1) as f64 * scale) as u64));
    let least = Value::of_shape(grown.collect());
    super::check(&least)?;
    let known = dims.iter().zip(&scales).map(|(dim, scale)| dim.map(|dim| (dim as f64 * scale) as u64));
    Ok(Value::of_shape(known.collect()))
}

fn resize(node: &pb::NodeProto, attributes: &Attributes<'_>, inputs: &[Value]) -> Result<Value, String> {
    if attributes.get("axes").is_some() {
        return Ok(Value::default());
    }
    let own = attributes.get("scales").map(|attribute| attribute.floats.clone()).filter(|floats| !floats.is_empty());
    let slot = if node.op_type() == "Resize" && node.input.len() > 2 { 2 } else { 1 };
    let given = inputs.get(slot).and_then(|value| value.floats.clone()).filter(|floats| !floats.is_empty());
    let sizes = inputs.get(3).and_then(|value| value.ints.as_ref());
    match (inputs.first().and_then(|value| value.dims.as_ref()), own.or(given), sizes) {
        (_, None, Some(sizes)) => Ok(Value::of_shape(extents(sizes)?)),
        (Some(dims), Some(scales), _) => scaled(dims, scales.iter().map(|&scale| f64::from(scale))),
        _ => Ok(Value::default()),
    }
}

fn range(inputs: &[Value]) -> Result<Value, String> {
    let number = |at: usize| {
        let value = inputs.get(at)?;
        match (value.ints.as_deref(), value.floats.as_deref()) {
            (Some(&[int]), _) => Some(int as f64),
            (_, Some(&[float])) => Some(f64::from(float)),
            _ => None,
        }
    };
    if number(2) == Some(0.0) {
        return Err("counts in steps of 0".into());
    }
    let (Some(start), Some(limit), Some(step)) = (number(0), number(1), number(2)) else { return Ok(Value::default()) };
    let count = ((limit - start) / step).ceil().max(0.0);
    refuse_unless(count.is_finite(), || format!("counts from {start} to {limit} in steps of {step}"))?;
    Ok(Value::of_shape(vec![Some(count as u64)]))
}

fn reshape(input: &Value, shape: &Value, zeros: bool) -> Result<Value, String> {
    let Some(ints) = &shape.ints else { return Ok(Value::default()) };
    let wrong = || format!("asks for the shape {}", short(ints));
    refuse_unless(ints.iter().all(|&extent| extent >= -1), wrong)?;
    refuse_unless(ints.iter().filter(|&&extent| extent == -1).count() <= 1, wrong)?;
    let extent = |(axis, &extent): (usize, &i64)| match extent {
        -1 => None,
        0 if !zeros => input.dims.as_ref().and_then(|dims| dims.get(axis).copied().flatten()),
        _ => Some(extent.unsigned_abs()),
    };
    Ok(Value::of_shape(ints.iter().enumerate().map(extent).collect()))
}

fn concat(attributes: &Attributes<'_>, inputs: &[Value]) -> Result<Value, String> {
    let Some(rank) = inputs.iter().find_map(Value::rank) else { return Ok(Value::default()) };
    let axis = attributes.int("axis").unwrap_or(0);
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    refuse_unless((0..rank as i64).contains(&at), || format!("joins along axis {axis} of {rank}"))?;
    let Some(all) = inputs.iter().map(|value| value.dims.as_ref()).collect::<Option<Vec<_>>>() else {
        return Ok(Value::default());
    };
    refuse_unless(all.iter().all(|dims| dims.len() == rank), || "joins values of different ranks".into())?;
    let mut dims = all[0].clone();
    let total = all.iter().map(|dims| dims[at as usize]).try_fold(0_u64, |sum, dim| sum.checked_add(dim?));
    dims[at as usize] = total;
    Ok(Value::of_shape(dims))
}
