//! Where the legs that an act gives are put, so that no level ends with a transposition.
//!
//! Seen around the axes K that an act takes, the running tensor is \[left…, K, N\]. A MatMul with the core as \[…, M, K\] puts
//! M in the place of K; batch axes of the core among those of the running tensor (which has 1 there) put legs further to the
//! left, anywhere, but never to the right. That is enough for every order of legs: a leg that would end up in front of one of
//! those before it goes to the left at once, past all of them if need be. It stays as far to the right as its *rank* (its
//! place in the end) allows, since legs in M make the products large.

use crate::lowering::level::{Act, Axis, Level};

/// An act with its place in the running tensor.
pub(super) struct Placed {
    /// Index into [`Level::acts`].
    pub act: usize,
    /// Number of axes of the running tensor before those taken.
    pub before: usize,
    /// Axes of the running tensor afterwards.
    pub axes: Vec<Axis>,
}

/// The order in which the axes should stand before the level begins.
///
/// Groups of legs that disentanglers tie together stay in tree order. Groups come by the rank of their first leg of the
/// stored weight's back side, so that these stay where they are and front legs alone move, and those without any stand in
/// front. Legs that no act makes cannot move later.
pub(super) fn start(level: &Level, front_legs: usize) -> Vec<Axis> {
    let mut groups: Vec<Vec<Axis>> = Vec::new();
    for &axis in &level.axes {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|&last| level.are_linked(last, axis)) => group.push(axis),
            _ => groups.push(vec![axis]),
        }
    }
    let key = |group: &Vec<Axis>| {
        let ranks = || group.iter().flat_map(|&axis| level.legs(axis)).map(|leg| level.ranks[leg]);
        let back = ranks().filter(|&rank| rank >= front_legs).min();
        (back.is_some(), back.or_else(|| ranks().min()))
    };
    groups.sort_by_key(key);
    let axes: Vec<Axis> = groups.concat();
    let stands = |at: usize| match axes[at] {
        Axis::Done(leg) => fits(level, &axes[..at], &axes[at + 1..], leg),
        _ => true,
    };
    if (0..axes.len()).all(stands) {
        return axes;
    }
    let (mut done, rest): (Vec<Axis>, Vec<Axis>) = axes.iter().partition(|axis| matches!(axis, Axis::Done(_)));
    done.sort_by_key(|&axis| level.ranks[level.legs(axis).start]);
    [done, rest].concat()
}

/// Places the acts in the given order; `axes` are those of the running tensor before the first. None when an act finds the
/// axes that it takes apart, which no order does that expands legs before it disentangles them.
pub(super) fn place(level: &Level, mut axes: Vec<Axis>, order: &[usize]) -> Option<Vec<Placed>> {
    let mut placed = Vec::with_capacity(order.len());
    for &act in order {
        let Act { takes, gives, .. } = &level.acts[act];
        let before = axes.windows(takes.len()).position(|window| window == takes)?;
        axes = after(level, &axes, before, takes.len(), gives);
        placed.push(Placed { act, before, axes: axes.clone() });
    }
    Some(placed)
}

/// `axes` with `gives` instead of the `taken` axes from `before` on.
fn after(level: &Level, axes: &[Axis], before: usize, taken: usize, gives: &[Axis]) -> Vec<Axis> {
    let is_done = |axis: &Axis| matches!(axis, Axis::Done(_));
    let mut result = axes[..before].to_vec();
    result.extend(gives.iter().filter(|axis| !is_done(axis)));
    let first = result.len();
    result.extend(&axes[before + taken..]);
    let mut done: Vec<usize> = gives.iter().filter(|axis| is_done(axis)).map(|&axis| level.legs(axis).start).collect();
    // From the highest rank down, so that none has to pass another.
    done.sort_by_key(|&leg| std::cmp::Reverse(level.ranks[leg]));
    for (end, leg) in (first..).zip(done) {
        let splits = |at: usize| {
            at.checked_sub(1)
                .and_then(|l| result.get(l))
                .zip(result.get(at))
                .is_some_and(|(&l, &r)| level.are_linked(l, r))
        };
        let at = (0..=end).rev().find(|&at| !splits(at) && fits(level, &result[..at], &result[at..], leg)).unwrap_or(0);
        result.insert(at, Axis::Done(leg));
    }
    result
}

/// Whether `leg` may stand between `left` and `right`: later acts move their legs to the left only.
fn fits(level: &Level, left: &[Axis], right: &[Axis], leg: usize) -> bool {
    let rank = level.ranks[leg];
    let is_done = |axis: &Axis| matches!(axis, Axis::Done(_));
    left.iter().all(|&axis| level.legs(axis).all(|other| level.ranks[other] < rank))
        && right.iter().filter(|axis| is_done(axis)).all(|&axis| level.ranks[level.legs(axis).start] > rank)
}
