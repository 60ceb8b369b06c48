//! A patch laid out along the fields of a graph.

use std::collections::{BTreeMap, HashSet};

use crate::external::ExternalFiles;
use crate::index::node_label;
use crate::names::{NodeView, View};
use crate::schema::number;
use crate::tensors::Found;
use crate::{Error, Patch, pb, sparse, tensor, tensors};

/// Something to put into the graph.
#[derive(Clone, Copy)]
pub(crate) enum New<'a> {
    Node(&'a pb::NodeProto),
    Initializer(&'a pb::TensorProto),
    Output(&'a pb::ValueInfoProto),
}

impl New<'_> {
    /// The graph's field it belongs to.
    pub(crate) fn number(&self) -> u32 {
        match self {
            New::Node(_) => number::GRAPH_NODE,
            New::Initializer(_) => number::GRAPH_INITIALIZER,
            New::Output(_) => number::GRAPH_OUTPUT,
        }
    }
}

/// What becomes of a field.
pub(crate) enum What<'a> {
    Keep,
    Remove,
    Replace(&'a pb::TensorProto),
    /// New names by input number.
    Rewire(BTreeMap<usize, &'a str>),
}

/// What the patch wants at a field.
pub(crate) struct Wish<'a> {
    pub before: Vec<New<'a>>,
    pub what: What<'a>,
    pub after: Vec<New<'a>>,
}

/// A patch that fits its graph, to be followed field by field, once.
#[derive(Clone)]
pub(crate) struct PatchPlan<'a> {
    graph: &'a pb::GraphProto,
    patch: &'a Patch,
    inserts: BTreeMap<usize, Vec<&'a pb::NodeProto>>,
    rewired: BTreeMap<usize, BTreeMap<usize, &'a str>>,
    /// Fields seen, by number.
    seen: BTreeMap<u32, usize>,
}

impl<'a> PatchPlan<'a> {
    /// Checks that the patch fits the graph, whose external data are in `files`, and does not contradict itself.
    pub(crate) fn new(
        graph: &'a pb::GraphProto,
        patch: &'a Patch,
        files: &ExternalFiles,
    ) -> Result<PatchPlan<'a>, Error> {
        check_nodes(graph, patch)?;
        check_named(graph, patch)?;
        check_tensors(patch, files)?;
        let mut inserts = BTreeMap::<usize, Vec<_>>::new();
        for (place, node) in &patch.insert_nodes {
            inserts.entry(*place).or_default().push(node);
        }
        let mut rewired = BTreeMap::<usize, BTreeMap<_, _>>::new();
        for (place, name) in &patch.rewire {
            let before = rewired.entry(place.node).or_default().insert(place.input, name.as_str());
            if before.is_some_and(|before| before != name) {
                let node = node_label(&graph.node[place.node], place.node);
                let what = format!("input {} of {node} is to read two values", place.input);
                return Err(Error::Contradiction { what });
            }
        }
        for (&node, inputs) in &mut rewired {
            inputs.retain(|&input, name| graph.node[node].input[input] != *name);
        }
        Ok(PatchPlan { graph, patch, inserts, rewired, seen: BTreeMap::new() })
    }

    /// The names of the graph as the patch would make it.
    pub(crate) fn view(&self) -> View<'a> {
        let (graph, patch) = (self.graph, self.patch);
        let mut view = View::new(graph);
        view.inputs.retain(|name| !patch.remove_inputs.contains(*name));
        view.initializers.retain(|name| !patch.remove_initializers.contains(*name));
        view.initializers.extend(patch.add_initializers.iter().map(pb::TensorProto::name));
        view.outputs.extend(patch.add_outputs.iter().map(pb::ValueInfoProto::name));
        let mut nodes = Vec::with_capacity(view.nodes.len() + patch.insert_nodes.len());
        for (number, mut node) in view.nodes.into_iter().enumerate() {
            nodes.extend(self.inserted(number).map(NodeView::new));
            for (&input, &name) in self.rewired.get(&number).into_iter().flatten() {
                node.inputs[input] = name;
            }
            nodes.extend(Some(node).filter(|_| !patch.remove_nodes.contains(&number)));
        }
        nodes.extend(self.inserted(graph.node.len()).map(NodeView::new));
        view.nodes = nodes;
        view
    }

    fn inserted(&self, place: usize) -> impl Iterator<Item = &'a pb::NodeProto> {
        self.inserts.get(&place).into_iter().flatten().copied()
    }

    /// What to do at the next field of this number.
    pub(crate) fn at(&mut self, number: u32) -> Wish<'a> {
        let (graph, patch) = (self.graph, self.patch);
        let seen = self.seen.entry(number).or_default();
        let place = *seen;
        *seen += 1;
        let mut wish = Wish { before: Vec::new(), what: What::Keep, after: Vec::new() };
        let remove = |removed: bool| if removed { What::Remove } else { What::Keep };
        match number {
            number::GRAPH_NODE => {
                wish.before = self.inserted(place).map(New::Node).collect();
                if patch.remove_nodes.contains(&place) {
                    wish.what = What::Remove;
                } else if let Some(inputs) = self.rewired.remove(&place) {
                    wish.what = What::Rewire(inputs);
                }
            }
            number::GRAPH_INITIALIZER => {
                let name = graph.initializer[place].name();
                wish.what = match patch.replace_initializers.get(name) {
                    Some(tensor) => What::Replace(tensor),
                    None => remove(patch.remove_initializers.contains(name)),
                };
            }
            number::GRAPH_SPARSE_INITIALIZER => {
                let values = graph.sparse_initializer[place].values.as_ref();
                wish.what = remove(values.is_some_and(|values| patch.remove_initializers.contains(values.name())));
            }
            number::GRAPH_INPUT => wish.what = remove(patch.remove_inputs.contains(graph.input[place].name())),
            number::GRAPH_VALUE_INFO => {
                wish.what = remove(patch.remove_value_info.contains(graph.value_info[place].name()));
            }
            _ => {}
        }
        if place + 1 == self.count(number) {
            wish.after = self.tail(number);
        }
        wish
    }

    /// What found no field of its kind to stand after.
    pub(crate) fn rest(&self) -> Vec<New<'a>> {
        let kinds = [number::GRAPH_NODE, number::GRAPH_INITIALIZER, number::GRAPH_OUTPUT];
        kinds.into_iter().filter(|&number| self.count(number) == 0).flat_map(|number| self.tail(number)).collect()
    }

    fn count(&self, number: u32) -> usize {
        match number {
            number::GRAPH_NODE => self.graph.node.len(),
            number::GRAPH_INITIALIZER => self.graph.initializer.len(),
            number::GRAPH_OUTPUT => self.graph.output.len(),
            _ => usize::MAX,
        }
    }

    fn tail(&self, number: u32) -> Vec<New<'a>> {
        match number {
            number::GRAPH_NODE => self.inserted(self.graph.node.len()).map(New::Node).collect(),
            number::GRAPH_INITIALIZER => self.patch.add_initializers.iter().map(New::Initializer).collect(),
            number::GRAPH_OUTPUT => self.patch.add_outputs.iter().map(New::Output).collect(),
            _ => Vec::new(),
        }
    }
}

