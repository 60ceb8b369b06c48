//! A model: the bytes of its file and the decoded view of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::diagnose::diagnose;
use crate::external::{ExternalFiles, Identity};
use crate::names::{self, View};
use crate::plan::PatchPlan;
use crate::tensors::Found;
use crate::{Edited, Error, GraphIndex, Patch, TensorProblem, mapped, pb, sparse, tensor, tensors};

/// A valid model, as it was read. Its tensors' raw data are slices of the file, which is mapped, not read.
///
/// Valid means: it decodes, says its IR version and operator sets, every tensor agrees with its type and shape, indices
/// of sparse tensors are sorted and inside, external data are there, and in each graph names are defined once, before they are needed by anything but each
/// other (no cycle). Operators and types of values are not checked, nor the names in local functions and training
/// graphs.
#[derive(Debug)]
pub struct Model {
    source: Arc<Source>,
    index: GraphIndex,
    /// Whether every node stands after those it reads from.
    sorted: bool,
}

/// What edits of a model go back to.
#[derive(Debug)]
pub(crate) struct Source {
    pub bytes: Bytes,
    pub proto: pb::ModelProto,
    pub files: ExternalFiles,
    /// The file they were read from.
    pub file: Option<Identity>,
    /// Size of the external data that the model refers to, each stretch once, in bytes.
    pub external_bytes: u64,
}

impl Source {
    pub(crate) fn graph(&self) -> &pb::GraphProto {
        self.proto.graph.as_ref().expect("a model without a graph is refused when it is read")
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.external_bytes
    }
}

impl Model {
    /// Maps and checks the file `path`, and the external data files it names, which must lie in or under its folder;
    /// where they are symbolic links, beside the model file itself.
    ///
    /// # Errors
    /// [`Error::InFile`] with the reason: the file cannot be read, is no ONNX model, or breaks one of the rules in the
    /// description of [`Model`].
    pub fn open(path: &Path) -> Result<Model, Error> {
        let open = || {
            let (bytes, file) = map_regular(path)?;
            Self::assemble(bytes, ExternalFiles::of_model(path), file)
        };
        open().map_err(|error| error.in_file(path))
    }

    /// Checks a model in memory, whose external data lie in or under `external_dir`.
    ///
    /// # Errors
    /// As for [`open`](Self::open), without the name of the file; also where the model has external data and
    /// `external_dir` is `None`.
    pub fn from_bytes(bytes: Bytes, external_dir: Option<&Path>) -> Result<Model, Error> {
        Self::assemble(bytes, ExternalFiles::new(external_dir), None)
    }

    /// Checks a model whose external data are `files`, or where those look for them.
    pub(crate) fn assemble(bytes: Bytes, mut files: ExternalFiles, file: Option<Identity>) -> Result<Model, Error> {
        let proto = decode(&bytes)?;
        let mut spans = BTreeSet::new();
        tensors::for_each(&proto, &mut |found, label| {
            let tensor = match found {
                Found::Dense(tensor) => tensor,
                Found::Sparse(sparse) => return sparse::check(sparse, &files, label),
            };
            tensor::check(tensor).map_err(|problem| Error::Tensor { tensor: label(), problem })?;
            if tensor::is_external(tensor) {
                spans.insert(files.open(tensor, label)?);
            }
            Ok(())
        })?;
        let external_bytes = spans.iter().map(|span| span.end - span.start).sum();
        let source = Source { bytes, proto, files, file, external_bytes };
        let sorted = names::check(&View::new(source.graph()))?.is_none();
        let index = GraphIndex::new(source.graph());
        Ok(Model { source: Arc::new(source), index, sorted })
    }

    /// Names the model by its content, that of its external data files included.
    pub fn digest(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(&self.source.bytes);
        for (location, content) in self.source.files.contents() {
            part(location.as_bytes());
            part(content);
        }
        hash.finalize()
    }

    /// The decoded view of the whole model.
    pub fn proto(&self) -> &pb::ModelProto {
        &self.source.proto
    }

    /// The main graph.
    pub fn graph(&self) -> &pb::GraphProto {
        self.source.graph()
    }

    /// Version of the default operator set (domain `""` or `ai.onnx`); 1 where the model imports none.
    pub fn opset(&self) -> i64 {
        let mut imports = self.proto().opset_import.iter();
        let default = imports.find(|import| matches!(import.domain(), "" | "ai.onnx"));
        default.map_or(1, pb::OperatorSetIdProto::version)
    }

    /// Size of the file and of the external data that it refers to (each stretch once), in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    /// The files that hold its external data, as they were opened.
    pub fn external_files(&self) -> &[PathBuf] {
        self.source.files.paths()
    }

    /// Lookup tables over the main graph.
    pub fn index(&self) -> &GraphIndex {
        &self.index
    }

