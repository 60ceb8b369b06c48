//! Inputs made up from what a model says of them.

use tract_onnx::prelude::DatumType;

use super::Loaded;
use super::axes::Dim;
use crate::data::{Dataset, Filling, InputSpec};
use crate::error::Error;
use crate::text;

/// Extent of open dimensions, such as the length of a text.
const LENGTH: usize = 16;

/// Samples made up, and of what.
#[derive(Debug)]
pub struct MadeUp {
    /// The samples.
    pub data: Dataset,
    /// In words, for each input that is no normal noise, such as `` `ids` of random rows of a table ``.
    pub how: Vec<String>,
}

impl Loaded {
    /// Makes up `samples` samples: normal noise for float32, for integers what tables, names and extents tell of them.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input of which nothing tells what it takes.
    pub fn made_up(&self, samples: usize, seed: u64) -> Result<MadeUp, Error> {
        let fillings: Vec<Filling> = self.inputs.iter().map(|spec| self.filling(spec)).collect();
        // Floating-point inputs with open extents may be images or sound of any size, but not where ids have the same extent.
        let is_open = |index: usize, axis: usize| {
            let spec = &self.inputs[index];
            spec.shape[axis].is_none() && spec.sample_axis != Some(axis)
        };
        let name = |index: usize, axis: usize| self.dims.get(index).and_then(|dims| dims.get(axis));
        let of_ids = |dim: Option<&Dim>| {
            matches!(dim, Some(Dim::Named(_)))
                && (0..self.inputs.len()).filter(|&other| self.inputs[other].element != DatumType::F32).any(|other| {
                    (0..self.inputs[other].shape.len()).any(|axis| is_open(other, axis) && name(other, axis) == dim)
                })
        };
        let mut specs = self.inputs.clone();
        for (index, spec) in specs.iter_mut().enumerate() {
            for axis in 0..spec.shape.len() {
                if is_open(index, axis) && (spec.element != DatumType::F32 || of_ids(name(index, axis))) {
                    spec.shape[axis] = Some(LENGTH);
                }
            }
        }
        let data = Dataset::filled(&specs, &fillings, samples, seed)?;
        let how = specs.iter().zip(&fillings).filter_map(|(spec, filling)| {
            let of = match filling {
                Filling::Normal => return None,
                Filling::Ones => "ones".to_owned(),
                Filling::Zeros => "zeros".to_owned(),
                Filling::Counting => "0, 1, 2 …".to_owned(),
                Filling::Below(rows) => format!("random numbers below {rows}, the rows of a table"),
            };
            Some(format!("`{}` of {of}", text::name(&spec.name)))
        });
        Ok(MadeUp { data, how: how.collect() })
    }

    fn filling(&self, spec: &InputSpec) -> Filling {
        let name = spec.name.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let rows = self.tables.iter().filter(|table| table.input == spec.name).map(|table| table.rows).min();
        match rows {
            Some(rows) => Filling::Below(rows),
            // A mask of numbers beside ids says which of them count; elsewhere it may be anything.
            _ if says(&["mask"]) && (spec.element != DatumType::F32 || !self.tables.is_empty()) => Filling::Ones,
            _ if spec.element == DatumType::F32 => Filling::Normal,
            _ if says(&["token_type", "segment"]) => Filling::Zeros,
            _ if says(&["position"]) => Filling::Counting,
            _ => Filling::Normal,
        }
    }
}
