//! Shifting a layer's bias, to take up the mean of the error that an approximated weight makes.

use adntn_onnx::{Model, Patch, Use, pb};

use crate::Error;
use crate::candidate::{Candidate, LayerKind};
use crate::tensor::float_tensor;

/// A bias that belongs to one layer alone.
struct Bias<'m> {
    tensor: &'m pb::TensorProto,
    /// What a shift of the layer's product by one means for the bias.
    factor: f32,
}

/// Whether the layer has a constant bias of its own that [`shift_bias`] can change.
///
/// That is the third input of a Conv or Gemm, or the other operand of the one Add that reads a MatMul's output: an
/// initializer with one element per output, read nowhere else. A weight shared by several layers has no such bias.
#[must_use]
pub fn has_own_bias(model: &Model, candidate: &Candidate) -> bool {
    own_bias(model, candidate).is_some()
}

/// The patch that adds `shift` (O entries, in units of the product of activation and weight) to the layer's bias.
///
/// # Errors
/// When the layer has no bias of its own, `shift` has not O finite entries, or the bias cannot be read.
pub fn shift_bias(model: &Model, candidate: &Candidate, shift: &[f32]) -> Result<Patch, Error> {
    let layer = || candidate.layer.clone();
    let Some(bias) = own_bias(model, candidate) else {
        return Err(Error::ForeignCandidate { layer: layer(), detail: "the layer has no bias of its own".into() });
    };
    if shift.len() != candidate.outputs || shift.iter().any(|s| !s.is_finite()) {
        return Err(Error::NotFinite { layer: layer(), what: "the shift of the bias".into() });
    }
    let values = model.floats(bias.tensor)?;
    let shifted: Vec<f32> = values.iter().zip(shift).map(|(b, s)| b + s * bias.factor).collect();
    if shifted.iter().any(|b| !b.is_finite()) {
        return Err(Error::NotFinite { layer: layer(), what: "the shifted bias".into() });
    }
    let dims: Vec<usize> = bias.tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    let name = bias.tensor.name();
    let mut patch = Patch::default();
    patch.replace_initializers.insert(name.to_owned(), float_tensor(name, &dims, &shifted));
    Ok(patch)
}

fn own_bias<'m>(model: &'m Model, candidate: &Candidate) -> Option<Bias<'m>> {
    let [usage] = candidate.uses.as_slice() else { return None };
    let node = model.graph().node.get(usage.node)?;
    let float = |key: &str| node.attribute.iter().find(|a| a.name() == key).map_or(1.0, pb::AttributeProto::f);
    let (name, reader, factor, channel_axis_last) = match usage.kind {
        LayerKind::Conv => (node.input.get(2)?.as_str(), Use { node: usage.node, input: 2 }, 1.0, false),
        LayerKind::Gemm if usage.input == 1 && float("beta") != 0.0 => {
            (node.input.get(2)?.as_str(), Use { node: usage.node, input: 2 }, float("alpha") / float("beta"), true)
        }
        LayerKind::MatMul if usage.input == 1 => {
            let product = node.output.first()?;
            let index = model.index();
            if index.is_graph_output(product) || index.is_captured(product) {
                return None;
            }
            let [only] = index.uses(product) else { return None };
            let add = model.graph().node.get(only.node).filter(|n| n.op_type() == "Add" && n.domain().is_empty())?;
            let other = 1 - only.input.min(1);
            (add.input.get(other)?.as_str(), Use { node: only.node, input: other }, 1.0, true)
        }
        LayerKind::Gemm | LayerKind::MatMul | LayerKind::Gather => return None,
    };
    let index = model.index();
    let tensor = model.graph().initializer.get(index.initializer(name)?)?;
    let alone = index.uses(name) == [reader]
        && !index.is_captured(name)
        && !index.is_graph_output(name)
        && !index.is_graph_input(name);
    let outputs = i64::try_from(candidate.outputs).ok()?;
    let elements: i64 = tensor.dims.iter().product();
    let per_output = elements == outputs && (!channel_axis_last || tensor.dims.last() == Some(&outputs));
    let float32 = tensor.data_type() == pb::tensor_proto::DataType::Float as i32;
    (alone && per_output && float32 && factor.is_finite()).then_some(Bias { tensor, factor })
}
