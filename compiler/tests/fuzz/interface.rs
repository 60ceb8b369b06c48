//! Changes of what a model says of itself: versions, inputs, outputs, declared shapes.

use adntn_onnx::pb;
use pb::tensor_proto::DataType;

use super::build::{Extent, value};
use super::common::node;
use super::draw::{Draw, code};
use super::mutate::{graph, known};

pub fn versions(draw: &mut Draw, model: &mut pb::ModelProto) {
    match draw.below(4) {
        0 => model.ir_version = Some(draw.int()),
        1 => model.ir_version = Some(draw.pick(&[3, 4, 7, 10, 11])),
        2 => model.opset_import.push(pb::OperatorSetIdProto {
            domain: Some(draw.pick(&["", "ai.onnx", "com.microsoft", "ai.onnx.ml"]).into()),
            version: Some(draw.int()),
        }),
        _ => {
            let version = if draw.chance(20) { draw.int() } else { 5 + draw.below(20) as i64 };
            model.opset_import.iter_mut().for_each(|o| o.version = Some(version));
        }
    }
}

fn shape(draw: &mut Draw) -> Vec<Extent> {
    let names = ["N", "batch", "T", ""];
    let count = draw.pick(&[0, 1, 1, 2, 2, 2, 3, 4]);
    let extent = |_| match draw.below(6) {
        0 => Extent::Unknown,
        1 | 2 => Extent::Named(draw.pick(&names).into()),
        3 => Extent::Fixed(draw.int()),
        _ => Extent::Fixed(draw.extent()),
    };
    (0..count).map(extent).collect()
}

pub fn graph_inputs(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    let names = known(graph);
    match draw.below(5) {
        0 => {
            let shape = shape(draw);
            let shape = if draw.chance(80) { Some(&shape[..]) } else { None };
            let element = if draw.chance(60) { code(DataType::Float) } else { draw.element_type() };
            graph.input.push(value("extra", element, shape));
            // Used where it matters, half the time.
            if let (true, Some(output)) = (draw.chance(50), graph.output.first().cloned()) {
                graph.node.push(node("Add", "with-extra", &[output.name(), "extra"], "sum-with-extra"));
                graph.output.push(value("sum-with-extra", code(DataType::Float), None));
            }
        }
        1 => {
            let (name, shape) = (draw.name(&names), shape(draw));
            graph.input.push(value(&name, code(DataType::Float), Some(&shape)));
        }
        2 if !graph.input.is_empty() => {
            let at = draw.below(graph.input.len());
            graph.input.remove(at);
        }
        3 => {
            let shape = shape(draw);
            let element = draw.element_type();
            graph.input.iter_mut().take(1).for_each(|i| *i = value(i.name(), element, Some(&shape)));
        }
        _ => graph.input.iter_mut().take(1).for_each(|i| i.r#type = None),
    }
}

pub fn graph_outputs(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    let names = known(graph);
    match draw.below(5) {
        0 if !graph.output.is_empty() => {
            let at = draw.below(graph.output.len());
            graph.output.remove(at);
        }
        1 => graph.output.iter_mut().for_each(|o| o.r#type = None),
        2 => graph.output.reverse(),
        // An initializer, an input, an inner value, or one that is an output already.
        _ => {
            let name = draw.name(&names);
            let shape = shape(draw);
            let shape = if draw.chance(30) { Some(&shape[..]) } else { None };
            graph.output.push(value(&name, code(DataType::Float), shape));
        }
    }
}

pub fn metadata(draw: &mut Draw, model: &mut pb::ModelProto) {
    let entry = pb::StringStringEntryProto { key: Some(draw.name(&[])), value: Some(draw.name(&[])) };
    match draw.below(4) {
        0 => model.metadata_props.push(entry),
        1 => model.doc_string = Some(draw.name(&[])),
        2 => model.producer_name = Some(draw.name(&[])),
        _ => model.training_info.push(pb::TrainingInfoProto { algorithm: model.graph.clone(), ..Default::default() }),
    }
}

pub fn declared_shapes(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    let names = known(graph);
    let (name, shape, element) = (draw.name(&names), shape(draw), draw.element_type());
    match draw.chance(50) {
        true => graph.value_info.push(value(&name, element, Some(&shape))),
        false => graph.output.iter_mut().for_each(|o| *o = value(o.name(), element, Some(&shape))),
    }
}
