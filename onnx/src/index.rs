//! Who makes and who reads each value of the main graph.

use std::collections::{HashMap, HashSet};

use crate::pb;

/// One place where a node reads a value: input number `input` of node number `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Use {
    /// Index into `graph.node`.
    pub node: usize,
    /// Index into that node's `input`.
    pub input: usize,
}

/// Lookup tables over the main graph of a model. Values read inside the bodies of If, Loop and Scan are marked as
/// captured; the bodies' own values only count as taken.
#[derive(Debug, Default)]
pub struct GraphIndex {
    producers: HashMap<String, usize>,
    uses: HashMap<String, Vec<Use>>,
    initializers: HashMap<String, usize>,
    inputs: HashSet<String>,
    outputs: HashSet<String>,
    captured: HashSet<String>,
    /// Names that none of the other tables has: of bodies, sparse initializers, value_info.
    others: HashSet<String>,
}

impl GraphIndex {
    pub(crate) fn new(graph: &pb::GraphProto) -> GraphIndex {
        let mut index = GraphIndex::default();
        for (node_index, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                index.producers.insert(output.clone(), node_index);
            }
            for (input, name) in node.input.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                index.uses.entry(name.clone()).or_default().push(Use { node: node_index, input });
            }
            for body in bodies(node) {
                index.captured.extend(free_names(body).into_iter().map(str::to_owned));
                take_names(body, &mut index.others);
            }
        }
        for (position, tensor) in graph.initializer.iter().enumerate() {
            index.initializers.insert(tensor.name().to_owned(), position);
        }
        index.inputs.extend(graph.input.iter().map(|value| value.name().to_owned()));
        index.outputs.extend(graph.output.iter().map(|value| value.name().to_owned()));
        index.others.extend(graph.value_info.iter().map(|value| value.name().to_owned()));
        index.others.extend(sparse_names(graph).map(str::to_owned));
        index
    }

    /// The node that makes `value`, as an index into `graph.node`.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// Every node input that reads `value`, in the order of the nodes. Bodies are not listed: see
    /// [`is_captured`](Self::is_captured).
    pub fn uses(&self, value: &str) -> &[Use] {
        self.uses.get(value).map_or(&[], Vec::as_slice)
    }

    /// The dense initializer called `name`, as an index into `graph.initializer`.
    pub fn initializer(&self, name: &str) -> Option<usize> {
        self.initializers.get(name).copied()
    }

    /// Whether `graph.input` lists `name`: a caller may then give the value, even where an initializer has a default.
    pub fn is_graph_input(&self, name: &str) -> bool {
        self.inputs.contains(name)
    }

    /// Whether `graph.output` lists `name`.
    pub fn is_graph_output(&self, name: &str) -> bool {
        self.outputs.contains(name)
    }

    /// Whether the body of an If, Loop or Scan node reads `name` from the main graph.
    pub fn is_captured(&self, name: &str) -> bool {
        self.captured.contains(name)
    }

    /// Whether any value of the graph or of a body in it has this name, so that a new value must not.
    pub fn is_taken(&self, name: &str) -> bool {
        self.producers.contains_key(name)
            || self.uses.contains_key(name)
            || self.initializers.contains_key(name)
            || self.inputs.contains(name)
            || self.outputs.contains(name)
            || self.captured.contains(name)
            || self.others.contains(name)
    }
}

/// The graphs in a node's attributes: branches of If, bodies of Loop and Scan.
pub(crate) fn bodies(node: &pb::NodeProto) -> impl Iterator<Item = &pb::GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// Names of sparse initializers, which their `values` tensor bears.
pub(crate) fn sparse_names(graph: &pb::GraphProto) -> impl Iterator<Item = &str> {
    graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()).map(pb::TensorProto::name)
}

/// Names that a body reads from the graphs around it, each once, in the order of their first use.
pub(crate) fn free_names(body: &pb::GraphProto) -> Vec<&str> {
    let mut own: HashSet<&str> = HashSet::from([""]);
    own.extend(body.input.iter().map(pb::ValueInfoProto::name));
    own.extend(body.initializer.iter().map(pb::TensorProto::name));
    own.extend(sparse_names(body));
    own.extend(body.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    let mut free = Vec::new();
    let mut note = |name| {
        if own.insert(name) {
            free.push(name);
        }
    };
    for node in &body.node {
        node.input.iter().for_each(|name| note(name));
        bodies(node).flat_map(free_names).for_each(&mut note);
    }
    body.output.iter().for_each(|value| note(value.name()));
    free
}

/// Every name that a body and the bodies in it mention.
fn take_names(body: &pb::GraphProto, names: &mut HashSet<String>) {
    let values = body.input.iter().chain(&body.output).chain(&body.value_info).map(pb::ValueInfoProto::name);
    let tensors = body.initializer.iter().map(pb::TensorProto::name).chain(sparse_names(body));
    let ends = body.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).map(String::as_str);
    names.extend(values.chain(tensors).chain(ends).filter(|name| !name.is_empty()).map(str::to_owned));
    body.node.iter().flat_map(bodies).for_each(|inner| take_names(inner, names));
}

/// What to call a node in a message.
pub(crate) fn node_label(node: &pb::NodeProto, number: usize) -> String {
    match node.name() {
        "" => format!("node {number} ({})", node.op_type()),
        name => format!("node `{name}`"),
    }
}
