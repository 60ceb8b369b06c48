//! A forward pass with its tape.

use std::sync::Arc;

use crate::network::all_finite;
use crate::tensor::{Node, Plain, Tensor, backward};
use crate::{Array, Error};

/// A forward pass: its outputs, and what is needed to go backward once.
pub struct Pass {
    trainable: Vec<String>,
    outputs: Vec<Array>,
    /// Where the outputs are on the tape; `None` for those that depend on no leaf.
    ends: Vec<Option<Arc<Node>>>,
    /// Their values are held, whether a gradient needs them or not, until the pass is over.
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
        ends: Vec<Option<Arc<Node>>>,
        leaves: Vec<Tensor>,
    ) -> Pass {
        Pass { trainable, outputs, ends, leaves }
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
        let Pass { trainable, outputs, ends, leaves } = self;
        if cotangents.len() != outputs.len() {
            let (expected, found) = (outputs.len(), cotangents.len());
            return Err(Error::Arguments(format!("{found} cotangents given, {expected} needed")));
        }
        let mut seeds = Vec::new();
        for ((end, output), cotangent) in ends.into_iter().zip(&outputs).zip(cotangents) {
            cotangent.check("a cotangent")?;
            if cotangent.shape != output.shape {
                let (expected, found) = (&output.shape, &cotangent.shape);
                return Err(Error::Arguments(format!("a cotangent has shape {found:?}, its output {expected:?}")));
            }
            seeds.extend(end.map(|node| (node, Plain::from_array(cotangent.clone()))));
        }
        drop(outputs);
        let nodes: Vec<Option<Arc<Node>>> = leaves.into_iter().map(|leaf| leaf.node).collect();
        let gradients = backward(seeds, &nodes);
        let gradients: Vec<Option<Array>> = gradients.into_iter().map(|found| found.map(Plain::into_array)).collect();
        for (name, gradient) in trainable.iter().zip(&gradients) {
            if gradient.as_ref().is_some_and(|gradient| !all_finite(&gradient.values)) {
                return Err(Error::NotFinite { what: format!("the gradient of `{name}`") });
            }
        }
        Ok(gradients)
    }
}
