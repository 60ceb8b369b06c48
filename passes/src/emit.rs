//! Writes new nodes and initializers, a lowered generator's above all.
//!
//! What is new bears short names and no more metadata than a later compilation needs to know it by: in a small file names are
//! a good part of all there is. The weight and the cores have readable names, `{layer}/{topology}/{part}`; what lies between
//! them is numbered. The ops are valid from opset 7 on and follow the model's own opset. Models of IR version 3 and older
//! would need every initializer listed as a graph input; they get Constant nodes instead, and those before opset 9, where a
//! Constant is a float, a Cast behind each shape.

use std::collections::BTreeMap;

use adntn_families::scale_of_bytes;
use adntn_onnx::{Model, Patch, pb};
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;

use crate::lowering::{Op, Program, Step, Value};
use crate::name::Fresh;
use crate::tensor::{bytes, float_tensor, halves, int_attribute, integers, ints_attribute, raw_tensor};

/// Metadata key that names the pass which made a node.
pub(crate) const PASS_KEY: &str = "adntn.pass";
/// The pass that puts a generator in the place of a weight.
pub(crate) const GENERATOR_PASS: &str = "replace_by_generator";

/// First opset in which Split takes its lengths as an input.
const SPLIT_INPUT_OPSET: i64 = 13;
/// First opset in which Slice takes its bounds as inputs.
const SLICE_INPUTS_OPSET: i64 = 10;
/// First opset whose Constant may hold integers.
const INTEGER_CONSTANT_OPSET: i64 = 9;
/// First IR version in which initializers need not be graph inputs.
const FREE_INITIALIZERS_IR: i64 = 4;

/// About what a Cast takes in the file besides the names of its values.
const CAST_BYTES: usize = 26;

/// Appends things to a patch.
pub(crate) struct Emitter<'a> {
    patch: &'a mut Patch,
    names: Fresh,
    /// New nodes go before this one of the unedited graph.
    before: usize,
    opset: i64,
    constants_as_nodes: bool,
    /// Names of the int64 vectors written so far, by content.
    vectors: BTreeMap<Vec<i64>, String>,
}

impl<'a> Emitter<'a> {
    /// Nodes go before node `before` of the unedited graph.
    pub(crate) fn new(model: &Model, patch: &'a mut Patch, names: Fresh, before: usize) -> Self {
        Self {
            patch,
            names,
            before,
            opset: model.opset(),
            constants_as_nodes: model.proto().ir_version() < FREE_INITIALIZERS_IR,
            vectors: BTreeMap::new(),
        }
    }

    /// From now on nodes go before node `before` of the unedited graph.
    pub(crate) fn go_before(&mut self, before: usize) {
        self.before = before;
        if self.constants_as_nodes {
            // Those of another place may come too late.
            self.vectors.clear();
        }
    }

