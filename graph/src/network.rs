//! A part of a model, ready to run.

use std::collections::HashSet;
use std::sync::Arc;

use adntn_onnx::Model;

use crate::build::{Builder, leaf_values};
use crate::ops::Op;
use crate::order::{exists, needed};
use crate::tensor::{Plain, Tensor};
use crate::value::{Constant, Inputs, Value};
use crate::{Array, Error, Pass};

/// What to differentiate: the part of a model between `inputs` and `outputs`.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Values that the caller gives: graph inputs or inner values.
    pub inputs: &'a [String],
    /// Values that the caller wants.
    pub outputs: &'a [String],
    /// Initializers and outputs of Constant nodes, of type FLOAT, that are leaves.
    pub trainable: &'a [String],
}

/// Where a node finds an input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Slot { slot: usize, last: bool },
    Constant(usize),
}

/// A node: what it does, where its inputs are, and where its outputs go.
pub(crate) struct Step {
    pub node: String,
    pub op: String,
    pub run: Op,
    pub inputs: Vec<Option<Place>>,
    pub outputs: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Given {
    name: String,
    slot: usize,
    integer: bool,
}

#[derive(Debug)]
struct Leaf {
    slot: usize,
    shape: Vec<usize>,
    initial: Arc<Array>,
}

/// A part of a model between given values and wanted ones, with leaves to differentiate for. Shared by reference, it can
/// run on several threads at once.
pub struct Network {
    steps: Vec<Step>,
    slots: usize,
    inputs: Vec<Given>,
    outputs: Vec<(String, Place)>,
    trainable: Vec<String>,
    leaves: Vec<Leaf>,
    constants: Vec<Constant>,
    depends: Vec<bool>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.op.as_str()).collect();
        f.debug_struct("Network").field("inputs", &self.inputs).field("steps", &steps).finish_non_exhaustive()
    }
}

impl Network {
    /// Checks every operator between inputs and outputs, computes what depends on neither inputs nor leaves, and keeps
    /// constants as tensors.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Node`] for operators and settings that are not covered; [`Error::NoValue`],
    /// [`Error::NotALeaf`] and [`Error::MissingInput`] where request and graph disagree.
    pub fn new(model: &Model, request: &Request) -> Result<Network, Error> {
        let named = request.inputs.iter().chain(request.outputs).chain(request.trainable);
        if let Some(name) = named.into_iter().find(|name| !exists(model, name)) {
            return Err(Error::NoValue { name: name.clone() });
        }
        let mut stops: HashSet<&str> = HashSet::new();
        for name in request.inputs.iter().chain(request.trainable) {
            if !stops.insert(name) {
                return Err(Error::Arguments(format!("`{name}` is asked for twice")));
            }
        }
        let mut build = Builder::new(model);
        let given = |name: &String, build: &mut Builder| Given {
            name: name.clone(),
            slot: build.slot(name),
            integer: build.kinds.is_integer(name),
        };
        let inputs = request.inputs.iter().map(|name| given(name, &mut build)).collect();
        let mut leaves = Vec::new();
        for name in request.trainable {
            let initial = leaf_values(model, name)?;
            leaves.push(Leaf { slot: build.slot(name), shape: initial.shape.clone(), initial: Arc::new(initial) });
        }
        let mut depends: HashSet<usize> = leaves.iter().map(|leaf| leaf.slot).collect();
        let order = needed(model, &stops, request.outputs)?;
        let read: HashSet<&str> = order
            .iter()
            .flat_map(|&number| model.graph().node[number].input.iter())
            .chain(request.outputs)
            .map(String::as_str)
            .collect();
        let mut steps = Vec::new();
        for number in order {
            build.node(number, &read, &stops, &mut steps, &mut depends)?;
        }
        let mut outputs = Vec::new();
        for name in request.outputs {
            outputs.push((name.clone(), build.place(name)?));
        }
        let depends = outputs
            .iter()
            .map(|(_, place)| matches!(place, Place::Slot { slot, .. } if depends.contains(slot)))
            .collect();
        let mut network = Network {
            steps,
            slots: build.slots.len(),
            inputs,
            outputs,
            trainable: request.trainable.to_vec(),
            leaves,
            constants: build.kept,
            depends,
        };
        network.mark_last_uses();
        Ok(network)
    }

    /// A value is handed over, not shared, where it is read for the last time: arithmetic can then be in place.
    fn mark_last_uses(&mut self) {
        let slot_of = |place: &Place| if let Place::Slot { slot, .. } = place { Some(*slot) } else { None };
        let mut used: HashSet<usize> = self.outputs.iter().filter_map(|(_, place)| slot_of(place)).collect();
        for step in self.steps.iter_mut().rev() {
            for place in step.inputs.iter_mut().rev().flatten() {
                if let Place::Slot { slot, last } = place {
                    *last = used.insert(*slot);
                }
            }
        }
    }

    /// Names of the leaves, in the order of the request.
    #[must_use]
    pub fn trainable(&self) -> &[String] {
        &self.trainable
    }

    /// For each output, whether there is a path to it from a leaf.
    #[must_use]
    pub fn depends_on_trainable(&self) -> &[bool] {
        &self.depends
    }

