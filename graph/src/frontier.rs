//! Where a model can be cut so that the part before does not depend on what is trained.

use std::collections::{HashMap, HashSet};

use adntn_onnx::pb::tensor_proto::DataType;
use adntn_onnx::{Model, pb};

use crate::Error;
use crate::attributes::Node;
use crate::order::{exists, needed, reads};
use crate::paths::builds;

/// The values that do not depend on any of `trainable`, but on an input of the graph, and that the nodes which do depend
/// on them read on the way to `outputs`; in the order in which they are first read. Graph inputs may be among them.
///
/// These are the inputs for a [`Network`](crate::Network) of the trainable tail. Integers (shapes that a graph computes)
/// are not among them: they are traced back to the float values whose shape they describe, and computed in the tail, unless the
/// interpreter lacks an operator on the way. So are values that depend on nothing but shapes; constants are among them only where it lacks an operator that makes them.
///
/// # Errors
/// [`Error::NoValue`] for a name that the graph does not have.
pub fn frontier(model: &Model, trainable: &[String], outputs: &[String]) -> Result<Vec<String>, Error> {
    if let Some(name) = trainable.iter().chain(outputs).find(|name| !exists(model, name)) {
        return Err(Error::NoValue { name: name.clone() });
    }
    let graph = model.graph();
    let given: HashSet<&str> = graph
        .input
        .iter()
        .map(pb::ValueInfoProto::name)
        .filter(|name| model.index().initializer(name).is_none())
        .collect();
    let leaves: HashSet<&str> = trainable.iter().map(String::as_str).collect();
    let stops: HashSet<&str> = given.union(&leaves).copied().collect();
    let order = needed(model, &stops, outputs)?;

    let mut trained = leaves;
    let mut variable = given.clone();
    // Values that depend on more of the inputs and leaves than their shapes.
    let mut valued: HashSet<&str> = given.union(&trained).copied().collect();
    for &number in &order {
        let node = &graph.node[number];
        let outputs = || node.output.iter().map(String::as_str);
        let read = |set: &HashSet<&str>| reads(node).any(|name| set.contains(name));
        if read(&variable) || read(&trained) {
            variable.extend(outputs());
        }
        for set in [&mut trained, &mut valued] {
            if !is_shape(node) && read(set) {
                set.extend(outputs());
            }
        }
    }
    let kinds = Kinds::new(model);
    let (found, seen, known) = (Vec::new(), HashSet::new(), HashMap::new());
    let sets = Sets { trained: &trained, variable: &variable, valued: &valued };
    let mut cut = Cut { model, kinds, sets, found, seen, known };
    for &number in &order {
        let node = &graph.node[number];
        if reads(node).any(|name| trained.contains(name)) {
            reads(node).for_each(|name| cut.at(name));
        }
    }
    outputs.iter().for_each(|name| cut.at(name));
    Ok(cut.found)
}

/// Whether a node reads nothing of its input but the shape, on which no leaf has an influence.
pub(crate) fn is_shape(node: &pb::NodeProto) -> bool {
    matches!(node.op_type(), "Shape" | "Size")
}

#[derive(Clone, Copy)]
struct Sets<'a> {
    trained: &'a HashSet<&'a str>,
    variable: &'a HashSet<&'a str>,
    valued: &'a HashSet<&'a str>,
}

struct Cut<'a> {
    model: &'a Model,
    kinds: Kinds<'a>,
    sets: Sets<'a>,
    found: Vec<String>,
    seen: HashSet<&'a str>,
    /// What is known of [`Cut::computable`].
    known: HashMap<&'a str, bool>,
}

impl<'a> Cut<'a> {
    fn at(&mut self, name: &'a str) {
        let mut pending = vec![name];
        while let Some(name) = pending.pop() {
            if self.sets.trained.contains(name) || !self.seen.insert(name) {
                continue;
            }
            let variable = self.sets.variable.contains(name);
            match self.model.index().producer(name) {
                Some(number) if !self.is_given(name) && self.computable(name) => {
                    if variable {
                        pending.extend(reads(&self.model.graph().node[number]));
                    }
                }
                None if !variable => {}
                _ => self.found.push(name.to_owned()),
            }
        }
    }

