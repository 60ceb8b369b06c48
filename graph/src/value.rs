//! What flows along the edges: float tensors, and integers and booleans kept on the host.

use crate::Array;
use crate::error::{Problem, refuse};
use crate::tensor::{Plain, Tensor};

/// Integers or booleans, row-major. Shapes, axes and indices are such: small, and never differentiated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Host {
    pub shape: Vec<usize>,
    pub values: Vec<i64>,
    /// Whether they are truth values, 0 or 1.
    pub truth: bool,
}

impl Host {
    pub(crate) fn vector(values: Vec<i64>) -> Host {
        Host { shape: vec![values.len()], values, truth: false }
    }

    pub(crate) fn to_array(&self) -> Array {
        Array { shape: self.shape.clone(), values: self.values.iter().map(|&value| value as f32).collect() }
    }
}

/// One value of the graph while it runs.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Float(Tensor),
    Host(Host),
}

impl Value {
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Value::Float(tensor) => tensor.shape(),
            Value::Host(host) => host.shape.clone(),
        }
    }

    /// As numbers: integers become a constant tensor.
    pub(crate) fn into_float(self) -> Result<Tensor, Problem> {
        match self {
            Value::Float(tensor) => Ok(tensor),
            Value::Host(host) if host.values.is_empty() => refuse!("an empty input, where numbers are needed"),
            Value::Host(host) => Ok(Tensor::constant(Plain::from_array(host.to_array()))),
        }
    }

    /// As integers: numbers are rounded, which gives integers back that came in as floats.
    pub(crate) fn into_host(self) -> Host {
        match self {
            Value::Host(host) => host,
            Value::Float(tensor) => {
                let array = tensor.to_array();
                let values = array.values.iter().map(|value| value.round() as i64).collect();
                Host { shape: array.shape, values, truth: false }
            }
        }
    }
}

/// A value that no leaf and no input changes, without a tape.
#[derive(Clone, Debug)]
pub(crate) enum Constant {
    Float(Plain),
    Host(Host),
}

impl Constant {
    pub(crate) fn of(value: Value) -> Constant {
        match value {
            Value::Float(tensor) => Constant::Float(tensor.value),
            Value::Host(host) => Constant::Host(host),
        }
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Constant::Float(tensor) => Value::Float(Tensor::constant(tensor.clone())),
            Constant::Host(host) => Value::Host(host.clone()),
        }
    }
}

/// The inputs of a node while it runs; each can be taken once.
#[derive(Debug)]
pub(crate) struct Inputs {
    values: Vec<Option<Value>>,
}

impl Inputs {
    pub(crate) fn new(values: Vec<Option<Value>>) -> Inputs {
        Inputs { values }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn optional(&mut self, place: usize) -> Option<Value> {
        self.values.get_mut(place).and_then(Option::take)
    }

    pub(crate) fn value(&mut self, place: usize) -> Result<Value, Problem> {
        match self.optional(place) {
            Some(value) => Ok(value),
            None => refuse!("input {place} is missing"),
        }
    }

    pub(crate) fn float(&mut self, place: usize) -> Result<Tensor, Problem> {
        self.value(place)?.into_float()
    }

    pub(crate) fn optional_float(&mut self, place: usize) -> Result<Option<Tensor>, Problem> {
        self.optional(place).map(Value::into_float).transpose()
    }

    /// Integers, whatever their shape.
    pub(crate) fn ints(&mut self, place: usize) -> Result<Vec<i64>, Problem> {
        Ok(self.value(place)?.into_host().values)
    }

    pub(crate) fn optional_ints(&mut self, place: usize) -> Option<Vec<i64>> {
        self.optional(place).map(|value| value.into_host().values)
    }

    /// A single number.
    pub(crate) fn optional_scalar(&mut self, place: usize) -> Result<Option<f32>, Problem> {
        let Some(value) = self.optional(place) else { return Ok(None) };
        match value.into_float()?.to_array().values[..] {
            [only] => Ok(Some(only)),
            _ => refuse!("input {place} must be a single number"),
        }
    }
}
