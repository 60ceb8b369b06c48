//! Leg dimensions of every level of a tree, and where each core lies in the parameter vector.

use std::fmt;
use std::ops::Range;

use crate::{Activations, Arrangement, Bonds, Error, GeneratorSpec, Side, Tree};

/// What a core tensor does in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CoreKind {
    /// The tensor of level 0.
    Top,
    /// Expands leg `leg` of level `level` − 1 into its children on `level`.
    Isometry {
        /// 1 or more.
        level: usize,
        /// Position of the parent.
        leg: usize,
    },
    /// Acts on the legs `leg` and `leg` + 1 of `level`.
    Disentangler {
        /// 1 or more.
        level: usize,
        /// Position of the first of the two legs.
        leg: usize,
    },
}

impl fmt::Display for CoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreKind::Top => write!(f, "top tensor"),
            CoreKind::Isometry { level, leg } => write!(f, "isometry {leg} of level {level}"),
            CoreKind::Disentangler { level, leg } => write!(f, "disentangler {leg} of level {level}"),
        }
    }
}

/// A core tensor: a p×q matrix in the parameter vector, row-major.
///
/// Isometries: p = the parent's dimension, q = the product of its children's. Disentanglers: p = q = the product of the
/// dimensions of the two legs; the rows are the legs before, the columns those after. Top tensor: p = its first leg, q = the
/// others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// What it does.
    pub kind: CoreKind,
    /// Where its elements are in the parameter vector.
    pub range: Range<usize>,
    /// Rows.
    pub p: usize,
    /// Columns.
    pub q: usize,
}

/// Dimensions of a generator, worked out from its [`GeneratorSpec`].
///
/// Level 0 is the top tensor; the last level's legs are the physical legs. A bond's dimension is min(χ, product of its
/// children); a leg that passes through has that of its only child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Leg dimensions per level, coarse to fine.
    pub levels: Vec<Vec<usize>>,
    /// The top tensor, then level by level the isometries from left to right and the disentanglers from left to right.
    pub cores: Vec<Core>,
    tree: Tree,
    clamped: bool,
    /// For every level the index of its first isometry and of its first disentangler in `cores`.
    firsts: Vec<(usize, usize)>,
    output_scale: Range<usize>,
}

impl Shape {
    /// Works out the dimensions.
    ///
    /// # Errors
    /// When the layout does not cover the weight, when tree and layout differ in their legs, when χ is 0, when a list of bond
    /// dimensions or of σ has the wrong length, or when there are more elements than memory can address.
    pub fn new(spec: &GeneratorSpec) -> Result<Shape, Error> {
        check(spec)?;
        let tree = &spec.tree;
        let depth = tree.levels();
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
        for level in (1..depth).rev() {
            let (below, chi) = (&levels[levels.len() - 1], chi[level - 1]);
            let full = |children: Range<usize>| below[children].iter().fold(1usize, |n, &d| n.saturating_mul(d));
            let bonds: Vec<usize> = tree
                .children(level)
                .map(|children| if children.len() == 1 { below[children.start] } else { full(children).min(chi) })
                .collect();
            // At least one leg of a level has more than one child.
            clamped |= tree.children(level).zip(&bonds).all(|(children, &bond)| children.len() == 1 || bond < chi);
            levels.push(bonds);
        }
        levels.reverse();
        let (cores, firsts) = cores(spec, &levels)?;
        let end = cores.last().map_or(0, |core| core.range.end);
        let rows = if spec.output_scale { spec.outputs } else { 0 };
        let output_scale =
            end..end.checked_add(rows).filter(|&n| n < isize::MAX as usize / 8).ok_or(Error::TooLarge)?;
        Ok(Shape { levels, cores, tree: tree.clone(), clamped, firsts, output_scale })
    }

    /// Whether some level's χ is larger than every one of its bonds can be, so that a smaller χ means the same network.
    pub fn is_clamped(&self) -> bool {
        self.clamped
    }

