//! Nodes that tract computes otherwise than ONNX says, said in nodes that both compute alike.
//!
//! What cannot be said so is refused (`screen::fidelity`).

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto, tensor_proto::DataType};

/// What ONNX Runtime adds to a variance where SkipLayerNormalization does not say.
const SKIP_EPSILON: f32 = 1e-12;

/// Rewrites the nodes of `graph`, and of the graphs in it, for a model of this opset.
pub(super) fn rewrite(graph: &mut GraphProto, opset: i64) {
    let mut taken = HashSet::new();
    collect(graph, &mut taken);
    let mut writer = Writer { taken, made: Vec::new() };
    writer.graph(graph, opset);
}

/// All names of values in a graph and the graphs in it.
fn collect(graph: &GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.input.iter().map(|input| input.name.clone()));
    names.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    for node in &graph.node {
        names.extend(node.output.iter().cloned());
        node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).for_each(|inner| collect(inner, names));
    }
}

struct Writer {
    taken: HashSet<String>,
    /// The nodes so far of the graph at hand.
    made: Vec<NodeProto>,
}

impl Writer {
    fn graph(&mut self, graph: &mut GraphProto, opset: i64) {
        let scales: HashMap<String, Vec<f32>> = constants(graph);
        let nodes = std::mem::take(&mut graph.node);
        let around = std::mem::take(&mut self.made);
        for mut node in nodes {
            for attribute in &mut node.attribute {
                attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|inner| self.graph(inner, opset));
            }
            self.node(node, opset, &scales);
        }
        graph.node = std::mem::replace(&mut self.made, around);
    }

    fn node(&mut self, mut node: NodeProto, opset: i64, constants: &HashMap<String, Vec<f32>>) {
        let whole = [&node.input, &node.output].iter().all(|list| list.first().is_some_and(|name| !name.is_empty()));
        match node.op_type.as_str() {
            "LSTM" | "GRU" | "RNN" if text(&node, "direction").eq_ignore_ascii_case(b"reverse") => {
                self.backwards(node, opset);
                return;
            }
            "Celu" if whole => {
                let alpha = float(&node, "alpha").unwrap_or(1.0);
                if alpha != 1.0 {
                    self.celu(&node, alpha);
                    return;
                }
            }
            "Swish" if whole => {
                let alpha = float(&node, "alpha").unwrap_or(1.0);
                if alpha != 1.0 {
                    self.swish(&node, alpha);
                    return;
                }
            }
            "Cast" if whole => self.cast(&mut node),
            "MaxPool" | "AveragePool" => pool(&mut node),
            "Resize" if opset == 10 && matches!(text(&node, "mode"), b"" | b"nearest") => {
                let scales = node.input.get(1).and_then(|name| constants.get(name));
                let down = scales.is_some_and(|scales| scales.iter().any(|&scale| scale < 1.0));
                let mode: &[u8] = if down { b"ceil" } else { b"floor" };
                node.attribute.retain(|attribute| attribute.name != "nearest_mode");
                node.attribute.push(text_attribute("nearest_mode", mode));
            }
            "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" if float(&node, "epsilon").is_none() => {
                node.attribute.push(AttributeProto {
                    name: "epsilon".into(),
                    r#type: attribute_proto::AttributeType::Float as i32,
                    f: SKIP_EPSILON,
                    ..Default::default()
                });
            }
            _ => {}
        }
        self.made.push(node);
    }

    /// A name that no value has, like `name`.
    fn fresh(&mut self, name: &str) -> String {
        let mut fresh = format!("{name}_for_tract");
        while !self.taken.insert(fresh.clone()) {
            fresh.push('_');
        }
        fresh
    }

    /// Adds a node with one output, named like `like`; the output's name.
    fn add(&mut self, op: &str, inputs: &[&str], like: &str, attributes: Vec<AttributeProto>) -> String {
        let output = self.fresh(like);
        self.add_to(op, inputs, &output, attributes);
        output
    }

    fn add_to(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.made.push(NodeProto {
            op_type: op.into(),
            name: format!("{output}_{op}"),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..Default::default()
        });
    }

    fn constant(&mut self, tensor: TensorProto, like: &str) -> String {
        let value = AttributeProto {
            name: "value".into(),
            r#type: attribute_proto::AttributeType::Tensor as i32,
            t: Some(tensor),
            ..Default::default()
        };
        self.add("Constant", &[], like, vec![value])
    }

    /// `alpha` as a float32 without axes.
    fn scalar(&mut self, alpha: f32, like: &str) -> String {
        self.constant(
            TensorProto { data_type: DataType::Float as i32, float_data: vec![alpha], ..Default::default() },
            like,
        )
    }

    /// `alpha`·Elu(x/`alpha`).
    fn celu(&mut self, node: &NodeProto, alpha: f32) {
        let output = &node.output[0];
        let alpha = self.scalar(alpha, output);
        let divided = self.add("Div", &[&node.input[0], &alpha], output, Vec::new());
        let curved = self.add("Elu", &[&divided], output, Vec::new());
        self.add_to("Mul", &[&curved, &alpha], output, Vec::new());
    }

    /// x·Sigmoid(`alpha`·x).
    fn swish(&mut self, node: &NodeProto, alpha: f32) {
        let output = &node.output[0];
        let alpha = self.scalar(alpha, output);
        let scaled = self.add("Mul", &[&node.input[0], &alpha], output, Vec::new());
        let gate = self.add("Sigmoid", &[&scaled], output, Vec::new());
        self.add_to("Mul", &[&node.input[0], &gate], output, Vec::new());
    }

    /// Numbers that a narrow integer cannot hold lose their upper bits, where tract takes the nearest.
    fn cast(&mut self, node: &mut NodeProto) {
        const NARROW: [DataType; 4] = [DataType::Uint8, DataType::Int8, DataType::Uint16, DataType::Int16];
        const UNSIGNED: [DataType; 2] = [DataType::Uint32, DataType::Uint64];
        let Some(to) = node.attribute.iter().find(|attribute| attribute.name == "to").map(|attribute| attribute.i)
        else {
            return;
        };
        let is = |kinds: &[DataType]| kinds.iter().any(|&kind| kind as i64 == to);
        let wide = match (is(&NARROW), is(&UNSIGNED)) {
            (true, _) => DataType::Int32,
            (_, true) => DataType::Int64,
            _ => return,
        };
        node.input[0] = self.add("Cast", &[&node.input[0]], &node.output[0], vec![int_attribute("to", wide as i64)]);
    }

    /// A layer that reads its sequence from the end is the second half of one that reads it both ways. (A sequence turned round
    /// by a Slice is what tract cannot always move through the operators before it.)
    fn backwards(&mut self, mut node: NodeProto, opset: i64) {
        node.attribute.retain(|attribute| attribute.name != "direction");
        node.attribute.push(text_attribute("direction", b"bidirectional"));
        let like = node.output.iter().chain(&node.input).find(|name| !name.is_empty()).cloned().unwrap_or_default();
        for (slot, input) in node.input.iter_mut().enumerate() {
            // Not the sequence, and not the lengths of the sequences.
            if !matches!(slot, 0 | 4) && !input.is_empty() {
                *input = self.add("Concat", &[&*input, &*input], &like, vec![int_attribute("axis", 0)]);
            }
        }
        let mut halves = Vec::new();
        for (slot, output) in node.output.iter_mut().enumerate() {
            if !output.is_empty() {
                let both = self.fresh(output);
                halves.push((both.clone(), std::mem::replace(output, both), i64::from(slot == 0)));
            }
        }
        self.made.push(node);
        for (both, half, axis) in halves {
            let bounds = [("starts", 1), ("ends", 2), ("axes", axis)];
            if opset < 10 {
                let list = |(name, value): (&str, i64)| AttributeProto {
                    name: name.into(),
                    r#type: attribute_proto::AttributeType::Ints as i32,
                    ints: vec![value],
                    ..Default::default()
                };
                self.add_to("Slice", &[&both], &half, bounds.map(list).to_vec());
            } else {
                let [start, end, axis] = bounds.map(|(_, value)| {
                    let values = vec![value];
                    let tensor = TensorProto {
                        data_type: DataType::Int64 as i32,
                        dims: vec![1],
                        int64_data: values,
                        ..Default::default()
                    };
                    self.constant(tensor, &half)
                });
                self.add_to("Slice", &[&both, &start, &end, &axis], &half, Vec::new());
            }
        }
    }
}

