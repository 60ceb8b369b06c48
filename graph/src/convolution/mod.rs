//! Convolutions over up to three axes: a value at every place of the output, and the gradients, which are also what
//! transposed convolutions are made of.
//!
//! Patches of the image become columns of a matrix, a block of places at a time, small enough for the caches; the rest is
//! products of matrices. Filters of a single channel have loops of their own.

mod columns;
mod dense;
mod depthwise;
#[cfg(test)]
mod tests;

pub(crate) use dense::{gradient_of_image, gradient_of_weight, outputs};

/// Sizes of a convolution of an image, samples×groups×inputs×extent, with a weight, groups×outputs×inputs×kernel, to
/// samples×groups×outputs×output. Padding at the end follows from the extents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    pub samples: usize,
    pub groups: usize,
    /// Channels of a group.
    pub inputs: usize,
    /// Filters of a group.
    pub outputs: usize,
    pub extent: [usize; 3],
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    pub dilations: [usize; 3],
    /// Padding before each axis.
    pub begin: [usize; 3],
    pub output: [usize; 3],
}

impl Geometry {
    /// Elements of a channel of the image.
    fn plane(&self) -> usize {
        self.extent.iter().product()
    }

    /// Places of a channel of the output.
    fn places(&self) -> usize {
        self.output.iter().product()
    }

    /// Elements of a filter in one channel.
    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Elements of a filter.
    fn depth(&self) -> usize {
        self.inputs * self.taps()
    }

    /// Elements of a sample of the image.
    fn image(&self) -> usize {
        self.groups * self.inputs * self.plane()
    }

    /// Elements of a sample of the output.
    fn result(&self) -> usize {
        self.groups * self.outputs * self.places()
    }

    /// Whether the columns are the image itself.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.strides == [1; 3] && self.begin == [0; 3] && self.extent == self.output
    }

    /// From the place 0 along an axis to the element of the image under an element of the kernel.
    fn offset(&self, axis: usize, tap: usize) -> isize {
        (tap * self.dilations[axis]) as isize - self.begin[axis] as isize
    }

    /// The places along an axis, among `first..end`, that have an element of the image under an element of the kernel.
    fn covered(&self, axis: usize, tap: usize, first: usize, end: usize) -> std::ops::Range<usize> {
        let (offset, stride) = (self.offset(axis, tap), self.strides[axis]);
        let low = if offset >= 0 { 0 } else { offset.unsigned_abs().div_ceil(stride) };
        let room = self.extent[axis] as isize - offset;
        let high = if room <= 0 { 0 } else { room.unsigned_abs().div_ceil(stride) };
        low.max(first)..high.min(end).max(low.max(first))
    }
}
