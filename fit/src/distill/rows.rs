//! Values of many samples, one row each: in memory, or in a file that the system maps when memory is short.

use std::io::{BufWriter, Seek as _, Write as _};

use bytemuck::cast_slice;
use half::f16;
use memmap2::Mmap;

use crate::error::Error;

/// Where rows go that have no room in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of memory left for rows.
    pub bytes: u64,
    /// Whether rows in a file are stored as float16: half the size, a relative rounding error of 0.05 %.
    pub half: bool,
}

/// The values of one tensor for every sample, float32.
#[derive(Debug)]
pub struct Rows {
    /// Extents of one sample's value.
    shape: Vec<usize>,
    width: usize,
    samples: usize,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Memory(Vec<f32>),
    Single(Mmap),
    Half(Mmap),
}

impl Rows {
    /// Extents of one sample's value.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values of one sample.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Whether the rows are in a file.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        !matches!(self.data, Data::Memory(_))
    }

    /// The rows of the given samples, one after the other.
    ///
    /// # Panics
    /// When an index is past the end.
    #[must_use]
    pub fn gather(&self, indices: &[usize]) -> Vec<f32> {
        let width = self.width;
        let mut out = Vec::with_capacity(indices.len() * width);
        for &index in indices {
            let range = index * width..(index + 1) * width;
            match &self.data {
                Data::Memory(values) => out.extend_from_slice(&values[range]),
                Data::Single(map) => out.extend_from_slice(&cast_slice::<u8, f32>(map)[range]),
                Data::Half(map) => {
                    out.extend(cast_slice::<u8, u16>(map)[range].iter().map(|&b| f16::from_bits(b).to_f32()));
                }
            }
        }
        out
    }

    /// Mean variance of a value over the samples: how much of the rows is not their mean.
    #[must_use]
    pub fn variance(&self) -> f32 {
        let mut mean = vec![0.0f64; self.width];
        let mut square = 0.0f64;
        for sample in 0..self.samples {
            for (m, v) in mean.iter_mut().zip(self.gather(&[sample])) {
                *m += f64::from(v);
                square += f64::from(v) * f64::from(v);
            }
        }
        let n = self.samples.max(1) as f64;
        let of_mean: f64 = mean.iter().map(|m| (m / n).powi(2)).sum();
        ((square / n - of_mean).max(0.0) / self.width.max(1) as f64) as f32
    }
}

/// Takes rows as they come.
#[derive(Debug)]
pub struct RowsWriter {
    shape: Vec<usize>,
    width: usize,
    samples: usize,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Memory(Vec<f32>),
    File { file: BufWriter<std::fs::File>, half: bool },
}

impl RowsWriter {
    /// Room for `samples` rows of the given shape: within `budget`, which shrinks by what they take, else in a temporary
    /// file that goes with the rows.
    ///
    /// # Errors
    /// [`Error::Cache`] when the file cannot be made.
    pub fn new(shape: &[usize], samples: usize, budget: &mut Budget) -> Result<Self, Error> {
        let width: usize = shape.iter().product();
        let bytes = 4 * width as u64 * samples as u64;
        let sink = if bytes <= budget.bytes {
            budget.bytes -= bytes;
            Sink::Memory(Vec::with_capacity(width * samples))
        } else {
            let file = tempfile::tempfile().map_err(Error::Cache)?;
            Sink::File { file: BufWriter::with_capacity(1 << 20, file), half: budget.half }
        };
        Ok(RowsWriter { shape: shape.to_vec(), width, samples: 0, sink })
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// [`Error::Cache`] when the file cannot be written, [`Error::Shape`] for a row that is not whole,
    /// [`Error::NotFinite`].
    pub fn push(&mut self, rows: &[f32]) -> Result<(), Error> {
        if !rows.len().is_multiple_of(self.width.max(1)) {
            return Err(Error::Shape(format!("{} values are no whole rows of {:?}", rows.len(), self.shape)));
        }
        if rows.iter().any(|v| !v.is_finite()) {
            return Err(Error::NotFinite { what: "an inner value or output of the model".into() });
        }
        self.samples += rows.len() / self.width.max(1);
        match &mut self.sink {
            Sink::Memory(values) => values.extend_from_slice(rows),
            Sink::File { file, half: false } => file.write_all(cast_slice(rows)).map_err(Error::Cache)?,
            Sink::File { file, half: true } => {
                // The largest finite float16 stands for everything beyond it.
                let most = f16::MAX.to_f32();
                let bits: Vec<u16> = rows.iter().map(|&v| f16::from_f32(v.clamp(-most, most)).to_bits()).collect();
                file.write_all(cast_slice(&bits)).map_err(Error::Cache)?;
            }
        }
        Ok(())
    }

    /// The rows, ready to be read.
    ///
    /// # Errors
    /// [`Error::Cache`] when the file cannot be mapped.
    pub fn finish(self) -> Result<Rows, Error> {
        let data = match self.sink {
            Sink::Memory(values) => Data::Memory(values),
            Sink::File { file, half } => {
                let mut file = file.into_inner().map_err(|e| Error::Cache(e.into_error()))?;
                file.rewind().map_err(Error::Cache)?;
                let map = crate::mapped::map(&file).map_err(Error::Cache)?;
                if half { Data::Half(map) } else { Data::Single(map) }
            }
        };
        Ok(Rows { shape: self.shape, width: self.width, samples: self.samples, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: u64, half: bool) -> Rows {
        let mut budget = Budget { bytes, half };
        let mut writer = RowsWriter::new(&[2, 2], 3, &mut budget).unwrap();
        writer.push(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        writer.push(&[-1.0, -2.5, 1e9, 0.0]).unwrap();
        assert!(matches!(writer.push(&[1.0]), Err(Error::Shape(_))));
        assert!(matches!(writer.push(&[1.0, 2.0, 3.0, f32::NAN]), Err(Error::NotFinite { .. })));
        writer.finish().unwrap()
    }

    #[test]
    fn rows_come_back_wherever_they_are_kept() {
        for (bytes, half) in [(48, false), (47, false), (0, true)] {
            let rows = rows(bytes, half);
            assert_eq!((rows.samples(), rows.shape(), rows.is_mapped()), (3, &[2, 2][..], bytes < 48));
            let largest = if half { 65504.0 } else { 1e9 };
            assert_eq!(rows.gather(&[2, 0]), [-1.0, -2.5, largest, 0.0, 1.0, 2.0, 3.0, 4.0]);
        }
    }

    #[test]
    fn variance_leaves_the_mean_out() {
        let mut writer = RowsWriter::new(&[1], 2, &mut Budget { bytes: 8, half: false }).unwrap();
        writer.push(&[10.0, 14.0]).unwrap();
        assert_eq!(writer.finish().unwrap().variance(), 4.0);
    }
}
