//! Which axis of an array counts the samples, and whether it fits the model's input at all.

use super::InputSpec;
use super::element::{Stored, element_name};
use crate::text;

/// Where the samples are in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Along this axis, which is the one of the model's input.
    Axis(usize),
    /// Along the first axis, which the model's input has not: the model takes one sample at a time.
    Each,
    /// One array for all samples.
    Shared,
}

impl InputSpec {
    /// Where the samples are in an array of this shape and type.
    ///
    /// The error says why the array does not fit.
    pub(super) fn place(&self, shape: &[usize], stored: Stored) -> Result<Place, String> {
        let name = text::name(&self.name);
        if !stored.fits(self.element) {
            return Err(format!(
                "array '{name}' has type {}, the model wants {}: save it with that type",
                stored.name(),
                element_name(self.element)
            ));
        }
        let fits = |shape: &[usize], apart: Option<usize>| {
            shape.len() == self.shape.len()
                && shape
                    .iter()
                    .zip(&self.shape)
                    .enumerate()
                    .all(|(axis, (&have, want))| Some(axis) == apart || want.is_none_or(|want| want == have))
        };
        let place = match self.sample_axis {
            Some(axis) if fits(shape, Some(axis)) => Some(Place::Axis(axis)),
            // A model with a fixed batch can be given batches.
            Some(axis) => {
                let whole = self.shape.get(axis).is_some_and(Option::is_some);
                (whole && !shape.is_empty() && fits(&shape[1..], None)).then_some(Place::Each)
            }
            None if fits(shape, None) => Some(Place::Shared),
            None => (!shape.is_empty() && fits(&shape[1..], None)).then_some(Place::Each),
        };
        place.ok_or_else(|| self.misfit(shape))
    }

    /// Refuses an array that is no whole number of the batches that the model takes.
    pub(super) fn whole_batches(&self, shape: &[usize], place: Place) -> Result<(), String> {
        match place {
            Place::Axis(axis) => match self.shape.get(axis) {
                Some(Some(batch)) if *batch == 0 || !shape[axis].is_multiple_of(*batch) => Err(format!(
                    "array '{}' has {} samples, the model takes exactly {batch} at a time: give a multiple of {batch}",
                    text::name(&self.name),
                    shape[axis]
                )),
                _ => Ok(()),
            },
            Place::Each | Place::Shared => Ok(()),
        }
    }

    fn misfit(&self, shape: &[usize]) -> String {
        let name = text::name(&self.name);
        let own = self.shape_text();
        match self.sample_axis {
            Some(0) => {
                format!(
                    "array '{name}' has shape {shape:?}, the model wants {own} with the samples along the first dimension"
                )
            }
            Some(axis) => format!(
                "array '{name}' has shape {shape:?}, the model wants {own} with the samples along dimension {}",
                axis + 1
            ),
            None => {
                let dims: Vec<String> = std::iter::once("samples".to_owned())
                    .chain(self.shape.iter().map(|d| d.map_or("?".into(), |d| d.to_string())))
                    .collect();
                format!(
                    "array '{name}' has shape {shape:?}, but input '{name}' has no sample axis: give one array {own} for all \
                     samples or [{}]",
                    dims.join(", ")
                )
            }
        }
    }
}
