//! What is known of one replaceable layer during the search: its starts and fits, made once and kept.

use std::collections::BTreeMap;

use adntn_fit::gram::Gram;
use adntn_fit::layerwise::{Fitted, Target};
use adntn_networks::start::Prepared;
use adntn_networks::{Arrangement as _, Generator};
use adntn_onnx::{Model, Patch};
use adntn_passes::{Candidate, replace_by_dense, replace_by_generator};

use crate::error::Error;
use crate::menu::Family;
use crate::observer::{Event, Observer};
use crate::options::{CoreType, Options};

/// A generator on offer: which family, which bond dimension.
pub(crate) type Key = (usize, usize);

/// Half a file's overhead is not worth a rewrite: a generator must save at least this share of its weight's bytes.
const MIN_GAIN: f64 = 0.05;

/// What the starts of a family have in common is kept for weights of at most so many elements; it is as large as they are.
const KEEP_PREPARED: usize = 1 << 20;

/// Large intermediate results that live through one question only.
#[derive(Default)]
struct AtHand {
    weight: Vec<f32>,
    prepared: Option<(usize, Prepared)>,
    made: Option<(Key, Generator)>,
}

/// One layer under search.
pub(crate) struct Layer<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) gram: Option<Gram>,
    pub(crate) families: Vec<Family>,
    /// Why the layer stays dense, where that is not a question of size or quality.
    pub(crate) reason: Option<String>,
    model: &'a Model,
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
        let families = crate::menu::families(candidate, options);
        Layer {
            candidate,
            gram,
            families,
            reason: None,
            model,
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

    /// Relative output error of the start for `key`; `at_hand` keeps what its family's starts have in common.
    fn start_error(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        match self.errors.get(&key) {
            Some(error) => Ok(*error),
            None => self.make_start(key, at_hand),
        }
    }

    /// Makes the start for `key`, leaves it in `at_hand` and remembers its error and its bytes in the file.
    fn make_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        if at_hand.weight.is_empty() {
            at_hand.weight = self.weight()?;
        }
        let kept = self.prepared.remove(&key.0);
        let target = self.target(&at_hand.weight);
        let family = &self.families[key.0];
        let prepared = match (kept, at_hand.prepared.take()) {
            (Some(kept), _) => kept,
            (None, Some((index, last))) if index == key.0 => last,
            _ => target.prepare(&family.spec(family.bonds.last().copied().unwrap_or(key.1)))?,
        };
        let (mut generator, error) = target.start_from(&prepared, family.spec(key.1).bonds)?;
        if self.core_type == CoreType::Float16 {
            round_to_half(&mut generator);
        }
        tracing::debug!(layer = self.candidate.layer, generator = self.describe(key), error, "start");
        if self.candidate.elements() <= KEEP_PREPARED {
            self.prepared.insert(key.0, prepared);
        } else {
            at_hand.prepared = Some((key.0, prepared));
        }
        self.errors.insert(key, error);
        self.sizes.insert(key, replace_by_generator(self.model, self.candidate, &generator)?.added_bytes());
        at_hand.made = Some((key, generator));
        Ok(error)
    }

    /// The start for `key`, kept from now on.
    fn keep_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<(), Error> {
        if self.starts.contains_key(&key) {
            return Ok(());
        }
        if at_hand.made.as_ref().is_none_or(|(made, _)| *made != key) {
            self.make_start(key, at_hand)?;
        }
        if let Some((_, generator)) = at_hand.made.take() {
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
            let mut at_hand = AtHand { weight: self.weight()?, ..AtHand::default() };
            self.keep_start(key, &mut at_hand)?;
            at_hand.prepared = None;
            let Some(generator) = self.starts.get(&key).cloned() else {
                return Err(Error::Internal(format!("no start for layer {}", self.candidate.layer)));
            };
            let what = self.describe(key);
            let layer = &self.candidate.layer;
            let target = self.target(&at_hand.weight);
            let mut fitted = target.fit(generator, &options.effort, |step, steps, error| {
                observer.event(Event::Fit { layer, generator: &what, step, steps, error });
            })?;
            if self.core_type == CoreType::Float16 {
                round_to_half(&mut fitted.generator);
                fitted.error = target.error(&fitted.generator);
            }
            self.fits.insert(key, fitted);
        }
        self.fits.get(&key).ok_or_else(|| Error::Internal("a fit was lost".into()))
    }

    /// The start for `key`, kept from now on.
    pub(crate) fn start(&mut self, key: Key) -> Result<Generator, Error> {
        self.keep_start(key, &mut AtHand::default())?;
        self.starts.get(&key).cloned().ok_or_else(|| self.unmade())
    }

    /// The generator with the most parameters of those with at most the weight's over `ratio`; among like ones the first
    /// interleaved one.
    pub(crate) fn chosen_by_ratio(&self) -> Option<Key> {
        let most = self.candidate.elements() as f64 / self.ratio;
        let largest = |(index, family): (usize, &Family)| {
            let offers = family.bonds.iter().filter_map(|&bond| Some((family.parameters(bond)?, bond)));
            let (count, bond) = offers.filter(|(count, _)| *count as f64 <= most).max()?;
            Some((count, std::cmp::Reverse(index), bond))
        };
        let (_, index, bond) = self.families.iter().enumerate().filter_map(largest).max()?;
        Some((index.0, bond))
    }

    /// Rounds cores to what is stored.
    pub(crate) fn round(&self, generator: &mut Generator) {
        if self.core_type == CoreType::Float16 {
            round_to_half(generator);
        }
    }

    /// Takes over a generator that was fitted elsewhere.
    pub(crate) fn adopt(&mut self, key: Key, mut generator: Generator, steps: usize) -> Result<(), Error> {
        if self.core_type == CoreType::Float16 {
            round_to_half(&mut generator);
        }
        let weight = self.weight()?;
        let target = self.target(&weight);
        let error = target.error(&generator);
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

    /// W as the generator makes it, O×I: the fitted one if there is a fit, else the start.
    pub(crate) fn generated(&self, key: Key) -> Option<Vec<f32>> {
        self.generator(key).map(Generator::matrix)
    }

    /// The patch that puts the generated weight in place of the trained one without emitting the generator.
    pub(crate) fn dense_patch(&self, key: Key) -> Result<Patch, Error> {
        let Some(matrix) = self.generated(key) else { return Err(self.unmade()) };
        let mut patch = replace_by_dense(self.model, self.candidate, &matrix)?;
        self.correct_bias(&matrix, &mut patch)?;
        Ok(patch)
    }

    /// The patch that puts the generator itself in place of the weight.
    pub(crate) fn generator_patch(&self, key: Key) -> Result<Patch, Error> {
        let Some(generator) = self.generator(key) else { return Err(self.unmade()) };
        let mut patch = replace_by_generator(self.model, self.candidate, generator)?;
        if let Some(matrix) = self.generated(key).filter(|_| self.absorbs_mean) {
            self.correct_bias(&matrix, &mut patch)?;
        }
        Ok(patch)
    }

    fn unmade(&self) -> Error {
        Error::Internal(format!("no generator was made for layer {}", self.candidate.layer))
    }

    /// The mean of the layer's output error goes into its bias: `b + (W−G)·E[x]`.
    fn correct_bias(&self, generated: &[f32], patch: &mut Patch) -> Result<(), Error> {
        let (true, Some(gram)) = (self.absorbs_mean, &self.gram) else { return Ok(()) };
        let weight = self.weight()?;
        let inputs = self.candidate.inputs;
        let shift: Vec<f32> = weight
            .chunks_exact(inputs)
            .zip(generated.chunks_exact(inputs))
            .map(|(w, g)| {
                let sum: f64 =
                    w.iter().zip(g).zip(gram.mean()).map(|((w, g), m)| f64::from(w - g) * f64::from(*m)).sum();
                sum as f32
            })
            .collect();
        patch.merge(adntn_passes::shift_bias(self.model, self.candidate, &shift)?);
        Ok(())
    }

    /// ‖W−G‖/‖W‖.
    pub(crate) fn weight_error(&self, key: Key) -> Result<Option<f64>, Error> {
        let Some(generated) = self.generated(key) else { return Ok(None) };
        Ok(Some(adntn_fit::layerwise::weight_error(&self.weight()?, &generated)))
    }

    pub(crate) fn has_gain(&self) -> bool {
        !self.families.is_empty()
    }
}

/// Rounds all cores to float16 numbers, the overall scale taken into the last level when that is linear. A core with
/// values beyond the range of float16 stays as it is, and so is stored as float32.
fn round_to_half(generator: &mut Generator) {
    generator.absorb_scale();
    let cores: Vec<_> = generator.shape().cores.iter().map(|core| core.range.clone()).collect();
    for core in cores {
        let values = &mut generator.params_mut()[core];
        if values.iter().all(|&x| half::f16::from_f32(x).is_finite()) {
            values.iter_mut().for_each(|x| *x = half::f16::from_f32(*x).to_f32());
        }
    }
}
