//! Changes of a model that need operators: other ones, chains of them, bodies and functions.

use adntn_onnx::pb;
use pb::tensor_proto::DataType;

use super::build::{float, int, int64s, ints, string, subgraph, value};
use super::common::{node, tensor};
use super::draw::{Draw, code};
use super::mutate::{graph, known, pick_node};

/// Standard operators, one word each.
const OPERATORS: &str = "\
    Abs Add ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat ConstantOfShape Conv ConvTranspose CumSum \
    DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand Flatten GRU Gather GatherND Gelu \
    Gemm GlobalAveragePool HardSwish Identity InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Log \
    LogSoftmax MatMul Max MaxPool Mod Mul Neg NonZero OneHot PRelu Pad Pow RandomNormalLike Range ReduceMean \
    ReduceSum Relu Reshape Resize ScatterND Shape Sigmoid Slice Softmax Split Squeeze Tile TopK";

fn operator(draw: &mut Draw) -> &'static str {
    let operators: Vec<&str> = OPERATORS.split(' ').collect();
    draw.pick(&operators)
}

/// Attributes of one or the other operator, plausible or on an edge.
fn attribute(draw: &mut Draw) -> pb::AttributeProto {
    let edge = draw.chance(25);
    let number = |draw: &mut Draw| if edge { draw.int() } else { draw.pick(&[0, 1, 1, 2, 3, -1]) };
    match draw.below(12) {
        0 => int("axis", number(draw)),
        1 => ints("axes", &[number(draw)]),
        2 => ints("perm", &[number(draw), number(draw)]),
        3 => ints("kernel_shape", &[number(draw), number(draw)]),
        4 => ints("pads", &[number(draw), number(draw), number(draw), number(draw)]),
        5 => ints("strides", &[number(draw), number(draw)]),
        6 => ints("dilations", &[number(draw), number(draw)]),
        7 => int("group", number(draw)),
        8 => {
            let name = draw.pick(&["alpha", "beta", "epsilon", "value"]);
            float(name, if edge { draw.float() } else { 0.5 })
        }
        9 => int(
            draw.pick(&["keepdims", "transA", "transB", "to", "blocksize", "num_outputs", "hidden_size"]),
            number(draw),
        ),
        10 => string("mode", draw.pick(&["constant", "reflect", "edge", "nearest", "linear", "fan_in", "DCR", ""])),
        _ => string(
            draw.pick(&["auto_pad", "equation"]),
            draw.pick(&["SAME_UPPER", "VALID", "ij,jk->ik", "ii->", "...->"]),
        ),
    }
}

/// A small second operand: numbers, integers, or a value of the model.
fn operand(draw: &mut Draw, graph: &mut pb::GraphProto) -> String {
    let name = format!("operand{}", graph.initializer.len());
    let constant = match draw.below(4) {
        0 => {
            let known = known(graph);
            return draw.name(&known);
        }
        1 => {
            let count = draw.below(5);
            let values: Vec<i64> =
                (0..count).map(|_| if draw.chance(20) { draw.int() } else { draw.pick(&[-1, 0, 1, 2, 8]) }).collect();
            int64s(&name, &values)
        }
        2 => tensor(&name, &[], &[draw.float()]),
        _ => tensor(&name, &[1, 1], &[draw.unit()]),
    };
    graph.initializer.push(constant);
    name
}

pub fn swap_operator(draw: &mut Draw, model: &mut pb::ModelProto) {
    let (op, extra) = (operator(draw), draw.below(3));
    let attributes: Vec<_> = (0..extra).map(|_| attribute(draw)).collect();
    if let Some(node) = pick_node(draw, model) {
        node.op_type = Some(op.into());
        if draw.chance(50) {
            node.attribute.clear();
        }
        node.attribute.extend(attributes);
    }
}

