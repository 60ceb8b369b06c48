//! A model with a patch applied, ready to be read again or written.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::Source;
use crate::payload::{Detach, Payloads};
use crate::plan::PatchPlan;
use crate::rope::Rope;
use crate::splice::splice;
use crate::{Error, Model, Patch, write};

/// The most that a protobuf file may have, in bytes: lengths are signed 32-bit numbers in common decoders.
const PROTOBUF_LIMIT: u64 = i32::MAX as u64;

/// A model with a patch applied: pieces of the original, byte for byte, and new ones between them.
#[derive(Debug)]
pub struct Edited {
    source: Arc<Source>,
    patch: Patch,
    /// The model with all data inside.
    embedded: Rope,
}

/// Where large tensors go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalData {
    /// Into the model file while that stays under 2 GB, else beside it.
    #[default]
    Auto,
    /// Beside the model file: initializers of 1 KiB and more.
    Always,
    /// Into the model file.
    Never,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the model file, in bytes.
    pub model_bytes: u64,
    /// Size of the external data file, in bytes; 0 where there is none.
    pub data_bytes: u64,
}

impl Edited {
    /// For a patch that was checked.
    pub(crate) fn new(source: Arc<Source>, patch: Patch) -> Result<Edited, Error> {
        let mut payloads = match source.files.is_empty() {
            true => Payloads::Keep,
            false => Payloads::Embed(&source.files),
        };
        let plan = PatchPlan::new(source.graph(), &patch, &source.files)?;
        let embedded = splice(&source.bytes, plan, &mut payloads)?;
        Ok(Edited { source, patch, embedded })
    }

    /// Size on disk with all data in the model file, in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.embedded.len()
    }

    /// The whole model in one buffer, external data included. Where nothing changes, the original bytes themselves.
    pub fn to_bytes(&self) -> Bytes {
        self.embedded.to_bytes()
    }

    /// The edited model, read again.
    ///
    /// # Errors
    /// None for a patch that [`Model::apply`] took, short of a model nested to the very limit of the decoder.
    pub fn model(&self) -> Result<Model, Error> {
        Model::from_bytes(self.to_bytes(), None)
    }

    /// Writes the model to `path`, replacing what is there, and large tensors to `path` + `.data` as `external` says.
    /// Each file is written under another name in the same folder, flushed to the disk and then renamed, the data
    /// first, so that `path` is at any time the old model or the new one. After an error everything is as before.
    ///
    /// # Errors
    /// [`Error::Write`] and [`Error::Target`] where the folder or file cannot be written; [`Error::TooLarge`] where
    /// the file would pass 2 GB but may not have, or has not enough that could be, external data.
    pub fn write(&self, path: &Path, external: ExternalData) -> Result<Written, Error> {
        self.write_within(path, external, PROTOBUF_LIMIT)
    }

    /// The same with another size limit for the model file, in bytes.
    pub(crate) fn write_within(&self, path: &Path, external: ExternalData, limit: u64) -> Result<Written, Error> {
        let detached = match external {
            ExternalData::Always => true,
            ExternalData::Auto => self.len() > limit,
            ExternalData::Never => false,
        };
        if !detached {
            check_size(&self.embedded, limit)?;
            return write::write(path, &self.embedded, None);
        }
        let data_path = write::data_path(path)?;
        let location = write::location(&data_path)?;
        let (mut model, mut data) = self.detach(location, false)?;
        if model.len() > limit {
            (model, data) = self.detach(location, true)?;
        }
        check_size(&model, limit)?;
        let data = (data.len() > 0).then_some((data_path.as_path(), &data));
        write::write(path, &model, data)
    }

    /// The model and its external data; `attributes`: also tensors in attributes.
    fn detach(&self, location: &str, attributes: bool) -> Result<(Rope, Rope), Error> {
        let source = &*self.source;
        let detach = Detach { files: &source.files, attributes, location: location.to_owned(), data: Rope::default() };
        let mut payloads = Payloads::Detach(detach);
        let plan = PatchPlan::new(source.graph(), &self.patch, &source.files)?;
        let model = splice(&source.bytes, plan, &mut payloads)?;
        match payloads {
            Payloads::Detach(detach) => Ok((model, detach.data)),
            Payloads::Keep | Payloads::Embed(_) => Ok((model, Rope::default())),
        }
    }
}

fn check_size(model: &Rope, limit: u64) -> Result<(), Error> {
    if model.len() > limit {
        return Err(Error::TooLarge { bytes: model.len(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
