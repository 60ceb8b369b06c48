//! What can go wrong, and whose fault it is.

use std::path::PathBuf;

use adntn_networks::LegLayout;

/// Why a model could not be compiled. Nothing has been written when one of these comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The output would overwrite the input.
    #[error("{}: the output is the input itself: choose another output path", .0.display())]
    SameFile(PathBuf),
    /// Two files that a compilation needs are one, and it would be written.
    #[error("{}: {what} would overwrite {other} ({}): choose another path for {what}", path.display(), other_path.display())]
    Overlap {
        /// What would be written.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What else is there, or the folder that is read it lies in.
        other: &'static str,
        /// The path of that.
        other_path: PathBuf,
    },
    /// Something that would be waited for.
    #[error("{}: this is no regular file but a device, a pipe or a socket, from which {what} cannot be read: give a file", path.display())]
    NotAFile {
        /// What it was to be.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The result loses more quality than was allowed.
    #[error(
        "the compiled model loses {:.3}% of quality, more than the tolerance of {:.3}%, so nothing is written: raise --tolerance, \
         or take it with --accept-worse",
        loss * 100.0, tolerance * 100.0
    )]
    OutsideTolerance {
        /// Loss of quality on the held-out samples, as a share.
        loss: f64,
        /// The most that was allowed.
        tolerance: f64,
    },
    /// Nothing that was found is as small as was asked for.
    #[error(
        "nothing within the tolerance of {:.3}% is as small as {most} bytes, so nothing is written: the smallest found takes \
         {smallest} bytes; raise --max-size, --tolerance or --time",
        tolerance * 100.0
    )]
    TooLarge {
        /// The most bytes that were allowed.
        most: u64,
        /// Bytes of the smallest file found.
        smallest: u64,
        /// The loss of quality that was allowed, as a share.
        tolerance: f64,
    },
    /// An output of the result is constant where the original's is not.
    #[error(
        "output `{output}` of the compiled model is dead: constant, or of another shape, where the original's is not; nothing is written"
    )]
    DeadOutput {
        /// The output.
        output: String,
    },
    /// The caller asked for an end before there was anything to write.
    #[error("interrupted before anything was accepted: nothing is written")]
    Interrupted,
    /// The model file is missing, damaged or invalid, or the output cannot be written.
    #[error(transparent)]
    Model(#[from] adntn_onnx::Error),
    /// A weight holds NaN or infinity: the model is broken.
    #[error("{}: weight '{weight}' of node '{node}' holds NaN or infinity: the model is broken, export it again", path.display())]
    BrokenWeight {
        /// The model.
        path: PathBuf,
        /// The weight.
        weight: String,
        /// A node that uses it.
        node: String,
    },
    /// The legs given do not match the weight of a selected layer.
    #[error(
        "layer {layer} has a weight of {outputs}×{inputs} (outputs×inputs), but the layout `{layout}` covers {}×{}: give \
         output legs with a product from {outputs} to {} and input legs with one from {inputs} to {}, or select other layers \
         with --layers",
        layout.outputs(), layout.inputs(), 2 * outputs - 1, 2 * inputs - 1
    )]
    Layout {
        /// The layer.
        layer: String,
        /// Rows of its weight.
        outputs: usize,
        /// Columns of its weight.
        inputs: usize,
        /// The legs given.
        layout: LegLayout,
    },
    /// The data given does not fit the model.
    #[error(transparent)]
    Data(adntn_fit::Error),
    /// The model cannot be run, or computes what nothing can be made of.
    #[error("{}: {source}", path.display())]
    Run {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        source: adntn_fit::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written ({source}): choose a path in a folder that takes new files", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A network to be drawn is inconsistent.
    #[error("the network cannot be drawn: {0}")]
    Network(#[from] adntn_networks::Error),
    /// A generator cannot be written in the place of a weight.
    #[error(transparent)]
    Rewrite(Box<adntn_passes::Error>),
    /// A broken promise inside the compiler.
    #[error("internal error: {0}; please report it with the model")]
    Internal(String),
}

impl Error {
    /// The process exit code that tells a caller whose fault it was: 2 for input and settings, 3 for a result outside the
    /// tolerance, 130 for an interruption, 1 for the compiler.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Internal(_) => 1,
            Error::OutsideTolerance { .. } | Error::DeadOutput { .. } | Error::TooLarge { .. } => 3,
            Error::Interrupted => 130,
            _ => 2,
        }
    }
}

impl Error {
    /// The same with the name of the model, where the model is at fault and the error does not name it.
    pub(crate) fn in_model(self, path: &std::path::Path) -> Error {
        use adntn_fit::Error as E;
        match self {
            Error::Data(
                source @ (E::Runtime { .. } | E::Unfit { .. } | E::NotFinite { .. } | E::Shape(_) | E::Graph(_)),
            ) => Error::Run { path: path.to_owned(), source },
            other => other,
        }
    }

    /// Why a generator cannot stand for a weight, as a clause, where only its numbers or its size are in the way.
    pub(crate) fn unsuitable(&self) -> Option<String> {
        match self {
            Error::Rewrite(e) => e.unsuitable(),
            Error::Data(e @ (adntn_fit::Error::NotFinite { .. } | adntn_fit::Error::Network(_))) => Some(e.to_string()),
            _ => None,
        }
    }
}

impl From<adntn_fit::Error> for Error {
    fn from(error: adntn_fit::Error) -> Self {
        match error {
            adntn_fit::Error::Interrupted => Error::Interrupted,
            other => Error::Data(other),
        }
    }
}

impl From<adntn_graph::Error> for Error {
    fn from(error: adntn_graph::Error) -> Self {
        Error::Data(error.into())
    }
}

impl From<adntn_passes::Error> for Error {
    fn from(error: adntn_passes::Error) -> Self {
        match error {
            adntn_passes::Error::Model(e) => Error::Model(e),
            other if other.unsuitable().is_some() => Error::Rewrite(Box::new(other)),
            other => Error::Internal(other.to_string()),
        }
    }
}
