//! The straight-line program a generator is lowered to.

use adntn_networks::{Activation, LEAKY_SLOPE};

use crate::Error;
use crate::lowering::legs::{merge_axes, permuted};

/// Runtimes fold a tensor only below this size, 1 GiB: no generator can form a weight that is as large.
pub const FOLDABLE_BYTES: u64 = 1 << 30;

/// A tensor of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// Index into [`Program::constants`].
    Constant(usize),
    /// Index into [`Program::steps`].
    Step(usize),
}

/// A core, permuted at compile time.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub label: String,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// To the step's shape.
    Reshape,
    /// Product of the two inputs, batch axes broadcast.
    MatMul,
    /// σ: an elementwise ONNX op, with its `alpha` if it has one.
    Activation { op: &'static str, alpha: Option<f32> },
    /// Axis k of the result is axis `self.0[k]` of the input.
    Transpose(Vec<usize>),
    /// The first entries of each axis, as many as the step's shape says.
    Slice,
    /// Elementwise product of the two inputs, broadcast.
    Multiply,
}

/// One node to be.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub op: Op,
    pub inputs: Vec<Value>,
    pub shape: Vec<usize>,
}

/// Steps in order; later ones read earlier ones and the constants. Every shape is static and below 1 GiB.
#[derive(Debug)]
pub(crate) struct Program {
    pub constants: Vec<Constant>,
    pub steps: Vec<Step>,
    pub result: Value,
    layer: String,
}

impl Program {
    pub(crate) fn new(layer: &str) -> Self {
        Self { constants: Vec::new(), steps: Vec::new(), result: Value::Constant(0), layer: layer.to_owned() }
    }

    /// Layer the program is for, to be named in errors.
    pub(crate) fn layer(&self) -> &str {
        &self.layer
    }

    pub(crate) fn shape(&self, value: Value) -> &[usize] {
        match value {
            Value::Constant(at) => &self.constants[at].shape,
            Value::Step(at) => &self.steps[at].shape,
        }
    }

    /// A core. Every constant is read once, so that reshaping it costs nothing.
    pub(crate) fn constant(&mut self, label: &str, shape: &[usize], data: Vec<f32>) -> Value {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        self.constants.push(Constant { label: label.to_owned(), shape: shape.to_vec(), data });
        Value::Constant(self.constants.len() - 1)
    }

    /// `value` with another shape of the same size. A reshape of a reshape is one reshape, that of a core is none.
    pub(crate) fn reshape(&mut self, value: Value, shape: &[usize], label: &str) -> Result<Value, Error> {
        debug_assert_eq!(self.shape(value).iter().product::<usize>(), shape.iter().product::<usize>());
        if self.shape(value) == shape {
            return Ok(value);
        }
        match value {
            Value::Constant(at) => {
                self.constants[at].shape = shape.to_vec();
                Ok(value)
            }
            Value::Step(at) if self.steps[at].op == Op::Reshape => {
                let input = self.steps[at].inputs[0];
                self.reshape(input, shape, label)
            }
            Value::Step(_) => self.push(label, Op::Reshape, vec![value], shape.to_vec()),
        }
    }

    /// The matrix product; batch axes of the two broadcast.
    pub(crate) fn matmul(&mut self, left: Value, right: Value, label: &str) -> Result<Value, Error> {
        let (a, b) = (self.shape(left), self.shape(right));
        debug_assert_eq!(a[a.len() - 1], b[b.len() - 2]);
        let rank = a.len().max(b.len());
        let batch = |s: &[usize], axis: usize| (axis + s.len()).checked_sub(rank).map_or(1, |axis| s[axis]);
        let mut shape: Vec<usize> = (0..rank - 2).map(|axis| batch(a, axis).max(batch(b, axis))).collect();
        shape.extend([a[a.len() - 2], b[b.len() - 1]]);
        self.push(label, Op::MatMul, vec![left, right], shape)
    }

