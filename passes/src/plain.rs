//! Parameters that a fit may change besides generators: biases, norms and, if asked for, the other weights behind the
//! replaced layers.

use std::collections::BTreeSet;

use adntn_onnx::{Model, Patch, pb};
use pb::tensor_proto::DataType;

use crate::Error;
use crate::candidate::{Candidate, Root};
use crate::tensor::float_tensor;

/// What a parameter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainKind {
    /// Added to a layer's output.
    Bias,
    /// Scale or shift of a normalisation, or a factor for each channel.
    Norm,
    /// The weight of a layer that stays dense.
    Weight,
}

/// A float32 initializer that a fit may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainParameter {
    /// Name of the initializer.
    pub name: String,
    /// What it is for.
    pub kind: PlainKind,
    /// Its extents.
    pub shape: Vec<usize>,
}

/// The parameters read by nodes whose result depends on the weight of one of `candidates`, in graph order, each once.
///
/// Those before the replaced layers are left out: changing them would mean training the whole network. Running means and
/// variances of batch normalisation are statistics, not parameters.
#[must_use]
pub fn plain_parameters(model: &Model, candidates: &[&Candidate]) -> Vec<PlainParameter> {
    let graph = model.graph();
    let mut behind: BTreeSet<&str> = candidates.iter().map(|c| c.weight.as_str()).collect();
    let roots: BTreeSet<&str> = candidates.iter().filter_map(|c| root(model, c)).collect();
    behind.extend(&roots);
    let mut found: Vec<PlainParameter> = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for node in &graph.node {
        if !node.input.iter().any(|name| behind.contains(name.as_str())) {
            continue;
        }
        behind.extend(node.output.iter().map(String::as_str).filter(|name| !name.is_empty()));
        for (input, name) in node.input.iter().enumerate() {
            if behind.contains(name.as_str()) || known.contains(name.as_str()) {
                continue;
            }
            let Some(shape) = trainable_shape(model, name) else { continue };
            let Some(kind) = kind(node, input, &shape) else { continue };
            known.insert(name);
            found.push(PlainParameter { name: name.clone(), kind, shape });
        }
    }
    found
}

fn root<'m>(model: &'m Model, candidate: &'m Candidate) -> Option<&'m str> {
    match &candidate.source.root {
        Root::Initializer(name) => Some(name),
        Root::ConstantNode(node) => model.graph().node.get(*node)?.output.first().map(String::as_str),
    }
}

/// The value that holds the weight of `candidate` itself: an initializer or the output of a Constant node.
///
/// # Errors
/// When the candidate is of another model.
pub fn weight_value(model: &Model, candidate: &Candidate) -> Result<String, Error> {
    candidate.tensor(model)?;
    let missing =
        || Error::ForeignCandidate { layer: candidate.layer.clone(), detail: "its Constant has no output".into() };
    root(model, candidate).map(str::to_owned).ok_or_else(missing)
}

/// Extents of a float32 initializer that only this graph decides on.
fn trainable_shape(model: &Model, name: &str) -> Option<Vec<usize>> {
    let index = model.index();
    let tensor = model.graph().initializer.get(index.initializer(name)?)?;
    if index.is_captured(name) || tensor.data_type() != DataType::Float as i32 {
        return None;
    }
    tensor.dims.iter().map(|&d| usize::try_from(d).ok().filter(|&d| d > 0)).collect()
}

fn kind(node: &pb::NodeProto, input: usize, shape: &[usize]) -> Option<PlainKind> {
    let count: usize = shape.iter().product();
    let vector = count > 1 && shape.contains(&count);
    match (node.op_type(), input) {
        ("Conv" | "ConvTranspose" | "Gemm", 2) => Some(PlainKind::Bias),
        ("Conv" | "ConvTranspose", 1) | ("Gemm" | "MatMul", 0 | 1) => Some(PlainKind::Weight),
        ("Add" | "Sub", 0 | 1) if vector => Some(PlainKind::Bias),
        ("Mul" | "Div", 0 | 1) if vector => Some(PlainKind::Norm),
        ("BatchNormalization" | "InstanceNormalization" | "LayerNormalization", 1 | 2) | ("PRelu", 1) => {
            Some(PlainKind::Norm)
        }
        _ => None,
    }
}

/// What a float32 initializer is for, if all its readers take it for the same and only this graph decides on it.
pub(crate) fn plain_kind(model: &Model, tensor: &pb::TensorProto) -> Option<PlainKind> {
    let (graph, index) = (model.graph(), model.index());
    let shape = trainable_shape(model, tensor.name())?;
    if index.is_graph_input(tensor.name()) || index.is_graph_output(tensor.name()) || shape.is_empty() {
        return None;
    }
    let mut kinds = index.uses(tensor.name()).iter().map(|usage| {
        let node = graph.node.get(usage.node)?;
        match (node.op_type(), usage.input) {
            ("BatchNormalization", 3) => Some(PlainKind::Bias),
            ("BatchNormalization", 4) => Some(PlainKind::Norm),
            (_, input) => kind(node, input, &shape),
        }
    });
    let first = kinds.next()??;
    kinds.all(|other| other == Some(first)).then_some(first)
}

/// The patch that gives an initializer other values.
///
/// # Errors
/// When there is no such initializer, or `values` are not as many finite numbers as it has.
pub fn replace_values(model: &Model, name: &str, values: &[f32]) -> Result<Patch, Error> {
    let foreign = |detail: String| Error::ForeignCandidate { layer: name.to_owned(), detail };
    let tensor = model.index().initializer(name).and_then(|at| model.graph().initializer.get(at));
    let tensor = tensor.ok_or_else(|| foreign("there is no such initializer".into()))?;
    let dims: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    if dims.iter().product::<usize>() != values.len() {
        return Err(foreign(format!("it has shape {dims:?}, not {} values", values.len())));
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::NotFinite { layer: name.to_owned(), what: "the new value".to_owned() });
    }
    let mut patch = Patch::default();
    patch.replace_initializers.insert(name.to_owned(), float_tensor(name, &dims, values));
    Ok(patch)
}
