//! What is changed about a graph before tract sees it, so that tract can run what ONNX permits.

use std::collections::{HashMap, HashSet};

use super::rewrite::rewrite;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType};

/// A value that is measured instead of an output that tract cannot compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// The output.
    pub output: String,
    /// The value that is measured in its place.
    pub value: String,
    /// The operator behind it that tract has not.
    pub operator: String,
    /// What that value says of the output.
    pub likeness: Likeness,
}

/// What a value says of an output that is computed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// The output holds the same, element by element, in another form.
    Same,
    /// An operator that ONNX does not define lies between them.
    Unknown,
    /// The output may be another where the value is nearly the same.
    Another,
}

/// Rows of a table that an input of whole numbers picks from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) input: String,
    pub(super) table: String,
    pub(super) node: String,
    pub(super) rows: usize,
}

/// Operators of which a part that only arranges a model's results has none: behind them is more than a tail.
const NO_TAIL: [&str; 12] = [
    "Attention",
    "Conv",
    "ConvTranspose",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "GRU",
    "Gemm",
    "If",
    "LSTM",
    "Loop",
    "MatMul",
];

/// Operators that change form or type, or every element by itself: what goes in says what comes out. One with several inputs counts
/// only where all others are constant, as the table of a Gather is.
const ARRANGE: [&str; 24] = [
    "ArrayFeatureExtractor",
    "Binarizer",
    "Cast",
    "CastLike",
    "CastMap",
    "Clip",
    "Flatten",
    "Gather",
    "Identity",
    "LabelEncoder",
    "Neg",
    "Relu",
    "Reshape",
    "Round",
    "Scaler",
    "SequenceConstruct",
    "Sigmoid",
    "Squeeze",
    "StringConcat",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
    "ZipMap",
];

/// Operators of ONNX Runtime's own that tract has, or that mean what the standard's of that name do.
const MICROSOFT: [&str; 14] = [
    "BiasGelu",
    "DequantizeLinear",
    "FastGelu",
    "GatherBlockQuantized",
    "Gelu",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuantizeLinear",
    "QuickGelu",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// Gives operators of other domains, and the model's own functions, names that tract does not take for the standard's.
fn name_foreign(graph: &mut GraphProto, functions: &HashSet<(String, String)>) {
    for node in &mut graph.node {
        let own = match node.domain.as_str() {
            "" | "ai.onnx" | "ai.onnx.ml" => true,
            "com.microsoft" => MICROSOFT.contains(&node.op_type.as_str()),
            _ => false,
        };
        if !own || functions.contains(&(node.domain.clone(), node.op_type.clone())) {
            node.op_type = format!("{}.{}", node.domain, node.op_type);
        }
        let inner = node.attribute.iter_mut().flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs));
        inner.for_each(|graph| name_foreign(graph, functions));
    }
}

/// Changes `model` into what tract can run and says what stands for outputs that it cannot compute.
pub(super) fn prepare(model: &mut ModelProto, known: impl Fn(&str) -> bool) -> Vec<StandIn> {
    let standard = |domain: &str| matches!(domain, "" | "ai.onnx");
    let opset = model.opset_import.iter().find(|import| standard(&import.domain)).map_or(0, |import| import.version);
    let Some(graph) = &mut model.graph else { return Vec::new() };
    let functions = model.functions.iter().filter_map(|f| Some((f.domain.clone()?, f.name.clone()?))).collect();
    name_foreign(graph, &functions);
    drop_empty_inputs(graph);
    rewrite(graph, opset);
    let stand_ins = cut_tail(graph, known);
    name_outputs(graph);
    name_nodes(graph);
    stand_ins
}

/// The first node whose operator is not known, and the operator.
pub(super) fn unknown(graph: &GraphProto, known: impl Fn(&str) -> bool) -> Option<(String, String)> {
    let node = graph.node.iter().find(|node| !known(&node.op_type))?;
    let name = [&node.name].into_iter().chain(&node.output).find(|n| !n.is_empty()).cloned();
    Some((name.unwrap_or_default(), node.op_type.clone()))
}

/// Optional inputs at the end that are given as "" are left out: it is the same, and tract counts inputs.
fn drop_empty_inputs(graph: &mut GraphProto) {
    for node in &mut graph.node {
        while node.input.last().is_some_and(String::is_empty) {
            node.input.pop();
        }
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().for_each(drop_empty_inputs);
            attribute.graphs.iter_mut().for_each(drop_empty_inputs);
        }
    }
}

