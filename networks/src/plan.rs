//! In which portions a generator's levels are computed.
//!
//! A level multiplies legs of a tensor by cores of their own: isometries one leg, disentanglers two neighbours. The tensor
//! stays in leg order throughout: one core acts on the middle axis of (A, p, B). Neighbouring legs are taken together in a
//! *pass*, which reads and writes main memory once: it brings a chunk of columns of the (A, P, B) tensor, P being the product
//! of its legs, through all its cores in cache.
//!
//! The legs that grow least come first, while the tensor is small ([`expansion_order`]). Disentanglers join the pass that
//! makes both their legs, where the cache allows it; those between two passes follow in passes of their own.
//!
//! Everything here depends on the shape only, never on the number of threads, and so do the orders of all sums.

use std::ops::Range;

use adntn_contraction::{CostModel, Expansion, expansion_order};

use crate::kernels::LANES;
use crate::rows::Rows;
use crate::shape::{Core, CoreKind};
use crate::{Activation, GeneratorSpec, Shape};

/// Elements that one chunk of a pass may occupy, so that it stays in the second-level cache.
const CHUNK_ELEMENTS: usize = 1 << 17;
/// Elements that panels computed together may occupy, and how many these are at most.
const PANEL_ELEMENTS: usize = 1 << 14;
const MAX_PANELS: usize = 16;
/// Columns that a chunk has at most.
const MAX_COLUMNS: usize = 256;
/// Partial gradients are summed over at most this many blocks of chunks.
const MAX_BLOCKS: usize = 64;
/// Elements that all partial gradients of a pass together may occupy.
const PARTIAL_ELEMENTS: usize = 1 << 21;
/// Number of faster elements for which a leg's rows are contiguous in good measure.
const BEST_COLUMNS: f64 = 64.0;
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
    /// Columns of one matrix in a chunk.
    pub chunk: usize,
    /// Matrices of a chunk; several only if it has all their columns.
    pub span: usize,
    /// Chunks of a block; a block is what one task takes.
    pub block: usize,
    /// σ whose values the pass reads.
    pub reads: Activation,
    /// σ applied to what it writes.
    pub writes: Activation,
    /// Whether its only core is too large for the kernels of chunks.
    pub wide: bool,
    /// Columns of a panel: [`LANES`]; or, where chunks are whole matrices whose rows are whole vectors, all of them: such chunks
    /// lie in main memory as in cache and are worked on where they are.
    pub panel: usize,
}

/// One chunk of a pass: columns `start`…`start` + `columns` of the matrices `group`…`group` + `groups`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    pub group: usize,
    pub groups: usize,
    pub start: usize,
    pub columns: usize,
}

impl Chunk {
    /// Columns in cache: those of each matrix are padded to whole panels.
    pub fn width(self) -> usize {
        self.groups * self.columns.next_multiple_of(LANES)
    }
}

/// A core about to act on the legs `slots` of the current tensor, in whose place it puts legs of the dimensions `makes`.
#[derive(Debug, Clone)]
struct Task {
    slots: Range<usize>,
    makes: Vec<usize>,
    core: Core,
}

/// Neighbouring legs of the current tensor and the cores that act on them, one after the other. The tasks' slots are counted
/// in the tensor as their predecessors leave it.
#[derive(Debug, Clone)]
struct Window {
    legs: Range<usize>,
    tasks: Vec<Task>,
}

impl Pass {
    fn new(slots: &[usize], window: &Window) -> Pass {
        let outer: usize = slots[..window.legs.start].iter().product();
        let inner: usize = slots[window.legs.end..].iter().product();
        let wide = window.tasks.len() == 1 && window.tasks[0].core.range.len() > WIDE_CORE;
        // Too few columns, or too many that are padding, are taken for rows.
        let padding = (inner.next_multiple_of(LANES) - inner) as f64 / inner as f64;
        let few = inner < LANES || (inner < 4 * LANES && padding > 0.15 && outer >= LANES);
        let folded = if few && !wide { inner } else { 1 };
        let inner = inner / folded;
        let mut legs = slots[window.legs.clone()].to_vec();
        let mut sizes = vec![legs.iter().product::<usize>() * folded];
        let mut steps = Vec::with_capacity(window.tasks.len());
        for task in &window.tasks {
            let Core { p, q, range, .. } = &task.core;
            let own = task.slots.start - window.legs.start..task.slots.end - window.legs.start;
            let right = legs[own.end..].iter().product::<usize>() * folded;
            steps.push(Step { core: range.clone(), p: *p, q: *q, right });
            sizes.push(sizes[sizes.len() - 1] / p * q);
            legs.splice(own, task.makes.iter().copied());
        }
        let columns = if inner > 1 { inner } else { outer };
        let chunk = (CHUNK_ELEMENTS / footprint(&sizes)).clamp(LANES, MAX_COLUMNS) / LANES * LANES;
        let span = if inner > 1 { (chunk / inner.next_multiple_of(LANES)).clamp(1, outer) } else { 1 };
        // Of even width.
        let chunk = columns.div_ceil(columns.div_ceil(chunk)).next_multiple_of(LANES).min(columns);
        let chunks = if inner > 1 { outer.div_ceil(span) } else { 1 } * columns.div_ceil(chunk);
        let cores: usize = steps.iter().map(|step| step.core.len()).sum();
        let block = chunks.div_ceil((PARTIAL_ELEMENTS / cores).clamp(8, MAX_BLOCKS));
        let (reads, writes) = (Activation::Identity, Activation::Identity);
        let panel = if inner > 1 && chunk == inner && inner.is_multiple_of(LANES) { inner } else { LANES };
        Pass { outer, inner, steps, sizes, chunk, span, block, reads, writes, wide, panel }
    }

