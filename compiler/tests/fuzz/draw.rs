//! What a case draws: the numbers, names and sizes at which programs go wrong, among ordinary ones.

use adntn_onnx::pb;
use pb::tensor_proto::DataType;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The element types of ONNX, the numbers beside them, and one that is none.
const TYPES: [i32; 14] = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 16, 8, 99];

/// The random numbers of one case.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The numbers of case `case` under `seed`; different cases share none.
    pub fn new(seed: u64, case: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(case);
        Draw(rng)
    }

    /// Below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub fn byte(&mut self) -> u8 {
        self.0.random_range(0..=255)
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        self.0.random_range(-1.0..1.0)
    }

    /// An extent of a working model.
    pub fn extent(&mut self) -> i64 {
        self.pick(&[1, 2, 3, 4, 7, 8, 16, 17, 24, 32, 48])
    }

    /// An integer on or near an edge.
    pub fn int(&mut self) -> i64 {
        const EDGES: [i64; 20] = [
            0,
            -1,
            1,
            2,
            3,
            -2,
            4,
            7,
            8,
            64,
            1000,
            65536,
            i32::MAX as i64,
            1 << 31,
            (1 << 32) + 1,
            1 << 40,
            1 << 62,
            i64::MAX,
            i64::MIN,
            -(1 << 31),
        ];
        self.pick(&EDGES)
    }

    /// A floating point number on or near an edge.
    pub fn float(&mut self) -> f32 {
        const EDGES: [f32; 14] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1e-45,
            1e-30,
            1e30,
            -1e38,
            f32::MAX,
            f32::MIN_POSITIVE,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        self.pick(&EDGES)
    }

    pub fn element_type(&mut self) -> i32 {
        self.pick(&TYPES)
    }

    /// A name that is unusual, or one of `known`.
    pub fn name(&mut self, known: &[String]) -> String {
        match self.below(14) {
            0 => String::new(),
            1 => "\u{1b}[31mred\u{7}\n\t\r\0".into(),
            2 => "n".repeat(3000),
            3 => "../../etc/passwd".into(),
            4 => "ünïcode-\u{202e}名前 <&\">".into(),
            5 => self.pick(&["labels", "input", "logits", "samples", "0", "*", "(", "a=b", "--help", "{}"]).into(),
            6 => " ".into(),
            7 => "x/y.z:0".into(),
            _ if known.is_empty() => "unknown".into(),
            _ => self.pick(known),
        }
    }
}

/// `DataType` as the field holds it.
pub fn code(data_type: DataType) -> i32 {
    data_type as i32
}
