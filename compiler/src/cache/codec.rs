//! The compact binary form of what entries hold: little-endian numbers, and everything of variable size behind its length.

use half::f16;

/// How floats are stored.
const HALVES: u8 = 0;
const SINGLES: u8 = 1;

/// Bytes in the making.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn size(&mut self, value: usize) {
        self.number(value as u64);
    }

    pub(crate) fn double(&mut self, value: f64) {
        self.number(value.to_bits());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.size(value.len());
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, values: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.size(values.len());
        values.for_each(|value| write(self, value));
    }

    /// Float32 numbers, in two bytes each where float16 holds all of them exactly.
    pub(crate) fn floats(&mut self, values: &[f32]) {
        let exact = |x: &f32| f16::from_f32(*x).to_f32().to_bits() == x.to_bits();
        self.size(values.len());
        if values.iter().all(exact) {
            self.byte(HALVES);
            values.iter().for_each(|x| self.0.extend_from_slice(&f16::from_f32(*x).to_le_bytes()));
        } else {
            self.byte(SINGLES);
            values.iter().for_each(|x| self.0.extend_from_slice(&x.to_le_bytes()));
        }
    }

    pub(crate) fn halves(&mut self, values: &[f16]) {
        self.size(values.len());
        values.iter().for_each(|x| self.0.extend_from_slice(&x.to_le_bytes()));
    }
}

/// Bytes that are read from the front. Whatever is not there, or does not fit, is `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The end: there has to be nothing more.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(crate) fn double(&mut self) -> Option<f64> {
        self.number().map(f64::from_bits)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.size()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.size()?).map(|_| read(self)).collect()
    }

    pub(crate) fn floats(&mut self) -> Option<Vec<f32>> {
        let count = self.size()?;
        match self.byte()? {
            HALVES => self.halves_of(count).map(|halves| halves.map(f16::to_f32).collect()),
            SINGLES => {
                let (values, []) = self.take(count.checked_mul(4)?)?.as_chunks::<4>() else { return None };
                Some(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            _ => None,
        }
    }

    pub(crate) fn halves(&mut self) -> Option<Vec<f16>> {
        let count = self.size()?;
        self.halves_of(count).map(Iterator::collect)
    }

    fn halves_of(&mut self, count: usize) -> Option<impl Iterator<Item = f16> + use<'b>> {
        let (values, []) = self.take(count.checked_mul(2)?)?.as_chunks::<2>() else { return None };
        Some(values.iter().map(|b| f16::from_le_bytes(*b)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text("fc1");
        writer.option(Some(3), Writer::size);
        writer.option(None, Writer::size);
        writer.double(f64::INFINITY);
        writer.list([1_u64, 2].into_iter(), Writer::number);
        for floats in [&[0.5, -0.0, f32::INFINITY][..], &[0.1]] {
            writer.floats(floats);
        }
        writer.halves(&[f16::ONE]);
        let mut reader = Reader(&writer.0);
        assert_eq!(reader.text(), Some("fc1"));
        assert_eq!(reader.option(Reader::size), Some(Some(3)));
        assert_eq!(reader.option(Reader::size), Some(None));
        assert_eq!(reader.double(), Some(f64::INFINITY));
        assert_eq!(reader.list(Reader::number), Some(vec![1, 2]));
        let floats = reader.floats().unwrap();
        assert_eq!(floats, [0.5, 0.0, f32::INFINITY]);
        assert!(floats[1].is_sign_negative());
        assert_eq!(reader.floats(), Some(vec![0.1]));
        assert_eq!(reader.halves(), Some(vec![f16::ONE]));
        assert_eq!(reader.end(), Some(()));
        for end in 0..writer.0.len() {
            let mut cut = Reader(&writer.0[..end]);
            let all = (|| {
                cut.text()?;
                cut.option(Reader::size)?;
                cut.option(Reader::size)?;
                cut.double()?;
                cut.list(Reader::number)?;
                cut.floats()?;
                cut.floats()?;
                cut.halves()
            })();
            assert_eq!(all, None, "{end}");
        }
        // A length that no memory would hold.
        assert_eq!(Reader(&[0xFF; 17]).floats(), None);
        assert_eq!(Reader(&[0xFF; 8]).list(|reader| reader.byte()), None);
    }
}
