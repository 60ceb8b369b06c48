//! The errors of this crate.

use std::path::PathBuf;

/// Why data could not be used or a fit could not be made.
#[derive(Debug, thiserror::Error)]
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
    /// A weight, activation or output holds NaN or infinity.
    #[error("{what} holds values that are not finite (NaN or infinity)")]
    NotFinite {
        /// What was looked at.
        what: String,
    },
    /// Arrays that must agree in size do not.
    #[error("{0}")]
    Shape(String),
    /// A generator could not be built.
    #[error(transparent)]
    Network(#[from] adntn_networks::Error),
}
