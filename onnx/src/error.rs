//! Everything that can be wrong with a model, a patch or a place to write to: one sentence each.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model cannot be read, edited or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is wrong with one file.
    #[error("{}: {problem}", file.display())]
    InFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: Box<Error>,
    },
    /// The path names nothing.
    #[error("there is no such file")]
    NotFound,
    /// The path names a folder.
    #[error("this is a folder, not a file")]
    Folder,
    /// The path names a device, a pipe or the like.
    #[error("this is not a regular file")]
    NotRegular,
    /// The system refuses to read the file.
    #[error("the file cannot be read ({0})")]
    Read(io::Error),
    /// No byte at all.
    #[error("the file is empty, so it is no ONNX model")]
    Empty,
    /// Readable text where protobuf was expected.
    #[error("this is text, not a binary ONNX model")]
    Text,
    /// The protobuf encoding is broken.
    #[error("not a valid ONNX model, or cut short: {reason} at byte {offset}, in {field}")]
    Malformed {
        /// Offset in the file of the field that fails, in bytes.
        offset: u64,
        /// The innermost field that could be told, as `graph.node[3]`.
        field: String,
        /// What the parser met.
        reason: String,
    },
    /// The messages lie deeper in each other than the decoder goes (100).
    #[error(
        "graphs or types are nested too deeply in {field}, at byte {offset}: at most 100 messages may enclose each other"
    )]
    TooDeep {
        /// Offset in the file of the field, in bytes.
        offset: u64,
        /// The innermost field that could be told.
        field: String,
    },
    /// The model lacks `ir_version`.
    #[error("the model has no ir_version, so it is no ONNX model")]
    NoIrVersion,
    /// The model lacks `graph`.
    #[error("the model has no graph, so it is no ONNX model or was cut short")]
    NoGraph,
    /// The model does not say which operators it means.
    #[error("the model imports no operator set (opset_import): it may have been cut short")]
    NoOpset,
    /// A tensor is not what it says.
    #[error("tensor `{tensor}` {problem}")]
    Tensor {
        /// The tensor's name, or the place it stands at.
        tensor: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// A sparse tensor breaks the rules of the format.
    #[error("sparse tensor `{tensor}` {problem}")]
    Sparse {
        /// The tensor's name, or the place it stands at.
        tensor: String,
        /// What is wrong with it.
        problem: SparseProblem,
    },
    /// A tensor's data lie in another file that cannot be used.
    #[error("tensor `{tensor}` has its data in the external file `{location}`, {problem}")]
    External {
        /// The tensor's name, or the place it stands at.
        tensor: String,
        /// The file as the model names it.
        location: String,
        /// What is wrong with it.
        problem: ExternalProblem,
    },
    /// Two definitions of one name in one graph.
    #[error("value `{value}` is defined twice, by {first} and by {second}: names must be unique in a graph")]
    Duplicate {
        /// The name.
        value: String,
        /// What defines it first.
        first: String,
        /// What defines it again.
        second: String,
    },
    /// A name that nothing defines.
    #[error("{reader} reads value `{value}`, which nothing defines")]
    Undefined {
        /// The name.
        value: String,
        /// Who reads it.
        reader: String,
    },
    /// Nodes that wait for each other.
    #[error("the graph has a cycle through {node}")]
    Cycle {
        /// A node on the cycle.
        node: String,
    },
    /// A patch puts a node before the producer of what it reads.
    #[error("the patch makes {node} stand before the node that produces its input `{value}`: insert it later")]
    NotSorted {
        /// The node.
        node: String,
        /// The input.
        value: String,
    },
    /// A patch speaks of something that the model has not.
    #[error("the patch refers to {what}, which the model does not have")]
    NotThere {
        /// The missing part.
        what: String,
    },
    /// A patch contradicts itself.
    #[error("the patch contradicts itself: {what}")]
    Contradiction {
        /// The two wishes.
        what: String,
    },
    /// The file cannot be written.
    #[error("{}: cannot be written ({problem})", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// The output path cannot be a file.
    #[error("{}: cannot be written, because {problem}", file.display())]
    Target {
        /// The path.
        file: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// Protobuf files end at 2 GB.
    #[error(
        "the model takes {bytes} bytes, more than the {limit} that one protobuf file may have: write it with external data"
    )]
    TooLarge {
        /// Size of the model file, in bytes.
        bytes: u64,
        /// The most it may be, in bytes.
        limit: u64,
    },
}

