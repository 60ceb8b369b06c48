//! A matrix of float16 numbers.

use half::f16;

/// A rows×columns matrix of float16 numbers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Halves {
    rows: usize,
    columns: usize,
    values: Vec<f16>,
}

impl Halves {
    /// The numbers nearest to `matrix`, row-major with `columns` columns; `None` where one is beyond float16, or there are no whole rows.
    #[must_use]
    pub fn nearest(matrix: &[f32], columns: usize) -> Option<Self> {
        if columns == 0 || !matrix.len().is_multiple_of(columns) {
            return None;
        }
        let finite = |&x: &f32| Some(f16::from_f32(x)).filter(|half| half.is_finite());
        let values: Option<Vec<f16>> = matrix.iter().map(finite).collect();
        Some(Halves { rows: matrix.len() / columns, columns, values: values? })
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The values, row by row.
    #[must_use]
    pub fn values(&self) -> &[f16] {
        &self.values
    }

    /// The values in float32, row by row.
    #[must_use]
    pub fn matrix(&self) -> Vec<f32> {
        self.values.iter().map(|x| x.to_f32()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_float16_are_none() {
        let halves = Halves::nearest(&[1.0, -0.5, 65504.0, 0.1], 2);
        assert_eq!(halves.as_ref().map(Halves::rows), Some(2));
        assert_eq!(halves.map(|h| h.matrix()), Some(vec![1.0, -0.5, 65504.0, f16::from_f32(0.1).to_f32()]));
        assert_eq!(Halves::nearest(&[1.0, 7e4], 2), None);
        assert_eq!((Halves::nearest(&[1.0, 2.0, 3.0], 2), Halves::nearest(&[], 0)), (None, None));
    }
}
