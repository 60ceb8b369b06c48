//! Samples made up where none are given.

use std::sync::Arc;

use rand::SeedableRng as _;
use tract_onnx::prelude::{DatumType, Tensor};

use super::column::Column;
use super::place::Place;
use super::{Dataset, InputSpec};
use crate::error::Error;

impl Dataset {
    /// Standard normal samples for models whose inputs are all float32 with known extents; used when no data is given.
    ///
    /// # Errors
    /// [`Error::Shape`] when an input is not float32 or has an open dimension that does not count the samples.
    pub fn synthetic(specs: &[InputSpec], samples: usize, seed: u64) -> Result<Self, Error> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_da7a);
        let mut columns = Vec::new();
        let mut count = samples;
        let alone = specs.iter().all(|spec| spec.sample_axis.is_none());
        for spec in specs {
            let cannot =
                |why: &str| Error::Shape(format!("input '{}' {why}, so no inputs can be made up for it", spec.name));
            if spec.element != DatumType::F32 {
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
            let values: Vec<f32> = (0..len).map(|_| crate::random::normal(&mut rng)).collect();
            let tensor = Tensor::from_shape(&shape, &values).map_err(|e| Error::Shape(e.to_string()))?;
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
