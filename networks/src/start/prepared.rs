//! The part of a hierarchical SVD that does not depend on the bond dimension, done once for many of them.

use crate::start::weighted::{self, LeafWeight};
use crate::start::{InputWeighting, gram, near_linear, thin};
use crate::workspace::resize;
use crate::{Bonds, Error, Generator, GeneratorSpec, Shape, Workspace};

/// A weight with the eigenvectors of its leaf pairs: gives the start for any bond dimension up to that of its specification.
///
/// The leaf level holds most of the work of a start. Its eigenvectors are sorted, so a smaller bond takes fewer of them.
#[derive(Debug)]
pub struct Prepared {
    spec: GeneratorSpec,
    weights: Option<Vec<LeafWeight>>,
    /// The (weighted) weight in leaf order, for σ whose overall scale has to be fitted to it.
    target: Option<Vec<f32>>,
    /// For every leaf pair its leading eigenvectors, (pair, bond) row-major.
    bases: Vec<Vec<f32>>,
    /// The largest bond dimensions of the leaf pairs.
    bonds: Vec<usize>,
    /// The target projected on the bases; legs are the bonds.
    core: Vec<f32>,
}

impl Prepared {
    /// Prepares the starts of generators like `spec` with its bond dimensions or smaller ones; see [`super::hierarchical_svd`].
    ///
    /// # Errors
    /// As [`super::hierarchical_svd`].
    pub fn new(w: &[f32], spec: &GeneratorSpec, weighting: Option<&dyn InputWeighting>) -> Result<Self, Error> {
        let shape = Shape::new(spec)?;
        if w.len() != spec.outputs * spec.inputs {
            return Err(Error::WeightLength { given: w.len(), outputs: spec.outputs, inputs: spec.inputs });
        }
        if let Some(index) = w.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: "weight", index });
        }
        let mut target = Vec::new();
        spec.layout.gather(w, spec.outputs, spec.inputs, &mut target);
        let weights = weighting.map(|weighting| weighted::leaf_weights(spec, weighting)).transpose()?;
        let mut spare = Vec::new();
        if let Some(weights) = &weights {
            weighted::apply(weights, &mut target, &mut spare);
        }
        let leaves = shape.levels.len() - 1;
        let bonds = shape.levels[leaves - 1].clone();
        let mut bases = Vec::with_capacity(bonds.len());
        let keeps_target = !near_linear::follows_linear(spec);
        let mut kept = None;
        let mut core: Option<Vec<f32>> = None;
        for (pair, &bond) in shape.levels[leaves].chunks_exact(2).zip(&bonds) {
            let t = core.as_ref().unwrap_or(&target);
            let pair = pair[0] * pair[1];
            let basis = thin::leading(t, pair, bond)?;
            // Cyclic: the pair is consumed at the front and its bond appended, so a full round restores the order.
            resize(&mut spare, t.len() / pair * bond);
            gram::cycle(t, pair, &basis, bond, &mut spare);
            let done = match core.take() {
                Some(previous) => previous,
                None if keeps_target => {
                    kept = Some(std::mem::take(&mut target));
                    Vec::new()
                }
                None => std::mem::take(&mut target),
            };
            core = Some(std::mem::replace(&mut spare, done));
            bases.push(basis);
        }
        Ok(Prepared { spec: spec.clone(), weights, target: kept, bases, bonds, core: core.unwrap_or_default() })
    }

    /// The start with the given bond dimensions.
    ///
    /// # Errors
    /// When `bonds` are inconsistent with the layout or larger than what was prepared.
    pub fn start(&self, bonds: Bonds) -> Result<Generator, Error> {
        let mut spec = self.spec.clone();
        spec.bonds = bonds;
        let shape = Shape::new(&spec)?;
        let leaves = shape.levels.len() - 1;
        let wanted = &shape.levels[leaves - 1];
        if wanted.iter().zip(&self.bonds).any(|(wanted, have)| wanted > have) {
            return Err(Error::NotPrepared { wanted: wanted.clone(), prepared: self.bonds.clone() });
        }
        let mut params = vec![0.0f32; shape.parameters()];
        for (leg, (basis, &bond)) in self.bases.iter().zip(wanted).enumerate() {
            let isometry = &mut params[shape.isometry(leaves, leg)];
            transpose_leading(basis, self.bonds[leg], bond, isometry);
        }
        let mut t = leading_block(&self.core, &self.bonds, wanted);
        let mut spare = Vec::new();
        for level in (1..leaves).rev() {
            for (leg, &bond) in shape.levels[level - 1].iter().enumerate() {
                let pair = shape.levels[level][2 * leg] * shape.levels[level][2 * leg + 1];
                let basis = thin::leading(&t, pair, bond)?;
                resize(&mut spare, t.len() / pair * bond);
                gram::cycle(&t, pair, &basis, bond, &mut spare);
                std::mem::swap(&mut t, &mut spare);
                transpose_leading(&basis, bond, bond, &mut params[shape.isometry(level, leg)]);
            }
        }
        params[shape.top()].copy_from_slice(&t);
        drop((t, spare));
        if let Some(scale) = params.last_mut() {
            *scale = 1.0;
        }
        let mut generator = Generator::new(spec, params)?;
        let mut ws = Workspace::new();
        let factor = near_linear::scale_top(&mut generator, &mut ws);
        match &self.target {
            None => generator.set_scale((1.0 / factor) as f32),
            // Before its weights are taken back the generator has the weighted tensor as its target.
            Some(target) => fit_scale(&mut generator, target, &mut ws),
        }
        for (leg, weight) in self.weights.iter().flatten().enumerate() {
            let isometry = shape.isometry(leaves, leg);
            weight.unweigh(&mut generator.params_mut()[isometry]);
        }
        Ok(generator)
    }
}

/// `isometry` (bond, pair) ← the first `bond` columns of `basis` (pair, columns), transposed.
fn transpose_leading(basis: &[f32], columns: usize, bond: usize, isometry: &mut [f32]) {
    let pair = basis.len() / columns;
    for (k, row) in isometry.chunks_exact_mut(pair).take(bond).enumerate() {
        row.iter_mut().zip(basis.chunks_exact(columns)).for_each(|(to, from)| *to = from[k]);
    }
}

/// The block of the tensor `t` (extents `dims`) whose indices are below `kept`, row-major.
fn leading_block(t: &[f32], dims: &[usize], kept: &[usize]) -> Vec<f32> {
    let (Some((&dim, dims)), Some((&keep, kept))) = (dims.split_first(), kept.split_first()) else {
        return t.to_vec();
    };
    if dims == kept {
        return t[..t.len() / dim * keep].to_vec();
    }
    t.chunks_exact(t.len() / dim).take(keep).flat_map(|part| leading_block(part, dims, kept)).collect()
}

/// Sets the overall scale to ⟨W, G⟩ / ⟨G, G⟩.
fn fit_scale(generator: &mut Generator, target: &[f32], ws: &mut Workspace<f32>) {
    generator.set_scale(1.0);
    let g = generator.forward(ws);
    let (mut wg, mut gg) = (0.0f64, 0.0f64);
    for (&w, &g) in target.iter().zip(g) {
        wg += f64::from(w) * f64::from(g);
        gg += f64::from(g) * f64::from(g);
    }
    let scale = (wg / gg) as f32;
    generator.set_scale(if scale.is_finite() { scale } else { 1.0 });
}