    /// Whether the tasks fit a chunk of at least two vectors of [`LANES`] columns.
    fn fits(slots: &[usize], window: &Window) -> bool {
        window.tasks.iter().all(|task| task.core.range.len() <= WIDE_CORE)
            && footprint(&Pass::new(slots, window).sizes) * 2 * LANES <= CHUNK_ELEMENTS
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
        self.groups().div_ceil(self.span) * self.columns().div_ceil(self.chunk)
    }

    /// Largest width of a chunk.
    pub fn width(&self) -> usize {
        self.span * self.chunk.next_multiple_of(LANES)
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
            let group = index / per_group * self.span;
            let groups = self.span.min(self.groups() - group);
            Chunk { group, groups, start, columns: self.chunk.min(columns - start) }
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

    /// Panels of a chunk that are computed together: calls are spread over them, yet they stay close to the processor.
    pub fn panels(&self) -> usize {
        (PANEL_ELEMENTS / (self.largest() * self.panel)).clamp(1, MAX_PANELS)
    }

    /// Whether chunks are worked on in main memory.
    pub fn in_place(&self) -> bool {
        self.inner > 1 && self.panel == self.inner
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

/// Elements per column that the adjoint keeps in cache: the input and D twice, since the next chunk is loaded meanwhile, the
/// tensors between the steps, and two gradients.
fn footprint(sizes: &[usize]) -> usize {
    let last = sizes.len() - 1;
    let gradients = sizes[..last].iter().copied().max().unwrap_or(1);
    sizes[..last].iter().sum::<usize>() + sizes[0] + 2 * sizes[last] + 2 * gradients
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
    /// Which row of W each element of the last tensor belongs to, if rows have scales of their own.
    pub rows: Option<Rows>,
}

impl Plan {
    pub fn new(spec: &GeneratorSpec, shape: &Shape) -> Plan {
        let count = shape.levels.len();
        let mut passes: Vec<Pass> = Vec::new();
        let mut level_ends = vec![0];
        for level in 1..count {
            let first = passes.len();
            arrange(shape, level, &mut passes);
            passes[first].reads = spec.activation_at(level - 1);
            if let Some(last) = passes.last_mut() {
                last.writes = spec.activation_at(level);
            }
            level_ends.push(passes.len());
        }
        let linear = spec.activation_at(count - 1) == Activation::Identity;
        let linear_core = shape.isometries(count - 1).first().filter(|_| linear).map(|core| core.range.clone());
        let rows = spec.output_scale.then(|| Rows::new(&spec.layout, spec.outputs));
        Plan { passes, top: spec.activation_at(0), linear_core, level_ends, rows }
    }
}

/// A leg of the tensor of one level on its way to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Leg of the level above, which waits for its isometry.
    Parent(usize),
    /// Leg of the level.
    Child(usize),
}

/// Orders the cores of a level and joins neighbours to passes as long as their chunks fit the cache.
fn arrange(shape: &Shape, level: usize, passes: &mut Vec<Pass>) {
    let mut tensor = Tensor::above(shape, level);
    let isometries = shape.isometries(level);
    let legs: Vec<Expansion> = isometries.iter().map(|core| Expansion { parent: core.p, children: core.q }).collect();
    let order = convenient(&legs, &expansion_order(&legs, &CostModel::default()).order);
    let mut between: Vec<&Core> = shape.disentanglers(level).iter().collect();
    let mut waiting: Vec<&Core> = order.iter().map(|&k| &isometries[k]).collect();
    while !waiting.is_empty() {
        let (mut group, window) = tensor.grow(&mut waiting);
        let Some(mut window) = window else { break };
        between.retain(|&disentangler| {
            group.push(disentangler);
            let wider = tensor.window(&group).filter(|w| w.legs == window.legs && Pass::fits(&tensor.dims, w));
            match wider {
                Some(wider) => window = wider,
                None => _ = group.pop(),
            }
            group.last() != Some(&disentangler)
        });
        passes.push(tensor.take(&window));
    }
    while !between.is_empty() {
        let (_, Some(window)) = tensor.grow(&mut between) else { break };
        passes.push(tensor.take(&window));
    }
}

/// `order` with legs of equal dimensions exchanged so that the passes over the largest tensors, which are the last ones,
/// find their leg neither among the fastest axes, where they would have to transpose, nor so far from them that each row
/// lies on a memory page of its own.
fn convenient(legs: &[Expansion], order: &[usize]) -> Vec<usize> {
    let mut dims: Vec<usize> = legs.iter().map(|leg| leg.children).collect();
    let mut left: Vec<usize> = (0..legs.len()).collect();
    let mut chosen: Vec<usize> = order.to_vec();
    for place in (0..order.len()).rev() {
        let distance = |&leg: &usize| {
            let inner = dims[leg + 1..].iter().fold(1usize, |n, &d| n.saturating_mul(d)) as f64;
            (inner.log2() - BEST_COLUMNS.log2()).abs()
        };
        let alike = left.iter().copied().filter(|&leg| legs[leg] == legs[order[place]]);
        if let Some(best) = alike.min_by(|a, b| distance(a).total_cmp(&distance(b))) {
            chosen[place] = best;
            dims[best] = legs[best].parent;
            left.retain(|&leg| leg != best);
        }
    }
    chosen
}

/// The legs of the running tensor within one level.
struct Tensor<'a> {
    shape: &'a Shape,
    level: usize,
    slots: Vec<Slot>,
    dims: Vec<usize>,
}

impl<'a> Tensor<'a> {
    /// The tensor of the level above `level`.
    fn above(shape: &'a Shape, level: usize) -> Self {
        let slot = |(leg, children): (usize, Range<usize>)| {
            // A leg that passes through is its only child from the beginning.
            if children.len() == 1 { Slot::Child(children.start) } else { Slot::Parent(leg) }
        };
        let slots = shape.tree().children(level).enumerate().map(slot).collect();
        Tensor { shape, level, slots, dims: shape.levels[level - 1].clone() }
    }

