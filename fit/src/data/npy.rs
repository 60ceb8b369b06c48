//! The header of an array in NumPy's format, and arrays that are not stored as they are needed.

use std::io::Read;

use tract_onnx::prelude::DatumType;

use super::array::{Sink, Store};
use super::element::Stored;
use crate::error::Error;
use crate::text::one_line;

/// Longest header that is read: NumPy itself refuses those beyond 10,000 bytes.
const LONGEST: usize = 1 << 16;
/// Most dimensions; NumPy has the same bound.
const DIMENSIONS: usize = 64;

/// What the header of a `.npy` file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) shape: Vec<usize>,
    pub(super) stored: Stored,
    pub(super) big_endian: bool,
    /// The first index runs fastest.
    pub(super) fortran: bool,
    /// Bytes before the elements.
    pub(super) offset: usize,
    /// Bytes of the elements.
    pub(super) size: usize,
}

impl Header {
    /// Reads a header and leaves `from` at the first element.
    ///
    /// The error is what is wrong with it, on one line.
    pub(super) fn read(from: &mut impl Read) -> Result<Self, String> {
        let mut start = [0; 10];
        from.read_exact(&mut start).map_err(cut_short)?;
        if start[..6] != *b"\x93NUMPY" {
            return Err("it does not begin as NumPy arrays do".into());
        }
        let (length, before) = match start[6] {
            1 => (usize::from(u16::from_le_bytes([start[8], start[9]])), 10),
            2 | 3 => {
                let mut more = [0; 2];
                from.read_exact(&mut more).map_err(cut_short)?;
                (u32::from_le_bytes([start[8], start[9], more[0], more[1]]) as usize, 12)
            }
            version => return Err(format!("version {version} of NumPy's format is not known")),
        };
        if length > LONGEST {
            return Err(format!("its header has {length} bytes, more than any array needs"));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).map_err(cut_short)?;
        let text = String::from_utf8_lossy(&text);
        let (stored, big_endian) = element(&text)?;
        let fortran = after(&text, "fortran_order").is_some_and(|rest| rest.starts_with("True"));
        let shape = shape(&text).ok_or_else(|| format!("its header gives no shape ({})", one_line(&text)))?;
        let size = super::array::size(&shape, stored).ok_or("its shape is larger than any memory")?;
        Ok(Header { fortran: fortran && shape.len() > 1, shape, stored, big_endian, offset: before + length, size })
    }

    /// Whether the elements lie as they are needed: little-endian, the last index fastest.
    pub(super) fn is_plain(&self) -> bool {
        !self.fortran && (!self.big_endian || self.stored.size() == 1)
    }

    /// The elements of `bytes` in plain order.
    pub(super) fn reorder(&self, bytes: &[u8], memory: &mut u64) -> Result<Store, Error> {
        let mut sink = Sink::new(self.size as u64, memory)?;
        let width = self.stored.size();
        let rank = self.shape.len();
        // Distance of neighbours along each axis, in elements.
        let mut strides = vec![1usize; rank];
        if self.fortran {
            (1..rank).for_each(|d| strides[d] = strides[d - 1] * self.shape[d - 1]);
        } else {
            (1..rank).rev().for_each(|d| strides[d - 1] = strides[d] * self.shape[d]);
        }
        let mut index = vec![0usize; rank];
        let mut from = 0usize;
        let mut piece = Vec::with_capacity(PIECE + width);
        for _ in 0..self.size / width.max(1) {
            let element = bytes.get(from * width..(from + 1) * width).unwrap_or_default();
            let at = piece.len();
            piece.extend_from_slice(element);
            if self.big_endian {
                piece[at..].reverse();
            }
            if piece.len() >= PIECE {
                sink.write(&piece)?;
                piece.clear();
            }
            for d in (0..rank).rev() {
                index[d] += 1;
                from += strides[d];
                if index[d] < self.shape[d] {
                    break;
                }
                from -= strides[d] * self.shape[d];
                index[d] = 0;
            }
        }
        sink.write(&piece)?;
        sink.finish()
    }
}

/// Bytes put in order before they are handed on.
const PIECE: usize = 1 << 20;

