//! The operators: from a node to a function of its inputs.

mod affine;
mod conv;
mod elementwise;
mod normalise;
mod pool;
mod shape;
mod softmax;
mod window;

use crate::attributes::Node;
use crate::error::Problem;
use crate::order::operator;
use crate::tensor::Tensor;
use crate::value::{Inputs, Value};

/// What a node does. Attributes are read when it is built; shapes are known only when it runs.
pub(crate) type Op = Box<dyn Fn(&mut Inputs) -> Result<Vec<Value>, Problem> + Send + Sync>;

/// An operator with one output, of floats.
fn float(f: impl Fn(&mut Inputs) -> Result<Tensor, Problem> + Send + Sync + 'static) -> Op {
    Box::new(move |inputs| Ok(vec![Value::Float(f(inputs)?)]))
}

/// An operator with one output.
fn single(f: impl Fn(&mut Inputs) -> Result<Value, Problem> + Send + Sync + 'static) -> Op {
    Box::new(move |inputs| Ok(vec![f(inputs)?]))
}

/// Finds the operator of a node and reads its attributes.
pub(crate) fn build(node: &Node) -> Result<Op, Problem> {
    match operator(node.proto).as_str() {
        "Conv" => conv::conv(node),
        "MaxPool" => pool::max_pool(node),
        "AveragePool" => pool::average_pool(node),
        "GlobalAveragePool" => Ok(pool::global_average_pool()),
        "Gemm" => affine::gemm(node),
        "MatMul" => Ok(affine::matmul()),
        "BatchNormalization" => normalise::batch(node),
        "Softmax" => softmax::softmax(node, false),
        "LogSoftmax" => softmax::softmax(node, true),
        "Identity" => Ok(single(|inputs| inputs.value(0))),
        "Dropout" => shape::dropout(node),
        "Flatten" => shape::flatten(node),
        "Reshape" => shape::reshape(node),
        "Add" | "Sub" | "Mul" | "Div" => elementwise::arithmetic(node),
        "Relu" => Ok(elementwise::relu()),
        _ => Err(Problem::Unsupported),
    }
}
