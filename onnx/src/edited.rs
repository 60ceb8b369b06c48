//! A model with a patch applied, ready to be written.

use std::path::Path;

use bytes::Bytes;

use crate::{Error, Model};

/// A model with a patch applied.
#[derive(Debug)]
pub struct Edited {
    segments: Vec<Bytes>,
}

/// Where large tensors go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalData {
    /// Into the model file while that stays under 2 GB, else beside it.
    #[default]
    Auto,
    /// Beside the model file.
    Always,
    /// Into the model file.
    Never,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the model file, in bytes.
    pub model_bytes: u64,
    /// Size of the external data file, in bytes; 0 when there is none.
    pub data_bytes: u64,
}

impl Edited {
    /// Size in bytes, with all data in one file.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len() as u64).sum()
    }

    /// The whole model in one buffer.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.segments.concat())
    }

    /// The edited model, read again.
    pub fn model(&self) -> Result<Model, Error> {
        Model::from_bytes(self.to_bytes(), None)
    }

    /// Writes it.
    pub fn write(&self, _path: &Path, _external: ExternalData) -> Result<Written, Error> {
        Err(Error::NoGraph)
    }
}
