//! Editing at the level of the wire format: what an edit does not touch is a slice of the original, whatever it holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::payload::{Payloads, Source, encode_tensor};
use crate::plan::{New, PatchPlan, What};
use crate::rope::Rope;
use crate::schema::{Kind, number};
use crate::wire::{self, Field, WireError};
use crate::{Error, pb};

/// The model in `original` with the changes of `plan`, its tensors' data where `payloads` wants them.
pub(crate) fn splice(original: &Bytes, plan: PatchPlan, payloads: &mut Payloads) -> Result<Rope, Error> {
    let mut graphs = 0;
    for field in wire::fields(original) {
        graphs += usize::from(field?.number == number::MODEL_GRAPH);
    }
    let mut splicer = Splicer { plan, payloads, graphs };
    let edited = splicer.message(Kind::Model, original, &BTreeMap::new())?;
    Ok(edited.unwrap_or_else(|| original.clone().into()))
}

struct Splicer<'a, 'p, 'f> {
    plan: PatchPlan<'a>,
    payloads: &'p mut Payloads<'f>,
    /// How many `graph` fields are still to come: the format lets one message come in several pieces.
    graphs: usize,
}

impl Splicer<'_, '_, '_> {
    /// The new content of a message, `None` where nothing changes. `rewired`: new names of a node's inputs.
    fn message(&mut self, kind: Kind, bytes: &Bytes, rewired: &BTreeMap<usize, &str>) -> Result<Option<Rope>, Error> {
        if matches!(kind, Kind::Initializer | Kind::Tensor) {
            let proto =
                &pb::TensorProto::decode(bytes.clone()).map_err(|error| crate::diagnose::diagnose(bytes, &error))?;
            return self.payloads.rewrite(&Source { kind, proto, wire: Some(bytes) });
        }
        let mut out = Copier { bytes, kept: 0, out: Rope::default(), changed: false };
        let mut inputs = 0;
        for field in wire::fields(bytes) {
            let field = field?;
            if kind == Kind::MainGraph {
                self.graph_field(&field, &mut out)?;
            } else if kind == Kind::Node && field.number == number::NODE_INPUT {
                if let Some(name) = rewired.get(&inputs) {
                    out.replace(&field, Bytes::copy_from_slice(name.as_bytes()).into());
                }
                inputs += 1;
            } else {
                self.descend(kind, &field, &mut out, &BTreeMap::new())?;
            }
        }
        if kind == Kind::MainGraph {
            self.graphs -= 1;
            if self.graphs == 0 {
                let rest = self.plan.rest();
                self.insert(bytes.len(), rest, &mut out)?;
            }
        }
        Ok(out.finish())
    }

    /// A field of the main graph, with what the patch wants at its place.
    fn graph_field(&mut self, field: &Field, out: &mut Copier) -> Result<(), Error> {
        let wish = self.plan.at(field.number);
        self.insert(field.whole.start, wish.before, out)?;
        match wish.what {
            What::Keep => self.descend(Kind::MainGraph, field, out, &BTreeMap::new())?,
            What::Rewire(inputs) => self.descend(Kind::MainGraph, field, out, &inputs)?,
            What::Remove => out.skip(field),
            What::Replace(tensor) => {
                let content = self.encode(New::Initializer(tensor))?;
                out.replace(field, content);
            }
        }
        self.insert(field.whole.end, wish.after, out)
    }

    fn descend(
        &mut self,
        kind: Kind,
        field: &Field,
        out: &mut Copier,
        rewired: &BTreeMap<usize, &str>,
    ) -> Result<(), Error> {
        let Some(child) = kind.child(field.number).filter(|_| field.delimited) else { return Ok(()) };
        if !self.payloads.changes_tensors() && child != Kind::MainGraph && rewired.is_empty() {
            return Ok(());
        }
        if let Some(content) = self.message(child, &out.bytes.slice(field.content.clone()), rewired)? {
            out.replace(field, content);
        }
        Ok(())
    }

    fn insert(&mut self, at: usize, new: Vec<New>, out: &mut Copier) -> Result<(), Error> {
        for new in new {
            let number = new.number();
            let content = self.encode(new)?;
            out.insert(at, number, content);
        }
        Ok(())
    }

    fn encode(&mut self, new: New) -> Result<Rope, Error> {
        match new {
            New::Output(value) => Ok(Bytes::from(value.encode_to_vec()).into()),
            New::Initializer(proto) => {
                let source = Source { kind: Kind::Initializer, proto, wire: None };
                self.payloads.rewrite(&source)?.map_or_else(|| encode_tensor(proto), Ok)
            }
            New::Node(node) => {
                let bytes = Bytes::from(node.encode_to_vec());
                let rewritten = match self.payloads.changes_tensors() {
                    true => self.message(Kind::Node, &bytes, &BTreeMap::new())?,
                    false => None,
                };
                Ok(rewritten.unwrap_or_else(|| bytes.into()))
            }
        }
    }
}

/// Copies a message with changes: what lies between two changes is one slice.
struct Copier<'b> {
    bytes: &'b Bytes,
    /// Up to here the message is in `out`.
    kept: usize,
    out: Rope,
    changed: bool,
}

impl Copier<'_> {
    fn keep_until(&mut self, end: usize) {
        self.out.push(self.bytes.slice(self.kept..end));
        self.kept = end;
        self.changed = true;
    }

    fn insert(&mut self, at: usize, number: u32, content: Rope) {
        self.keep_until(at);
        self.out.push_field(number, content);
    }

    fn skip(&mut self, field: &Field) {
        self.keep_until(field.whole.start);
        self.kept = field.whole.end;
    }

    fn replace(&mut self, field: &Field, content: Rope) {
        self.skip(field);
        self.out.push_field(field.number, content);
    }

    fn finish(mut self) -> Option<Rope> {
        if !self.changed {
            return None;
        }
        self.keep_until(self.bytes.len());
        Some(self.out)
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Error {
        let field = error.number.map_or_else(|| "a message".to_owned(), |number| format!("field {number}"));
        Error::Malformed { offset: error.offset as u64, field, reason: error.reason }
    }
}
