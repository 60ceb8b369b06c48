//! The survey: every weight of the main graph that a rewrite may replace, and why the others are left alone.
//!
//! A weight is a *constant root* (an initializer or a Constant node with a tensor) together with every value an Identity
//! copies it to. It becomes one candidate when everything that reads those values is a dense layer (Conv with one group,
//! Gemm, MatMul) or a Gather that takes rows of it, and all layers that multiply with it read it in the same orientation: then
//! a rewrite can point them all at the new weight and remove the root. Otherwise each weighted node gets a [`SkipReason`].
//! Nodes in control-flow bodies and local functions are listed, never rewritten. Products of two activations have no weight
//! and are not listed, nor are the products inside a generator of an earlier compilation.

mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use adntn_onnx::{Model, pb};

use crate::axes::input_axes;
use crate::candidate::{Candidate, DenseUse, LayerKind, Root, Stored, WeightSource, matrix_dims};
use crate::folded::{Folded, Folding, made_by_rewrite};
use crate::name::{Namer, bodies};
use crate::origin::{Origin, Origins, constant_tensor, is_standard, op_and_name};
use crate::skip::{SkipReason, Skipped};

/// What the survey found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// The replaceable weights, in graph order.
    pub candidates: Vec<Candidate>,
    /// The weighted nodes left alone, in graph order; those of bodies and functions last.
    pub skipped: Vec<Skipped>,
}

/// Settings of [`find_candidates_with`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindOptions {
    /// Weights with fewer elements are left alone.
    pub min_elements: usize,
}

impl Default for FindOptions {
    fn default() -> Self {
        Self { min_elements: 1024 }
    }
}

/// Surveys the main graph with default settings.
#[must_use]
pub fn find_candidates(model: &Model) -> Survey {
    find_candidates_with(model, &FindOptions::default())
}

/// Surveys the main graph.
#[must_use]
pub fn find_candidates_with(model: &Model, options: &FindOptions) -> Survey {
    Finder { model, options, folded: Folded::new(model), origins: Origins::new(model) }.run()
}

const OLDEST_OPSET: i64 = 7;

/// Nodes that a reason names, at most: it is told for each of its layers.
const LISTED: usize = 5;

/// Ops that hold a trained matrix but have no rewrite.
const OTHER_WEIGHTED_OPS: [&str; 24] = [
    "ConvTranspose",
    "DeformConv",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "LSTM",
    "GRU",
    "RNN",
    "Einsum",
    "Attention",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "FusedMatMulActivation",
    "MatMulNBits",
    "MatMulBnb4",
    "MatMulFpQ4",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QGemm",
    "QAttention",
    "GemmFloat8",
    "NhwcConv",
];

struct Finder<'m> {
    model: &'m Model,
    options: &'m FindOptions,
    folded: Folded<'m>,
    origins: Origins<'m>,
}

/// The value that should have been a weight and why it is none; nothing for a node that has no weight at all.
type NoWeight = Option<(String, SkipReason)>;

