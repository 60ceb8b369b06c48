//! The part of the schema that the splicer and the error messages need: which fields lead to nodes and tensors, and
//! what the fields are called.

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::pb;

/// The messages on the way to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    /// The graph that patches speak of.
    MainGraph,
    /// The body of a control-flow node, or a graph of a training step.
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Sparse,
    /// A tensor in a graph's `initializer`.
    Initializer,
    /// A tensor in an attribute or a sparse tensor.
    Tensor,
}

pub(crate) mod number {
    pub(crate) const MODEL_GRAPH: u32 = 7;
    pub(crate) const GRAPH_NODE: u32 = 1;
    pub(crate) const GRAPH_INITIALIZER: u32 = 5;
    pub(crate) const GRAPH_INPUT: u32 = 11;
    pub(crate) const GRAPH_OUTPUT: u32 = 12;
    pub(crate) const GRAPH_VALUE_INFO: u32 = 13;
    pub(crate) const GRAPH_SPARSE_INITIALIZER: u32 = 15;
    pub(crate) const NODE_INPUT: u32 = 1;
    pub(crate) const TENSOR_RAW_DATA: u32 = 9;
    /// Fields of a tensor that hold its data or say where they are.
    pub(crate) const TENSOR_PAYLOAD: [u32; 8] = [4, 5, 7, 9, 10, 11, 13, 14];
}

impl Kind {
    /// What the field `number` holds, where that leads to a tensor.
    pub(crate) fn child(self, number: u32) -> Option<Kind> {
        match (self, number) {
            (Kind::Model, number::MODEL_GRAPH) => Some(Kind::MainGraph),
            (Kind::Model, 20) => Some(Kind::Training),
            (Kind::Model, 25) => Some(Kind::Function),
            (Kind::Training, 1 | 2) => Some(Kind::Graph),
            (Kind::Function, 7) | (Kind::MainGraph | Kind::Graph, number::GRAPH_NODE) => Some(Kind::Node),
            (Kind::Function, 11) | (Kind::Node, 5) => Some(Kind::Attribute),
            (Kind::MainGraph | Kind::Graph, number::GRAPH_INITIALIZER) => Some(Kind::Initializer),
            (Kind::MainGraph | Kind::Graph, number::GRAPH_SPARSE_INITIALIZER) => Some(Kind::Sparse),
            (Kind::Attribute, 22 | 23) => Some(Kind::Sparse),
            (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Some(Kind::Tensor),
            (Kind::Attribute, 6 | 11) => Some(Kind::Graph),
            _ => None,
        }
    }

    /// Name of the field `number`.
    pub(crate) fn field_name(self, number: u32) -> String {
        let names: &[(u32, &str)] = match self {
            Kind::Model => &[
                (1, "ir_version"),
                (2, "producer_name"),
                (3, "producer_version"),
                (4, "domain"),
                (5, "model_version"),
                (6, "doc_string"),
                (7, "graph"),
                (8, "opset_import"),
                (14, "metadata_props"),
                (20, "training_info"),
                (25, "functions"),
                (26, "configuration"),
            ],
            Kind::MainGraph | Kind::Graph => &[
                (1, "node"),
                (2, "name"),
                (5, "initializer"),
                (10, "doc_string"),
                (11, "input"),
                (12, "output"),
                (13, "value_info"),
                (14, "quantization_annotation"),
                (15, "sparse_initializer"),
                (16, "metadata_props"),
            ],
            Kind::Node => &[
                (1, "input"),
                (2, "output"),
                (3, "name"),
                (4, "op_type"),
                (5, "attribute"),
                (6, "doc_string"),
                (7, "domain"),
                (8, "overload"),
                (9, "metadata_props"),
                (10, "device_configurations"),
            ],
            Kind::Attribute => &[
                (1, "name"),
                (2, "f"),
                (3, "i"),
                (4, "s"),
                (5, "t"),
                (6, "g"),
                (7, "floats"),
                (8, "ints"),
                (9, "strings"),
                (10, "tensors"),
                (11, "graphs"),
                (13, "doc_string"),
                (14, "tp"),
                (15, "type_protos"),
                (20, "type"),
                (21, "ref_attr_name"),
                (22, "sparse_tensor"),
                (23, "sparse_tensors"),
            ],
            Kind::Function => &[
                (1, "name"),
                (4, "input"),
                (5, "output"),
                (6, "attribute"),
                (7, "node"),
                (8, "doc_string"),
                (9, "opset_import"),
                (10, "domain"),
                (11, "attribute_proto"),
                (12, "value_info"),
                (13, "overload"),
                (14, "metadata_props"),
            ],
            Kind::Training => {
                &[(1, "initialization"), (2, "algorithm"), (3, "initialization_binding"), (4, "update_binding")]
            }
            Kind::Sparse => &[(1, "values"), (2, "indices"), (3, "dims")],
            Kind::Initializer | Kind::Tensor => &[
                (1, "dims"),
                (2, "data_type"),
                (3, "segment"),
                (4, "float_data"),
                (5, "int32_data"),
                (6, "string_data"),
                (7, "int64_data"),
                (8, "name"),
                (9, "raw_data"),
                (10, "double_data"),
                (11, "uint64_data"),
                (12, "doc_string"),
                (13, "external_data"),
                (14, "data_location"),
                (16, "metadata_props"),
            ],
        };
        let known = names.iter().find(|(known, _)| *known == number);
        known.map_or_else(|| format!("field {number}"), |(_, name)| (*name).to_owned())
    }

    /// Why `bytes` are not this message, if they are not.
    pub(crate) fn decode_error(self, bytes: Bytes) -> Option<DecodeError> {
        match self {
            Kind::Model => pb::ModelProto::decode(bytes).err(),
            Kind::MainGraph | Kind::Graph => pb::GraphProto::decode(bytes).err(),
            Kind::Node => pb::NodeProto::decode(bytes).err(),
            Kind::Attribute => pb::AttributeProto::decode(bytes).err(),
            Kind::Function => pb::FunctionProto::decode(bytes).err(),
            Kind::Training => pb::TrainingInfoProto::decode(bytes).err(),
            Kind::Sparse => pb::SparseTensorProto::decode(bytes).err(),
            Kind::Initializer | Kind::Tensor => pb::TensorProto::decode(bytes).err(),
        }
    }
}
