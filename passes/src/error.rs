//! What can go wrong while a rewrite is built.

/// Why a patch could not be built. The layers a survey leaves alone are no errors: see [`crate::SkipReason`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model file itself could not be read or edited.
    #[error(transparent)]
    Model(#[from] adntn_onnx::Error),
    /// No contraction order could be found for a level of the generator.
    #[error("layer `{layer}`: {message}")]
    Order {
        /// The layer being rewritten.
        layer: String,
        /// What the order search said.
        message: String,
    },
    /// The generator was made for a weight of another shape.
    #[error(
        "layer `{layer}`: the weight is {outputs}×{inputs} but the generator makes {made_outputs}×{made_inputs}; build it for this layer's outputs and inputs"
    )]
    GeneratorShape {
        /// The layer being rewritten.
        layer: String,
        /// Rows of the weight matrix.
        outputs: usize,
        /// Columns of the weight matrix.
        inputs: usize,
        /// Rows the generator makes.
        made_outputs: usize,
        /// Columns the generator makes.
        made_inputs: usize,
    },
    /// A plain weight matrix has the wrong number of values.
    #[error("layer `{layer}`: the new weight has {found} values but {outputs}×{inputs} are needed")]
    WeightLength {
        /// The layer being rewritten.
        layer: String,
        /// Values given.
        found: usize,
        /// Rows of the weight matrix.
        outputs: usize,
        /// Columns of the weight matrix.
        inputs: usize,
    },
    /// A new value is NaN or infinite.
    #[error("layer `{layer}`: {what} holds a value that is not finite; fit the layer again or leave it dense")]
    NotFinite {
        /// The layer being rewritten.
        layer: String,
        /// Which tensor.
        what: String,
    },
    /// An intermediate tensor would pass the size runtimes fold.
    #[error(
        "layer `{layer}`: the tensor after step `{step}` would take {bytes} bytes, but runtimes fold only tensors below 1 GiB"
    )]
    IntermediateTooLarge {
        /// The layer being rewritten.
        layer: String,
        /// The step that makes it.
        step: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The candidate was found in another model.
    #[error("layer `{layer}`: the candidate does not fit this model ({detail}); survey the model that is to be edited")]
    ForeignCandidate {
        /// The layer being rewritten.
        layer: String,
        /// What does not fit.
        detail: String,
    },
    /// The generator uses a σ that this version cannot write as an ONNX op.
    #[error(
        "layer `{layer}`: the activation {activation} cannot be emitted yet; use tanh, relu, leaky-relu, softsign or identity"
    )]
    Activation {
        /// The layer being rewritten.
        layer: String,
        /// The activation's name.
        activation: String,
    },
}

impl Error {
    /// Why this generator cannot stand for this weight, as a clause, where that is no fault of the caller or the model: numbers
    /// out of range, or a tensor too large. The layer then has to stay as it is.
    #[must_use]
    pub fn unsuitable(&self) -> Option<String> {
        match self {
            Self::NotFinite { what, .. } => Some(format!("{what} holds a value that is not finite")),
            Self::IntermediateTooLarge { bytes, .. } => Some(format!(
                "forming it would need a tensor of {bytes} bytes, and runtimes fold only those below 1 GiB"
            )),
            Self::Order { message, .. } => Some(message.clone()),
            _ => None,
        }
    }
}
