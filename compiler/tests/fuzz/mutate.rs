//! Changes of a model, each by structure, and of the bytes of a file.

use adntn_onnx::pb;
use pb::tensor_proto::{DataLocation, DataType};
use prost::Message as _;

use super::build::int64s;
use super::common::tensor;
use super::draw::{Draw, code};
use super::{interface, wrap};

/// One change; it may find nothing to do.
type Mutation = fn(&mut Draw, &mut pb::ModelProto);

/// All of them, by name.
const MUTATIONS: &[(&str, Mutation)] = &[
    ("dims of a tensor", tensor_dims),
    ("values of a tensor", tensor_values),
    ("values of a tensor", tensor_values),
    ("type of a tensor", tensor_type),
    ("length of data", tensor_length),
    ("external data", external_data),
    ("sparse initializer", sparse_initializer),
    ("an attribute", attribute),
    ("an attribute", attribute),
    ("attributes swapped", swap_attributes),
    ("inputs of a node", node_inputs),
    ("outputs of a node", node_outputs),
    ("another operator", wrap::swap_operator),
    ("another operator", wrap::swap_operator),
    ("nodes", nodes),
    ("a chain", wrap::chain),
    ("a chain", wrap::chain),
    ("a name", names),
    ("versions", interface::versions),
    ("graph inputs", interface::graph_inputs),
    ("graph inputs", interface::graph_inputs),
    ("graph outputs", interface::graph_outputs),
    ("graph outputs", interface::graph_outputs),
    ("a body", wrap::body),
    ("a function", wrap::function),
    ("metadata", interface::metadata),
    ("declared shapes", interface::declared_shapes),
];

/// Makes a few changes and says which.
pub fn mutate(draw: &mut Draw, model: &mut pb::ModelProto, count: usize) -> Vec<&'static str> {
    let change = |_| {
        let (name, mutation) = draw.pick(MUTATIONS);
        mutation(draw, model);
        name
    };
    (0..count).map(change).collect()
}

/// Cuts, flips, doubles or joins bytes.
pub fn bytes(draw: &mut Draw, data: &mut Vec<u8>, other: &[u8]) {
    if data.is_empty() {
        return;
    }
    let at = draw.below(data.len());
    match draw.below(6) {
        0 => data.truncate(at),
        1 => data[at] ^= 1 << draw.below(8),
        2 => (0..1 + draw.below(8)).for_each(|_| {
            let at = draw.below(data.len());
            data[at] = draw.byte();
        }),
        3 => {
            let piece = data[at..(at + 1 + draw.below(64)).min(data.len())].to_vec();
            let to = draw.below(data.len());
            data.splice(to..to, piece);
        }
        4 => {
            let end = (at + draw.below(64)).min(data.len());
            data.drain(at..end);
        }
        _ if other.is_empty() => data.extend([0; 16]),
        _ => {
            let from = draw.below(other.len());
            data.truncate(at);
            data.extend(&other[from..]);
        }
    }
}

/// The main graph.
pub fn graph(model: &mut pb::ModelProto) -> &mut pb::GraphProto {
    model.graph.get_or_insert_default()
}

/// Every name of a value in the main graph.
pub fn known(graph: &pb::GraphProto) -> Vec<String> {
    let mut names: Vec<String> = graph.initializer.iter().map(|t| t.name().to_owned()).collect();
    names.extend(graph.input.iter().map(|i| i.name().to_owned()));
    names.extend(graph.node.iter().flat_map(|n| n.output.iter().cloned()));
    names
}

fn pick_tensor<'a>(draw: &mut Draw, model: &'a mut pb::ModelProto) -> Option<&'a mut pb::TensorProto> {
    let graph = graph(model);
    let constants = graph.node.iter_mut().flat_map(|n| n.attribute.iter_mut().filter_map(|a| a.t.as_mut()));
    let mut tensors: Vec<_> = graph.initializer.iter_mut().chain(constants).collect();
    let at = draw.below(tensors.len());
    (!tensors.is_empty()).then(|| tensors.swap_remove(at))
}

