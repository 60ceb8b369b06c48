//! Models with one node, and what other implementations make of them.

#![allow(dead_code, clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use adntn_graph::{Array, Error, Network, Request};
use adntn_onnx::{Model, pb};
use pb::attribute_proto::AttributeType;
use pb::tensor_proto::DataType;
use prost::Message as _;

/// One row of a table: an operator with its attributes and inputs.
#[derive(Clone)]
pub struct Row {
    pub name: String,
    pub opset: i64,
    pub op: &'static str,
    pub attributes: Vec<pb::AttributeProto>,
    pub inputs: Vec<Input>,
    pub outputs: usize,
}

#[derive(Clone)]
pub enum Input {
    /// Floats for which gradients are checked, spread over a range in a scrambled order.
    Leaf(Vec<usize>, f32, f32),
    /// Floats without a gradient.
    Fixed(Vec<usize>, Vec<f32>),
    Ints(Vec<usize>, Vec<i64>),
    Truths(Vec<usize>, Vec<i64>),
    Absent,
}

pub fn row(name: &str, op: &'static str, opset: i64) -> Row {
    Row { name: name.into(), opset, op, attributes: Vec::new(), inputs: Vec::new(), outputs: 1 }
}

impl Row {
    pub fn leaf(self, shape: &[usize]) -> Row {
        self.leaf_in(shape, -2.0, 2.0)
    }

    pub fn leaf_in(mut self, shape: &[usize], low: f32, high: f32) -> Row {
        self.inputs.push(Input::Leaf(shape.to_vec(), low, high));
        self
    }

    pub fn fixed(mut self, shape: &[usize], values: &[f32]) -> Row {
        self.inputs.push(Input::Fixed(shape.to_vec(), values.to_vec()));
        self
    }

    pub fn vector(mut self, values: &[i64]) -> Row {
        self.inputs.push(Input::Ints(vec![values.len()], values.to_vec()));
        self
    }

    pub fn tensor(mut self, shape: &[usize], values: &[i64]) -> Row {
        self.inputs.push(Input::Ints(shape.to_vec(), values.to_vec()));
        self
    }

    pub fn truths(mut self, shape: &[usize], values: &[i64]) -> Row {
        self.inputs.push(Input::Truths(shape.to_vec(), values.to_vec()));
        self
    }

    pub fn absent(mut self) -> Row {
        self.inputs.push(Input::Absent);
        self
    }

    pub fn outputs(mut self, outputs: usize) -> Row {
        self.outputs = outputs;
        self
    }

    fn attribute(mut self, name: &str, kind: AttributeType, set: impl FnOnce(&mut pb::AttributeProto)) -> Row {
        let mut attribute =
            pb::AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() };
        set(&mut attribute);
        self.attributes.push(attribute);
        self
    }

    pub fn int(self, name: &str, value: i64) -> Row {
        self.attribute(name, AttributeType::Int, |a| a.i = Some(value))
    }

    pub fn float(self, name: &str, value: f32) -> Row {
        self.attribute(name, AttributeType::Float, |a| a.f = Some(value))
    }

    pub fn ints(self, name: &str, values: &[i64]) -> Row {
        self.attribute(name, AttributeType::Ints, |a| a.ints = values.to_vec())
    }

    pub fn text(self, name: &str, value: &'static str) -> Row {
        self.attribute(name, AttributeType::String, |a| a.s = Some(value.into()))
    }

    pub fn leaves(&self) -> Vec<String> {
        let named = self.inputs.iter().enumerate().filter(|(_, input)| matches!(input, Input::Leaf(..)));
        named.map(|(number, _)| format!("in{number}")).collect()
    }

    pub fn output_names(&self) -> Vec<String> {
        (0..self.outputs).map(|number| format!("out{number}")).collect()
    }

    pub fn model(&self) -> pb::ModelProto {
        let mut names = Vec::new();
        let mut initializer = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let name = format!("in{number}");
            let tensor = match input {
                Input::Absent => None,
                Input::Leaf(shape, low, high) => {
                    Some(floats(&name, shape, spread(shape.iter().product(), *low, *high, number)))
                }
                Input::Fixed(shape, values) => Some(floats(&name, shape, values.clone())),
                Input::Ints(shape, values) => Some(pb::TensorProto {
                    data_type: Some(DataType::Int64 as i32),
                    int64_data: values.clone(),
                    ..floats(&name, shape, Vec::new())
                }),
                Input::Truths(shape, values) => Some(pb::TensorProto {
                    data_type: Some(DataType::Bool as i32),
                    int32_data: values.iter().map(|&value| value as i32).collect(),
                    ..floats(&name, shape, Vec::new())
                }),
            };
            names.push(tensor.as_ref().map_or(String::new(), |_| name));
            initializer.extend(tensor);
        }
        let node = pb::NodeProto {
            name: Some("the node".into()),
            op_type: Some(self.op.into()),
            input: names,
            output: self.output_names(),
            attribute: self.attributes.clone(),
            ..Default::default()
        };
        model(vec![node], initializer, &[], &self.output_names(), self.opset)
    }
}

