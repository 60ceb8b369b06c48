//! Tensor-network graphs, their cost model and contraction-order search.
