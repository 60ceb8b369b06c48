//! A weight that a rewrite may replace.

use std::collections::BTreeSet;
use std::fmt;

use adntn_families::transposed;
use adntn_onnx::{Model, Patch, Use, pb};
use serde::Serialize;

use crate::Error;
use crate::skip::SkipReason;

/// A constant float32 matrix read by dense layers, or as a table of rows, and by nothing else. All indices refer to the
/// surveyed model.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Position in [`crate::Survey::candidates`].
    pub id: usize,
    /// Readable name, unique in the model: the prefix of everything a rewrite adds.
    pub layer: String,
    /// The value the first layer reads the weight from.
    pub weight: String,
    /// Where the values are, and what goes away with them.
    pub source: WeightSource,
    /// Every reader of the weight, in graph order; all agree on the orientation.
    pub uses: Vec<DenseUse>,
    /// Dims as stored.
    pub dims: Vec<i64>,
    /// O, the rows of the weight matrix.
    pub outputs: usize,
    /// I, its columns; for a Conv in_channels·Πkernel.
    pub inputs: usize,
    /// Extents of what the columns are flattened from, such as channels, height and width of an image, the slowest first; empty
    /// where there is only one or the model does not say. A hint: nothing but the choice of a layout rests on it.
    pub input_axes: Vec<usize>,
    /// Whether the stored rows are outputs or inputs.
    pub stored: Stored,
    /// The kind of the first layer that multiplies with it; [`LayerKind::Gather`] where none does.
    pub kind: LayerKind,
    /// Bytes of the stored values.
    pub bytes: u64,
}

/// Where the values of a weight are, and the nodes between it and its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSource {
    /// The constant itself.
    pub root: Root,
    /// Identity nodes between the constant and its readers.
    pub identities: Vec<usize>,
    /// Whether `graph.input` lists the weight too (IR version 3 or older).
    pub listed_input: bool,
}

/// The two spellings of a constant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Root {
    /// An initializer of this name.
    Initializer(String),
    /// The node with this index, a Constant with a tensor.
    ConstantNode(usize),
}

/// One node that reads a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseUse {
    /// Node index.
    pub node: usize,
    /// Which of the node's inputs reads the weight.
    pub input: usize,
    /// The layer's kind.
    pub kind: LayerKind,
    /// How this layer reads the stored dims; a Gather takes stored rows whatever they are to others.
    pub stored: Stored,
}

/// Memory order of a stored weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stored {
    /// Rows are outputs: Conv, Gemm with transB = 1, the left operand of a MatMul.
    OutputInput,
    /// Rows are inputs: Gemm with transB = 0, the right operand of a MatMul.
    InputOutput,
}

/// The layers whose weight is one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Convolution with one group.
    Conv,
    /// General matrix product.
    Gemm,
    /// Plain matrix product.
    MatMul,
    /// A table of which rows are taken, the product of one-hot vectors with it; or a Transpose of one, behind which a layer is
    /// tied to it.
    Gather,
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conv => "Conv",
            Self::Gemm => "Gemm",
            Self::MatMul => "MatMul",
            Self::Gather => "Gather",
        })
    }
}

impl Candidate {
    /// The weight as an O×I row-major matrix.
    ///
    /// # Errors
    /// When the candidate is of another model or its data cannot be read.
    pub fn weight_matrix(&self, model: &Model) -> Result<Vec<f32>, Error> {
        let values = model.floats(self.tensor(model)?)?;
        if values.len() != self.outputs * self.inputs {
            return Err(self.length_error(values.len()));
        }
        Ok(match self.stored {
            Stored::OutputInput => values.into_owned(),
            Stored::InputOutput => transposed(&values, self.inputs, self.outputs),
        })
    }

    /// Root mean square of the weight, in double precision.
    ///
    /// # Errors
    /// When the candidate is of another model or its data cannot be read.
    pub fn root_mean_square(&self, model: &Model) -> Result<f64, Error> {
        let values = model.floats(self.tensor(model)?)?;
        let sum: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        Ok((sum / values.len().max(1) as f64).sqrt())
    }

