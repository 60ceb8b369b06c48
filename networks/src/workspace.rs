//! Buffers of a generator's forward and adjoint sweep.

/// All buffers of forward and adjoint; nothing is allocated after the first step with the same shape.
#[derive(Debug, Clone, Default)]
pub struct Workspace<T> {
    pub(crate) levels: Vec<Vec<T>>,
    pub(crate) gradient: Vec<T>,
}

impl<T> Workspace<T> {
    /// An empty workspace; buffers grow on first use.
    pub fn new() -> Self {
        Workspace { levels: Vec::new(), gradient: Vec::new() }
    }
}