    /// Takes cores off the front of `waiting` as long as one pass has room for them.
    fn grow<'c>(&self, waiting: &mut Vec<&'c Core>) -> (Vec<&'c Core>, Option<Window>) {
        let mut count = 1;
        let mut window = self.window(&waiting[..1]);
        while count < waiting.len() {
            let wider = self.window(&waiting[..count + 1]).filter(|w| Pass::fits(&self.dims, w));
            if wider.is_none() {
                break;
            }
            (window, count) = (wider, count + 1);
        }
        (waiting.drain(..count).collect(), window)
    }

    /// The window of `cores`, if the legs of each are there when its turn comes.
    fn window(&self, cores: &[&Core]) -> Option<Window> {
        let (mut slots, mut tasks) = (self.slots.clone(), Vec::with_capacity(cores.len()));
        // How many slots before the window stay as they are, and how many behind it.
        let (mut before, mut behind) = (slots.len(), slots.len());
        for &core in cores {
            let (first, makes, taken) = self.effect(core);
            let start = slots.iter().position(|&slot| slot == first)?;
            let end = start + taken;
            if taken == 2
                && !matches!((first, slots.get(start + 1)), (Slot::Child(a), Some(&Slot::Child(b))) if a + 1 == b)
            {
                return None;
            }
            before = before.min(start);
            behind = behind.min(slots.len() - end);
            slots.splice(start..end, makes.clone().map(Slot::Child));
            let makes = makes.map(|leg| self.shape.levels[self.level][leg]).collect();
            tasks.push(Task { slots: start..end, makes, core: core.clone() });
        }
        Some(Window { legs: before..self.slots.len() - behind, tasks })
    }

    /// First slot that a core takes, the legs it makes, and how many slots it takes.
    fn effect(&self, core: &Core) -> (Slot, Range<usize>, usize) {
        match core.kind {
            CoreKind::Disentangler { leg, .. } => (Slot::Child(leg), leg..leg + 2, 2),
            CoreKind::Isometry { leg, .. } => {
                let children = self.shape.tree().children(self.level).nth(leg).unwrap_or(0..0);
                (Slot::Parent(leg), children, 1)
            }
            CoreKind::Top => (Slot::Parent(0), 0..0, 0),
        }
    }

    /// The pass over `window`; its legs are replaced by what it makes.
    fn take(&mut self, window: &Window) -> Pass {
        let pass = Pass::new(&self.dims, window);
        for task in &window.tasks {
            let (_, makes, _) = self.effect(&task.core);
            self.slots.splice(task.slots.clone(), makes.map(Slot::Child));
            self.dims.splice(task.slots.clone(), task.makes.iter().copied());
        }
        pass
    }
}
