//! A multilinear region with its legs kept in tree order.
//!
//! The region is a tree of tensors: the running tensor and the cores below its legs. Contracting two neighbours replaces
//! the bond between them by the legs of the lower one, in place. Seen around the bond the upper tensor is \[A, p, B\]; the
//! lower one is the matrix \[q, p\] and MatMul, broadcasting over A, makes \[A, q, B\]; with B = 1 it is \[p, q\] and stands on
//! the right. So no step ever transposes. Which neighbours go first is free, and the order search decides.

use adntn_networks::Generator;

use crate::Error;
use crate::lowering::legs::permuted;
use crate::lowering::order::{Tree, cheapest};
use crate::lowering::program::{Program, Value};

/// Level and position of a leg.
pub(super) type LegId = (usize, usize);

/// A core that expands the leg `bond` into `legs`; `data` is row-major over (bond, legs…).
pub(super) struct Core {
    pub label: String,
    pub bond: (LegId, usize),
    pub legs: Vec<(LegId, usize)>,
    pub data: Vec<f32>,
}

/// Expands `running`, which has the legs of level `start`, through level `end`, without σ between.
pub(super) fn region(
    program: &mut Program,
    generator: &Generator,
    start: usize,
    end: usize,
    running: Value,
) -> Result<Value, Error> {
    let shape = generator.shape();
    let legs = |level: usize| shape.levels[level].iter().enumerate().map(move |(leg, &dim)| ((level, leg), dim));
    let first: Vec<(LegId, usize)> = legs(start).collect();
    let mut above = first.clone();
    let mut cores = Vec::new();
    for level in start + 1..=end {
        let mut isometries = shape.isometries(level).iter();
        let below: Vec<(LegId, usize)> = legs(level).collect();
        let mut open = Vec::with_capacity(below.len());
        for (leg, children) in shape.tree().children(level).enumerate() {
            let bond = above[leg];
            let core = if children.len() == 1 { None } else { isometries.next() };
            match core {
                // A leg that passes through keeps the name it has above.
                None => open.push(bond),
                Some(core) => {
                    let legs = below[children].to_vec();
                    open.extend(&legs);
                    let label = format!("level{level}/leg{leg}");
                    cores.push(Core { label, bond, legs, data: generator.core(core).to_vec() });
                }
            }
        }
        above = open;
    }
    expand(program, running, first, cores)
}

/// Contracts `running`, whose axes are `legs`, with `cores`, in the cheapest order.
fn expand(program: &mut Program, running: Value, legs: Vec<(LegId, usize)>, cores: Vec<Core>) -> Result<Value, Error> {
    let tree = cheapest(&legs, &cores, program.layer())?;
    let mut region = Region { program, running, legs, cores: cores.into_iter().map(Some).collect() };
    Ok(region.build(&tree, BondAt::Front)?.value)
}

/// Where a subtree without the running tensor keeps the bond to its parent.
#[derive(Clone, Copy)]
enum BondAt {
    Front,
    Back,
}

struct Part {
    value: Value,
    legs: Vec<(LegId, usize)>,
}

struct Region<'p> {
    program: &'p mut Program,
    running: Value,
    legs: Vec<(LegId, usize)>,
    /// Taken as they are used.
    cores: Vec<Option<Core>>,
}

impl Region<'_> {
    fn build(&mut self, tree: &Tree, at: BondAt) -> Result<Part, Error> {
        match tree {
            Tree::Running => Ok(Part { value: self.running, legs: self.legs.clone() }),
            Tree::Core(index) => {
                let core = self.cores[*index].take().ok_or_else(|| self.broken("uses a core twice"))?;
                let (p, q) = (core.bond.1, core.legs.iter().map(|l| l.1).product());
                let label = format!("{}/core", core.label);
                Ok(match at {
                    BondAt::Front => Part {
                        value: self.program.constant(&label, &[p, q], core.data),
                        legs: [core.bond].into_iter().chain(core.legs).collect(),
                    },
                    BondAt::Back => Part {
                        value: self.program.constant(&label, &[q, p], permuted(&core.data, &[p, q], &[1, 0])),
                        legs: core.legs.into_iter().chain([core.bond]).collect(),
                    },
                })
            }
            Tree::Join { upper, lower, bond, label } => {
                let upper = self.build(upper, at)?;
                let place = upper.legs.iter().position(|l| l.0 == *bond);
                let place = place.ok_or_else(|| self.broken("joins tensors that share no bond"))?;
                let size = |legs: &[(LegId, usize)]| legs.iter().map(|l| l.1).product::<usize>();
                let (before, p, after) =
                    (size(&upper.legs[..place]), upper.legs[place].1, size(&upper.legs[place + 1..]));
                let lower = self.build(lower, if after == 1 { BondAt::Front } else { BondAt::Back })?;
                let fresh: Vec<_> = lower.legs.iter().copied().filter(|l| l.0 != *bond).collect();
                let q = size(&fresh);
                let value = if after == 1 {
                    let left = self.program.reshape(upper.value, &[before, p], label)?;
                    let right = self.program.reshape(lower.value, &[p, q], label)?;
                    self.program.matmul(left, right, label)?
                } else {
                    let shape = if before == 1 { vec![p, after] } else { vec![before, p, after] };
                    let left = self.program.reshape(lower.value, &[q, p], label)?;
                    let right = self.program.reshape(upper.value, &shape, label)?;
                    self.program.matmul(left, right, label)?
                };
                let mut legs = upper.legs;
                legs.splice(place..=place, fresh);
                Ok(Part { value, legs })
            }
        }
    }

    fn broken(&self, what: &str) -> Error {
        Error::Order {
            layer: self.program.layer().to_owned(),
            message: format!("the contraction order {what}; please report this"),
        }
    }
}