    /// Whether a value enters the tail as it is where that is possible: float values that depend on more than shapes.
    fn is_given(&self, name: &str) -> bool {
        self.sets.trained.contains(name) || (self.sets.valued.contains(name) && !self.kinds.is_integer(name))
    }

    /// Whether the interpreter has all operators that make a value of the float values it would be given.
    fn computable(&mut self, name: &'a str) -> bool {
        let graph = self.model.graph();
        // A value comes up twice: first to look at what it needs, then to decide.
        let mut stack = vec![(name, false)];
        while let Some((name, ready)) = stack.pop() {
            if self.known.contains_key(name) {
                continue;
            }
            let given = self.is_given(name);
            let number = match self.model.index().producer(name) {
                Some(number) if !given => number,
                _ => {
                    self.known.insert(name, true);
                    continue;
                }
            };
            let node = &graph.node[number];
            if ready {
                let first = node.output.first().is_some_and(|output| output == name) || node.op_type() == "Split";
                let computable = first
                    && builds(self.model, node)
                    && reads(node).all(|input| self.known.get(input).copied().unwrap_or(false));
                self.known.insert(name, computable);
            } else {
                stack.push((name, true));
                stack.extend(reads(node).map(|input| (input, false)));
            }
        }
        self.known.get(name).copied().unwrap_or(false)
    }
}

/// Which values are integers or truth values, by their types where those are known, else by their operators.
pub(crate) struct Kinds<'a> {
    model: &'a Model,
    known: HashMap<&'a str, bool>,
}

impl<'a> Kinds<'a> {
    pub(crate) fn new(model: &'a Model) -> Kinds<'a> {
        let graph = model.graph();
        let mut known: HashMap<&str, bool> = HashMap::new();
        for value in graph.input.iter().chain(&graph.value_info).chain(&graph.output) {
            if let Some(element) = element_type(value) {
                known.insert(value.name(), is_integer_type(element));
            }
        }
        for tensor in &graph.initializer {
            known.insert(tensor.name(), is_integer_type(tensor.data_type()));
        }
        Kinds { model, known }
    }

    pub(crate) fn is_integer(&self, name: &str) -> bool {
        // Pass-through operators are followed to where the type shows; a valid graph has no cycle.
        let mut name = name;
        loop {
            if let Some(&integer) = self.known.get(name) {
                return integer;
            }
            let Some(number) = self.model.index().producer(name) else { return false };
            let proto = &self.model.graph().node[number];
            let node = Node { model: self.model, proto, opset: 0 };
            let from = match proto.op_type() {
                "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" | "Equal" | "Greater" | "GreaterOrEqual"
                | "Less" | "LessOrEqual" | "Not" | "And" | "Or" | "Xor" | "IsNaN" | "IsInf" | "NonMaxSuppression" => {
                    return true;
                }
                "Cast" => return node.int_or("to", 1).is_ok_and(|to| is_integer_type(to as i32)),
                "Constant" | "ConstantOfShape" => return constant_is_integer(&node),
                "Where" => 1,
                "Gather" | "Concat" | "Slice" | "Unsqueeze" | "Squeeze" | "Reshape" | "Flatten" | "Add" | "Sub"
                | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Identity" | "Transpose" | "Split" | "Expand" | "Range"
                | "Abs" | "Neg" | "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "Tile" | "Clip" => 0,
                _ => return false,
            };
            match proto.input.get(from) {
                Some(next) => name = next,
                None => return false,
            }
        }
    }
}

fn constant_is_integer(node: &Node) -> bool {
    let tensor = node.attribute("value").and_then(|attribute| attribute.t.as_ref());
    let numbers = node.attribute("value_int").is_some() || node.attribute("value_ints").is_some();
    tensor.map_or(numbers, |tensor| is_integer_type(tensor.data_type()))
}

fn element_type(value: &pb::ValueInfoProto) -> Option<i32> {
    match value.r#type.as_ref()?.value.as_ref()? {
        pb::type_proto::Value::TensorType(tensor) => tensor.elem_type.filter(|&element| element != 0),
        _ => None,
    }
}

fn is_integer_type(element: i32) -> bool {
    use DataType::{Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    [Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64].iter().any(|&integer| integer as i32 == element)
}
