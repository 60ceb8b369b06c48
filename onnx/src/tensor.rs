//! What a tensor's data type and dimensions say about its data, and the data as bytes.

use std::borrow::Cow;

use bytes::Bytes;

use crate::TensorProblem;
use crate::pb;
use crate::pb::tensor_proto::{DataLocation, DataType};

/// The typed field of a tensor message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Float,
    Int32,
    Int64,
    Double,
    Uint64,
    Strings,
}

/// How a data type is stored.
#[derive(Clone, Copy, Debug)]
struct Layout {
    name: &'static str,
    /// Width of an element, in bits; packed without gaps, the last byte filled up with zeros. Strings: 0.
    bits: u64,
    store: Store,
    /// Elements in one entry of the typed field …
    per_entry: u64,
    /// … and entries for one element (2 for complex numbers).
    entries: u64,
}

fn layout(data_type: i32) -> Result<Layout, TensorProblem> {
    let known = DataType::try_from(data_type).map_err(|_| TensorProblem::UnknownType(data_type))?;
    let (bits, store, per_entry, entries) = match known {
        DataType::Undefined => return Err(TensorProblem::UnknownType(data_type)),
        DataType::Float => (32, Store::Float, 1, 1),
        DataType::Double => (64, Store::Double, 1, 1),
        DataType::Complex64 => (64, Store::Float, 1, 2),
        DataType::Complex128 => (128, Store::Double, 1, 2),
        DataType::Int64 => (64, Store::Int64, 1, 1),
        DataType::Uint64 => (64, Store::Uint64, 1, 1),
        DataType::Uint32 => (32, Store::Uint64, 1, 1),
        DataType::Int32 => (32, Store::Int32, 1, 1),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => (16, Store::Int32, 1, 1),
        DataType::Uint8
        | DataType::Int8
        | DataType::Bool
        | DataType::Float8e4m3fn
        | DataType::Float8e4m3fnuz
        | DataType::Float8e5m2
        | DataType::Float8e5m2fnuz
        | DataType::Float8e8m0 => (8, Store::Int32, 1, 1),
        DataType::Float6e2m3 | DataType::Float6e3m2 => (6, Store::Int32, 1, 1),
        DataType::Uint4 | DataType::Int4 | DataType::Float4e2m1 => (4, Store::Int32, 2, 1),
        DataType::Uint2 | DataType::Int2 => (2, Store::Int32, 4, 1),
        DataType::String => (0, Store::Strings, 1, 1),
    };
    Ok(Layout { name: known.as_str_name(), bits, store, per_entry, entries })
}

/// Name of the data type, `FLOAT` for example.
pub(crate) fn type_name(tensor: &pb::TensorProto) -> Result<&'static str, TensorProblem> {
    layout(tensor.data_type()).map(|layout| layout.name)
}

/// Whether the data lie in another file.
pub(crate) fn is_external(tensor: &pb::TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

/// Product of the dimensions; 1 for a scalar.
pub(crate) fn element_count(dims: &[i64]) -> Result<u64, TensorProblem> {
    if let Some((axis, &dim)) = dims.iter().enumerate().find(|(_, dim)| **dim < 0) {
        return Err(TensorProblem::NegativeDim { axis, dim });
    }
    if dims.contains(&0) {
        return Ok(0);
    }
    dims.iter()
        .try_fold(1_i64, |product, &dim| product.checked_mul(dim))
        .map(i64::unsigned_abs)
        .ok_or_else(|| TensorProblem::Overflow { dims: dims.to_vec() })
}

/// Bytes of the data in raw form; for strings the sum of their lengths.
pub(crate) fn byte_count(tensor: &pb::TensorProto) -> Result<u64, TensorProblem> {
    let layout = layout(tensor.data_type())?;
    if layout.store == Store::Strings {
        return Ok(tensor.string_data.iter().map(|text| text.len() as u64).sum());
    }
    let bits = element_count(&tensor.dims)?
        .checked_mul(layout.bits)
        .filter(|&bits| bits / 8 <= i64::MAX as u64)
        .ok_or_else(|| TensorProblem::Overflow { dims: tensor.dims.clone() })?;
    Ok(bits.div_ceil(8))
}

fn entries(tensor: &pb::TensorProto, store: Store) -> (&'static str, u64) {
    let (name, length) = match store {
        Store::Float => ("float_data", tensor.float_data.len()),
        Store::Int32 => ("int32_data", tensor.int32_data.len()),
        Store::Int64 => ("int64_data", tensor.int64_data.len()),
        Store::Double => ("double_data", tensor.double_data.len()),
        Store::Uint64 => ("uint64_data", tensor.uint64_data.len()),
        Store::Strings => ("string_data", tensor.string_data.len()),
    };
    (name, length as u64)
}

/// `raw_data` where it holds the data: some writers set it empty beside a typed field.
fn raw<'a>(tensor: &'a pb::TensorProto, layout: &Layout) -> Option<&'a Bytes> {
    tensor.raw_data.as_ref().filter(|raw| !raw.is_empty() || entries(tensor, layout.store).1 == 0)
}

