//! Moving a matrix between row-major order and leaf order, in blocks that stay in cache.

use rayon::prelude::*;

use crate::{LegLayout, Side};

/// Elements of a block: enough to amortise its set-up, few enough for its table to stay in the first-level cache.
const BLOCK: usize = 4096;

/// Bands of rows that are filled independently, at least, where the layout allows it.
const BANDS: usize = 16;

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

    /// Rows that the elements of a block add to that of its first one, given once for each run of elements in the same row;
    /// and the length of the runs.
    pub(crate) fn rows(&self) -> (Vec<u32>, usize) {
        let legs = &self.layout.legs()[self.leading..];
        let run = legs.iter().rev().take_while(|leg| leg.side == Side::Input).map(|leg| leg.dim).product();
        (self.offsets.iter().step_by(run).map(|&(row, _)| row).collect(), run)
    }

    /// Row and column of the first element of a block.
    pub(crate) fn origin(&self, mut block: usize) -> (usize, usize) {
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

    /// Elements of the row-major matrix that a block's elements come from, relative to that of its first one; and whether
    /// a block at a given origin lies wholly within the matrix.
    fn flat(&self, outputs: usize, inputs: usize) -> (Vec<usize>, impl Fn(usize, usize) -> bool) {
        let flat = self.offsets.iter().map(|&(r, c)| r as usize * inputs + c as usize).collect();
        let rows = self.offsets.iter().map(|&(r, _)| r as usize).max().unwrap_or(0);
        let columns = self.offsets.iter().map(|&(_, c)| c as usize).max().unwrap_or(0);
        (flat, move |row, column| row + rows < outputs && column + columns < inputs)
    }

    pub(crate) fn gather<T: Copy + Default + Send + Sync>(
        &self,
        w: &[T],
        outputs: usize,
        inputs: usize,
        out: &mut Vec<T>,
    ) {
        out.resize(self.layout.outputs() * self.layout.inputs(), T::default());
        let (flat, inside) = self.flat(outputs, inputs);
        out.par_chunks_mut(self.offsets.len()).enumerate().for_each(|(block, out)| {
            let (row, column) = self.origin(block);
            if inside(row, column) {
                let w = &w[row * inputs + column..];
                out.iter_mut().zip(&flat).for_each(|(out, &at)| *out = w[at]);
                return;
            }
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
        let (flat, inside) = self.flat(outputs, inputs);
        let band = self.band();
        let mut blocks = vec![Vec::new(); outputs.div_ceil(band)];
        for block in 0..leaf.len() / self.offsets.len() {
            let (row, column) = self.origin(block);
            if let Some(blocks) = blocks.get_mut(row / band) {
                blocks.push((block, row, column));
            }
        }
        out.par_chunks_mut(band * inputs).zip(blocks).enumerate().for_each(|(index, (out, blocks))| {
            let first = index * band;
            for (block, row, column) in blocks {
                let leaf = &leaf[block * self.offsets.len()..][..self.offsets.len()];
                if inside(row, column) {
                    let out = &mut out[(row - first) * inputs + column..];
                    leaf.iter().zip(&flat).for_each(|(&x, &at)| out[at] = x);
                    continue;
                }
                for (&x, &(r, c)) in leaf.iter().zip(&self.offsets) {
                    let (r, c) = (row + r as usize, column + c as usize);
                    if r < outputs && c < inputs {
                        out[(r - first) * inputs + c] = x;
                    }
                }
            }
        });
    }

    /// Rows of a band: every block lies within one, so that bands can be filled independently.
    fn band(&self) -> usize {
        let slow = |place| {
            let legs = self.layout.legs()[..self.leading].iter();
            legs.zip(&self.strides).find(|(leg, _)| leg.side == Side::Output && leg.place == place)
        };
        let mut band = self.layout.outputs();
        let mut place = 0;
        while let Some((_, &stride)) = slow(place).filter(|_| self.layout.outputs() / band < BANDS) {
            band = stride;
            place += 1;
        }
        band
    }
}
