//! A tensor in main memory of which tasks own chunks.

use std::marker::PhantomData;

use crate::Real;
use crate::kernels::{LANES, transpose};
use crate::plan::{Chunk, Pass};

/// A tensor (outer, `rows`, inner) in main memory that several tasks read and write, each its own chunks.
///
/// A chunk in cache has the shape (rows, width): its columns are contiguous, and padded with zeros to whole vectors.
pub(crate) struct Place<'a, T> {
    first: *mut T,
    len: usize,
    rows: usize,
    inner: usize,
    tensor: PhantomData<&'a mut [T]>,
}

// Safety: access is by unsafe methods only, whose callers keep the tasks' chunks apart; elements are Send.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Place<'_, T> {}
// Safety: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Place<'_, T> {}

/// Width of a chunk in cache.
pub(crate) fn width(chunk: Chunk) -> usize {
    chunk.columns.next_multiple_of(LANES)
}

impl<'a, T: Real> Place<'a, T> {
    /// The tensor a pass reads (`step` 0) or writes (`step` = number of steps).
    pub fn new(pass: &Pass, step: usize, tensor: &'a mut [T]) -> Self {
        let rows = pass.sizes[step];
        assert!(tensor.len() == pass.outer * rows * pass.inner, "the tensor must have the shape of the pass");
        Place { first: tensor.as_mut_ptr(), len: tensor.len(), rows, inner: pass.inner, tensor: PhantomData }
    }

    /// Brings a chunk into cache.
    ///
    /// # Safety
    /// No other task may write to the chunk during the call.
    #[allow(unsafe_code)]
    pub unsafe fn load(&self, chunk: Chunk, local: &mut [T]) {
        let rows = self.runs(chunk).map(|(start, len)| {
            // Safety: `runs` stays within the tensor, and nobody writes to the chunk.
            unsafe { std::slice::from_raw_parts(self.first.add(start), len) }
        });
        load_rows(rows, self.rows, self.inner > 1, chunk, local);
    }

    /// Writes a chunk back, without its padding.
    ///
    /// # Safety
    /// No other task may access the chunk during the call.
    #[allow(unsafe_code)]
    pub unsafe fn store(&self, chunk: Chunk, local: &[T]) {
        for (k, (start, len)) in self.runs(chunk).enumerate() {
            // Safety: `runs` stays within the tensor, and nobody else accesses the chunk.
            let to = unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) };
            if self.inner > 1 {
                copy(&local[k * width(chunk)..][..len], to);
            } else {
                transpose((local, width(chunk)), self.rows, chunk.columns, (to, self.rows));
            }
        }
    }

    /// First element and length of the contiguous pieces of a chunk.
    fn runs(&self, chunk: Chunk) -> impl Iterator<Item = (usize, usize)> {
        let (count, first, len, step) = if self.inner > 1 {
            (self.rows, chunk.group * self.rows * self.inner + chunk.start, chunk.columns, self.inner)
        } else {
            (1, chunk.start * self.rows, chunk.columns * self.rows, 0)
        };
        assert!(first + (count - 1) * step + len <= self.len, "chunks lie within their tensor");
        (0..count).map(move |k| (first + k * step, len))
    }
}

/// As [`Place::load`], from a tensor that nobody writes to.
pub(crate) fn load<T: Real>(pass: &Pass, step: usize, tensor: &[T], chunk: Chunk, local: &mut [T]) {
    let rows = pass.sizes[step];
    if pass.inner > 1 {
        let first = chunk.group * rows * pass.inner + chunk.start;
        let runs = (0..rows).map(|k| &tensor[first + k * pass.inner..][..chunk.columns]);
        load_rows(runs, rows, true, chunk, local);
    } else {
        let run = &tensor[chunk.start * rows..][..chunk.columns * rows];
        load_rows(std::iter::once(run), rows, false, chunk, local);
    }
}

/// As `copy_from_slice`, but without a call for each of the short rows of a chunk.
#[inline(always)]
fn copy<T: Real>(from: &[T], to: &mut [T]) {
    let (from, from_rest) = from.as_chunks::<LANES>();
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to_rest.iter_mut().zip(from_rest).for_each(|(to, &from)| *to = from);
}

fn load_rows<'t, T: Real>(
    runs: impl Iterator<Item = &'t [T]>,
    rows: usize,
    along: bool,
    chunk: Chunk,
    local: &mut [T],
) {
    let width = width(chunk);
    for (k, run) in runs.enumerate() {
        if along {
            let (to, padding) = local[k * width..][..width].split_at_mut(chunk.columns);
            copy(run, to);
            padding.fill(T::ZERO);
        } else {
            transpose((run, rows), chunk.columns, rows, (local, width));
            if width > chunk.columns {
                local.chunks_exact_mut(width).take(rows).for_each(|row| row[chunk.columns..].fill(T::ZERO));
            }
        }
    }
}