    /// The values of a FLOAT tensor of this model or of a patch for it, row-major, wherever they are kept; borrowed
    /// where they lie suitably in memory. They may be NaN or infinite.
    ///
    /// # Errors
    /// [`Error::Tensor`] where it has another type, or type, shape and data disagree; [`Error::External`] where its
    /// range passes the end of the external file.
    pub fn floats<'a>(&'a self, tensor: &'a pb::TensorProto) -> Result<Cow<'a, [f32]>, Error> {
        let wrong = |problem| Error::Tensor { tensor: tensor.name().to_owned(), problem };
        let found = tensor::type_name(tensor).map_err(wrong)?;
        if tensor.data_type() != pb::tensor_proto::DataType::Float as i32 {
            return Err(wrong(TensorProblem::WrongType { found, expected: "FLOAT" }));
        }
        tensor::check(tensor).map_err(wrong)?;
        if tensor::is_external(tensor) {
            return self.source.files.slice(tensor).map(tensor::floats);
        }
        match tensor.raw_data.as_ref().filter(|raw| !raw.is_empty()) {
            Some(raw) => Ok(tensor::floats(raw)),
            None => Ok(Cow::Borrowed(&tensor.float_data)),
        }
    }

    /// The data of a tensor of this model in raw form: little-endian, row-major, of any type but strings.
    ///
    /// # Errors
    /// [`Error::Tensor`] where type, shape and data disagree, or the tensor holds strings; [`Error::External`] where its
    /// range passes the end of the external file.
    pub fn raw<'a>(&'a self, tensor: &'a pb::TensorProto) -> Result<Cow<'a, [u8]>, Error> {
        let wrong = |problem| Error::Tensor { tensor: tensor.name().to_owned(), problem };
        tensor::check(tensor).map_err(wrong)?;
        if tensor::is_external(tensor) {
            return self.source.files.slice(tensor).map(Cow::Borrowed);
        }
        let bytes = tensor::raw_bytes(tensor).map_err(wrong)?.ok_or_else(|| wrong(TensorProblem::RawStrings))?;
        Ok(Cow::Owned(bytes.to_vec()))
    }

    /// Whether no value of a FLOAT tensor of this model is NaN or infinite. Copies nothing, wherever the data lie.
    ///
    /// # Errors
    /// As for [`floats`](Self::floats).
    pub fn is_finite(&self, tensor: &pb::TensorProto) -> Result<bool, Error> {
        let inside = tensor.raw_data.as_ref().filter(|raw| !raw.is_empty());
        let bytes: &[u8] = match inside {
            _ if tensor.data_type() != pb::tensor_proto::DataType::Float as i32 => &[],
            _ if tensor::is_external(tensor) => self.source.files.slice(tensor)?,
            Some(raw) => raw,
            None => &[],
        };
        if bytes.is_empty() {
            return Ok(self.floats(tensor)?.iter().all(|value| value.is_finite()));
        }
        Ok(bytes.as_chunks().0.iter().all(|&value| f32::from_le_bytes(value).is_finite()))
    }

    /// Size of a tensor's data in raw form, in bytes: the product of the dimensions times the width of the type (of
    /// strings, the sum of their lengths).
    ///
    /// # Errors
    /// [`Error::Tensor`] where the type is unknown or the dimensions are impossible.
    pub fn tensor_bytes(&self, tensor: &pb::TensorProto) -> Result<u64, Error> {
        tensor::byte_count(tensor).map_err(|problem| Error::Tensor { tensor: tensor.name().to_owned(), problem })
    }

    /// The model with the changes of `patch`.
    ///
    /// # Errors
    /// [`Error::NotThere`] and [`Error::Contradiction`] where the patch does not fit; [`Error::Tensor`] where a new
    /// tensor is not what it says; [`Error::Duplicate`], [`Error::Undefined`], [`Error::Cycle`] and, for a model whose
    /// nodes were in order, [`Error::NotSorted`] where the result would be no valid model.
    pub fn apply(&self, patch: &Patch) -> Result<Edited, Error> {
        let plan = PatchPlan::new(self.graph(), patch, &self.source.files)?;
        if let Some(unsorted) = names::check(&plan.view())?.filter(|_| self.sorted) {
            return Err(Error::NotSorted { node: unsorted.node, value: unsorted.value });
        }
        Edited::new(Arc::clone(&self.source), patch.clone())
    }
}

fn map_regular(path: &Path) -> Result<(Bytes, Option<Identity>), Error> {
    let read = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        _ => Error::Read(error),
    };
    // Before it is opened: opening a pipe would wait.
    let metadata = fs::metadata(path).map_err(read)?;
    if metadata.is_dir() {
        return Err(Error::Folder);
    }
    if !metadata.is_file() {
        return Err(Error::NotRegular);
    }
    let file = File::open(path).map_err(read)?;
    let identity = file.metadata().ok().as_ref().and_then(Identity::of);
    Ok((mapped::map(&file).map_err(Error::Read)?, identity))
}

/// Decodes the messages, of which a graph, an IR version and, from version 3 on, operator sets are needed.
fn decode(bytes: &Bytes) -> Result<pb::ModelProto, Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let missing = |problem| if is_text(bytes) { Error::Text } else { problem };
    let proto = pb::ModelProto::decode(bytes.clone()).map_err(|error| missing(diagnose(bytes, &error)))?;
    if proto.ir_version.is_none() {
        return Err(missing(Error::NoIrVersion));
    }
    if proto.graph.is_none() {
        return Err(missing(Error::NoGraph));
    }
    if proto.ir_version() >= 3 && proto.opset_import.is_empty() {
        return Err(Error::NoOpset);
    }
    Ok(proto)
}

/// Whether the first bytes read as text; the last character may be cut off.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(256)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|letter| !letter.is_control() || letter.is_whitespace())
}
