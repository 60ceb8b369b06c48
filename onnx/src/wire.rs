//! The protobuf wire format: where the fields of a message lie. It knows no schema, and takes whatever a decoder takes:
//! groups, unknown numbers, lengths written longer than needed.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use std::ops::Range;

/// One field as it stands in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its number.
    pub number: u32,
    /// Whether it holds bytes, text or a message (wire type 2).
    pub delimited: bool,
    /// All of it, tag included.
    pub whole: Range<usize>,
    /// Its content: without tag, and length where there is one.
    pub content: Range<usize>,
}

/// Bytes that are no protobuf message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    /// Offset of the field that fails, counted from the start of the message.
    pub offset: usize,
    /// Its number, where the tag could be read.
    pub number: Option<u32>,
    /// What is wrong.
    pub reason: String,
}

/// The fields of a message in their order; ends after the first error.
pub(crate) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, at: 0 }
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let field = read_field(self.bytes, self.at);
        self.at = field.as_ref().map_or(self.bytes.len(), |field| field.whole.end);
        Some(field)
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

fn read_field(bytes: &[u8], start: usize) -> Result<Field, WireError> {
    let fail = |number, reason: String| WireError { offset: start, number, reason };
    let (number, kind, at) = tag(bytes, start).map_err(|reason| fail(None, reason))?;
    let content = match kind {
        GROUP_START => at..group_end(bytes, at, number).map_err(|reason| fail(Some(number), reason))?,
        GROUP_END => return Err(fail(Some(number), "a group ends that did not begin".into())),
        _ => scalar(bytes, at, kind).map_err(|reason| fail(Some(number), reason))?,
    };
    Ok(Field { number, delimited: kind == DELIMITED, whole: start..content.end, content })
}

/// Field number, wire type and the offset after the tag.
fn tag(bytes: &[u8], at: usize) -> Result<(u32, u8, usize), String> {
    let (tag, after) = varint(bytes, at)?;
    match u32::try_from(tag) {
        Ok(tag) if tag >> 3 != 0 => Ok((tag >> 3, (tag & 7) as u8, after)),
        _ => Err(format!("there is no field with the tag {tag}")),
    }
}

/// The content of a field that is no group.
fn scalar(bytes: &[u8], at: usize, kind: u8) -> Result<Range<usize>, String> {
    let (start, length) = match kind {
        VARINT => (at, (varint(bytes, at)?.1 - at) as u64),
        FIXED64 => (at, 8),
        FIXED32 => (at, 4),
        DELIMITED => {
            let (length, start) = varint(bytes, at)?;
            (start, length)
        }
        other => return Err(format!("there is no wire type {other}")),
    };
    let left = (bytes.len() - start) as u64;
    if length > left {
        return Err(format!("it takes {length} bytes where {left} are left"));
    }
    Ok(start..start + length as usize)
}

/// The offset after the end tag of the group `number` whose content starts at `at`. Groups may nest, to any depth.
fn group_end(bytes: &[u8], mut at: usize, number: u32) -> Result<usize, String> {
    let mut open = vec![number];
    while let Some(&innermost) = open.last() {
        if at >= bytes.len() {
            return Err("a group does not end".into());
        }
        let (number, kind, after) = tag(bytes, at)?;
        at = match kind {
            GROUP_START => {
                open.push(number);
                after
            }
            GROUP_END if number == innermost => {
                open.pop();
                after
            }
            GROUP_END => return Err(format!("group {innermost} ends as group {number}")),
            _ => scalar(bytes, after, kind)?.end,
        };
    }
    Ok(at)
}

/// A base-128 number of at most ten bytes and the offset after it.
fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize), String> {
    let mut value = 0_u64;
    for (place, &byte) in bytes[at..].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Ok((value, at + place + 1));
        }
    }
    Err(if bytes.len() - at < 10 { "it is cut off in a number" } else { "a number has more than ten bytes" }.into())
}

/// Appends `value` as a base-128 number of the fewest bytes.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Tag and length of a delimited field.
pub(crate) fn delimited_header(number: u32, length: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(12);
    put_varint(u64::from(number) << 3 | u64::from(DELIMITED), &mut header);
    put_varint(length, &mut header);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<(u32, Range<usize>)>, WireError> {
        fields(bytes).map(|field| field.map(|field| (field.number, field.content))).collect()
    }

    #[test]
    fn every_wire_type_is_stepped_over() {
        // 1: varint 300; 2: fixed64; 3: "ab"; 4: group { 1: varint 0, group 5 {} }; 6: fixed32
        let bytes = [
            &[0x08, 0xac, 0x02][..],
            &[0x11, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x1a, 2, b'a', b'b'],
            &[0x23, 0x08, 0, 0x2b, 0x2c, 0x24],
            &[0x35, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(numbers(&bytes).unwrap(), [(1, 1..3), (2, 4..12), (3, 14..16), (4, 17..22), (6, 23..27)]);
    }

    #[test]
    fn lengths_longer_than_needed_are_read() {
        assert_eq!(numbers(&[0x0a, 0x81, 0x80, 0x00, 7]).unwrap(), [(1, 4..5)]);
    }

    #[test]
    fn broken_fields_are_located() {
        for (bytes, offset, number, part) in [
            (&[0x08, 1, 0x0a, 5, 1][..], 2, Some(1), "5 bytes where 1 are left"),
            (&[0x08, 0x80], 0, Some(1), "cut off"),
            (&[0x08, 1, 0x80], 2, None, "cut off"),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], 0, Some(1), "more than ten"),
            (&[0x00], 0, None, "tag 0"),
            (&[0x0f], 0, Some(1), "wire type 7"),
            (&[0x0b], 0, Some(1), "does not end"),
            (&[0x0b, 0x14], 0, Some(1), "ends as group 2"),
            (&[0x0c], 0, Some(1), "did not begin"),
            (&[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], 0, Some(1), "18446744073709551615 bytes"),
            (&[0x09, 1, 2], 0, Some(1), "8 bytes where 2 are left"),
        ] {
            let error = numbers(bytes).unwrap_err();
            assert_eq!((error.offset, error.number), (offset, number), "{bytes:x?}");
            assert!(error.reason.contains(part), "{error:?}");
        }
    }

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(varint(&bytes, 0), Ok((value, bytes.len())));
        }
    }
}
