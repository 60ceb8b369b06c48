//! The tree of a generator: which legs of one level come out of which leg of the level above.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A rooted tree whose leaves are the physical legs, all on the last level.
///
/// Level 0 is the top tensor; leg `a` of level l−1 has `children(l, a)` as its children on level l. A leg with a single
/// child *passes through*: it has no core and the dimension of its child, so that trees with leaves at different depths
/// (tensor trains among them) are trees of this kind too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<usize>>", into = "Vec<Vec<usize>>")]
pub struct Tree {
    /// Number of children of every leg, level by level, coarse to fine.
    children: Vec<Vec<usize>>,
}

impl Tree {
    /// The balanced binary tree over `legs` leaves; where their number on a level is odd, the last three share a parent, and a
    /// top tensor may have three legs.
    ///
    /// # Errors
    /// With fewer than four legs, which a single tensor would join.
    pub fn balanced(legs: usize) -> Result<Tree, Error> {
        Tree::with_arity(legs, 2)
    }

    /// As balanced as it can be when legs have `arity` children each, some of them more where the number of legs asks for it;
    /// the top tensor has fewer than twice as many legs as that.
    ///
    /// # Errors
    /// When `arity` is below 2, or `legs` below twice the arity.
    pub fn with_arity(legs: usize, arity: usize) -> Result<Tree, Error> {
        if arity < 2 {
            return Err(Error::Tree { problem: format!("{arity} children a leg make no tree; give 2 or more") });
        }
        if legs < 2 * arity {
            return Err(Error::LegCount { legs, needed: 2 * arity });
        }
        Ok(Tree::grown(legs, arity))
    }

    /// As [`Tree::with_arity`], whose conditions must hold.
    pub(crate) fn grown(legs: usize, arity: usize) -> Tree {
        let mut levels: Vec<Vec<usize>> = Vec::new();
        let mut below = legs;
        while below >= 2 * arity {
            let parents = below / arity;
            // The legs left over go to the last parents, one each.
            let over = below % arity;
            let shared = over.div_ceil(parents);
            let extra = |a: usize| shared.min(over.saturating_sub((parents - 1 - a) * shared));
            levels.push((0..parents).map(|a| arity + extra(a)).collect());
            below = parents;
        }
        levels.reverse();
        Tree { children: levels }
    }

    /// Any tree: the numbers of children of every leg, level by level, coarse to fine.
    ///
    /// # Errors
    /// When there is no level below the top tensor, when a leg has no children, when every leg of a level passes through, or
    /// when a level has another number of legs than the one above has children.
    pub fn custom(children: Vec<Vec<usize>>) -> Result<Tree, Error> {
        if children.first().is_none_or(Vec::is_empty) {
            return Err(Error::Tree { problem: "it has no level below its top tensor".into() });
        }
        if let Some((level, leg)) =
            children.iter().enumerate().find_map(|(l, row)| Some((l, row.iter().position(|&n| n == 0)?)))
        {
            return Err(Error::Tree { problem: format!("leg {leg} of level {level} has no children") });
        }
        if let Some(level) = children.iter().position(|row| row.iter().all(|&n| n == 1)) {
            return Err(Error::Tree { problem: format!("every leg of level {level} passes through") });
        }
        for (level, pair) in children.windows(2).enumerate() {
            let made = pair[0].iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
            if made != Some(pair[1].len()) {
                return Err(Error::Tree {
                    problem: format!(
                        "level {} has {} legs, but those of level {level} have {} children",
                        level + 1,
                        pair[1].len(),
                        made.map_or("too many".into(), |n| n.to_string())
                    ),
                });
            }
        }
        if children.last().is_none_or(|row| row.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)).is_none()) {
            return Err(Error::TooLarge);
        }
        Ok(Tree { children })
    }

    /// Number of levels, the top tensor's included; at least two.
    pub fn levels(&self) -> usize {
        self.children.len() + 1
    }

    /// Number of legs of `level`, 0 = top tensor.
    ///
    /// # Panics
    /// When there is no such level.
    pub fn legs(&self, level: usize) -> usize {
        match self.children.get(level) {
            Some(row) => row.len(),
            None => self.children[level - 1].iter().sum(),
        }
    }

    /// Number of leaves.
    pub fn leaves(&self) -> usize {
        self.legs(self.children.len())
    }

    /// For every leg of level `level` − 1 the positions of its children on `level`, which is 1 or more.
    pub fn children(&self, level: usize) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        let mut end = 0;
        self.children[level - 1].iter().map(move |&count| {
            end += count;
            end - count..end
        })
    }
}

impl TryFrom<Vec<Vec<usize>>> for Tree {
    type Error = Error;

    fn try_from(children: Vec<Vec<usize>>) -> Result<Self, Error> {
        Self::custom(children)
    }
}

impl From<Tree> for Vec<Vec<usize>> {
    fn from(tree: Tree) -> Self {
        tree.children
    }
}

impl fmt::Display for Tree {
    /// The numbers of legs from the top tensor to the leaves: `2-4-8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legs: Vec<String> = (0..self.levels()).map(|level| self.legs(level).to_string()).collect();
        f.pad(&legs.join("-"))
    }
}
