//! Elements moved without arithmetic.

use super::Tensor;
use super::parallel::{PIECE, pieces, rows_of};
use super::plain::Plain;
use super::tape::Node;
use crate::broadcast::{broadcast, with_rank};
use crate::error::{Problem, refuse};

/// Rows of a tile that is turned at once: a cache line of what is read.
const ROWS: usize = 16;
/// Columns of a tile: where they are a power of two apart, the first-level cache has not places for more.
const COLUMNS: usize = 8;

/// The number of elements of a shape. Empty tensors and such as no memory holds are refused.
pub(crate) fn elements(shape: &[usize]) -> Result<usize, Problem> {
    const MOST: usize = isize::MAX as usize / 8;
    let count = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match count.filter(|&count| count > 0 && count < MOST) {
        Some(count) => Ok(count),
        None => refuse!("a tensor of shape {shape:?}"),
    }
}

/// The step to the next element along each axis.
pub(crate) fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * shape[axis];
    }
    steps
}

/// Extents and steps without axes of extent one, neighbours joined where they follow each other in memory.
pub(super) fn joined(axes: impl DoubleEndedIterator<Item = (usize, usize)>) -> Vec<(usize, usize)> {
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (extent, step) in axes.rev().filter(|(extent, _)| *extent != 1) {
        match joined.last_mut() {
            Some((inner, inner_step)) if *inner * *inner_step == step => *inner *= extent,
            _ => joined.push((extent, step)),
        }
    }
    joined.reverse();
    joined
}

/// Fills `out`, row-major, with the elements at the steps of `axes` from the first of `from` on.
fn fill(out: &mut [f32], from: &[f32], axes: &[(usize, usize)]) {
    match *axes {
        [] => out[0] = from[0],
        [(extent, 1)] => out.copy_from_slice(&from[..extent]),
        [(_, 0)] => out.fill(from[0]),
        [(_, step)] => out.iter_mut().zip(from.iter().step_by(step)).for_each(|(out, value)| *out = *value),
        [(rows, 1), (columns, step)] if step > 0 => {
            for first_row in (0..rows).step_by(ROWS) {
                let height = ROWS.min(rows - first_row);
                for first in (0..columns).step_by(COLUMNS) {
                    let mut tile = [[0.0; ROWS]; COLUMNS];
                    let width = COLUMNS.min(columns - first);
                    for (column, line) in tile.iter_mut().enumerate().take(width) {
                        line[..height].copy_from_slice(&from[(first + column) * step + first_row..][..height]);
                    }
                    for row in 0..height {
                        let out = &mut out[(first_row + row) * columns + first..][..width];
                        out.iter_mut().zip(&tile).for_each(|(out, line)| *out = line[row]);
                    }
                }
            }
        }
        [(_, step), ref rest @ ..] => {
            let size = rest.iter().map(|(extent, _)| extent).product();
            out.chunks_mut(size).enumerate().for_each(|(at, out)| fill(out, &from[at * step..], rest));
        }
    }
}

/// A new tensor of the elements at these extents and steps from the place `start` on.
fn gathered(from: &[f32], start: usize, shape: Vec<usize>, steps: &[usize]) -> Plain {
    let axes = joined(shape.iter().copied().zip(steps.iter().copied()));
    let mut values = vec![0.0; shape.iter().product()];
    let from = &from[start..];
    match axes.split_first() {
        Some((&(extent, step), rest)) if values.len() > PIECE => {
            let size = values.len() / extent;
            let rows =
                if rest.is_empty() { PIECE } else { rows_of(size).next_multiple_of(if step == 1 { ROWS } else { 1 }) };
            pieces(&mut values, rows * size, |begin, out| {
                let first = begin / size;
                let mut axes = axes.clone();
                axes[0].0 = out.len() / size;
                fill(out, &from[first * step..], &axes);
            });
        }
        _ => fill(&mut values, from, &axes),
    }
    Plain::new(shape, values)
}

/// Repeats axes of extent one. The tensor broadcasts to the shape.
pub(crate) fn repeated(x: &Plain, shape: &[usize]) -> Plain {
    let own = with_rank(x.shape(), shape.len());
    let steps: Vec<usize> =
        steps(&own).into_iter().zip(&own).map(|(step, &extent)| if extent == 1 { 0 } else { step }).collect();
    gathered(x.values(), 0, shape.to_vec(), &steps)
}

