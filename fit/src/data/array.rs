//! An array as it was read: its bytes in memory or in a mapped file.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use memmap2::Mmap;

use super::element::Stored;
use crate::error::Error;

/// Little-endian elements in C order.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) stored: Stored,
    pub(super) store: Store,
}

/// Bytes in memory or in a file.
#[derive(Debug)]
pub(super) enum Store {
    Memory(Vec<u8>),
    Mapped { map: Mmap, offset: usize },
}

impl Store {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Store::Memory(bytes) => bytes,
            Store::Mapped { map, offset } => map.get(*offset..).unwrap_or_default(),
        }
    }
}

/// Bytes on their way into a [`Store`].
pub(super) enum Sink {
    Memory(Vec<u8>),
    File(File),
}

/// Most bytes reserved before they come: what a file says of its size may be a lie.
const RESERVE: u64 = 64 << 20;

impl Sink {
    /// For `size` bytes, in memory as long as `memory` has room for them, which is taken off it.
    pub(super) fn new(size: u64, memory: &mut u64) -> Result<Self, Error> {
        match memory.checked_sub(size) {
            Some(left) => {
                *memory = left;
                Ok(Sink::Memory(Vec::with_capacity(usize::try_from(size.min(RESERVE)).unwrap_or(0))))
            }
            None => tempfile::tempfile().map(Sink::File).map_err(Error::Cache),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Sink::Memory(kept) => {
                kept.extend_from_slice(bytes);
                Ok(())
            }
            Sink::File(file) => file.write_all(bytes).map_err(Error::Cache),
        }
    }

    pub(super) fn finish(self) -> Result<Store, Error> {
        Ok(match self {
            Sink::Memory(bytes) => Store::Memory(bytes),
            Sink::File(file) => Store::Mapped { map: crate::mapped::map(&file).map_err(Error::Cache)?, offset: 0 },
        })
    }
}

/// Bytes of an array of this shape; `None` beyond what a machine can address.
pub(super) fn size(shape: &[usize], stored: Stored) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
    // Extents beside a zero count too: products of them are formed elsewhere.
    let others = shape.iter().filter(|&&d| d > 0).try_fold(1usize, |a, &b| a.checked_mul(b))?;
    others.checked_mul(stored.size()).filter(|&n| isize::try_from(n).is_ok())?;
    elements.checked_mul(stored.size())
}

/// Opens a file to be read. Pipes and devices are refused: they may never end, or never begin.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let fail = |problem: String| Error::Data { path: path.to_path_buf(), problem };
    let kind = std::fs::metadata(path).map_err(|e| fail(format!("cannot be opened ({e})")))?;
    if !kind.is_file() {
        return Err(fail("is not a regular file: give the samples and labels as files".into()));
    }
    File::open(path).map_err(|e| fail(format!("cannot be opened ({e})")))
}

impl Array {
    /// The elements as class labels, one for each of `samples`; what is wrong with them otherwise.
    pub(super) fn labels(&self, samples: usize) -> Result<Vec<i64>, String> {
        let count = match self.shape.as_slice() {
            [n] | [n, 1] => *n,
            _ => return Err(format!("has shape {:?}; labels {LABELS_ARE}", self.shape)),
        };
        if count != samples {
            return Err(format!("has {count} entries for {samples} samples"));
        }
        let bytes = self.store.bytes();
        (0..count)
            .map(|k| {
                if self.stored.is_float() {
                    let value = self.stored.float(bytes, k);
                    // Floating point numbers below 2⁵³ that are whole are labels that lost nothing.
                    if value.fract() == 0.0 && value.abs() < 9e15 {
                        Ok(value as i64)
                    } else {
                        Err(format!("holds {value}; labels {LABELS_ARE}"))
                    }
                } else {
                    let value = self.stored.whole(bytes, k);
                    i64::try_from(value).map_err(|_| format!("holds {value}, which is no class"))
                }
            })
            .collect()
    }
}

/// What labels must be.
const LABELS_ARE: &str = "must be one-dimensional with an integer type such as int64";