/// ONNX Runtime leaves out `pads` beside `auto_pad`, and rounds up where `ceil_mode` says so for VALID too.
fn pool(node: &mut NodeProto) {
    let auto = text(node, "auto_pad");
    if auto.is_empty() || auto == b"NOTSET" {
        return;
    }
    let valid = auto == b"VALID";
    node.attribute.retain(|attribute| attribute.name != "pads" && !(valid && attribute.name == "auto_pad"));
}

fn text<'n>(node: &'n NodeProto, name: &str) -> &'n [u8] {
    node.attribute.iter().find(|attribute| attribute.name == name).map_or(b"", |attribute| attribute.s.as_slice())
}

fn text_attribute(name: &str, value: &[u8]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_proto::AttributeType::String as i32,
        s: value.to_vec(),
        ..Default::default()
    }
}

fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_proto::AttributeType::Int as i32,
        i: value,
        ..Default::default()
    }
}

fn float(node: &NodeProto, name: &str) -> Option<f32> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.f)
}

/// Small constants of float32 by name.
fn constants(graph: &GraphProto) -> HashMap<String, Vec<f32>> {
    let floats = |tensor: &TensorProto| -> Option<Vec<f32>> {
        (tensor.data_type == DataType::Float as i32 && tensor.dims.iter().all(|&dim| (0..=64).contains(&dim)))
            .then_some(())?;
        Some(match tensor.float_data.is_empty() {
            true => tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            false => tensor.float_data.clone(),
        })
    };
    let given = graph.initializer.iter().filter_map(|tensor| Some((tensor.name.clone(), floats(tensor)?)));
    let made = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
        let tensor = node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()?;
        Some((node.output.first()?.clone(), floats(tensor)?))
    });
    given.chain(made).collect()
}
