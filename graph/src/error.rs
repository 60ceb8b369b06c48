//! The errors of this crate.

/// Why a graph cannot be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interpreter lacks an operator that stands between inputs and outputs.
    #[error("{node}: operator {op} is not differentiable here")]
    Unsupported {
        /// What to call the node.
        node: String,
        /// Its operator, with the domain where that is not the default one.
        op: String,
    },
    /// A known operator with a setting that is not covered, or with inputs that do not fit.
    #[error("{node} ({op}): {problem}")]
    Node {
        /// What to call the node.
        node: String,
        /// Its operator.
        op: String,
        /// What does not fit.
        problem: String,
    },
    /// The graph has no value of this name.
    #[error("the graph has no value `{name}`")]
    NoValue {
        /// The name that was asked for.
        name: String,
    },
    /// A leaf must be a float initializer or the output of a Constant node.
    #[error("`{name}` cannot be trained: {problem}")]
    NotALeaf {
        /// The name that was asked for.
        name: String,
        /// What it is instead.
        problem: &'static str,
    },
    /// An output needs a graph input that is not among the inputs of the request.
    #[error("the outputs need the graph input `{input}`, which is not given")]
    MissingInput {
        /// The input.
        input: String,
    },
    /// Arrays given to a pass do not fit the network.
    #[error("{0}")]
    Arguments(String),
    /// A result holds NaN or infinity.
    #[error("{what} holds values that are not finite (NaN or infinity)")]
    NotFinite {
        /// What was looked at.
        what: String,
    },
    /// Data of the model cannot be read.
    #[error(transparent)]
    Model(#[from] adntn_onnx::Error),
}

/// Why a node cannot be built or run, before it is known which node it is.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Not an operator of this interpreter.
    Unsupported,
    /// In words.
    Because(String),
}

impl Problem {
    pub(crate) fn at(self, node: &str, op: &str) -> Error {
        let (node, op) = (node.to_owned(), op.to_owned());
        match self {
            Problem::Unsupported => Error::Unsupported { node, op },
            Problem::Because(problem) => Error::Node { node, op, problem },
        }
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Problem {
        Problem::Because(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Problem {
        Problem::Because(problem.to_owned())
    }
}

/// Leaves a function of an operator with a problem in words.
macro_rules! refuse {
    ($($message:tt)*) => { return Err($crate::error::Problem::Because(format!($($message)*))) };
}
pub(crate) use refuse;
