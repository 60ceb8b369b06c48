//! Functions of one element, and of two at the same place.

use super::Tensor;
use super::parallel::{Kernel, PIECE, pieces, vectorised};
use super::plain::Plain;
use super::tape::Node;
use super::zip::{Pair, Swapped, combine};

/// From what the slope of a curve follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Argument,
    Value,
    /// It is the same everywhere.
    Nothing,
}

/// A function of one number with its slope.
pub(crate) trait Curve: Copy + Send + Sync + 'static {
    const SLOPE: From;

    fn value(self, x: f32) -> f32;

    /// The slope where the argument or the value, whatever it follows from, is `at`.
    fn slope(self, at: f32) -> f32;
}

/// Declares a [`Curve`] without parameters, or implements one for a type: from what the slope follows, value and slope.
macro_rules! curve {
    ($name:ident, $from:ident, |$x:pat_param| $value:expr, |$at:pat_param| $slope:expr) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        $crate::tensor::curve!(impl $name, $from, |_, $x| $value, |_, $at| $slope);
    };
    (impl $name:ty, $from:ident, |$this:pat_param, $x:pat_param| $value:expr, |$that:pat_param, $at:pat_param| $slope:expr) => {
        impl $crate::tensor::Curve for $name {
            const SLOPE: $crate::tensor::From = $crate::tensor::From::$from;
            #[inline(always)]
            fn value(self, $x: f32) -> f32 {
                let $this = self;
                $value
            }
            #[inline(always)]
            fn slope(self, $at: f32) -> f32 {
                let $that = self;
                $slope
            }
        }
    };
}
pub(crate) use curve;

struct Apply<'a, C> {
    out: &'a mut [f32],
    /// `None`: from `out` itself.
    from: Option<&'a [f32]>,
    curve: C,
}

impl<C: Curve> Kernel for Apply<'_, C> {
    #[inline(always)]
    fn run(self) {
        let Apply { out, from, curve } = self;
        match from {
            Some(from) => out.iter_mut().zip(from).for_each(|(out, &x)| *out = curve.value(x)),
            None => out.iter_mut().for_each(|out| *out = curve.value(*out)),
        }
    }
}

/// The curve at every element, in place where nobody else has the values.
pub(crate) fn apply<C: Curve>(mut x: Plain, curve: C) -> Plain {
    if let Some(values) = x.own_values() {
        pieces(values, PIECE, |_, out| vectorised(Apply { out, from: None, curve }));
        return x;
    }
    let mut values = vec![0.0; x.len()];
    pieces(&mut values, PIECE, |start, out| {
        vectorised(Apply { from: Some(&x.values()[start..start + out.len()]), out, curve });
    });
    Plain::new(x.shape().to_vec(), values)
}

/// A gradient times the slope of a curve.
#[derive(Clone, Copy)]
struct TimesSlope<C>(C);

impl<C: Curve> Pair for TimesSlope<C> {
    type Swapped = Swapped<Self>;

    fn swapped(self) -> Swapped<Self> {
        Swapped(self)
    }

    #[inline(always)]
    fn of(self, gradient: f32, at: f32) -> f32 {
        gradient * self.0.slope(at)
    }
}

/// Times the slope of a curve that has the same everywhere.
#[derive(Clone, Copy)]
struct Scale<C>(C);

impl<C: Curve> Curve for Scale<C> {
    const SLOPE: From = From::Nothing;
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        self.0.slope(0.0) * x
    }
    #[inline(always)]
    fn slope(self, _: f32) -> f32 {
        self.0.slope(0.0)
    }
}

impl Tensor {
    /// The curve at every element.
    pub(crate) fn map<C: Curve>(self, curve: C) -> Tensor {
        let Tensor { value, node } = self;
        if node.is_none() {
            return Tensor::constant(apply(value, curve));
        }
        let (value, saved) = match C::SLOPE {
            From::Argument => (apply(value.clone(), curve), value),
            From::Value => {
                let value = apply(value, curve);
                (value.clone(), value)
            }
            From::Nothing => {
                let node =
                    Node::record(vec![node], move |gradient, parents| parents.give(0, apply(gradient, Scale(curve))));
                return Tensor { value: apply(value, curve), node };
            }
        };
        let node = Node::record(vec![node], move |gradient, parents| {
            parents.give(0, combine(gradient, saved, TimesSlope(curve)));
        });
        Tensor { value, node }
    }
}