/// Whether type, dimensions and data of a tensor that is not external agree; of an external one, type and dimensions.
pub(crate) fn check(tensor: &pb::TensorProto) -> Result<(), TensorProblem> {
    let layout = layout(tensor.data_type())?;
    let count = element_count(&tensor.dims)?;
    let expected = byte_count(tensor)?;
    let has_raw = tensor.raw_data.as_ref().is_some_and(|raw| !raw.is_empty());
    if layout.store == Store::Strings && (has_raw || is_external(tensor)) {
        return Err(TensorProblem::RawStrings);
    }
    if is_external(tensor) {
        return Ok(());
    }
    if let Some(raw) = raw(tensor, &layout).filter(|_| layout.store != Store::Strings) {
        return check_length(tensor, raw.len() as u64, expected);
    }
    let expected = (count * layout.entries).div_ceil(layout.per_entry);
    match entries(tensor, layout.store) {
        (_, found) if found == expected => Ok(()),
        (field, found) => {
            Err(TensorProblem::Entries { data_type: layout.name, dims: tensor.dims.clone(), field, expected, found })
        }
    }
}

/// The error for `found` bytes of raw data where `expected` are needed.
pub(crate) fn check_length(tensor: &pb::TensorProto, found: u64, expected: u64) -> Result<(), TensorProblem> {
    if found == expected {
        return Ok(());
    }
    Err(TensorProblem::RawLength { data_type: type_name(tensor)?, dims: tensor.dims.clone(), expected, found })
}

/// The data of a checked tensor that is not external, as `raw_data` would hold them; nothing for strings. Raw data are
/// shared, not copied.
pub(crate) fn raw_bytes(tensor: &pb::TensorProto) -> Result<Option<Bytes>, TensorProblem> {
    let layout = layout(tensor.data_type())?;
    if layout.store == Store::Strings {
        return Ok(None);
    }
    if let Some(raw) = raw(tensor, &layout) {
        return Ok(Some(raw.clone()));
    }
    let width = layout.bits.div_ceil(8) as usize;
    let bytes: Vec<u8> = match layout.store {
        Store::Float => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Store::Double => tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Store::Int64 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Store::Uint64 => {
            tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
        }
        Store::Int32 if layout.bits == 6 => pack_six_bits(&tensor.int32_data),
        Store::Int32 => {
            tensor.int32_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
        }
        Store::Strings => return Ok(None),
    };
    Ok(Some(bytes.into()))
}

/// Four six-bit values in three bytes, lowest bits first.
fn pack_six_bits(values: &[i32]) -> Vec<u8> {
    let pack = |four: &[i32]| {
        let word = four.iter().rev().fold(0_u32, |word, &value| word << 6 | (value as u32 & 0x3f));
        word.to_le_bytes().into_iter().take((6 * four.len()).div_ceil(8))
    };
    values.chunks(4).flat_map(pack).collect()
}

