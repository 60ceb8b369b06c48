//! Names of entries: digests of everything that decides what an entry holds.

use std::fmt;

/// Changes with the form of entries, or with what goes into their names.
pub(super) const FORMAT: u32 = 1;
/// The compiler that an entry was made by: other sources may make something else of the same input.
pub(crate) const MADE_BY: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("ADNTN_SOURCES"));

/// The name of an entry, or of something that one depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(blake3::Hash);

impl Key {
    /// Begins a name for entries of a kind.
    pub(crate) fn of(kind: &str) -> KeyBuilder {
        KeyBuilder(blake3::Hasher::new()).number(FORMAT.into()).text(MADE_BY).text(kind)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What [`fmt::Display`] gives, read back.
    pub(crate) fn parse(text: &str) -> Option<Key> {
        blake3::Hash::from_hex(text).ok().map(Key)
    }
}

impl From<blake3::Hash> for Key {
    fn from(hash: blake3::Hash) -> Key {
        Key(hash)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A name in the making. Every part has its length in front, so that no two lists of parts give one name.
#[derive(Debug)]
pub(crate) struct KeyBuilder(blake3::Hasher);

impl KeyBuilder {
    pub(crate) fn bytes(mut self, part: &[u8]) -> Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    pub(crate) fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    pub(crate) fn number(self, part: u64) -> Self {
        self.bytes(&part.to_le_bytes())
    }

    pub(crate) fn key(self, part: Key) -> Self {
        self.bytes(part.as_bytes())
    }

    pub(crate) fn floats(mut self, part: &[f32]) -> Self {
        const AT_ONCE: usize = 1 << 14;
        self.0.update(&(4 * part.len() as u64).to_le_bytes());
        for values in part.chunks(AT_ONCE) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.0.update(&bytes);
        }
        self
    }

    pub(crate) fn finish(self) -> Key {
        Key(self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let key = |parts: &[&str]| parts.iter().fold(Key::of("test"), |key, part| key.text(part)).finish();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["ab", ""]));
        assert_ne!(Key::of("test").floats(&[0.0]).finish(), Key::of("test").floats(&[-0.0]).finish());
        let one = key(&["a"]);
        assert_eq!(Key::parse(&one.to_string()), Some(one));
        assert_eq!(Key::parse("a"), None);
    }
}
