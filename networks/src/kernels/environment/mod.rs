//! The environment of a core: Σ over left and right of input (left, p, right) · d (left, q, right).
//!
//! Small cores: every element of the p×q result is an inner product of rows, summed in a vector of its own (*dots*). Larger
//! ones: one of the two operands is transposed, and each of its columns, as vectors, is multiplied by the numbers of the
//! other operand's column (*outer products*), which needs fewer loads and leaves no vectors to be summed.

mod dots;
mod outer;

use pulp::Arch;

use super::{LANES, is_long, processor_lanes, transpose};
use crate::Real;
use dots::{Dots, Total};
use outer::Outer;

/// Elements of the operands that are multiplied at a time by dots, so that they stay in the first-level cache; processors with
/// long vectors have larger ones.
const BLOCK: usize = 1 << 12;
const LONG_BLOCK: usize = 1 << 14;
/// Lanes of half a tile of outer products.
const HALF: usize = LANES / 2;

/// How the environment of a p×q core is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Dots,
    /// The input is transposed: vectors run along p.
    TransposedInput,
    /// The gradient is transposed: vectors run along q.
    TransposedGradient,
}

/// The environment of one core, in an accumulator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment {
    p: usize,
    q: usize,
    method: Method,
    /// A side of outer products is a whole number of these: a vector, but no less than half a tile.
    half: usize,
}

/// Where an environment is summed up, and memory to work in.
pub(crate) struct Sums<'a, T> {
    /// [`Environment::sums_len`] long.
    pub sums: &'a mut [T],
    /// At least [`Environment::scratch_len`] long.
    pub scratch: &'a mut [T],
}

impl Environment {
    /// For a core (p, q) of numbers `T`.
    pub fn new<T: Real>(p: usize, q: usize) -> Self {
        let half = HALF.max(processor_lanes::<T>());
        // Cycles for 16 columns on a processor of two multiply-adds a cycle, measured: dots reach 65 % of its peak; outer
        // products 92 %, plus 36 cycles for 8 rows to be transposed.
        let work = (p * q) as f64;
        let outer = |side: usize| {
            let padded = side.next_multiple_of(half);
            work / 0.92 * padded as f64 / side as f64 + 4.5 * padded as f64
        };
        let methods =
            [(Method::Dots, work / 0.65), (Method::TransposedInput, outer(p)), (Method::TransposedGradient, outer(q))];
        let best = methods.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        Environment { p, q, method: best.map_or(Method::Dots, |(method, _)| method), half }
    }

    /// The side whose vectors outer products use, and the other one.
    fn sides(self) -> (usize, usize) {
        if self.method == Method::TransposedInput { (self.p, self.q) } else { (self.q, self.p) }
    }

    /// The side whose vectors outer products use, in whole vectors.
    fn padded(self) -> usize {
        self.sides().0.next_multiple_of(self.half)
    }

    /// Elements of the accumulator.
    pub fn sums_len(self) -> usize {
        match self.method {
            Method::Dots => self.p * self.q * LANES,
            _ => self.padded() * self.sides().1,
        }
    }

    /// Elements of working memory for `columns` = left · right.
    pub fn scratch_len(self, columns: usize) -> usize {
        match self.method {
            Method::Dots => 0,
            _ => self.padded() * columns,
        }
    }

    /// Adds to the accumulator.
    ///
    /// # Panics
    /// When sizes do not agree or `right` is no multiple of [`LANES`].
    pub fn add<T: Real>(self, input: &[T], d: &[T], right: usize, to: Sums<'_, T>) {
        let Environment { p, q, method, .. } = self;
        let left = input.len() / (p * right);
        assert!(right.is_multiple_of(LANES), "a local tensor is made of whole vectors");
        assert!(input.len() == left * p * right && d.len() == left * q * right, "sizes of local tensors must agree");
        assert!(to.sums.len() == self.sums_len(), "the accumulator must be that of the core");
        if method == Method::Dots {
            let elements = if is_long::<T>() { LONG_BLOCK } else { BLOCK };
            let block = (elements / ((p + q) * right)).max(1);
            for (input, d) in input.chunks(block * p * right).zip(d.chunks(block * q * right)) {
                Arch::new().dispatch(Dots { input, d, right, p, q, sums: &mut *to.sums });
            }
            return;
        }
        let (side, rows) = self.sides();
        let (turned, other) = if method == Method::TransposedInput { (input, d) } else { (d, input) };
        let scratch = &mut to.scratch[..self.scratch_len(left * right)];
        let mut rest = &mut *scratch;
        for start in (0..side).step_by(LANES) {
            let lanes = LANES.min(self.padded() - start);
            let block = rest.split_off_mut(..lanes * left * right).unwrap_or_default();
            let count = lanes.min(side - start);
            if count < lanes {
                block.fill(T::ZERO);
            }
            for (from, to) in turned.chunks_exact(side * right).zip(block.chunks_exact_mut(lanes * right)) {
                transpose((&from[start * right..], right), count, right, (to, lanes));
            }
        }
        Arch::new().dispatch(Outer { turned: scratch, padded: self.padded(), other, rows, right, sums: to.sums });
    }

    /// out (p, q) ← out + the accumulated sums.
    ///
    /// # Panics
    /// When sizes do not agree.
    pub fn total<T: Real>(self, sums: &[T], out: &mut [T]) {
        let Environment { p, q, method, .. } = self;
        assert!(sums.len() == self.sums_len() && out.len() == p * q, "the accumulator must be that of the core");
        if method == Method::Dots {
            Arch::new().dispatch(Total { sums, out });
            return;
        }
        let (side, rows) = self.sides();
        let (row_step, lane_step) = if method == Method::TransposedInput { (1, q) } else { (q, 1) };
        let mut rest = sums;
        for start in (0..side).step_by(LANES) {
            let lanes = LANES.min(self.padded() - start);
            let (block, others) = rest.split_at(lanes * rows);
            for (row, line) in block.chunks_exact(lanes).enumerate() {
                for (lane, &x) in line.iter().enumerate().take(side - start) {
                    out[row * row_step + (start + lane) * lane_step] += x;
                }
            }
            rest = others;
        }
    }
}