impl<'m> Finder<'m> {
    fn run(&self) -> Survey {
        let mut skipped: BTreeMap<usize, Skipped> = BTreeMap::new();
        // Readers of each root in graph order; a root's place is that of its first reader.
        let mut roots: Vec<(Root, Vec<DenseUse>)> = Vec::new();
        let mut places: HashMap<Root, usize> = HashMap::new();
        for (index, node) in self.model.graph().node.iter().enumerate() {
            if let Some(kind) = layer_kind(node) {
                let found = match kind {
                    LayerKind::Gather => self.table_use(index, node),
                    _ => self.dense_use(index, node, kind),
                };
                match found {
                    Ok((root, found)) => {
                        let place = *places.entry(root).or_insert_with_key(|root| {
                            roots.push((root.clone(), Vec::new()));
                            roots.len() - 1
                        });
                        roots[place].1.push(found);
                    }
                    Err(Some((weight, reason))) => {
                        skipped.insert(index, self.skip(index, &weight, reason));
                    }
                    Err(None) => {}
                }
            } else if OTHER_WEIGHTED_OPS.contains(&node.op_type())
                && let Some(weight) = self.largest_constant(node)
            {
                skipped.insert(index, self.skip(index, &weight, SkipReason::UnsupportedOp));
            }
        }
        let mut candidates = Vec::new();
        let mut namer = Namer::new(self.model);
        for (root, mut uses) in roots {
            self.add_tied(&root, &mut uses);
            match self.candidate(root, &uses) {
                Ok(mut candidate) => {
                    let node = &self.model.graph().node[uses[0].node];
                    candidate.id = candidates.len();
                    candidate.layer = namer.layer(&self.root_name(&candidate.source.root), node, uses[0].node);
                    candidates.push(candidate);
                }
                Err(reason) => {
                    for u in uses {
                        let weight = self.input(u.node, u.input).to_owned();
                        skipped.insert(u.node, self.skip(u.node, &weight, reason.clone()));
                    }
                }
            }
        }
        let mut skipped: Vec<Skipped> = skipped.into_values().collect();
        for node in &self.model.graph().node {
            let reason = SkipReason::InsideBody { owner: op_and_name(node) };
            bodies(node).for_each(|body| skip_all(&body.node, &reason, &mut skipped));
        }
        for function in &self.model.proto().functions {
            let reason = SkipReason::InsideFunction { function: function.name().to_owned() };
            skip_all(&function.node, &reason, &mut skipped);
        }
        Survey { candidates, skipped }
    }

    /// The constant operand of a Conv, Gemm or MatMul.
    fn dense_use(&self, index: usize, node: &pb::NodeProto, kind: LayerKind) -> Result<(Root, DenseUse), NoWeight> {
        let flag = |name| int_attribute(node, name).unwrap_or(0) != 0;
        // Operand slots a weight may sit in, and how its dims then read: the first is the usual one.
        let slots: Vec<(usize, Stored)> = match kind {
            LayerKind::Conv => vec![(1, Stored::OutputInput)],
            LayerKind::Gather => vec![(0, Stored::OutputInput)],
            LayerKind::MatMul => vec![(1, Stored::InputOutput), (0, Stored::OutputInput)],
            LayerKind::Gemm => vec![
                (1, if flag("transB") { Stored::OutputInput } else { Stored::InputOutput }),
                (0, if flag("transA") { Stored::InputOutput } else { Stored::OutputInput }),
            ],
        };
        let is_known = |input: usize| {
            let value = self.input(index, input);
            self.folded.get(value).is_some() || !matches!(self.origins.of(value), Origin::Computed(_))
        };
        let name = |input| self.input(index, input).to_owned();
        if is_known(0) && is_known(1) {
            let replaced = |input| self.folded.get(self.input(index, input)) == Some(Folding::Replaced);
            let is_ours = made_by_rewrite(node) || replaced(0) || replaced(1);
            return Err((!is_ours).then(|| (name(slots[0].0), SkipReason::AllConstant)));
        }
        let Some(&(input, stored)) = slots.iter().find(|(input, _)| is_known(*input)) else {
            return Err(match (kind, self.origins.of(self.input(index, slots[0].0))) {
                (LayerKind::Conv, Origin::Computed(source)) => Some((name(1), SkipReason::NotConstant { source })),
                _ => None,
            });
        };
        if let Some(folding) = self.folded.get(self.input(index, input)) {
            return Err(Some((name(input), self.folding(folding, index))));
        }
        let no_weight = |reason| Err(Some((name(input), reason)));
        let root = match self.origins.of(self.input(index, input)) {
            Origin::Root(root) => root,
            Origin::Sparse => return no_weight(SkipReason::Sparse),
            Origin::Spelling(attribute) => return no_weight(SkipReason::ConstantSpelling { attribute }),
            Origin::Computed(source) => return no_weight(SkipReason::NotConstant { source }),
        };
        if let Some(groups) = int_attribute(node, "group").filter(|g| kind == LayerKind::Conv && *g != 1) {
            return no_weight(SkipReason::Grouped { groups });
        }
        Ok((root, DenseUse { node: index, input, kind, stored }))
    }

