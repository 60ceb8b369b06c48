//! Dense arrays, the form in which numbers enter and leave.

use crate::Error;

/// Dense row-major float32 array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    /// Extents; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements, as many as the product of the extents.
    pub values: Vec<f32>,
}

impl Array {
    /// An array of the given shape.
    ///
    /// # Errors
    /// [`Error::Arguments`] when the number of values is not the product of the extents.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Array, Error> {
        let array = Array { shape, values };
        array.check("the array")?;
        Ok(array)
    }

    /// An array of zeros.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Array {
        Array { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }

    /// Whether shape and number of values agree and the array is not empty; `what` names it in the message.
    pub(crate) fn check(&self, what: &str) -> Result<(), Error> {
        let count = self.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        if count == Some(self.values.len()) && !self.values.is_empty() {
            return Ok(());
        }
        let Array { shape, values } = self;
        Err(Error::Arguments(format!("{what} has shape {shape:?} and {} values", values.len())))
    }
}
