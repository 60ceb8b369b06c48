//! The samples of one model input, in memory or in a mapped file.

use rayon::prelude::*;
use tract_onnx::prelude::{DatumType, Tensor};

use super::InputSpec;
use super::array::Array;
use super::element::{Loss, Stored};
use super::images::Pixels;
use super::place::Place;
use crate::error::Error;

/// Samples of one input; they are read where they lie, and converted to the model's type as they are read.
#[derive(Debug)]
pub(super) struct Column {
    /// Extents of the array.
    shape: Vec<usize>,
    place: Place,
    /// The model's element type.
    element: DatumType,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Tensor(Tensor),
    Array(Array),
    Pixels(Pixels),
}

impl Column {
    /// Samples in the model's own type.
    pub(super) fn placed(tensor: Tensor, place: Place) -> Self {
        Column { shape: tensor.shape().to_vec(), place, element: tensor.datum_type(), store: Store::Tensor(tensor) }
    }

    /// An array for the input `spec`.
    ///
    /// The error says why the array does not fit.
    pub(super) fn of(spec: &InputSpec, array: Array) -> Result<Self, String> {
        let place = spec.place(&array.shape, array.stored)?;
        spec.whole_batches(&array.shape, place)?;
        let needed = super::array::size(&array.shape, array.stored);
        if needed.is_none_or(|n| n > array.store.bytes().len()) {
            return Err(format!("array '{}' ends too early", crate::text::name(&spec.name)));
        }
        Ok(Column { shape: array.shape.clone(), place, element: spec.element, store: Store::Array(array) })
    }

    pub(super) fn pixels(pixels: Pixels, shape: Vec<usize>, element: DatumType) -> Self {
        Column { shape, place: Place::Axis(0), element, store: Store::Pixels(pixels) }
    }

