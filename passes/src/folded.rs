//! Values that are no plain constants but computed from constants alone, so that a runtime knows them when it loads a model.

use std::collections::HashMap;

use adntn_onnx::{Model, pb};

use crate::digits::UNPACK_PASS;
use crate::emit::{GENERATOR_PASS, PASS_KEY};
use crate::origin::is_standard;

/// Ops whose result differs from run to run, or that are left to the caller's mode.
const UNDETERMINED: [&str; 7] =
    ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"];

/// What a value computed from constants is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Folding {
    /// What a rewrite has put in a weight's place.
    Replaced,
    /// Integers behind a DequantizeLinear.
    Quantised,
    /// Anything else.
    Other {
        /// Such as ``Transpose of `w` ``.
        source: String,
        /// The constant it begins with.
        root: String,
    },
}

/// All such values of the main graph.
pub(crate) struct Folded<'m> {
    ways: HashMap<&'m str, Way<'m>>,
}

/// What lies between a value and the constant it begins with, following first operands.
#[derive(Clone, Copy)]
struct Way<'m> {
    /// The operator nearest to the value, Constant and Identity left out, and how many there are.
    nearest: Option<&'m str>,
    operators: usize,
    root: &'m str,
    /// Whether it comes of what a rewrite has put there.
    generator: bool,
    quantised: bool,
}

impl<'m> Way<'m> {
    fn from(root: &'m str) -> Self {
        Way { nearest: None, operators: 0, root, generator: false, quantised: false }
    }

    /// The way of what `node` makes of a first operand with this way; `generator` says whether any operand comes of a rewrite.
    fn through(self, node: &'m pb::NodeProto, output: &'m str, generator: bool) -> Self {
        let generator = generator || made_by_rewrite(node);
        match node.op_type() {
            "Constant" => Way { generator, ..Way::from(output) },
            "Identity" => Way { generator, ..self },
            op => Way {
                nearest: Some(op),
                operators: self.operators + 1,
                generator,
                quantised: self.quantised || op == "DequantizeLinear",
                ..self
            },
        }
    }
}

impl<'m> Folded<'m> {
    pub(crate) fn new(model: &'m Model) -> Self {
        let (graph, index) = (model.graph(), model.index());
        let overridable = |name: &str| model.proto().ir_version() >= 4 && index.is_graph_input(name);
        let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(pb::TensorProto::name);
        let roots: std::collections::HashSet<&str> =
            graph.initializer.iter().map(pb::TensorProto::name).chain(sparse).filter(|n| !overridable(n)).collect();
        let is_known = |name: &String| name.is_empty() || roots.contains(name.as_str());
        let mut waiting: Vec<usize> =
            graph.node.iter().map(|node| node.input.iter().filter(|name| !is_known(name)).count()).collect();
        let mut ready: Vec<usize> = (0..waiting.len()).filter(|&at| waiting[at] == 0).collect();
        let mut ways: HashMap<&str, Way<'_>> = HashMap::new();
        while let Some(at) = ready.pop() {
            let node = &graph.node[at];
            if !is_foldable(node) {
                continue;
            }
            let first = node.input.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
            let before = ways.get(first).copied().unwrap_or(Way::from(first));
            let generator = node.input.iter().any(|name| ways.get(name.as_str()).is_some_and(|way| way.generator));
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                ways.insert(output.as_str(), before.through(node, output, generator));
                for reader in index.uses(output) {
                    waiting[reader.node] -= 1;
                    if waiting[reader.node] == 0 {
                        ready.push(reader.node);
                    }
                }
            }
        }
        Folded { ways }
    }

    /// What `value` is, if nodes other than Constant and Identity compute it from constants alone.
    pub(crate) fn get(&self, value: &str) -> Option<Folding> {
        let way = self.ways.get(value)?;
        if way.generator {
            return Some(Folding::Replaced);
        }
        if way.quantised {
            return Some(Folding::Quantised);
        }
        let (first, root) = (way.nearest?, way.root);
        let rest = match way.operators {
            1 => "",
            2 => " and one node before it",
            _ => " and nodes before it",
        };
        Some(Folding::Other { source: format!("{first} of `{root}`{rest}"), root: root.to_owned() })
    }
}

/// Whether a rewrite of an earlier compilation put the node there.
pub(crate) fn made_by_rewrite(node: &pb::NodeProto) -> bool {
    node.metadata_props
        .iter()
        .any(|entry| entry.key() == PASS_KEY && [GENERATOR_PASS, UNPACK_PASS].contains(&entry.value()))
}

fn is_foldable(node: &pb::NodeProto) -> bool {
    let standard = is_standard(node, node.op_type()) || node.op_type() == "DequantizeLinear";
    let has_body = node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
    standard && !has_body && !UNDETERMINED.contains(&node.op_type())
}
