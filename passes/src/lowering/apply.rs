//! One act as a Reshape and a MatMul.

use crate::Error;
use crate::lowering::fuse;
use crate::lowering::level::{Axis, Level};
use crate::lowering::place::Placed;
use crate::lowering::program::{Program, Value};

/// Axes of the result that lie side by side and come from the same tensor.
struct Run {
    /// From the core; else from the running tensor.
    is_new: bool,
    size: usize,
}

/// The shapes of one product: \[batch…, M, K\] of the core with \[batch…, K, N\] of the running tensor, or, where nothing stands
/// behind K, \[batch…, rows, K\] of the running tensor with \[batch…, K, M\] of the core.
pub(super) struct Product {
    core: Vec<usize>,
    running: Vec<usize>,
    core_order: Vec<Axis>,
    core_first: bool,
}

impl Product {
    /// Number of matrix products that the batch axes stand for, and M, K and N of each.
    pub(super) fn sizes(&self) -> (usize, [usize; 3]) {
        let split = |shape: &[usize]| {
            let (batch, matrix) = shape.split_at(shape.len() - 2);
            (batch.iter().product::<usize>(), matrix[0], matrix[1])
        };
        let (left, right) = if self.core_first { (&self.core, &self.running) } else { (&self.running, &self.core) };
        let ((left, m, k), (right, _, n)) = (split(left), split(right));
        // Each batch axis belongs to one of the two tensors.
        (left * right, [m, k, n])
    }

    /// Whether the running tensor can be read as `shape`, the one it was written in.
    pub(super) fn reads(&self, shape: &[usize]) -> bool {
        self.running == shape
    }

    /// Shape of what the product makes.
    pub(super) fn result(&self) -> Vec<usize> {
        let rank = self.core.len().max(self.running.len());
        let dim = |s: &[usize], axis: usize| (axis + s.len()).checked_sub(rank).map_or(1, |axis| s[axis]);
        let mut shape: Vec<usize> =
            (0..rank - 2).map(|axis| dim(&self.core, axis).max(dim(&self.running, axis))).collect();
        let (left, right) = if self.core_first { (&self.core, &self.running) } else { (&self.running, &self.core) };
        shape.extend([left[left.len() - 2], right[right.len() - 1]]);
        shape
    }

    /// The product for `placed`, where `axes` are those of the running tensor before.
    pub(super) fn new(level: &Level, axes: &[Axis], placed: &Placed) -> Product {
        let act = &level.acts[placed.act];
        let k = level.size(&act.takes);
        let n = level.size(&axes[placed.before + act.takes.len()..]);
        // What stands in front of N in the result; axes of size one are no hindrance to what they stand between.
        let head = &placed.axes[..placed.axes.len() - (axes.len() - placed.before - act.takes.len())];
        let mut runs: Vec<Run> = Vec::new();
        for &axis in head.iter().filter(|&&axis| level.dim(axis) != 1) {
            let (is_new, size) = (act.gives.contains(&axis), level.dim(axis));
            match runs.last_mut() {
                Some(run) if run.is_new == is_new => run.size *= size,
                _ => runs.push(Run { is_new, size }),
            }
        }
        let m = runs.pop_if(|run| run.is_new).map_or(1, |run| run.size);
        let gives: Vec<Axis> = head.iter().copied().filter(|axis| act.gives.contains(axis)).collect();
        let rows = if n == 1 { runs.pop().map_or(1, |run| run.size) } else { 1 };
        let batch = |of_core: bool| runs.iter().map(move |run| if run.is_new == of_core { run.size } else { 1 });
        let shape = |of_core, matrix: [usize; 2]| without_leading_ones(batch(of_core).chain(matrix).collect());
        if n != 1 {
            let core_order = gives.into_iter().chain(act.takes.iter().copied()).collect();
            return Product { core: shape(true, [m, k]), running: shape(false, [k, n]), core_order, core_first: true };
        }
        // M's legs are the last ones of `gives`.
        let mut moved: usize = gives.len();
        let mut size = 1;
        while moved > 0 && size < m {
            moved -= 1;
            size *= level.dim(gives[moved]);
        }
        let core_order = [&gives[..moved], &act.takes, &gives[moved..]].concat();
        Product { core: shape(true, [k, m]), running: shape(false, [rows, k]), core_order, core_first: false }
    }
}

/// Batch axes are counted from the right, so that leading ones say nothing.
fn without_leading_ones(mut shape: Vec<usize>) -> Vec<usize> {
    let ones = shape[..shape.len() - 2].iter().take_while(|&&size| size == 1).count();
    shape.drain(..ones);
    shape
}

/// Applies all of `placed` to `running`, whose axes are `axes`.
pub(super) fn apply(
    program: &mut Program,
    level: &Level,
    mut axes: Vec<Axis>,
    placed: Vec<Placed>,
    mut running: Value,
) -> Result<Value, Error> {
    for step in placed {
        let act = &level.acts[step.act];
        let product = Product::new(level, &axes, &step);
        let core = fuse::core(program, level, act, &product.core_order, &product.core)?;
        let view = program.reshape(running, &product.running, &act.label)?;
        let (left, right) = if product.core_first { (core, view) } else { (view, core) };
        running = program.matmul(left, right, &act.label)?;
        axes = step.axes;
    }
    Ok(running)
}
