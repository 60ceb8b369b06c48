//! Samples made up where none are given.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use tract_onnx::prelude::{DatumType, Tensor};

use super::column::Column;
use super::place::Place;
use super::{Dataset, InputSpec};
use crate::error::Error;

/// What an input is made up of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Standard normal numbers; of float32 alone.
    Normal,
    /// Nothing but ones.
    Ones,
    /// Nothing but zeros.
    Zeros,
    /// 0, 1, 2 … along the last axis.
    Counting,
    /// Whole numbers below this one, at random.
    Below(usize),
}

impl Dataset {
    /// Standard normal samples for models whose inputs are all float32 with known extents; used when no data is given.
    ///
    /// # Errors
    /// [`Error::Shape`] when an input is not float32 or has an open dimension that does not count the samples.
    pub fn synthetic(specs: &[InputSpec], samples: usize, seed: u64) -> Result<Self, Error> {
        Dataset::filled(specs, &vec![Filling::Normal; specs.len()], samples, seed)
    }

    /// Samples made up as `fillings` say, one for each input.
    pub(crate) fn filled(specs: &[InputSpec], fillings: &[Filling], samples: usize, seed: u64) -> Result<Self, Error> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_da7a);
        let mut columns = Vec::new();
        let mut count = samples;
        let alone = specs.iter().all(|spec| spec.sample_axis.is_none());
        for (spec, &filling) in specs.iter().zip(fillings) {
            let cannot =
                |why: &str| Error::Shape(format!("input '{}' {why}, so no inputs can be made up for it", spec.name));
            if filling == Filling::Normal && spec.element != DatumType::F32 {
                return Err(cannot("is not float32"));
            }
            let open = |axis: usize| Some(axis) == spec.sample_axis;
            let extent = |(axis, extent): (usize, &Option<usize>)| if open(axis) { Some(1) } else { *extent };
            let Some(mut shape) = spec.shape.iter().enumerate().map(extent).collect::<Option<Vec<usize>>>() else {
                return Err(cannot("has open dimensions"));
            };
            let place = match spec.sample_axis {
                Some(axis) => {
                    if let Some(batch) = spec.shape[axis] {
                        count = samples.next_multiple_of(batch.max(1));
                    }
                    shape[axis] = count;
                    Place::Axis(axis)
                }
                None if alone => {
                    shape.insert(0, count);
                    Place::Each
                }
                None => Place::Shared,
            };
            let len = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&n| n <= 1 << 28);
            let Some(len) = len else { return Err(cannot("is too large")) };
            let last = shape.last().copied().unwrap_or(1).max(1);
            let number = |at: usize| match filling {
                Filling::Normal => f64::from(crate::random::normal(&mut rng)),
                Filling::Ones => 1.0,
                Filling::Zeros => 0.0,
                Filling::Counting => (at % last) as f64,
                Filling::Below(end) => rng.random_range(0..end.max(1)) as f64,
            };
            let values: Vec<f64> = (0..len).map(number).collect();
            let made = match spec.element {
                DatumType::F32 => Tensor::from_shape(&shape, &values.iter().map(|&x| x as f32).collect::<Vec<_>>()),
                DatumType::I64 => Tensor::from_shape(&shape, &values.iter().map(|&x| x as i64).collect::<Vec<_>>()),
                DatumType::I32 => Tensor::from_shape(&shape, &values.iter().map(|&x| x as i32).collect::<Vec<_>>()),
                DatumType::Bool => Tensor::from_shape(&shape, &values.iter().map(|&x| x != 0.0).collect::<Vec<_>>()),
                _ => return Err(cannot("is of a type for which there are none")),
            };
            let tensor = made.map_err(|e| Error::Shape(e.to_string()))?;
            columns.push(Column::placed(tensor, place));
        }
        if columns.is_empty() {
            return Err(Error::Shape("the model has no inputs".into()));
        }
        Ok(Dataset {
            columns: Arc::new(columns),
            rows: None,
            labels: None,
            classes: [].into(),
            samples: count,
            synthetic: true,
            source: None,
        })
    }
}
