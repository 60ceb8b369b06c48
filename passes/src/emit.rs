//! Writes a lowered generator as ONNX nodes and initializers.
//!
//! Everything is named `{layer}/{topology}/{part}/{op}` and tagged with the pass and the layer. The ops are valid from opset 7 on
//! and follow the model's own opset. Models of IR version 3 and older would need every initializer listed as a graph input;
//! they get Constant nodes instead, and those before opset 9, where a Constant is a float, a Cast behind each shape.

use std::collections::{BTreeMap, BTreeSet};

use adntn_families::scale_of_bytes;
use adntn_onnx::{Model, Patch, pb};
use bytes::Bytes;
use half::f16;
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;

use crate::lowering::{Op, Program, Step, Value};

/// Metadata key that names the pass which made a node.
pub(crate) const PASS_KEY: &str = "adntn.pass";
/// The pass that puts a generator in the place of a weight.
pub(crate) const GENERATOR_PASS: &str = "replace_by_generator";
/// Metadata key that names the layer a node belongs to.
pub(crate) const LAYER_KEY: &str = "adntn.layer";

/// First opset in which Split takes its lengths as an input.
const SPLIT_INPUT_OPSET: i64 = 13;
/// First opset in which Slice takes its bounds as inputs.
const SLICE_INPUTS_OPSET: i64 = 10;
/// First opset whose Constant may hold integers.
const INTEGER_CONSTANT_OPSET: i64 = 9;
/// First IR version in which initializers need not be graph inputs.
const FREE_INITIALIZERS_IR: i64 = 4;

/// Below so many elements a Cast node takes more bytes than float16 saves.
const MIN_HALF_ELEMENTS: usize = 128;

/// Appends things under one layer's prefix to a patch.
pub(crate) struct Emitter<'a> {
    patch: &'a mut Patch,
    layer: &'a str,
    pass: &'static str,
    prefix: String,
    before: usize,
    opset: i64,
    constants_as_nodes: bool,
    /// Whether nodes have a name and say which pass and layer they are from. Those that layers share do without: it is a good
    /// part of what a small file spends on them, and the names of their values tell.
    pub(crate) is_described: bool,
    names: BTreeSet<String>,
    /// Names of the int64 vectors written so far, by kind and content.
    vectors: BTreeMap<(&'static str, Vec<i64>), String>,
}

impl<'a> Emitter<'a> {
    /// Nodes go before node `before` of the unedited graph.
    pub(crate) fn new(
        model: &Model,
        patch: &'a mut Patch,
        pass: &'static str,
        layer: &'a str,
        part: &str,
        before: usize,
    ) -> Self {
        Self {
            patch,
            layer,
            pass,
            prefix: format!("{layer}/{part}/"),
            before,
            opset: model.opset(),
            constants_as_nodes: model.proto().ir_version() < FREE_INITIALIZERS_IR,
            is_described: true,
            names: BTreeSet::new(),
            vectors: BTreeMap::new(),
        }
    }

    /// Writes the whole program; returns the name of its result, which is `{prefix}weight`.
    pub(crate) fn program(&mut self, program: &Program) -> String {
        let result = self.unique("weight");
        let mut constants: Vec<Option<String>> = vec![None; program.constants.len()];
        let mut steps: Vec<String> = Vec::with_capacity(program.steps.len());
        for (at, step) in program.steps.iter().enumerate() {
            // Cores are written where they are first read, so that the file reads in the order of the program.
            let mut inputs = Vec::with_capacity(step.inputs.len() + 1);
            for &value in &step.inputs {
                inputs.push(match value {
                    Value::Step(from) => steps[from].clone(),
                    Value::Constant(from) => match &constants[from] {
                        Some(name) => name.clone(),
                        None => {
                            let core = &program.constants[from];
                            let name = self.core(&core.label, &core.shape, &core.data);
                            constants[from] = Some(name.clone());
                            name
                        }
                    },
                });
            }
            let output = (program.result == Value::Step(at)).then_some(result.as_str());
            let shape = program.shape(program.steps[at].inputs[0]).to_vec();
            steps.push(self.step(step, inputs, &shape, output));
        }
        if let Value::Constant(at) = program.result {
            let core = &program.constants[at];
            let tensor = float_tensor(&result, &core.shape, &core.data);
            self.constant(tensor);
        }
        result
    }

