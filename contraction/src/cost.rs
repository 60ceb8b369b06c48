//! What a contraction costs.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Counted work of one or more pairwise contractions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Multiplications followed by an addition.
    pub multiply_adds: f64,
    /// Elements read and written: both operands and the result of each contraction.
    pub elements: f64,
    /// Pairwise contractions, each one node (or a few) of a runtime's graph.
    pub nodes: f64,
}

impl Cost {
    /// Cost of contracting operands of `left` and `right` elements to a result of `result` elements.
    ///
    /// Every leg of the three tensors belongs to exactly two of them, so the product over all legs, which is the number of
    /// multiply-adds, is √(left · right · result).
    pub fn pairwise(left: f64, right: f64, result: f64) -> Cost {
        Cost { multiply_adds: left.sqrt() * right.sqrt() * result.sqrt(), elements: left + right + result, nodes: 1.0 }
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            multiply_adds: self.multiply_adds + other.multiply_adds,
            elements: self.elements + other.elements,
            nodes: self.nodes + other.nodes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Add::add)
    }
}

/// Turns counted work into seconds: arithmetic, memory traffic and per-node overhead add up.
///
/// The defaults are those of one thread of a desktop processor running ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostModel {
    /// Floating-point operations per second; a multiply-add counts as two.
    pub flops_per_second: f64,
    /// Bytes read or written per second.
    pub bytes_per_second: f64,
    /// Bytes of one tensor element.
    pub bytes_per_element: f64,
    /// Seconds that a node costs besides its work.
    pub seconds_per_node: f64,
}

impl Default for CostModel {
    /// 76 GFLOP/s, 15.6 GB/s, 4 bytes an element, 10 µs a node.
    fn default() -> Self {
        CostModel { flops_per_second: 76e9, bytes_per_second: 15.6e9, bytes_per_element: 4.0, seconds_per_node: 10e-6 }
    }
}

impl CostModel {
    /// Counts multiply-adds only: one second each.
    pub const MULTIPLY_ADDS: CostModel = CostModel {
        flops_per_second: 2.0,
        bytes_per_second: f64::INFINITY,
        bytes_per_element: 4.0,
        seconds_per_node: 0.0,
    };

    /// Estimated seconds for `cost`.
    pub fn seconds(&self, cost: &Cost) -> f64 {
        2.0 * cost.multiply_adds / self.flops_per_second
            + cost.elements * self.bytes_per_element / self.bytes_per_second
            + cost.nodes * self.seconds_per_node
    }
}