fn check_nodes(graph: &pb::GraphProto, patch: &Patch) -> Result<(), Error> {
    let count = graph.node.len();
    let missing = |number: usize| Error::NotThere { what: format!("node {number} (there are {count})") };
    if let Some(&number) = patch.remove_nodes.iter().find(|number| **number >= count) {
        return Err(missing(number));
    }
    if let Some((number, _)) = patch.insert_nodes.iter().find(|(number, _)| *number > count) {
        return Err(missing(*number));
    }
    for (place, _) in &patch.rewire {
        let node = graph.node.get(place.node).ok_or_else(|| missing(place.node))?;
        let label = node_label(node, place.node);
        if place.input >= node.input.len() {
            return Err(Error::NotThere { what: format!("input {} of {label}", place.input) });
        }
        if patch.remove_nodes.contains(&place.node) {
            return Err(Error::Contradiction { what: format!("{label} is to be removed and rewired") });
        }
    }
    Ok(())
}

fn check_named(graph: &pb::GraphProto, patch: &Patch) -> Result<(), Error> {
    fn names(values: &[pb::ValueInfoProto]) -> HashSet<&str> {
        values.iter().map(pb::ValueInfoProto::name).collect()
    }
    let dense: HashSet<&str> = graph.initializer.iter().map(pb::TensorProto::name).collect();
    let sparse: HashSet<&str> = crate::index::sparse_names(graph).collect();
    let (inputs, value_info, mut outputs) = (names(&graph.input), names(&graph.value_info), names(&graph.output));
    let missing = |what: &str, name: &str| Error::NotThere { what: format!("{what} `{name}`") };
    for name in &patch.remove_initializers {
        if !dense.contains(name.as_str()) && !sparse.contains(name.as_str()) {
            return Err(missing("initializer", name));
        }
        if patch.replace_initializers.contains_key(name) {
            return Err(Error::Contradiction { what: format!("initializer `{name}` is to be removed and replaced") });
        }
    }
    for (name, tensor) in &patch.replace_initializers {
        if !dense.contains(name.as_str()) {
            return Err(missing("initializer", name));
        }
        if tensor.name() != name {
            let what = format!("initializer `{name}` is to be replaced by a tensor called `{}`", tensor.name());
            return Err(Error::Contradiction { what });
        }
    }
    if let Some(name) = patch.remove_inputs.iter().find(|name| !inputs.contains(name.as_str())) {
        return Err(missing("graph input", name));
    }
    if let Some(name) = patch.remove_value_info.iter().find(|name| !value_info.contains(name.as_str())) {
        return Err(missing("value_info", name));
    }
    for output in &patch.add_outputs {
        let name = output.name();
        if !outputs.insert(name) {
            return Err(Error::Contradiction { what: format!("`{name}` is to be a graph output twice") });
        }
    }
    Ok(())
}

fn check_tensors(patch: &Patch, files: &ExternalFiles) -> Result<(), Error> {
    let check = |tensor: &pb::TensorProto, label: &dyn Fn() -> String| {
        tensor::check(tensor).map_err(|problem| Error::Tensor { tensor: label(), problem })?;
        if tensor::is_external(tensor) { files.data(tensor).map(|_| ()) } else { Ok(()) }
    };
    for tensor in patch.add_initializers.iter().chain(patch.replace_initializers.values()) {
        if tensor.name().is_empty() {
            return Err(Error::Contradiction { what: "an initializer is to be added without a name".into() });
        }
        check(tensor, &|| tensor.name().to_owned())?;
    }
    for (number, node) in &patch.insert_nodes {
        tensors::in_node(node, &|| node_label(node, *number), &mut |found, label| match found {
            Found::Dense(tensor) => check(tensor, label),
            Found::Sparse(sparse) => sparse::check(sparse, files, label),
        })?;
    }
    Ok(())
}
