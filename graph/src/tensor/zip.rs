//! Functions of two tensors that broadcast.

use super::fold;
use super::map::apply;
use super::moves::{elements, joined, repeated, steps};
use super::parallel::{Kernel, PIECE, pieces, rows_of, vectorised};
use super::plain::Plain;
use super::tape::Node;
use super::{Tensor, Times};
use crate::broadcast::{broadcast, with_rank};
use crate::error::Problem;

/// A function of two numbers.
pub(crate) trait Pair: Copy + Send + Sync + 'static {
    /// The function with its operands exchanged: itself where their order does not matter, which halves what is compiled.
    type Swapped: Pair;

    fn of(self, a: f32, b: f32) -> f32;

    fn swapped(self) -> Self::Swapped;
}

/// Declares a [`Pair`]. With `symmetric` in front the order of the operands does not matter.
macro_rules! pair {
    (symmetric $name:ident, |$a:ident, $b:ident| $value:expr) => {
        $crate::tensor::pair!($name, $name, |this| this, |$a, $b| $value);
    };
    ($name:ident, |$a:ident, $b:ident| $value:expr) => {
        $crate::tensor::pair!($name, $crate::tensor::Swapped<$name>, |this| $crate::tensor::Swapped(this), |$a, $b| {
            $value
        });
    };
    ($name:ident, $swapped:ty, |$this:ident| $swap:expr, |$a:ident, $b:ident| $value:expr) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name;
        impl $crate::tensor::Pair for $name {
            type Swapped = $swapped;
            fn swapped(self) -> $swapped {
                let $this = self;
                $swap
            }
            #[inline(always)]
            fn of(self, $a: f32, $b: f32) -> f32 {
                $value
            }
        }
    };
}
pub(crate) use pair;

pair!(symmetric Add, |a, b| a + b);
pair!(Sub, |a, b| a - b);
pair!(symmetric Mul, |a, b| a * b);
pair!(Div, |a, b| a / b);

#[derive(Clone, Copy)]
pub(crate) struct Swapped<P>(pub P);

impl<P: Pair> Pair for Swapped<P> {
    type Swapped = P;

    fn swapped(self) -> P {
        self.0
    }

    #[inline(always)]
    fn of(self, a: f32, b: f32) -> f32 {
        self.0.of(b, a)
    }
}

/// Rows of the same length: a result, the first operand (`None`: what stands in the result), and the second, which is a
/// row or a number for each.
struct Rows<'a, P> {
    out: &'a mut [f32],
    first: Option<&'a [f32]>,
    second: &'a [f32],
    steps: Steps<'a>,
    pair: P,
}

/// Where the second operand of each row is.
#[derive(Clone, Copy)]
struct Steps<'a> {
    /// Extent and step of every axis but the last.
    outer: &'a [(usize, usize)],
    width: usize,
    is_row: bool,
    start: usize,
}

impl<P: Pair> Kernel for Rows<'_, P> {
    #[inline(always)]
    fn run(self) {
        let Rows { out, first, second, steps: Steps { outer, width, is_row, start }, pair } = self;
        for (number, out) in out.chunks_mut(width).enumerate() {
            let (mut rest, mut at) = (start + number, 0);
            for &(extent, step) in outer.iter().rev() {
                at += rest % extent * step;
                rest /= extent;
            }
            let first = first.map(|first| &first[number * width..][..out.len()]);
            match (first, is_row) {
                (Some(first), true) => {
                    let both = first.iter().zip(&second[at..at + width]);
                    out.iter_mut().zip(both).for_each(|(out, (&a, &b))| *out = pair.of(a, b));
                }
                (Some(first), false) => {
                    let b = second[at];
                    out.iter_mut().zip(first).for_each(|(out, &a)| *out = pair.of(a, b));
                }
                (None, true) => {
                    let row = &second[at..at + width];
                    out.iter_mut().zip(row).for_each(|(out, &b)| *out = pair.of(*out, b));
                }
                (None, false) => {
                    let b = second[at];
                    out.iter_mut().for_each(|out| *out = pair.of(*out, b));
                }
            }
        }
    }
}

/// Axes of `shape` with the steps of an operand that broadcasts to it: 0 where it is repeated. Neighbours are joined.
fn axes_of(shape: &[usize], own: &[usize]) -> Vec<(usize, usize)> {
    let steps = steps(own).into_iter().zip(own).map(|(step, &extent)| if extent == 1 { 0 } else { step });
    let axes = joined(shape.iter().copied().zip(steps));
    if axes.is_empty() { vec![(1, 1)] } else { axes }
}

