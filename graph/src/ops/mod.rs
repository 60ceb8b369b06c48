//! The operators: from a node to a function of its inputs.

mod activation;
mod affine;
mod conv;
mod elementwise;
mod extremes;
mod host;
mod normalise;
mod pool;
mod reduce;
mod resize;
mod select;
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
        "ConvTranspose" => conv::conv_transpose(node),
        "Gemm" => affine::gemm(node),
        "MatMul" => Ok(affine::matmul()),
        "MaxPool" => pool::max_pool(node),
        "AveragePool" => pool::average_pool(node),
        "GlobalAveragePool" => Ok(pool::global_average_pool()),
        "GlobalMaxPool" => Ok(pool::global_max_pool()),
        "BatchNormalization" => normalise::batch(node),
        "InstanceNormalization" => normalise::instance(node),
        "LayerNormalization" => normalise::layer(node),
        "GroupNormalization" => normalise::group(node),
        "LRN" => normalise::local_response(node),
        "Softmax" => softmax::softmax(node, false),
        "LogSoftmax" => softmax::softmax(node, true),
        "LeakyRelu" => activation::leaky_relu(node),
        "PRelu" => activation::prelu(node),
        "Clip" => activation::clip(node),
        "HardSigmoid" => activation::hard(node),
        "Swish" => activation::swish(node),
        "Gelu" => activation::gelu(node),
        "Elu" => activation::elu(node),
        "Celu" => activation::celu(node),
        "Selu" => activation::selu(node),
        "Add" | "Sub" | "Mul" | "Div" => elementwise::arithmetic(node),
        "Sum" | "Mean" | "Max" | "Min" => Ok(elementwise::variadic(node)),
        "Mod" => elementwise::modulo(node),
        "Pow" => Ok(elementwise::pow()),
        "Neg" | "Abs" => Ok(elementwise::sign(node)),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            elementwise::compare(node)
        }
        "Not" => Ok(elementwise::not()),
        "Where" => Ok(elementwise::choose()),
        "Identity" => Ok(single(|inputs| inputs.value(0))),
        "Dropout" => shape::dropout(node),
        "Flatten" => shape::flatten(node),
        "Reshape" => shape::reshape(node),
        "Transpose" => shape::transpose(node),
        "Squeeze" => shape::squeeze(node),
        "Unsqueeze" => shape::unsqueeze(node),
        "Expand" => Ok(shape::expand()),
        "Concat" => shape::concat(node),
        "DepthToSpace" | "SpaceToDepth" => shape::depth_to_space(node),
        "Slice" => select::slice(node),
        "Gather" => select::gather(node),
        "Split" => select::split(node),
        "Tile" => Ok(select::tile()),
        "Pad" => select::pad(node),
        "Resize" | "Upsample" => resize::resize(node),
        "ArgMax" | "ArgMin" => extremes::arg(node),
        "Shape" => host::shape(node),
        "Size" => Ok(host::size()),
        "Cast" => host::cast(node),
        "Range" => Ok(host::range()),
        "ConstantOfShape" => host::constant_of_shape(node),
        op if op.starts_with("Reduce") => reduce::reduce(node),
        op => activation::plain(op).ok_or(Problem::Unsupported),
    }
}
