//! Dense tensors without a tape.

use std::sync::Arc;

use crate::Array;

/// A float32 tensor, contiguous and row-major, with one element at least. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    shape: Vec<usize>,
    /// Of any shape with as many values.
    data: Arc<Array>,
}

impl Plain {
    /// As many values as the shape has elements, which the caller sees to.
    pub(crate) fn new(shape: Vec<usize>, values: Vec<f32>) -> Plain {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Plain { data: Arc::new(Array { shape: Vec::new(), values }), shape }
    }

    /// Moves the values in.
    pub(crate) fn from_array(array: Array) -> Plain {
        Plain::new(array.shape, array.values)
    }

    /// Reads the values where they are; they are copied only if they are written to.
    pub(crate) fn from_shared(array: &Arc<Array>) -> Plain {
        Plain { shape: array.shape.clone(), data: Arc::clone(array) }
    }

    /// Moves the values out where nobody else has them.
    pub(crate) fn into_array(self) -> Array {
        let values = Arc::try_unwrap(self.data).map_or_else(|shared| shared.values.clone(), |array| array.values);
        Array { shape: self.shape, values }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn len(&self) -> usize {
        self.data.values.len()
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.data.values
    }

    /// The values to write to, where nobody else has them.
    pub(crate) fn own_values(&mut self) -> Option<&mut [f32]> {
        Arc::get_mut(&mut self.data).map(|array| &mut array.values[..])
    }

    /// The values to write to, copied where somebody else has them.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut Arc::make_mut(&mut self.data).values
    }

    /// Whether nobody else has the values.
    pub(crate) fn is_own(&self) -> bool {
        Arc::strong_count(&self.data) == 1
    }

    /// Another shape of as many elements.
    pub(crate) fn with_shape(self, shape: &[usize]) -> Plain {
        debug_assert_eq!(shape.iter().product::<usize>(), self.len());
        Plain { shape: shape.to_vec(), data: self.data }
    }
}
