//! Readable, unique names for layers.
//!
//! A layer is called after its weight where that name was given by a person: `c.2.weight` makes `c.2`. Names that exporters
//! number (`onnx::MatMul_215`, `/c/Constant_output_0`, `val_12`) say nothing, so there the node's name serves: `/c/c.2/Gemm`
//! makes `c.2`. A node without a name leaves op and position: `Gemm_12`. Long names are cut, since every value that a rewrite adds
//! bears them. Whatever comes out is made unique with `_2`, `_3`, …

use std::collections::{BTreeSet, HashMap};

use adntn_networks::{Arrangement as _, Topology};
use adntn_onnx::{Model, pb};

use crate::digits::{DIGITS_PART, HALVES_PART, LOW_RANK_PART};
use crate::replace::DENSE_PART;

/// The most characters of a layer's name, and how many of them are the end of a name that was cut.
const LONGEST: usize = 64;
const TAIL: usize = 28;

/// Hands out layer names that no other layer and no value or node of the model uses as a prefix.
pub(crate) struct Namer {
    taken: BTreeSet<String>,
    given: BTreeSet<String>,
    /// The last number behind each name.
    counts: HashMap<String, usize>,
}

impl Namer {
    pub(crate) fn new(model: &Model) -> Self {
        let mut taken = BTreeSet::new();
        collect(model.graph(), &mut taken);
        taken.extend(model.proto().functions.iter().map(|f| f.name().to_owned()));
        Self { taken, given: BTreeSet::new(), counts: HashMap::new() }
    }

    pub(crate) fn layer(&mut self, weight: &str, node: &pb::NodeProto, index: usize) -> String {
        let base = from_weight(weight)
            .or_else(|| from_node(node.name(), node.op_type()))
            .map(|name| cut(clean(&name)))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("{}_{index}", node.op_type()));
        let mut name = base.clone();
        let mut count = self.counts.get(&base).copied().unwrap_or(1);
        while self.given.contains(&name) || self.is_prefix(&name) {
            count += 1;
            name = format!("{base}_{count}");
        }
        self.counts.insert(base, count);
        self.given.insert(name.clone());
        name
    }

    /// Whether something of the model has a name that a rewrite of this layer might give.
    fn is_prefix(&self, layer: &str) -> bool {
        let parts = Topology::ALL.iter().map(|topology| topology.name()).chain([
            DENSE_PART,
            DIGITS_PART,
            LOW_RANK_PART,
            HALVES_PART,
        ]);
        parts.map(|part| format!("{layer}/{part}")).any(|name| {
            let within = format!("{name}/");
            self.taken.contains(&name)
                || self.taken.range(within.clone()..).next().is_some_and(|name| name.starts_with(&within))
        })
    }
}

/// Hands out short names for new values, in which nobody looks for a meaning.
pub(crate) struct Fresh {
    prefix: String,
    taken: BTreeSet<String>,
    count: usize,
}

impl Fresh {
    /// Under a prefix that nothing in the model has; see [`Namer::layer`].
    pub(crate) fn under(prefix: String) -> Self {
        Fresh { prefix, taken: BTreeSet::new(), count: 0 }
    }

    /// For values that belong to no layer alone.
    pub(crate) fn for_shared(model: &Model) -> Self {
        Fresh { prefix: String::new(), taken: Namer::new(model).taken, count: 0 }
    }

