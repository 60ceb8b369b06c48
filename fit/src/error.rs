//! The errors of this crate.

use std::path::PathBuf;

/// Why data could not be used or a fit could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A calibration or held-out file cannot be used as it is.
    #[error("{}: {problem}", path.display())]
    Data {
        /// The file or folder named by the user.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// tract refused to load or to run the model.
    #[error("tract cannot {action} the model: {problem}")]
    Runtime {
        /// `load` or `run`.
        action: &'static str,
        /// tract's own words, on one line.
        problem: String,
    },
    /// A node that no runtime could run, or not within bounds of memory and time.
    #[error("{node} {problem}")]
    Unfit {
        /// The node, or the graph input.
        node: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A weight, activation or output holds NaN or infinity.
    #[error("{what} holds values that are not finite (NaN or infinity)")]
    NotFinite {
        /// What was looked at.
        what: String,
    },
    /// Arrays that must agree in size do not.
    #[error("{0}")]
    Shape(String),
    /// Values of the frozen part of a model cannot be kept.
    #[error("a temporary file for cached values cannot be used ({0}): free some space or raise --memory")]
    Cache(std::io::Error),
    /// A checkpoint cannot be written, read or used.
    #[error("checkpoint: {problem}")]
    Checkpoint {
        /// What is wrong with it.
        problem: String,
    },
    /// The caller asked for the end before there was anything to keep.
    #[error("interrupted before training began; nothing was written")]
    Interrupted,
    /// The trainable part of the model cannot be built or run.
    #[error(transparent)]
    Graph(Box<adntn_graph::Error>),
    /// A generator could not be built.
    #[error(transparent)]
    Network(#[from] adntn_networks::Error),
}

impl From<adntn_graph::Error> for Error {
    fn from(error: adntn_graph::Error) -> Self {
        Error::Graph(Box::new(error))
    }
}
