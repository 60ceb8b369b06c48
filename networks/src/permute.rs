//! Moving a matrix between row-major order and leaf order, in blocks that stay in cache.

use rayon::prelude::*;

use crate::{LegLayout, Side};

/// Elements of a block: enough to amortise its set-up, few enough for its table to stay in the first-level cache.
const BLOCK: usize = 4096;

/// A layout split into leading legs (which block) and trailing legs (where in the block).
pub(crate) struct Blocks<'a> {
    layout: &'a LegLayout,
    /// Number of leading legs.
    leading: usize,
    /// Row and column that each element of a block adds to the block's own.
    offsets: Vec<(u32, u32)>,
    /// For each leg the number of rows (or columns) that one step of it means.
    strides: Vec<usize>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(layout: &'a LegLayout) -> Self {
        let legs = layout.legs();
        let strides = legs.iter().map(|leg| {
            let lower = legs.iter().filter(|other| other.side == leg.side && other.place > leg.place);
            lower.map(|other| other.dim).product()
        });
        let strides: Vec<usize> = strides.collect();
        let mut leading = legs.len();
        let mut size = 1;
        while leading > 0 && size * legs[leading - 1].dim <= BLOCK {
            leading -= 1;
            size *= legs[leading].dim;
        }
        let mut offsets = vec![(0u32, 0u32)];
        for (leg, &stride) in legs.iter().zip(&strides).skip(leading) {
            offsets = offsets
                .iter()
                .flat_map(|&(row, column)| {
                    (0..leg.dim).map(move |digit| {
                        let step = (digit * stride) as u32;
                        if leg.side == Side::Output { (row + step, column) } else { (row, column + step) }
                    })
                })
                .collect();
        }
        Blocks { layout, leading, offsets, strides }
    }

    /// Row and column of the first element of a block.
    fn origin(&self, mut block: usize) -> (usize, usize) {
        let (mut row, mut column) = (0, 0);
        for (leg, stride) in self.layout.legs()[..self.leading].iter().zip(&self.strides).rev() {
            let step = (block % leg.dim) * stride;
            block /= leg.dim;
            match leg.side {
                Side::Output => row += step,
                Side::Input => column += step,
            }
        }
        (row, column)
    }

    pub(crate) fn gather<T: Copy + Default + Send + Sync>(
        &self,
        w: &[T],
        outputs: usize,
        inputs: usize,
        out: &mut Vec<T>,
    ) {
        out.resize(self.layout.outputs() * self.layout.inputs(), T::default());
        out.par_chunks_mut(self.offsets.len()).enumerate().for_each(|(block, out)| {
            let (row, column) = self.origin(block);
            for (out, &(r, c)) in out.iter_mut().zip(&self.offsets) {
                let (r, c) = (row + r as usize, column + c as usize);
                *out = if r < outputs && c < inputs { w[r * inputs + c] } else { T::default() };
            }
        });
    }

    pub(crate) fn scatter<T: Copy + Default + Send + Sync>(
        &self,
        leaf: &[T],
        outputs: usize,
        inputs: usize,
        out: &mut Vec<T>,
    ) {
        out.resize(outputs * inputs, T::default());
        for (block, leaf) in leaf.chunks(self.offsets.len()).enumerate() {
            let (row, column) = self.origin(block);
            for (&x, &(r, c)) in leaf.iter().zip(&self.offsets) {
                let (r, c) = (row + r as usize, column + c as usize);
                if r < outputs && c < inputs {
                    out[r * inputs + c] = x;
                }
            }
        }
    }
}
