//! Sums and largest elements over axes. Sums are taken in an order that depends on the shape alone.

use super::Tensor;
use super::moves::repeated;
use super::parallel::{Kernel, PIECE, pieces, pieces_of_two, rows_of, vectorised};
use super::plain::Plain;
use super::tape::Node;
use super::zip::{Mul, zip_to};
use crate::broadcast::with_rank;

/// Partial sums of one row.
const LANES: usize = 16;
/// Elements that are summed one after the other.
const RUN: usize = 1 << 16;
/// Rows so long are not divided: there is enough to do along them.
const LONG: usize = 1 << 12;

/// Sums over the second of three axes, outer×extent×inner, of a tensor or of the product of two.
#[derive(Clone, Copy)]
struct Sums<'a> {
    a: &'a [f32],
    b: Option<&'a [f32]>,
    /// The sum number `n` begins at element `n / pieces * block + n % pieces * run` and has `run` rows, or what is left
    /// of `block`.
    pieces: usize,
    block: usize,
    run: usize,
    inner: usize,
}

/// The sums whose first element is number `start`; they may begin and end inside a row.
struct Part<'a> {
    sums: Sums<'a>,
    out: &'a mut [f32],
    start: usize,
}

/// The images of all elements joined with each other and with `first`, in an order that vectors can keep.
#[inline(always)]
pub(crate) fn joined(a: &[f32], first: f32, image: impl Fn(f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [first; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane = join(*lane, image(value)));
    }
    rest.iter().fold(folded(lanes, &join), |all, &value| join(all, image(value)))
}

/// The sum of all elements.
#[inline(always)]
pub(crate) fn total(a: &[f32]) -> f32 {
    joined(a, 0.0, |value| value, |a, b| a + b)
}

