//! A tensor in main memory of which tasks own chunks.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::kernels::{LANES, transpose};
use crate::loading::Loading;
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

// SAFETY: access is by unsafe methods only, whose callers keep the tasks' chunks apart; elements are Send.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Place<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Place<'_, T> {}

/// Tensors of at least so many elements outlast no cache anyway and are written past them, if their rows lie close enough
/// together for the processor to do so in one go.
const STREAMED: usize = 1 << 22;
const STREAMED_INNER: usize = 64;

impl<'a, T: Real> Place<'a, T> {
    /// The tensor a pass reads (`step` 0) or writes (`step` = number of steps).
    pub fn new(pass: &Pass, step: usize, tensor: &'a mut [T]) -> Self {
        let rows = pass.sizes[step];
        assert!(tensor.len() == pass.outer * rows * pass.inner, "the tensor must have the shape of the pass");
        Place { first: tensor.as_mut_ptr(), len: tensor.len(), rows, inner: pass.inner, tensor: PhantomData }
    }

    /// As [`Loading::of`], of a tensor that other tasks write to.
    ///
    /// # Safety
    /// Nobody may write to the chunk until it is loaded.
    #[allow(unsafe_code)]
    pub unsafe fn loading<'l>(&'l self, chunk: Option<Chunk>, local: &'l mut [T], steps: usize) -> Loading<'l, T> {
        // SAFETY: the tensor is borrowed for as long as this; the rest by the caller.
        unsafe { Loading::new((self.first, self.len), (self.rows, self.inner), chunk, local, steps) }
    }

    /// The matrices `index`…`index` + `count` of a chunk, which lie one behind the other.
    ///
    /// # Safety
    /// No other task may access the chunk as long as the matrices are borrowed, nor this one by other means.
    ///
    /// # Panics
    /// When they are not within the tensor.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub unsafe fn matrices(&self, chunk: Chunk, index: usize, count: usize) -> &mut [T] {
        let matrix = self.rows * self.inner;
        let (start, len) = ((chunk.group + index) * matrix, count * matrix);
        assert!(index + count <= chunk.groups && start + len <= self.len, "chunks lie within their tensor");
        // SAFETY: within the tensor; the rest by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) }
    }

    /// Writes what [`Place::matrices`] would give past the caches, where such a large tensor would outlast none; false, and
    /// nothing done, where that is not so or the processor cannot. [`crate::kernels::finish`] must be called at the end.
    ///
    /// # Safety
    /// As there, during the call.
    ///
    /// # Panics
    /// When they are not within the tensor.
    #[allow(unsafe_code)]
    pub unsafe fn stream(&self, chunk: Chunk, index: usize, values: &[T]) -> bool {
        let count = values.len() / (self.rows * self.inner);
        // SAFETY: by the caller.
        let to = unsafe { self.matrices(chunk, index, count) };
        let aligned = to.as_ptr().addr().is_multiple_of(64);
        // SAFETY: as many lines lie one behind the other at `to`, aligned; the rest by the caller.
        self.is_streamed() && aligned && unsafe { T::stream(values.as_chunks::<LANES>().0, to.as_mut_ptr(), LANES) }
    }

    /// Whether the tensor outlasts no cache anyway.
    pub fn is_streamed(&self) -> bool {
        self.len >= STREAMED
    }

    /// Writes the panels `index`, `index` + 1, … of a chunk back, without their padding. A few at a time, between other work,
    /// since memory takes its time. What nobody has read just before may be `streamed`; then [`crate::kernels::finish`] must be
    /// called at the end.
    ///
    /// # Safety
    /// No other task may access the chunk during the call.
    #[allow(unsafe_code)]
    pub unsafe fn store(&self, chunk: Chunk, index: usize, panels: &[T], streamed: bool) {
        let rows = self.rows;
        assert!(panels.len().is_multiple_of(rows * LANES), "a panel has all rows");
        if self.inner == 1 {
            for (k, panel) in panels.chunks_exact(rows * LANES).enumerate() {
                let first = (index + k) * LANES;
                let (start, columns) = ((chunk.start + first) * rows, LANES.min(chunk.columns - first));
                assert!(start + columns * rows <= self.len, "chunks lie within their tensor");
                // SAFETY: the columns are within the tensor, and nobody else accesses the chunk.
                let to = unsafe { std::slice::from_raw_parts_mut(self.first.add(start), columns * rows) };
                transpose((panel, LANES), rows, columns, (to, rows));
            }
            return;
        }
        let per_matrix = chunk.columns.div_ceil(LANES);
        let (mut index, mut rest) = (index, panels);
        while !rest.is_empty() {
            // Those of one matrix.
            let (group, first) = (chunk.group + index / per_matrix, index % per_matrix * LANES);
            let count = (per_matrix - index % per_matrix).min(rest.len() / (rows * LANES));
            let (own, others) = rest.split_at(count * rows * LANES);
            let columns = (count * LANES).min(chunk.columns - first);
            let start = group * rows * self.inner + chunk.start + first;
            assert!(start + (rows - 1) * self.inner + columns <= self.len, "chunks lie within their tensor");
            let to = self.first.wrapping_add(start);
            // SAFETY: the rows' columns are within the tensor, and nobody else accesses the chunk; where they are streamed,
            // `finish` is called at the end of the pass.
            unsafe {
                if !(streamed && self.stream_lines(own, columns, to)) {
                    Arch::new().dispatch(Lines::new(own, rows, columns, to, self.inner));
                }
            }
            (index, rest) = (index + count, others);
        }
    }

    /// Writes panels to the rows at `to`, past the caches; false where that does not pay or cannot be.
    ///
    /// # Safety
    /// The rows' `columns` must be within the tensor, and nobody else may access them.
    #[allow(unsafe_code)]
    unsafe fn stream_lines(&self, panels: &[T], columns: usize, to: *mut T) -> bool {
        let aligned = columns.is_multiple_of(LANES) && self.inner.is_multiple_of(LANES) && to.addr().is_multiple_of(64);
        if !(aligned && self.is_streamed() && self.inner <= STREAMED_INNER) {
            return false;
        }
        let mut panels = panels.chunks_exact(self.rows * LANES).enumerate();
        // SAFETY: all lines are within those rows, aligned.
        panels.all(|(k, panel)| unsafe {
            T::stream(panel.as_chunks::<LANES>().0, to.wrapping_add(k * LANES), self.inner)
        })
    }
}

