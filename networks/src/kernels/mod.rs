//! Vectorised contractions of small cores with tensors in cache.
//!
//! A *local* tensor has the shape (left, p, right), row-major, and its innermost extent is a multiple of [`LANES`]. All
//! vectors run along `right`, so cores of any size use them fully. Sums run over the cores' dimensions and over `right` in an
//! order that depends on the shape only.

mod environment;
mod expand;
mod stream;
mod transpose;

use pulp::Simd;

use crate::Real;

pub(crate) use environment::{Environment, Sums};
pub(crate) use expand::{Packed, expand, pack, pack_transposed};
pub(crate) use stream::{finish, stream_f32};
pub(crate) use transpose::{Transposition, transpose, transpose_f32};

/// The innermost extent of a local tensor is a multiple of this: at least two vectors of any instruction set used.
pub(crate) const LANES: usize = 16;

/// Elements of a vector.
#[inline(always)]
fn lanes<T: Real, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}