    /// Writes a core; returns the name of its float32 value.
    ///
    /// A core whose values are all float16 numbers is stored as such behind a Cast, which runtimes fold, when that takes
    /// fewer bytes; so is one in 8 bits behind a Cast and a Mul.
    fn core(&mut self, label: &str, shape: &[usize], data: &[f32]) -> String {
        if let Some(scale) = scale_of_bytes(data) {
            let digits: Vec<u8> = data.iter().map(|x| (x / scale).round() as i8 as u8).collect();
            let digits = self.bytes(&format!("{label}/int8"), DataType::Int8, shape, digits);
            let is_described = std::mem::replace(&mut self.is_described, false);
            let number = self.cast_to_float(&format!("{label}/number"), digits);
            let scale = self.floats(&format!("{label}/scale"), &[], &[scale]);
            let name = self.named_node(label, "Mul", vec![number, scale], Vec::new());
            self.is_described = is_described;
            return name;
        }
        if data.len() < MIN_HALF_ELEMENTS || data.iter().any(|&x| f16::from_f32(x).to_f32() != x) {
            return self.floats(label, shape, data);
        }
        let half = self.unique(&format!("{label}/half"));
        let raw = bytes(data.iter().map(|&x| f16::from_f32(x).to_le_bytes()));
        self.constant(raw_tensor(&half, DataType::Float16, shape, raw));
        let name = self.unique(label);
        self.cast(half, name.clone(), DataType::Float);
        name
    }

    fn cast(&mut self, from: String, to: String, dtype: DataType) {
        self.node(pb::NodeProto {
            name: Some(to.clone()),
            op_type: Some("Cast".to_owned()),
            input: vec![from],
            output: vec![to],
            attribute: vec![int_attribute("to", dtype as i64)],
            ..Default::default()
        });
    }

    /// Writes a float32 constant; returns its name.
    pub(crate) fn floats(&mut self, label: &str, shape: &[usize], data: &[f32]) -> String {
        let name = self.unique(label);
        let tensor = float_tensor(&name, shape, data);
        self.constant(tensor);
        name
    }

    fn step(&mut self, step: &Step, mut inputs: Vec<String>, from: &[usize], output: Option<&str>) -> String {
        let mut attributes = Vec::new();
        let op = match &step.op {
            Op::Reshape => {
                let dims: Vec<i64> = step.shape.iter().map(|&d| d as i64).collect();
                inputs.push(self.vector("shape", dims));
                "Reshape"
            }
            Op::MatMul => "MatMul",
            Op::Transpose(order) => {
                attributes.push(ints_attribute("perm", order.iter().map(|&a| a as i64).collect()));
                "Transpose"
            }
            Op::Slice => {
                let axes: Vec<usize> = (0..from.len()).filter(|&a| step.shape[a] != from[a]).collect();
                let starts = vec![0; axes.len()];
                let ends = axes.iter().map(|&a| step.shape[a] as i64).collect();
                let axes = axes.iter().map(|&a| a as i64).collect();
                if self.opset < SLICE_INPUTS_OPSET {
                    attributes.push(ints_attribute("axes", axes));
                    attributes.push(ints_attribute("ends", ends));
                    attributes.push(ints_attribute("starts", starts));
                } else {
                    for bounds in [starts, ends, axes] {
                        inputs.push(self.vector("index", bounds));
                    }
                }
                "Slice"
            }
            Op::Multiply => "Mul",
            Op::Activation { op, alpha } => {
                attributes.extend(alpha.map(|alpha| pb::AttributeProto {
                    name: Some("alpha".to_owned()),
                    r#type: Some(AttributeType::Float as i32),
                    f: Some(alpha),
                    ..Default::default()
                }));
                op
            }
        };
        let name = self.unique(&format!("{}/{op}", step.label));
        let output = output.map_or_else(|| name.clone(), str::to_owned);
        self.node(pb::NodeProto {
            name: Some(name),
            op_type: Some(op.to_owned()),
            input: inputs,
            output: vec![output.clone()],
            attribute: attributes,
            ..Default::default()
        });
        output
    }

