//! Why a weighted node is left alone.

use std::fmt;

use serde::Serialize;

/// A node with (or without) a weight that no rewrite will touch, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Skipped {
    /// The node's name, or its op and position where it has none.
    pub node: String,
    /// The node's op type.
    pub op: String,
    /// The value the node reads its weight from.
    pub weight: String,
    /// The weight's dims as stored; empty where they are not known.
    pub shape: Vec<i64>,
    /// Why.
    pub reason: SkipReason,
}

/// The reason a node's weight is not a candidate. Its `Display` is a readable clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// Fewer elements than the survey's minimum.
    TooSmall {
        /// Elements of the weight.
        elements: usize,
        /// The minimum asked for.
        minimum: usize,
    },
    /// The weight of a convolution is not known when the model is loaded.
    NotConstant {
        /// What makes the value: `graph input`, or op and name of a node.
        source: String,
    },
    /// Every operand is constant or computed from constants: the node is no layer, a runtime folds it.
    AllConstant,
    /// The weight is computed from constants.
    Folded {
        /// By what from what: ``Transpose of `w` ``.
        source: String,
        /// Op and name of the Gather nodes that read the same constant as a table; of many the first, and how many more.
        tied: Vec<String>,
    },
    /// The weight is stored as integers and dequantised.
    Quantised,
    /// The weight is formed by the generator that an earlier compilation put there.
    Generator,
    /// A table along whose first axis nothing is taken.
    TableAxis {
        /// The axis along which the node takes something.
        axis: i64,
    },
    /// A convolution with several groups.
    Grouped {
        /// The node's `group` attribute.
        groups: i64,
    },
    /// The element type is not float32.
    UnsupportedType {
        /// The ONNX name of the type.
        dtype: String,
    },
    /// An op with a weight for which there is no rewrite.
    UnsupportedOp,
    /// The weight's rank does not make a matrix for this op.
    Rank {
        /// The weight's rank.
        rank: usize,
    },
    /// Nodes that are no dense layers read the weight too.
    OtherUses {
        /// Op and name of each; of many the first, and how many more there are.
        users: Vec<String>,
    },
    /// The layers that share the weight read it in different orientations.
    Orientations {
        /// Op and name of each; of many the first, and how many more there are.
        users: Vec<String>,
    },
    /// The body of an If, Loop or Scan reads the weight.
    Captured,
    /// The weight is an output of the graph.
    GraphOutput,
    /// The weight is a graph input that a caller may override (IR version 4 or later).
    OverridableInput,
    /// The weight has NaN or infinite values.
    NotFinite,
    /// The model's opset is older than the generator's ops.
    OpsetTooOld {
        /// The model's default opset.
        opset: i64,
    },
    /// The node lies in the body of an If, Loop or Scan.
    InsideBody {
        /// Op and name of the control-flow node.
        owner: String,
    },
    /// The node lies in a local function of the model.
    InsideFunction {
        /// The function's name.
        function: String,
    },
    /// The weight is a sparse initializer.
    Sparse,
    /// The weight is a Constant node that does not hold a plain tensor.
    ConstantSpelling {
        /// The attribute that holds its value.
        attribute: String,
    },
    /// The weight's data could not be read.
    Unreadable {
        /// What the reader said.
        message: String,
    },
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { elements, minimum } => {
                write!(f, "too small: {elements} elements, fewer than {minimum}")
            }
            Self::NotConstant { source } => write!(f, "weight is not constant: it comes from {source}"),
            Self::AllConstant => f.write_str("all operands are constant: runtimes fold the node"),
            Self::Folded { source, tied } => {
                write!(f, "weight is computed from constants ({source})")?;
                if tied.is_empty() { Ok(()) } else { write!(f, ", tied to the table of {}", tied.join(", ")) }
            }
            Self::Quantised => f.write_str("weight is quantised (DequantizeLinear)"),
            Self::Generator => f.write_str("already replaced"),
            Self::TableAxis { axis } => write!(f, "a table that is not taken by rows, but along axis {axis}"),
            Self::Grouped { groups } => write!(f, "grouped convolution ({groups} groups)"),
            Self::UnsupportedType { dtype } => write!(f, "weight type {dtype} is not supported, only float32 is"),
            Self::UnsupportedOp => f.write_str("no rewrite for this op"),
            Self::Rank { rank } => write!(f, "weight has rank {rank}, which this op does not use as one matrix"),
            Self::OtherUses { users } => write!(f, "weight is also used by {}", users.join(", ")),
            Self::Orientations { users } => {
                write!(f, "weight is shared in different orientations by {}", users.join(", "))
            }
            Self::Captured => f.write_str("weight is read inside a control-flow body"),
            Self::GraphOutput => f.write_str("weight is a graph output"),
            Self::OverridableInput => f.write_str("weight is a graph input that a caller may override"),
            Self::NotFinite => f.write_str("weight has values that are not finite"),
            Self::OpsetTooOld { opset } => write!(f, "opset {opset} is older than 7"),
            Self::InsideBody { owner } => write!(f, "inside the body of {owner}"),
            Self::InsideFunction { function } => write!(f, "inside the local function {function}"),
            Self::Sparse => f.write_str("weight is a sparse initializer"),
            Self::ConstantSpelling { attribute } => {
                write!(f, "weight is a Constant node that holds `{attribute}`, not a tensor")
            }
            Self::Unreadable { message } => write!(f, "weight cannot be read: {message}"),
        }
    }
}
