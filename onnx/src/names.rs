//! Whether the names of a graph make sense: each is defined once, what is read is defined, and nothing waits for itself.

use std::collections::HashMap;

use crate::index::{bodies, free_names, node_label, sparse_names};
use crate::{Error, pb};

/// The names of a graph, as it is or as a patch would make it.
#[derive(Default)]
pub(crate) struct View<'a> {
    pub inputs: Vec<&'a str>,
    pub initializers: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub nodes: Vec<NodeView<'a>>,
}

/// A node and what it reads.
pub(crate) struct NodeView<'a> {
    pub node: &'a pb::NodeProto,
    pub inputs: Vec<&'a str>,
}

/// A node that stands before the producer of its input.
#[derive(Debug)]
pub(crate) struct Unsorted {
    pub node: String,
    pub value: String,
}

impl<'a> View<'a> {
    pub(crate) fn new(graph: &'a pb::GraphProto) -> View<'a> {
        View {
            inputs: graph.input.iter().map(pb::ValueInfoProto::name).collect(),
            initializers: graph.initializer.iter().map(pb::TensorProto::name).chain(sparse_names(graph)).collect(),
            outputs: graph.output.iter().map(pb::ValueInfoProto::name).collect(),
            nodes: graph.node.iter().map(NodeView::new).collect(),
        }
    }
}

impl<'a> NodeView<'a> {
    pub(crate) fn new(node: &'a pb::NodeProto) -> NodeView<'a> {
        NodeView { node, inputs: node.input.iter().map(String::as_str).collect() }
    }

    /// What it reads itself, then what its bodies read from around them; names left empty are inputs left out.
    fn reads(&self) -> impl Iterator<Item = &'a str> {
        let captured = bodies(self.node).flat_map(free_names);
        self.inputs.iter().copied().chain(captured).filter(|name| !name.is_empty())
    }
}

/// What defines a value.
#[derive(Clone, Copy)]
enum Definition {
    Input,
    Initializer,
    Node(usize),
}

/// Checks a main graph. `Some` is the first node that stands too early, which ONNX forbids but runtimes mend.
pub(crate) fn check(view: &View) -> Result<Option<Unsorted>, Error> {
    let definitions = definitions(view)?;
    let undefined = |value: &str, reader: String| Error::Undefined { value: value.to_owned(), reader };
    for (number, node) in view.nodes.iter().enumerate() {
        if let Some(value) = node.reads().find(|value| !definitions.contains_key(value)) {
            return Err(undefined(value, node_label(node.node, number)));
        }
    }
    if let Some(value) = view.outputs.iter().find(|value| !definitions.contains_key(*value)) {
        return Err(undefined(value, format!("graph output `{value}`")));
    }
    for node in &view.nodes {
        bodies(node.node).try_for_each(check_body)?;
    }
    check_order(view, &definitions)
}

/// A body may read what the graphs around it define: that is checked where those are.
fn check_body(body: &pb::GraphProto) -> Result<(), Error> {
    let view = View::new(body);
    check_order(&view, &definitions(&view)?)?;
    body.node.iter().flat_map(bodies).try_for_each(check_body)
}

fn definitions<'a>(view: &View<'a>) -> Result<HashMap<&'a str, Definition>, Error> {
    let label = |definition: Definition| match definition {
        Definition::Input => "a graph input".to_owned(),
        Definition::Initializer => "an initializer".to_owned(),
        Definition::Node(number) => node_label(view.nodes[number].node, number),
    };
    let inputs = view.inputs.iter().map(|name| (*name, Definition::Input));
    let initializers = view.initializers.iter().map(|name| (*name, Definition::Initializer));
    let nodes =
        view.nodes.iter().enumerate().flat_map(|(number, node)| {
            node.node.output.iter().map(move |name| (name.as_str(), Definition::Node(number)))
        });
    let mut defined = HashMap::new();
    for (name, definition) in inputs.chain(initializers).chain(nodes).filter(|(name, _)| !name.is_empty()) {
        match (defined.insert(name, definition), definition) {
            // An initializer may give a graph input its default.
            (None, _) | (Some(Definition::Input), Definition::Initializer) => {}
            (Some(first), second) => {
                let (first, second) = (label(first), label(second));
                return Err(Error::Duplicate { value: name.to_owned(), first, second });
            }
        }
    }
    Ok(defined)
}

fn check_order(view: &View, definitions: &HashMap<&str, Definition>) -> Result<Option<Unsorted>, Error> {
    let needs: Vec<Vec<(usize, &str)>> = view
        .nodes
        .iter()
        .map(|node| {
            let producer = |value| match definitions.get(value) {
                Some(Definition::Node(producer)) => Some((*producer, value)),
                _ => None,
            };
            node.reads().filter_map(producer).collect()
        })
        .collect();
    let late = |(number, needs): (usize, &Vec<(usize, &str)>)| {
        let (_, value) = needs.iter().find(|(producer, _)| *producer >= number)?;
        Some(Unsorted { node: node_label(view.nodes[number].node, number), value: (*value).to_owned() })
    };
    let Some(unsorted) = needs.iter().enumerate().find_map(late) else { return Ok(None) };
    match node_on_cycle(&needs) {
        Some(number) => Err(Error::Cycle { node: node_label(view.nodes[number].node, number) }),
        None => Ok(Some(unsorted)),
    }
}

/// Takes away nodes that wait for nothing until none is left (Kahn); from one that stays, going to what it waits for
/// must come round.
fn node_on_cycle(needs: &[Vec<(usize, &str)>]) -> Option<usize> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut readers = vec![Vec::new(); needs.len()];
    for (number, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|(producer, _)| readers[*producer].push(number));
    }
    let mut ready: Vec<usize> = (0..needs.len()).filter(|number| waiting[*number] == 0).collect();
    while let Some(number) = ready.pop() {
        for &reader in &readers[number] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(reader);
            }
        }
    }
    let mut at = waiting.iter().position(|&count| count > 0)?;
    let mut seen = vec![false; needs.len()];
    while !std::mem::replace(&mut seen[at], true) {
        at = needs[at].iter().map(|(producer, _)| *producer).find(|producer| waiting[*producer] > 0)?;
    }
    Some(at)
}
