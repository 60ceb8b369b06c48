//! A model: the bytes of its file and the decoded view of them.

use std::borrow::Cow;
use std::path::Path;

use bytes::Bytes;

use crate::{Edited, Error, GraphIndex, Patch, pb};

/// A valid model, as it was read.
#[derive(Debug)]
pub struct Model {
    proto: pb::ModelProto,
    index: GraphIndex,
}

impl Model {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Model, Error> {
        Self::from_bytes(Bytes::from(std::fs::read(path).map_err(Error::Read)?), path.parent())
    }

    /// Reads a model from memory.
    pub fn from_bytes(bytes: Bytes, _external_dir: Option<&Path>) -> Result<Model, Error> {
        let proto: pb::ModelProto = prost::Message::decode(bytes).map_err(|_| Error::NoGraph)?;
        let index = GraphIndex::new(proto.graph.as_ref().ok_or(Error::NoGraph)?);
        Ok(Model { proto, index })
    }

    /// The decoded view.
    pub fn proto(&self) -> &pb::ModelProto {
        &self.proto
    }

    /// The main graph.
    pub fn graph(&self) -> &pb::GraphProto {
        self.proto.graph.as_ref().expect("checked when the model was read")
    }

    /// Version of the default operator set.
    pub fn opset(&self) -> i64 {
        0
    }

    /// Size on disk.
    pub fn size_bytes(&self) -> u64 {
        0
    }

    /// Lookup tables over the main graph.
    pub fn index(&self) -> &GraphIndex {
        &self.index
    }

    /// Values of a FLOAT tensor.
    pub fn floats<'a>(&'a self, _tensor: &'a pb::TensorProto) -> Result<Cow<'a, [f32]>, Error> {
        Err(Error::NoGraph)
    }

    /// Bytes of a tensor's payload.
    pub fn tensor_bytes(&self, _tensor: &pb::TensorProto) -> Result<u64, Error> {
        Err(Error::NoGraph)
    }

    /// The model with the changes of `patch`.
    pub fn apply(&self, _patch: &Patch) -> Result<Edited, Error> {
        Err(Error::NoGraph)
    }
}
