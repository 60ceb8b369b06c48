//! A tensor in main memory of which tasks own chunks.
//!
//! Memory is slow to answer. So the next chunk is loaded row by row while the present one is computed ([`Loading`]), and rows
//! are asked for a little before their turn.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

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

// SAFETY: access is by unsafe methods only, whose callers keep the tasks' chunks apart; elements are Send.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Place<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Place<'_, T> {}

/// The pieces of a chunk of a tensor (outer, `rows`, `inner`) that are contiguous in main memory: the rows of each matrix, or
/// if inner is 1 groups of [`LANES`] columns.
#[derive(Clone, Copy)]
struct Runs {
    rows: usize,
    inner: usize,
    chunk: Chunk,
}

impl Runs {
    fn count(self) -> usize {
        if self.inner > 1 { self.chunk.groups * self.rows } else { self.chunk.columns.div_ceil(LANES) }
    }

    /// First element and length.
    #[inline(always)]
    fn place(self, index: usize) -> (usize, usize) {
        let Runs { rows, inner, chunk } = self;
        if inner > 1 {
            ((chunk.group * rows + index) * inner + chunk.start, chunk.columns)
        } else {
            let first = index * LANES;
            ((chunk.start + first) * rows, LANES.min(chunk.columns - first) * rows)
        }
    }

    /// Brings the runs `runs` of the tensor `first`…`first` + `len` to their places in cache.
    ///
    /// # Safety
    /// The tensor must be readable, and nobody may write to those runs meanwhile.
    ///
    /// # Panics
    /// When a run is not within the tensor or the chunk not within `local`.
    #[allow(unsafe_code)]
    unsafe fn load<T: Real>(self, runs: Range<usize>, (first, len): (*const T, usize), local: &mut [T]) {
        let Runs { rows, inner, .. } = self;
        let Some(last) = runs.clone().last() else { return };
        let (start, run) = self.place(last);
        assert!(last < self.count() && start + run <= len, "chunks lie within their tensor");
        if inner > 1 {
            // SAFETY: by the caller; runs before the last one lie before it.
            Arch::new().dispatch(unsafe { Rows::new(self, runs, first, local) });
            return;
        }
        for index in runs {
            let (start, run) = self.place(index);
            // SAFETY: by the caller; the run is within the tensor.
            let from = unsafe { std::slice::from_raw_parts(first.add(start), run) };
            let panel = &mut local[index * rows * LANES..][..rows * LANES];
            let columns = run / rows;
            transpose((from, rows), columns, rows, (panel, LANES));
            if columns < LANES {
                panel.chunks_exact_mut(LANES).for_each(|row| row[columns..].fill(T::ZERO));
            }
        }
    }
}

/// Rows of matrices that are copied to panels.
struct Rows<'a, T> {
    runs: Runs,
    range: Range<usize>,
    first: *const T,
    local: &'a mut [T],
}

impl<'a, T: Real> Rows<'a, T> {
    /// # Safety
    /// All runs `range` of the tensor that begins at `first` must be readable, and nobody may write to them meanwhile.
    ///
    /// # Panics
    /// When `local` does not hold the chunk.
    #[allow(unsafe_code)]
    unsafe fn new(runs: Runs, range: Range<usize>, first: *const T, local: &'a mut [T]) -> Self {
        assert!(range.end <= runs.count() && local.len() >= runs.rows * runs.chunk.width(), "a chunk has all its runs");
        Rows { runs, range, first, local }
    }
}

impl<T: Real> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Rows { runs, range, first, local } = self;
        let Runs { rows, inner, chunk } = runs;
        let matrix = rows * chunk.columns.next_multiple_of(LANES);
        let (whole, rest) = (chunk.columns / LANES, chunk.columns % LANES);
        let (mut group, mut row) = (range.start / rows, range.start % rows);
        let mut start = runs.place(range.start).0;
        for _ in range {
            // SAFETY: the run, `chunk.columns` elements from `start` on, is readable by the contract of `new`. Row `row` < `rows`
            // of every panel of matrix `group` < `chunk.groups` lies within `local`, whose length `new` has checked.
            #[allow(unsafe_code)]
            unsafe {
                let mut from = first.add(start).cast::<[T; LANES]>();
                let mut to = local.as_mut_ptr().add(group * matrix + row * LANES).cast::<[T; LANES]>();
                for _ in 0..whole {
                    *to = *from;
                    (from, to) = (from.wrapping_add(1), to.wrapping_add(rows));
                }
                if rest > 0 {
                    let from = std::slice::from_raw_parts(from.cast::<T>(), rest);
                    let mut line = [T::ZERO; LANES];
                    line[..rest].copy_from_slice(from);
                    *to = line;
                }
            }
            start += inner;
            row += 1;
            if row == rows {
                (group, row) = (group + 1, 0);
            }
        }
    }
}

