//! Storage of numbers as digits of few levels.

use std::fmt;

/// Numbers as digits: a value is `(digit − zero) · scale`, with one scale for every block of [`Digits::block`] values.
///
/// Digits share bytes: `per_byte` of them, the first the least significant one, in base `levels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digits {
    /// 3 levels, five digits in a byte.
    Three,
    /// 4 levels, four digits in a byte.
    Four,
    /// 6 levels, three digits in a byte.
    Six,
    /// 16 levels, two digits in a byte.
    Sixteen,
    /// 256 levels, a digit in a byte.
    Bytes,
}

impl Digits {
    /// All of them, the coarsest first.
    pub const ALL: [Digits; 5] = [Digits::Three, Digits::Four, Digits::Six, Digits::Sixteen, Digits::Bytes];

    /// Different values of a digit.
    #[must_use]
    pub fn levels(self) -> usize {
        match self {
            Digits::Three => 3,
            Digits::Four => 4,
            Digits::Six => 6,
            Digits::Sixteen => 16,
            Digits::Bytes => 256,
        }
    }

    /// Digits in a byte.
    #[must_use]
    pub fn per_byte(self) -> usize {
        match self {
            Digits::Three => 5,
            Digits::Four => 4,
            Digits::Six => 3,
            Digits::Sixteen => 2,
            Digits::Bytes => 1,
        }
    }

    /// Values that share a scale: a multiple of [`Digits::per_byte`].
    #[must_use]
    pub fn block(self) -> usize {
        match self {
            Digits::Three => 45,
            // Their error is small enough for a scale to serve twice as many.
            Digits::Bytes => 96,
            _ => 48,
        }
    }

    /// The digit, or the point between two digits, that stands for zero.
    #[must_use]
    pub fn zero(self) -> f32 {
        match self {
            // Zeros of pruned weights stay zeros.
            Digits::Bytes => 128.0,
            _ => (self.levels() - 1) as f32 / 2.0,
        }
    }

    /// Bytes of `values` numbers and their scales.
    #[must_use]
    pub fn bytes(self, values: usize) -> u64 {
        let blocks = values.div_ceil(self.block());
        (blocks * (self.block() / self.per_byte() + 2)) as u64
    }

    /// Values as the format stores them: padded to whole blocks.
    #[must_use]
    pub fn padded(self, values: usize) -> usize {
        values.next_multiple_of(self.block())
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Digits::Three => "3 levels",
            Digits::Four => "2 bits",
            Digits::Six => "6 levels",
            Digits::Sixteen => "4 bits",
            Digits::Bytes => "8 bits",
        })
    }
}
