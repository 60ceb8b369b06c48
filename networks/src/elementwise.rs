//! Vectorised loops over σ and its derivative.
//!
//! The loops are plain Rust; compiling them once per instruction set (`pulp`) is what vectorises them.

use pulp::{Arch, Simd, WithSimd};

use crate::{Activation, Real};

struct Activate<'a, T> {
    sigma: Activation,
    scale: T,
    xs: &'a mut [T],
}

impl<T: Real> WithSimd for Activate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Activate { sigma, scale, xs } = self;
        // One loop for each σ: the choice must not be made per element.
        macro_rules! apply {
            ($($sigma:ident)*) => {
                match sigma {
                    $(Activation::$sigma => xs.iter_mut().for_each(|x| *x = scale * Activation::$sigma.value(*x)),)*
                }
            };
        }
        apply!(Identity Tanh Relu LeakyRelu Softsign);
    }
}

/// x ← scale · σ(x).
pub(crate) fn activate<T: Real>(sigma: Activation, scale: T, xs: &mut [T]) {
    if sigma != Activation::Identity || scale != T::ONE {
        Arch::new().dispatch(Activate { sigma, scale, xs });
    }
}

struct Derive<'a, T> {
    sigma: Activation,
    gradient: &'a [T],
    values: &'a mut [T],
}

impl<T: Real> WithSimd for Derive<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Derive { sigma, gradient, values } = self;
        macro_rules! apply {
            ($($sigma:ident)*) => {
                match sigma {
                    $(Activation::$sigma => {
                        let pairs = values.iter_mut().zip(gradient);
                        pairs.for_each(|(y, &d)| *y = d * Activation::$sigma.derivative(*y));
                    })*
                }
            };
        }
        apply!(Identity Tanh Relu LeakyRelu Softsign);
    }
}

/// y ← d · σ′, where y = σ(z) and σ′ = dσ/dz: values are replaced by gradients in place.
pub(crate) fn replace_by_gradient<T: Real>(sigma: Activation, gradient: &[T], values: &mut [T]) {
    Arch::new().dispatch(Derive { sigma, gradient, values });
}
