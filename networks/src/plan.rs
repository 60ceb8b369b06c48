//! In which portions a generator's levels are computed.
//!
//! A level multiplies every leg of a tensor by a core of its own. The tensor stays in leg order throughout: one core acts on
//! the middle axis of (A, p, B). Neighbouring legs are taken together in a *pass*, which reads and writes main memory once: it
//! brings a chunk of columns of the (A, P, B) tensor, P being the product of its legs, through all its cores in cache.
//!
//! The legs that grow least come first, while the tensor is small ([`expansion_order`]).
//!
//! Everything here depends on the shape only, never on the number of threads, and so do the orders of all sums.

use std::ops::Range;

use adntn_contraction::{CostModel, Expansion, expansion_order};

use crate::kernels::LANES;
use crate::{Activation, GeneratorSpec, Shape};

/// Elements that one chunk of a pass may occupy, so that it stays in the second-level cache.
const CHUNK_ELEMENTS: usize = 1 << 17;
/// Columns that a chunk has at most.
const MAX_COLUMNS: usize = 256;
/// Partial gradients are summed over at most this many blocks of chunks.
const MAX_BLOCKS: usize = 64;
/// Elements that all partial gradients of a pass together may occupy.
const PARTIAL_ELEMENTS: usize = 1 << 21;
/// A core larger than this is multiplied by a general matrix product in a pass of its own.
const WIDE_CORE: usize = 1 << 14;

/// Multiplication of one leg by a core (p, q).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// The core's range in the parameters.
    pub core: Range<usize>,
    pub p: usize,
    pub q: usize,
    /// Product of the axes of a chunk that vary faster, columns excluded.
    pub right: usize,
}

/// Steps that are taken together, chunk by chunk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pass {
    /// Product of the slower axes.
    pub outer: usize,
    /// Product of the faster axes; if they are too few to be columns, they belong to the chunks and this is 1.
    pub inner: usize,
    pub steps: Vec<Step>,
    /// For k = 0…steps: elements of one column after k steps.
    pub sizes: Vec<usize>,
    /// Columns of a chunk.
    pub chunk: usize,
    /// Chunks of a block; a block is what one task takes.
    pub block: usize,
    /// σ whose values the pass reads.
    pub reads: Activation,
    /// σ applied to what it writes.
    pub writes: Activation,
    /// Whether its only core is too large for the kernels of chunks.
    pub wide: bool,
}

/// One chunk of a pass: columns `start`…`start` + `columns` of the matrix `group`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    pub group: usize,
    pub start: usize,
    pub columns: usize,
}

/// A leg of the current tensor that waits for its core.
#[derive(Debug, Clone)]
struct Task {
    slot: usize,
    core: Range<usize>,
    p: usize,
    q: usize,
}

impl Pass {
    fn new(slots: &[usize], tasks: &[Task]) -> Pass {
        let (first, last) = (tasks[0].slot, tasks[tasks.len() - 1].slot);
        let outer: usize = slots[..first].iter().product();
        let inner: usize = slots[last + 1..].iter().product();
        let wide = tasks.len() == 1 && tasks[0].core.len() > WIDE_CORE;
        let folded = if inner < LANES && !wide { inner } else { 1 };
        let inner = inner / folded;
        let mut sizes = vec![tasks.iter().map(|task| task.p).product::<usize>() * folded];
        let mut steps = Vec::with_capacity(tasks.len());
        // Slots are multiplied from the last to the first: those to the right have their new dimensions.
        let mut right = folded;
        for task in tasks.iter().rev() {
            steps.push(Step { core: task.core.clone(), p: task.p, q: task.q, right });
            sizes.push(sizes[sizes.len() - 1] / task.p * task.q);
            right *= task.q;
        }
        let columns = if inner > 1 { inner } else { outer };
        let chunk = (CHUNK_ELEMENTS / footprint(&sizes)).clamp(LANES, MAX_COLUMNS) / LANES * LANES;
        let chunk = chunk.min(columns);
        let chunks = if inner > 1 { outer } else { 1 } * columns.div_ceil(chunk);
        let cores: usize = steps.iter().map(|step| step.core.len()).sum();
        let block = chunks.div_ceil((PARTIAL_ELEMENTS / cores).clamp(8, MAX_BLOCKS));
        let (reads, writes) = (Activation::Identity, Activation::Identity);
        Pass { outer, inner, steps, sizes, chunk, block, reads, writes, wide }
    }