    /// σ of `value`; no step for the identity.
    pub(crate) fn activation(&mut self, value: Value, sigma: Activation, label: &str) -> Result<Value, Error> {
        let (op, alpha) = match sigma {
            Activation::Identity => return Ok(value),
            Activation::Tanh => ("Tanh", None),
            Activation::Relu => ("Relu", None),
            Activation::LeakyRelu => ("LeakyRelu", Some(LEAKY_SLOPE as f32)),
            Activation::Softsign => ("Softsign", None),
            other => return Err(Error::Activation { layer: self.layer.clone(), activation: other.name().to_owned() }),
        };
        let shape = self.shape(value).to_vec();
        self.push(label, Op::Activation { op, alpha }, vec![value], shape)
    }

    /// `value`, seen with axes `dims`, with axis `order[k]` as its k-th; axes that stay neighbours move as one.
    pub(crate) fn transpose(
        &mut self,
        value: Value,
        dims: &[usize],
        order: &[usize],
        label: &str,
    ) -> Result<Value, Error> {
        let (dims, order) = merge_axes(dims, order);
        if order.len() < 2 {
            return self.reshape(value, &dims, label);
        }
        let value = self.reshape(value, &dims, label)?;
        let shape: Vec<usize> = order.iter().map(|&axis| dims[axis]).collect();
        if let Value::Constant(at) = value {
            let core = &mut self.constants[at];
            core.data = permuted(&core.data, &dims, &order);
            core.shape = shape;
            return Ok(value);
        }
        self.push(label, Op::Transpose(order), vec![value], shape)
    }

    /// The first `keep` entries of each axis.
    pub(crate) fn slice(&mut self, value: Value, keep: &[usize], label: &str) -> Result<Value, Error> {
        self.push(label, Op::Slice, vec![value], keep.to_vec())
    }

    /// The elementwise product; axes of both broadcast.
    pub(crate) fn multiply(&mut self, left: Value, right: Value, label: &str) -> Result<Value, Error> {
        let (a, b) = (self.shape(left), self.shape(right));
        let rank = a.len().max(b.len());
        let dim = |s: &[usize], axis: usize| (axis + s.len()).checked_sub(rank).map_or(1, |axis| s[axis]);
        let shape = (0..rank).map(|axis| dim(a, axis).max(dim(b, axis))).collect();
        self.push(label, Op::Multiply, vec![left, right], shape)
    }

    /// Sets the result and drops the steps that do not lead to it.
    pub(crate) fn finish(&mut self, result: Value) {
        let mut needed = vec![false; self.steps.len()];
        let mut open = vec![result];
        while let Some(value) = open.pop() {
            if let Value::Step(at) = value
                && !std::mem::replace(&mut needed[at], true)
            {
                open.extend(self.steps[at].inputs.iter().copied());
            }
        }
        let mut place = 0;
        let places: Vec<usize> = needed
            .iter()
            .map(|&n| {
                let at = place;
                place += usize::from(n);
                at
            })
            .collect();
        let moved = |value: Value| match value {
            Value::Step(at) => Value::Step(places[at]),
            constant @ Value::Constant(_) => constant,
        };
        let mut keep = needed.iter();
        self.steps.retain(|_| keep.next().copied().unwrap_or(false));
        self.steps.iter_mut().for_each(|step| step.inputs.iter_mut().for_each(|v| *v = moved(*v)));
        self.result = moved(result);
    }

    /// `label`, such as `level2/leg3`, says in an error which part of the generator it is.
    fn push(&mut self, label: &str, op: Op, inputs: Vec<Value>, shape: Vec<usize>) -> Result<Value, Error> {
        let bytes = shape.iter().fold(4_u64, |n, &d| n.saturating_mul(d as u64));
        if bytes >= FOLDABLE_BYTES {
            return Err(Error::IntermediateTooLarge { layer: self.layer.clone(), step: label.to_owned(), bytes });
        }
        self.steps.push(Step { op, inputs, shape });
        Ok(Value::Step(self.steps.len() - 1))
    }
}