pub fn pick_node<'a>(draw: &mut Draw, model: &'a mut pb::ModelProto) -> Option<&'a mut pb::NodeProto> {
    let nodes = &mut graph(model).node;
    let at = draw.below(nodes.len());
    nodes.get_mut(at)
}

fn tensor_dims(draw: &mut Draw, model: &mut pb::ModelProto) {
    let Some(tensor) = pick_tensor(draw, model) else { return };
    let at = draw.below(tensor.dims.len());
    match draw.below(6) {
        0 => tensor.dims.reverse(),
        1 => tensor.dims.insert(at, 1),
        2 if !tensor.dims.is_empty() => drop(tensor.dims.remove(at)),
        3 => tensor.dims = vec![tensor.dims.iter().fold(1i64, |a, &b| a.wrapping_mul(b))],
        4 => tensor.dims.push(draw.int()),
        _ if !tensor.dims.is_empty() => tensor.dims[at] = draw.int(),
        _ => {}
    }
}

fn tensor_values(draw: &mut Draw, model: &mut pb::ModelProto) {
    let Some(tensor) = pick_tensor(draw, model) else { return };
    if tensor.data_type() != code(DataType::Float) {
        tensor.int64_data.iter_mut().for_each(|v| *v = if draw.chance(50) { draw.int() } else { *v });
        return;
    }
    let raw = tensor.raw_data.take().unwrap_or_default();
    let mut values: Vec<f32> = raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    values.append(&mut tensor.float_data);
    let number = draw.float();
    match draw.below(5) {
        0 => values.iter_mut().for_each(|v| *v *= number),
        1 => values.iter_mut().for_each(|v| *v = number),
        2 => {
            let at = draw.below(values.len());
            values.iter_mut().skip(at).take(1).for_each(|v| *v = number);
        }
        3 => values.iter_mut().for_each(|v| *v = draw.unit()),
        _ => values.iter_mut().step_by(3).for_each(|v| *v *= number),
    }
    match draw.chance(80) {
        true => tensor.raw_data = Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()),
        false => tensor.float_data = values,
    }
}

fn tensor_type(draw: &mut Draw, model: &mut pb::ModelProto) {
    let element = draw.element_type();
    if let Some(tensor) = pick_tensor(draw, model) {
        tensor.data_type = Some(element);
    }
}

fn tensor_length(draw: &mut Draw, model: &mut pb::ModelProto) {
    let Some(tensor) = pick_tensor(draw, model) else { return };
    let mut data = tensor.raw_data.take().unwrap_or_default().to_vec();
    match draw.below(4) {
        0 => data.truncate(data.len() / 2),
        1 => data.extend([0; 4]),
        2 => data.clear(),
        _ => tensor.float_data.push(1.0),
    }
    tensor.raw_data = Some(data.into());
}

/// The file `side.bin` is beside every model (64 KiB).
fn external_data(draw: &mut Draw, model: &mut pb::ModelProto) {
    let Some(tensor) = pick_tensor(draw, model) else { return };
    let entry = |key: &str, value: String| pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    let size = tensor.dims.iter().fold(4i64, |a, &b| a.wrapping_mul(b));
    let places = ["side.bin", "./side.bin", "../side.bin", "/dev/zero", "", "in.onnx", "nothing.bin", "out.onnx.data"];
    let place = if draw.chance(70) { "side.bin" } else { draw.pick(&places) };
    let offset = if draw.chance(60) { 256 } else { draw.int() };
    let length = if draw.chance(70) { size } else { draw.int() };
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![entry("location", place.into())];
    if draw.chance(80) {
        tensor.external_data.push(entry("offset", offset.to_string()));
    }
    if draw.chance(80) {
        tensor.external_data.push(entry("length", length.to_string()));
    }
    if draw.chance(10) {
        tensor.external_data.push(entry("checksum", "x".into()));
    }
}

fn sparse_initializer(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    let (rows, columns) = (draw.extent(), draw.extent());
    let count = draw.below(4);
    let mut places: Vec<i64> = (0..count).map(|_| draw.below((rows * columns) as usize) as i64).collect();
    if draw.chance(80) {
        places.sort_unstable();
        places.dedup();
    } else {
        places.push(draw.int());
    }
    let name = draw.name(&known(graph));
    graph.sparse_initializer.push(pb::SparseTensorProto {
        values: Some(tensor(&name, &[places.len() as i64], &vec![1.0; places.len()])),
        indices: Some(int64s("places", &places)),
        dims: vec![rows, columns],
    });
}

