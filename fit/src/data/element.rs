//! Elements of one type as elements of another, where nothing is lost.

use half::{bf16, f16};
use tract_onnx::prelude::DatumType;

/// Why elements of one type cannot be those of another.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Loss {
    NotFinite,
    /// An element, as text, and the type that cannot hold it.
    OutOfRange(String, DatumType),
}

impl Loss {
    /// A sentence about the array `name`.
    pub(super) fn about(&self, name: &str) -> String {
        match self {
            Loss::NotFinite => format!("array '{name}' holds NaN or infinity"),
            Loss::OutOfRange(value, to) => {
                format!("array '{name}' holds {value}, which the model's {} cannot hold", element_name(*to))
            }
        }
    }
}

/// NumPy's name of an element type.
pub(super) fn element_name(element: DatumType) -> String {
    match element {
        DatumType::F16 => "float16".into(),
        DatumType::F32 => "float32".into(),
        DatumType::F64 => "float64".into(),
        DatumType::I8 => "int8".into(),
        DatumType::I16 => "int16".into(),
        DatumType::I32 => "int32".into(),
        DatumType::I64 => "int64".into(),
        DatumType::U8 => "uint8".into(),
        DatumType::U16 => "uint16".into(),
        DatumType::U32 => "uint32".into(),
        DatumType::U64 => "uint64".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// A type of elements in a file. What tract has no type for is read as something it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Bfloat16,
    Known(DatumType),
}

impl Stored {
    pub(super) fn size(self) -> usize {
        match self {
            Stored::Bfloat16 => 2,
            Stored::Known(element) => element.size_of(),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Stored::Bfloat16 => "bfloat16".into(),
            Stored::Known(element) => element_name(element),
        }
    }

    pub(super) fn is_float(self) -> bool {
        match self {
            Stored::Bfloat16 => true,
            Stored::Known(element) => is_float(element),
        }
    }

    /// Whether the elements can become `to`, each of them permitting: floating point numbers of any width become floating
    /// point numbers, integers and truth values become integers and truth values.
    pub(super) fn fits(self, to: DatumType) -> bool {
        if is_float(to) { self.is_float() } else { is_whole(to) && !self.is_float() }
    }

    /// Reads element `index`.
    pub(super) fn float(self, bytes: &[u8], index: usize) -> f64 {
        macro_rules! at {
            ($type:ty) => {
                read(bytes, index).map_or(0.0, |b| f64::from(<$type>::from_le_bytes(b)))
            };
        }
        match self {
            Stored::Bfloat16 => at!(bf16),
            Stored::Known(DatumType::F16) => at!(f16),
            Stored::Known(DatumType::F32) => at!(f32),
            Stored::Known(DatumType::F64) => at!(f64),
            Stored::Known(_) => self.whole(bytes, index) as f64,
        }
    }

    /// Reads element `index` of a type that is not floating point.
    pub(super) fn whole(self, bytes: &[u8], index: usize) -> i128 {
        macro_rules! at {
            ($type:ty) => {
                read(bytes, index).map_or(0, |b| i128::from(<$type>::from_le_bytes(b)))
            };
        }
        match self {
            Stored::Known(DatumType::I8) => at!(i8),
            Stored::Known(DatumType::I16) => at!(i16),
            Stored::Known(DatumType::I32) => at!(i32),
            Stored::Known(DatumType::I64) => at!(i64),
            Stored::Known(DatumType::U8 | DatumType::Bool) => at!(u8),
            Stored::Known(DatumType::U16) => at!(u16),
            Stored::Known(DatumType::U32) => at!(u32),
            Stored::Known(DatumType::U64) => at!(u64),
            _ => 0,
        }
    }

    /// The first element of `bytes` that `to` cannot hold.
    pub(super) fn loss(self, bytes: &[u8], to: DatumType) -> Option<Loss> {
        let count = bytes.len() / self.size().max(1);
        if self.is_float() {
            let largest = match to {
                DatumType::F16 => f64::from(f16::MAX),
                DatumType::F32 => f64::from(f32::MAX),
                _ => f64::MAX,
            };
            return match self {
                // An exponent of ones is what NaN and infinity have in common.
                Stored::Known(DatumType::F32) if to != DatumType::F16 => {
                    let all = |b: &[u8; 4]| u32::from_le_bytes(*b) & 0x7f80_0000 != 0x7f80_0000;
                    (!bytes.as_chunks().0.iter().all(all)).then_some(Loss::NotFinite)
                }
                _ => (0..count)
                    .map(|k| self.float(bytes, k))
                    .find(|v| !(v.abs() <= largest))
                    .map(|v| if v.is_finite() { Loss::OutOfRange(format!("{v}"), to) } else { Loss::NotFinite }),
            };
        }
        let (least, most) = range(to);
        if let Stored::Known(own) = self
            && own != DatumType::Bool
            && (range(own).0 >= least && range(own).1 <= most)
        {
            return None;
        }
        let outside = (0..count).map(|k| self.whole(bytes, k)).find(|v| *v < least || *v > most)?;
        // A byte that is no truth value is as little one in an array of truth values as in one of bytes.
        Some(Loss::OutOfRange(outside.to_string(), to))
    }

    /// Writes the elements of `from` to `to` as elements of type `element`.
    pub(super) fn convert(self, from: &[u8], element: DatumType, to: &mut [u8]) {
        if self == Stored::Known(element) {
            to.copy_from_slice(from);
            return;
        }
        let count = from.len() / self.size().max(1);
        let width = element.size_of();
        for (k, slot) in to.chunks_exact_mut(width.max(1)).take(count).enumerate() {
            match element {
                DatumType::F16 => slot.copy_from_slice(&f16::from_f64(self.float(from, k)).to_le_bytes()),
                DatumType::F32 => slot.copy_from_slice(&(self.float(from, k) as f32).to_le_bytes()),
                DatumType::F64 => slot.copy_from_slice(&self.float(from, k).to_le_bytes()),
                // The low bytes of a number in range are the number.
                _ => slot.copy_from_slice(&self.whole(from, k).to_le_bytes()[..width]),
            }
        }
    }
}

fn read<const N: usize>(bytes: &[u8], index: usize) -> Option<[u8; N]> {
    bytes.get(index * N..(index + 1) * N)?.try_into().ok()
}

fn is_float(element: DatumType) -> bool {
    matches!(element, DatumType::F16 | DatumType::F32 | DatumType::F64)
}

fn is_whole(element: DatumType) -> bool {
    range(element).1 > 0
}

/// Least and largest number of a type of whole numbers.
fn range(element: DatumType) -> (i128, i128) {
    match element {
        DatumType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DatumType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DatumType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DatumType::I64 => (i64::MIN.into(), i64::MAX.into()),
        DatumType::U8 => (0, u8::MAX.into()),
        DatumType::U16 => (0, u16::MAX.into()),
        DatumType::U32 => (0, u32::MAX.into()),
        DatumType::U64 => (0, u64::MAX.into()),
        DatumType::Bool => (0, 1),
        _ => (0, 0),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_change_their_type_only_without_loss() {
        let i64s = |v: &[i64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let stored = Stored::Known(DatumType::I64);
        assert!(stored.fits(DatumType::I32) && stored.fits(DatumType::Bool) && !stored.fits(DatumType::F32));
        assert_eq!(stored.loss(&i64s(&[-1, 5]), DatumType::I32), None);
        let loss = stored.loss(&i64s(&[1, 1 << 40]), DatumType::I32).unwrap();
        assert!(loss.about("ids").contains("1099511627776") && loss.about("ids").contains("int32"));
        assert!(stored.loss(&i64s(&[2]), DatumType::Bool).is_some());
        let mut to = [0; 8];
        stored.convert(&i64s(&[-1, 5]), DatumType::I32, &mut to);
        assert_eq!(to, [255, 255, 255, 255, 5, 0, 0, 0]);
    }

    #[test]
    fn floats_of_any_width_become_those_of_the_model() {
        let halves: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let mut to = [0; 8];
        Stored::Known(DatumType::F16).convert(&halves, DatumType::F32, &mut to);
        assert_eq!(to[..4], 1.5f32.to_le_bytes());
        let doubles = 1e300f64.to_le_bytes();
        assert!(matches!(Stored::Known(DatumType::F64).loss(&doubles, DatumType::F32), Some(Loss::OutOfRange(..))));
        assert_eq!(Stored::Known(DatumType::F64).loss(&doubles, DatumType::F64), None);
        assert_eq!(
            Stored::Known(DatumType::F16).loss(&f16::INFINITY.to_le_bytes(), DatumType::F32),
            Some(Loss::NotFinite)
        );
        assert!(Stored::Known(DatumType::F32).loss(&1e6f32.to_le_bytes(), DatumType::F16).is_some());
    }
}