fn permuted(x: &Plain, order: &[usize]) -> Plain {
    let steps = steps(x.shape());
    let shape = order.iter().map(|&axis| x.shape()[axis]).collect();
    gathered(x.values(), 0, shape, &order.iter().map(|&axis| steps[axis]).collect::<Vec<_>>())
}

/// `start..end` of every axis.
fn cropped(x: &Plain, ranges: &[(usize, usize)]) -> Plain {
    let steps = steps(x.shape());
    let start = ranges.iter().zip(&steps).map(|((start, _), step)| start * step).sum();
    gathered(x.values(), start, ranges.iter().map(|(start, end)| end - start).collect(), &steps)
}

/// Calls `f` with the rows of a part of a larger tensor and those of a tensor with as many elements as that part.
fn rows_inside(whole: &mut [f32], shape: &[usize], part: &[f32], ranges: &[(usize, usize)], f: fn(&mut [f32], &[f32])) {
    let steps = steps(shape);
    let start: usize = ranges.iter().zip(&steps).map(|((start, _), step)| start * step).sum();
    let axes = joined(ranges.iter().zip(&steps).map(|(&(start, end), &step)| (end - start, step)));
    let width = axes.last().filter(|(_, step)| *step == 1).map_or(1, |(extent, _)| *extent);
    let outer = if width == 1 { &axes[..] } else { &axes[..axes.len() - 1] };
    for (number, row) in part.chunks(width).enumerate() {
        let (mut rest, mut at) = (number, start);
        for &(extent, step) in outer.iter().rev() {
            at += rest % extent * step;
            rest /= extent;
        }
        f(&mut whole[at..at + width], row);
    }
}

fn add_row(sum: &mut [f32], row: &[f32]) {
    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
}

impl Tensor {
    /// Another shape of as many elements.
    pub(crate) fn reshape(self, shape: &[usize]) -> Result<Tensor, Problem> {
        let Tensor { value, node } = self;
        if value.shape() == shape {
            return Ok(Tensor { value, node });
        }
        if elements(shape)? != value.len() {
            refuse!("shape {:?} cannot become {shape:?}", value.shape());
        }
        let before = value.shape().to_vec();
        let node = Node::record(vec![node], move |gradient, parents| parents.give(0, gradient.with_shape(&before)));
        Ok(Tensor { value: value.with_shape(shape), node })
    }

    /// Axes in another order, a permutation.
    pub(crate) fn permute(self, order: &[usize]) -> Tensor {
        if order.iter().copied().eq(0..order.len()) {
            return self;
        }
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        let value = permuted(&self.value, order);
        let node = Node::record(vec![self.node], move |gradient, parents| parents.give(0, permuted(&gradient, &back)));
        Tensor { value, node }
    }

    /// Repeats axes of extent one.
    pub(crate) fn expand(self, shape: &[usize]) -> Result<Tensor, Problem> {
        let own = self.shape();
        if own.len() > shape.len() || broadcast(&own, shape)? != shape {
            refuse!("shape {own:?} does not broadcast to {shape:?}");
        }
        if own == shape {
            return Ok(self);
        }
        elements(shape)?;
        let value = repeated(&self.value, shape);
        let node = Node::record(vec![self.node], move |gradient, parents| {
            parents.give(0, super::fold::sum_to(gradient, &own));
        });
        Ok(Tensor { value, node })
    }

    /// `start..end` of every axis, inside it and not empty.
    pub(crate) fn crop(self, ranges: &[(usize, usize)]) -> Tensor {
        let shape = self.shape();
        if ranges.iter().zip(&shape).all(|(&(start, end), &extent)| start == 0 && end == extent) {
            return self;
        }
        let value = cropped(&self.value, ranges);
        let ranges = ranges.to_vec();
        let node = Node::record(vec![self.node], move |gradient, parents| {
            parents.add(0, &shape, |sum| rows_inside(sum, &shape, gradient.values(), &ranges, add_row));
        });
        Tensor { value, node }
    }

