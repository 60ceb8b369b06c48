//! One level as a list of acts on the running tensor.
//!
//! An isometry takes one leg of the level above and gives its children; a disentangler takes two neighbouring legs and gives
//! them back. So both are a matrix that replaces some neighbouring axes of the running tensor by others, and
//! [`crate::lowering::place`] need not know which is which.

use std::ops::Range;

use adntn_networks::{Core, CoreKind, Generator};

use crate::lowering::legs::{merge_axes, permuted};

/// An axis of the running tensor between two levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    /// A leg of the level above, not expanded yet.
    Parent(usize),
    /// A leg of this level that a disentangler is still to act on.
    Raw(usize),
    /// A leg of this level as it leaves it.
    Done(usize),
}

/// A core with the axes that it takes and gives.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    pub label: String,
    pub takes: Vec<Axis>,
    pub gives: Vec<Axis>,
    /// Row-major over (takes…, gives…).
    pub data: Vec<f32>,
}

/// A matrix that replaces neighbouring axes of the running tensor: one core, or several made into one before they are applied.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub label: String,
    /// Neighbours in the running tensor, in this order.
    pub takes: Vec<Axis>,
    pub gives: Vec<Axis>,
    /// Isometries from left to right, then disentanglers between their legs.
    pub factors: Vec<Factor>,
}

impl Act {
    fn of(factor: Factor) -> Act {
        Act {
            label: factor.label.clone(),
            takes: factor.takes.clone(),
            gives: factor.gives.clone(),
            factors: vec![factor],
        }
    }
}

/// What has to be done on a level.
pub(super) struct Level {
    /// Isometries from left to right, then disentanglers from left to right.
    pub acts: Vec<Act>,
    /// Axes of the running tensor before all of them; legs that pass through are further than `Parent`.
    pub axes: Vec<Axis>,
    /// Where each leg has to stand when all acts are done.
    pub ranks: Vec<usize>,
    parents: Vec<usize>,
    children: Vec<Range<usize>>,
    dims: Vec<usize>,
    /// Whether a disentangler acts on the legs k and k + 1.
    linked: Vec<bool>,
}

impl Level {
    /// Level `level` of `generator`, whose legs have to come out in the order `ranks`; its first isometry times `scale`.
    pub(super) fn new(generator: &Generator, level: usize, ranks: Vec<usize>, scale: f32) -> Level {
        let shape = generator.shape();
        let dims = shape.levels[level].clone();
        let children: Vec<Range<usize>> = shape.tree().children(level).collect();
        let mut linked = vec![false; dims.len()];
        let mut paired = vec![false; dims.len()];
        for core in shape.disentanglers(level) {
            if let CoreKind::Disentangler { leg, .. } = core.kind {
                linked[leg] = true;
                paired[leg] = true;
                paired[leg + 1] = true;
            }
        }
        let made = |leg: usize| if paired[leg] { Axis::Raw(leg) } else { Axis::Done(leg) };
        let act = |core: &Core| {
            let (label, takes, gives) = match core.kind {
                CoreKind::Isometry { leg, .. } => (
                    format!("level{level}/leg{leg}"),
                    vec![Axis::Parent(leg)],
                    children[leg].clone().map(made).collect::<Vec<_>>(),
                ),
                CoreKind::Disentangler { leg, .. } => (
                    format!("level{level}/disentangler{leg}"),
                    vec![Axis::Raw(leg), Axis::Raw(leg + 1)],
                    vec![Axis::Done(leg), Axis::Done(leg + 1)],
                ),
                CoreKind::Top => return None,
            };
            Some(Act::of(Factor { label, takes, gives, data: generator.core(core).to_vec() }))
        };
        let cores = shape.isometries(level).iter().chain(shape.disentanglers(level));
        let mut acts: Vec<Act> = cores.filter_map(act).collect();
        if let Some(first) = acts.first_mut() {
            first.factors[0].data.iter_mut().for_each(|x| *x *= scale);
        }
        let axis = |(leg, range): (usize, &Range<usize>)| match range.len() {
            1 => made(range.start),
            _ => Axis::Parent(leg),
        };
        let axes = children.iter().enumerate().map(axis).collect();
        Level { acts, axes, ranks, parents: shape.levels[level - 1].clone(), children, dims, linked }
    }

    pub(super) fn dim(&self, axis: Axis) -> usize {
        match axis {
            Axis::Parent(leg) => self.parents[leg],
            Axis::Raw(leg) | Axis::Done(leg) => self.dims[leg],
        }
    }

    /// Whether no leg has to move.
    pub(super) fn is_in_tree_order(&self) -> bool {
        self.ranks.is_sorted()
    }

    pub(super) fn size(&self, axes: &[Axis]) -> usize {
        axes.iter().map(|&axis| self.dim(axis)).product()
    }

    /// The legs of this level that come out of `axis`.
    pub(super) fn legs(&self, axis: Axis) -> Range<usize> {
        match axis {
            Axis::Parent(leg) => self.children[leg].clone(),
            Axis::Raw(leg) | Axis::Done(leg) => leg..leg + 1,
        }
    }

    /// Whether a disentangler that has not acted yet takes what comes out of both `left` and `right`: then they have to stay
    /// neighbours.
    pub(super) fn are_linked(&self, left: Axis, right: Axis) -> bool {
        let done = |axis| matches!(axis, Axis::Done(_));
        let (left_legs, right_legs) = (self.legs(left), self.legs(right));
        !done(left) && !done(right) && left_legs.end == right_legs.start && self.linked[right_legs.start - 1]
    }

    /// Elements of the running tensor with `axes` after the whole level, where each axis has become its legs.
    pub(super) fn size_after(&self) -> usize {
        self.dims.iter().product()
    }

    /// `factor` with its axes in the order `order`.
    pub(super) fn core(&self, factor: &Factor, order: &[Axis]) -> Vec<f32> {
        let own: Vec<Axis> = factor.takes.iter().chain(&factor.gives).copied().collect();
        let dims: Vec<usize> = own.iter().map(|&axis| self.dim(axis)).collect();
        let order: Vec<usize> = order.iter().filter_map(|axis| own.iter().position(|a| a == axis)).collect();
        let (merged, moved) = merge_axes(&dims, &order);
        if moved.len() < 2 { factor.data.clone() } else { permuted(&factor.data, &merged, &moved) }
    }
}