    /// Why a weight computed from constants is left alone.
    fn folding(&self, folding: Folding, reader: usize) -> SkipReason {
        match folding {
            Folding::Replaced => SkipReason::Generator,
            Folding::Quantised => SkipReason::Quantised,
            Folding::Other { source, root } => {
                let nodes = &self.model.graph().node;
                let uses = self.model.index().uses(&root).iter();
                let tables = uses.filter(|u| u.node != reader && u.input == 0 && is_standard(&nodes[u.node], "Gather"));
                SkipReason::Folded { source, tied: self.listed(tables.map(|u| u.node)) }
            }
        }
    }

    /// Checks everything about a root and its readers; `id` and `layer` are left for the caller.
    fn candidate(&self, root: Root, uses: &[DenseUse]) -> Result<Candidate, SkipReason> {
        let index = self.model.index();
        let tensor =
            self.tensor(&root).ok_or_else(|| SkipReason::Unreadable { message: "its tensor is missing".to_owned() })?;
        // Rows may be taken of a weight in any orientation, so the layers that multiply with it decide.
        let multiplying = || uses.iter().filter(|u| u.kind != LayerKind::Gather);
        let first = *multiplying().next().unwrap_or(&uses[0]);
        if self.model.opset() < OLDEST_OPSET {
            return Err(SkipReason::OpsetTooOld { opset: self.model.opset() });
        }
        if tensor.data_type() != pb::tensor_proto::DataType::Float as i32 {
            return Err(SkipReason::UnsupportedType { dtype: type_name(tensor.data_type()) });
        }
        let (outputs, inputs) = matrix_dims(&tensor.dims, first.kind, first.stored)?;
        let elements = outputs * inputs;
        if elements < self.options.min_elements {
            return Err(SkipReason::TooSmall { elements, minimum: self.options.min_elements });
        }
        let name = self.root_name(&root);
        let listed_input = matches!(root, Root::Initializer(_)) && index.is_graph_input(&name);
        if listed_input && self.model.proto().ir_version() >= 4 {
            return Err(SkipReason::OverridableInput);
        }
        let identities = self.readers(&name, uses)?;
        if multiplying().any(|u| u.stored != first.stored) {
            return Err(SkipReason::Orientations { users: self.listed(multiplying().map(|u| u.node)) });
        }
        let unreadable = |e: adntn_onnx::Error| SkipReason::Unreadable { message: e.to_string() };
        if !self.model.is_finite(tensor).map_err(unreadable)? {
            return Err(SkipReason::NotFinite);
        }
        Ok(Candidate {
            id: 0,
            layer: String::new(),
            weight: self.input(uses[0].node, uses[0].input).to_owned(),
            source: WeightSource { root, identities, listed_input },
            uses: uses.to_vec(),
            dims: tensor.dims.clone(),
            outputs,
            inputs,
            input_axes: input_axes(self.model, &first, inputs),
            stored: first.stored,
            kind: first.kind,
            bytes: self.model.tensor_bytes(tensor).map_err(unreadable)?,
        })
    }

    /// The Identity nodes between a root and its readers, when the `uses` are all there is.
    fn readers(&self, root: &str, uses: &[DenseUse]) -> Result<Vec<usize>, SkipReason> {
        let (graph, index) = (self.model.graph(), self.model.index());
        let known: HashSet<(usize, usize)> = uses.iter().map(|u| (u.node, u.input)).collect();
        let (mut identities, mut others) = (BTreeSet::new(), BTreeSet::new());
        let mut values = vec![root.to_owned()];
        while let Some(value) = values.pop() {
            if index.is_graph_output(&value) {
                return Err(SkipReason::GraphOutput);
            }
            if index.is_captured(&value) {
                return Err(SkipReason::Captured);
            }
            for u in index.uses(&value) {
                let node = &graph.node[u.node];
                if is_standard(node, "Identity") {
                    if identities.insert(u.node) {
                        values.extend(node.output.iter().cloned());
                    }
                } else if !known.contains(&(u.node, u.input)) {
                    others.insert(u.node);
                }
            }
        }
        if others.is_empty() {
            return Ok(identities.into_iter().collect());
        }
        Err(SkipReason::OtherUses { users: self.listed(others.iter().copied()) })
    }

