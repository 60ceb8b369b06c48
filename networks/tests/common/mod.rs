//! A naive generator, written from the definitions, and random specifications.
#![allow(dead_code)]

use adntn_networks::{Activation, Bonds, Generator, GeneratorSpec, Leg, LegLayout, Real, Side};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Row-major tensor.
#[derive(Clone)]
pub struct Tensor {
    pub dims: Vec<usize>,
    pub data: Vec<f64>,
}

impl Tensor {
    /// Multi-index of a position.
    fn index(&self, mut position: usize) -> Vec<usize> {
        let mut index = vec![0; self.dims.len()];
        for (digit, dim) in index.iter_mut().zip(&self.dims).rev() {
            *digit = position % dim;
            position /= dim;
        }
        index
    }

    fn position(&self, index: &[usize]) -> usize {
        self.dims.iter().zip(index).fold(0, |position, (dim, digit)| position * dim + digit)
    }

    /// Replaces axis `axis` by the columns of a (dims[axis], q) matrix.
    fn expand(&self, axis: usize, core: &[f64]) -> Tensor {
        let p = self.dims[axis];
        let q = core.len() / p;
        let mut out = Tensor { dims: self.dims.clone(), data: Vec::new() };
        out.dims[axis] = q;
        out.data = vec![0.0; out.dims.iter().product()];
        for position in 0..out.data.len() {
            let mut index = out.index(position);
            let column = index[axis];
            for a in 0..p {
                index[axis] = a;
                out.data[position] += self.data[self.position(&index)] * core[a * q + column];
            }
        }
        out
    }

    fn reshaped(mut self, dims: &[usize]) -> Tensor {
        self.dims = dims.to_vec();
        self
    }
}

/// W in leaf order by the definition: every leg expanded by its own isometry, then σ; scale at the end.
pub fn oracle<T: Real>(g: &Generator<T>) -> Vec<f64> {
    let f64s = |core: &[T]| core.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
    let levels = &g.shape().levels;
    let mut t = Tensor { dims: levels[0].clone(), data: f64s(g.top()) };
    for (level, dims) in levels.iter().enumerate() {
        if level > 0 {
            for leg in 0..levels[level - 1].len() {
                t = t.expand(leg, &f64s(g.isometry(level, leg)));
            }
            t = t.reshaped(dims);
        }
        if level + 1 < levels.len() || !g.spec().last_linear {
            for x in &mut t.data {
                *x = match g.spec().activation {
                    Activation::Identity => *x,
                    Activation::Tanh => x.tanh(),
                    Activation::Relu => x.max(0.0),
                    Activation::LeakyRelu => x.max(0.01 * *x),
                    Activation::Softsign => *x / (1.0 + x.abs()),
                    other => unreachable!("{other} has no definition here"),
                };
            }
        }
    }
    t.data.iter().map(|x| x * g.scale().to_f64()).collect()
}

/// Legs of random sides and dimensions in a random order.
pub fn layouts(legs: usize, largest: usize) -> impl Strategy<Value = LegLayout> {
    (prop::collection::vec((any::<bool>(), 1..=largest), legs), any::<u64>()).prop_map(|(sides, seed)| {
        let mut counts = [0, 0];
        let mut legs: Vec<Leg> = sides
            .into_iter()
            .map(|(output, dim)| {
                let side = if output { Side::Output } else { Side::Input };
                let place = counts[usize::from(output)];
                counts[usize::from(output)] += 1;
                Leg { side, dim, place }
            })
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for k in (1..legs.len()).rev() {
            legs.swap(k, rng.random_range(0..=k));
        }
        LegLayout::custom(legs).expect("a power of two of legs with dimensions of at least 1")
    })
}

pub fn activations() -> impl Strategy<Value = Activation> {
    prop::sample::select(Activation::ALL)
}

/// Random generators of four or eight legs in double precision.
pub fn generators() -> impl Strategy<Value = Generator<f64>> {
    let layouts = prop_oneof![layouts(4, 4), layouts(8, 3)];
    (layouts, 1usize..7, activations(), any::<bool>(), any::<u64>()).prop_map(
        |(layout, chi, sigma, last_linear, seed)| {
            let (outputs, inputs) = (layout.outputs(), layout.inputs());
            let mut spec = GeneratorSpec::ttn(outputs, inputs, layout, Bonds::Uniform(chi), sigma);
            spec.last_linear = last_linear;
            Generator::random(spec, &mut ChaCha8Rng::seed_from_u64(seed)).expect("the specification is consistent")
        },
    )
}

pub fn random_values(count: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}
