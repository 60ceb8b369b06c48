//! The part of a hierarchical SVD that does not depend on the bond dimension, done once for many of them.

use crate::start::coarsen::{Coarse, coarsen};
use crate::start::weighted::{self, GroupWeight};
use crate::start::{Disentanglers, InputWeighting, near_linear};
use crate::{Bonds, Error, Generator, GeneratorSpec, Shape, Workspace};

/// A weight with the eigenvectors of its leaf siblings: gives the start for any bond dimension up to that of its
/// specification.
///
/// The leaf level holds most of the work of a start. Its eigenvectors are sorted, so a smaller bond takes fewer of them.
#[derive(Debug)]
pub struct Prepared {
    spec: GeneratorSpec,
    disentanglers: Disentanglers,
    weights: Option<Vec<GroupWeight>>,
    /// The (weighted) weight in leaf order, for σ whose overall scale has to be fitted to it.
    target: Option<Vec<f32>>,
    /// Isometries and disentanglers of the last level at the largest bonds, and what they leave of the target.
    leaves: Coarse,
    /// The largest bond dimensions of the level above the last.
    bonds: Vec<usize>,
}

impl Prepared {
    /// Prepares the starts of generators like `spec` with its bond dimensions or smaller ones; see
    /// [`super::hierarchical_svd_with`].
    ///
    /// # Errors
    /// As [`super::hierarchical_svd_with`].
    pub fn new(
        w: &[f32],
        spec: &GeneratorSpec,
        weighting: Option<&dyn InputWeighting>,
        disentanglers: Disentanglers,
    ) -> Result<Self, Error> {
        let shape = Shape::new(spec)?;
        if w.len() != spec.outputs * spec.inputs {
            return Err(Error::WeightLength { given: w.len(), outputs: spec.outputs, inputs: spec.inputs });
        }
        if let Some(index) = w.iter().position(|x| !x.is_finite()) {
            return Err(Error::NonFinite { what: "weight", index });
        }
        let mut target = Vec::new();
        spec.layout.gather(w, spec.outputs, spec.inputs, &mut target);
        let weights = weighting.map(|weighting| weighted::group_weights(spec, &shape, weighting)).transpose()?;
        if let Some(weights) = &weights {
            weighted::apply(weights, &mut target);
        }
        let kept = (!near_linear::follows_linear(spec)).then(|| target.clone());
        let leaves = shape.levels.len() - 1;
        let bonds = shape.levels[leaves - 1].clone();
        let coarse = coarsen(&shape, leaves, target, disentanglers)?;
        Ok(Prepared { spec: spec.clone(), disentanglers, weights, target: kept, leaves: coarse, bonds })
    }

    /// The start with the given bond dimensions.
    ///
    /// # Errors
    /// When `bonds` are inconsistent with the tree or larger than what was prepared.
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
        params[shape.core_parameters()..].fill(1.0);
        self.leaves.store(&shape, leaves, &mut params);
        let mut t = leading_block(&self.leaves.core, &self.bonds, wanted);
        for level in (1..leaves).rev() {
            let mut coarse = coarsen(&shape, level, t, self.disentanglers)?;
            coarse.store(&shape, level, &mut params);
            t = std::mem::take(&mut coarse.core);
        }
        params[shape.top()].copy_from_slice(&t);
        drop(t);
        let mut generator = Generator::new(spec, params)?;
        let mut ws = Workspace::new();
        let factor = near_linear::scale_top(&mut generator, &mut ws);
        match &self.target {
            None => generator.set_scale((1.0 / factor) as f32),
            // Before its weights are taken back the generator has the weighted tensor as its target.
            Some(target) => fit_scale(&mut generator, target, &mut ws),
        }
        for weight in self.weights.iter().flatten() {
            weight.unweigh(&shape, generator.params_mut());
        }
        Ok(generator)
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
