//! Where tensors keep their data in a model that is written: as they do, all inside, or the large ones beside it.

use bytes::Bytes;
use prost::Message;

use crate::external::ExternalFiles;
use crate::pb::tensor_proto::DataLocation;
use crate::rope::Rope;
use crate::schema::{Kind, number};
use crate::{Error, pb, tensor, wire};

/// Smallest tensor that goes into an external file where nothing speaks for a larger one, in bytes.
pub(crate) const SMALLEST_EXTERNAL: u64 = 1024;
/// A page, in bytes: readers can map a tensor that begins on one.
const PAGE: u64 = 4096;
/// From this size on a tensor begins on a page, in bytes: below it the gap would be more than a sixteenth.
const ON_PAGES: u64 = 16 * PAGE;
/// Where smaller tensors begin, in bytes: a cache line.
const LINE: u64 = 64;
/// Where all tensors begin if every byte counts: enough for elements of every type that runtimes compute with.
const WORD: u64 = 8;

/// What becomes of the tensors' data.
pub(crate) enum Payloads<'a> {
    /// They stay where they are: the model has no external data.
    Keep,
    /// External data come into the model.
    Embed(&'a ExternalFiles),
    /// Large tensors go to another file.
    Detach(Detach<'a>),
}

/// The external file to be written.
pub(crate) struct Detach<'a> {
    pub files: &'a ExternalFiles,
    /// Also tensors in attributes, which fewer runtimes read.
    pub attributes: bool,
    /// Tensors of fewer bytes stay inside.
    pub smallest: u64,
    /// Whether gaps between tensors are kept as short as can be.
    pub tight: bool,
    /// Its name, as the model refers to it.
    pub location: String,
    pub data: Rope,
}

/// A tensor message.
pub(crate) struct Source<'a> {
    pub kind: Kind,
    pub proto: &'a pb::TensorProto,
    /// Its encoding, where it stands in the original model.
    pub wire: Option<&'a Bytes>,
}

impl Payloads<'_> {
    /// The new content of a tensor message; `None` where it stays as it is.
    pub(crate) fn rewrite(&mut self, source: &Source) -> Result<Option<Rope>, Error> {
        let external = tensor::is_external(source.proto);
        match self {
            Payloads::Keep => Ok(None),
            Payloads::Embed(files) if external => embed(source, files).map(Some),
            Payloads::Embed(_) => Ok(None),
            Payloads::Detach(detach) => detach.rewrite(source, external),
        }
    }

    /// Whether tensors have to be looked at.
    pub(crate) fn changes_tensors(&self) -> bool {
        !matches!(self, Payloads::Keep)
    }
}

impl Detach<'_> {
    fn rewrite(&mut self, source: &Source, external: bool) -> Result<Option<Rope>, Error> {
        let proto = source.proto;
        let wrong = |problem| Error::Tensor { tensor: proto.name().to_owned(), problem };
        let here = self.attributes || source.kind == Kind::Initializer;
        if here && tensor::byte_count(proto).map_err(wrong)? >= self.smallest {
            let bytes =
                if external { Some(self.files.data(proto)?) } else { tensor::raw_bytes(proto).map_err(wrong)? };
            if let Some(bytes) = bytes {
                return Ok(Some(self.refer(source, bytes)?));
            }
        }
        if external { embed(source, self.files).map(Some) } else { Ok(None) }
    }

    /// Puts `bytes` into the file and the reference into the tensor.
    fn refer(&mut self, source: &Source, bytes: Bytes) -> Result<Rope, Error> {
        let step = match bytes.len() as u64 {
            _ if self.tight => WORD,
            ON_PAGES.. => PAGE,
            _ => LINE,
        };
        let offset = self.data.len().next_multiple_of(step);
        self.data.push(vec![0; (offset - self.data.len()) as usize]);
        let length = bytes.len();
        self.data.push(bytes);
        let entry = |key: &str, value: String| pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        let reference = pb::TensorProto {
            external_data: vec![
                entry("location", self.location.clone()),
                entry("offset", offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: Some(DataLocation::External.into()),
            ..Default::default()
        };
        let mut out = without_data(source)?;
        out.push(reference.encode_to_vec());
        Ok(out)
    }
}

/// The tensor with its external data as `raw_data`.
fn embed(source: &Source, files: &ExternalFiles) -> Result<Rope, Error> {
    let mut out = without_data(source)?;
    out.push_field(number::TENSOR_RAW_DATA, files.data(source.proto)?.into());
    Ok(out)
}

/// All of a tensor message that is not its data.
fn without_data(source: &Source) -> Result<Rope, Error> {
    let mut out = Rope::default();
    let Some(bytes) = source.wire else {
        let pb::TensorProto { dims, data_type, segment, name, doc_string, metadata_props, .. } = source.proto;
        let head = pb::TensorProto {
            dims: dims.clone(),
            data_type: *data_type,
            segment: *segment,
            name: name.clone(),
            doc_string: doc_string.clone(),
            metadata_props: metadata_props.clone(),
            ..Default::default()
        };
        out.push(head.encode_to_vec());
        return Ok(out);
    };
    for field in wire::fields(bytes) {
        let field = field?;
        if !number::TENSOR_PAYLOAD.contains(&field.number) {
            out.push(bytes.slice(field.whole));
        }
    }
    Ok(out)
}

/// A new tensor as it is, its raw data shared, not copied.
pub(crate) fn encode_tensor(proto: &pb::TensorProto) -> Result<Rope, Error> {
    let Some(raw) = &proto.raw_data else { return Ok(Bytes::from(proto.encode_to_vec()).into()) };
    let typed = !proto.float_data.is_empty()
        || !proto.int32_data.is_empty()
        || !proto.string_data.is_empty()
        || !proto.int64_data.is_empty()
        || !proto.double_data.is_empty()
        || !proto.uint64_data.is_empty()
        || tensor::is_external(proto);
    if typed {
        return Ok(Bytes::from(proto.encode_to_vec()).into());
    }
    let mut out = without_data(&Source { kind: Kind::Initializer, proto, wire: None })?;
    out.push_field(number::TENSOR_RAW_DATA, raw.clone().into());
    Ok(out)
}
