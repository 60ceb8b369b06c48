//! Vectorised contractions of small cores with tensors in cache.
//!
//! A *local* tensor has the shape (left, p, right), row-major, and its innermost extent is a multiple of [`LANES`]. All
//! vectors run along `right`, so cores of any size use them fully. Sums run over the cores' dimensions and over `right` in an
//! order that depends on the shape only.

mod environment;
mod expand;
mod stream;
mod transpose;

use pulp::{Arch, Simd, WithSimd};

use crate::Real;

pub(crate) use environment::{Environment, Sums};
pub(crate) use expand::{Packed, expand, pack, pack_transposed};
pub(crate) use stream::{finish, stream_f32};
pub(crate) use transpose::{Transposition, transpose, transpose_f32};

/// The innermost extent of a local tensor is a multiple of this: whole vectors of any instruction set used.
pub(crate) const LANES: usize = 16;

/// Bytes of a vector from which on there are 32 registers (AVX-512) instead of 16, so that tiles may be twice as high.
const LONG_VECTOR: usize = 64;

/// Elements of a vector.
#[inline(always)]
fn lanes<T: Real, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// Elements of a vector of this processor.
fn processor_lanes<T: Real>() -> usize {
    struct Lanes<T>(std::marker::PhantomData<T>);

    impl<T: Real> WithSimd for Lanes<T> {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            lanes::<T, S>()
        }
    }

    Arch::new().dispatch(Lanes::<T>(std::marker::PhantomData))
}

/// Whether this processor's vectors are [`LONG_VECTOR`] or longer.
fn is_long<T: Real>() -> bool {
    processor_lanes::<T>() * size_of::<T>() >= LONG_VECTOR
}
