//! Convolutions of single channels: there is no product of matrices in them, rows are shifted and added.

use std::ops::Range;

use rayon::prelude::*;

use super::Geometry;
use crate::tensor::dot;
use crate::tensor::parallel::{Kernel, vectorised};

/// With more filters of the same channel, products are faster.
const FILTERS: usize = 4;

pub(super) fn is_suitable(geometry: &Geometry) -> bool {
    geometry.inputs == 1 && geometry.outputs <= FILTERS
}

/// What is done with a filter of one sample, all its outputs and its channel.
trait Step {
    /// With an element of the filter, and rows of outputs and of the image that belong together: `stride` elements of the
    /// image for each output.
    fn row(&mut self, tap: usize, place: Range<usize>, source: usize, stride: usize);
}

/// For each element of a row of the filter, the places of a row of outputs that have an element of the image under it, and
/// where in a row of the image the first of them has it.
fn row_of_filter(geometry: &Geometry) -> Vec<(Range<usize>, usize)> {
    let along = |tap: usize| {
        let places = geometry.covered(2, tap, 0, geometry.output[2]);
        let source = (places.start * geometry.strides[2]).wrapping_add_signed(geometry.offset(2, tap));
        (places, source)
    };
    (0..geometry.kernel[2]).map(along).collect()
}

/// Goes through all rows of outputs and all elements of a filter.
#[inline(always)]
fn each_row(geometry: &Geometry, row_of_filter: &[(Range<usize>, usize)], step: &mut impl Step) {
    let [kernel_depth, kernel_height, kernel_width] = geometry.kernel;
    let [_, height, width] = geometry.extent;
    let [out_depth, out_height, out_width] = geometry.output;
    let along = |axis: usize, place: usize, tap: usize| {
        (place * geometry.strides[axis]).wrapping_add_signed(geometry.offset(axis, tap))
    };
    for row in 0..out_depth * out_height {
        let (depth_place, height_place) = (row / out_height, row % out_height);
        for tap in 0..kernel_depth * kernel_height {
            let (tap_0, tap_1) = (tap / kernel_height, tap % kernel_height);
            let (at_0, at_1) = (along(0, depth_place, tap_0), along(1, height_place, tap_1));
            // Below zero they wrap around.
            if at_0 >= geometry.extent[0] || at_1 >= height {
                continue;
            }
            for (tap_2, (columns, source)) in row_of_filter.iter().enumerate() {
                if !columns.is_empty() {
                    let source = (at_0 * height + at_1) * width + source;
                    let places = row * out_width + columns.start..row * out_width + columns.end;
                    step.row(tap * kernel_width + tap_2, places, source, geometry.strides[2]);
                }
            }
        }
    }
}

struct Forward<'a> {
    out: &'a mut [f32],
    image: &'a [f32],
    filter: &'a [f32],
}

impl Step for Forward<'_> {
    #[inline(always)]
    fn row(&mut self, tap: usize, place: Range<usize>, source: usize, stride: usize) {
        let factor = self.filter[tap];
        let (out, image) = (&mut self.out[place], &self.image[source..]);
        if stride == 1 {
            out.iter_mut().zip(image).for_each(|(out, x)| *out += factor * x);
        } else {
            out.iter_mut().zip(image.iter().step_by(stride)).for_each(|(out, x)| *out += factor * x);
        }
    }
}

struct OfImage<'a> {
    gradient: &'a [f32],
    image: &'a mut [f32],
    filter: &'a [f32],
}

impl Step for OfImage<'_> {
    #[inline(always)]
    fn row(&mut self, tap: usize, place: Range<usize>, source: usize, stride: usize) {
        let factor = self.filter[tap];
        let (gradient, image) = (&self.gradient[place], &mut self.image[source..]);
        if stride == 1 {
            image.iter_mut().zip(gradient).for_each(|(x, gradient)| *x += factor * gradient);
        } else {
            image.iter_mut().step_by(stride).zip(gradient).for_each(|(x, gradient)| *x += factor * gradient);
        }
    }
}

struct OfWeight<'a> {
    gradient: &'a [f32],
    image: &'a [f32],
    filter: &'a mut [f32],
}

impl Step for OfWeight<'_> {
    #[inline(always)]
    fn row(&mut self, tap: usize, place: Range<usize>, source: usize, stride: usize) {
        let (gradient, image) = (&self.gradient[place], &self.image[source..]);
        self.filter[tap] += if stride == 1 {
            dot(gradient, &image[..gradient.len()])
        } else {
            gradient.iter().zip(image.iter().step_by(stride)).map(|(gradient, x)| gradient * x).sum::<f32>()
        };
    }
}

/// The loop over a filter, vectorised.
struct Rows<'a, S> {
    geometry: &'a Geometry,
    row_of_filter: &'a [(Range<usize>, usize)],
    step: S,
}

impl<S: Step> Kernel for Rows<'_, S> {
    #[inline(always)]
    fn run(mut self) {
        each_row(self.geometry, self.row_of_filter, &mut self.step);
    }
}

/// The filter number `n` belongs to the channel `n / outputs`.
fn channel<'a>(geometry: &Geometry, image: &'a [f32], filter: usize) -> &'a [f32] {
    &image[filter / geometry.outputs * geometry.plane()..][..geometry.plane()]
}

pub(super) fn outputs(geometry: &Geometry, image: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    let row_of_filter = &row_of_filter(geometry)[..];
    let samples = out.par_chunks_mut(geometry.result()).zip(image.par_chunks(geometry.image()));
    samples.for_each(|(out, image)| {
        let filters = out.chunks_mut(geometry.places()).zip(weight.chunks(geometry.taps()));
        for (number, (out, filter)) in filters.enumerate() {
            if let Some(bias) = bias {
                out.fill(bias[number]);
            }
            let step = Forward { out, image: channel(geometry, image, number), filter };
            vectorised(Rows { geometry, row_of_filter, step });
        }
    });
}

pub(super) fn gradient_of_image(geometry: &Geometry, gradient: &[f32], weight: &[f32], image: &mut [f32]) {
    let row_of_filter = &row_of_filter(geometry)[..];
    let samples = image.par_chunks_mut(geometry.image()).zip(gradient.par_chunks(geometry.result()));
    samples.for_each(|(image, gradient)| {
        let filters = gradient.chunks(geometry.places()).zip(weight.chunks(geometry.taps()));
        for (number, (gradient, filter)) in filters.enumerate() {
            let image = &mut image[number / geometry.outputs * geometry.plane()..][..geometry.plane()];
            let step = OfImage { gradient, image, filter };
            vectorised(Rows { geometry, row_of_filter, step });
        }
    });
}

/// Adds what some samples bring.
pub(super) fn gradient_of_weight(geometry: &Geometry, images: &[f32], gradients: &[f32], sum: &mut [f32]) {
    let row_of_filter = &row_of_filter(geometry)[..];
    let samples = images.chunks(geometry.image()).zip(gradients.chunks(geometry.result()));
    for (image, gradient) in samples {
        let filters = gradient.chunks(geometry.places()).zip(sum.chunks_mut(geometry.taps()));
        for (number, (gradient, filter)) in filters.enumerate() {
            let step = OfWeight { gradient, image: channel(geometry, image, number), filter };
            vectorised(Rows { geometry, row_of_filter, step });
        }
    }
}