    /// Number of parameters: the elements of all cores, the scales of the outputs if there are any, and the overall scale.
    pub fn parameters(&self) -> usize {
        self.output_scale.end + 1
    }

    /// Number of elements of all cores; what the literature counts.
    pub fn core_parameters(&self) -> usize {
        self.output_scale.start
    }

    /// Number of elements of the padded W.
    pub fn elements(&self) -> usize {
        self.levels.last().map_or(0, |dims| dims.iter().product())
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Range of the top tensor in the parameter vector.
    pub fn top(&self) -> Range<usize> {
        self.cores[0].range.clone()
    }

    /// The isometries of `level`, which is 1 or more, from left to right; legs that pass through have none.
    pub fn isometries(&self, level: usize) -> &[Core] {
        let (first, end) = self.firsts[level];
        &self.cores[first..end]
    }

    /// The disentanglers of `level`, which is 1 or more, from left to right.
    pub fn disentanglers(&self, level: usize) -> &[Core] {
        let first = self.firsts[level].1;
        let end = self.firsts.get(level + 1).map_or(self.cores.len(), |next| next.0);
        &self.cores[first..end]
    }

    /// Range of the factors of W's rows in the parameter vector; empty if the generator has none.
    pub fn output_scale(&self) -> Range<usize> {
        self.output_scale.clone()
    }

    /// Multiply-adds of one forward sweep that expands the legs of each level from first to last.
    pub fn multiply_adds(&self) -> u64 {
        let mut total = 0u64;
        let mut size = self.levels[0].iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        for core in &self.cores[1..] {
            size /= core.p.max(1) as u64;
            total = total.saturating_add(size.saturating_mul(core.range.len() as u64));
            size = size.saturating_mul(core.q as u64);
        }
        total
    }
}

fn check(spec: &GeneratorSpec) -> Result<(), Error> {
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
    let (leaves, legs) = (spec.tree.leaves(), spec.layout.legs().len());
    if leaves != legs {
        return Err(Error::Leaves { leaves, legs });
    }
    match &spec.activations {
        Activations::PerLevel(list) if list.len() != spec.tree.levels() => {
            Err(Error::ActivationCount { given: list.len(), needed: spec.tree.levels() })
        }
        _ => Ok(()),
    }
}

/// The cores in the order of the parameters, and for every level the indices of its first isometry and disentangler.
#[allow(clippy::type_complexity)]
fn cores(spec: &GeneratorSpec, levels: &[Vec<usize>]) -> Result<(Vec<Core>, Vec<(usize, usize)>), Error> {
    let mut cores: Vec<Core> = Vec::new();
    let mut add = |kind, p: usize, q: Option<usize>| {
        let start = cores.last().map_or(0, |core: &Core| core.range.end);
        let q = q.ok_or(Error::TooLarge)?;
        let end = p.checked_mul(q).and_then(|n| start.checked_add(n)).ok_or(Error::TooLarge)?;
        cores.push(Core { kind, range: start..end, p, q });
        Ok(cores.len())
    };
    let product = |dims: &[usize]| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let mut count = add(CoreKind::Top, levels[0][0], product(&levels[0][1..]))?;
    let mut firsts = vec![(0, 0)];
    for (level, dims) in levels.iter().enumerate().skip(1) {
        let first = count;
        for (leg, children) in spec.tree.children(level).enumerate() {
            if children.len() > 1 {
                count = add(CoreKind::Isometry { level, leg }, levels[level - 1][leg], product(&dims[children]))?;
            }
        }
        firsts.push((first, count));
        for leg in spec.topology.disentangled(&spec.tree, level) {
            let m = product(&dims[leg..leg + 2]);
            count = add(CoreKind::Disentangler { level, leg }, m.ok_or(Error::TooLarge)?, m)?;
        }
    }
    Ok((cores, firsts))
}