fn attribute(draw: &mut Draw, model: &mut pb::ModelProto) {
    let Some(node) = pick_node(draw, model) else { return };
    let at = draw.below(node.attribute.len());
    let Some(attribute) = node.attribute.get_mut(at) else { return };
    match draw.below(8) {
        0 => drop(node.attribute.remove(at)),
        1 => attribute.r#type = Some(draw.below(16) as i32),
        2 => attribute.name = Some(draw.name(&[])),
        3 => attribute.ints.push(draw.int()),
        _ => {
            attribute.i = attribute.i.map(|_| draw.int());
            attribute.f = attribute.f.map(|_| draw.float());
            attribute.s = attribute.s.as_ref().map(|_| draw.name(&[]).into_bytes().into());
            let at = draw.below(attribute.ints.len());
            attribute.ints.iter_mut().skip(at).take(1).for_each(|v| *v = draw.int());
            attribute.floats.iter_mut().for_each(|v| *v = draw.float());
        }
    }
}

fn swap_attributes(draw: &mut Draw, model: &mut pb::ModelProto) {
    let Some(attributes) = pick_node(draw, model).map(|n| std::mem::take(&mut n.attribute)) else { return };
    if let Some(node) = pick_node(draw, model) {
        node.attribute.extend(attributes);
    }
}

fn node_inputs(draw: &mut Draw, model: &mut pb::ModelProto) {
    let names = known(graph(model));
    let name = draw.name(&names);
    let Some(node) = pick_node(draw, model) else { return };
    let at = draw.below(node.input.len());
    match draw.below(6) {
        0 => node.input.reverse(),
        1 if !node.input.is_empty() => drop(node.input.remove(at)),
        2 => node.input.push(name),
        3 => node.input.push(String::new()),
        4 if !node.input.is_empty() => node.input[at] = String::new(),
        _ if !node.input.is_empty() => node.input[at] = name,
        _ => {}
    }
}

fn node_outputs(draw: &mut Draw, model: &mut pb::ModelProto) {
    let names = known(graph(model));
    let name = draw.name(&names);
    let Some(node) = pick_node(draw, model) else { return };
    match draw.below(4) {
        0 => node.output.clear(),
        1 => node.output.push(name),
        2 => node.output.insert(0, String::new()),
        _ => node.output = vec![name],
    }
}

fn nodes(draw: &mut Draw, model: &mut pb::ModelProto) {
    let nodes = &mut graph(model).node;
    if nodes.is_empty() {
        return;
    }
    let (at, to) = (draw.below(nodes.len()), draw.below(nodes.len()));
    match draw.below(3) {
        0 => drop(nodes.remove(at)),
        1 => nodes.swap(at, to),
        _ => {
            let mut copy = nodes[at].clone();
            if draw.chance(80) {
                copy.output.iter_mut().for_each(|o| o.push_str("_again"));
            }
            nodes.insert(to, copy);
        }
    }
}

fn names(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    let names = known(graph);
    let (old, new) = (draw.name(&names), draw.name(&names));
    match draw.below(4) {
        // Everywhere, so that the model still works.
        0 | 1 => {
            let change = |name: &mut String| {
                if *name == old {
                    name.clone_from(&new);
                }
            };
            graph.node.iter_mut().for_each(|n| n.input.iter_mut().chain(&mut n.output).for_each(change));
            graph.initializer.iter_mut().filter_map(|t| t.name.as_mut()).for_each(change);
            graph.input.iter_mut().chain(&mut graph.output).filter_map(|v| v.name.as_mut()).for_each(change);
        }
        2 => graph.name = Some(new),
        _ => {
            let at = draw.below(graph.node.len());
            graph.node.iter_mut().skip(at).take(1).for_each(|n| n.name = Some(new.clone()));
        }
    }
}

/// The file of a model.
pub fn encode(model: &pb::ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}
