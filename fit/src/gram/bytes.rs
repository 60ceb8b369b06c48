//! Statistics as bytes, exactly, so that they can be kept: numbers are little-endian.

use super::{Gram, Moments};

/// Which form the moments have.
const ROWS: u64 = 0;
const DENSE: u64 = 1;

impl Gram {
    /// All of it as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (form, moments) = match &self.moments {
            Moments::Rows(values) => (ROWS, values),
            Moments::Dense(values) => (DENSE, values),
        };
        let mut bytes = Vec::with_capacity(32 + 4 * (self.mean.len() + 1 + moments.len()));
        for number in [form, self.features as u64, self.rows as u64, moments.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for value in self.mean.iter().chain([&self.ridge]).chain(moments) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// What [`to_bytes`](Gram::to_bytes) gave; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Gram> {
        let (head, rest) = bytes.split_at_checked(32)?;
        let numbers = head.as_chunks::<8>().0.iter().map(|b| usize::try_from(u64::from_le_bytes(*b)));
        let [form, features, rows, count] = numbers.collect::<Result<Vec<_>, _>>().ok()?.try_into().ok()?;
        let (values, []) = rest.as_chunks::<4>() else { return None };
        let fits = match form as u64 {
            ROWS => features > 0 && count % features == 0,
            DENSE => features.checked_mul(features) == Some(count),
            _ => false,
        };
        if !fits || features.checked_add(1)?.checked_add(count)? != values.len() {
            return None;
        }
        let mut values = values.iter().map(|b| f32::from_le_bytes(*b));
        let mean = values.by_ref().take(features).collect();
        let ridge = values.next()?;
        let moments = values.collect();
        let moments = if form as u64 == ROWS { Moments::Rows(moments) } else { Moments::Dense(moments) };
        Some(Gram { features, rows, mean, ridge, moments })
    }
}