    /// A name that nothing has.
    pub(crate) fn next(&mut self) -> String {
        loop {
            let name = format!("{}{}", self.prefix, letters(self.count));
            self.count += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// A name with a meaning, numbered where it is taken.
    pub(crate) fn label(&mut self, label: &str) -> String {
        let base = format!("{}{label}", self.prefix);
        let numbered = (2_usize..).map(|count| format!("{base}_{count}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(|name| self.taken.insert(name.clone())).unwrap_or(base)
    }
}

/// `a` to `z`, `A` to `Z`, `aa`, `ab` and so on.
fn letters(number: usize) -> String {
    const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let last = char::from(LETTERS[number % LETTERS.len()]);
    match number / LETTERS.len() {
        0 => last.to_string(),
        more => format!("{}{last}", letters(more - 1)),
    }
}

/// Every name that the graph and the bodies in it mention: a body sees the names of the graph around it, and what it defines
/// itself must not be defined around it.
fn collect(graph: &pb::GraphProto, names: &mut BTreeSet<String>) {
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    names.extend(values.map(|v| v.name().to_owned()));
    names.extend(graph.initializer.iter().map(|t| t.name().to_owned()));
    names.extend(graph.sparse_initializer.iter().filter_map(|t| t.values.as_ref()).map(|t| t.name().to_owned()));
    for node in &graph.node {
        names.insert(node.name().to_owned());
        names.extend(node.input.iter().chain(&node.output).cloned());
        for body in bodies(node) {
            collect(body, names);
        }
    }
}

/// The graphs a node holds as attributes.
pub(crate) fn bodies(node: &pb::NodeProto) -> impl Iterator<Item = &pb::GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

fn from_weight(weight: &str) -> Option<String> {
    const SUFFIXES: [&str; 8] = [".weight", "/weight", ".kernel", "/kernel", ".w_0", "_weight", "_kernel", ".W"];
    let weight = weight.trim_start_matches('/');
    let stripped = SUFFIXES.iter().find_map(|s| weight.strip_suffix(s)).filter(|s| !s.is_empty());
    if let Some(stripped) = stripped {
        return Some(stripped.to_owned());
    }
    let numbered = weight.contains("::") || weight.contains("_output_") || weight.contains("__");
    (!numbered && !is_counter(weight)).then(|| weight.to_owned())
}

/// `215`, `val_12`, `v12`, `Constant_3`, `const_7`: a short word and a number.
fn is_counter(name: &str) -> bool {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if word.len() == name.len() {
        return !name.chars().any(|c| c.is_ascii_alphabetic());
    }
    let word = word.trim_end_matches(['_', '.']).to_ascii_lowercase();
    !word.chars().any(|c| c.is_ascii_alphabetic())
        || ["val", "v", "const", "constant", "initializer", "identity", "tensor", "t", "x", "p"]
            .contains(&word.as_str())
}

fn from_node(name: &str, op: &str) -> Option<String> {
    let mut parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
    if let Some(last) = parts.last()
        && last.strip_prefix(op).is_some_and(|rest| rest.chars().all(|c| c == '_' || c.is_ascii_digit()))
        && parts.len() > 1
    {
        parts.pop();
    }
    // Exporters repeat the scope: `c/c.2` is the module `c.2`.
    let mut kept: Vec<&str> = Vec::new();
    for part in parts {
        if kept.last().is_some_and(|k| part.strip_prefix(k).is_some_and(|rest| rest.starts_with('.'))) {
            kept.pop();
        }
        kept.push(part);
    }
    (!kept.is_empty()).then(|| kept.join("/"))
}

fn clean(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-/".contains(c) { c } else { '_' }).collect();
    name.trim_matches('/').to_owned()
}

/// At most [`LONGEST`] characters of a clean name: its beginning and its end, which tells layers of one block apart.
fn cut(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let (head, tail) = (&name[..LONGEST - TAIL - 2], &name[name.len() - TAIL..]);
    format!("{head}..{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_weight_name_names_the_layer() {
        assert_eq!(from_weight("c.2.weight").as_deref(), Some("c.2"));
        assert_eq!(from_weight("7.weight").as_deref(), Some("7"));
        assert_eq!(from_weight("conv2d_12.w_0").as_deref(), Some("conv2d_12"));
        assert_eq!(from_weight("encoder.proj").as_deref(), Some("encoder.proj"));
    }

    #[test]
    fn a_numbered_weight_name_does_not() {
        for name in ["onnx::MatMul_215", "/c/Constant_output_0", "val_12", "215", "const_fold_opt__99", "Constant_3"] {
            assert_eq!(from_weight(name), None, "{name}");
        }
    }

    #[test]
    fn a_node_name_loses_its_op_and_its_repeated_scope() {
        assert_eq!(from_node("/c/c.2/Gemm", "Gemm").as_deref(), Some("c.2"));
        assert_eq!(from_node("/enc/layer/MatMul_1", "MatMul").as_deref(), Some("enc/layer"));
        assert_eq!(from_node("Conv_0", "Conv").as_deref(), Some("Conv_0"));
        assert_eq!(from_node("", "Gemm"), None);
    }

    #[test]
    fn numbered_names_are_as_short_as_they_can_be() {
        let names: Vec<String> = (0..3000).map(letters).collect();
        assert_eq!([&names[0], &names[51], &names[52], &names[2755], &names[2756]], ["a", "Z", "aa", "ZZ", "aaa"]);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn names_hold_only_plain_characters() {
        assert_eq!(clean("/a b:c/"), "a_b_c");
    }

    #[test]
    fn long_names_keep_their_beginning_and_end() {
        let name = format!("encoder{}.query", "x".repeat(3000));
        let short = cut(name);
        assert!(short.len() == LONGEST && short.starts_with("encoder") && short.ends_with(".query"), "{short}");
        assert_eq!(cut("encoder.query".into()), "encoder.query");
    }
}
