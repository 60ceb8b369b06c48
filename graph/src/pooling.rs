//! Largest elements and averages of sliding windows over three axes, plane by plane.

use rayon::prelude::*;

use crate::tensor::parallel::{PIECE, pieces, pieces_of_two};

/// The windows along one axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub extent: usize,
    pub dilation: usize,
    /// For each window.
    pub places: Vec<Place>,
}

/// What a window takes along one axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The first element that it takes.
    pub first: usize,
    /// How many it takes; none where it lies in the padding.
    pub taken: usize,
    /// By how much its sum is divided.
    pub counted: f32,
}

impl Axis {
    /// An axis of extent one.
    pub(crate) fn single() -> Axis {
        Axis { extent: 1, dilation: 1, places: vec![Place { first: 0, taken: 1, counted: 1.0 }] }
    }
}

/// Where a window that takes nothing has its largest element.
const NOWHERE: u32 = u32::MAX;

fn plane(axes: &[Axis; 3]) -> usize {
    axes.iter().map(|axis| axis.extent).product()
}

fn windows(axes: &[Axis; 3]) -> usize {
    axes.iter().map(|axis| axis.places.len()).product()
}

/// Calls `f` with the number of the first window of a row, the places of the row along the first two axes, and for each
/// row of the plane that they take where it begins.
#[inline]
fn each_row(axes: &[Axis; 3], mut f: impl FnMut(usize, (Place, Place), &mut dyn Iterator<Item = usize>)) {
    let [depth, height, width] = axes;
    for (number_0, &place_0) in depth.places.iter().enumerate() {
        for (number_1, &place_1) in height.places.iter().enumerate() {
            let rows = (0..place_0.taken).flat_map(|at_0| {
                let at_0 = place_0.first + at_0 * depth.dilation;
                let along = (0..place_1.taken).map(move |at_1| place_1.first + at_1 * height.dilation);
                along.map(move |at_1| (at_0 * height.extent + at_1) * width.extent)
            });
            let mut rows = rows;
            f((number_0 * height.places.len() + number_1) * width.places.len(), (place_0, place_1), &mut rows);
        }
    }
}

/// The largest element of every window, and, where wanted, where in its plane it is, the first one of equals.
pub(crate) fn largest(axes: &[Axis; 3], x: &[f32], count: usize, wanted: bool) -> (Vec<f32>, Vec<u32>) {
    let (plane, windows) = (plane(axes), windows(axes));
    let mut values = vec![f32::MIN; count];
    let mut places = vec![NOWHERE; if wanted { count } else { 0 }];
    let planes = (PIECE / plane).max(1);
    if wanted {
        let (values, places) = ((&mut values[..], planes * windows), (&mut places[..], planes * windows));
        pieces_of_two(values, places, |start, values, places| {
            let x = x[start / windows * plane..].chunks(plane);
            let outputs = values.chunks_mut(windows).zip(places.chunks_mut(windows));
            outputs.zip(x).for_each(|((values, places), x)| largest_of_plane(axes, x, values, Some(places)));
        });
    } else {
        pieces(&mut values, planes * windows, |start, values| {
            let x = x[start / windows * plane..].chunks(plane);
            values.chunks_mut(windows).zip(x).for_each(|(values, x)| largest_of_plane(axes, x, values, None));
        });
    }
    (values, places)
}

fn largest_of_plane(axes: &[Axis; 3], x: &[f32], values: &mut [f32], mut places: Option<&mut [u32]>) {
    let width = &axes[2];
    each_row(axes, |first, _, rows| {
        for row in rows {
            for (number, place) in width.places.iter().enumerate() {
                let mut best = values[first + number];
                let mut at = NOWHERE;
                for column in 0..place.taken {
                    let here = row + place.first + column * width.dilation;
                    let value = x[here];
                    // Without branches: which one is larger cannot be foreseen.
                    let is_better = (value > best) | value.is_nan();
                    best = if is_better { value } else { best };
                    at = if is_better { here as u32 } else { at };
                }
                values[first + number] = best;
                if let Some(places) = places.as_deref_mut() {
                    let place = &mut places[first + number];
                    *place = if at == NOWHERE { *place } else { at };
                }
            }
        }
    });
}

/// The gradient of the elements, given that of the largest ones and where they are.
pub(crate) fn gradient_of_largest(axes: &[Axis; 3], gradient: &[f32], places: &[u32]) -> Vec<f32> {
    let (plane, windows) = (plane(axes), windows(axes));
    let mut sums = vec![0.0; gradient.len() / windows * plane];
    pieces(&mut sums, (PIECE / plane).max(1) * plane, |start, sums| {
        let first = start / plane * windows;
        let inputs = gradient[first..].chunks(windows).zip(places[first..].chunks(windows));
        for (sums, (gradient, places)) in sums.chunks_mut(plane).zip(inputs) {
            for (gradient, &place) in gradient.iter().zip(places).filter(|(_, place)| **place != NOWHERE) {
                sums[place as usize] += gradient;
            }
        }
    });
    sums
}

/// The sum of every window, divided by what is counted.
pub(crate) fn averages(axes: &[Axis; 3], x: &[f32], count: usize) -> Vec<f32> {
    let (plane, windows, width) = (plane(axes), windows(axes), &axes[2]);
    let mut values = vec![0.0; count];
    let planes = (PIECE / plane).max(1);
    values.par_chunks_mut(planes * windows).zip(x.par_chunks(planes * plane)).for_each(|(values, x)| {
        for (values, x) in values.chunks_mut(windows).zip(x.chunks(plane)) {
            each_row(axes, |first, (place_0, place_1), rows| {
                let values = &mut values[first..first + width.places.len()];
                for row in rows {
                    for (sum, place) in values.iter_mut().zip(&width.places) {
                        *sum += x[row + place.first..][..place.taken].iter().sum::<f32>();
                    }
                }
                let counted = place_0.counted * place_1.counted;
                values.iter_mut().zip(&width.places).for_each(|(sum, place)| *sum /= counted * place.counted);
            });
        }
    });
    values
}

/// The gradient of the elements, given that of the averages.
pub(crate) fn gradient_of_averages(axes: &[Axis; 3], gradient: &[f32]) -> Vec<f32> {
    let (plane, windows, width) = (plane(axes), windows(axes), &axes[2]);
    let mut sums = vec![0.0; gradient.len() / windows * plane];
    let planes = (PIECE / plane).max(1);
    sums.par_chunks_mut(planes * plane).zip(gradient.par_chunks(planes * windows)).for_each(|(sums, gradient)| {
        for (sums, gradient) in sums.chunks_mut(plane).zip(gradient.chunks(windows)) {
            each_row(axes, |first, (place_0, place_1), rows| {
                let counted = place_0.counted * place_1.counted;
                for row in rows {
                    for (gradient, place) in gradient[first..].iter().zip(&width.places) {
                        let share = gradient / (counted * place.counted);
                        sums[row + place.first..][..place.taken].iter_mut().for_each(|sum| *sum += share);
                    }
                }
            });
        }
    });
    sums
}
