//! Tensors of the model file as values.

use adntn_onnx::pb::tensor_proto::DataType;
use adntn_onnx::{Model, pb};

use crate::attributes::Node;
use crate::error::{Problem, refuse};
use crate::tensor::{Plain, elements};
use crate::value::{Constant, Host};

fn chunks<const N: usize>(raw: &[u8]) -> impl Iterator<Item = [u8; N]> {
    raw.as_chunks::<N>().0.iter().copied()
}

/// The values in a tensor; as many as the shape has elements.
fn plain(shape: Vec<usize>, values: Vec<f32>) -> Result<Plain, Problem> {
    if elements(&shape)? != values.len() {
        refuse!("{} values for a tensor of shape {shape:?}", values.len());
    }
    Ok(Plain::new(shape, values))
}

/// A tensor of any numeric type: floats become float32, integers and truth values stay on the host.
pub(crate) fn from_tensor(model: &Model, tensor: &pb::TensorProto) -> Result<Constant, Problem> {
    let words = |error: adntn_onnx::Error| Problem::Because(error.to_string());
    let shape: Vec<usize> = tensor.dims.iter().map(|&extent| usize::try_from(extent).unwrap_or(0)).collect();
    let Ok(data_type) = DataType::try_from(tensor.data_type()) else { refuse!("a tensor of unknown type") };
    let float = |values: Vec<f32>| {
        if values.is_empty() {
            // Some exporters mark an absent optional input by an empty tensor.
            return Ok(Constant::Host(Host { shape: shape.clone(), values: Vec::new(), truth: false }));
        }
        Ok(Constant::Float(plain(shape.clone(), values)?))
    };
    if data_type == DataType::Float {
        return float(model.floats(tensor).map_err(words)?.into_owned());
    }
    if data_type == DataType::String {
        refuse!("a tensor of strings");
    }
    let raw = model.raw(tensor).map_err(words)?;
    let values: Vec<i64> = match data_type {
        DataType::Double => return float(chunks(&raw).map(|bytes| f64::from_le_bytes(bytes) as f32).collect()),
        DataType::Float16 => {
            return float(chunks(&raw).map(|bytes| half::f16::from_le_bytes(bytes).to_f32()).collect());
        }
        DataType::Bfloat16 => {
            return float(chunks(&raw).map(|bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect());
        }
        DataType::Int64 => chunks(&raw).map(i64::from_le_bytes).collect(),
        DataType::Int32 => chunks(&raw).map(|bytes| i64::from(i32::from_le_bytes(bytes))).collect(),
        DataType::Uint32 => chunks(&raw).map(|bytes| i64::from(u32::from_le_bytes(bytes))).collect(),
        DataType::Int16 => chunks(&raw).map(|bytes| i64::from(i16::from_le_bytes(bytes))).collect(),
        DataType::Uint16 => chunks(&raw).map(|bytes| i64::from(u16::from_le_bytes(bytes))).collect(),
        DataType::Int8 => chunks(&raw).map(|bytes| i64::from(i8::from_le_bytes(bytes))).collect(),
        DataType::Uint8 | DataType::Bool => raw.iter().map(|&byte| i64::from(byte)).collect(),
        DataType::Uint64 => {
            let wide = chunks(&raw).map(|bytes| i64::try_from(u64::from_le_bytes(bytes)));
            wide.collect::<Result<_, _>>().map_err(|_| Problem::from("an unsigned number above 2⁶³"))?
        }
        other => refuse!("a tensor of type {}", other.as_str_name()),
    };
    Ok(Constant::Host(Host { shape, values, truth: data_type == DataType::Bool }))
}

/// The value of a Constant node.
pub(crate) fn from_node(node: &Node) -> Result<Constant, Problem> {
    if let Some(tensor) = node.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        return from_tensor(node.model, tensor);
    }
    let float = |shape, values| plain(shape, values).map(Constant::Float);
    if let Some(value) = node.float("value_float")? {
        return float(Vec::new(), vec![value]);
    }
    if let Some(values) = node.attribute("value_floats").map(|attribute| attribute.floats.clone()) {
        return float(vec![values.len()], values);
    }
    if let Some(value) = node.int("value_int")? {
        return Ok(Constant::Host(Host { shape: Vec::new(), values: vec![value], truth: false }));
    }
    if let Some(values) = node.ints("value_ints")? {
        return Ok(Constant::Host(Host::vector(values)));
    }
    refuse!("a constant that is neither a dense tensor nor numbers")
}
