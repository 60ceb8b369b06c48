//! Statistics as bytes, exactly, so that they can be kept: numbers are little-endian.

use super::{Gram, Moments};

/// Which form the moments have.
const ROWS: u64 = 0;
const DENSE: u64 = 1;

/// Numbers that are turned into bytes at once.
const AT_ONCE: usize = 1 << 14;

impl Gram {
    /// All of it as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.byte_count());
        self.each_piece(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// How many bytes that are.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        32 + 4 * (self.mean.len() + 1 + self.moments().1.len())
    }

    /// Names the statistics by their content.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        self.each_piece(|piece| {
            hash.update(piece);
        });
        hash.finalize()
    }

    fn moments(&self) -> (u64, &[f32]) {
        match &self.moments {
            Moments::Rows(values) => (ROWS, values),
            Moments::Dense(values) => (DENSE, values),
        }
    }

    /// Hands on the bytes piece by piece, since all of them together may be many.
    fn each_piece(&self, mut take: impl FnMut(&[u8])) {
        let (form, moments) = self.moments();
        for number in [form, self.features as u64, self.rows as u64, moments.len() as u64] {
            take(&number.to_le_bytes());
        }
        for values in
            [&self.mean, std::slice::from_ref(&self.ridge), moments].into_iter().flat_map(|v| v.chunks(AT_ONCE))
        {
            take(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
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
