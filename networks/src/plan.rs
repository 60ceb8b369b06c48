//! In which portions a generator's levels are computed.
//!
//! A level is a list of *steps*, each of which consumes the leading axis of the tensor and appends what it makes of it at
//! the end, so that after a level every leg is in place again and nothing is ever transposed:
//! T.reshape(p, R)ᵀ · core → (R, q). Steps are joined to *passes*: a pass reads and writes main memory once. It takes a chunk
//! of columns of T.reshape(P, R), P being the product of the axes its steps consume, through all its steps in cache.
//!
//! Everything here depends on the shape only, never on the number of threads, and so do the orders of all sums.

use std::ops::Range;

use crate::{Activation, GeneratorSpec, Shape};

/// Elements that one chunk of a pass may occupy, so that it stays in the second-level cache.
const CHUNK_ELEMENTS: usize = 1 << 16;
/// Columns that a chunk should have at least, so that memory is read in whole cache lines.
const MIN_COLUMNS: usize = 16;
/// Partial gradients are summed over at most this many blocks of chunks.
const MAX_BLOCKS: usize = 64;
/// Elements that all partial gradients of a pass together may occupy.
const PARTIAL_ELEMENTS: usize = 1 << 21;
/// A core larger than this is not fit for partial gradients.
const WIDE_CORE: usize = 1 << 17;

/// One operation on the leading axis (or axes) of the tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Contraction of the leading `p` with a core (p, q).
    Apply {
        /// The core's range in the parameters.
        core: Range<usize>,
        p: usize,
        q: usize,
    },
}

impl Step {
    /// Dimension consumed at the front.
    pub fn consumed(&self) -> usize {
        match *self {
            Step::Apply { p, .. } => p,
        }
    }

    /// Dimension appended at the end.
    pub fn appended(&self) -> usize {
        match *self {
            Step::Apply { q, .. } => q,
        }
    }

    /// Elements of its core.
    pub fn core_len(&self) -> usize {
        match self {
            Step::Apply { core, .. } => core.len(),
        }
    }
}

/// Steps that are taken together, chunk by chunk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pass {
    pub steps: Vec<Step>,
    /// For k = 0…steps: elements of one column after k steps.
    pub sizes: Vec<usize>,
    /// Columns R.
    pub columns: usize,
    /// Columns of a chunk.
    pub chunk: usize,
    /// Chunks of a block; a block is what one task of the adjoint takes.
    pub block: usize,
    /// σ whose values the pass reads.
    pub reads: Activation,
    /// σ applied to what it writes.
    pub writes: Activation,
}

impl Pass {
    fn new(steps: Vec<Step>, elements: usize) -> Self {
        let sizes = sizes(&steps);
        let columns = elements / sizes[0];
        let chunk = (CHUNK_ELEMENTS / footprint(&sizes)).max(MIN_COLUMNS) / MIN_COLUMNS * MIN_COLUMNS;
        let chunk = chunk.min(columns);
        let cores: usize = steps.iter().map(Step::core_len).sum();
        let blocks = (PARTIAL_ELEMENTS / cores.max(1)).clamp(8, MAX_BLOCKS);
        let block = columns.div_ceil(chunk).div_ceil(blocks);
        Pass { steps, sizes, columns, chunk, block, reads: Activation::Identity, writes: Activation::Identity }
    }

    /// Elements read.
    pub fn input_len(&self) -> usize {
        self.sizes[0] * self.columns
    }

    /// Elements of one column of the result.
    pub fn width(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// Elements written.
    pub fn output_len(&self) -> usize {
        self.width() * self.columns
    }

    /// Elements of all its cores.
    pub fn cores_len(&self) -> usize {
        self.steps.iter().map(Step::core_len).sum()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(self.chunk * self.block)
    }

    /// Multiply-adds of the pass.
    pub fn multiply_adds(&self) -> usize {
        let steps = self.steps.iter().zip(&self.sizes[1..]);
        steps.map(|(step, &after)| after.saturating_mul(step.consumed())).sum::<usize>().saturating_mul(self.columns)
    }

    /// Whether its (single) core is so large that partial gradients would take more memory than they save time.
    pub fn is_wide(&self) -> bool {
        self.steps.len() == 1 && self.cores_len() > WIDE_CORE
    }
}

/// Elements of one column before, between and after the steps.
fn sizes(steps: &[Step]) -> Vec<usize> {
    let mut size: usize = steps.iter().map(Step::consumed).product();
    let mut sizes = vec![size];
    for step in steps {
        size = size / step.consumed() * step.appended();
        sizes.push(size);
    }
    sizes
}

/// Elements per column that the adjoint keeps in cache: every intermediate and two gradients.
fn footprint(sizes: &[usize]) -> usize {
    sizes.iter().sum::<usize>() + 2 * sizes.iter().copied().max().unwrap_or(1)
}

/// All passes of a generator, coarse to fine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub passes: Vec<Pass>,
    /// σ applied to the top tensor.
    pub top: Activation,
    /// A core of the last level, if the last level is linear: W is homogeneous of degree one in it.
    pub linear_core: Option<Range<usize>>,
    /// For each level, which of the tensors between passes is its result.
    pub level_ends: Vec<usize>,
}

impl Plan {
    pub fn new(spec: &GeneratorSpec, shape: &Shape) -> Plan {
        let count = shape.levels.len();
        let mut passes: Vec<Pass> = Vec::new();
        let mut linear_core = None;
        let mut level_ends = vec![0];
        for level in 1..count {
            let steps = steps(shape, level);
            let Step::Apply { core, .. } = &steps[0];
            linear_core = Some(core.clone());
            let mut elements: usize = shape.levels[level - 1].iter().product();
            let first = passes.len();
            passes.extend(grouped(&steps, &mut elements));
            passes[first].reads = spec.activation_at(level - 1, count);
            if let Some(last) = passes.last_mut() {
                last.writes = spec.activation_at(level, count);
            }
            level_ends.push(passes.len());
        }
        let linear = spec.activation_at(count - 1, count) == Activation::Identity;
        Plan { passes, top: spec.activation_at(0, count), linear_core: linear_core.filter(|_| linear), level_ends }
    }
}

/// The steps from level `level` − 1 to level `level`.
fn steps(shape: &Shape, level: usize) -> Vec<Step> {
    let parents = shape.levels[level - 1].iter().enumerate();
    let steps = parents.map(|(leg, &p)| {
        let core = shape.isometry(level, leg);
        Step::Apply { q: core.len() / p, core, p }
    });
    steps.collect()
}

/// Joins steps to passes as long as a chunk of at least [`MIN_COLUMNS`] columns stays in cache.
fn grouped(steps: &[Step], elements: &mut usize) -> Vec<Pass> {
    let mut passes = Vec::new();
    let mut rest = steps;
    while !rest.is_empty() {
        let mut count = 1;
        while count < rest.len() {
            let sizes = sizes(&rest[..=count]);
            let columns = (*elements / sizes[0]).clamp(1, MIN_COLUMNS);
            if footprint(&sizes) * columns > CHUNK_ELEMENTS {
                break;
            }
            count += 1;
        }
        let pass = Pass::new(rest[..count].to_vec(), *elements);
        *elements = pass.output_len();
        passes.push(pass);
        rest = &rest[count..];
    }
    passes
}
