//! A cached value: how its samples lie where the network reads or makes it.

use std::borrow::Cow;

use adntn_graph::Array;

use crate::distill::rows::Rows;

/// Where the samples are in a value of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Along this axis; so many entries of it for each sample, more than one on the first axis only.
    Axis { axis: usize, each: usize },
    /// The network runs one sample at a time, and its values have no axis for them.
    Alone,
    /// The value is the same for all samples: a mask, a constant. There is one row.
    Shared,
}

/// The values of one tensor for every sample.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) rows: Rows,
    pub(super) lie: Lie,
}

impl Cached {
    /// The chosen samples' values, one sample after the other.
    pub(super) fn rows(&self, chosen: &[usize]) -> Vec<f32> {
        if self.lie == Lie::Shared { self.rows.gather(&[0]) } else { self.rows.gather(chosen) }
    }

    /// The chosen samples' values as the network reads them.
    pub(super) fn array(&self, chosen: &[usize]) -> Array {
        let (values, own) = (self.rows(chosen), self.rows.shape());
        match self.lie {
            Lie::Axis { axis, each } => {
                let outer: usize = own[..axis].iter().product();
                let values = if axis == 0 { values } else { swapped(&values, chosen.len(), outer) };
                let mut shape = own.to_vec();
                if each == 1 {
                    shape.insert(axis, chosen.len());
                } else {
                    shape[0] *= chosen.len();
                }
                Array { shape, values }
            }
            Lie::Alone | Lie::Shared => Array { shape: own.to_vec(), values },
        }
    }

    /// An array of the network, of this value's form, one sample after the other.
    pub(super) fn samples_first<'a>(&self, array: &'a Array) -> Cow<'a, [f32]> {
        match self.lie {
            Lie::Axis { axis, .. } if axis > 0 && axis < array.shape.len() => {
                Cow::Owned(swapped(&array.values, array.shape[..axis].iter().product(), array.shape[axis]))
            }
            _ => Cow::Borrowed(&array.values),
        }
    }

    /// The opposite of [`Cached::samples_first`]: values of a shape that the network has.
    pub(super) fn as_network(&self, values: Vec<f32>, shape: &[usize]) -> Array {
        let values = match self.lie {
            Lie::Axis { axis, .. } if axis > 0 && axis < shape.len() => {
                swapped(&values, shape[axis], shape[..axis].iter().product())
            }
            _ => values,
        };
        Array { shape: shape.to_vec(), values }
    }
}

/// `[first, second, inner]` as `[second, first, inner]`.
pub(super) fn swapped(values: &[f32], first: usize, second: usize) -> Vec<f32> {
    let inner = values.len() / (first * second).max(1);
    let mut to = Vec::with_capacity(values.len());
    for b in 0..second {
        for a in 0..first {
            let at = (a * second + b) * inner;
            to.extend_from_slice(&values[at..at + inner]);
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_change_places_and_back() {
        let values: Vec<f32> = (0..24).map(|k| k as f32).collect();
        let there = swapped(&values, 2, 3);
        assert_eq!(there[..8], [0.0, 1.0, 2.0, 3.0, 12.0, 13.0, 14.0, 15.0]);
        assert_eq!(swapped(&there, 3, 2), values);
    }
}
