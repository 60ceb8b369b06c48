//! Initializers that nothing reads.

use std::collections::BTreeSet;

use adntn_onnx::{Model, Patch, pb};

/// What [`drop_unused`] found.
#[derive(Debug, Clone, Default)]
pub struct Unused {
    /// Names of the initializers, in the order of the graph.
    pub names: Vec<String>,
    /// Bytes of their data.
    pub bytes: u64,
    /// Leaves them out.
    pub patch: Patch,
}

/// The patch that leaves out every initializer of the main graph that no node, body, output or annotation refers to.
///
/// Initializers that are listed as graph inputs stay, since a caller may name them; and so does everything in a model with
/// training graphs, which may refer to any of them.
#[must_use]
pub fn drop_unused(model: &Model) -> Unused {
    let (graph, index) = (model.graph(), model.index());
    let mut unused = Unused::default();
    if !model.proto().training_info.is_empty() {
        return unused;
    }
    let annotated: BTreeSet<&str> = graph
        .quantization_annotation
        .iter()
        .flat_map(|a| {
            a.quant_parameter_tensor_names.iter().map(pb::StringStringEntryProto::value).chain([a.tensor_name()])
        })
        .collect();
    let is_read = |name: &str| {
        !index.uses(name).is_empty()
            || index.is_captured(name)
            || index.is_graph_output(name)
            || index.is_graph_input(name)
            || annotated.contains(name)
    };
    for tensor in graph.initializer.iter().filter(|tensor| !is_read(tensor.name())) {
        unused.bytes += model.tensor_bytes(tensor).unwrap_or(0);
        unused.names.push(tensor.name().to_owned());
    }
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref());
    for tensor in sparse.filter(|tensor| !is_read(tensor.name())) {
        unused.bytes += model.tensor_bytes(tensor).unwrap_or(0);
        unused.names.push(tensor.name().to_owned());
    }
    unused.patch.remove_initializers = unused.names.iter().cloned().collect();
    let described = graph.value_info.iter().map(pb::ValueInfoProto::name);
    unused.patch.remove_value_info =
        described.filter(|name| unused.patch.remove_initializers.contains(*name)).map(str::to_owned).collect();
    unused
}
