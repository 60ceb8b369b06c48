//! What is known of one replaceable layer during the search: its starts and fits, made once and kept.

mod numbers;
mod patches;
mod ratio;

use std::collections::BTreeMap;

use adntn_fit::gram::Gram;
use adntn_fit::layerwise::{Fitted, Target};
use adntn_networks::start::Prepared;
use adntn_networks::{Arrangement as _, Generator};
use adntn_onnx::Model;
use adntn_passes::{Candidate, replace_by_generator};

use crate::error::Error;
use crate::menu::Family;
use crate::observer::{Event, Observer};
use crate::options::{CoreType, Options};
use crate::training::FitKind;

pub(crate) use numbers::Size;
use numbers::{finite, round_to_half};

/// A generator on offer: which family, which bond dimension.
pub(crate) type Key = (usize, usize);

/// Half a file's overhead is not worth a rewrite: a generator must save at least this share of its weight's bytes.
const MIN_GAIN: f64 = 0.05;

/// What the starts of a family have in common is kept for weights of at most so many elements; it is as large as they are.
const KEEP_PREPARED: usize = 1 << 20;

/// Large intermediate results that live through one question only.
#[derive(Default)]
struct AtHand {
    /// W / [`Layer::unit`].
    weight: Vec<f32>,
    prepared: Option<(usize, Prepared)>,
    made: Option<(Key, Generator)>,
}

