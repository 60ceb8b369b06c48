//! What is kept of a layer between compilations: everything on offer in a family with its starts, and fits.
//!
//! All of it follows from the weight, the statistics of its inputs, what is asked for and how it is stored, and, as far as bytes in the
//! file go, from the nodes around it. These are what names the entries.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use adntn_fit::layerwise::Effort;
use adntn_networks::Generator;
use adntn_onnx::Model;

use super::{AtHand, Fitted, Key, Layer};
use crate::cache::{Cache, Key as Name, Reader, Writer, read_replacement, write_replacement};
use crate::error::Error;

/// Weights with fewer elements are not worth a file: what is on offer for them is made in no time.
const FEWEST: usize = 1 << 12;
/// About what an entry takes beside the starts in it.
const BESIDE_STARTS: usize = 1 << 14;

/// The cache as a layer sees it.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    cache: Cache,
    /// Names the model's nodes.
    structure: Option<Name>,
    seed: u64,
    base: OnceCell<Name>,
    /// Families that were looked for, and those of them that were found.
    sought: BTreeSet<usize>,
    found: BTreeSet<usize>,
}

/// Everything on offer in a family, being made.
#[derive(Debug)]
pub(super) struct Offers {
    steps: Vec<Offered>,
    /// Bytes of the starts among them, and the most they may take: those that take most are left out, and made again if need be.
    bytes: usize,
    most: usize,
}

#[derive(Debug)]
struct Offered {
    step: usize,
    error: f64,
    size: Option<u64>,
    /// Why there is none.
    reason: Option<String>,
    start: Option<Vec<u8>>,
}

/// Names the nodes of a model and the shapes of its tensors, but not their values.
pub(crate) fn structure(model: &Model) -> Name {
    let graph = model.graph();
    let mut key = Name::of("structure").text(&format!("{:?}", model.proto().opset_import));
    key = key.text(&format!("{:?}", model.proto().ir_version));
    let lengths =
        [graph.node.len(), graph.initializer.len(), graph.input.len(), graph.output.len(), graph.value_info.len()];
    key = lengths.iter().fold(key, |key, &length| key.number(length as u64));
    for node in &graph.node {
        let parts = [&node.op_type, &node.domain, &node.name].map(|part| part.as_deref().unwrap_or_default());
        key = parts.iter().fold(key, |key, part| key.text(part));
        key = key.text(&format!("{:?} {:?}", node.input, node.output));
    }
    for tensor in &graph.initializer {
        key = key.text(tensor.name()).text(&format!("{:?} {:?}", tensor.dims, tensor.data_type));
    }
    // What is new is called nothing of these.
    for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        key = key.text(value.name());
    }
    key.finish()
}

