//! Convolutions as products of matrices, a block of places at a time.

use rayon::prelude::*;

use super::columns::{Block, blocks};
use super::{Geometry, depthwise};
use crate::matrix::{Matrix, Target, multiply_into, multiply_into_together};
use crate::tensor::sum_axis;

/// Elements of a block of columns that should fit into the caches.
const COLUMNS: usize = 1 << 18;
/// Fewer places than this leave a product too narrow; more bring nothing.
const PLACES: (usize, usize) = (256, 1024);
/// Enough to do for several threads, where the narrowest products allow it.
const TASKS: usize = 16;
/// Sums over samples are taken in so many parts at most, with so many elements together at most.
const PARTS: (usize, usize) = (16, 1 << 24);

/// How the work is divided; this depends on the sizes alone.
struct Plan<'a> {
    geometry: &'a Geometry,
    /// Places of a block.
    limit: usize,
    /// Samples of a task.
    samples: usize,
    /// Whether there is but one task, so that threads are needed inside it.
    is_single: bool,
}

/// Memory that a thread uses again for the next task.
#[derive(Default)]
struct Scratch {
    columns: Vec<f32>,
    results: Vec<f32>,
}

fn sized(memory: &mut Vec<f32>, size: usize) -> &mut [f32] {
    if memory.len() < size {
        memory.resize(size, 0.0);
    }
    &mut memory[..size]
}

impl<'a> Plan<'a> {
    fn of(geometry: &'a Geometry) -> Plan<'a> {
        let limit = (COLUMNS / geometry.depth()).clamp(PLACES.0, PLACES.1);
        let (least, most) = (PLACES.0 / geometry.places(), limit / geometry.places());
        let samples = geometry.samples.div_ceil(TASKS).clamp(least.max(1), most.max(1)).min(geometry.samples);
        Plan { geometry, limit, samples, is_single: samples >= geometry.samples }
    }

    fn multiply(&self, target: Target, a: Matrix, b: Matrix) {
        if self.is_single { multiply_into_together(target, a, b) } else { multiply_into(target, a, b) }
    }

    /// The columns of a block: inputs·taps × places. `image`: its samples from the first channel of the group on.
    fn columns<'b>(&self, block: &Block, samples: usize, image: &'b [f32], memory: &'b mut Vec<f32>) -> Matrix<'b> {
        let depth = self.geometry.depth();
        if self.geometry.is_pointwise() && samples == 1 {
            return Matrix::wide(&image[block.first..], depth, block.columns, self.geometry.plane());
        }
        let columns = sized(memory, depth * block.columns);
        block.fill(self.geometry, image, columns);
        Matrix::new(columns, depth, block.columns)
    }

    /// The gradient at the places of a block: outputs × places. `gradient`: its samples from the first filter of the group
    /// on.
    fn results<'b>(&self, block: &Block, samples: usize, gradient: &'b [f32], memory: &'b mut Vec<f32>) -> Matrix<'b> {
        let (outputs, places) = (self.geometry.outputs, self.geometry.places());
        if samples == 1 {
            return Matrix::wide(&gradient[block.first..], outputs, block.columns, places);
        }
        let results = sized(memory, outputs * block.columns);
        for (number, row) in results.chunks_mut(places).enumerate() {
            let (filter, sample) = (number / samples, number % samples);
            row.copy_from_slice(&gradient[sample * self.geometry.result() + filter * places..][..places]);
        }
        Matrix::new(results, outputs, block.columns)
    }

    /// A task of [`outputs`].
    fn forward(&self, image: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32], scratch: &mut Scratch) {
        let geometry = self.geometry;
        let (outputs, places, depth) = (geometry.outputs, geometry.places(), geometry.depth());
        let samples = out.len() / geometry.result();
        if let Some(bias) = bias {
            out.chunks_mut(places).zip(bias.iter().cycle()).for_each(|(row, bias)| row.fill(*bias));
        }
        for block in blocks(geometry, samples, self.limit) {
            for group in 0..geometry.groups {
                let image = &image[group * geometry.inputs * geometry.plane()..];
                let columns = self.columns(&block, samples, image, &mut scratch.columns);
                let weight = Matrix::new(&weight[group * outputs * depth..], outputs, depth);
                let out = &mut out[group * outputs * places..];
                if samples == 1 {
                    let target = Target { values: &mut out[block.first..], step: places, add: bias.is_some() };
                    self.multiply(target, weight, columns);
                    continue;
                }
                let results = sized(&mut scratch.results, outputs * block.columns);
                self.multiply(Target { values: results, step: block.columns, add: false }, weight, columns);
                for (number, row) in results.chunks(places).enumerate() {
                    let (filter, sample) = (number / samples, number % samples);
                    let out = &mut out[sample * geometry.result() + filter * places..][..places];
                    if bias.is_some() {
                        out.iter_mut().zip(row).for_each(|(out, value)| *out += value);
                    } else {
                        out.copy_from_slice(row);
                    }
                }
            }
        }
    }