    /// The values that the model has for a leaf.
    ///
    /// # Errors
    /// [`Error::NoValue`] when `name` is no leaf of this network.
    pub fn initial(&self, name: &str) -> Result<Arc<Array>, Error> {
        let found = self.trainable.iter().position(|leaf| leaf == name);
        let leaf = found.and_then(|at| self.leaves.get(at)).ok_or_else(|| Error::NoValue { name: name.to_owned() })?;
        Ok(Arc::clone(&leaf.initial))
    }

    /// Runs forward and keeps the tape. `leaves` has an array for each of [`trainable`](Self::trainable), in order; they
    /// are read where they are, and released when the pass is dropped or has gone backward.
    ///
    /// # Errors
    /// [`Error::Arguments`] for a wrong number or shape of arrays, [`Error::Node`] where shapes do not fit a node,
    /// [`Error::NotFinite`] for an output with NaN or infinity.
    pub fn forward(&self, inputs: Vec<Array>, leaves: &[Arc<Array>]) -> Result<Pass, Error> {
        self.check_leaves(leaves)?;
        let leaves: Vec<Tensor> = leaves.iter().map(|leaf| Tensor::leaf(Plain::from_shared(leaf))).collect();
        let outputs = self.run(inputs, leaves.clone())?;
        let ends = outputs
            .iter()
            .map(|value| match value {
                Value::Float(tensor) => tensor.node.clone(),
                Value::Host(_) => None,
            })
            .collect();
        Ok(Pass::new(self.trainable.clone(), self.arrays(outputs)?, ends, leaves))
    }

    /// Runs forward without a tape.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward).
    pub fn evaluate(&self, inputs: Vec<Array>, leaves: &[Arc<Array>]) -> Result<Vec<Array>, Error> {
        self.check_leaves(leaves)?;
        let leaves = leaves.iter().map(|leaf| Tensor::constant(Plain::from_shared(leaf))).collect();
        let outputs = self.run(inputs, leaves)?;
        self.arrays(outputs)
    }

    fn check_leaves(&self, leaves: &[Arc<Array>]) -> Result<(), Error> {
        if leaves.len() != self.leaves.len() {
            let (expected, found) = (self.leaves.len(), leaves.len());
            return Err(Error::Arguments(format!("{found} leaves given, {expected} needed")));
        }
        for ((name, leaf), given) in self.trainable.iter().zip(&self.leaves).zip(leaves) {
            if leaf.shape != given.shape {
                let (expected, found) = (&leaf.shape, &given.shape);
                return Err(Error::Arguments(format!("leaf `{name}` has shape {expected:?}, not {found:?}")));
            }
            given.check(&format!("leaf `{name}`"))?;
        }
        Ok(())
    }

    fn arrays(&self, outputs: Vec<Value>) -> Result<Vec<Array>, Error> {
        let to_array = |value: Value| match value {
            Value::Float(tensor) => tensor.value.into_array(),
            Value::Host(host) => host.to_array(),
        };
        let arrays: Vec<Array> = outputs.into_iter().map(to_array).collect();
        for ((name, _), array) in self.outputs.iter().zip(&arrays) {
            if !all_finite(&array.values) {
                return Err(Error::NotFinite { what: format!("output `{name}`") });
            }
        }
        Ok(arrays)
    }

    fn run(&self, inputs: Vec<Array>, leaves: Vec<Tensor>) -> Result<Vec<Value>, Error> {
        if inputs.len() != self.inputs.len() {
            let (expected, found) = (self.inputs.len(), inputs.len());
            return Err(Error::Arguments(format!("{found} inputs given, {expected} needed")));
        }
        let mut slots: Vec<Option<Value>> = vec![None; self.slots];
        for (given, array) in self.inputs.iter().zip(inputs) {
            array.check(&format!("input `{}`", given.name))?;
            let value = Value::Float(Tensor::constant(Plain::from_array(array)));
            slots[given.slot] = Some(if given.integer { Value::Host(value.into_host()) } else { value });
        }
        for (leaf, tensor) in self.leaves.iter().zip(leaves) {
            slots[leaf.slot] = Some(Value::Float(tensor));
        }
        for step in &self.steps {
            let read = |place: &Option<Place>| match (*place)? {
                Place::Slot { slot, last: true } => slots[slot].take(),
                Place::Slot { slot, last: false } => slots[slot].clone(),
                Place::Constant(at) => Some(self.constants[at].value()),
            };
            let inputs = Inputs::new(step.inputs.iter().map(read).collect());
            let results = step.run(inputs)?;
            for (slot, value) in step.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    slots[*slot] = Some(value);
                }
            }
        }
        let value = |(name, place): &(String, Place)| match *place {
            Place::Slot { slot, .. } => slots[slot].clone().ok_or_else(|| Error::NoValue { name: name.clone() }),
            Place::Constant(at) => Ok(self.constants[at].value()),
        };
        self.outputs.iter().map(value).collect()
    }
}

impl Step {
    pub(crate) fn run(&self, mut inputs: Inputs) -> Result<Vec<Value>, Error> {
        (self.run)(&mut inputs).map_err(|problem| problem.at(&self.node, &self.op))
    }
}

/// Whether no value is NaN or infinite. Without branches, so that it runs at the speed of memory.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let broken = |chunk: &[f32]| chunk.iter().fold(false, |any, value| any | (value.to_bits() & EXPONENT == EXPONENT));
    !values.chunks(4096).any(broken)
}
