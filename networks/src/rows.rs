//! A factor of its own for every row of W, applied in leaf order.

use std::ops::Range;

use rayon::prelude::*;

use crate::permute::Blocks;
use crate::{LegLayout, Real};

/// Pieces of a tensor whose sums are kept apart, at most.
const PIECES: usize = 32;

/// Which row of W the elements of a tensor in leaf order belong to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// Rows of W; what a layout covers beyond them has the factor 1.
    outputs: usize,
    /// Row of the first element of each block.
    origins: Vec<u32>,
    /// Rows that the elements of a block add to that, one for each run.
    offsets: Vec<u32>,
    /// Neighbouring elements of the same row.
    run: usize,
}

impl Rows {
    pub fn new(layout: &LegLayout, outputs: usize) -> Rows {
        let blocks = Blocks::new(layout);
        let (offsets, run) = blocks.rows();
        let count = layout.outputs() * layout.inputs() / (offsets.len() * run);
        let origins = (0..count).map(|block| blocks.origin(block).0 as u32).collect();
        Rows { outputs, origins, offsets, run }
    }

    fn block(&self) -> usize {
        self.offsets.len() * self.run
    }

    /// Elements of the sums that [`Rows::sums`] needs room for.
    pub fn partials(&self) -> usize {
        self.outputs * self.pieces()
    }

    fn pieces(&self) -> usize {
        self.origins.len().min(PIECES)
    }

    /// The blocks of a piece.
    fn piece(&self, piece: usize) -> Range<usize> {
        let (count, pieces) = (self.origins.len(), self.pieces());
        piece * count / pieces..(piece + 1) * count / pieces
    }

    /// out ← factor · scales\[row\] · t.
    pub fn scale<T: Real>(&self, scales: &[T], factor: T, t: &[T], out: &mut [T]) {
        let size = self.block();
        out.par_chunks_mut(size).zip(t.par_chunks(size)).zip(&self.origins).for_each(|((out, t), &origin)| {
            let runs = out.chunks_exact_mut(self.run).zip(t.chunks_exact(self.run)).zip(&self.offsets);
            for ((out, t), &offset) in runs {
                let scale = factor * scales.get((origin + offset) as usize).copied().unwrap_or(T::ONE);
                out.iter_mut().zip(t).for_each(|(out, &t)| *out = scale * t);
            }
        });
    }

    /// sums\[row\] ← factor · Σ a·b over the elements of the row; `partials` is [`Rows::partials`] long.
    pub fn sums<T: Real>(&self, factor: T, a: &[T], b: &[T], partials: &mut [T], sums: &mut [T]) {
        let size = self.block();
        partials.par_chunks_exact_mut(self.outputs).enumerate().for_each(|(piece, partial)| {
            partial.fill(T::ZERO);
            for block in self.piece(piece) {
                let (a, b) = (&a[block * size..][..size], &b[block * size..][..size]);
                let runs = a.chunks_exact(self.run).zip(b.chunks_exact(self.run)).zip(&self.offsets);
                for ((a, b), &offset) in runs {
                    if let Some(sum) = partial.get_mut((self.origins[block] + offset) as usize) {
                        *sum += a.iter().zip(b).map(|(&a, &b)| a * b).sum();
                    }
                }
            }
        });
        sums.fill(T::ZERO);
        for partial in partials.chunks_exact(self.outputs) {
            sums.iter_mut().zip(partial).for_each(|(sum, &x)| *sum += x);
        }
        sums.iter_mut().for_each(|sum| *sum *= factor);
    }
}