    /// Whether nothing multiplies with it: rows are taken of it, and that is all.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.kind == LayerKind::Gather
    }

    /// Whether rows are taken of it, whatever else reads it.
    #[must_use]
    pub fn has_rows_taken(&self) -> bool {
        self.uses.iter().any(|usage| usage.kind == LayerKind::Gather)
    }

    /// Number of weights, O·I.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.outputs * self.inputs
    }

    pub(crate) fn tensor<'m>(&self, model: &'m Model) -> Result<&'m pb::TensorProto, Error> {
        match &self.source.root {
            Root::Initializer(name) => model
                .index()
                .initializer(name)
                .and_then(|at| model.graph().initializer.get(at))
                .ok_or_else(|| self.foreign(format!("it has no initializer `{name}`"))),
            Root::ConstantNode(node) => model
                .graph()
                .node
                .get(*node)
                .and_then(crate::origin::constant_tensor)
                .ok_or_else(|| self.foreign(format!("its node {node} is no Constant"))),
        }
    }

    /// The patch that points every reader at `value` and removes what held the weight.
    pub(crate) fn rewired_to(&self, model: &Model, value: &str) -> Result<Patch, Error> {
        self.tensor(model)?;
        let nodes = &model.graph().node;
        let mut patch = Patch::default();
        let mut gone_values: BTreeSet<&str> = BTreeSet::new();
        for u in &self.uses {
            if nodes.get(u.node).is_none_or(|n| n.input.len() <= u.input) {
                return Err(self.foreign(format!("its node {} has no input {}", u.node, u.input)));
            }
            patch.rewire.push((Use { node: u.node, input: u.input }, value.to_owned()));
        }
        let mut gone: Vec<usize> = self.source.identities.clone();
        match &self.source.root {
            Root::Initializer(name) => {
                patch.remove_initializers.insert(name.clone());
                gone_values.insert(name);
                if self.source.listed_input {
                    patch.remove_inputs.insert(name.clone());
                }
            }
            Root::ConstantNode(node) => gone.push(*node),
        }
        for node in gone {
            let outputs = nodes.get(node).map(|n| n.output.as_slice()).unwrap_or_default();
            gone_values.extend(outputs.iter().map(String::as_str));
            patch.remove_nodes.insert(node);
        }
        let described = model.graph().value_info.iter().map(|v| v.name());
        patch.remove_value_info = described.filter(|name| gone_values.contains(name)).map(str::to_owned).collect();
        Ok(patch)
    }

    /// Index of the first node that reads the weight.
    pub(crate) fn first_use(&self) -> usize {
        self.uses.iter().map(|u| u.node).min().unwrap_or(0)
    }

    pub(crate) fn length_error(&self, found: usize) -> Error {
        Error::WeightLength { layer: self.layer.clone(), found, outputs: self.outputs, inputs: self.inputs }
    }

    fn foreign(&self, detail: String) -> Error {
        Error::ForeignCandidate { layer: self.layer.clone(), detail }
    }
}

/// O and I of a stored weight.
pub(crate) fn matrix_dims(dims: &[i64], kind: LayerKind, stored: Stored) -> Result<(usize, usize), SkipReason> {
    let rank = dims.len();
    if (kind == LayerKind::Conv && rank < 3) || (kind != LayerKind::Conv && rank != 2) {
        return Err(SkipReason::Rank { rank });
    }
    let unreadable = || SkipReason::Unreadable { message: format!("its dims {dims:?} make no matrix") };
    let sizes: Vec<usize> =
        dims.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>().map_err(|_| unreadable())?;
    let rest = sizes[1..].iter().try_fold(1_usize, |a, &d| a.checked_mul(d)).ok_or_else(unreadable)?;
    sizes[0].checked_mul(rest).ok_or_else(unreadable)?;
    Ok(match stored {
        Stored::OutputInput => (sizes[0], rest),
        Stored::InputOutput => (rest, sizes[0]),
    })
}