fn cut_short(e: std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "the file ends within the header".into(),
        _ => one_line(&e.to_string()),
    }
}

/// What follows a key of the header.
fn after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let at = text.find(&format!("'{key}'")).or_else(|| text.find(&format!("\"{key}\"")))?;
    Some(text.get(at + key.len() + 2..)?.trim_start().strip_prefix(':')?.trim_start())
}

/// Element type, and whether the bytes of an element begin with the most significant one.
fn element(text: &str) -> Result<(Stored, bool), String> {
    let Some(rest) = after(text, "descr") else { return Err(format!("it has no NumPy header ({})", one_line(text))) };
    let quote = rest.chars().next().unwrap_or_default();
    if !matches!(quote, '\'' | '"') {
        return Err("its elements are records: save an array of plain numbers".into());
    }
    let descr = rest[1..].split(quote).next().unwrap_or_default();
    let (order, kind) = match descr.chars().next() {
        Some(order @ ('<' | '>' | '=' | '|')) => (order, &descr[1..]),
        _ => ('=', descr),
    };
    let known = match kind {
        "b1" | "?" => DatumType::Bool,
        "i1" => DatumType::I8,
        "i2" => DatumType::I16,
        "i4" => DatumType::I32,
        "i8" => DatumType::I64,
        "u1" => DatumType::U8,
        "u2" => DatumType::U16,
        "u4" => DatumType::U32,
        "u8" => DatumType::U64,
        "f2" => DatumType::F16,
        "f4" => DatumType::F32,
        "f8" => DatumType::F64,
        _ if kind.starts_with('O') => {
            return Err("its elements are Python objects: save an array of plain numbers".into());
        }
        _ => return Err(format!("elements of type '{}' cannot be read: save plain numbers", one_line(descr))),
    };
    let native_is_big = cfg!(target_endian = "big");
    Ok((Stored::Known(known), order == '>' || (order == '=' && native_is_big)))
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inside = after(text, "shape")?.strip_prefix('(')?.split(')').next()?;
    let parts = inside.split(',').map(str::trim).filter(|p| !p.is_empty());
    let shape: Vec<usize> = parts.map(|p| p.trim_end_matches('L').parse().ok()).collect::<Option<_>>()?;
    (shape.len() <= DIMENSIONS).then_some(shape)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Header, String> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        Header::read(&mut bytes.as_slice())
    }

    #[test]
    fn headers_say_what_the_array_is() {
        let plain = header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }").unwrap();
        assert_eq!((plain.shape.as_slice(), plain.size, plain.is_plain()), (&[3, 4][..], 48, true));
        let scalar = header("{'descr': '>f2', 'fortran_order': True, 'shape': ()}").unwrap();
        assert_eq!((scalar.shape.len(), scalar.size, scalar.is_plain()), (0, 2, false));
        for (text, words) in [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "Python objects"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", "records"),
            ("{'descr': '<U5', 'fortran_order': False, 'shape': (3,), }", "cannot be read"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "larger than any memory"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9), }", "larger"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "no shape"),
            ("((((\n\n\n((((", "no NumPy header"),
        ] {
            let message = header(text).unwrap_err();
            assert!(message.contains(words) && !message.contains('\n'), "{message}");
        }
        let long = [b"\x93NUMPY\x02\x00".as_slice(), &200_000u32.to_le_bytes(), &[b'('; 64]].concat();
        assert!(Header::read(&mut long.as_slice()).unwrap_err().contains("200000 bytes"));
        assert!(Header::read(&mut b"\x93NUM".as_slice()).unwrap_err().contains("ends within"));
    }

    #[test]
    fn other_orders_are_put_right() {
        let header = header("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }").unwrap();
        // Columns (0, 10), (1, 11), (2, 12).
        let bytes: Vec<u8> = [0i16, 10, 1, 11, 2, 12].iter().flat_map(|v| v.to_be_bytes()).collect();
        let expected: Vec<u8> = [0i16, 1, 2, 10, 11, 12].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(header.reorder(&bytes, &mut 1000).unwrap().bytes(), expected);
        assert_eq!(header.reorder(&bytes, &mut 0).unwrap().bytes(), expected);
    }
}