/// One layer under search.
pub(crate) struct Layer<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) gram: Option<Gram>,
    pub(crate) families: Vec<Family>,
    model: &'a Model,
    /// Why no generator can stand for this weight, whatever it costs.
    obstacle: Option<String>,
    /// Why the last generator that was tried is none.
    unsuitable: Option<String>,
    /// Power of two by which the weight is divided before it is fitted.
    unit: f32,
    /// Whether starts are made for one bond dimension of each family only.
    single: bool,
    /// Whether the layer's bias can absorb the mean error.
    pub(crate) absorbs_mean: bool,
    /// The family that won last.
    favourite: Option<usize>,
    core_type: CoreType,
    ratio: f64,
    prepared: BTreeMap<usize, Prepared>,
    /// Relative output errors of all starts made so far, and the bytes their generators take in the file.
    errors: BTreeMap<Key, f64>,
    sizes: BTreeMap<Key, u64>,
    /// The starts some choice asked for.
    starts: BTreeMap<Key, Generator>,
    fits: BTreeMap<Key, Fitted>,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(
        model: &'a Model,
        candidate: &'a Candidate,
        gram: Option<Gram>,
        absorbs_mean: bool,
        options: &Options,
    ) -> Self {
        let size = Size::of(model, candidate);
        let families = if size.obstacle.is_none() { crate::menu::families(candidate, options) } else { Vec::new() };
        let obstacle = size.obstacle.or_else(|| crate::menu::obstacle(candidate, options));
        Layer {
            candidate,
            gram,
            families,
            model,
            obstacle,
            unsuitable: None,
            unit: size.unit,
            single: options.fit == FitKind::EndToEnd,
            absorbs_mean,
            favourite: None,
            core_type: options.core_type,
            ratio: options.training.ratio,
            prepared: BTreeMap::new(),
            errors: BTreeMap::new(),
            sizes: BTreeMap::new(),
            starts: BTreeMap::new(),
            fits: BTreeMap::new(),
        }
    }

    fn weight(&self) -> Result<Vec<f32>, Error> {
        Ok(self.candidate.weight_matrix(self.model)?)
    }

    /// The weight as it is fitted: divided by the layer's unit.
    fn unit_weight(&self) -> Result<Vec<f32>, Error> {
        let mut weight = self.weight()?;
        if self.unit != 1.0 {
            let factor = 1.0 / f64::from(self.unit);
            weight.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        }
        Ok(weight)
    }

    /// Relative output error of the start for `key`, infinite if there is none; `at_hand` keeps what its family's starts have in
    /// common.
    fn start_error(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        match self.errors.get(&key) {
            Some(error) => Ok(*error),
            None => self.make_start(key, at_hand),
        }
    }

    /// Makes the start for `key`, leaves it in `at_hand` and remembers its error and its bytes in the file. Where numbers or
    /// sizes allow none, the error is infinite and the reason is kept.
    fn make_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        let error = match self.try_start(key, at_hand) {
            Ok(error) => error,
            Err(e) => {
                self.unsuitable = Some(e.unsuitable().ok_or(e)?);
                f64::INFINITY
            }
        };
        tracing::debug!(layer = self.candidate.layer, generator = self.describe(key), error, "start");
        self.errors.insert(key, error);
        Ok(error)
    }

    fn try_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        if at_hand.weight.is_empty() {
            at_hand.weight = self.unit_weight()?;
        }
        let kept = self.prepared.remove(&key.0);
        let target = self.target(&at_hand.weight);
        let family = &self.families[key.0];
        let widest = if self.single { key.1 } else { family.bonds.last().copied().unwrap_or(key.1) };
        let prepared = match (kept, at_hand.prepared.take()) {
            (Some(kept), _) => kept,
            (None, Some((index, last))) if index == key.0 && !self.single => last,
            _ => target.prepare(&family.spec(widest))?,
        };
        let mut generator = prepared.start(family.spec(key.1).bonds).map_err(adntn_fit::Error::from)?;
        self.round(&mut generator);
        // Rounded before it is measured: what is measured is what is written.
        let error = finite(target.error(&generator), "the error of the start")?;
        if !self.single && self.candidate.elements() <= KEEP_PREPARED {
            self.prepared.insert(key.0, prepared);
        } else {
            at_hand.prepared = Some((key.0, prepared));
        }
        self.to_weight(&mut generator)?;
        self.sizes.insert(key, replace_by_generator(self.model, self.candidate, &generator)?.added_bytes());
        at_hand.made = Some((key, generator));
        Ok(error)
    }

    /// Rounds cores to float16 numbers if that is how they are stored.
    pub(crate) fn round(&self, generator: &mut Generator) {
        if self.core_type == CoreType::Float16 {
            round_to_half(generator);
        }
    }

    /// Turns a generator of the weight as it is fitted into one of the weight itself. The scale of such a generator is a factor
    /// of its own or goes into one core, which then is no float16 number any more and is stored as float32.
    fn to_weight(&self, generator: &mut Generator) -> Result<(), Error> {
        generator.set_scale(generator.scale() * self.unit);
        if self.unit != 1.0 && generator.matrix().iter().any(|x| !x.is_finite()) {
            return Err(adntn_fit::Error::NotFinite { what: "the generated weight".into() }.into());
        }
        Ok(())
    }

    /// The start for `key`, kept from now on.
    fn keep_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<(), Error> {
        if self.starts.contains_key(&key) {
            return Ok(());
        }
        if at_hand.made.as_ref().is_none_or(|(made, _)| *made != key) {
            self.make_start(key, at_hand)?;
        }
        if let Some((_, generator)) = at_hand.made.take().filter(|(made, _)| *made == key) {
            self.starts.insert(key, generator);
        }
        Ok(())
    }

    /// Frees what only the search needs.
    pub(crate) fn end_search(&mut self) {
        self.prepared.clear();
        self.starts.clear();
    }

    fn target<'w>(&'w self, weight: &'w [f32]) -> Target<'w> {
        Target { weight, outputs: self.candidate.outputs, inputs: self.candidate.inputs, gram: self.gram.as_ref() }
    }

    /// The generator with the fewest bytes whose start has a relative output error of at most `bound`.
    pub(crate) fn smallest_within(&mut self, bound: f64) -> Result<Option<Key>, Error> {
        if self.obstacle.is_some() {
            return Ok(None);
        }
        let mut at_hand = AtHand::default();
        let mut best: Option<(u64, Key)> = None;
        for family in self.promising_first() {
            let bonds = self.affordable(family, best.map(|(bytes, _)| bytes));
            // Errors fall as χ grows: if the largest affordable bond is out of bounds, so are the others.
            let Some(&largest) = bonds.last() else { continue };
            if self.start_error((family, largest), &mut at_hand)? > bound {
                continue;
            }
            let (mut low, mut high) = (0, bonds.len() - 1);
            while low < high {
                let middle = usize::midpoint(low, high);
                let error = self.start_error((family, bonds[middle]), &mut at_hand)?;
                if error <= bound { high = middle } else { low = middle + 1 }
            }
            let Some(&bond) = bonds.get(low) else { continue };
            let key = (family, bond);
            self.start_error(key, &mut at_hand)?;
            let bytes = self.bytes(key);
            if best.is_none_or(|(b, _)| bytes < b) && self.gains(bytes) {
                best = Some((bytes, key));
            }
        }
        if let Some((_, key)) = best {
            self.favourite = Some(key.0);
            self.keep_start(key, &mut at_hand)?;
        }
        Ok(best.map(|(_, key)| key))
    }

    /// Families in an order that finds small generators early: the one that served last, then the others.
    fn promising_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.families.len()).collect();
        order.sort_by_key(|&family| Some(family) != self.favourite);
        order
    }

    /// Bonds of a family whose parameters alone take fewer bytes than `limit`.
    fn affordable(&self, family: usize, limit: Option<u64>) -> Vec<usize> {
        let family = &self.families[family];
        let fits = |&bond: &usize| {
            let bytes = family.parameters(bond).map(|p| p as u64 * self.core_type.bytes());
            bytes.is_some_and(|bytes| limit.is_none_or(|limit| bytes < limit))
        };
        family.bonds.iter().copied().filter(fits).collect()
    }

    fn gains(&self, bytes: u64) -> bool {
        (bytes as f64) <= (1.0 - MIN_GAIN) * self.candidate.bytes as f64
    }

    /// Bytes the generator adds to the file in place of the weight.
    pub(crate) fn bytes(&self, key: Key) -> u64 {
        self.sizes.get(&key).copied().unwrap_or(u64::MAX)
    }

    fn generator(&self, key: Key) -> Option<&Generator> {
        self.fits.get(&key).map(|f| &f.generator).or_else(|| self.starts.get(&key))
    }

    /// Fits the generator, unless that was done before.
    pub(crate) fn fit(&mut self, key: Key, options: &Options, observer: &mut dyn Observer) -> Result<&Fitted, Error> {
        if !self.fits.contains_key(&key) {
            let mut at_hand = AtHand { weight: self.unit_weight()?, ..AtHand::default() };
            self.keep_start(key, &mut at_hand)?;
            at_hand.prepared = None;
            let Some(start) = self.starts.get(&key).cloned() else { return Err(self.unmade()) };
            let fitted = match self.improved(key, &start, &at_hand.weight, options, observer) {
                Ok((fitted, bytes)) => {
                    self.sizes.insert(key, bytes);
                    fitted
                }
                // Numbers that run out of range leave the start, which was checked.
                Err(e) if e.unsuitable().is_some() => {
                    let error = self.errors.get(&key).copied().unwrap_or(f64::INFINITY);
                    Fitted { generator: start, start_error: error, error, steps: 0 }
                }
                Err(e) => return Err(e),
            };
            self.fits.insert(key, fitted);
        }
        self.fits.get(&key).ok_or_else(|| Error::Internal("a fit was lost".into()))
    }

    /// `start` after its fit to `weight`, the weight as it is fitted, and its bytes in the file.
    fn improved(
        &self,
        key: Key,
        start: &Generator,
        weight: &[f32],
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<(Fitted, u64), Error> {
        let (what, layer) = (self.describe(key), &self.candidate.layer);
        let target = self.target(weight);
        let mut generator = start.clone();
        generator.set_scale(generator.scale() / self.unit);
        let mut fitted = target.fit(generator, &options.effort, |step, steps, error| {
            observer.event(Event::Fit { layer, generator: &what, step, steps, error });
        })?;
        self.round(&mut fitted.generator);
        fitted.error = finite(target.error(&fitted.generator), "the error of the fit")?;
        self.to_weight(&mut fitted.generator)?;
        let bytes = replace_by_generator(self.model, self.candidate, &fitted.generator)?.added_bytes();
        Ok((fitted, bytes))
    }

    /// The start for `key`, kept from now on.
    pub(crate) fn start(&mut self, key: Key) -> Result<Generator, Error> {
        self.keep_start(key, &mut AtHand::default())?;
        self.starts.get(&key).cloned().ok_or_else(|| self.unmade())
    }

    /// Takes over a generator that was fitted elsewhere.
    pub(crate) fn adopt(&mut self, key: Key, mut generator: Generator, steps: usize) -> Result<(), Error> {
        self.round(&mut generator);
        let weight = self.unit_weight()?;
        let mut unit = generator.clone();
        unit.set_scale(unit.scale() / self.unit);
        let error = self.target(&weight).error(&unit);
        let start_error = self.errors.get(&key).copied().unwrap_or(error);
        self.sizes.insert(key, replace_by_generator(self.model, self.candidate, &generator)?.added_bytes());
        self.fits.insert(key, Fitted { generator, start_error, error, steps });
        // Its bias was trained with it.
        self.absorbs_mean = false;
        Ok(())
    }

    pub(crate) fn fitted(&self, key: Key) -> Option<&Fitted> {
        self.fits.get(&key)
    }

    fn describe(&self, (family, bond): Key) -> String {
        let f = &self.families[family];
        let topology = f.spec(bond).topology;
        format!("{} {}, {} legs, χ={bond}", topology.title(), f.layout.name, f.leg_count())
    }

    fn unmade(&self) -> Error {
        Error::Internal(format!("no generator was made for layer {}", self.candidate.layer))
    }

    /// Whether there is anything to choose from.
    pub(crate) fn has_gain(&self) -> bool {
        self.obstacle.is_none()
    }

    /// Why the layer stays dense whatever is accepted, if so.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let unsuitable = || {
            let reason = self.unsuitable.as_ref()?;
            self.errors.values().all(|error| error.is_infinite()).then(|| format!("stays dense: {reason}"))
        };
        self.obstacle.clone().or_else(unsuitable)
    }

    /// Whether generators were made that take no fewer bytes than the weight.
    pub(crate) fn is_larger_in_file(&self) -> bool {
        self.sizes.values().any(|&bytes| bytes >= self.candidate.bytes)
    }

    /// Gives the layer a reason to stay dense.
    pub(crate) fn withdraw(&mut self, reason: &str) {
        self.obstacle = Some(reason.to_owned());
    }

    /// Whether the generator has no more parameters than any other on offer.
    pub(crate) fn is_smallest(&self, key: Key) -> bool {
        let count = self.families[key.0].parameters(key.1);
        let least = self.families.iter().filter_map(|family| Some(family.parameter_range()?.0)).min();
        count.is_some() && count <= least
    }
}
