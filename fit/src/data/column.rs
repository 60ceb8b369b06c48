//! The samples of one model input, in memory or in a mapped file.

use memmap2::Mmap;
use rayon::prelude::*;
use tract_onnx::prelude::{DatumType, Tensor};

use super::images::Pixels;
use crate::error::Error;

/// Samples of one input; rows are read where they lie.
#[derive(Debug)]
pub(super) struct Column {
    /// Extents, samples first.
    shape: Vec<usize>,
    element: DatumType,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(Tensor),
    /// Little-endian elements in stored order, from `offset` on.
    Mapped {
        map: Mmap,
        offset: usize,
    },
    Pixels(Pixels),
}

impl Column {
    pub(super) fn new(tensor: Tensor) -> Self {
        Column { shape: tensor.shape().to_vec(), element: tensor.datum_type(), store: Store::Memory(tensor) }
    }

    /// An array of a file that starts at `offset`; `None` when the file ends before the array does.
    pub(super) fn mapped(map: Mmap, offset: usize, shape: Vec<usize>, element: DatumType) -> Option<Self> {
        let elements = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
        let end = elements.checked_mul(element.size_of())?.checked_add(offset)?;
        (end <= map.len()).then_some(Column { shape, element, store: Store::Mapped { map, offset } })
    }

    pub(super) fn pixels(pixels: Pixels, shape: Vec<usize>, element: DatumType) -> Self {
        Column { shape, element, store: Store::Pixels(pixels) }
    }

    pub(super) fn is_pixels(&self) -> bool {
        matches!(self.store, Store::Pixels(_))
    }

    /// Extents, samples first.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The samples themselves, where they are in memory.
    pub(super) fn tensor_mut(&mut self) -> Option<&mut Tensor> {
        match &mut self.store {
            Store::Memory(tensor) => Some(tensor),
            Store::Mapped { .. } | Store::Pixels(_) => None,
        }
    }

    pub(super) fn samples(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    fn all_bytes(&self) -> &[u8] {
        match &self.store {
            Store::Memory(tensor) => tensor.as_bytes(),
            Store::Mapped { map, offset } => &map[*offset..],
            Store::Pixels(pixels) => pixels.bytes(),
        }
    }

    /// The bytes of a sample as they are stored, for comparisons.
    pub(super) fn bytes(&self, sample: usize) -> &[u8] {
        let width = match &self.store {
            Store::Pixels(pixels) => pixels.size(),
            _ => self.shape.iter().skip(1).product::<usize>() * self.element.size_of(),
        };
        &self.all_bytes()[sample * width..(sample + 1) * width]
    }

    /// The samples at `rows`, in that order.
    pub(super) fn gather(&self, rows: impl ExactSizeIterator<Item = usize>) -> Result<Tensor, Error> {
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        let fail = |e: tract_onnx::prelude::TractError| Error::Shape(e.to_string());
        let mut tensor = Tensor::zero_dt(self.element, &shape).map_err(fail)?;
        let size = tensor.as_bytes().len() / rows.len().max(1);
        if size == 0 {
            return Ok(tensor);
        }
        for (to, row) in tensor.as_bytes_mut().chunks_exact_mut(size).zip(rows) {
            match &self.store {
                Store::Pixels(pixels) => pixels.write(row, self.element, to),
                _ => to.copy_from_slice(self.bytes(row)),
            }
        }
        Ok(tensor)
    }

    /// Whether every number is finite; integers are.
    pub(super) fn is_finite(&self) -> bool {
        // An exponent of ones is what NaN and infinity have in common.
        let single = |b: &[u8; 4]| u32::from_le_bytes(*b) & 0x7f80_0000 != 0x7f80_0000;
        let double = |b: &[u8; 8]| u64::from_le_bytes(*b) & 0x7ff0_0000_0000_0000 != 0x7ff0_0000_0000_0000;
        let finite = |sample: usize| match self.element {
            DatumType::F32 => self.bytes(sample).as_chunks().0.iter().all(single),
            DatumType::F64 => self.bytes(sample).as_chunks().0.iter().all(double),
            _ => true,
        };
        matches!(self.store, Store::Pixels(_)) || (0..self.samples()).into_par_iter().all(finite)
    }
}
