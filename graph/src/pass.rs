//! A forward pass with its tape.

use burn_backend::AutodiffBackend;
use burn_backend::ops::FloatTensorOps;

use crate::backend::{self, Taped};
use crate::guard::guarded;
use crate::network::all_finite;
use crate::tensor::Tensor;
use crate::{Array, Error};

/// A forward pass: its outputs, and what is needed to go backward once.
pub struct Pass {
    trainable: Vec<String>,
    outputs: Vec<Array>,
    /// `None` for outputs that are integers.
    tensors: Vec<Option<Tensor>>,
    leaves: Vec<Tensor>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl Pass {
    pub(crate) fn new(
        trainable: Vec<String>,
        outputs: Vec<Array>,
        tensors: Vec<Option<Tensor>>,
        leaves: Vec<Tensor>,
    ) -> Pass {
        Pass { trainable, outputs, tensors, leaves }
    }

    /// The outputs, in the order of the request.
    #[must_use]
    pub fn outputs(&self) -> &[Array] {
        &self.outputs
    }

    /// Vector-Jacobian product: the gradients of Σ outputs · cotangents for every leaf, `None` where there is no path
    /// from the leaf to an output. `cotangents` have the shapes of the outputs.
    ///
    /// # Errors
    /// [`Error::Arguments`] for a wrong number or shape of arrays, [`Error::NotFinite`] for a gradient with NaN or
    /// infinity.
    pub fn backward(self, cotangents: &[Array]) -> Result<Vec<Option<Array>>, Error> {
        let Pass { trainable, outputs, tensors, leaves } = self;
        if cotangents.len() != outputs.len() {
            let (expected, found) = (outputs.len(), cotangents.len());
            return Err(Error::Arguments(format!("{found} cotangents given, {expected} needed")));
        }
        let mut terms = Vec::new();
        for ((tensor, output), cotangent) in tensors.into_iter().zip(&outputs).zip(cotangents) {
            cotangent.check("a cotangent")?;
            if cotangent.shape != output.shape {
                let (expected, found) = (&output.shape, &cotangent.shape);
                return Err(Error::Arguments(format!("a cotangent has shape {found:?}, its output {expected:?}")));
            }
            // Flat: the tensor library has no sum of a scalar.
            let flat = Array { shape: vec![cotangent.values.len()], values: cotangent.values.clone() };
            terms.extend(tensor.filter(Tensor::is_tracked).map(|tensor| (tensor, flat)));
        }
        let gradients = guarded(|| "the backward pass".into(), || Ok(gradients(terms, leaves)))?;
        for (name, gradient) in trainable.iter().zip(&gradients) {
            if gradient.as_ref().is_some_and(|gradient| !all_finite(&gradient.values)) {
                return Err(Error::NotFinite { what: format!("the gradient of `{name}`") });
            }
        }
        Ok(gradients)
    }
}

fn gradients(terms: Vec<(Tensor, Array)>, leaves: Vec<Tensor>) -> Vec<Option<Array>> {
    let dot = |(tensor, cotangent): (Tensor, Array)| {
        let flat = Taped::float_reshape(tensor.0, backend::shape(&cotangent.shape));
        let cotangent = Tensor::constant(backend::from_array(cotangent));
        Taped::float_sum(Taped::float_mul(flat, cotangent.0))
    };
    let Some(total) = terms.into_iter().map(dot).reduce(Taped::float_add) else {
        return leaves.iter().map(|_| None).collect();
    };
    let mut gradients = Taped::backward(total);
    let mut take = |leaf: Tensor| Taped::grad_remove(&leaf.0, &mut gradients).map(backend::into_array);
    leaves.into_iter().map(&mut take).collect()
}
