//! Turning the activations that enter a dense layer into the rows its weight multiplies.

use crate::error::Error;
use crate::runner::Output;

/// At most so many positions of one sample enter the statistics of a convolution.
const POSITIONS_PER_SAMPLE: usize = 64;

/// How the rows `x` of `y = x·Wᵀ` (W is O×I) are read off a layer's input tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfold {
    /// The last dimension holds the I features: Gemm, MatMul with the weight on the right.
    LastAxis,
    /// The last but one dimension holds the features: Gemm with transA, MatMul with the weight on the left.
    LastButOneAxis,
    /// Patches of a convolution over an input `[N, C, spatial…]`; features ordered channel, then kernel position.
    Patches(Patches),
}

/// Geometry of a convolution; all vectors have one entry per spatial dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patches {
    /// Kernel extents.
    pub kernel: Vec<usize>,
    /// Strides.
    pub strides: Vec<usize>,
    /// Dilations.
    pub dilations: Vec<usize>,
    /// Zero padding before and after.
    pub padding: Padding,
}

/// Padding of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// Explicit extents before and after each spatial dimension.
    Explicit(Vec<(usize, usize)>),
    /// ONNX `SAME_UPPER` (`true`) or `SAME_LOWER`: as many outputs as inputs over the stride.
    Same {
        /// Whether the odd element goes after.
        upper: bool,
    },
}

impl Unfold {
    /// The number of rows in `x`, as far as it fits a layer with `features` inputs.
    #[must_use]
    pub fn count_rows(&self, x: &Output, features: usize) -> usize {
        match self {
            Unfold::LastAxis | Unfold::LastButOneAxis => x.values.len() / features.max(1),
            Unfold::Patches(patches) => {
                let taken = x.shape.get(2..).and_then(|extents| patches.taken(extents));
                x.shape.first().copied().unwrap_or(0) * taken.unwrap_or(0)
            }
        }
    }

    /// Appends the rows found in `x` to `rows` (row-major, I columns each).
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has not the extents the layer needs.
    pub fn append_rows(&self, x: &Output, features: usize, rows: &mut Vec<f32>) -> Result<(), Error> {
        let wrong = || {
            Error::Shape(format!("an activation of shape {:?} does not fit a layer with {features} inputs", x.shape))
        };
        match self {
            Unfold::LastAxis => {
                if x.shape.last() != Some(&features) {
                    return Err(wrong());
                }
                rows.extend_from_slice(&x.values);
            }
            Unfold::LastButOneAxis => {
                let [.., axis, samples] = *x.shape.as_slice() else { return Err(wrong()) };
                if axis != features {
                    return Err(wrong());
                }
                for block in x.values.chunks_exact((features * samples).max(1)) {
                    for s in 0..samples {
                        rows.extend((0..features).map(|f| block[f * samples + s]));
                    }
                }
            }
            Unfold::Patches(patches) => patches.append_rows(x, features, rows).ok_or_else(wrong)?,
        }
        Ok(())
    }
}

impl Patches {
    /// Positions taken of one sample.
    fn taken(&self, extents: &[usize]) -> Option<usize> {
        Some(self.geometry(extents)?.1.iter().product::<usize>().min(POSITIONS_PER_SAMPLE))
    }

    fn append_rows(&self, x: &Output, features: usize, rows: &mut Vec<f32>) -> Option<()> {
        let [samples, channels, extents @ ..] = x.shape.as_slice() else { return None };
        let kernel_size: usize = self.kernel.iter().product();
        if channels * kernel_size != features {
            return None;
        }
        let (before, outputs) = self.geometry(extents)?;
        let positions: usize = outputs.iter().product();
        let taken = positions.min(POSITIONS_PER_SAMPLE);
        let volume: usize = extents.iter().product();
        let offsets: Vec<Vec<usize>> = (0..kernel_size).map(|k| unravel(k, &self.kernel)).collect();
        let mut places = Vec::with_capacity(kernel_size);
        rows.reserve(samples * taken * features);
        for (n, sample) in x.values.chunks_exact((channels * volume).max(1)).enumerate() {
            for t in 0..taken {
                // A different phase for every sample, so that small samples of positions still cover the image.
                let position = (t * positions / taken.max(1) + n * 7) % positions;
                let origin = unravel(position, &outputs);
                places.clear();
                places.extend(offsets.iter().map(|offset| self.place(extents, &origin, offset, &before)));
                for image in sample.chunks_exact(volume) {
                    rows.extend(places.iter().map(|place| place.map_or(0.0, |place| image[place])));
                }
            }
        }
        Some(())
    }

    /// Where in an image a kernel element lies; `None` for padding.
    fn place(&self, extents: &[usize], origin: &[usize], offset: &[usize], before: &[usize]) -> Option<usize> {
        let mut index = 0;
        for (d, &extent) in extents.iter().enumerate() {
            let at = (origin[d] * self.strides[d] + offset[d] * self.dilations[d]).checked_sub(before[d])?;
            if at >= extent {
                return None;
            }
            index = index * extent + at;
        }
        Some(index)
    }

