//! A matrix in digits.

use half::f16;
use rayon::prelude::*;

use crate::digits::Digits;
use crate::matrix::transposed;

/// A rows×columns matrix whose values are digits times the scales of their blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    digits: Digits,
    rows: usize,
    columns: usize,
    is_transposed: bool,
    /// One digit a byte, in the order of storage, padded to whole blocks.
    codes: Vec<u8>,
    scales: Vec<f16>,
}

impl Quantised {
    pub(crate) fn new(grid: Grid, codes: Vec<u8>) -> Self {
        let Grid { digits, rows, columns, is_transposed, scales } = grid;
        Quantised { digits, rows, columns, is_transposed, codes, scales }
    }

    /// The digits.
    #[must_use]
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// Extents as stored: rows and columns, or the other way round for a matrix that is stored transposed.
    #[must_use]
    pub fn stored_shape(&self) -> [usize; 2] {
        if self.is_transposed { [self.columns, self.rows] } else { [self.rows, self.columns] }
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The scales of the blocks, in the order of storage.
    #[must_use]
    pub fn scales(&self) -> &[f16] {
        &self.scales
    }

    /// The digits in bytes, in the order of storage: a whole number of blocks.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        let base = self.digits.levels();
        let byte = |digits: &[u8]| digits.iter().rev().fold(0, |byte, &d| byte * base + usize::from(d)) as u8;
        self.codes.chunks(self.digits.per_byte()).map(byte).collect()
    }

    /// The matrix that has these digits [packed](Quantised::packed), these scales and this [stored
    /// shape](Quantised::stored_shape); `None` where they do not belong together.
    #[must_use]
    pub fn unpacked(
        digits: Digits,
        stored_shape: [usize; 2],
        is_transposed: bool,
        packed: &[u8],
        scales: Vec<f16>,
    ) -> Option<Quantised> {
        let [rows, columns] = if is_transposed { [stored_shape[1], stored_shape[0]] } else { stored_shape };
        let values = rows.checked_mul(columns)?;
        let blocks = values.div_ceil(digits.block());
        let base = digits.levels();
        let largest = base.pow(u32::try_from(digits.per_byte()).ok()?);
        let whole = packed.len() == blocks.checked_mul(digits.block() / digits.per_byte())? && scales.len() == blocks;
        if !whole || packed.iter().any(|&byte| usize::from(byte) >= largest) {
            return None;
        }
        let mut codes = Vec::with_capacity(packed.len() * digits.per_byte());
        for &byte in packed {
            let mut rest = usize::from(byte);
            for _ in 0..digits.per_byte() {
                codes.push((rest % base) as u8);
                rest /= base;
            }
        }
        Some(Quantised { digits, rows, columns, is_transposed, codes, scales })
    }

    /// Whether the model stores it transposed.
    #[must_use]
    pub fn is_transposed(&self) -> bool {
        self.is_transposed
    }

    /// Bytes of digits and scales.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.digits.bytes(self.len())
    }

    /// The values as runtimes compute them, in the order of storage and without padding.
    #[must_use]
    pub fn stored_values(&self) -> Vec<f32> {
        let (zero, block) = (self.digits.zero(), self.digits.block());
        let blocks = self.codes.chunks(block).zip(&self.scales);
        let values = blocks.flat_map(|(codes, scale)| {
            let scale = scale.to_f32();
            codes.iter().map(move |&code| (f32::from(code) - zero) * scale)
        });
        values.take(self.len()).collect()
    }

    /// Other values, in the order of storage, in the same digits. Their scales follow from them; those of this matrix are kept
    /// where no other is better, so that its own values stay what they are.
    ///
    /// # Panics
    /// When they are not as many.
    #[must_use]
    pub fn rounded(&self, values: &[f32]) -> Quantised {
        assert_eq!(values.len(), self.len());
        let mut other = self.clone();
        let block = self.digits.block();
        let blocks = other.codes.par_chunks_mut(block).zip(&mut other.scales).zip(values.par_chunks(block));
        blocks.for_each(|((codes, scale), values)| {
            *scale = self.refitted(values, *scale);
            for (code, value) in codes.iter_mut().zip(values) {
                *code = nearest(self.digits, scale.to_f32(), *value).0;
            }
        });
        other
    }

    /// Writes what [`Quantised::rounded`] makes of `values` into `out`.
    pub fn round_into(&self, values: &[f32], out: &mut Vec<f32>) {
        let (start, block) = (out.len(), self.digits.block());
        out.resize(start + values.len(), 0.0);
        let blocks = out[start..].par_chunks_mut(block).zip(values.par_chunks(block)).zip(&self.scales);
        blocks.for_each(|((out, values), scale)| {
            let scale = self.refitted(values, *scale).to_f32();
            for (out, value) in out.iter_mut().zip(values) {
                *out = nearest(self.digits, scale, *value).1;
            }
        });
    }

    /// The best scale for a block that has the scale `own`.
    fn refitted(&self, values: &[f32], own: f16) -> f16 {
        best_scale(self.digits, &FEW_SHARES, Some(own), values, None).unwrap_or(own)
    }

    /// The values, row by row.
    #[must_use]
    pub fn matrix(&self) -> Vec<f32> {
        let values = self.stored_values();
        if self.is_transposed { transposed(&values, self.columns, self.rows) } else { values }
    }
}

