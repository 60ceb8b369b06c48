//! Work in pieces of fixed size, so that results do not depend on the number of threads, each with the vectors of the
//! processor.

use rayon::prelude::*;

/// Elements that one task works on, where they are independent: an amount that fits into the second-level cache.
pub(crate) const PIECE: usize = 1 << 14;

/// Calls `f` with pieces of `size` elements and the place at which each begins.
pub(crate) fn pieces<T: Send>(values: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    // Behind a pointer: what divides the work among threads is compiled once, not for every loop.
    fn run<T: Send>(values: &mut [T], size: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
        if values.len() <= size {
            f(0, values);
        } else {
            values.par_chunks_mut(size).enumerate().for_each(|(number, piece)| f(number * size, piece));
        }
    }
    run(values, size, &f);
}

/// The same with two slices, divided into the same number of pieces.
pub(crate) fn pieces_of_two<T: Send, U: Send>(
    (first, size): (&mut [T], usize),
    (second, other): (&mut [U], usize),
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    if first.len() <= size {
        f(0, first, second);
    } else {
        let both = first.par_chunks_mut(size).zip(second.par_chunks_mut(other)).enumerate();
        both.for_each(|(number, (first, second))| f(number * size, first, second));
    }
}

/// As many rows as make about a piece, one at least.
pub(crate) fn rows_of(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// A loop to be compiled for several instruction sets. What it calls must be `inline(always)`.
pub(crate) trait Kernel {
    fn run(self);
}

/// Runs a loop with vectors of 256 bits where the processor has them. Memory sets the pace of these loops: longer vectors
/// bring nothing, and every instruction set is compile time.
#[inline]
pub(crate) fn vectorised(kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        struct Run<K>(K);
        impl<K: Kernel> pulp::NullaryFnOnce for Run<K> {
            type Output = ();
            #[inline(always)]
            fn call(self) {
                self.0.run();
            }
        }
        if let Some(simd) = pulp::x86::V3::try_new() {
            simd.vectorize(Run(kernel));
            return;
        }
    }
    kernel.run();
}
