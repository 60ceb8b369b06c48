//! A naive generator, written from the definitions, and random specifications.
#![allow(dead_code, clippy::panic)]

use adntn_networks::{
    Activation, Activations, Bonds, CoreKind, Generator, GeneratorSpec, Leg, LegLayout, Real, Side, Topology, Tree,
};
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

    /// The tensor with axis `axis` taken over the rows of a (dims[axis], q) matrix.
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

    /// The disentangler `u` on the legs `leg` and `leg` + 1.
    fn disentangled(self, leg: usize, u: &[f64]) -> Tensor {
        let dims = self.dims.clone();
        let mut merged = dims.clone();
        merged.splice(leg..leg + 2, [dims[leg] * dims[leg + 1]]);
        self.reshaped(&merged).expand(leg, u).reshaped(&dims)
    }
}

/// W in leaf order by the definition: every leg expanded by its own isometry, then disentanglers, then σ; scales at the end.
pub fn oracle<T: Real>(g: &Generator<T>) -> Vec<f64> {
    let f64s = |core: &[T]| core.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
    let (shape, spec) = (g.shape(), g.spec());
    let levels = &shape.levels;
    let mut t = Tensor { dims: levels[0].clone(), data: f64s(g.top()) };
    for (level, dims) in levels.iter().enumerate() {
        if level > 0 {
            for core in shape.isometries(level) {
                let CoreKind::Isometry { leg, .. } = core.kind else { panic!("{}", core.kind) };
                t = t.expand(leg, &f64s(g.core(core)));
            }
            t = t.reshaped(dims);
            for core in shape.disentanglers(level) {
                let CoreKind::Disentangler { leg, .. } = core.kind else { panic!("{}", core.kind) };
                t = t.disentangled(leg, &f64s(g.core(core)));
            }
        }
        for x in &mut t.data {
            *x = match spec.activation_at(level) {
                Activation::Identity => *x,
                Activation::Tanh => x.tanh(),
                Activation::Relu => x.max(0.0),
                Activation::LeakyRelu => x.max(0.01 * *x),
                Activation::Softsign => *x / (1.0 + x.abs()),
                other => unreachable!("{other} has no definition here"),
            };
        }
    }
    let rows = rows(&spec.layout);
    let scale = |row: usize| g.output_scale().get(row).map_or(1.0, |s| s.to_f64()) * g.scale().to_f64();
    t.data.iter().zip(rows).map(|(x, row)| x * scale(row)).collect()
}

/// Row of W for every position in leaf order, by the definition of a leg.
fn rows(layout: &LegLayout) -> Vec<usize> {
    let legs = Tensor { dims: layout.dims(), data: Vec::new() };
    let outputs = layout.side(Side::Output);
    let row = |position| {
        let index = legs.index(position);
        outputs.iter().fold(0, |row, leg| {
            let axis = layout.legs().iter().position(|l| l == leg).expect("a leg of the layout");
            row * leg.dim + index[axis]
        })
    };
    (0..layout.outputs() * layout.inputs()).map(row).collect()
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
        LegLayout::custom(legs).expect("four legs or more with dimensions of at least 1")
    })
}

pub fn activations() -> impl Strategy<Value = Activation> {
    prop::sample::select(Activation::ALL)
}

/// Any tree over `leaves` legs: balanced ones of two arities and irregular ones with legs that pass through.
pub fn trees(leaves: usize) -> impl Strategy<Value = Tree> {
    let irregular = any::<u64>().prop_map(move |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut levels = Vec::new();
        let mut below = leaves;
        while below > 2 || levels.is_empty() {
            let mut row = Vec::new();
            let mut left = below;
            while left > 0 {
                row.push(rng.random_range(1..=left.min(3)));
                left -= row[row.len() - 1];
            }
            if row.iter().all(|&n| n == 1) {
                continue;
            }
            below = row.len();
            levels.push(row);
            if levels.len() == 4 {
                break;
            }
        }
        levels.reverse();
        Tree::custom(levels).expect("every level has a leg with two children or more")
    });
    let ternary = Tree::with_arity(leaves, if leaves >= 6 { 3 } else { 2 }).expect("enough legs");
    prop_oneof![Just(Tree::balanced(leaves).expect("enough legs")), Just(ternary), irregular]
}

/// σ for a tree of `levels` levels.
pub fn all_activations(levels: usize) -> impl Strategy<Value = Activations> {
    prop_oneof![
        activations().prop_map(Activations::LastLinear),
        activations().prop_map(Activations::Uniform),
        prop::collection::vec(activations(), levels).prop_map(Activations::PerLevel),
    ]
}

/// Random specifications: every topology, trees and layouts of 4 to 9 legs, bonds of all levels alike or not, every σ.
pub fn specs() -> impl Strategy<Value = GeneratorSpec> {
    let layouts =
        prop_oneof![layouts(4, 4), layouts(5, 4), layouts(6, 3), layouts(7, 3), layouts(8, 3), layouts(9, 2),];
    let topology = prop::sample::select(Topology::ALL);
    layouts
        .prop_flat_map(move |layout| {
            let legs = layout.legs().len();
            (Just(layout), trees(legs), topology.clone(), any::<bool>(), (0usize..3, 0usize..3))
        })
        .prop_flat_map(|(layout, tree, topology, output_scale, cut)| {
            let bonds = prop_oneof![
                (1usize..7).prop_map(Bonds::Uniform),
                prop::collection::vec(1usize..7, tree.levels() - 1).prop_map(Bonds::PerLevel),
            ];
            (bonds, all_activations(tree.levels())).prop_map(move |(bonds, activations)| {
                let outputs = layout.outputs().saturating_sub(cut.0).max(1);
                let inputs = layout.inputs().saturating_sub(cut.1).max(1);
                let spec = GeneratorSpec::new(topology, outputs, inputs, layout.clone(), bonds, Activation::Identity);
                let mut spec = spec.with_tree(tree.clone()).expect("a leaf for every leg");
                spec.activations = activations;
                spec.output_scale = output_scale;
                spec
            })
        })
}

/// Random generators in double precision.
pub fn generators() -> impl Strategy<Value = Generator<f64>> {
    (specs(), any::<u64>()).prop_map(|(spec, seed)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut g = Generator::random(spec, &mut rng).expect("the specification is consistent");
        let scales = g.shape().output_scale();
        g.params_mut()[scales].iter_mut().for_each(|x| *x = rng.random_range(0.5..2.0));
        g
    })
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
