//! Leg dimensions of every level of a tree, and where each core lies in the parameter vector.

use std::ops::Range;

use crate::{Bonds, Error, GeneratorSpec, Side};

/// Dimensions of a generator, worked out from its [`GeneratorSpec`].
///
/// Level 0 is the top tensor with two legs; every further level has twice as many; the last one's legs are the physical
/// legs. A bond's dimension is min(χ, product of its two children).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Leg dimensions per level, coarse to fine.
    pub levels: Vec<Vec<usize>>,
    clamped: bool,
    top: Range<usize>,
    isometries: Vec<Vec<Range<usize>>>,
    parameters: usize,
}

impl Shape {
    /// Works out the dimensions.
    ///
    /// # Errors
    /// When the layout does not cover the weight or has no power of two of at least four legs, when χ is 0, or when a list
    /// of bond dimensions has the wrong length.
    pub fn new(spec: &GeneratorSpec) -> Result<Shape, Error> {
        if spec.outputs == 0 || spec.inputs == 0 {
            return Err(Error::EmptyWeight { outputs: spec.outputs, inputs: spec.inputs });
        }
        for (side, covered, needed) in
            [(Side::Output, spec.layout.outputs(), spec.outputs), (Side::Input, spec.layout.inputs(), spec.inputs)]
        {
            if covered < needed {
                return Err(Error::LayoutTooSmall { side: side.name(), covered, needed });
            }
        }
        let legs = spec.layout.legs().len();
        if legs < 4 || !legs.is_power_of_two() {
            return Err(Error::LegCount { legs });
        }
        let depth = legs.ilog2() as usize;
        let chi = match &spec.bonds {
            Bonds::Uniform(chi) => vec![*chi; depth - 1],
            Bonds::PerLevel(list) if list.len() == depth - 1 => list.clone(),
            Bonds::PerLevel(list) => return Err(Error::BondCount { given: list.len(), needed: depth - 1 }),
        };
        if chi.contains(&0) {
            return Err(Error::ZeroBond);
        }
        let mut levels = vec![spec.layout.dims()];
        let mut clamped = false;
        for &chi in chi.iter().rev() {
            let full = levels[levels.len() - 1].chunks_exact(2).map(|pair| pair[0].saturating_mul(pair[1]));
            let bonds: Vec<usize> = full.map(|full| full.min(chi)).collect();
            clamped |= bonds.iter().all(|&bond| bond < chi);
            levels.push(bonds);
        }
        levels.reverse();

        let mut end = 0usize;
        let mut core = |elements: Option<usize>| {
            let start = end;
            end = elements.and_then(|n| end.checked_add(n)).ok_or(Error::TooLarge)?;
            Ok::<_, Error>(start..end)
        };
        let top = core(levels[0][0].checked_mul(levels[0][1]))?;
        let mut isometries = Vec::with_capacity(depth - 1);
        for pair in levels.windows(2) {
            let row = pair[0].iter().zip(pair[1].chunks_exact(2));
            let row = row.map(|(&p, c)| core(p.checked_mul(c[0]).and_then(|n| n.checked_mul(c[1]))));
            isometries.push(row.collect::<Result<Vec<_>, _>>()?);
        }
        let scale = core(Some(1))?;
        Ok(Shape { levels, clamped, top, isometries, parameters: scale.end })
    }

    /// Whether some level's χ is larger than every one of its bonds can be, so that a smaller χ means the same network.
    pub fn is_clamped(&self) -> bool {
        self.clamped
    }

    /// Number of parameters: all cores and the overall scale.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Number of elements of the padded W.
    pub fn elements(&self) -> usize {
        self.levels.last().map_or(0, |dims| dims.iter().product())
    }

    /// Range of the top tensor in the parameter vector.
    pub fn top(&self) -> Range<usize> {
        self.top.clone()
    }

    /// Range in the parameter vector of the isometry that expands leg `leg` of level `level` − 1; `level` is 1 or more.
    pub fn isometry(&self, level: usize, leg: usize) -> Range<usize> {
        self.isometries[level - 1][leg].clone()
    }
}