    /// An int64 vector under `{kind}/{dims joined by x}`; equal ones of one kind are written once.
    fn vector(&mut self, kind: &'static str, values: Vec<i64>) -> String {
        if let Some(name) = self.vectors.get(&(kind, values.clone())) {
            return name.clone();
        }
        let label = format!("{kind}/{}", values.iter().map(i64::to_string).collect::<Vec<_>>().join("x"));
        let name = self.unique(&label);
        let tensor = |name: &str, dtype: DataType, raw: Vec<u8>| pb::TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(dtype as i32),
            dims: vec![values.len() as i64],
            raw_data: Some(Bytes::from(raw)),
            ..Default::default()
        };
        if self.constants_as_nodes && self.opset < INTEGER_CONSTANT_OPSET {
            // Doubles hold every dimension exactly.
            let double = self.unique(&format!("{label}/double"));
            self.constant(tensor(&double, DataType::Double, bytes(values.iter().map(|&v| (v as f64).to_le_bytes()))));
            self.cast(double, name.clone(), DataType::Int64);
        } else {
            self.constant(tensor(&name, DataType::Int64, bytes(values.iter().map(|v| v.to_le_bytes()))));
        }
        self.vectors.insert((kind, values), name.clone());
        name
    }

    /// Writes a node under a label of the layer; returns the name of its value, which is its own.
    pub(crate) fn named_node(
        &mut self,
        label: &str,
        op: &str,
        input: Vec<String>,
        attribute: Vec<pb::AttributeProto>,
    ) -> String {
        let name = self.unique(label);
        self.node(pb::NodeProto {
            name: Some(name.clone()),
            op_type: Some(op.to_owned()),
            input,
            output: vec![name.clone()],
            attribute,
            ..Default::default()
        });
        name
    }

    /// A reshape to static extents under a label of the layer.
    pub(crate) fn reshape(&mut self, label: &str, value: String, dims: &[usize]) -> String {
        let name = self.unique(label);
        self.reshape_to(name.clone(), value, dims);
        name
    }

    /// A reshape to static extents whose result has a given name.
    pub(crate) fn reshape_to(&mut self, name: String, value: String, dims: &[usize]) {
        let shape = self.vector("shape", dims.iter().map(|&d| d as i64).collect());
        self.node(pb::NodeProto {
            name: Some(name.clone()),
            op_type: Some("Reshape".to_owned()),
            input: vec![value, shape],
            output: vec![name],
            ..Default::default()
        });
    }

    /// Cuts a vector into pieces of the given lengths.
    pub(crate) fn split(&mut self, value: String, outputs: &[String], lengths: &[usize]) {
        let name = self.unique("split");
        let lengths: Vec<i64> = lengths.iter().map(|&n| n as i64).collect();
        let (mut input, mut attribute) = (vec![value], Vec::new());
        if self.opset < SPLIT_INPUT_OPSET {
            attribute.push(int_attribute("axis", 0));
            attribute.push(ints_attribute("split", lengths));
        } else {
            // Not named by its content, which may be long.
            let raw = bytes(lengths.iter().map(|n| n.to_le_bytes()));
            let lengths = self.bytes("lengths", DataType::Int64, &[lengths.len()], raw);
            input.push(lengths);
        }
        self.node(pb::NodeProto {
            name: Some(name),
            op_type: Some("Split".to_owned()),
            input,
            output: outputs.to_vec(),
            attribute,
            ..Default::default()
        });
    }

    /// Writes a constant from its raw bytes; returns its name.
    pub(crate) fn bytes(&mut self, label: &str, dtype: DataType, shape: &[usize], raw: Vec<u8>) -> String {
        let name = self.unique(label);
        let tensor = raw_tensor(&name, dtype, shape, raw);
        self.constant(tensor);
        name
    }

    /// A value as float32.
    pub(crate) fn cast_to_float(&mut self, label: &str, value: String) -> String {
        let name = self.unique(label);
        self.cast(value, name.clone(), DataType::Float);
        name
    }

    /// A name that nothing else has, under the layer's prefix.
    pub(crate) fn name(&mut self, label: &str) -> String {
        self.unique(label)
    }

    fn constant(&mut self, tensor: pb::TensorProto) {
        if !self.constants_as_nodes {
            self.patch.add_initializers.push(tensor);
            return;
        }
        let name = tensor.name().to_owned();
        self.node(pb::NodeProto {
            name: Some(name.clone()),
            op_type: Some("Constant".to_owned()),
            output: vec![name],
            attribute: vec![pb::AttributeProto {
                name: Some("value".to_owned()),
                r#type: Some(AttributeType::Tensor as i32),
                t: Some(pb::TensorProto { name: None, ..tensor }),
                ..Default::default()
            }],
            ..Default::default()
        });
    }

    fn node(&mut self, mut node: pb::NodeProto) {
        let entry = |key: &str, value: &str| pb::StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        if self.is_described {
            node.metadata_props = vec![entry(PASS_KEY, self.pass), entry(LAYER_KEY, self.layer)];
        } else {
            node.name = None;
        }
        self.patch.insert_nodes.push((self.before, node));
    }

    fn unique(&mut self, label: &str) -> String {
        let base = format!("{}{label}", self.prefix);
        let mut name = base.clone();
        let mut count = 1;
        while !self.names.insert(name.clone()) {
            count += 1;
            name = format!("{base}_{count}");
        }
        name
    }
}

/// A float32 tensor with raw data.
pub(crate) fn float_tensor(name: &str, shape: &[usize], data: &[f32]) -> pb::TensorProto {
    raw_tensor(name, DataType::Float, shape, bytes(data.iter().map(|x| x.to_le_bytes())))
}

/// Raw little-endian bytes as a tensor.
fn raw_tensor(name: &str, dtype: DataType, shape: &[usize], raw: Vec<u8>) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(dtype as i32),
        dims: shape.iter().map(|&d| d as i64).collect(),
        raw_data: Some(Bytes::from(raw)),
        ..Default::default()
    }
}

fn bytes<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    let mut raw = Vec::with_capacity(N * values.size_hint().0);
    values.for_each(|value| raw.extend_from_slice(&value));
    raw
}

fn int_attribute(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

fn ints_attribute(name: &str, values: Vec<i64>) -> pb::AttributeProto {
    pb::AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values,
        ..Default::default()
    }
}
