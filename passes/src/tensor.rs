//! Tensors and attributes of new nodes.

use adntn_onnx::pb;
use bytes::Bytes;
use half::f16;
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;

/// A float32 tensor with raw data.
pub(crate) fn float_tensor(name: &str, shape: &[usize], data: &[f32]) -> pb::TensorProto {
    raw_tensor(name, DataType::Float, shape, bytes(data.iter().map(|x| x.to_le_bytes())))
}

/// Raw little-endian bytes as a tensor.
pub(crate) fn raw_tensor(name: &str, dtype: DataType, shape: &[usize], raw: Vec<u8>) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(dtype as i32),
        dims: shape.iter().map(|&d| d as i64).collect(),
        raw_data: Some(Bytes::from(raw)),
        ..Default::default()
    }
}

pub(crate) fn bytes<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    let mut raw = Vec::with_capacity(N * values.size_hint().0);
    values.for_each(|value| raw.extend_from_slice(&value));
    raw
}

pub(crate) fn int_attribute(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

pub(crate) fn ints_attribute(name: &str, values: Vec<i64>) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values,
        ..Default::default()
    }
}

/// A vector of integers. The typed field writes small numbers in a byte or two, where raw data takes eight.
pub(crate) fn integers(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Int64 as i32),
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// The values as float16, little-endian; `None` where they are no float16 numbers.
pub(crate) fn halves(values: &[f32]) -> Option<Vec<u8>> {
    let is_half = |x: &f32| f16::from_f32(*x).to_f32().to_bits() == x.to_bits();
    values.iter().all(is_half).then(|| bytes(values.iter().map(|&x| f16::from_f32(x).to_le_bytes())))
}
