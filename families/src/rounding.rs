//! Rounding that sees the inputs: digits are chosen so that `tr((W−Q)·H·(W−Q)ᵀ)` is small.
//!
//! With H = Rᵀ·R, R upper triangular, the columns are rounded from the last to the first, each to the grid point nearest to what
//! the columns behind it leave to be made up for: Babai's nearest plane, the same as GPTQ with its columns in the other order
//! (E. Frantar et al., "GPTQ", 2022; J. Chen et al., "The Geometry of LLM Quantization: GPTQ as Babai's Nearest Plane Algorithm",
//! 2025). Scales are fixed before.

use faer::MatRef;
use half::f16;
use rayon::prelude::*;

use crate::digits::Digits;
use crate::matrix::{cholesky, product_of};
use crate::quantised::{Grid, Quantised, SHARES, best_scale, nearest, sum};

/// Columns that are rounded before the error is carried on to all others.
const PANEL: usize = 64;

/// Rounds matrices with `features` columns.
#[derive(Debug, Clone)]
pub(crate) struct Rounding {
    features: usize,
    /// Diagonal of H.
    importance: Vec<f32>,
    /// R with its rows divided by their diagonal elements; without it every value is rounded by itself.
    factor: Option<Vec<f32>>,
}

impl Rounding {
    /// For errors weighed by `moments`, the features×features matrix H; by the identity without it, and by its diagonal where H
    /// is not positive definite.
    pub(crate) fn new(features: usize, moments: Option<&[f32]>) -> Self {
        let Some(h) = moments else { return Rounding { features, importance: vec![1.0; features], factor: None } };
        let importance = (0..features).map(|i| h[i * features + i].max(0.0)).collect();
        let factor = cholesky(h, features).map(|l| {
            let mut r = vec![0.0; features * features];
            r.par_chunks_mut(features.max(1)).enumerate().for_each(|(i, row)| {
                let diagonal = l[i * features + i];
                for (j, x) in row.iter_mut().enumerate().skip(i + 1) {
                    *x = l[j * features + i] / diagonal;
                }
            });
            r
        });
        Rounding { features, importance, factor }
    }

    /// `matrix`, rows×features, in digits; `is_transposed` says that it is stored column by column. `None` where a scale is
    /// beyond float16.
    pub(crate) fn round(&self, matrix: &[f32], digits: Digits, is_transposed: bool) -> Option<Quantised> {
        let columns = self.features;
        let rows = matrix.len() / columns.max(1);
        let mut grid = Grid { digits, rows, columns, is_transposed, scales: Vec::new() };
        grid.scales = self.scales(matrix, &grid)?;
        let digits_by_row = match &self.factor {
            Some(factor) => self.nearest_plane(matrix, &grid, factor),
            None => {
                let (scales, block) = (grid.wide_scales(), digits.block());
                let each = |at: usize, value: &f32| {
                    nearest(digits, scales[grid.place(at / columns, at % columns) / block], *value).0
                };
                matrix.par_iter().enumerate().map(|(at, value)| each(at, value)).collect()
            }
        };
        let padding = grid.digits.zero() as u8;
        let mut codes = vec![padding; digits.padded(matrix.len())];
        for (row, line) in digits_by_row.chunks_exact(columns.max(1)).enumerate() {
            for (column, &digit) in line.iter().enumerate() {
                codes[grid.place(row, column)] = digit;
            }
        }
        Some(Quantised::new(grid, codes))
    }

    /// The scale of every block with the least error of its values one by one, weighed by the diagonal of H.
    fn scales(&self, matrix: &[f32], grid: &Grid) -> Option<Vec<f16>> {
        let (rows, columns) = (grid.rows, grid.columns);
        let block = grid.digits.block();
        let count = matrix.len().div_ceil(block);
        let scale = |at: usize| {
            let places = at * block..((at + 1) * block).min(matrix.len());
            let (mut values, mut weights) = (Vec::with_capacity(block), Vec::with_capacity(block));
            for place in places {
                let (row, column) =
                    if grid.is_transposed { (place % rows, place / rows) } else { (place / columns, place % columns) };
                values.push(matrix[row * columns + column]);
                weights.push(self.importance[column]);
            }
            best_scale(grid.digits, &SHARES, None, &values, Some(&weights))
        };
        (0..count).into_par_iter().map(scale).collect()
    }

    fn nearest_plane(&self, matrix: &[f32], grid: &Grid, factor: &[f32]) -> Vec<u8> {
        let (rows, columns) = (grid.rows, grid.columns);
        let (scales, block) = (grid.wide_scales(), grid.digits.block());
        let mut codes = vec![0_u8; matrix.len()];
        // W − Q of the columns that are rounded, side by side from the last panel on.
        let mut errors = vec![0.0_f32; matrix.len()];
        let starts: Vec<usize> = (0..columns).step_by(PANEL).collect();
        for &start in starts.iter().rev() {
            let end = (start + PANEL).min(columns);
            let width = end - start;
            let behind = MatRef::from_row_major_slice(&errors, rows, columns).get(.., end..);
            let factors = MatRef::from_row_major_slice(factor, columns, columns).get(start..end, end..);
            let carried = product_of(behind, factors.transpose());
            let lines =
                codes.par_chunks_mut(columns).zip(errors.par_chunks_mut(columns)).zip(carried.par_chunks(width));
            lines.enumerate().for_each(|(row, ((codes, errors), carried))| {
                for i in (start..end).rev() {
                    let near = sum(&factor[i * columns + i + 1..i * columns + end], &errors[i + 1..end], |r, e| r * e);
                    let value = matrix[row * columns + i];
                    let scale = scales[grid.place(row, i) / block];
                    let (digit, rounded) = nearest(grid.digits, scale, value + carried[i - start] + near);
                    codes[i] = digit;
                    errors[i] = value - rounded;
                }
            });
        }
        codes
    }
}