/// The sum of all products.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((chunks, rest), (others, other_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for (chunk, other) in chunks.iter().zip(others) {
        lanes.iter_mut().zip(chunk.iter().zip(other)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    folded(lanes, |a, b| a + b) + rest.iter().zip(other_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[inline(always)]
fn folded(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

impl Kernel for Part<'_> {
    #[inline(always)]
    fn run(self) {
        let Part { sums: Sums { a, b, pieces, block, run, inner }, out, start } = self;
        let mut done = 0;
        while done < out.len() {
            let (number, first) = ((start + done) / inner, (start + done) % inner);
            let width = (inner - first).min(out.len() - done);
            let out = &mut out[done..done + width];
            done += width;
            let (outer, piece) = (number / pieces, number % pieces);
            let begin = outer * block + piece * run * inner;
            let end = (begin + run * inner).min((outer + 1) * block);
            if inner == 1 {
                out[0] = b.map_or_else(|| total(&a[begin..end]), |b| dot(&a[begin..end], &b[begin..end]));
                continue;
            }
            out.fill(0.0);
            for row in (begin + first..end).step_by(inner) {
                let values = &a[row..row + width];
                match b {
                    None => out.iter_mut().zip(values).for_each(|(sum, a)| *sum += a),
                    Some(b) => {
                        let both = values.iter().zip(&b[row..row + width]);
                        out.iter_mut().zip(both).for_each(|(sum, (a, b))| *sum += a * b);
                    }
                }
            }
        }
    }
}

pub(crate) fn sum_axis(a: &[f32], b: Option<&[f32]>, [outer, extent, inner]: [usize; 3]) -> Vec<f32> {
    let run = if inner >= LONG { extent } else { (RUN / inner).clamp(1, extent) };
    let count = extent.div_ceil(run);
    let sums = Sums { a, b, pieces: count, block: extent * inner, run, inner };
    let mut partial = vec![0.0; outer * count * inner];
    // At least a cache line of sums for each task.
    let size = (PIECE / run).max(LANES);
    pieces(&mut partial, size, |start, out| vectorised(Part { sums, out, start }));
    if count == 1 { partial } else { sum_axis(&partial, None, [outer, count, inner]) }
}

/// Axes in groups of neighbours that are all kept or all reduced.
fn groups(shape: &[usize], kept: impl Fn(usize) -> bool) -> Vec<(usize, bool)> {
    let mut groups: Vec<(usize, bool)> = Vec::new();
    for (axis, &extent) in shape.iter().enumerate().filter(|(_, extent)| **extent != 1) {
        match groups.last_mut() {
            Some((joined, is_kept)) if *is_kept == kept(axis) => *joined *= extent,
            _ => groups.push((extent, kept(axis))),
        }
    }
    groups
}

/// Calls `f` with outer×extent×inner for each group of axes that is reduced, the last one first.
fn reduce(shape: &[usize], kept: impl Fn(usize) -> bool, mut f: impl FnMut([usize; 3])) {
    let mut groups = groups(shape, kept);
    while let Some(at) = groups.iter().rposition(|(_, is_kept)| !is_kept) {
        let product = |groups: &[(usize, bool)]| groups.iter().map(|(extent, _)| extent).product();
        f([product(&groups[..at]), groups[at].0, product(&groups[at + 1..])]);
        groups.remove(at);
    }
}

fn sum_where(a: &Plain, b: Option<&Plain>, kept: impl Fn(usize) -> bool) -> Vec<f32> {
    let mut sum: Option<Vec<f32>> = None;
    reduce(a.shape(), kept, |extents| {
        sum = Some(match &sum {
            None => sum_axis(a.values(), b.map(Plain::values), extents),
            Some(sum) => sum_axis(sum, None, extents),
        });
    });
    sum.unwrap_or_else(|| a.values().to_vec())
}

/// The sum over the axes along which `shape` was repeated to become that of `x`.
pub(crate) fn sum_to(x: Plain, shape: &[usize]) -> Plain {
    let own = with_rank(shape, x.shape().len());
    if own == x.shape() {
        return x.with_shape(shape);
    }
    Plain::new(shape.to_vec(), sum_where(&x, None, |axis| own[axis] != 1))
}

/// The same of x·factor; the factor broadcasts to x.
pub(crate) fn product_to(x: Plain, factor: Plain, shape: &[usize]) -> Plain {
    let own = with_rank(shape, x.shape().len());
    if own != x.shape() && factor.shape() == x.shape() {
        return Plain::new(shape.to_vec(), sum_where(&x, Some(&factor), |axis| own[axis] != 1));
    }
    let whole = x.shape().to_vec();
    sum_to(zip_to(x, factor, &whole, Mul), shape)
}

/// The largest elements over the second of three axes, and where they are, the first ones of equals.
pub(crate) fn largest(x: &[f32], [outer, extent, inner]: [usize; 3]) -> (Vec<f32>, Vec<usize>) {
    let mut values = vec![0.0; outer * inner];
    let mut places = vec![0; outer * inner];
    let size = rows_of(extent * inner) * inner;
    pieces_of_two((&mut values, size), (&mut places, size), |start, values, places| {
        let rows = values.chunks_mut(inner).zip(places.chunks_mut(inner));
        for (number, (values, places)) in rows.enumerate() {
            let begin = (start / inner + number) * extent * inner;
            values.copy_from_slice(&x[begin..begin + inner]);
            places.iter_mut().enumerate().for_each(|(column, place)| *place = begin + column);
            for row in 1..extent {
                let begin = begin + row * inner;
                let both = values.iter_mut().zip(places.iter_mut());
                for (column, (best, place)) in both.enumerate() {
                    let value = x[begin + column];
                    if value > *best || value.is_nan() {
                        (*best, *place) = (value, begin + column);
                    }
                }
            }
        }
    });
    (values, places)
}

/// `shape` with ones for `axes`.
fn reduced(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    shape.iter().enumerate().map(|(axis, &extent)| if axes.contains(&axis) { 1 } else { extent }).collect()
}

impl Tensor {
    /// Sum over `axes`, which stay with extent one.
    pub(crate) fn sum(self, axes: &[usize]) -> Tensor {
        let Tensor { value, node } = self;
        let shape = value.shape().to_vec();
        let value = sum_to(value, &reduced(&shape, axes));
        let node = Node::record(vec![node], move |gradient, parents| {
            parents.give(0, repeated(&gradient, &shape));
        });
        Tensor { value, node }
    }

    /// Sum of the squares over `axes`, which stay with extent one.
    pub(crate) fn sum_of_squares(self, axes: &[usize]) -> Tensor {
        let Tensor { value, node } = self;
        let shape = value.shape().to_vec();
        let sum = product_to(value.clone(), value.clone(), &reduced(&shape, axes));
        let node = Node::record(vec![node], move |gradient, parents| {
            let twice = super::map::apply(gradient, super::Times(2.0));
            parents.give(0, zip_to(value, twice, &shape, Mul));
        });
        Tensor { value: sum, node }
    }

    /// Mean over `axes`, which stay with extent one.
    pub(crate) fn mean(self, axes: &[usize]) -> Tensor {
        let shape = self.shape();
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        self.sum(axes).times(1.0 / count as f32)
    }

    /// The largest over `axes`, which stay with extent one; the first of equals gets the gradient.
    pub(crate) fn largest(self, axes: &[usize]) -> Tensor {
        let Tensor { value, node } = self;
        let shape = value.shape().to_vec();
        let mut found: Option<(Vec<f32>, Vec<usize>)> = None;
        reduce(
            &shape,
            |axis| !axes.contains(&axis),
            |extents| {
                found = Some(match found.take() {
                    None => largest(value.values(), extents),
                    Some((values, places)) => {
                        let (values, inner) = largest(&values, extents);
                        (values, inner.into_iter().map(|place| places[place]).collect())
                    }
                });
            },
        );
        let Some((values, places)) = found else { return Tensor { value, node } };
        let value = Plain::new(reduced(&shape, axes), values);
        let node = Node::record(vec![node], move |gradient, parents| {
            parents.add(0, &shape, |sum| {
                places.iter().zip(gradient.values()).for_each(|(&place, value)| sum[place] += value);
            });
        });
        Tensor { value, node }
    }
}