    /// A task of [`gradient_of_image`].
    fn backward(&self, gradient: &[f32], weight: &[f32], image: &mut [f32], scratch: &mut Scratch) {
        let geometry = self.geometry;
        let (outputs, depth, plane) = (geometry.outputs, geometry.depth(), geometry.plane());
        let samples = image.len() / geometry.image();
        for block in blocks(geometry, samples, self.limit) {
            for group in 0..geometry.groups {
                let gradient = &gradient[group * outputs * geometry.places()..];
                let results = self.results(&block, samples, gradient, &mut scratch.results);
                let weight = Matrix::new(&weight[group * outputs * depth..], outputs, depth).turned();
                let image = &mut image[group * geometry.inputs * plane..];
                if geometry.is_pointwise() && samples == 1 {
                    let target = Target { values: &mut image[block.first..], step: plane, add: false };
                    self.multiply(target, weight, results);
                    continue;
                }
                let columns = sized(&mut scratch.columns, depth * block.columns);
                self.multiply(Target { values: columns, step: block.columns, add: false }, weight, results);
                block.add(geometry, columns, image);
            }
        }
    }

    /// A part of [`gradient_of_weight`]: adds what some samples bring.
    fn weights(&self, image: &[f32], gradient: &[f32], sum: &mut [f32], scratch: &mut Scratch) {
        let geometry = self.geometry;
        let (outputs, depth) = (geometry.outputs, geometry.depth());
        let samples = image.len() / geometry.image();
        for block in blocks(geometry, samples, self.limit) {
            for group in 0..geometry.groups {
                let image = &image[group * geometry.inputs * geometry.plane()..];
                let columns = self.columns(&block, samples, image, &mut scratch.columns);
                let gradient = &gradient[group * outputs * geometry.places()..];
                let results = self.results(&block, samples, gradient, &mut scratch.results);
                let sum = &mut sum[group * outputs * depth..];
                self.multiply(Target { values: sum, step: depth, add: true }, results, columns.turned());
            }
        }
    }
}

/// The convolution of an image with a weight.
pub(crate) fn outputs(geometry: &Geometry, image: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; geometry.samples * geometry.result()];
    if depthwise::is_suitable(geometry) {
        depthwise::outputs(geometry, image, weight, bias, &mut out);
        return out;
    }
    let plan = Plan::of(geometry);
    let tasks =
        out.par_chunks_mut(plan.samples * geometry.result()).zip(image.par_chunks(plan.samples * geometry.image()));
    tasks.for_each_init(Scratch::default, |scratch, (out, image)| plan.forward(image, weight, bias, out, scratch));
    out
}

/// The gradient of the image, given that of the outputs.
pub(crate) fn gradient_of_image(geometry: &Geometry, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let mut image = vec![0.0; geometry.samples * geometry.image()];
    if depthwise::is_suitable(geometry) {
        depthwise::gradient_of_image(geometry, gradient, weight, &mut image);
        return image;
    }
    let plan = Plan::of(geometry);
    let gradients = gradient.par_chunks(plan.samples * geometry.result());
    let tasks = image.par_chunks_mut(plan.samples * geometry.image()).zip(gradients);
    tasks.for_each_init(Scratch::default, |scratch, (image, gradient)| plan.backward(gradient, weight, image, scratch));
    image
}

/// The gradient of the weight, given that of the outputs.
pub(crate) fn gradient_of_weight(geometry: &Geometry, image: &[f32], gradient: &[f32]) -> Vec<f32> {
    let size = geometry.groups * geometry.outputs * geometry.depth();
    let plan = Plan::of(geometry);
    let direct = depthwise::is_suitable(geometry);
    let unit = if direct { 1 } else { plan.samples };
    let parts = geometry.samples.div_ceil(unit).min(PARTS.0).min((PARTS.1 / size).max(2));
    // Whole tasks for each part.
    let samples = geometry.samples.div_ceil(unit).div_ceil(parts) * unit;
    let parts = geometry.samples.div_ceil(samples);
    let mut sums = vec![0.0; parts * size];
    let images = image.par_chunks(samples * geometry.image());
    let gradients = gradient.par_chunks(samples * geometry.result());
    let tasks = sums.par_chunks_mut(size).zip(images).zip(gradients);
    tasks.for_each_init(Scratch::default, |scratch, ((sum, images), gradients)| {
        if direct {
            depthwise::gradient_of_weight(geometry, images, gradients, sum);
            return;
        }
        let images = images.chunks(plan.samples * geometry.image());
        for (image, gradient) in images.zip(gradients.chunks(plan.samples * geometry.result())) {
            plan.weights(image, gradient, sum, scratch);
        }
    });
    if parts == 1 { sums } else { sum_axis(&sums, None, [1, parts, size]) }
}