    /// Constant values before and after every axis.
    pub(crate) fn pad(self, pads: &[(usize, usize)], fill: f32) -> Result<Tensor, Problem> {
        if pads.iter().all(|&pad| pad == (0, 0)) {
            return Ok(self);
        }
        let sum =
            |(&extent, &(begin, end)): (&usize, &(usize, usize))| extent.saturating_add(begin).saturating_add(end);
        let shape: Vec<usize> = self.value.shape().iter().zip(pads).map(sum).collect();
        let inside = self.value.shape().iter().zip(pads).map(|(&extent, &(begin, _))| (begin, begin + extent));
        let inside: Vec<(usize, usize)> = inside.collect();
        let mut values = vec![fill; elements(&shape)?];
        rows_inside(&mut values, &shape, self.value.values(), &inside, <[f32]>::copy_from_slice);
        let node = Node::record(vec![self.node], move |gradient, parents| parents.give(0, cropped(&gradient, &inside)));
        Ok(Tensor { value: Plain::new(shape, values), node })
    }

    /// The elements `indices` along `axis`, in this order; each is inside it, and there is one at least.
    pub(crate) fn select(self, axis: usize, indices: Vec<usize>) -> Result<Tensor, Problem> {
        let from = self.shape();
        let mut shape = from.clone();
        shape[axis] = indices.len();
        let mut values = vec![0.0; elements(&shape)?];
        let (extent, inner) = (from[axis], from[axis + 1..].iter().product::<usize>());
        let source = self.value.values();
        pieces(&mut values, rows_of(inner) * inner, |start, out| {
            for (number, out) in out.chunks_mut(inner).enumerate() {
                let row = start / inner + number;
                let at = (row / indices.len() * extent + indices[row % indices.len()]) * inner;
                out.copy_from_slice(&source[at..at + inner]);
            }
        });
        let node = Node::record(vec![self.node], move |gradient, parents| {
            parents.add(0, &from, |sum| {
                pieces(sum, extent * inner, |start, sum| {
                    let outer = start / (extent * inner);
                    for (outer, sum) in sum.chunks_mut(extent * inner).enumerate().map(|(at, sum)| (outer + at, sum)) {
                        let rows = gradient.values()[outer * indices.len() * inner..].chunks(inner);
                        for (&index, row) in indices.iter().zip(rows) {
                            add_row(&mut sum[index * inner..][..inner], row);
                        }
                    }
                });
            });
        });
        Ok(Tensor { value: Plain::new(shape, values), node })
    }

    /// One after the other along an axis. At least one; the others have the extents of the first along all other axes.
    pub(crate) fn concat(parts: Vec<Tensor>, axis: usize) -> Result<Tensor, Problem> {
        let Some(first) = parts.first() else { refuse!("nothing to concatenate") };
        let mut shape = first.shape();
        let extents: Vec<usize> = parts.iter().map(|part| part.value.shape()[axis]).collect();
        shape[axis] = extents.iter().sum();
        let inner: usize = shape[axis + 1..].iter().product();
        let size = shape[axis] * inner;
        let mut values = vec![0.0; elements(&shape)?];
        pieces(&mut values, rows_of(size) * size, |start, out| {
            for (number, mut out) in out.chunks_mut(size).enumerate() {
                let row = start / size + number;
                for part in &parts {
                    let length = part.value.shape()[axis] * inner;
                    let (place, rest) = out.split_at_mut(length);
                    place.copy_from_slice(&part.value.values()[row * length..][..length]);
                    out = rest;
                }
            }
        });
        let whole: Vec<(usize, usize)> = shape.iter().map(|&extent| (0, extent)).collect();
        let nodes = parts.into_iter().map(|part| part.node).collect();
        let node = Node::record(nodes, move |gradient, parents| {
            let mut start = 0;
            for (place, extent) in extents.into_iter().enumerate() {
                let mut ranges = whole.clone();
                ranges[axis] = (start, start + extent);
                start += extent;
                if parents.want(place) {
                    parents.give(place, cropped(&gradient, &ranges));
                }
            }
        });
        Ok(Tensor { value: Plain::new(shape, values), node })
    }
}
