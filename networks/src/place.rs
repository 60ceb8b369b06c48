//! A tensor in main memory of which tasks own chunks.

use std::marker::PhantomData;

use crate::Real;
use crate::kernels::{LANES, transpose};
use crate::plan::{Chunk, Pass};

/// A tensor (outer, `rows`, inner) in main memory that several tasks read and write, each its own chunks.
///
/// A chunk in cache is a row of panels (rows, [`LANES`]), each with [`LANES`] columns of one matrix, the last one of a matrix
/// padded with zeros: what is multiplied together lies close together.
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

/// A contiguous piece of a chunk in main memory.
struct Run {
    start: usize,
    len: usize,
    /// Row, and first element of the matrix in cache; without a row the piece holds whole columns.
    row: Option<usize>,
    local: usize,
}

/// The pieces of `chunk` of a tensor (outer, `rows`, `inner`).
fn runs(rows: usize, inner: usize, chunk: Chunk) -> impl Iterator<Item = Run> {
    let matrix = rows * chunk.columns.next_multiple_of(LANES);
    let along = inner > 1;
    let (groups, pieces) = if along { (chunk.groups, rows) } else { (1, 1) };
    (0..groups * pieces).map(move |index| {
        let (group, row) = (index / pieces, index % pieces);
        if along {
            let start = ((chunk.group + group) * rows + row) * inner + chunk.start;
            Run { start, len: chunk.columns, row: Some(row), local: group * matrix }
        } else {
            Run { start: chunk.start * rows, len: chunk.columns * rows, row: None, local: 0 }
        }
    })
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
        for run in runs(self.rows, self.inner, chunk) {
            assert!(run.start + run.len <= self.len, "chunks lie within their tensor");
            // Safety: the run is within the tensor, and nobody writes to the chunk.
            let from = unsafe { std::slice::from_raw_parts(self.first.add(run.start), run.len) };
            load_run(&run, from, self.rows, chunk, local);
        }
    }

    /// Writes a chunk back, without its padding.
    ///
    /// # Safety
    /// No other task may access the chunk during the call.
    #[allow(unsafe_code)]
    pub unsafe fn store(&self, chunk: Chunk, local: &[T]) {
        let rows = self.rows;
        for run in runs(rows, self.inner, chunk) {
            assert!(run.start + run.len <= self.len, "chunks lie within their tensor");
            // Safety: the run is within the tensor, and nobody else accesses the chunk.
            let to = unsafe { std::slice::from_raw_parts_mut(self.first.add(run.start), run.len) };
            let panels = local[run.local..].chunks_exact(rows * LANES);
            match run.row {
                Some(row) => to.chunks_mut(LANES).zip(panels).for_each(|(to, panel)| copy(&panel[row * LANES..][..LANES], to)),
                None => {
                    for (to, panel) in to.chunks_mut(LANES * rows).zip(panels) {
                        transpose((panel, LANES), rows, to.len() / rows, (to, rows));
                    }
                }
            }
        }
    }
}

/// As [`Place::load`], from a tensor that nobody writes to.
pub(crate) fn load<T: Real>(pass: &Pass, step: usize, tensor: &[T], chunk: Chunk, local: &mut [T]) {
    let rows = pass.sizes[step];
    for run in runs(rows, pass.inner, chunk) {
        load_run(&run, &tensor[run.start..][..run.len], rows, chunk, local);
    }
}

/// As `copy_from_slice` for the part of a panel's row that `to` has, without a call for whole rows.
#[inline(always)]
fn copy<T: Real>(from: &[T], to: &mut [T]) {
    match (from.as_array::<LANES>(), to.as_mut_array::<LANES>()) {
        (Some(from), Some(to)) => *to = *from,
        _ => to.copy_from_slice(&from[..to.len()]),
    }
}

#[inline(always)]
fn load_run<T: Real>(run: &Run, from: &[T], rows: usize, chunk: Chunk, local: &mut [T]) {
    let width = chunk.columns.next_multiple_of(LANES);
    let mut panels = local[run.local..][..rows * width].chunks_exact_mut(rows * LANES);
    match run.row {
        Some(row) => {
            let (whole, rest) = from.as_chunks::<LANES>();
            for (from, panel) in whole.iter().zip(&mut panels) {
                panel[row * LANES..][..LANES].copy_from_slice(from);
            }
            if let (false, Some(panel)) = (rest.is_empty(), panels.next()) {
                let (to, padding) = panel[row * LANES..][..LANES].split_at_mut(rest.len());
                to.copy_from_slice(rest);
                padding.fill(T::ZERO);
            }
        }
        None => {
            for (from, panel) in from.chunks(LANES * rows).zip(panels) {
                let columns = from.len() / rows;
                transpose((from, rows), columns, rows, (panel, LANES));
                if columns < LANES {
                    panel.chunks_exact_mut(LANES).for_each(|row| row[columns..].fill(T::ZERO));
                }
            }
        }
    }
}
