//! Patches of an image as columns of a matrix, and back.

use super::Geometry;

/// Neighbouring rows of places, or a part of one.
#[derive(Clone, Copy, Debug)]
struct Segment {
    sample: usize,
    /// Along the first two axes.
    at: [usize; 2],
    rows: usize,
    /// Where it begins and how long it is along the last axis.
    first: usize,
    width: usize,
    /// Of the first place.
    column: usize,
}

/// Places that are worked on together.
#[derive(Debug)]
pub(super) struct Block {
    segments: Vec<Segment>,
    pub columns: usize,
    /// The first place in its sample.
    pub first: usize,
}

/// Divides the places of some samples into blocks of about `limit`, each in a single sample where there are several.
pub(super) fn blocks(geometry: &Geometry, samples: usize, limit: usize) -> Vec<Block> {
    let [depth, height, width] = geometry.output;
    if width > limit {
        let part = width.div_ceil(width.div_ceil(limit));
        let all = (0..samples * depth * height).flat_map(|row| (0..width).step_by(part).map(move |first| (row, first)));
        let block = |(row, first): (usize, usize)| {
            let (sample, at) = (row / height / depth, [row / height % depth, row % height]);
            let part = part.min(width - first);
            let segment = Segment { sample, at, rows: 1, first, width: part, column: 0 };
            Block { segments: vec![segment], columns: part, first: row % (depth * height) * width + first }
        };
        return all.map(block).collect();
    }
    let total = samples * depth * height;
    let rows = total.div_ceil(total.div_ceil((limit / width).max(1)));
    let block = |begin: usize| {
        let end = (begin + rows).min(total);
        let mut segments = Vec::new();
        let mut row = begin;
        while row < end {
            let next = end.min((row / height + 1) * height);
            let (sample, at) = (row / height / depth, [row / height % depth, row % height]);
            let column = (row - begin) * width;
            segments.push(Segment { sample, at, rows: next - row, first: 0, width, column });
            row = next;
        }
        Block { segments, columns: (end - begin) * width, first: begin % (depth * height) * width }
    };
    (0..total).step_by(rows).map(block).collect()
}

/// Where the places of a segment find the element of the image under an element of the kernel.
struct Overlap {
    /// Rows and columns of the segment that lie over the image.
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    /// The element under the first of them, and the way to the next one below and to the right.
    source: usize,
    below: usize,
    right: usize,
}

impl Overlap {
    fn of(geometry: &Geometry, segment: &Segment, [tap_0, tap_1, tap_2]: [usize; 3]) -> Option<Overlap> {
        let [depth, row] = segment.at;
        let (end_row, end_column) = (row + segment.rows, segment.first + segment.width);
        let rows = geometry.covered(1, tap_1, row, end_row);
        let columns = geometry.covered(2, tap_2, segment.first, end_column);
        if geometry.covered(0, tap_0, depth, depth + 1).is_empty() || rows.is_empty() || columns.is_empty() {
            return None;
        }
        let [_, height, width] = geometry.extent;
        let along = |axis: usize, place: usize, tap: usize| {
            (place * geometry.strides[axis]).wrapping_add_signed(geometry.offset(axis, tap))
        };
        let plane = along(0, depth, tap_0) * height;
        Some(Overlap {
            source: (plane + along(1, rows.start, tap_1)) * width + along(2, columns.start, tap_2),
            rows: rows.start - row..rows.end - row,
            columns: columns.start - segment.first..columns.end - segment.first,
            below: geometry.strides[1] * width,
            right: geometry.strides[2],
        })
    }

    /// Whether rows follow each other in the image as in the segment; then the run of elements from the first to the
    /// last is the same in both, but for what lies between rows.
    fn is_run(&self, segment: &Segment) -> bool {
        self.right == 1 && (self.below == segment.width || self.rows.len() == 1)
    }

    fn run(&self, width: usize) -> std::ops::Range<usize> {
        self.rows.start * width + self.columns.start..(self.rows.end - 1) * width + self.columns.end
    }

