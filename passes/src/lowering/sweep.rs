//! The last level, with its legs brought into the order of the stored weight on the way.
//!
//! The stored weight is \[front, back\]: outputs before inputs, or the other way round. A parent expands into f front entries
//! and b back entries (f = 1 or b = 1 when both its legs are of one side). With the parents in an order in which both the
//! front legs and the back legs come by place, they are expanded from the last to the first, and the running tensor is
//! \[front done, parents left, p, back done\]. One MatMul with the core as \[f, 1, b, p\], which broadcasts over f and over (front
//! done · parents left), makes \[f, front done · parents left, b, back done\]: f stands in front, b in front of what was back,
//! so the result needs no transposition of the full weight (which is what costs most when a runtime loads the model).

use adntn_networks::{Generator, Leg, Side};

use crate::Error;
use crate::lowering::inplace::{Core, expand};
use crate::lowering::legs::permuted;
use crate::lowering::program::{Program, Value};

/// A leg of the level above the last, with the core below it.
pub(super) struct Parent {
    label: String,
    dim: usize,
    /// The two physical legs, in tree order.
    legs: [Leg; 2],
    front: Side,
    /// Row-major over (parent, left, right).
    core: Vec<f32>,
}

/// The parents of the last level; the first core takes the overall scale in.
pub(super) fn parents(generator: &Generator, front: Side, scale: f32) -> Vec<Parent> {
    let levels = &generator.shape().levels;
    let last = levels.len() - 1;
    let legs = generator.spec().layout.legs();
    let parent = |(leg, &dim): (usize, &usize)| {
        let factor = if leg == 0 { scale } else { 1.0 };
        Parent {
            label: format!("level{last}/leg{leg}"),
            dim,
            legs: [legs[2 * leg], legs[2 * leg + 1]],
            front,
            core: generator.core(&generator.shape().isometries(last)[leg]).iter().map(|x| x * factor).collect(),
        }
    };
    levels[last - 1].iter().enumerate().map(parent).collect()
}

impl Parent {
    /// Axes of the core that are legs of the front or the back side, by place.
    fn axes(&self, front: bool) -> Vec<usize> {
        let mut axes: Vec<usize> = (0..2).filter(|&k| (self.legs[k].side == self.front) == front).collect();
        axes.sort_unstable_by_key(|&k| self.legs[k].place);
        axes.into_iter().map(|k| k + 1).collect()
    }

    fn places(&self, front: bool) -> Vec<usize> {
        self.axes(front).into_iter().map(|axis| self.legs[axis - 1].place).collect()
    }

    fn size(&self, front: bool) -> usize {
        self.axes(front).into_iter().map(|axis| self.legs[axis - 1].dim).product()
    }

    fn is_mixed(&self) -> bool {
        self.legs[0].side != self.legs[1].side
    }

    fn permuted(&self, order: &[usize]) -> Vec<f32> {
        permuted(&self.core, &[self.dim, self.legs[0].dim, self.legs[1].dim], order)
    }
}

/// An order of the parents in which front legs and back legs both come by place; none where the layout allows none.
pub(super) fn order(parents: &[Parent]) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(parents.len());
    let (mut front, mut back) = (0, 0);
    let continues = |places: &[usize], next: usize| places.iter().enumerate().all(|(k, &place)| place == next + k);
    while order.len() < parents.len() {
        let fits = |&k: &usize| {
            !order.contains(&k)
                && continues(&parents[k].places(true), front)
                && continues(&parents[k].places(false), back)
        };
        // Parents of front legs only come first, those of back legs only last: without mixed ones that is stored order.
        let next = (0..parents.len()).filter(fits).min_by_key(|&k| {
            let p = &parents[k];
            (
                if p.is_mixed() {
                    1
                } else if p.legs[0].side == p.front {
                    0
                } else {
                    2
                },
                k,
            )
        })?;
        front += parents[next].places(true).len();
        back += parents[next].places(false).len();
        order.push(next);
    }
    Some(order)
}

/// Expands `running`, whose axes are the parents, into \[front, back\] in stored order.
pub(super) fn last_level(
    program: &mut Program,
    parents: &[Parent],
    order: &[usize],
    running: Value,
) -> Result<Value, Error> {
    let dims: Vec<usize> = parents.iter().map(|p| p.dim).collect();
    let mut running = program.transpose(running, &dims, order, "parents")?;
    let sorted: Vec<&Parent> = order.iter().map(|&k| &parents[k]).collect();
    if !sorted.iter().any(|p| p.is_mixed()) {
        return in_place(program, &sorted, true, running);
    }
    let (mut front_done, mut back_done) = (1, 1);
    let mut left: usize = dims.iter().product();
    for parent in sorted.into_iter().rev() {
        let (p, f, b) = (parent.dim, parent.size(true), parent.size(false));
        left /= p;
        let rows = front_done * left;
        let label = parent.label.as_str();
        let (front, back) = (parent.axes(true), parent.axes(false));
        let core_label = format!("{label}/core");
        running = if back_done == 1 {
            // Nothing behind p yet: p may stand last, and one product over all rows replaces many small ones.
            let core = parent.permuted(&[front, vec![0], back].concat());
            let shape = if f == 1 { vec![p, b] } else { vec![f, p, b] };
            let core = program.constant(&core_label, &shape, core);
            let rows = program.reshape(running, &[rows, p], label)?;
            program.matmul(rows, core, label)?
        } else {
            let core = parent.permuted(&[front, back, vec![0]].concat());
            let (core_shape, shape) = match (f, rows) {
                (_, 1) => (vec![f * b, p], vec![p, back_done]),
                (1, _) => (vec![b, p], vec![rows, p, back_done]),
                _ => (vec![f, 1, b, p], vec![rows, p, back_done]),
            };
            let core = program.constant(&core_label, &core_shape, core);
            let view = program.reshape(running, &shape, label)?;
            program.matmul(core, view, label)?
        };
        front_done *= f;
        back_done *= b;
    }
    Ok(running)
}

/// Expands every parent where it stands: its legs by place when `by_place`, else in tree order.
pub(super) fn in_place(
    program: &mut Program,
    parents: &[&Parent],
    by_place: bool,
    running: Value,
) -> Result<Value, Error> {
    let legs: Vec<_> = parents.iter().enumerate().map(|(k, p)| ((0, k), p.dim)).collect();
    let cores = parents
        .iter()
        .zip(&legs)
        .map(|(parent, &bond)| {
            let axes = if by_place { [parent.axes(true), parent.axes(false)].concat() } else { vec![1, 2] };
            let children = axes.iter().map(|&axis| ((1, 2 * bond.0.1 + axis - 1), parent.legs[axis - 1].dim)).collect();
            Core {
                label: parent.label.clone(),
                bond,
                legs: children,
                data: parent.permuted(&[&[0], &axes[..]].concat()),
            }
        })
        .collect();
    expand(program, running, legs, cores)
}