    /// Whether the tasks fit a chunk of at least [`LANES`] columns.
    fn fits(slots: &[usize], tasks: &[Task]) -> bool {
        tasks.iter().all(|task| task.core.len() <= WIDE_CORE)
            && footprint(&Pass::new(slots, tasks).sizes) * 2 * LANES <= CHUNK_ELEMENTS
    }

    /// Columns of one matrix.
    pub fn columns(&self) -> usize {
        if self.inner > 1 { self.inner } else { self.outer }
    }

    /// Number of matrices.
    fn groups(&self) -> usize {
        if self.inner > 1 { self.outer } else { 1 }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> usize {
        self.groups() * self.columns().div_ceil(self.chunk)
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.chunks().div_ceil(self.block)
    }

    /// The chunks of a block.
    pub fn block(&self, block: usize) -> impl Iterator<Item = Chunk> {
        let (columns, per_group) = (self.columns(), self.columns().div_ceil(self.chunk));
        (block * self.block..self.chunks().min((block + 1) * self.block)).map(move |index| {
            let start = index % per_group * self.chunk;
            Chunk { group: index / per_group, start, columns: self.chunk.min(columns - start) }
        })
    }

    /// Elements read.
    pub fn input_len(&self) -> usize {
        self.outer * self.inner * self.sizes[0]
    }

    /// Elements written.
    pub fn output_len(&self) -> usize {
        self.outer * self.inner * self.sizes[self.sizes.len() - 1]
    }

    /// Most elements of one column at any time.
    pub fn largest(&self) -> usize {
        self.sizes.iter().copied().max().unwrap_or(1)
    }

    /// Elements of all its cores.
    pub fn cores_len(&self) -> usize {
        self.steps.iter().map(|step| step.core.len()).sum()
    }

    /// Multiply-adds of the pass.
    pub fn multiply_adds(&self) -> usize {
        let steps = self.steps.iter().zip(&self.sizes[1..]);
        let column: usize = steps.map(|(step, &after)| after.saturating_mul(step.p)).sum();
        column.saturating_mul(self.outer * self.inner)
    }
}

/// Elements per column that the adjoint keeps in cache: every tensor before a step and two gradients.
fn footprint(sizes: &[usize]) -> usize {
    sizes[..sizes.len() - 1].iter().sum::<usize>() + 2 * sizes.iter().copied().max().unwrap_or(1)
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
        let mut level_ends = vec![0];
        for level in 1..count {
            let mut slots = shape.levels[level - 1].clone();
            let tasks = slots.iter().enumerate().map(|(slot, &p)| {
                let core = shape.isometry(level, slot);
                Task { slot, q: core.len() / p, core, p }
            });
            let tasks: Vec<Task> = tasks.collect();
            let first = passes.len();
            arrange(&mut slots, &tasks, &mut passes);
            passes[first].reads = spec.activation_at(level - 1, count);
            if let Some(last) = passes.last_mut() {
                last.writes = spec.activation_at(level, count);
            }
            level_ends.push(passes.len());
        }
        let linear = spec.activation_at(count - 1, count) == Activation::Identity;
        let linear_core = linear.then(|| shape.isometry(count - 1, 0));
        Plan { passes, top: spec.activation_at(0, count), linear_core, level_ends }
    }
}

/// Orders the tasks of a level and joins neighbours to passes as long as their chunks fit the cache.
fn arrange(slots: &mut [usize], tasks: &[Task], passes: &mut Vec<Pass>) {
    let legs: Vec<Expansion> = tasks.iter().map(|task| Expansion { parent: task.p, children: task.q }).collect();
    let order = expansion_order(&legs, &CostModel::default()).order;
    let mut rest = order.as_slice();
    while let Some((&next, others)) = rest.split_first() {
        let mut group = vec![tasks[next].clone()];
        rest = others;
        while let Some((&next, others)) = rest.split_first() {
            let task = tasks[next].clone();
            let mut wider = group.clone();
            if task.slot == group[group.len() - 1].slot + 1 {
                wider.push(task);
            } else if task.slot + 1 == group[0].slot {
                wider.insert(0, task);
            } else {
                break;
            }
            if !Pass::fits(slots, &wider) {
                break;
            }
            (group, rest) = (wider, others);
        }
        passes.push(Pass::new(slots, &group));
        group.iter().for_each(|task| slots[task.slot] = task.q);
    }
}