    /// Zeros between the rows of a run.
    fn clear_between(&self, values: &mut [f32], width: usize) {
        if self.columns.len() < width {
            for row in self.rows.start..self.rows.end - 1 {
                values[row * width + self.columns.end..(row + 1) * width + self.columns.start].fill(0.0);
            }
        }
    }
}

/// Calls `f` with every element of the kernel and its number.
fn each_tap(geometry: &Geometry, mut f: impl FnMut(usize, [usize; 3])) {
    let [depth, height, width] = geometry.kernel;
    for number in 0..depth * height * width {
        f(number, [number / width / height, number / width % height, number % width]);
    }
}

impl Block {
    /// Columns of the patches that are under the places. `image`: the samples, from the first channel of a group on.
    pub(super) fn fill(&self, geometry: &Geometry, image: &[f32], columns: &mut [f32]) {
        let (plane, taps) = (geometry.plane(), geometry.taps());
        each_tap(geometry, |number, tap| {
            for segment in &self.segments {
                let (start, size) = (segment.column, segment.rows * segment.width);
                let overlap = Overlap::of(geometry, segment, tap);
                for channel in 0..geometry.inputs {
                    let row = (channel * taps + number) * self.columns + start;
                    let values = &mut columns[row..row + size];
                    let image = &image[segment.sample * geometry.image() + channel * plane..][..plane];
                    match &overlap {
                        Some(overlap) => copy(overlap, segment, image, values),
                        None => values.fill(0.0),
                    }
                }
            }
        });
    }

    /// Adds columns to the patches that are under the places, and uses them up.
    pub(super) fn add(&self, geometry: &Geometry, columns: &mut [f32], image: &mut [f32]) {
        let (plane, taps) = (geometry.plane(), geometry.taps());
        each_tap(geometry, |number, tap| {
            for segment in &self.segments {
                let (start, size) = (segment.column, segment.rows * segment.width);
                let Some(overlap) = Overlap::of(geometry, segment, tap) else { continue };
                for channel in 0..geometry.inputs {
                    let row = (channel * taps + number) * self.columns + start;
                    let image = &mut image[segment.sample * geometry.image() + channel * plane..][..plane];
                    add(&overlap, segment, &mut columns[row..row + size], image);
                }
            }
        });
    }
}

fn copy(overlap: &Overlap, segment: &Segment, image: &[f32], values: &mut [f32]) {
    let width = segment.width;
    let run = overlap.run(width);
    values[..run.start].fill(0.0);
    values[run.end..].fill(0.0);
    if overlap.is_run(segment) {
        values[run.clone()].copy_from_slice(&image[overlap.source..][..run.len()]);
        overlap.clear_between(values, width);
        return;
    }
    overlap.clear_between(values, width);
    for (number, row) in overlap.rows.clone().enumerate() {
        let source = &image[overlap.source + number * overlap.below..];
        let row = &mut values[row * width..][overlap.columns.clone()];
        if overlap.right == 1 {
            row.copy_from_slice(&source[..row.len()]);
        } else {
            row.iter_mut().zip(source.iter().step_by(overlap.right)).for_each(|(value, source)| *value = *source);
        }
    }
}

fn add(overlap: &Overlap, segment: &Segment, values: &mut [f32], image: &mut [f32]) {
    let width = segment.width;
    if overlap.is_run(segment) {
        overlap.clear_between(values, width);
        let run = &values[overlap.run(width)];
        image[overlap.source..].iter_mut().zip(run).for_each(|(sum, value)| *sum += value);
        return;
    }
    for (number, row) in overlap.rows.clone().enumerate() {
        let target = &mut image[overlap.source + number * overlap.below..];
        let row = &values[row * width..][overlap.columns.clone()];
        if overlap.right == 1 {
            target.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        } else {
            target.iter_mut().step_by(overlap.right).zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}