pub fn floats(name: &str, shape: &[usize], values: Vec<f32>) -> pb::TensorProto {
    pb::TensorProto {
        name: Some(name.into()),
        data_type: Some(DataType::Float as i32),
        dims: shape.iter().map(|&extent| extent as i64).collect(),
        float_data: values,
        ..Default::default()
    }
}

/// Evenly spread values in a scrambled order: no two are equal, and an even number of them around zero leaves it out.
pub fn spread(count: usize, low: f32, high: f32, seed: usize) -> Vec<f32> {
    let step = (0..).map(|more| count / 2 + 1 + more).find(|&step| gcd(step, count.max(1)) == 1).unwrap_or(1);
    let place = |number: usize| (number * step + 7 * seed + 3) % count;
    (0..count).map(|number| low + (high - low) * (place(number) as f32 + 0.5) / count as f32).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn value(name: &str) -> pb::ValueInfoProto {
    pb::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(pb::TypeProto {
            denotation: None,
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: Some(DataType::Float as i32),
                shape: None,
            })),
        }),
        ..Default::default()
    }
}

pub fn model(
    node: Vec<pb::NodeProto>,
    initializer: Vec<pb::TensorProto>,
    inputs: &[&str],
    outputs: &[String],
    opset: i64,
) -> pb::ModelProto {
    let graph = pb::GraphProto {
        name: Some("graph".into()),
        node,
        initializer,
        input: inputs.iter().map(|name| value(name)).collect(),
        // Their types follow from the nodes.
        output: outputs
            .iter()
            .map(|name| pb::ValueInfoProto { name: Some(name.clone()), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(opset) }],
        graph: Some(graph),
        ..Default::default()
    }
}

pub fn open(proto: &pb::ModelProto) -> Model {
    Model::from_bytes(proto.encode_to_vec().into(), None).unwrap()
}

pub fn network(model: &Model, inputs: &[&str], outputs: &[String], trainable: &[String]) -> Result<Network, Error> {
    let inputs: Vec<String> = inputs.iter().map(|&name| name.to_owned()).collect();
    Network::new(model, &Request { inputs: &inputs, outputs, trainable })
}

pub fn initial(network: &Network) -> Vec<Arc<Array>> {
    network.trainable().iter().map(|name| network.initial(name).unwrap()).collect()
}

/// The outputs of every model in `folder`, which have no inputs, in other implementations.
pub fn run_reference(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python()).arg(root.join("tests/reference/run_models.py")).arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