/// An output that is a graph input, an initializer or another output too gets a node and a name of its own: tract keeps one
/// shape for both, and forgets the input's.
fn name_outputs(graph: &mut GraphProto) {
    let mut taken: HashSet<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    taken.extend(graph.initializer.iter().map(|i| i.name.clone()));
    let mut names: HashSet<String> = graph.node.iter().flat_map(|n| n.output.iter().cloned()).collect();
    names.extend(taken.iter().cloned());
    for output in &mut graph.output {
        if taken.insert(output.name.clone()) {
            continue;
        }
        let mut name = format!("{}_output", output.name);
        while !names.insert(name.clone()) {
            name.push('_');
        }
        graph.node.push(NodeProto {
            op_type: "Identity".into(),
            name: name.clone(),
            input: vec![std::mem::replace(&mut output.name, name.clone())],
            output: vec![name.clone()],
            ..Default::default()
        });
        taken.insert(name);
    }
}

/// Names of nodes mean nothing in ONNX and may repeat, or be those of other values; tract refuses some graphs where they do.
fn name_nodes(graph: &mut GraphProto) {
    let mut taken: HashSet<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    taken.extend(graph.initializer.iter().map(|i| i.name.clone()));
    let mut counts: HashMap<String, usize> = HashMap::new();
    for node in graph.node.iter_mut().filter(|node| !node.name.is_empty()) {
        let name = node.name.clone();
        let count = counts.entry(name.clone()).or_insert(1);
        while !taken.insert(node.name.clone()) {
            *count += 1;
            node.name = format!("{name} ({count})");
        }
    }
}

/// Takes nodes off the end that tract has no operator for, and everything behind them, where they only arrange results (a
/// classifier's labels by name, say). An output behind them becomes the computed value that feeds them.
fn cut_tail(graph: &mut GraphProto, known: impl Fn(&str) -> bool) -> Vec<StandIn> {
    let texts: HashSet<&str> =
        graph.initializer.iter().filter(|t| t.data_type == DataType::String as i32).map(|t| t.name.as_str()).collect();
    // Values that cannot be computed, and the operator at fault.
    let mut lost: HashMap<&str, &str> = HashMap::new();
    let constants: HashSet<&str> = graph.initializer.iter().map(|i| i.name.as_str()).collect();
    let mut computed: HashSet<&str> =
        graph.input.iter().map(|i| i.name.as_str()).filter(|name| !constants.contains(name)).collect();
    let inputs = computed.clone();
    let mut producer: HashMap<&str, &NodeProto> = HashMap::new();
    for node in &graph.node {
        let own = !known(&node.op_type) || makes_text(node) || node.input.iter().any(|i| texts.contains(i.as_str()));
        let behind = node.input.iter().find_map(|i| lost.get(i.as_str()).copied());
        let depends = node.input.iter().any(|i| computed.contains(i.as_str()));
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            producer.insert(output, node);
            if let Some(operator) = behind.or(own.then_some(node.op_type.as_str())) {
                lost.insert(output, operator);
            } else if depends {
                computed.insert(output);
            }
        }
    }
    if lost.is_empty() {
        return Vec::new();
    }
    let weights: HashSet<&str> = graph.initializer.iter().filter(|t| is_matrix(t)).map(|t| t.name.as_str()).collect();
    let is_lost = |node: &NodeProto| node.output.iter().any(|o| lost.contains_key(o.as_str()));
    let is_layer = |node: &NodeProto| {
        NO_TAIL.contains(&node.op_type.as_str()) || node.input.iter().any(|i| weights.contains(i.as_str()))
    };
    if graph.node.iter().any(|node| is_lost(node) && is_layer(node)) || texts_are_outputs(graph) {
        return Vec::new();
    }
    let mut stand_ins = Vec::new();
    for output in &graph.output {
        let Some(operator) = lost.get(output.name.as_str()) else { continue };
        let feeds = nearest(&output.name, &producer, |value| {
            !lost.contains_key(value) && computed.contains(value) && !inputs.contains(value)
        });
        let Some(value) = feeds else { return Vec::new() };
        let varies = |value: &str| computed.contains(value) || lost.contains_key(value);
        stand_ins.push(StandIn {
            output: output.name.clone(),
            value: value.to_owned(),
            operator: (*operator).to_owned(),
            likeness: likeness(&output.name, value, &producer, varies),
        });
    }
    let lost: HashSet<String> = lost.into_keys().map(str::to_owned).collect();
    let texts: HashSet<String> = texts.into_iter().map(str::to_owned).collect();
    graph.node.retain(|node| !node.output.iter().any(|o| lost.contains(o)));
    graph.initializer.retain(|t| !texts.contains(&t.name));
    for stand_in in &stand_ins {
        if let Some(output) = graph.output.iter_mut().find(|o| o.name == stand_in.output) {
            output.name.clone_from(&stand_in.value);
            output.r#type = None;
        }
    }
    stand_ins
}

