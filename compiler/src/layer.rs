//! What is known of one replaceable layer during the search: its starts and fits, made once and kept.

mod derive;
mod kept;
mod make;
mod numbers;
mod patches;
mod ratio;
mod searched;

use std::collections::BTreeMap;

use adntn_families::{Prepared, Replacement};
use adntn_fit::gram::Gram;
use adntn_fit::layerwise::Target;
use adntn_onnx::{Model, Patch};
use adntn_passes::{Candidate, takes_digits};

use crate::error::Error;
use crate::menu::Family;
use crate::options::{CoreType, Options};
use crate::training::FitKind;

pub(crate) use kept::structure;
pub(crate) use numbers::Size;
pub(crate) use searched::Searched;

/// A replacement on offer: which family, which step of it.
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
    networks: Option<(usize, adntn_networks::start::Prepared)>,
    made: Option<(Key, Replacement)>,
}

/// What was made for a layer, and how well it does.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub(crate) replacement: Replacement,
    /// Relative output error at the start, and after the fit; see [`adntn_fit::layerwise::Fitted`].
    pub(crate) start_error: f64,
    pub(crate) error: f64,
    /// Optimiser steps taken.
    pub(crate) steps: usize,
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
    /// Relative error of the model's outputs over that of the layer's.
    pub(crate) sensitivity: f64,
    networks: BTreeMap<usize, adntn_networks::start::Prepared>,
    digits: Option<Prepared>,
    /// Relative output errors of all starts made so far, and the bytes their generators take in the file.
    errors: BTreeMap<Key, f64>,
    sizes: BTreeMap<Key, u64>,
    /// The starts some choice asked for.
    starts: BTreeMap<Key, Replacement>,
    fits: BTreeMap<Key, Fitted>,
    /// What else was trained with a replacement: it goes into the model with it.
    trained: BTreeMap<Key, Patch>,
    shelf: kept::Shelf,
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
        let takes_digits = size.unit == 1.0 && takes_digits(model);
        let families = match size.obstacle {
            None => crate::menu::families(candidate, options, takes_digits),
            Some(_) => Vec::new(),
        };
        let no_network = || if families.is_empty() { crate::menu::obstacle(candidate, options) } else { None };
        let obstacle = size.obstacle.or_else(no_network);
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
            sensitivity: 1.0,
            networks: BTreeMap::new(),
            digits: None,
            errors: BTreeMap::new(),
            sizes: BTreeMap::new(),
            starts: BTreeMap::new(),
            fits: BTreeMap::new(),
            trained: BTreeMap::new(),
            shelf: kept::Shelf::default(),
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

    /// Frees what only the search needs.
    pub(crate) fn end_search(&mut self) {
        self.networks.clear();
        self.digits = None;
        self.starts.clear();
    }

    fn target<'w>(&'w self, weight: &'w [f32]) -> Target<'w> {
        Target { weight, outputs: self.candidate.outputs, inputs: self.candidate.inputs, gram: self.gram.as_ref() }
    }

    /// Of what was [priced](Layer::price), that with the least bytes + `price`·(`sensitivity`·error)²; `None` where that is the
    /// weight as it is.
    pub(crate) fn cheapest(&self, price: f64) -> Option<Key> {
        if self.obstacle.is_some() {
            return None;
        }
        let cost = |key: &Key, error: &f64| self.bytes(*key) as f64 + price * (self.sensitivity * error).powi(2);
        let offers = self.errors.iter().filter(|(key, error)| error.is_finite() && self.gains(self.bytes(**key)));
        let offers = offers.map(|(key, error)| (cost(key, error), *key));
        let best = offers.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        (best.0 < self.candidate.bytes as f64).then_some(best.1)
    }

    /// Of what was priced, that whose error is nearest to `error`, and its own.
    pub(crate) fn with_error_near(&self, error: f64) -> Option<(Key, f64)> {
        if self.obstacle.is_some() {
            return None;
        }
        let known = self.errors.iter().filter(|(_, e)| e.is_finite() && **e > 0.0);
        let distance = |e: f64| (e / error).ln().abs();
        known.map(|(key, e)| (*key, *e)).min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
    }

    /// What takes the fewest bytes of all whose start has a relative output error of at most `bound`.
    pub(crate) fn smallest_within(&mut self, bound: f64) -> Result<Option<Key>, Error> {
        if self.obstacle.is_some() {
            return Ok(None);
        }
        let mut at_hand = AtHand::default();
        let mut best: Option<(u64, Key)> = None;
        for family in self.promising_first() {
            let bonds = self.affordable(family, best.map(|(bytes, _)| bytes));
            // Errors fall from step to step: if the last affordable one is out of bounds, so are the others.
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
        let fits = |&step: &usize| {
            let bytes = family.least_bytes(step, self.candidate, self.core_type.bytes());
            bytes.is_some_and(|bytes| limit.is_none_or(|limit| bytes < limit))
        };
        family.steps().iter().copied().filter(fits).collect()
    }

    fn gains(&self, bytes: u64) -> bool {
        (bytes as f64) <= (1.0 - MIN_GAIN) * self.candidate.bytes as f64
    }

    /// Bytes the generator adds to the file in place of the weight.
    pub(crate) fn bytes(&self, key: Key) -> u64 {
        self.sizes.get(&key).copied().unwrap_or(u64::MAX)
    }

    pub(crate) fn replacement(&self, key: Key) -> Option<&Replacement> {
        self.fits.get(&key).map(|f| &f.replacement).or_else(|| self.starts.get(&key))
    }

    pub(crate) fn fitted(&self, key: Key) -> Option<&Fitted> {
        self.fits.get(&key)
    }

    fn unmade(&self) -> Error {
        Error::Internal(format!("no generator was made for layer {}", self.candidate.layer))
    }

    /// Whether what is on offer under `key` is a network, which has a fit to gain from.
    pub(crate) fn needs_fit(&self, key: Key) -> bool {
        self.families[key.0].networks().is_some()
    }

    /// Whether `key` was trained through the network.
    pub(crate) fn is_trained(&self, key: Key) -> bool {
        self.trained.contains_key(&key)
    }

    /// Whether there is something on offer that needs no fit.
    pub(crate) fn offers_digits(&self) -> bool {
        self.families.iter().any(|family| family.networks().is_none())
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

    /// Whether nothing on offer takes fewer bytes.
    pub(crate) fn is_smallest(&self, key: Key) -> bool {
        let bytes = |family: &Family, step| family.least_bytes(step, self.candidate, self.core_type.bytes());
        let least = self.families.iter().filter_map(|family| bytes(family, *family.steps().first()?)).min();
        let own = bytes(&self.families[key.0], key.1);
        own.is_some() && own <= least
    }
}