impl Layer<'_> {
    /// The same, with what is kept in `cache`; `structure` names the [structure] of the model.
    pub(crate) fn with_cache(mut self, cache: &Cache, structure: Name, seed: u64) -> Self {
        // Where networks are chosen by their ratio, few are looked at.
        if cache.is_on() && !self.single && self.candidate.elements() >= FEWEST {
            self.shelf = Shelf { cache: cache.clone(), structure: Some(structure), seed, ..Shelf::default() };
        }
        self
    }

    /// Names what all entries of the layer depend on; `None` where nothing is kept.
    fn base(&self) -> Result<Option<Name>, Error> {
        let Some(structure) = self.shelf.structure else { return Ok(None) };
        if let Some(base) = self.shelf.base.get() {
            return Ok(Some(*base));
        }
        let mut key = Name::of("layer").key(structure).text(&format!("{:?} {}", self.candidate, self.core_type));
        key = key.number(self.shelf.seed).floats(&self.weight()?);
        if let Some(gram) = &self.gram {
            key = key.key(gram.digest().into());
        }
        Ok(Some(*self.shelf.base.get_or_init(|| key.finish())))
    }

    /// Names everything on offer in a family; `None` where nothing is kept.
    pub(crate) fn family_name(&self, family: usize) -> Result<Option<Name>, Error> {
        let name = |base| Name::of("offers").key(base).text(&format!("{:?}", self.families[family])).finish();
        Ok(self.base()?.map(name))
    }

    /// Takes over the errors and sizes of everything on offer in a family, where they are kept; tells whether they are.
    pub(crate) fn recall_family(&mut self, family: usize) -> Result<bool, Error> {
        if self.shelf.structure.is_none() {
            return Ok(false);
        }
        if !self.shelf.sought.insert(family) {
            return Ok(self.shelf.found.contains(&family));
        }
        let Some(name) = self.family_name(family)? else { return Ok(false) };
        let wanted: Vec<usize> = self.affordable(family, Some(self.candidate.bytes)).into_iter().rev().collect();
        let offers = self.shelf.cache.load(name, |reader| {
            let offers = reader.list(|reader| Offered::read(reader, |_| true))?;
            offers.iter().map(|offer| offer.step).eq(wanted.iter().copied()).then_some(offers)
        });
        let Some(offers) = offers else { return Ok(false) };
        for Offered { step, error, size, reason, .. } in offers {
            self.errors.insert((family, step), error);
            self.sizes.extend(size.map(|size| ((family, step), size)));
            if reason.is_some() {
                self.unsuitable = reason;
            }
        }
        self.shelf.found.insert(family);
        Ok(true)
    }

    /// Takes over the start for `key`, where it is kept; tells whether it is.
    pub(super) fn recall_start(&mut self, key: Key) -> Result<bool, Error> {
        if !self.shelf.found.contains(&key.0) {
            return Ok(false);
        }
        let Some(name) = self.family_name(key.0)? else { return Ok(false) };
        let (outputs, inputs) = (self.candidate.outputs, self.candidate.inputs);
        let start = self.shelf.cache.load(name, |reader| {
            let offers = reader.list(|reader| Offered::read(reader, |step| step == key.1))?;
            let bytes = offers.into_iter().find(|offer| offer.step == key.1)?.start;
            let whole = |bytes: Vec<u8>| {
                let mut reader = Reader(&bytes);
                let start = read_replacement(&mut reader, outputs, inputs)?;
                reader.end().map(|()| start)
            };
            match bytes {
                Some(bytes) => whole(bytes).map(Some),
                None => Some(None),
            }
        });
        let Some(start) = start.flatten() else { return Ok(false) };
        self.starts.insert(key, start);
        Ok(true)
    }

    /// What [`keep_family`](Layer::keep_family) is to keep, empty.
    pub(super) fn offers(&self) -> Option<Offers> {
        let room = usize::try_from(self.shelf.cache.largest()).unwrap_or(usize::MAX).saturating_sub(BESIDE_STARTS);
        let most = room.min(4 * self.candidate.elements());
        self.shelf.structure.map(|_| Offers { steps: Vec::new(), bytes: 0, most })
    }

    /// Puts what is on offer under `key`, which was made last, among the `offers`.
    pub(super) fn collect(&self, key: Key, at_hand: &AtHand, offers: &mut Offers) {
        let error = self.errors.get(&key).copied().unwrap_or(f64::INFINITY);
        let made = at_hand.made.as_ref().filter(|(made, _)| *made == key && error.is_finite());
        let start = made.map(|(_, replacement)| {
            let mut writer = Writer::default();
            write_replacement(&mut writer, replacement);
            writer.0
        });
        let reason = self.unsuitable.clone().filter(|_| error.is_infinite());
        offers.add(Offered { step: key.1, error, size: self.sizes.get(&key).copied(), reason, start });
    }

    pub(super) fn keep_family(&mut self, family: usize, offers: &Offers) -> Result<(), Error> {
        if let Some(name) = self.family_name(family)? {
            self.shelf.cache.save(name, |writer| {
                writer.list(offers.steps.iter(), |writer, offered| offered.write(writer));
            });
        }
        Ok(())
    }

    /// Names the fit of a start; `None` where nothing is kept.
    pub(super) fn fit_name(&self, start: &Generator, effort: &Effort) -> Result<Option<Name>, Error> {
        let name = |base| {
            let key = Name::of("fit").key(base).text(&format!("{:?} {effort:?}", start.spec()));
            key.floats(start.params()).finish()
        };
        Ok(self.base()?.map(name))
    }

    /// A fit that is kept, and its bytes in the file.
    pub(super) fn recall_fit(&self, name: Option<Name>) -> Option<(Fitted, u64)> {
        self.shelf.cache.load(name?, |reader| Some((self.read_fitted(reader)?, reader.number()?)))
    }

    pub(super) fn keep_fit(&self, name: Option<Name>, (fitted, bytes): &(Fitted, u64)) {
        if let Some(name) = name {
            self.shelf.cache.save(name, |writer| {
                fitted.write(writer);
                writer.number(*bytes);
            });
        }
    }

    pub(super) fn read_fitted(&self, reader: &mut Reader<'_>) -> Option<Fitted> {
        let replacement = read_replacement(reader, self.candidate.outputs, self.candidate.inputs)?;
        Some(Fitted { replacement, start_error: reader.double()?, error: reader.double()?, steps: reader.size()? })
    }
}

impl Fitted {
    pub(super) fn write(&self, writer: &mut Writer) {
        write_replacement(writer, &self.replacement);
        writer.double(self.start_error);
        writer.double(self.error);
        writer.size(self.steps);
    }
}

impl Offers {
    fn add(&mut self, offered: Offered) {
        self.bytes += offered.start.as_ref().map_or(0, Vec::len);
        self.steps.push(offered);
        while self.bytes > self.most {
            let start = |offered: &Offered| offered.start.as_ref().map_or(0, Vec::len);
            let Some(largest) = self.steps.iter_mut().max_by_key(|offered| start(offered)) else { return };
            self.bytes -= largest.start.take().map_or(0, |start| start.len());
        }
    }
}

impl Offered {
    fn write(&self, writer: &mut Writer) {
        writer.size(self.step);
        writer.double(self.error);
        writer.option(self.size, Writer::number);
        writer.option(self.reason.as_deref(), Writer::text);
        writer.option(self.start.as_deref(), Writer::bytes);
    }

    /// Reads one, with the start of those that are `wanted`.
    fn read(reader: &mut Reader<'_>, wanted: impl Fn(usize) -> bool) -> Option<Offered> {
        let step = reader.size()?;
        Some(Offered {
            step,
            error: reader.double()?,
            size: reader.option(Reader::number)?,
            reason: reader.option(Reader::text)?.map(str::to_owned),
            start: reader.option(Reader::bytes)?.filter(|_| wanted(step)).map(<[u8]>::to_vec),
        })
    }
}