/// A chunk on its way into cache, a few runs at a time.
pub(crate) struct Loading<'a, T> {
    first: *const T,
    len: usize,
    runs: Option<Runs>,
    local: &'a mut [T],
    done: usize,
    asked: usize,
    /// Runs of a step.
    step: usize,
    /// Runs that are asked for before the one being loaded.
    ahead: usize,
    tensor: PhantomData<&'a [T]>,
}

impl<'a, T: Real> Loading<'a, T> {
    /// `chunk` of the tensor `first`…`first` + `len`, to be there after `steps` steps; without a chunk there is nothing to do.
    ///
    /// # Safety
    /// `first` must be readable for `len` elements, and nobody may write to the chunk until it is loaded.
    #[allow(unsafe_code)]
    unsafe fn new(
        (first, len): (*const T, usize),
        (rows, inner): (usize, usize),
        chunk: Option<Chunk>,
        local: &'a mut [T],
        steps: usize,
    ) -> Self {
        let runs = chunk.map(|chunk| Runs { rows, inner, chunk });
        let step = runs.map_or(0, |runs| runs.count().div_ceil(steps));
        let ahead = step.max(ROWS_AHEAD);
        let mut loading = Loading { first, len, runs, local, done: 0, asked: 0, step, ahead, tensor: PhantomData };
        loading.ask();
        loading
    }

    /// What a pass reads or writes after `step` steps, where nobody writes to it.
    pub fn of(
        pass: &Pass,
        step: usize,
        tensor: &'a [T],
        chunk: Option<Chunk>,
        local: &'a mut [T],
        steps: usize,
    ) -> Self {
        // SAFETY: the tensor is borrowed.
        #[allow(unsafe_code)]
        unsafe {
            Loading::new((tensor.as_ptr(), tensor.len()), (pass.sizes[step], pass.inner), chunk, local, steps)
        }
    }

    /// Loads the runs of one step and asks for those of the next.
    pub fn step(&mut self) {
        let Some(runs) = self.runs else { return };
        let end = runs.count().min(self.done + self.step);
        if self.done < end {
            // SAFETY: the tensor is readable, and nobody writes to the chunk, by the contract of `new`.
            #[allow(unsafe_code)]
            unsafe {
                runs.load(self.done..end, (self.first, self.len), self.local);
            }
        }
        self.done += self.step;
        self.ask();
    }

    /// Loads what is left.
    pub fn finish(mut self) {
        while self.runs.is_some_and(|runs| self.done < runs.count()) {
            self.step();
        }
    }

    /// Asks for the runs of the coming steps, to be in the second-level cache soon.
    fn ask(&mut self) {
        let Some(runs) = self.runs else { return };
        let end = runs.count().min(self.done + self.ahead);
        for index in self.asked..end {
            let (start, len) = runs.place(index);
            prefetch(self.first.wrapping_add(start), len);
        }
        self.asked = self.asked.max(end);
    }
}

/// Asks for `len` elements from `first` on. Any address will do.
#[inline(always)]
fn prefetch<T>(first: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len * size_of::<T>()).step_by(64) {
        // SAFETY: the instruction accesses no memory as far as the program is concerned, and never fails.
        #[allow(unsafe_code)]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(first.cast::<i8>().wrapping_add(line));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, len);
}

/// Rows that are asked for ahead, at least: memory's answer takes longer than a step with small cores. No more, since rows are
/// powers of two apart, as a rule, and caches keep few lines at such distances.
const ROWS_AHEAD: usize = 8;
/// Tensors of at least so many elements outlast no cache anyway and are written past them, if their rows lie close enough
/// together for the processor to do so in one go.
const STREAMED: usize = 1 << 22;
const STREAMED_INNER: usize = 64;
/// Steps in which the first chunk of a block is loaded: rows are asked for a few ahead.
pub(crate) const STEPS: usize = 16;

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
