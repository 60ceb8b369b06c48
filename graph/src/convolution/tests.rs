//! Against sums over all places and elements of the kernel, in sizes that take every way through the blocks.

use super::{Geometry, gradient_of_image, gradient_of_weight, outputs};

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Calls `f` with the places in output, image and weight of every product.
fn each_product(geometry: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let split = |number: usize, [_, b, c]: [usize; 3]| [number / c / b, number / c % b, number % c];
    for row in 0..geometry.samples * geometry.groups * geometry.outputs {
        let (channel, sample) =
            (row % (geometry.groups * geometry.outputs), row / (geometry.groups * geometry.outputs));
        let group = channel / geometry.outputs;
        for place in 0..geometry.places() {
            for input in 0..geometry.inputs {
                for tap in 0..geometry.taps() {
                    let (at, tap_at) = (split(place, geometry.output), split(tap, geometry.kernel));
                    let mut element = 0;
                    let inside = (0..3).all(|axis| {
                        let along = (at[axis] * geometry.strides[axis] + tap_at[axis] * geometry.dilations[axis])
                            .wrapping_sub(geometry.begin[axis]);
                        element = element * geometry.extent[axis] + along.min(geometry.extent[axis]);
                        along < geometry.extent[axis]
                    });
                    if inside {
                        let plane = (sample * geometry.groups + group) * geometry.inputs + input;
                        let weight = (channel * geometry.inputs + input) * geometry.taps() + tap;
                        f(row * geometry.places() + place, plane * geometry.plane() + element, weight);
                    }
                }
            }
        }
    }
}

fn agree(found: &[f32], expected: &[f64], what: &str, geometry: &Geometry) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs() / scale;
        assert!(off < 1e-5, "{what} of {geometry:?} at {at}: {found}, {expected}");
    }
}

fn check(geometry: Geometry) {
    let (size, count) = (geometry.samples * geometry.image(), geometry.samples * geometry.result());
    let filters = geometry.groups * geometry.outputs;
    let (image, weight) = (numbers(size, 1), numbers(filters * geometry.depth(), 2));
    let (gradient, bias) = (numbers(count, 3), numbers(filters, 4));
    let mut out: Vec<f64> = (0..count).map(|at| f64::from(bias[at / geometry.places() % filters])).collect();
    let (mut of_image, mut of_weight) = (vec![0.0; size], vec![0.0; weight.len()]);
    each_product(&geometry, |place, element, tap| {
        out[place] += f64::from(image[element]) * f64::from(weight[tap]);
        of_image[element] += f64::from(gradient[place]) * f64::from(weight[tap]);
        of_weight[tap] += f64::from(gradient[place]) * f64::from(image[element]);
    });
    agree(&outputs(&geometry, &image, &weight, Some(&bias)), &out, "outputs", &geometry);
    agree(&gradient_of_image(&geometry, &gradient, &weight), &of_image, "gradient of the image", &geometry);
    agree(&gradient_of_weight(&geometry, &image, &gradient), &of_weight, "gradient of the weight", &geometry);
}

/// With padding on both sides that keeps the extent where the stride is one.
fn geometry(samples: usize, [groups, inputs, outputs]: [usize; 3], extent: [usize; 3], kernel: [usize; 3]) -> Geometry {
    let begin = kernel.map(|kernel| kernel / 2);
    let output = std::array::from_fn(|axis| extent[axis] + 2 * begin[axis] - kernel[axis] + 1);
    let (strides, dilations) = ([1; 3], [1; 3]);
    Geometry { samples, groups, inputs, outputs, extent, kernel, strides, dilations, begin, output }
}

fn strided(mut geometry: Geometry, strides: [usize; 3], dilations: [usize; 3]) -> Geometry {
    geometry.output = std::array::from_fn(|axis| {
        let reach = (geometry.kernel[axis] - 1) * dilations[axis] + 1;
        (geometry.extent[axis] + 2 * geometry.begin[axis] - reach) / strides[axis] + 1
    });
    Geometry { strides, dilations, ..geometry }
}

#[test]
fn every_size_agrees_with_plain_sums() {
    let square = [1, 3, 3];
    let cases = [
        // Several samples in a block, the last task with fewer; blocks of a sample; rows longer than a block.
        geometry(37, [1, 3, 5], [1, 8, 8], square),
        geometry(2, [1, 2, 3], [1, 50, 40], square),
        geometry(1, [1, 2, 3], [1, 40, 40], square),
        geometry(2, [1, 2, 3], [1, 1, 2500], [1, 1, 5]),
        geometry(3, [2, 3, 2], [4, 9, 11], [3, 3, 3]),
        // The image itself as columns, and gathered from several samples.
        geometry(2, [1, 4, 6], [1, 40, 40], [1, 1, 1]),
        geometry(50, [2, 4, 6], [1, 3, 3], [1, 1, 1]),
        // Single channels.
        geometry(5, [6, 1, 1], [1, 12, 9], square),
        strided(geometry(3, [4, 1, 2], [3, 9, 10], [2, 3, 3]), [1, 2, 3], [1, 2, 1]),
        geometry(3, [1, 1, 8], [1, 28, 28], [1, 5, 5]),
        // Steps in the image and in the kernel, and kernels larger than the image.
        strided(geometry(9, [1, 3, 4], [1, 31, 30], square), [1, 2, 2], [1, 1, 1]),
        strided(geometry(9, [2, 3, 4], [5, 17, 13], [2, 3, 3]), [2, 1, 3], [1, 3, 2]),
        geometry(2, [1, 2, 2], [1, 2, 2], [1, 5, 5]),
        strided(geometry(4, [1, 2, 2], [1, 3, 3], [1, 5, 5]), [1, 1, 1], [1, 1, 1]),
    ];
    cases.into_iter().for_each(check);
}
