//! The ONNX model file: protobuf types, byte-exact splicing, external data, atomic writing.
//!
//! A [`Model`] is the bytes of a file, mapped into memory, and a decoded view of them. It never changes: a rewrite is a
//! [`Patch`], and [`Model::apply`] gives an [`Edited`] model whose untouched parts are slices of the original bytes,
//! fields this crate does not know included.
//!
//! ```
//! use adntn_onnx::{ExternalData, Model, Patch, pb};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let graph = pb::GraphProto {
//! #     node: vec![pb::NodeProto { op_type: Some("Identity".into()), input: vec!["x".into()],
//! #         output: vec!["y".into()], ..Default::default() }],
//! #     input: vec![pb::ValueInfoProto { name: Some("x".into()), ..Default::default() }],
//! #     output: vec![pb::ValueInfoProto { name: Some("y".into()), ..Default::default() }],
//! #     ..Default::default()
//! # };
//! # let model = pb::ModelProto {
//! #     ir_version: Some(10),
//! #     opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(21) }],
//! #     graph: Some(graph), ..Default::default()
//! # };
//! # let folder = tempfile::tempdir()?;
//! # let (source, target) = (folder.path().join("source.onnx"), folder.path().join("target.onnx"));
//! # std::fs::write(&source, prost::Message::encode_to_vec(&model))?;
//! let model = Model::open(&source)?;
//! let consumers = model.index().uses("x").to_vec();
//! let relu = pb::NodeProto {
//!     op_type: Some("Relu".into()),
//!     input: vec!["x".into()],
//!     output: vec!["x/relu".into()],
//!     ..Default::default()
//! };
//! let patch = Patch {
//!     insert_nodes: vec![(0, relu)],
//!     rewire: consumers.into_iter().map(|place| (place, "x/relu".to_owned())).collect(),
//!     ..Patch::default()
//! };
//! model.apply(&patch)?.write(&target, ExternalData::Auto)?;
//! assert_eq!(Model::open(&target)?.graph().node.len(), model.graph().node.len() + 1);
//! # Ok(())
//! # }
//! ```

mod diagnose;
mod edited;
mod error;
mod external;
mod fault;
mod index;
mod mapped;
mod model;
mod names;
mod patch;
mod payload;
mod plan;
mod rope;
mod schema;
mod sparse;
mod splice;
mod stage;
mod staged_file;
mod tensor;
mod tensors;
mod wire;

pub use edited::{Edited, ExternalData, Written};
pub use error::{Error, ExternalProblem, SparseProblem, TensorProblem};
pub use index::{GraphIndex, Use};
pub use model::Model;
pub use patch::Patch;
pub use stage::{Staged, is_own_data, sample_data_path};
pub use staged_file::{StagedFile, check_target, commit_all};

/// The messages of `onnx-ml.proto`, written by `cargo run -p adntn-onnx-regenerate`. Every `bytes` field is a
/// [`bytes::Bytes`], a slice of the mapped file.
#[allow(missing_docs, clippy::all, unused_qualifications)]
#[rustfmt::skip]
#[path = "generated.rs"]
pub mod pb;