/// Panels (rows, [`LANES`]) that are written side by side to rows of a tensor.
struct Lines<'a, T> {
    panels: &'a [T],
    rows: usize,
    columns: usize,
    first: *mut T,
    step: usize,
}

impl<'a, T: Real> Lines<'a, T> {
    /// # Safety
    /// `first`, `first` + `step`, … must be writable for `columns` elements each, as many times as the panels have `rows`, and
    /// not be accessed otherwise.
    ///
    /// # Panics
    /// When the panels are not those of so many columns.
    #[allow(unsafe_code)]
    unsafe fn new(panels: &'a [T], rows: usize, columns: usize, first: *mut T, step: usize) -> Self {
        assert!(panels.len() == rows * columns.next_multiple_of(LANES), "panels hold all columns");
        Lines { panels, rows, columns, first, step }
    }
}

impl<T: Real> WithSimd for Lines<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Lines { panels, rows, columns, mut first, step } = self;
        let lines = panels.as_chunks::<LANES>().0;
        let (whole, rest) = (columns / LANES, columns % LANES);
        for row in 0..rows {
            // SAFETY: line `row` of each of the `columns` / LANES panels, and of one more where columns are left, is within
            // `lines`, whose length `new` has checked; the places are by the contract of `new`.
            #[allow(unsafe_code)]
            unsafe {
                let (mut from, mut to) = (lines.as_ptr().add(row), first.cast::<[T; LANES]>());
                for _ in 0..whole {
                    *to = *from;
                    (from, to) = (from.wrapping_add(rows), to.wrapping_add(1));
                }
                if rest > 0 {
                    std::slice::from_raw_parts_mut(to.cast::<T>(), rest).copy_from_slice(&(&*from)[..rest]);
                }
            }
            // Wrapping: the last step leads past the rows and is never used.
            first = first.wrapping_add(step);
        }
    }
}