/// The values that digits may take in a matrix: scales chosen, digits not yet.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    pub(crate) digits: Digits,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) is_transposed: bool,
    pub(crate) scales: Vec<f16>,
}

impl Grid {
    /// Position in storage of the value at `row`, `column`.
    pub(crate) fn place(&self, row: usize, column: usize) -> usize {
        if self.is_transposed { column * self.rows + row } else { row * self.columns + column }
    }

    /// The scales of the blocks as float32 numbers.
    pub(crate) fn wide_scales(&self) -> Vec<f32> {
        self.scales.iter().map(|scale| scale.to_f32()).collect()
    }
}

/// Scales tried, as shares of the one that reaches the largest value.
pub(crate) const SHARES: [f32; 10] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55];
/// The same where scales are chosen over and over.
const FEW_SHARES: [f32; 4] = [1.0, 0.85, 0.7, 0.55];
/// Sums that are kept side by side, so that they vectorise.
const LANES: usize = 8;

/// The scale with the least sum of squared errors of `values`, weighted by `weights` if there are any, of `own` and `shares` of the
/// one that reaches them all; `None` where it is beyond float16.
pub(crate) fn best_scale(
    digits: Digits,
    shares: &[f32],
    own: Option<f16>,
    values: &[f32],
    weights: Option<&[f32]>,
) -> Option<f16> {
    let reach = values.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let largest = reach / (digits.levels() as f32 - 1.0 - digits.zero());
    // Finer levels lose more to what is cut off than they gain.
    let shares = if digits == Digits::Bytes { &shares[..1] } else { shares };
    let mut best = (f32::INFINITY, f16::ZERO);
    for scale in own.into_iter().chain(shares.iter().map(|share| f16::from_f32(largest * share))) {
        let error = match weights {
            Some(weights) => sum(values, weights, |v, weight| weight * error(digits, scale.to_f32(), v)),
            None => sum(values, values, |v, _| error(digits, scale.to_f32(), v)),
        };
        if error < best.0 {
            best = (error, scale);
        }
        if error == 0.0 {
            break;
        }
    }
    (best.1.is_finite() && (best.1 > f16::ZERO || reach == 0.0)).then_some(best.1)
}

/// The sum of `of` over pairs.
#[inline(always)]
pub(crate) fn sum(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let ((chunks, rest), (others, other_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for (chunk, other) in chunks.iter().zip(others) {
        lanes.iter_mut().zip(chunk.iter().zip(other)).for_each(|(lane, (&a, &b))| *lane += of(a, b));
    }
    lanes.iter().sum::<f32>() + rest.iter().zip(other_rest).map(|(&a, &b)| of(a, b)).sum::<f32>()
}

#[inline(always)]
fn error(digits: Digits, scale: f32, value: f32) -> f32 {
    (nearest(digits, scale, value).1 - value).powi(2)
}

/// The digit nearest to `value` and what it stands for; the even one of two that are as near.
#[inline(always)]
pub(crate) fn nearest(digits: Digits, scale: f32, value: f32) -> (u8, f32) {
    // Adding it rounds to a whole number what is small beside it, many at once.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    let (zero, last) = (digits.zero(), (digits.levels() - 1) as f32);
    let digit = if scale > 0.0 { (value / scale + zero).clamp(0.0, last) + WHOLE - WHOLE } else { zero.floor() };
    (digit as u8, (digit - zero) * scale)
}
