//! The tensor library: burn's CPU backend under its tape.

use std::sync::Arc;

use burn_autodiff::Autodiff;
use burn_backend::tensor::FloatTensor;
use burn_backend::{AllocationProperty, Bytes, DType, Shape, TensorData};
use burn_flex::{Flex, FlexTensor};

use crate::Array;

/// Arithmetic without a tape.
pub(crate) type Plain = Flex;
/// The same with a tape.
pub(crate) type Taped = Autodiff<Flex>;
/// A tensor without a tape.
pub(crate) type PlainTensor = FlexTensor;
/// A tensor that may be on the tape.
pub(crate) type TapedTensor = FloatTensor<Taped>;

pub(crate) fn shape(extents: &[usize]) -> Shape {
    Shape::from(extents.to_vec())
}

/// Moves the values into a tensor.
pub(crate) fn from_array(array: Array) -> PlainTensor {
    let bytes = Bytes::from_elems(array.values);
    FlexTensor::from_data(TensorData::from_bytes(bytes, Shape::from(array.shape), DType::F32))
}

/// A tensor that reads the values where they are; it copies them only if it is written to.
pub(crate) fn from_shared(array: &Arc<Array>) -> PlainTensor {
    struct Owner(Arc<Array>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0.values)
        }
    }
    let bytes = bytes::Bytes::from_owner(Owner(Arc::clone(array)));
    let bytes = Bytes::from_shared(bytes, AllocationProperty::Native);
    FlexTensor::from_data(TensorData::from_bytes(bytes, shape(&array.shape), DType::F32))
}

/// Moves the values out where nobody else has them.
pub(crate) fn into_array(tensor: PlainTensor) -> Array {
    let shape = tensor.layout().shape().to_vec();
    let data = tensor.into_data();
    let values = data.into_bytes().try_into_vec::<f32>();
    let values = values.unwrap_or_else(|bytes| bytemuck::pod_collect_to_vec(&bytes[..]));
    Array { shape, values }
}