/// Little-endian FLOAT data as numbers: borrowed where the bytes happen to lie on a multiple of four.
pub(crate) fn floats(bytes: &[u8]) -> Cow<'_, [f32]> {
    #[cfg(target_endian = "little")]
    if let Ok(values) = bytemuck::try_cast_slice(bytes) {
        return Cow::Borrowed(values);
    }
    Cow::Owned(bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: DataType, dims: &[i64]) -> pb::TensorProto {
        pb::TensorProto { data_type: Some(data_type.into()), dims: dims.to_vec(), ..Default::default() }
    }

    #[test]
    fn every_data_type_has_its_width() {
        use DataType::*;
        for (types, bytes_of_five) in [
            (&[Float, Int32, Uint32][..], 20),
            (&[Uint8, Int8, Bool], 5),
            (&[Uint16, Int16, Float16, Bfloat16], 10),
            (&[Int64, Uint64, Double, Complex64], 40),
            (&[Complex128], 80),
            (&[Float8e4m3fn, Float8e4m3fnuz, Float8e5m2, Float8e5m2fnuz, Float8e8m0], 5),
            (&[Uint4, Int4, Float4e2m1], 3),
            (&[Uint2, Int2], 2),
            (&[Float6e2m3, Float6e3m2], 4),
        ] {
            for &data_type in types {
                let mut tensor = tensor(data_type, &[5]);
                assert_eq!(byte_count(&tensor).unwrap(), bytes_of_five, "{data_type:?}");
                tensor.raw_data = Some(vec![0; bytes_of_five as usize].into());
                check(&tensor).unwrap();
                tensor.raw_data = Some(vec![0; bytes_of_five as usize + 1].into());
                assert!(matches!(check(&tensor), Err(TensorProblem::RawLength { .. })), "{data_type:?}");
            }
        }
    }

    #[test]
    fn typed_fields_become_raw_data() {
        use DataType::*;
        let int32 = |data_type, dims: &[i64], values: &[i32]| pb::TensorProto {
            int32_data: values.to_vec(),
            ..tensor(data_type, dims)
        };
        let uint64 = |data_type, values: &[u64]| pb::TensorProto {
            uint64_data: values.to_vec(),
            ..tensor(data_type, &[values.len() as i64])
        };
        let float = pb::TensorProto { float_data: vec![1.0, -2.0], ..tensor(Float, &[2]) };
        let complex = pb::TensorProto { float_data: vec![1.0, -2.0], ..tensor(Complex64, &[1]) };
        let double = pb::TensorProto { double_data: vec![0.5], ..tensor(Double, &[]) };
        let int64 = pb::TensorProto { int64_data: vec![-1], ..tensor(Int64, &[1]) };
        for (tensor, bytes) in [
            (float, [1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat()),
            (complex, [1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat()),
            (double, 0.5_f64.to_le_bytes().to_vec()),
            (int64, vec![255; 8]),
            (uint64(Uint32, &[0x0403_0201]), vec![1, 2, 3, 4]),
            (uint64(Uint64, &[1]), vec![1, 0, 0, 0, 0, 0, 0, 0]),
            (int32(Int32, &[1], &[-2]), vec![254, 255, 255, 255]),
            (int32(Float16, &[2], &[0x3c00, 0xc000]), vec![0x00, 0x3c, 0x00, 0xc0]),
            (int32(Int8, &[2], &[-1, 3]), vec![255, 3]),
            (int32(Int4, &[3], &[0x21, 0x03]), vec![0x21, 0x03]),
            (int32(Uint2, &[5], &[0b1110_0100, 0b01]), vec![0b1110_0100, 0b01]),
            (int32(Float6e2m3, &[5], &[1, 2, 3, 4, 63]), vec![0x81, 0x30, 0x10, 0x3f]),
        ] {
            check(&tensor).unwrap();
            let raw = raw_bytes(&tensor).unwrap().unwrap();
            assert_eq!(raw, bytes, "{tensor:?}");
            assert_eq!(raw.len() as u64, byte_count(&tensor).unwrap());
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for (dims, negative) in [(&[2, -1][..], true), (&[i64::MAX, 2], false), (&[1 << 40, 1 << 40], false)] {
            match check(&tensor(DataType::Float, dims)).unwrap_err() {
                TensorProblem::NegativeDim { axis: 1, dim: -1 } => assert!(negative),
                TensorProblem::Overflow { .. } => assert!(!negative),
                other => panic!("{other}"),
            }
        }
        // The elements can be counted, their bytes cannot.
        let wide = tensor(DataType::Complex128, &[i64::MAX / 2]);
        assert!(matches!(check(&wide), Err(TensorProblem::Overflow { .. })));
        // Empty, whatever the other dimensions.
        check(&tensor(DataType::Float, &[i64::MAX, i64::MAX, 0])).unwrap();
    }

    #[test]
    fn types_and_fields_must_agree() {
        assert!(matches!(check(&pb::TensorProto::default()), Err(TensorProblem::UnknownType(0))));
        let unknown = pb::TensorProto { data_type: Some(99), ..Default::default() };
        assert!(matches!(check(&unknown), Err(TensorProblem::UnknownType(99))));
        let wrong_field = pb::TensorProto { float_data: vec![1.0], ..tensor(DataType::Int64, &[1]) };
        assert!(matches!(
            check(&wrong_field),
            Err(TensorProblem::Entries { field: "int64_data", expected: 1, found: 0, .. })
        ));
        let raw_text = pb::TensorProto { raw_data: Some("a".into()), ..tensor(DataType::String, &[1]) };
        assert!(matches!(check(&raw_text), Err(TensorProblem::RawStrings)));
        check(&pb::TensorProto { string_data: vec!["a".into()], ..tensor(DataType::String, &[1]) }).unwrap();
    }

    #[test]
    fn floats_are_read_at_any_address() {
        let mut bytes = vec![0_u8];
        bytes.extend([1.5_f32, -2.25, f32::NAN].iter().flat_map(|value| value.to_le_bytes()));
        for start in 0..4 {
            let mut shifted = vec![0; start];
            shifted.extend(&bytes[1..]);
            let read = floats(&shifted[start..]);
            assert_eq!(read[..2], [1.5, -2.25]);
            assert!(read[2].is_nan());
        }
    }
}