    pub(super) fn is_pixels(&self) -> bool {
        matches!(self.store, Store::Pixels(_))
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Extents that the model gets for `samples` samples.
    pub(super) fn model_shape(&self, samples: usize) -> Vec<usize> {
        let mut shape = self.shape.clone();
        match self.place {
            Place::Axis(axis) => shape[axis] = samples,
            Place::Each => drop(shape.remove(0)),
            Place::Shared => {}
        }
        shape
    }

    /// The samples themselves, where they are in memory as the model takes them.
    pub(super) fn tensor_mut(&mut self) -> Option<&mut Tensor> {
        match &mut self.store {
            Store::Tensor(tensor) => Some(tensor),
            Store::Array(_) | Store::Pixels(_) => None,
        }
    }

    /// How many samples there are; `None` for an array that serves all.
    pub(super) fn samples(&self) -> Option<usize> {
        Some(self.shape[self.axis()?])
    }

    fn axis(&self) -> Option<usize> {
        match self.place {
            Place::Axis(axis) => Some(axis),
            Place::Each => Some(0),
            Place::Shared => None,
        }
    }

    fn all_bytes(&self) -> &[u8] {
        match &self.store {
            Store::Tensor(tensor) => tensor.as_bytes(),
            Store::Array(array) => array.store.bytes(),
            Store::Pixels(pixels) => pixels.bytes(),
        }
    }

    fn stored(&self) -> Stored {
        match &self.store {
            Store::Array(array) => array.stored,
            Store::Tensor(_) | Store::Pixels(_) => Stored::Known(self.element),
        }
    }

    /// (blocks before the sample axis, bytes of a sample in each of them).
    fn geometry(&self) -> (usize, usize) {
        if let Store::Pixels(pixels) = &self.store {
            return (1, pixels.size());
        }
        let axis = self.axis();
        let before = axis.map_or(1, |axis| self.shape[..axis].iter().product());
        let after: usize = self.shape[axis.map_or(0, |axis| axis + 1)..].iter().product();
        (before, after * self.stored().size())
    }

    /// The bytes of a sample as they are stored, piece by piece; those of an array for all samples belong to each.
    pub(super) fn pieces(&self, sample: usize) -> impl Iterator<Item = &[u8]> {
        let (blocks, width) = self.geometry();
        let (samples, sample) = self.samples().map_or((1, 0), |n| (n, sample));
        let bytes = self.all_bytes();
        (0..blocks).map(move |block| {
            let at = (block * samples + sample) * width;
            &bytes[at..at + width]
        })
    }

    /// The samples at `rows`, in that order, along the axis that has them in the array.
    pub(super) fn gather(&self, rows: impl ExactSizeIterator<Item = usize> + Clone) -> Result<Tensor, Error> {
        let mut shape = self.shape.clone();
        if let Some(axis) = self.axis() {
            shape[axis] = rows.len();
        }
        let fail = |e: tract_onnx::prelude::TractError| Error::Shape(e.to_string());
        let mut tensor = Tensor::zero_dt(self.element, &shape).map_err(fail)?;
        let stored = self.stored();
        let (blocks, width) = self.geometry();
        let bytes = self.all_bytes();
        // Bytes of a sample's piece in the tensor.
        let size = match &self.store {
            Store::Pixels(pixels) => pixels.size() * self.element.size_of(),
            _ => width / stored.size().max(1) * self.element.size_of(),
        };
        if size == 0 {
            return Ok(tensor);
        }
        let Some(samples) = self.samples() else {
            stored.convert(&bytes[..width], self.element, tensor.as_bytes_mut());
            return Ok(tensor);
        };
        let mut slots = tensor.as_bytes_mut().chunks_exact_mut(size);
        for block in 0..blocks {
            for (to, row) in slots.by_ref().zip(rows.clone()).take(rows.len()) {
                match &self.store {
                    Store::Pixels(pixels) => pixels.write(row, self.element, to),
                    _ => {
                        let at = (block * samples + row) * width;
                        stored.convert(&bytes[at..at + width], self.element, to);
                    }
                }
            }
        }
        Ok(tensor)
    }

    /// These samples alone, to be changed.
    pub(super) fn copied(&self, rows: impl ExactSizeIterator<Item = usize> + Clone) -> Result<Self, Error> {
        Ok(Self::placed(self.gather(rows)?, self.place))
    }

    /// What the model's type cannot hold; NaN and infinity are refused too.
    pub(super) fn loss(&self) -> Option<Loss> {
        let Store::Array(array) = &self.store else { return None };
        let size = super::array::size(&self.shape, array.stored)?;
        let bytes = array.store.bytes().get(..size)?;
        // Whole elements in every piece.
        bytes.par_chunks(1 << 20).find_map_first(|piece| array.stored.loss(piece, self.element))
    }

    /// Least and largest number of a column of whole numbers.
    pub(super) fn range(&self) -> Option<(i128, i128)> {
        let Store::Array(array) = &self.store else { return None };
        if array.stored.is_float() {
            return None;
        }
        let size = super::array::size(&self.shape, array.stored)?;
        let width = array.stored.size().max(1);
        let of = |piece: &[u8]| {
            let numbers = (0..piece.len() / width).map(|k| array.stored.whole(piece, k));
            numbers.fold(None, |range: Option<(i128, i128)>, v| {
                Some(range.map_or((v, v), |(least, most)| (least.min(v), most.max(v))))
            })
        };
        let wider = |a: (i128, i128), b: (i128, i128)| (a.0.min(b.0), a.1.max(b.1));
        array.store.bytes().get(..size)?.par_chunks(1 << 20).filter_map(of).reduce_with(wider)
    }

    /// Takes an array of equal samples for one that serves all, so that they need not be run one at a time.
    pub(super) fn share_equal(&mut self) {
        let (1, width) = self.geometry() else { return };
        if self.place != Place::Each || self.shape[0] == 0 {
            return;
        }
        let bytes = self.all_bytes();
        let first = &bytes[..width];
        if width == 0 || bytes[..width * self.shape[0]].chunks_exact(width).all(|sample| sample == first) {
            self.shape.remove(0);
            self.place = Place::Shared;
        }
    }
}
