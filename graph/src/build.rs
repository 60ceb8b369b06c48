//! From the nodes of a model to the steps of a network.

use std::collections::{HashMap, HashSet};

use adntn_onnx::pb::tensor_proto::DataType;
use adntn_onnx::{Model, pb};

use crate::attributes::Node;
use crate::constants;
use crate::frontier::Kinds;
use crate::network::{Place, Step};
use crate::ops;
use crate::order::{label, operator};
use crate::value::{Constant, Inputs};
use crate::{Array, Error};

/// The values of an initializer or a Constant node of type FLOAT.
pub(crate) fn leaf_values(model: &Model, name: &str) -> Result<Array, Error> {
    let wrong = |problem| Error::NotALeaf { name: name.to_owned(), problem };
    let index = model.index();
    let tensor = match (index.initializer(name), index.producer(name)) {
        (Some(at), _) => &model.graph().initializer[at],
        (None, Some(at)) => {
            let node = Node { model, proto: &model.graph().node[at], opset: model.opset() };
            let value = node.attribute("value").and_then(|attribute| attribute.t.as_ref());
            value.filter(|_| node.proto.op_type() == "Constant").ok_or_else(|| wrong("a node computes it"))?
        }
        (None, None) => return Err(wrong("it is an input of the graph")),
    };
    if tensor.data_type() != DataType::Float as i32 {
        return Err(wrong("its type is not FLOAT"));
    }
    let values = model.floats(tensor)?.into_owned();
    if values.is_empty() {
        return Err(wrong("it is empty"));
    }
    Ok(Array { shape: tensor.dims.iter().map(|&extent| extent as usize).collect(), values })
}

/// Gives names their slots and constants while the steps are built.
pub(crate) struct Builder<'a> {
    model: &'a Model,
    pub kinds: Kinds<'a>,
    pub slots: HashMap<String, usize>,
    constants: HashMap<String, Constant>,
    /// The constants that steps read, and by which name.
    pub kept: Vec<Constant>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(model: &'a Model) -> Builder<'a> {
        let kinds = Kinds::new(model);
        Builder { model, kinds, slots: HashMap::new(), constants: HashMap::new(), kept: Vec::new() }
    }

    pub(crate) fn slot(&mut self, name: &str) -> usize {
        let next = self.slots.len();
        *self.slots.entry(name.to_owned()).or_insert(next)
    }

    /// The constant of this name, read from the file on first use.
    fn constant(&mut self, name: &str) -> Result<Option<Constant>, Error> {
        if self.slots.contains_key(name) {
            return Ok(None);
        }
        if let Some(known) = self.constants.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(at) = self.model.index().initializer(name) else { return Ok(None) };
        let tensor = &self.model.graph().initializer[at];
        let constant = constants::from_tensor(self.model, tensor)
            .map_err(|problem| problem.at(&format!("initializer `{name}`"), "initializer"))?;
        self.constants.insert(name.to_owned(), constant.clone());
        Ok(Some(constant))
    }

    pub(crate) fn place(&mut self, name: &str) -> Result<Place, Error> {
        if let Some(&slot) = self.slots.get(name) {
            return Ok(Place::Slot { slot, last: false });
        }
        let constant = self.constant(name)?.ok_or_else(|| Error::NoValue { name: name.to_owned() })?;
        self.kept.push(constant);
        Ok(Place::Constant(self.kept.len() - 1))
    }

    pub(crate) fn node(
        &mut self,
        number: usize,
        read: &HashSet<&str>,
        stops: &HashSet<&str>,
        steps: &mut Vec<Step>,
        depends: &mut HashSet<usize>,
    ) -> Result<(), Error> {
        let proto: &pb::NodeProto = &self.model.graph().node[number];
        let (name, op) = (label(proto, number), operator(proto));
        let node = Node { model: self.model, proto, opset: self.model.opset() };
        let wanted = |output: &String| read.contains(output.as_str()) && !stops.contains(output.as_str());
        if op == "Constant" {
            let constant = constants::from_node(&node).map_err(|problem| problem.at(&name, &op))?;
            self.constants.extend(proto.output.first().map(|output| (output.clone(), constant)));
            return Ok(());
        }
        let run = ops::build(&node).map_err(|problem| problem.at(&name, &op))?;
        if op != "Split" && proto.output.iter().skip(1).any(wanted) {
            let problem = format!(
                "its output `{}` is not covered",
                proto.output.iter().skip(1).find(|o| wanted(o)).map_or("", String::as_str)
            );
            return Err(Error::Node { node: name, op, problem });
        }
        let fixed = proto.input.iter().all(|input| !self.slots.contains_key(input));
        let mut step = Step { node: name, op, run, inputs: Vec::new(), outputs: Vec::new() };
        if fixed {
            let mut inputs = Vec::new();
            for input in &proto.input {
                inputs.push(if input.is_empty() {
                    None
                } else {
                    self.constant(input)?.map(|constant| constant.value())
                });
            }
            let results = step.run(Inputs::new(inputs))?;
            let named = proto.output.iter().zip(results).filter(|(output, _)| wanted(output));
            self.constants.extend(named.map(|(output, value)| (output.clone(), Constant::of(value))));
            return Ok(());
        }
        for input in &proto.input {
            step.inputs.push(if input.is_empty() { None } else { Some(self.place(input)?) });
        }
        let trained =
            step.inputs.iter().flatten().any(|p| matches!(p, Place::Slot { slot, .. } if depends.contains(slot)));
        for output in &proto.output {
            let slot = if wanted(output) { Some(self.slot(output)) } else { None };
            depends.extend(slot.filter(|_| trained && !self.kinds.is_integer(output)));
            step.outputs.push(slot);
        }
        steps.push(step);
        Ok(())
    }
}