    /// Op and name of nodes; of many the first, and how many more there are.
    fn listed(&self, nodes: impl Iterator<Item = usize> + Clone) -> Vec<String> {
        let shown = nodes.clone().take(LISTED).map(|at| op_and_name(&self.model.graph().node[at]));
        let more = nodes.count().saturating_sub(LISTED);
        shown.chain((more > 0).then(|| format!("and {more} more"))).collect()
    }

    /// The largest constant a node reads, if it has one that could be a matrix.
    fn largest_constant(&self, node: &pb::NodeProto) -> Option<String> {
        let size = |name: &&String| match self.origins.of(name) {
            Origin::Root(root) => self.dims(&root).filter(|d| d.len() > 1).map(|d| d.iter().product::<i64>()),
            Origin::Sparse => Some(1),
            _ => None,
        };
        node.input.iter().filter(|i| size(i).is_some()).max_by_key(size).cloned()
    }

    fn skip(&self, index: usize, weight: &str, reason: SkipReason) -> Skipped {
        let node = &self.model.graph().node[index];
        let shape = match self.origins.of(weight) {
            Origin::Root(root) => self.dims(&root).map(<[i64]>::to_vec).unwrap_or_default(),
            _ => Vec::new(),
        };
        let name = if node.name().is_empty() { format!("{}_{index}", node.op_type()) } else { node.name().to_owned() };
        Skipped { node: name, op: node.op_type().to_owned(), weight: weight.to_owned(), shape, reason }
    }

    fn dims(&self, root: &Root) -> Option<&'m [i64]> {
        self.tensor(root).map(|t| t.dims.as_slice())
    }

    fn tensor(&self, root: &Root) -> Option<&'m pb::TensorProto> {
        let graph = self.model.graph();
        match root {
            Root::Initializer(name) => self.model.index().initializer(name).and_then(|at| graph.initializer.get(at)),
            Root::ConstantNode(node) => graph.node.get(*node).and_then(constant_tensor),
        }
    }

    fn root_name(&self, root: &Root) -> String {
        match root {
            Root::Initializer(name) => name.clone(),
            Root::ConstantNode(node) => self.model.graph().node[*node].output.first().cloned().unwrap_or_default(),
        }
    }

    fn input(&self, node: usize, input: usize) -> &'m str {
        self.model.graph().node[node].input.get(input).map_or("", String::as_str)
    }
}

fn layer_kind(node: &pb::NodeProto) -> Option<LayerKind> {
    if !is_standard(node, node.op_type()) {
        return None;
    }
    match node.op_type() {
        "Conv" => Some(LayerKind::Conv),
        "Gemm" => Some(LayerKind::Gemm),
        "MatMul" => Some(LayerKind::MatMul),
        "Gather" => Some(LayerKind::Gather),
        _ => None,
    }
}

fn int_attribute(node: &pb::NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name() == name).and_then(|a| a.i)
}

/// Lists the weighted nodes of a body, and of the bodies in it.
fn skip_all(nodes: &[pb::NodeProto], reason: &SkipReason, skipped: &mut Vec<Skipped>) {
    for node in nodes {
        if layer_kind(node).is_some() || OTHER_WEIGHTED_OPS.contains(&node.op_type()) {
            skipped.push(Skipped {
                node: if node.name().is_empty() {
                    node.output.first().cloned().unwrap_or_default()
                } else {
                    node.name().to_owned()
                },
                op: node.op_type().to_owned(),
                weight: node.input.get(1).cloned().unwrap_or_default(),
                shape: Vec::new(),
                reason: reason.clone(),
            });
        }
        bodies(node).for_each(|body| skip_all(&body.node, reason, skipped));
    }
}

/// The ONNX name of a tensor element type.
pub(crate) fn type_name(data_type: i32) -> String {
    pb::tensor_proto::DataType::try_from(data_type)
        .map_or_else(|_| format!("unknown type {data_type}"), |t| t.as_str_name().to_ascii_lowercase())
}
