//! Chunks on their way into cache.
//!
//! Memory is slow to answer. So the next chunk is loaded row by row while the present one is computed, and rows are asked for a
//! little before their turn.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::kernels::{LANES, transpose};
use crate::plan::{Chunk, Pass};

/// Steps in which the first chunk of a block is loaded: rows are asked for a few ahead.
pub(crate) const STEPS: usize = 16;

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
    pub unsafe fn new(
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