/// The Python that has onnx and onnxruntime: the one named by the environment, else the repository's own.
fn python() -> String {
    std::env::var("ADNTN_PYTHON").unwrap_or_else(|_| {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/venv")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

pub fn reference_output(folder: &Path, name: &str, number: usize) -> Option<Array> {
    let array: ndarray::ArrayD<f32> = ndarray_npy::read_npy(folder.join(format!("{name}.{number}.npy"))).ok()?;
    Some(Array { shape: array.shape().to_vec(), values: array.iter().copied().collect() })
}

/// Largest difference, relative to the largest value where that is above one.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

/// What is wrong with the gradients of a network, by central differences along single elements.
pub fn check_gradients(network: &Network, inputs: &[Array], expect_path: bool) -> Result<(), String> {
    const STEP: f32 = 4e-3;
    let leaves = initial(network);
    let words = |error: Error| error.to_string();
    let pass = network.forward(inputs.to_vec(), &leaves).map_err(words)?;
    let cotangents: Vec<Array> = pass
        .outputs()
        .iter()
        .enumerate()
        .map(|(number, output)| Array {
            shape: output.shape.clone(),
            values: spread(output.values.len(), -1.0, 1.0, number + 5),
        })
        .collect();
    let gradients = pass.backward(&cotangents).map_err(words)?;
    let loss = |leaves: &[Arc<Array>]| -> Result<f64, String> {
        let outputs = network.evaluate(inputs.to_vec(), leaves).map_err(words)?;
        let both = outputs.iter().zip(&cotangents).flat_map(|(o, c)| o.values.iter().zip(&c.values));
        Ok(both.map(|(&o, &c)| f64::from(o) * f64::from(c)).sum())
    };
    for (number, (leaf, gradient)) in leaves.iter().zip(&gradients).enumerate() {
        let Some(gradient) = gradient else {
            if expect_path {
                return Err(format!("leaf {number} has no gradient"));
            }
            continue;
        };
        if gradient.shape != leaf.shape {
            return Err(format!("leaf {number} has shape {:?}, its gradient {:?}", leaf.shape, gradient.shape));
        }
        let scale = gradient.values.iter().fold(0.1_f64, |most, value| most.max(f64::from(value.abs())));
        let count = leaf.values.len();
        for element in (0..count).step_by(count.div_ceil(40)) {
            let at = |shift: f32| {
                let mut moved = leaves.clone();
                Arc::make_mut(&mut moved[number]).values[element] += shift;
                let value = f64::from(moved[number].values[element]);
                loss(&moved).map(|loss| (loss, value))
            };
            let ((above, high), (below, low)) = (at(STEP)?, at(-STEP)?);
            let numeric = (above - below) / (high - low);
            let found = f64::from(gradient.values[element]);
            if (numeric - found).abs() > 1e-2 * numeric.abs() + 3e-3 * scale {
                return Err(format!("leaf {number}, element {element}: gradient {found}, differences {numeric}"));
            }
        }
    }
    Ok(())
}

/// The same for a large network, which has a kink in every step that rounding allows: along the gradient of each leaf,
/// where the loss changes most.
pub fn check_gradients_along(network: &Network, inputs: &[Array]) {
    const STEP: f32 = 2e-4;
    let leaves = initial(network);
    let pass = network.forward(inputs.to_vec(), &leaves).unwrap();
    let shape = pass.outputs()[0].shape.clone();
    let values = spread(shape.iter().product(), -1.0, 1.0, 5);
    let cotangent = Array { shape, values };
    let gradients = pass.backward(std::slice::from_ref(&cotangent)).unwrap();
    for (number, gradient) in gradients.iter().enumerate() {
        let gradient = &gradient.as_ref().unwrap().values;
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let loss = |step: f32| {
            let mut moved = leaves.clone();
            let values = &mut Arc::make_mut(&mut moved[number]).values;
            values.iter_mut().zip(gradient).for_each(|(value, g)| *value += step * g / norm as f32);
            let outputs = network.evaluate(inputs.to_vec(), &moved).unwrap();
            let terms = outputs[0].values.iter().zip(&cotangent.values);
            terms.map(|(&o, &c)| f64::from(o) * f64::from(c)).sum::<f64>()
        };
        let numeric = (loss(STEP) - loss(-STEP)) / f64::from(2.0 * STEP);
        let name = &network.trainable()[number];
        assert!((numeric - norm).abs() < 2e-2 * norm, "{name}: slope {numeric}, norm of the gradient {norm}");
    }
}
