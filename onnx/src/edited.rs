//! A model with a patch applied, ready to be read again or written.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::Source;
use crate::payload::{Detach, Payloads, SMALLEST_EXTERNAL};
use crate::plan::PatchPlan;
use crate::rope::Rope;
use crate::splice::splice;
use crate::stage::{self, Origin, Staged};
use crate::{Error, Model, Patch};

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

    /// Writes the model to the folder of `path`, flushed to the disk but not under that name yet, and large tensors
    /// beside it as `external` says: to a file named by their content, `NAME.onnx.0123456789abcdef.data`. Tensors of 64
    /// KiB and more begin on pages there; gaps are shorter, and more of the smaller tensors stay inside, where both
    /// files would take more than what the model was read from.
    ///
    /// # Errors
    /// [`Error::Write`] and [`Error::Target`] where the folder or file cannot be written; [`Error::TooLarge`] where
    /// the file would pass 2 GB but may not have, or has not enough that could be, external data.
    pub fn stage(&self, path: &Path, external: ExternalData) -> Result<Staged, Error> {
        self.stage_within(path, external, PROTOBUF_LIMIT)
    }

    /// Writes the model to `path`, replacing what is there: [`stage`](Self::stage), then [`Staged::commit`].
    ///
    /// # Errors
    /// As for these; then everything is as before.
    pub fn write(&self, path: &Path, external: ExternalData) -> Result<Written, Error> {
        self.stage(path, external)?.commit()
    }

    /// [`stage`](Self::stage) with another size limit for the model file, in bytes.
    pub(crate) fn stage_within(&self, path: &Path, external: ExternalData, limit: u64) -> Result<Staged, Error> {
        let source = &*self.source;
        let origin = || Origin { model: source.file, data: source.files.identities().to_vec() };
        let detached = match external {
            ExternalData::Always => true,
            ExternalData::Auto => self.len() > limit,
            ExternalData::Never => false,
        };
        if !detached {
            check_size(&self.embedded, limit)?;
            return Staged::new(path, &self.embedded, None, origin());
        }
        let how = self.detachment(path, limit)?;
        let (_, data) = self.detach("", how)?;
        let location = stage::data_name(path, &data)?;
        let (model, data) = self.detach(&location, how)?;
        check_size(&model, limit)?;
        Staged::new(path, &model, (data.len() > 0).then_some((location, &data)), origin())
    }

    /// The first way to detach that keeps the files within the size of what was read, else the one that detaches most.
    fn detachment(&self, path: &Path, limit: u64) -> Result<Detachment, Error> {
        let name = stage::data_name(path, &Rope::default())?;
        let plain = Detachment { attributes: false, smallest: SMALLEST_EXTERNAL, tight: false };
        let attributes = self.detach(&name, plain)?.0.len() > limit;
        let sizes = [1, 4, 16, 64, 256].map(|factor| factor * SMALLEST_EXTERNAL);
        let ways = [false].into_iter().chain([true; 5]).zip([sizes[0]].into_iter().chain(sizes));
        for (tight, smallest) in ways {
            let how = Detachment { attributes, smallest, tight };
            let (model, data) = self.detach(&name, how)?;
            if model.len() <= limit && data.len() > 0 && model.len() + data.len() <= self.source.size_bytes() {
                return Ok(how);
            }
        }
        Ok(Detachment { attributes, smallest: SMALLEST_EXTERNAL, tight: true })
    }

    /// The model and its external data.
    fn detach(&self, location: &str, how: Detachment) -> Result<(Rope, Rope), Error> {
        let source = &*self.source;
        let Detachment { attributes, smallest, tight } = how;
        let (files, location, data) = (&source.files, location.to_owned(), Rope::default());
        let mut payloads = Payloads::Detach(Detach { files, attributes, smallest, tight, location, data });
        let plan = PatchPlan::new(source.graph(), &self.patch, &source.files)?;
        let model = splice(&source.bytes, plan, &mut payloads)?;
        match payloads {
            Payloads::Detach(detach) => Ok((model, detach.data)),
            Payloads::Keep | Payloads::Embed(_) => Ok((model, Rope::default())),
        }
    }
}

/// Which tensors go to the data file, and how they lie there.
#[derive(Clone, Copy)]
struct Detachment {
    attributes: bool,
    smallest: u64,
    tight: bool,
}

fn check_size(model: &Rope, limit: u64) -> Result<(), Error> {
    if model.len() > limit {
        return Err(Error::TooLarge { bytes: model.len(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