/// What `value` says of `output`, which is computed from it; `varies` tells what depends on the model's inputs.
fn likeness(
    output: &str,
    value: &str,
    producer: &HashMap<&str, &NodeProto>,
    varies: impl Fn(&str) -> bool,
) -> Likeness {
    let mut at = output;
    // A graph has no circles; one that has is not followed for ever.
    for _ in 0..=producer.len() {
        if at == value {
            return Likeness::Same;
        }
        let Some(node) = producer.get(at) else { return Likeness::Another };
        let is_defined = matches!(node.domain.as_str(), "" | "ai.onnx" | "ai.onnx.ml");
        let mut from = node.input.iter().filter(|input| !input.is_empty() && varies(input));
        match (from.next(), from.next()) {
            (Some(input), None) if is_defined && ARRANGE.contains(&node.op_type.as_str()) => at = input,
            _ if is_defined => return Likeness::Another,
            _ => return Likeness::Unknown,
        }
    }
    Likeness::Another
}

/// Whether a constant is a matrix of numbers, as weights are.
fn is_matrix(tensor: &TensorProto) -> bool {
    tensor.data_type != DataType::String as i32 && tensor.dims.iter().filter(|&&d| d > 1).count() > 1
}

fn texts_are_outputs(graph: &GraphProto) -> bool {
    let text = |name: &str| graph.initializer.iter().any(|t| t.name == name && t.data_type == DataType::String as i32);
    graph.output.iter().any(|o| text(&o.name))
}

/// Whether a node's results are texts.
fn makes_text(node: &NodeProto) -> bool {
    let attribute = |key: &str| node.attribute.iter().find(|a| a.name == key);
    match node.op_type.as_str() {
        "Cast" => attribute("to").is_some_and(|a| a.i == DataType::String as i64),
        "Constant" => {
            attribute("value_string").is_some()
                || attribute("value_strings").is_some()
                || attribute("value").and_then(|a| a.t.as_ref()).is_some_and(|t| t.data_type == DataType::String as i32)
        }
        _ => false,
    }
}

/// The value nearest to `from` on the way to the inputs that `is` accepts.
fn nearest<'g>(
    from: &'g str,
    producer: &HashMap<&'g str, &'g NodeProto>,
    is: impl Fn(&str) -> bool,
) -> Option<&'g str> {
    let mut seen = HashSet::new();
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(value) = queue.pop_front() {
        if is(value) {
            return Some(value);
        }
        if seen.insert(value)
            && let Some(node) = producer.get(value)
        {
            queue.extend(node.input.iter().map(String::as_str).filter(|i| !i.is_empty()));
        }
    }
    None
}

/// The tables whose rows are picked by an input, directly or after a change of type or shape.
pub(super) fn tables(graph: &GraphProto) -> Vec<Table> {
    let rows: HashMap<&str, usize> = graph
        .initializer
        .iter()
        .filter_map(|t| Some((t.name.as_str(), usize::try_from(*t.dims.first()?).ok()?)))
        .collect();
    let mut input: HashMap<&str, &str> = graph.input.iter().map(|i| (i.name.as_str(), i.name.as_str())).collect();
    let mut tables = Vec::new();
    for node in &graph.node {
        let [first, rest @ ..] = node.input.as_slice() else { continue };
        match node.op_type.as_str() {
            "Cast" | "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Transpose" | "Unsqueeze" => {
                if let (Some(from), [output]) = (input.get(first.as_str()).copied(), node.output.as_slice()) {
                    input.insert(output, from);
                }
            }
            "Gather" if first_axis(&node.attribute) => {
                let Some(from) = rest.first().and_then(|i| input.get(i.as_str())) else { continue };
                let Some(&rows) = rows.get(first.as_str()) else { continue };
                tables.push(Table { input: (*from).to_owned(), table: first.clone(), node: node.name.clone(), rows });
            }
            _ => {}
        }
    }
    tables
}

fn first_axis(attributes: &[AttributeProto]) -> bool {
    attributes.iter().find(|a| a.name == "axis").is_none_or(|a| a.i == 0)
}
