//! Vectorised contractions of small cores with tensors in cache.
//!
//! A *local* tensor has the shape (left, p, right), row-major, and its innermost extent is a multiple of [`LANES`]. All
//! vectors run along `right`, so cores of any size use them fully. Sums run over the cores' dimensions and over `right` in an
//! order that depends on the shape only.

mod environment;
mod expand;
mod transpose;

use pulp::Simd;

use crate::Real;

pub(crate) use environment::{Environment, Sums};
pub(crate) use expand::{Packed, expand, pack, pack_transposed};
pub(crate) use transpose::{Transposition, transpose, transpose_f32};

/// The innermost extent of a local tensor is a multiple of this: at least two vectors of any instruction set used.
pub(crate) const LANES: usize = 16;

/// Elements of a vector.
#[inline(always)]
fn lanes<T: Real, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

#[cfg(test)]
mod probe {
    use super::*;
    use pulp::{Arch, WithSimd};
    use std::time::Instant;
    struct Peak(usize);
    impl WithSimd for Peak {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) -> f32 {
            let mut a = [s.splat_f32s(0.0); 12];
            let (x, y) = (s.splat_f32s(1.0001), s.splat_f32s(0.5));
            for _ in 0..self.0 {
                for k in 0..12 {
                    a[k] = s.mul_add_e_f32s(a[k], x, y);
                }
            }
            a.iter().map(|&v| s.reduce_sum_f32s(v)).sum()
        }
    }
    fn time(mut f: impl FnMut()) -> f64 {
        let mut best = f64::MAX;
        for _ in 0..40 {
            let t = Instant::now();
            f();
            best = best.min(t.elapsed().as_secs_f64());
        }
        best
    }
    #[test]
    fn probe() {
        let peak = 12.0 * 16.0 * 100_000.0 / time(|| { std::hint::black_box(Arch::new().dispatch(Peak(100_000))); });
        println!("peak {:.1}", peak / 1e9);
        for (p, q, left, right) in [(64, 64, 16, 1), (16, 64, 16, 1), (8, 64, 16, 1), (64, 16, 16, 1), (64, 8, 16, 1), (32, 64, 16, 1), (8, 8, 16, 64), (8, 8, 16, 8), (8, 8, 16*64, 1), (4, 16, 16, 16), (16, 4, 16, 16)] {
            let right = right * LANES;
            let input = vec![0.5f32; left * p * right];
            let mut out = vec![0.5f32; left * q * right];
            let core = vec![0.1f32; p * q];
            let mut tiles = vec![0.0; p * q];
            pack(&core, p, q, &mut tiles);
            let flops = 2.0 * (left * right * p * q) as f64;
            let n = (1e7 / flops) as usize + 1;
            let e = time(|| for _ in 0..n { expand(Packed::new(&tiles, p, q), &input, right, &mut out); });
            let e2 = Environment::new(p, q);
            let mut acc = vec![0f32; e2.sums_len()];
            let mut scr = vec![0f32; e2.scratch_len(left * right)];
            let v = time(|| for _ in 0..n { e2.add(&input, &out, right, Sums { sums: &mut acc, scratch: &mut scr }); });
            println!("{e2:?} p {p} q {q} left {left} right {right}: expand {:.1} env {:.1}", flops * n as f64 / e / 1e9, flops * n as f64 / v / 1e9);
        }
    }
}