    /// Padding before each dimension and the number of output positions.
    fn geometry(&self, extents: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
        let rank = extents.len();
        if self.kernel.len() != rank || self.kernel.contains(&0) {
            return None;
        }
        if self.strides.len() != rank || self.dilations.len() != rank || self.strides.contains(&0) {
            return None;
        }
        let mut before = Vec::with_capacity(rank);
        let mut outputs = Vec::with_capacity(rank);
        for (d, &extent) in extents.iter().enumerate() {
            let reach = (self.kernel[d] - 1) * self.dilations[d] + 1;
            let (b, padded) = match &self.padding {
                Padding::Explicit(pads) => {
                    let &(b, a) = pads.get(d)?;
                    (b, extent + b + a)
                }
                Padding::Same { upper } => {
                    let out = extent.div_ceil(self.strides[d]);
                    let total = ((out.max(1) - 1) * self.strides[d] + reach).saturating_sub(extent);
                    (if *upper { total / 2 } else { total - total / 2 }, extent + total)
                }
            };
            before.push(b);
            outputs.push(padded.checked_sub(reach)? / self.strides[d] + 1);
        }
        Some((before, outputs))
    }
}

fn unravel(mut index: usize, extents: &[usize]) -> Vec<usize> {
    let mut out = vec![0; extents.len()];
    for (slot, &extent) in out.iter_mut().zip(extents).rev() {
        *slot = index % extent;
        index /= extent;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(shape: &[usize]) -> Output {
        Output::floats(shape.to_vec(), (0..shape.iter().product::<usize>()).map(|v| v as f32).collect())
    }

    #[test]
    fn columns_are_transposed() {
        let mut rows = Vec::new();
        Unfold::LastButOneAxis.append_rows(&ramp(&[2, 3]), 2, &mut rows).unwrap();
        assert_eq!(rows, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert!(Unfold::LastAxis.append_rows(&ramp(&[2, 3]), 2, &mut rows).is_err());
    }

    #[test]
    fn patches_reproduce_a_convolution() {
        // 3×3 kernel, stride 2, dilation 1, padding 1 before and 0 after on a 4×4 image with two channels.
        let patches = Patches {
            kernel: vec![3, 3],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            padding: Padding::Explicit(vec![(1, 0), (1, 0)]),
        };
        let x = ramp(&[1, 2, 4, 4]);
        let mut rows = Vec::new();
        Unfold::Patches(patches).append_rows(&x, 18, &mut rows).unwrap();
        assert_eq!(rows.len(), 4 * 18);
        for (p, row) in rows.chunks_exact(18).enumerate() {
            for (f, &value) in row.iter().enumerate() {
                let (c, ky, kx) = (f / 9, f / 3 % 3, f % 3);
                let (y, x) = ((p / 2 * 2 + ky) as isize - 1, (p % 2 * 2 + kx) as isize - 1);
                let inside = (0..4).contains(&y) && (0..4).contains(&x);
                let want = if inside { (c as isize * 16 + y * 4 + x) as f32 } else { 0.0 };
                assert_eq!(value, want, "position {p} feature {f}");
            }
        }
    }

    #[test]
    fn same_padding_follows_onnx() {
        let geometry = |upper| {
            let p = Patches { kernel: vec![4], strides: vec![1], dilations: vec![1], padding: Padding::Same { upper } };
            p.geometry(&[5]).unwrap()
        };
        assert_eq!(geometry(true), (vec![1], vec![5]));
        assert_eq!(geometry(false), (vec![2], vec![5]));
    }

    #[test]
    fn rows_are_counted_as_they_are_appended() {
        let counted = |unfold: &Unfold, x: &Output, features: usize| {
            let mut rows = Vec::new();
            unfold.append_rows(x, features, &mut rows).unwrap();
            assert_eq!(unfold.count_rows(x, features) * features, rows.len());
        };
        counted(&Unfold::LastAxis, &ramp(&[2, 3, 4]), 4);
        counted(&Unfold::LastButOneAxis, &ramp(&[2, 3, 4]), 3);
        for extent in [5, 200] {
            let padding = Padding::Same { upper: true };
            let patches = Patches { kernel: vec![4], strides: vec![1], dilations: vec![1], padding };
            counted(&Unfold::Patches(patches), &ramp(&[2, 3, extent]), 12);
        }
        // What does not fit has none.
        for kernel in [vec![0], vec![2, 2]] {
            let patches =
                Patches { kernel, strides: vec![1], dilations: vec![1], padding: Padding::Same { upper: true } };
            assert_eq!(Unfold::Patches(patches).count_rows(&ramp(&[2, 3, 5]), 12), 0);
        }
    }
}
