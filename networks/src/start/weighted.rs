//! The weighted start: W multiplied by square roots of the inputs' marginal Gram matrices.

use std::ops::Range;

use rayon::prelude::*;

use crate::matmul::{Strided, multiply};
use crate::start::coarsen::groups_of_legs;
use crate::start::{InputWeighting, eigen, gram};
use crate::{CoreKind, Error, GeneratorSpec, Leg, Shape, Side};

/// Eigenvalues of a marginal are raised to at least this share of their mean: directions that no input has seen must not be
/// amplified without bound when the weighting is taken back.
const FLOOR: f64 = 1e-6;
/// Rows of a root that one task multiplies.
const ROWS: usize = 128;

/// The weighting of a group of neighbouring physical legs that one core makes: a symmetric matrix on its m elements.
#[derive(Debug)]
pub(crate) struct GroupWeight {
    m: usize,
    /// S = Gram^½ on input legs, identity on output legs; `None` for groups without input legs.
    root: Option<Vec<f32>>,
    inverse: Vec<f32>,
    /// Index of the core that makes the legs, and the product of the faster legs it makes besides.
    core: usize,
    inner: usize,
}

impl GroupWeight {
    /// Multiplies the legs of the core that makes them by S⁻¹.
    pub fn unweigh(&self, shape: &Shape, params: &mut [f32]) {
        if self.root.is_none() {
            return;
        }
        let (m, inner) = (self.m, self.inner);
        let core = &mut params[shape.cores[self.core].range.clone()];
        core.par_chunks_exact_mut(m * inner).for_each(|block| {
            let old: Vec<f32> = block.to_vec();
            for (row, line) in block.chunks_exact_mut(inner).zip(self.inverse.chunks_exact(m)) {
                for (column, x) in row.iter_mut().enumerate() {
                    // The inverse is symmetric, so its columns are its rows.
                    let terms = line.iter().zip(old.iter().skip(column).step_by(inner));
                    *x = terms.map(|(&s, &x)| f64::from(s) * f64::from(x)).sum::<f64>() as f32;
                }
            }
        });
    }
}

/// Neighbouring legs, the index of the core that makes them, and the product of the faster legs that it makes besides.
type Group = (Range<usize>, Option<(usize, usize)>);

/// The weighting of every group of legs. Where siblings are made by an isometry alone they are a group; where disentanglers
/// act, their pairs are groups and so are the other legs, each on its own. Legs that pass through are not weighted.
pub(crate) fn group_weights(
    spec: &GeneratorSpec,
    shape: &Shape,
    weighting: &dyn InputWeighting,
) -> Result<Vec<GroupWeight>, Error> {
    let level = shape.levels.len() - 1;
    let dims = &shape.levels[level];
    let place = |kind| shape.cores.iter().position(|core| core.kind == kind);
    let maker = |leg: usize| {
        let (parent, children) =
            shape.tree().children(level).enumerate().find(|(_, children)| children.contains(&leg))?;
        Some((place(CoreKind::Isometry { level, leg: parent })?, children))
    };
    let mut groups: Vec<Group> = Vec::new();
    if shape.disentanglers(level).is_empty() {
        for (leg, children) in shape.tree().children(level).enumerate() {
            groups.push((children, place(CoreKind::Isometry { level, leg }).map(|core| (core, 1))));
        }
    } else {
        for (legs, disentangler) in groups_of_legs(shape, level) {
            let core = match disentangler {
                Some(_) => place(CoreKind::Disentangler { level, leg: legs.start }).map(|core| (core, 1)),
                None => maker(legs.start).map(|(core, siblings)| (core, dims[legs.end..siblings.end].iter().product())),
            };
            groups.push((legs, core));
        }
    }
    let inputs: Vec<usize> = spec.layout.side(Side::Input).iter().map(|leg| leg.dim).collect();
    let weight = |(range, maker): Group| {
        let legs = &spec.layout.legs()[range];
        let m = legs.iter().map(|leg| leg.dim).product();
        let own: Vec<&Leg> = legs.iter().filter(|leg| leg.side == Side::Input).collect();
        let Some((core, inner)) = maker.filter(|_| !own.is_empty()) else {
            return Ok(GroupWeight { m, root: None, inverse: Vec::new(), core: 0, inner: 1 });
        };
        let places: Vec<usize> = own.iter().map(|leg| leg.place).collect();
        let d: usize = own.iter().map(|leg| leg.dim).product();
        let marginal = weighting.marginal(&inputs, &places);
        if marginal.len() != d * d {
            return Err(Error::WeightingShape { given: marginal.len(), dim: d });
        }
        if let Some(index) = marginal.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: "input weighting", index });
        }
        let (root, inverse) = roots(&marginal, d)?;
        let digits: Vec<(usize, usize)> = (0..m).map(|element| split(legs, element)).collect();
        let widen = |small: &[f64]| {
            let mut wide = vec![0.0f32; m * m];
            for (row, &(input, output)) in wide.chunks_exact_mut(m).zip(&digits) {
                for (x, &(other_input, other_output)) in row.iter_mut().zip(&digits) {
                    if output == other_output {
                        *x = small[input * d + other_input] as f32;
                    }
                }
            }
            wide
        };
        Ok(GroupWeight { m, root: Some(widen(&root)), inverse: widen(&inverse), core, inner })
    };
    groups.into_iter().map(weight).collect()
}

/// An element of a group of legs as its place among the input legs and its place among the output legs.
fn split(legs: &[Leg], mut element: usize) -> (usize, usize) {
    let (mut places, mut strides) = ([0, 0], [1, 1]);
    for leg in legs.iter().rev() {
        let side = usize::from(leg.side == Side::Output);
        places[side] += element % leg.dim * strides[side];
        strides[side] *= leg.dim;
        element /= leg.dim;
    }
    (places[0], places[1])
}

/// Gram^½ and Gram^−½ with floored eigenvalues.
fn roots(marginal: &[f64], d: usize) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let (values, vectors) = eigen::decompose(marginal, d)?;
    let mean = values.iter().sum::<f64>() / d as f64;
    // A Gram matrix of nothing but zeros says nothing about the inputs.
    let floor = if mean > 0.0 { FLOOR * mean } else { 1.0 };
    let plain: Vec<f64> = (0..d * d).map(|at| vectors[(at / d, at % d)]).collect();
    let power = |exponent: f64| {
        let factors: Vec<f64> = values.iter().map(|value| value.max(floor).powf(exponent)).collect();
        let scaled: Vec<f64> = plain.iter().enumerate().map(|(at, v)| v * factors[at % d]).collect();
        let mut out = vec![0.0; d * d];
        out.par_chunks_mut(ROWS * d).zip(scaled.par_chunks(ROWS * d)).for_each(|(out, left)| {
            let rows = Strided::rows(left.len() / d, d);
            multiply((out, rows), false, (left, rows), (&plain, Strided::rows(d, d).transposed()));
        });
        out
    };
    Ok((power(0.5), power(-0.5)))
}

/// Multiplies each group of `t` by its S.
pub(crate) fn apply(weights: &[GroupWeight], t: &mut Vec<f32>) {
    let mut spare = vec![0.0; t.len()];
    for weight in weights {
        match &weight.root {
            Some(root) => gram::cycle(t, weight.m, root, weight.m, &mut spare),
            None => gram::rotate(t, weight.m, &mut spare),
        }
        std::mem::swap(t, &mut spare);
    }
}
