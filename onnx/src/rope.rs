//! Bytes in pieces: what an edited model is until it is written.

use bytes::Bytes;

use crate::wire;

/// Pieces in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rope {
    pieces: Vec<Bytes>,
    length: u64,
}

impl Rope {
    pub(crate) fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.length += piece.len() as u64;
            self.pieces.push(piece);
        }
    }

    pub(crate) fn append(&mut self, other: Rope) {
        self.length += other.length;
        self.pieces.extend(other.pieces);
    }

    /// A delimited field with this content.
    pub(crate) fn push_field(&mut self, number: u32, content: Rope) {
        self.push(wire::delimited_header(number, content.length));
        self.append(content);
    }

    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// In bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// In one buffer: without a copy where there is one piece.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match self.pieces.as_slice() {
            [only] => only.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Rope {
        let mut rope = Rope::default();
        rope.push(bytes);
        rope
    }
}