/// f(a, b): a has the shape of the result, b broadcasts to it, has its rank and is smaller.
fn onto<P: Pair>(mut a: Plain, b: &Plain, pair: P) -> Plain {
    let axes = axes_of(a.shape(), b.shape());
    let Some((&(width, step), outer)) = axes.split_last() else { return a };
    // A single number may go in pieces.
    let width = if outer.is_empty() && step == 0 { width.min(PIECE) } else { width };
    let second = b.values();
    let piece = |start: usize, out: &mut [f32], first: Option<&[f32]>| {
        let first = first.map(|first| &first[start..start + out.len()]);
        let steps = Steps { outer, width, is_row: step != 0, start: start / width };
        vectorised(Rows { out, first, second, steps, pair });
    };
    let size = rows_of(width) * width;
    if let Some(values) = a.own_values() {
        pieces(values, size, |start, out| piece(start, out, None));
        return a;
    }
    let mut values = vec![0.0; a.len()];
    pieces(&mut values, size, |start, out| piece(start, out, Some(a.values())));
    Plain::new(a.shape().to_vec(), values)
}

/// Slices of the same length.
struct Slices<'a, P> {
    out: &'a mut [f32],
    /// `None`: what stands in the result.
    first: Option<&'a [f32]>,
    second: &'a [f32],
    pair: P,
}

impl<P: Pair> Kernel for Slices<'_, P> {
    #[inline(always)]
    fn run(self) {
        let Slices { out, first, second, pair } = self;
        match first {
            Some(first) => {
                let both = first.iter().zip(second);
                out.iter_mut().zip(both).for_each(|(out, (&a, &b))| *out = pair.of(a, b));
            }
            None => out.iter_mut().zip(second).for_each(|(out, &b)| *out = pair.of(*out, b)),
        }
    }
}

/// f(a, b) of tensors of the same shape, in place where nobody else has the values of the first.
pub(crate) fn combine<P: Pair>(mut a: Plain, b: Plain, pair: P) -> Plain {
    let piece = |start: usize, out: &mut [f32], first: Option<&[f32]>| {
        let first = first.map(|first| &first[start..start + out.len()]);
        vectorised(Slices { second: &b.values()[start..start + out.len()], out, first, pair });
    };
    if let Some(values) = a.own_values() {
        pieces(values, PIECE, |start, out| piece(start, out, None));
        return a;
    }
    let mut values = vec![0.0; a.len()];
    pieces(&mut values, PIECE, |start, out| piece(start, out, Some(a.values())));
    Plain::new(a.shape().to_vec(), values)
}

/// The same where the order does not matter: in place where nobody else has the values of one.
pub(crate) fn combine_any<P: Pair<Swapped = P>>(a: Plain, b: Plain, pair: P) -> Plain {
    if !a.is_own() && b.is_own() { combine(b, a, pair) } else { combine(a, b, pair) }
}

/// f(a, b), broadcast to a shape to which both broadcast.
pub(crate) fn zip_to<P: Pair>(a: Plain, b: Plain, shape: &[usize], pair: P) -> Plain {
    let whole = |x: Plain| {
        let own = with_rank(x.shape(), shape.len());
        x.with_shape(&own)
    };
    let (a, b) = (whole(a), whole(b));
    match (a.shape() == shape, b.shape() == shape) {
        (true, true) => combine(a, b, pair),
        (true, false) => onto(a, &b, pair),
        (false, true) => onto(b, &a, pair.swapped()),
        (false, false) => onto(repeated(&a, shape), &b, pair),
    }
}

/// f(a, b), broadcast.
fn zip<P: Pair>(a: Plain, b: Plain, pair: P) -> Result<Plain, Problem> {
    let shape = broadcast(a.shape(), b.shape())?;
    elements(&shape)?;
    Ok(zip_to(a, b, &shape, pair))
}

/// The same where the order does not matter: in place where nobody else has the values of one.
fn zip_any<P: Pair<Swapped = P>>(a: Plain, b: Plain, pair: P) -> Result<Plain, Problem> {
    if !a.is_own() && b.is_own() { zip(b, a, pair) } else { zip(a, b, pair) }
}

pair!(Larger, |a, b| if a > b || a.is_nan() { a } else { b });
pair!(Smaller, |a, b| if a < b || a.is_nan() { a } else { b });
// 1 where the first operand is chosen.
pair!(IsLarger, |a, b| f32::from(a >= b));
pair!(IsSmaller, |a, b| f32::from(a <= b));
pair!(Power, |a, b| a.powf(b));
// The two derivatives of a power.
// A constant has no slope, not even at zero.
pair!(PowerByBase, |a, b| if b == 0.0 { 0.0 } else { b * a.powf(b - 1.0) });
pair!(PowerByExponent, |a, b| a.powf(b) * a.ln());

