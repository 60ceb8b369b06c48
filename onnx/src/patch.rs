//! What a rewrite wants changed: pure data, so that patches can be kept, merged and looked at before they are applied.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::{Use, pb};

/// Changes to the main graph of a model. All indices refer to the unedited graph.
#[derive(Default, Clone, Debug)]
pub struct Patch {
    /// Nodes to leave out.
    pub remove_nodes: BTreeSet<usize>,
    /// Initializers to leave out, sparse ones too.
    pub remove_initializers: BTreeSet<String>,
    /// Entries of `graph.input` to leave out: models of IR version 3 and older list their initializers there.
    pub remove_inputs: BTreeSet<String>,
    /// Entries of `graph.value_info` to leave out.
    pub remove_value_info: BTreeSet<String>,
    /// New initializers, put after the last one of the graph.
    pub add_initializers: Vec<pb::TensorProto>,
    /// New contents of initializers, by name; the tensor bears the same name.
    pub replace_initializers: BTreeMap<String, pb::TensorProto>,
    /// New nodes, each put before the given node of the unedited graph (the number of nodes: at the end); those of one
    /// place keep the order given here.
    pub insert_nodes: Vec<(usize, pb::NodeProto)>,
    /// Node inputs that read another value from now on.
    pub rewire: Vec<(Use, String)>,
    /// Further graph outputs, put after the last one.
    pub add_outputs: Vec<pb::ValueInfoProto>,
}

impl Patch {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        let Patch {
            remove_nodes,
            remove_initializers,
            remove_inputs,
            remove_value_info,
            add_initializers,
            replace_initializers,
            insert_nodes,
            rewire,
            add_outputs,
        } = self;
        remove_nodes.is_empty()
            && remove_initializers.is_empty()
            && remove_inputs.is_empty()
            && remove_value_info.is_empty()
            && add_initializers.is_empty()
            && replace_initializers.is_empty()
            && insert_nodes.is_empty()
            && rewire.is_empty()
            && add_outputs.is_empty()
    }

    /// Adds the wishes of `other`, a patch for the same model. Where both replace one initializer, `other` wins;
    /// what else they contradict each other in, [`Model::apply`](crate::Model::apply) refuses.
    pub fn merge(&mut self, other: Patch) {
        self.remove_nodes.extend(other.remove_nodes);
        self.remove_initializers.extend(other.remove_initializers);
        self.remove_inputs.extend(other.remove_inputs);
        self.remove_value_info.extend(other.remove_value_info);
        self.add_initializers.extend(other.add_initializers);
        self.replace_initializers.extend(other.replace_initializers);
        self.insert_nodes.extend(other.insert_nodes);
        self.rewire.extend(other.rewire);
        self.add_outputs.extend(other.add_outputs);
    }

    /// Encoded size of the nodes it inserts and the initializers it adds or replaces, in bytes: what the file grows
    /// by, before what is removed or replaced is taken off.
    pub fn added_bytes(&self) -> u64 {
        let nodes = self.insert_nodes.iter().map(|(_, node)| field_length(node));
        let tensors = self.add_initializers.iter().chain(self.replace_initializers.values()).map(field_length);
        nodes.chain(tensors).sum()
    }
}

/// Length of a message as a field of the graph: tag (one byte for the numbers used here), length, content.
fn field_length(message: &impl Message) -> u64 {
    let content = message.encoded_len();
    1 + prost::length_delimiter_len(content) as u64 + content as u64
}