/// What is wrong with a tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// `data_type` is unset or no number that ONNX defines.
    #[error("has the unknown data type {0}")]
    UnknownType(i32),
    /// A dimension below zero.
    #[error("has the negative dimension {dim} at axis {axis}")]
    NegativeDim {
        /// Which one, from 0.
        axis: usize,
        /// Its value.
        dim: i64,
    },
    /// The product of the dimensions is no possible size.
    #[error("has dimensions {dims:?}, whose product overflows")]
    Overflow {
        /// The dimensions.
        dims: Vec<i64>,
    },
    /// `raw_data` of the wrong length.
    #[error("has {found} bytes of raw data where its {data_type} shape {dims:?} needs {expected}")]
    RawLength {
        /// The data type.
        data_type: &'static str,
        /// The dimensions.
        dims: Vec<i64>,
        /// Bytes that the shape needs.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The typed field of the wrong length.
    #[error("has {found} entries in {field} where its {data_type} shape {dims:?} needs {expected}")]
    Entries {
        /// The data type.
        data_type: &'static str,
        /// The dimensions.
        dims: Vec<i64>,
        /// The field of the message.
        field: &'static str,
        /// Entries that the shape needs.
        expected: u64,
        /// Entries that are there.
        found: u64,
    },
    /// Strings have no fixed width.
    #[error("is a string tensor with raw or external data, which ONNX does not allow")]
    RawStrings,
    /// Another data type than the caller can use.
    #[error("is {found}, not {expected}")]
    WrongType {
        /// What it is.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
    /// External data without a `location`.
    #[error("has external data without a location")]
    NoLocation,
    /// An `offset` or `length` that is no non-negative integer.
    #[error("has external data whose {key} is `{value}`, not a number of bytes")]
    BadNumber {
        /// `offset` or `length`.
        key: &'static str,
        /// What stands there.
        value: String,
    },
    /// External data of a model that came without a folder, or of a tensor that is not the model's.
    #[error("has external data, but no folder to look for it is known")]
    NoFolder,
}

/// What is wrong with a sparse tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparseProblem {
    /// Nothing says what its values are.
    #[error("has no values")]
    NoValues,
    /// A sparse initializer goes by the name of its values.
    #[error("has no name: its values must bear one")]
    NoName,
    /// The values are no vector.
    #[error("has values of rank {rank}: they must be a vector")]
    ValuesRank {
        /// Their rank.
        rank: usize,
    },
    /// A shape that no sparse tensor has.
    #[error("has dimensions {dims:?}: there must be at least one, and all must be positive")]
    Dims {
        /// The dimensions.
        dims: Vec<i64>,
    },
    /// Values without places.
    #[error("has {count} values but no indices")]
    NoIndices {
        /// How many values.
        count: i64,
    },
    /// Indices are INT64.
    #[error("has indices that are not INT64")]
    IndexType,
    /// Indices of a shape that does not match.
    #[error("has indices of shape {shape:?}, where {count} values of rank {rank} need [{count}] or [{count}, {rank}]")]
    IndexShape {
        /// Shape of the indices.
        shape: Vec<i64>,
        /// How many values.
        count: i64,
        /// Rank of the sparse tensor.
        rank: usize,
    },
    /// An index past the end, or below zero.
    #[error("has index {index:?} at position {position}, outside {extents:?}")]
    Outside {
        /// Which one, from 0.
        position: usize,
        /// The index.
        index: Vec<i64>,
        /// The extents it must stay below: of the flattened tensor, or of each axis.
        extents: Vec<i64>,
    },
    /// Indices that do not ascend, or one twice.
    #[error("has indices that do not ascend at position {position}: they must be sorted, each once")]
    Unsorted {
        /// Which one, from 0.
        position: usize,
    },
}

/// What is wrong with an external data file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalProblem {
    /// Nothing there.
    #[error("which does not exist beside the model")]
    NotFound,
    /// An absolute path.
    #[error("an absolute path, which is refused: it must lie in the model's folder")]
    Absolute,
    /// A path out of the folder.
    #[error("a path with `..`, which is refused: it must lie in the model's folder")]
    Outside,
    /// A drive, a backslash, a NUL, an empty part.
    #[error("which is no portable path: use plain names separated by `/`")]
    NotPortable,
    /// A symbolic link, as the file or as a folder before it.
    #[error("a symbolic link, which is refused: put the file itself there")]
    Symlink,
    /// A file with another name elsewhere.
    #[error("a hard link to a file with another name, which is refused: put a copy there")]
    Hardlink,
    /// A folder, device, pipe …
    #[error("which is not a regular file")]
    NotRegular,
    /// The file changed while it was opened.
    #[error("which was replaced while it was opened")]
    Replaced,
    /// The range ends after the file.
    #[error("but bytes {offset} to {end} pass its end at {size}")]
    PastEnd {
        /// First byte.
        offset: u64,
        /// One past the last byte.
        end: u128,
        /// Size of the file.
        size: u64,
    },
    /// The system refuses.
    #[error("which cannot be read ({0})")]
    Read(io::Error),
}

impl Error {
    /// The same problem, with the file it is about.
    pub(crate) fn in_file(self, file: &Path) -> Error {
        match self {
            Error::InFile { .. } | Error::Write { .. } | Error::Target { .. } => self,
            problem => Error::InFile { file: file.to_owned(), problem: Box::new(problem) },
        }
    }

    /// The problem itself, without the name of the file it is about.
    pub fn problem(&self) -> &Error {
        match self {
            Error::InFile { problem, .. } => problem.problem(),
            problem => problem,
        }
    }
}