impl Tensor {
    pub(crate) fn add(self, other: Tensor) -> Result<Tensor, Problem> {
        let shapes = (self.shape(), other.shape());
        let value = zip_any(self.value, other.value, Add)?;
        let node = Node::record(vec![self.node, other.node], move |gradient, parents| {
            if parents.want(1) {
                parents.give(1, fold::sum_to(gradient.clone(), &shapes.1));
            }
            if parents.want(0) {
                parents.give(0, fold::sum_to(gradient, &shapes.0));
            }
        });
        Ok(Tensor { value, node })
    }

    pub(crate) fn sub(self, other: Tensor) -> Result<Tensor, Problem> {
        let shapes = (self.shape(), other.shape());
        let value = zip(self.value, other.value, Sub)?;
        let node = Node::record(vec![self.node, other.node], move |gradient, parents| {
            if parents.want(1) {
                parents.give(1, apply(fold::sum_to(gradient.clone(), &shapes.1), Times(-1.0)));
            }
            if parents.want(0) {
                parents.give(0, fold::sum_to(gradient, &shapes.0));
            }
        });
        Ok(Tensor { value, node })
    }

    pub(crate) fn mul(self, other: Tensor) -> Result<Tensor, Problem> {
        let shapes = (self.shape(), other.shape());
        let (for_other, for_self) = (self.saved_for(&other), other.saved_for(&self));
        let value = zip_any(self.value, other.value, Mul)?;
        let node = Node::record(vec![self.node, other.node], move |gradient, parents| {
            // The first gradient needs the one of the product only to read it.
            if let Some(factor) = for_other {
                parents.give(1, fold::product_to(gradient.clone(), factor, &shapes.1));
            }
            if let Some(factor) = for_self {
                parents.give(0, fold::product_to(gradient, factor, &shapes.0));
            }
        });
        Ok(Tensor { value, node })
    }

    pub(crate) fn div(self, other: Tensor) -> Result<Tensor, Problem> {
        pair!(MinusProduct, |a, b| -a * b);
        let shapes = (self.shape(), other.shape());
        let divisor = (self.node.is_some() || other.node.is_some()).then(|| other.value.clone());
        let value = zip(self.value, other.value, Div)?;
        let quotient = other.node.is_some().then(|| value.clone());
        let node = Node::record(vec![self.node, other.node], move |gradient, parents| {
            let Some(divisor) = divisor else { return };
            let shape = gradient.shape().to_vec();
            let share = zip_to(gradient, divisor, &shape, Div);
            if parents.want(0) {
                parents.give(0, fold::sum_to(share.clone(), &shapes.0));
            }
            if let Some(quotient) = quotient {
                parents.give(1, fold::sum_to(combine(share, quotient, MinusProduct), &shapes.1));
            }
        });
        Ok(Tensor { value, node })
    }

    /// A function of two tensors with its derivatives by the first and the second.
    pub(crate) fn binary<P: Pair, D: Pair, E: Pair>(
        self,
        other: Tensor,
        f: P,
        by_first: D,
        by_second: E,
    ) -> Result<Tensor, Problem> {
        let shapes = (self.shape(), other.shape());
        let saved = (self.node.is_some() || other.node.is_some()).then(|| (self.value.clone(), other.value.clone()));
        let value = zip(self.value, other.value, f)?;
        let node = Node::record(vec![self.node, other.node], move |gradient, parents| {
            let Some((a, b)) = saved else { return };
            let shape = gradient.shape().to_vec();
            if parents.want(1) {
                let slope = zip_to(a.clone(), b.clone(), &shape, by_second);
                parents.give(1, fold::sum_to(combine(slope, gradient.clone(), Mul), &shapes.1));
            }
            if parents.want(0) {
                let slope = zip_to(a, b, &shape, by_first);
                parents.give(0, fold::sum_to(combine(slope, gradient, Mul), &shapes.0));
            }
        });
        Ok(Tensor { value, node })
    }

    pub(crate) fn pow(self, other: Tensor) -> Result<Tensor, Problem> {
        self.binary(other, Power, PowerByBase, PowerByExponent)
    }

    /// The larger of two; the first gets the gradient where they are equal.
    pub(crate) fn max(self, other: Tensor) -> Result<Tensor, Problem> {
        pair!(IsLess, |a, b| f32::from(a < b));
        self.binary(other, Larger, IsLarger, IsLess)
    }

    /// The smaller of two; the first gets the gradient where they are equal.
    pub(crate) fn min(self, other: Tensor) -> Result<Tensor, Problem> {
        pair!(IsMore, |a, b| f32::from(a > b));
        self.binary(other, Smaller, IsSmaller, IsMore)
    }

    /// The value, where `other` is on the tape and its gradient needs it.
    fn saved_for(&self, other: &Tensor) -> Option<Plain> {
        other.node.is_some().then(|| self.value.clone())
    }
}
