//! Buffers of a generator's forward and adjoint sweep.

use crate::Real;
use crate::buffer::Buffer;
use crate::plan::Plan;

/// All buffers of forward and adjoint; nothing is allocated after the first step with the same shape.
///
/// A step needs the tensors between the passes of the forward sweep, W among them, and little else: the backward sweep
/// overwrites them with their gradients.
#[derive(Debug, Clone)]
pub struct Workspace<T: Real> {
    /// Input of each pass, and the output of the last one.
    pub(crate) tensors: Vec<Buffer<T>>,
    /// W, where that is not what `tensors` ends with; then ∂L/∂W times the scales of its rows.
    pub(crate) scaled: Buffer<T>,
    /// Gradient in the order of the parameters.
    pub(crate) gradient: Vec<T>,
    /// Partial gradients of one pass, block by block.
    pub(crate) partials: Vec<T>,
    /// Whether `tensors` are those of a forward sweep.
    pub(crate) fresh: bool,
}

impl<T: Real> Workspace<T> {
    /// An empty workspace; buffers grow on first use.
    pub fn new() -> Self {
        Workspace {
            tensors: Vec::new(),
            scaled: Buffer::default(),
            gradient: Vec::new(),
            partials: Vec::new(),
            fresh: false,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let tensors: usize = self.tensors.iter().map(Buffer::bytes).sum();
        tensors + self.scaled.bytes() + (self.gradient.capacity() + self.partials.capacity()) * size_of::<T>()
    }

    /// Whether the buffers hold a forward sweep of a generator with this plan.
    pub(crate) fn holds(&self, plan: &Plan) -> bool {
        self.fresh
            && self.tensors.len() == plan.passes.len() + 1
            && plan.passes.iter().zip(&self.tensors).all(|(pass, t)| pass.input_len() == t.len())
    }

    /// Gives every buffer the length that `plan` needs.
    pub(crate) fn prepare(&mut self, plan: &Plan) {
        self.tensors.resize_with(plan.passes.len() + 1, Buffer::default);
        for (k, pass) in plan.passes.iter().enumerate() {
            self.tensors[k].resize(pass.input_len());
            self.tensors[k + 1].resize(pass.output_len());
        }
    }
}

impl<T: Real> Default for Workspace<T> {
    fn default() -> Self {
        Workspace::new()
    }
}

/// Resizes without copying what is thrown away.
pub(crate) fn resize<T: Real>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() != len {
        buffer.clear();
        buffer.resize(len, T::ZERO);
    }
}
