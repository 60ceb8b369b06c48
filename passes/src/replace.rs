//! Putting something else in the place of a dense weight.
//!
//! Both rewrites point every reader of the weight at a new value and remove the old constant with the Identity nodes that
//! copied it. A candidate has no other readers, so nothing is left dangling.

use std::borrow::Cow;

use adntn_families::transposed;
use adntn_networks::{Arrangement as _, Generator};
use adntn_onnx::{Model, Patch};

use crate::Error;
use crate::candidate::{Candidate, Root, Stored};
use crate::emit::Emitter;
use crate::lowering::lower;
use crate::name::Fresh;
use crate::tensor::float_tensor;

/// Where the values of [`replace_by_dense`] are named, as those of a generator are under its topology.
pub(crate) const DENSE_PART: &str = "dense";

/// The patch that forms the weight of `candidate` from the cores of `generator` (*folded form*: the subgraph has constant
/// inputs only, so that a runtime evaluates it once, when it loads the model).
///
/// The weight is that of [`Generator::matrix`] up to rounding, in the stored dims and orientation. Added are one initializer
/// for each core (permuted, and with the overall scale in one core of the last level when that is linear), one int64
/// initializer for each shape, and flat nodes of standard ops.
///
/// # Errors
/// When the candidate is of another model, the generator makes another shape or holds values that are not finite, or a
/// tensor of the subgraph would reach 1 GiB.
pub fn replace_by_generator(model: &Model, candidate: &Candidate, generator: &Generator) -> Result<Patch, Error> {
    let layer = candidate.layer.clone();
    let spec = generator.spec();
    if (spec.outputs, spec.inputs) != (candidate.outputs, candidate.inputs) {
        return Err(Error::GeneratorShape {
            layer,
            outputs: candidate.outputs,
            inputs: candidate.inputs,
            made_outputs: spec.outputs,
            made_inputs: spec.inputs,
        });
    }
    if generator.params().iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite { layer, what: "the generator".to_owned() });
    }
    let program = lower(generator, candidate.stored, &stored_dims(candidate), &layer)?;
    if program.constants.iter().any(|core| core.data.iter().any(|x| !x.is_finite())) {
        return Err(Error::NotFinite { layer, what: "a core times the generator's scale".to_owned() });
    }
    let mut added = Patch::default();
    let before = candidate.first_use();
    let topology = spec.topology.name();
    let names = Fresh::under(format!("{layer}/{topology}/"));
    let weight = Emitter::new(model, &mut added, names, before).program(&program);
    let mut patch = candidate.rewired_to(model, &weight)?;
    patch.merge(added);
    Ok(patch)
}

/// The patch that puts the plain O×I row-major matrix `w` in the place of the weight of `candidate`.
///
/// An initializer keeps its name; a Constant node or a copy behind Identity becomes the initializer `{layer}/dense/weight`.
///
/// # Errors
/// When the candidate is of another model, or `w` has not O·I finite values.
pub fn replace_by_dense(model: &Model, candidate: &Candidate, w: &[f32]) -> Result<Patch, Error> {
    if w.len() != candidate.elements() {
        return Err(candidate.length_error(w.len()));
    }
    if w.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite { layer: candidate.layer.clone(), what: "the new weight".to_owned() });
    }
    candidate.tensor(model)?;
    let values = match candidate.stored {
        Stored::OutputInput => Cow::Borrowed(w),
        Stored::InputOutput => Cow::Owned(transposed(w, candidate.outputs, candidate.inputs)),
    };
    let dims = stored_dims(candidate);
    if let (Root::Initializer(name), true) = (&candidate.source.root, candidate.source.identities.is_empty()) {
        let mut patch = Patch::default();
        patch.replace_initializers.insert(name.clone(), float_tensor(name, &dims, &values));
        return Ok(patch);
    }
    let mut added = Patch::default();
    let names = Fresh::under(format!("{}/{DENSE_PART}/", candidate.layer));
    let mut emitter = Emitter::new(model, &mut added, names, candidate.first_use());
    let weight = emitter.labelled_floats("weight", &dims, &values);
    let mut patch = candidate.rewired_to(model, &weight)?;
    patch.merge(added);
    Ok(patch)
}

/// A candidate's dims; the survey admits only those that fit `usize`.
pub(crate) fn stored_dims(candidate: &Candidate) -> Vec<usize> {
    candidate.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect()
}
