//! A model without its large tensors, for all that needs only their shapes.

use std::collections::HashSet;

use adntn_onnx::pb::tensor_proto::{DataLocation, DataType};
use adntn_onnx::{Model, pb};
use bytes::Bytes;
use prost::Message as _;

/// Models up to this size are loaded whole, in bytes.
const LOADED_WHOLE: u64 = 64 << 20;
/// Tensors up to this size keep their values: shapes, axes, scales (bytes).
const KEPT: u64 = 64 << 10;

/// The model, serialised, with every initializer and Constant beyond 64 KiB made a graph input of its type and shape;
/// `None` for a model that is small enough to be loaded whole.
///
/// # Errors
/// [`crate::Error::Unfit`] where a tensor cannot be read.
pub fn outline(model: &Model) -> Result<Option<Bytes>, crate::Error> {
    if model.size_bytes() <= LOADED_WHOLE {
        return Ok(None);
    }
    let graph = model.graph();
    let unfit = |name: &str, error: adntn_onnx::Error| crate::Error::Unfit {
        node: format!("initializer `{name}`"),
        problem: format!("cannot be read: {error}"),
    };
    let large = |tensor: &pb::TensorProto| model.tensor_bytes(tensor).is_ok_and(|bytes| bytes > KEPT);
    let is_text = |tensor: &pb::TensorProto| tensor.data_type() == DataType::String as i32;
    let (mut inputs, mut initializers, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for tensor in &graph.initializer {
        if large(tensor) && !is_text(tensor) {
            inputs.push(input(tensor.name(), tensor));
        } else if tensor.data_location() == DataLocation::External {
            let raw = model.raw(tensor).map_err(|error| unfit(tensor.name(), error))?;
            initializers.push(pb::TensorProto {
                name: tensor.name.clone(),
                dims: tensor.dims.clone(),
                data_type: tensor.data_type,
                raw_data: Some(Bytes::copy_from_slice(&raw)),
                ..Default::default()
            });
        } else {
            initializers.push(tensor.clone());
        }
    }
    for node in &graph.node {
        let value = node.attribute.iter().find(|attribute| attribute.name() == "value").and_then(|a| a.t.as_ref());
        match (node.op_type(), value, node.output.first()) {
            ("Constant", Some(tensor), Some(name)) if large(tensor) && !is_text(tensor) => {
                inputs.push(input(name, tensor))
            }
            _ => nodes.push(node.clone()),
        }
    }
    let made: HashSet<&str> = inputs.iter().map(pb::ValueInfoProto::name).collect();
    let own = graph.input.iter().filter(|value| !made.contains(value.name())).cloned().collect();
    let outlined = pb::GraphProto {
        name: graph.name.clone(),
        node: nodes,
        initializer: initializers,
        sparse_initializer: graph.sparse_initializer.clone(),
        output: graph.output.clone(),
        input: [own, inputs.clone()].concat(),
        ..Default::default()
    };
    let outlined = pb::ModelProto {
        ir_version: model.proto().ir_version,
        opset_import: model.proto().opset_import.clone(),
        functions: model.proto().functions.clone(),
        graph: Some(outlined),
        ..Default::default()
    };
    Ok(Some(outlined.encode_to_vec().into()))
}

fn input(name: &str, tensor: &pb::TensorProto) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension};
    let dim = |&extent: &i64| Dimension { value: Some(dimension::Value::DimValue(extent)), ..Default::default() };
    let shape = pb::TensorShapeProto { dim: tensor.dims.iter().map(dim).collect() };
    let tensor = pb::type_proto::Tensor { elem_type: tensor.data_type, shape: Some(shape) };
    let kind = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..Default::default() }
}
