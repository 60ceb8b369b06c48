//! What is known of a value before anything is run.

use adntn_onnx::pb::tensor_proto::{DataLocation, DataType};
use adntn_onnx::{Model, pb};

/// Constants with more elements are shapes and settings of nothing.
const MOST_KNOWN: usize = 64;

/// Extents, as far as they are known, and the numbers of a small constant.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    /// `None` where not even the rank is known; an extent that is open is `None` too.
    pub(super) dims: Option<Vec<Option<u64>>>,
    pub(super) ints: Option<Vec<i64>>,
    pub(super) floats: Option<Vec<f32>>,
}

impl Value {
    pub(super) fn of_shape(dims: Vec<Option<u64>>) -> Value {
        Value { dims: Some(dims), ..Value::default() }
    }

    /// A known vector of integers.
    pub(super) fn of_ints(ints: Vec<i64>) -> Value {
        Value { dims: Some(vec![Some(ints.len() as u64)]), ints: Some(ints), floats: None }
    }

    pub(super) fn of_input(input: &pb::ValueInfoProto) -> Value {
        use pb::tensor_shape_proto::dimension::Value as Extent;
        use pb::type_proto::Value as Kind;
        let Some(Kind::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Value::default();
        };
        let Some(shape) = &tensor.shape else { return Value::default() };
        let extent = |dim: &pb::tensor_shape_proto::Dimension| match dim.value {
            Some(Extent::DimValue(extent)) => u64::try_from(extent).ok(),
            _ => None,
        };
        Value::of_shape(shape.dim.iter().map(extent).collect())
    }

    pub(super) fn of_tensor(model: &Model, tensor: &pb::TensorProto) -> Value {
        let dims: Vec<Option<u64>> = tensor.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect();
        let mut value = Value::of_shape(dims);
        let external = tensor.data_location() == DataLocation::External;
        if external || value.least_elements().is_none_or(|count| count > MOST_KNOWN as u64) {
            return value;
        }
        if tensor.data_type() == DataType::Float as i32 {
            value.floats = model.floats(tensor).ok().map(std::borrow::Cow::into_owned);
        } else if tensor.data_type() == DataType::Int64 as i32 {
            value.ints = model
                .raw(tensor)
                .ok()
                .map(|raw| raw.as_chunks().0.iter().map(|&number| i64::from_le_bytes(number)).collect());
        } else if tensor.data_type() == DataType::Int32 as i32 {
            let number = |&bytes: &[u8; 4]| i64::from(i32::from_le_bytes(bytes));
            value.ints = model.raw(tensor).ok().map(|raw| raw.as_chunks().0.iter().map(number).collect());
        }
        value
    }

    /// The number of elements, open extents counted as one; `None` where it passes 64 bits.
    pub(super) fn least_elements(&self) -> Option<u64> {
        let dims = self.dims.as_deref().unwrap_or_default();
        if dims.contains(&Some(0)) {
            return Some(0);
        }
        dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(dim.unwrap_or(1)))
    }

    pub(super) fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(Vec::len)
    }
}

/// The shape that two operands are stretched to; `None` where a rank is unknown.
pub(super) fn broadcast(values: &[&Value]) -> Value {
    let mut all: Vec<&Vec<Option<u64>>> = Vec::new();
    for value in values {
        match &value.dims {
            Some(dims) => all.push(dims),
            None => return Value::default(),
        }
    }
    let rank = all.iter().map(|dims| dims.len()).max().unwrap_or(0);
    let extent = |axis: usize| {
        let own = all.iter().filter_map(|dims| dims.get((dims.len() + axis).checked_sub(rank)?).copied());
        let mut wide = Some(1);
        for dim in own {
            wide = match (wide, dim) {
                (Some(1), other) | (other, Some(1)) => other,
                (Some(one), _) | (_, Some(one)) => Some(one),
                (None, None) => None,
            };
        }
        wide
    };
    Value::of_shape((0..rank).map(extent).collect())
}
