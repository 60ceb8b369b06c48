//! The two number types a generator can be made of.

use std::cell::RefCell;
use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use bytemuck::Zeroable;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::Simd;

use crate::buffer::Line;
use crate::kernels::{LANES, Transposition, stream_f32, transpose_f32};

pub(crate) mod sealed {
    use faer::{Accum, MatMut, MatRef};
    use pulp::Simd;

    use crate::kernels::{LANES, Transposition};

    pub trait Sealed {
        /// Calls `f` with `len` elements of memory that the thread keeps, from a cache line's first byte on; their values are left over from earlier calls.
        /// `f` must not call this again.
        fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R
        where
            Self: Sized;

        /// Transposes the whole blocks of a matrix, if this is better done in a way of this type's own.
        fn transpose_blocks(task: &mut Transposition<'_, Self>) -> bool
        where
            Self: Sized;

        /// dst ← a·b or dst + a·b, on this thread.
        fn product(dst: MatMut<'_, Self>, beta: Accum, a: MatRef<'_, Self>, b: MatRef<'_, Self>)
        where
            Self: Sized;

        /// Writes a panel past the caches, if there is a way; see [`crate::kernels::stream_f32`].
        ///
        /// # Safety
        /// As there.
        #[allow(unsafe_code)]
        unsafe fn stream(panel: &[[Self; LANES]], first: *mut Self, step: usize) -> bool
        where
            Self: Sized;
    }

    /// Vectors of an instruction set.
    pub trait Vectors: Sized {
        type Vector<S: Simd>: Copy;

        /// The slice as vectors; what is left over at its end is not included.
        fn vectors<S: Simd>(simd: S, xs: &[Self]) -> &[Self::Vector<S>];
        fn vectors_mut<S: Simd>(simd: S, xs: &mut [Self]) -> &mut [Self::Vector<S>];
        fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
        /// a·b + c.
        fn multiply_add<S: Simd>(
            simd: S,
            a: Self::Vector<S>,
            b: Self::Vector<S>,
            c: Self::Vector<S>,
        ) -> Self::Vector<S>;
        /// Sum of the elements.
        fn total<S: Simd>(simd: S, x: Self::Vector<S>) -> Self;
    }
}

/// `f32` (fits) or `f64` (checks of derivatives).
pub trait Real:
    sealed::Sealed
    + sealed::Vectors
    + bytemuck::Pod
    + Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// Nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// The value as f64, exact.
    fn to_f64(self) -> f64;
    /// Neither NaN nor infinite.
    fn is_finite(self) -> bool;
    /// Absolute value.
    fn abs(self) -> Self;
    /// tanh, exactly odd; for `f32` a rational function within 1e-6 relative, so that loops over it vectorise.
    fn tanh(self) -> Self;
}

macro_rules! real {
    ($t:ident, $tanh:path, $transpose:path, $stream:path, $v:ident, $view:ident, $view_mut:ident, $splat:ident, $madd:ident, $sum:ident) => {
        impl sealed::Sealed for $t {
            fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local!(static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) });
                SCRATCH.with_borrow_mut(|scratch| {
                    let lines = Line::count::<$t>(len);
                    if scratch.len() < lines {
                        scratch.resize(lines, Line::zeroed());
                    }
                    f(&mut bytemuck::cast_slice_mut(scratch)[..len])
                })
            }

            fn transpose_blocks(task: &mut Transposition<'_, Self>) -> bool {
                $transpose(task)
            }

            fn product(dst: MatMut<'_, Self>, beta: Accum, a: MatRef<'_, Self>, b: MatRef<'_, Self>) {
                matmul(dst, beta, a, b, 1.0, Par::Seq);
            }

            #[allow(unsafe_code)]
            unsafe fn stream(panel: &[[Self; LANES]], first: *mut Self, step: usize) -> bool {
                // SAFETY: by the caller.
                unsafe { $stream(panel, first, step) }
            }
        }

        impl sealed::Vectors for $t {
            type Vector<S: Simd> = S::$v;

            #[inline(always)]
            fn vectors<S: Simd>(_: S, xs: &[Self]) -> &[S::$v] {
                S::$view(xs).0
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(_: S, xs: &mut [Self]) -> &mut [S::$v] {
                S::$view_mut(xs).0
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$v {
                simd.$splat(x)
            }
            #[inline(always)]
            fn multiply_add<S: Simd>(simd: S, a: S::$v, b: S::$v, c: S::$v) -> S::$v {
                simd.$madd(a, b, c)
            }
            #[inline(always)]
            fn total<S: Simd>(simd: S, x: S::$v) -> Self {
                simd.$sum(x)
            }
        }

        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
        }
    };
}

real!(
    f32,
    tanh_f32,
    transpose_f32,
    stream_f32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_e_f32s,
    reduce_sum_f32s
);
real!(
    f64,
    f64::tanh,
    no_transposition,
    no_stream,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_e_f64s,
    reduce_sum_f64s
);

/// Double precision is for checks: blocks are transposed as they come.
fn no_transposition(_: &mut Transposition<'_, f64>) -> bool {
    false
}

/// Nor is it worth streaming.
///
/// # Safety
/// None needed.
#[allow(unsafe_code)]
unsafe fn no_stream(_: &[[f64; LANES]], _: *mut f64, _: usize) -> bool {
    false
}

/// tanh x = x·P(x²)/Q(x²), a minimax fit (2.1e-8 relative) on |x| ≤ 9.02, where tanh rounds to 1. All coefficients are
/// positive, so rounding adds only 3e-7. NaN stays NaN.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    const P: [f32; 5] = [1.0, 0.133_797_15, 0.003_494_031_7, 2.058_343_8e-5, 1.331_901_7e-8];
    const Q: [f32; 5] = [1.0, 0.467_130_3, 0.025_871_063, 3.283_088_4e-4, 7.761_995_6e-7];
    let x = clamp(x, 9.02);
    let y = x * x;
    let p = (((P[4] * y + P[3]) * y + P[2]) * y + P[1]) * y + P[0];
    let q = (((Q[4] * y + Q[3]) * y + Q[2]) * y + Q[1]) * y + Q[0];
    clamp(x * p / q, 1.0)
}

/// Unlike `f32::clamp` it compiles to two vector instructions.
#[inline(always)]
fn clamp(x: f32, bound: f32) -> f32 {
    let x = if x > bound { bound } else { x };
    if x < -bound { -bound } else { x }
}
