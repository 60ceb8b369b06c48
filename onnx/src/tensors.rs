//! Every tensor of a model, wherever it stands: initializers, attributes, sparse tensors, bodies, functions, training.

use crate::index::node_label;
use crate::{Error, SparseProblem, pb};

/// A tensor, or a sparse tensor whose two dense ones came just before.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    Dense(&'a pb::TensorProto),
    Sparse(&'a pb::SparseTensorProto),
}

/// What to do with a tensor, given what to call it in a message.
type Visit<'v, 'a> = dyn FnMut(Found<'a>, &dyn Fn() -> String) -> Result<(), Error> + 'v;

/// Calls `visit` with every tensor and what to call it in a message, until the first error.
pub(crate) fn for_each<'a>(model: &'a pb::ModelProto, visit: &mut Visit<'_, 'a>) -> Result<(), Error> {
    let training = model.training_info.iter().flat_map(|step| step.initialization.iter().chain(&step.algorithm));
    for graph in model.graph.iter().chain(training) {
        in_graph(graph, visit)?;
    }
    for function in &model.functions {
        in_nodes(&function.node, visit)?;
        let of = || format!("function `{}`", function.name());
        function.attribute_proto.iter().try_for_each(|attribute| in_attribute(attribute, &of, visit))?;
    }
    Ok(())
}

/// The same for the attributes of one node.
pub(crate) fn in_node<'a>(
    node: &'a pb::NodeProto,
    of: &dyn Fn() -> String,
    visit: &mut Visit<'_, 'a>,
) -> Result<(), Error> {
    node.attribute.iter().try_for_each(|attribute| in_attribute(attribute, of, visit))
}

fn in_nodes<'a>(nodes: &'a [pb::NodeProto], visit: &mut Visit<'_, 'a>) -> Result<(), Error> {
    let mut numbered = nodes.iter().enumerate();
    numbered.try_for_each(|(number, node)| in_node(node, &|| node_label(node, number), visit))
}

fn in_graph<'a>(graph: &'a pb::GraphProto, visit: &mut Visit<'_, 'a>) -> Result<(), Error> {
    for (number, tensor) in graph.initializer.iter().enumerate() {
        named(tensor, &|| format!("initializer {number}"), visit)?;
    }
    for (number, tensor) in graph.sparse_initializer.iter().enumerate() {
        let place = || format!("sparse initializer {number}");
        in_sparse(tensor, &place, visit)?;
        if tensor.values.as_ref().is_none_or(|values| values.name().is_empty()) {
            return Err(Error::Sparse { tensor: place(), problem: SparseProblem::NoName });
        }
    }
    in_nodes(&graph.node, visit)
}

fn in_attribute<'a>(
    attribute: &'a pb::AttributeProto,
    of: &dyn Fn() -> String,
    visit: &mut Visit<'_, 'a>,
) -> Result<(), Error> {
    let place = || format!("{} of {}", attribute.name(), of());
    for tensor in attribute.t.iter().chain(&attribute.tensors) {
        named(tensor, &place, visit)?;
    }
    for tensor in attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors) {
        in_sparse(tensor, &place, visit)?;
    }
    attribute.g.iter().chain(&attribute.graphs).try_for_each(|graph| in_graph(graph, visit))
}

fn in_sparse<'a>(
    sparse: &'a pb::SparseTensorProto,
    of: &dyn Fn() -> String,
    visit: &mut Visit<'_, 'a>,
) -> Result<(), Error> {
    if let Err(problem) = crate::tensor::element_count(&sparse.dims) {
        return Err(Error::Tensor { tensor: of(), problem });
    }
    sparse.values.iter().chain(&sparse.indices).try_for_each(|tensor| named(tensor, of, visit))?;
    let name = sparse.values.as_ref().map_or("", pb::TensorProto::name);
    visit(Found::Sparse(sparse), &|| if name.is_empty() { of() } else { name.to_owned() })
}

/// A tensor goes by its name, else by its place.
fn named<'a>(tensor: &'a pb::TensorProto, place: &dyn Fn() -> String, visit: &mut Visit<'_, 'a>) -> Result<(), Error> {
    visit(Found::Dense(tensor), &|| if tensor.name().is_empty() { place() } else { tensor.name().to_owned() })
}