/// Puts one to four operators between a node and what reads it.
pub fn chain(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    let names = known(graph);
    if names.is_empty() {
        return;
    }
    let (at, from) = (draw.below(graph.node.len() + 1), draw.pick(&names));
    let mut last = from.clone();
    let mut added = Vec::new();
    for step in 0..1 + draw.below(4) {
        let safe = draw.chance(60);
        let op = if safe {
            draw.pick(&["Relu", "Identity", "Neg", "Tanh", "Sigmoid", "Softmax", "Abs", "Mul", "Add", "Exp", "Dropout"])
        } else {
            operator(draw)
        };
        let output = format!("chain{}-{step}", graph.node.len());
        let mut inputs = vec![last.clone()];
        if matches!(op, "Mul" | "Add") || !safe {
            inputs.push(operand(draw, graph));
        }
        if !safe && draw.chance(40) {
            inputs.push(operand(draw, graph));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut made = node(op, &output, &inputs, &output);
        if !safe {
            made.attribute = (0..draw.below(3)).map(|_| attribute(draw)).collect();
        }
        added.push(made);
        last = output;
    }
    for reader in graph.node.iter_mut().skip(at) {
        reader.input.iter_mut().filter(|i| **i == from).for_each(|i| i.clone_from(&last));
    }
    graph.node.splice(at..at, added);
    if draw.chance(30) {
        graph.output.push(value(&last, code(DataType::Float), None));
    }
}

/// Moves a node into both branches of an If, or into the body of a Loop.
pub fn body(draw: &mut Draw, model: &mut pb::ModelProto) {
    let graph = graph(model);
    if graph.node.is_empty() {
        return;
    }
    let at = draw.below(graph.node.len());
    let inner = graph.node[at].clone();
    let mut branch = pb::GraphProto { name: Some("branch".into()), node: vec![inner.clone()], ..Default::default() };
    // Names of a body are seen outside by nobody, but must not hide those around it.
    branch.node[0].output.iter_mut().for_each(|o| o.push_str("_inside"));
    branch.output = branch.node[0].output.iter().map(|o| value(o, code(DataType::Float), None)).collect();
    let mut outer = inner.clone();
    if draw.chance(70) {
        let condition = pb::TensorProto {
            name: Some("condition".into()),
            data_type: Some(code(DataType::Bool)),
            int32_data: vec![1],
            ..Default::default()
        };
        outer = pb::NodeProto { input: vec!["condition".into()], op_type: Some("If".into()), ..outer };
        outer.attribute = vec![subgraph("then_branch", branch.clone()), subgraph("else_branch", branch)];
        graph.initializer.push(condition);
    } else {
        let bool_scalar = |name: &str| value(name, code(DataType::Bool), Some(&[]));
        branch.input = vec![value("step", code(DataType::Int64), Some(&[])), bool_scalar("go")];
        branch.node.push(node("Identity", "on", &["go"], "goes"));
        branch.output.insert(0, bool_scalar("goes"));
        let count = if draw.chance(70) { 2 } else { draw.int() };
        graph.initializer.push(pb::TensorProto { dims: vec![], ..int64s("trips", &[count]) });
        outer = pb::NodeProto { input: vec!["trips".into(), String::new()], op_type: Some("Loop".into()), ..outer };
        outer.attribute = vec![subgraph("body", branch)];
    }
    graph.node[at] = outer;
}

/// Makes a node a call of a local function with that node in it.
pub fn function(draw: &mut Draw, model: &mut pb::ModelProto) {
    let opsets = model.opset_import.clone();
    let Some(node) = pick_node(draw, model) else { return };
    let inner = node.clone();
    let (name, domain) = (draw.pick(&["Inner", "Relu", ""]), draw.pick(&["local", "", "com.microsoft"]));
    node.op_type = Some(name.into());
    node.domain = Some(domain.into());
    node.attribute.clear();
    model.functions.push(pb::FunctionProto {
        name: Some(name.into()),
        domain: Some(domain.into()),
        input: inner.input.clone(),
        output: inner.output.clone(),
        opset_import: opsets,
        node: vec![inner],
        ..Default::default()
    });
    model.opset_import.push(pb::OperatorSetIdProto { domain: Some(domain.into()), version: Some(1) });
}