    /// Writes the whole program; returns the name of its result, which is `{prefix}weight`.
    pub(crate) fn program(&mut self, program: &Program) -> String {
        let result = self.names.label("weight");
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
            let name = self.names.label(label);
            let digits = data.iter().map(|x| (x / scale).round() as i8 as u8).collect();
            self.constant(raw_tensor(&name, DataType::Int8, shape, digits));
            let number = self.cast_to_float(name);
            let scale = self.floats(&[], &[scale]);
            return self.value_of("Mul", vec![number, scale]);
        }
        let name = self.names.label(label);
        let is_worth_it = 2 * data.len() > CAST_BYTES + name.len();
        match halves(data).filter(|_| is_worth_it) {
            Some(raw) => {
                self.constant(raw_tensor(&name, DataType::Float16, shape, raw));
                self.cast_to_float(name)
            }
            None => {
                self.constant(float_tensor(&name, shape, data));
                name
            }
        }
    }

    fn cast(&mut self, pass: Option<&str>, from: String, to: String, dtype: DataType) {
        self.node(pass, "Cast", vec![from], vec![to], vec![int_attribute("to", dtype as i64)]);
    }

    /// Writes a float32 constant; returns its name.
    pub(crate) fn floats(&mut self, shape: &[usize], data: &[f32]) -> String {
        let name = self.names.next();
        self.constant(float_tensor(&name, shape, data));
        name
    }

    /// Writes a float32 constant under a label.
    pub(crate) fn labelled_floats(&mut self, label: &str, shape: &[usize], data: &[f32]) -> String {
        let name = self.names.label(label);
        self.constant(float_tensor(&name, shape, data));
        name
    }

    fn step(&mut self, step: &Step, mut inputs: Vec<String>, from: &[usize], output: Option<&str>) -> String {
        // What it makes of cores, a later compilation knows by this mark, and all that comes of it by its operands.
        let is_first = step.inputs.iter().all(|value| matches!(value, Value::Constant(_)));
        let mut attributes = Vec::new();
        let op = match &step.op {
            Op::Reshape => {
                inputs.push(self.vector(step.shape.iter().map(|&d| d as i64).collect()));
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
                        inputs.push(self.vector(bounds));
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
        let output = output.map_or_else(|| self.names.next(), str::to_owned);
        self.node(is_first.then_some(GENERATOR_PASS), op, inputs, vec![output.clone()], attributes);
        output
    }

    /// An int64 vector; equal ones are written once.
    fn vector(&mut self, values: Vec<i64>) -> String {
        if let Some(name) = self.vectors.get(&values) {
            return name.clone();
        }
        let name = self.names.next();
        if self.constants_as_nodes && self.opset < INTEGER_CONSTANT_OPSET {
            // Doubles hold every dimension exactly.
            let double = self.names.next();
            let raw = bytes(values.iter().map(|&v| (v as f64).to_le_bytes()));
            self.constant(raw_tensor(&double, DataType::Double, &[values.len()], raw));
            self.cast(None, double, name.clone(), DataType::Int64);
        } else {
            self.constant(integers(&name, &values));
        }
        self.vectors.insert(values, name.clone());
        name
    }

    /// Writes a node without attributes; returns the name of its value.
    pub(crate) fn value_of(&mut self, op: &str, inputs: Vec<String>) -> String {
        let output = self.names.next();
        self.node(None, op, inputs, vec![output.clone()], Vec::new());
        output
    }

    /// The same for a node by which a later compilation knows everything that comes of it.
    pub(crate) fn marked_value_of(&mut self, pass: &str, op: &str, inputs: Vec<String>) -> String {
        let output = self.names.next();
        self.node(Some(pass), op, inputs, vec![output.clone()], Vec::new());
        output
    }

    /// The same with a name for the value, if there is one.
    pub(crate) fn named_value_of(&mut self, name: Option<String>, op: &str, inputs: Vec<String>) -> String {
        let output = name.unwrap_or_else(|| self.names.next());
        self.node(None, op, inputs, vec![output.clone()], Vec::new());
        output
    }

    /// A reshape to static extents.
    pub(crate) fn reshape(&mut self, name: Option<String>, value: String, dims: &[usize]) -> String {
        let shape = self.vector(dims.iter().map(|&d| d as i64).collect());
        self.named_value_of(name, "Reshape", vec![value, shape])
    }

    /// All elements in a row.
    pub(crate) fn flat(&mut self, value: String) -> String {
        let shape = self.vector(vec![-1]);
        self.value_of("Reshape", vec![value, shape])
    }

    /// Cuts a vector into pieces of the given lengths.
    pub(crate) fn split(&mut self, value: String, outputs: Vec<String>, lengths: &[usize]) {
        let lengths: Vec<i64> = lengths.iter().map(|&n| n as i64).collect();
        let (mut inputs, mut attributes) = (vec![value], Vec::new());
        if self.opset < SPLIT_INPUT_OPSET {
            attributes.push(int_attribute("axis", 0));
            attributes.push(ints_attribute("split", lengths));
        } else {
            inputs.push(self.vector(lengths));
        }
        self.node(None, "Split", inputs, outputs, attributes);
    }

    /// Writes a constant from its raw bytes; returns its name.
    pub(crate) fn bytes(&mut self, dtype: DataType, shape: &[usize], raw: Vec<u8>) -> String {
        let name = self.names.next();
        self.constant(raw_tensor(&name, dtype, shape, raw));
        name
    }

    /// A value as float32.
    pub(crate) fn cast_to_float(&mut self, value: String) -> String {
        let name = self.names.next();
        self.cast(None, value, name.clone(), DataType::Float);
        name
    }

    /// A value as float32, under a name, by a node with the mark of `pass` if there is one.
    pub(crate) fn cast_to_float_as(&mut self, name: String, value: String, pass: Option<&str>) {
        self.cast(pass, value, name, DataType::Float);
    }

    /// A name that nothing else has.
    pub(crate) fn name(&mut self) -> String {
        self.names.next()
    }

    fn constant(&mut self, tensor: pb::TensorProto) {
        if !self.constants_as_nodes {
            self.patch.add_initializers.push(tensor);
            return;
        }
        let output = tensor.name().to_owned();
        let value = pb::AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(AttributeType::Tensor as i32),
            t: Some(pb::TensorProto { name: None, ..tensor }),
            ..Default::default()
        };
        self.node(None, "Constant", Vec::new(), vec![output], vec![value]);
    }

    fn node(
        &mut self,
        pass: Option<&str>,
        op: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<pb::AttributeProto>,
    ) {
        let mark =
            |pass: &str| pb::StringStringEntryProto { key: Some(PASS_KEY.to_owned()), value: Some(pass.to_owned()) };
        let node = pb::NodeProto {
            op_type: Some(op.to_owned()),
            input,
            output,
            attribute,
            metadata_props: pass.map(mark).into_iter().collect(),
            ..Default::default()
        };
        self.patch.insert_nodes.push((self.before, node));
    }
}
