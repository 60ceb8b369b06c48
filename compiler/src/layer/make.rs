//! Making what is on offer for a layer: starts, roundings and fits.

use adntn_families::{Halves, Prepared, Replacement, Site};
use adntn_networks::Generator;
use adntn_onnx::Patch;
use adntn_passes::{Stored, replace_by, round_plain};

use super::numbers::{finite, round_to_half};
use super::{AtHand, Fitted, KEEP_PREPARED, Key, Layer};
use crate::error::Error;
use crate::menu::{Family, digits};
use crate::observer::{Event, Observer};
use crate::options::{CoreType, Options};

impl Layer<'_> {
    /// Relative output error of the start for `key`, infinite if there is none; `at_hand` keeps what its family's starts have in
    /// common.
    pub(super) fn start_error(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        if !self.errors.contains_key(&key) {
            self.recall_family(key.0)?;
        }
        match self.errors.get(&key) {
            Some(error) => Ok(*error),
            None => self.make_start(key, at_hand),
        }
    }

    /// Makes everything on offer once, and remembers its error and its bytes.
    pub(crate) fn price(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        if self.obstacle.is_some() {
            return Ok(());
        }
        let mut at_hand = AtHand::default();
        for family in 0..self.families.len() {
            if observer.stop() || !self.price_family(family, &mut at_hand, observer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The same for one family; tells whether the caller let it come to its end.
    pub(crate) fn price_one(&mut self, family: usize, observer: &mut dyn Observer) -> Result<bool, Error> {
        self.price_family(family, &mut AtHand::default(), observer)
    }

    fn price_family(
        &mut self,
        family: usize,
        at_hand: &mut AtHand,
        observer: &mut dyn Observer,
    ) -> Result<bool, Error> {
        if self.recall_family(family)? {
            return Ok(true);
        }
        let mut offers = self.offers();
        // The widest first: the others are cut out of it.
        for step in self.affordable(family, Some(self.candidate.bytes)).into_iter().rev() {
            if observer.stop() {
                return Ok(false);
            }
            self.start_error((family, step), at_hand)?;
            if let Some(offers) = &mut offers {
                self.collect((family, step), at_hand, offers);
            }
        }
        if let Some(offers) = &offers {
            self.keep_family(family, offers)?;
        }
        Ok(true)
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
        tracing::debug!(layer = self.candidate.layer, generator = self.families[key.0].describe(key.1), error, "start");
        self.errors.insert(key, error);
        Ok(error)
    }

    fn try_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<f64, Error> {
        if at_hand.weight.is_empty() {
            at_hand.weight = self.unit_weight()?;
        }
        let (replacement, error) = match &self.families[key.0] {
            Family::Networks(_) => self.network_start(key, at_hand)?,
            Family::Digits(_) | Family::LowRank(..) => self.in_digits(key, at_hand)?,
            Family::Halves => self.in_halves(at_hand)?,
            Family::Trained => return Err(self.unmade()),
        };
        self.sizes.insert(key, replace_by(self.model, self.candidate, &replacement)?.added_bytes());
        at_hand.made = Some((key, replacement));
        Ok(error)
    }

    /// The network that starts nearest to the weight, and its error.
    fn network_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<(Replacement, f64), Error> {
        let kept = self.networks.remove(&key.0);
        let target = self.target(&at_hand.weight);
        let Some(family) = self.families[key.0].networks() else { return Err(self.unmade()) };
        let widest = if self.single { key.1 } else { family.bonds.last().copied().unwrap_or(key.1) };
        let prepared = match (kept, at_hand.networks.take()) {
            (Some(kept), _) => kept,
            (None, Some((index, last))) if index == key.0 && !self.single => last,
            _ => target.prepare(&family.spec(widest))?,
        };
        let mut generator = prepared.start(family.spec(key.1).bonds).map_err(adntn_fit::Error::from)?;
        self.round(&mut generator);
        // Rounded before it is measured: what is measured is what is written.
        let error = finite(target.error(&generator), "the error of the start")?;
        if !self.single && self.candidate.elements() <= KEEP_PREPARED {
            self.networks.insert(key.0, prepared);
        } else {
            at_hand.networks = Some((key.0, prepared));
        }
        self.to_weight(&mut generator)?;
        Ok((Replacement::Network(Box::new(generator)), error))
    }

    /// The weight, or factors of it, in digits, and the error. They are the best there is: no fit follows.
    fn in_digits(&mut self, key: Key, at_hand: &mut AtHand) -> Result<(Replacement, f64), Error> {
        let prepared = match self.digits.take() {
            Some(prepared) => prepared,
            None => self.prepare_digits(&at_hand.weight),
        };
        let site = self.site(&at_hand.weight);
        let made = match &self.families[key.0] {
            Family::LowRank(digits, _) => {
                prepared.low_rank(&site, key.1, *digits).map(|(factors, error)| (Replacement::LowRank(factors), error))
            }
            _ => prepared.digits(&site, digits(key.1)).map(|weight| {
                let error = self.target(&at_hand.weight).error_of(&weight.matrix());
                (Replacement::Digits(weight), error)
            }),
        };
        self.digits = Some(prepared);
        let out_of_range = || adntn_fit::Error::NotFinite { what: "a scale of the digits in float16".into() };
        let (made, error) = made.ok_or_else(out_of_range)?;
        Ok((made, finite(error, "the error of the rounded weight")?))
    }

    fn in_halves(&self, at_hand: &AtHand) -> Result<(Replacement, f64), Error> {
        let beyond = || adntn_fit::Error::NotFinite { what: "the weight in float16".into() };
        let made = Halves::nearest(&at_hand.weight, self.candidate.inputs).ok_or_else(beyond)?;
        let error = self.target(&at_hand.weight).error_of(&made.matrix());
        Ok((Replacement::Halves(made), finite(error, "the error of the weight in float16")?))
    }

    fn prepare_digits(&self, weight: &[f32]) -> Prepared {
        let ranks = self.families.iter().map(|family| match family {
            Family::LowRank(_, ranks) => ranks.last().copied().unwrap_or(0),
            _ => 0,
        });
        self.site(weight).prepare(ranks.max().unwrap_or(0))
    }

    pub(super) fn site<'w>(&'w self, weight: &'w [f32]) -> Site<'w> {
        Site {
            weight,
            outputs: self.candidate.outputs,
            inputs: self.candidate.inputs,
            is_transposed: self.candidate.stored == Stored::InputOutput,
            moments: self.gram.as_ref().map(|gram| gram as &dyn adntn_families::SecondMoments),
        }
    }

    /// Rounds cores to float16 numbers if that is how they are stored.
    pub(crate) fn round(&self, generator: &mut Generator) {
        if self.core_type == CoreType::Float16 {
            round_to_half(generator);
        }
    }

    /// Turns a generator of the weight as it is fitted into one of the weight itself. The scale of such a generator is a factor
    /// of its own or goes into one core, which then is no float16 number any more and is stored as float32.
    pub(super) fn to_weight(&self, generator: &mut Generator) -> Result<(), Error> {
        generator.set_scale(generator.scale() * self.unit);
        if self.unit != 1.0 && generator.matrix().iter().any(|x| !x.is_finite()) {
            return Err(adntn_fit::Error::NotFinite { what: "the generated weight".into() }.into());
        }
        Ok(())
    }

    /// The start for `key`, kept from now on.
    pub(super) fn keep_start(&mut self, key: Key, at_hand: &mut AtHand) -> Result<(), Error> {
        if self.starts.contains_key(&key) || self.trained.contains_key(&key) {
            return Ok(());
        }
        if at_hand.made.as_ref().is_none_or(|(made, _)| *made != key) {
            if self.recall_start(key)? {
                return Ok(());
            }
            self.make_start(key, at_hand)?;
        }
        if let Some((_, generator)) = at_hand.made.take().filter(|(made, _)| *made == key) {
            self.starts.insert(key, generator);
        }
        Ok(())
    }

    /// Fits the generator, unless that was done before.
    pub(crate) fn fit(&mut self, key: Key, options: &Options, observer: &mut dyn Observer) -> Result<&Fitted, Error> {
        if !self.fits.contains_key(&key) {
            let mut at_hand = AtHand { weight: self.unit_weight()?, ..AtHand::default() };
            self.keep_start(key, &mut at_hand)?;
            at_hand.networks = None;
            let Some(start) = self.starts.get(&key).cloned() else { return Err(self.unmade()) };
            let error = self.errors.get(&key).copied().unwrap_or(f64::INFINITY);
            let unfitted = |replacement| Fitted { replacement, start_error: error, error, steps: 0 };
            let fitted = match start {
                Replacement::Network(start) => match self.improved(key, &start, &at_hand.weight, options, observer) {
                    Ok((fitted, bytes)) => {
                        self.sizes.insert(key, bytes);
                        fitted
                    }
                    // Numbers that run out of range leave the start, which was checked.
                    Err(e) if e.unsuitable().is_some() => unfitted(Replacement::Network(start)),
                    Err(e) => return Err(e),
                },
                start => unfitted(start),
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
        let name = self.fit_name(start, &options.effort)?;
        if let Some(kept) = self.recall_fit(name) {
            return Ok(kept);
        }
        let (what, layer) = (self.families[key.0].describe(key.1), &self.candidate.layer);
        let target = self.target(weight);
        let mut generator = start.clone();
        generator.set_scale(generator.scale() / self.unit);
        let mut fitted = target.fit(generator, &options.effort, |step, steps, error| {
            observer.event(Event::Fit { layer, generator: &what, step, steps, error });
        })?;
        self.round(&mut fitted.generator);
        let error = finite(target.error(&fitted.generator), "the error of the fit")?;
        self.to_weight(&mut fitted.generator)?;
        let adntn_fit::layerwise::Fitted { generator, start_error, steps, .. } = fitted;
        let replacement = Replacement::Network(Box::new(generator));
        let bytes = replace_by(self.model, self.candidate, &replacement)?.added_bytes();
        let made = (Fitted { replacement, start_error, error, steps }, bytes);
        self.keep_fit(name, &made);
        Ok(made)
    }

    /// Makes the start for `key`, kept from now on.
    pub(crate) fn start(&mut self, key: Key) -> Result<(), Error> {
        self.keep_start(key, &mut AtHand::default())
    }

    /// Takes over what was trained through the network from `key` on, with what was trained beside it; the key it has from now on.
    pub(crate) fn adopt_trained(
        &mut self,
        key: Key,
        replacement: Replacement,
        steps: usize,
        mut rest: Patch,
    ) -> Result<Key, Error> {
        if let Some(rounding) = self.rounding(&replacement) {
            round_plain(self.model, &mut rest, rounding);
        }
        let family = match self.families.iter().position(|family| *family == Family::Trained) {
            Some(family) => family,
            None => {
                self.families.push(Family::Trained);
                self.families.len() - 1
            }
        };
        let own = (family, self.trained.len());
        let error = self.target(&self.unit_weight()?).error_of(&replacement.matrix());
        let start_error = self.errors.get(&key).copied().unwrap_or(error);
        self.sizes.insert(own, replace_by(self.model, self.candidate, &replacement)?.added_bytes());
        self.fits.insert(own, Fitted { replacement, start_error, error, steps });
        self.trained.insert(own, rest);
        Ok(own)
    }

    /// Takes over a generator that was fitted elsewhere.
    pub(crate) fn adopt(&mut self, key: Key, mut generator: Generator, steps: usize) -> Result<(), Error> {
        self.round(&mut generator);
        let weight = self.unit_weight()?;
        let mut unit = generator.clone();
        unit.set_scale(unit.scale() / self.unit);
        let error = self.target(&weight).error(&unit);
        let start_error = self.errors.get(&key).copied().unwrap_or(error);
        let replacement = Replacement::Network(Box::new(generator));
        self.sizes.insert(key, replace_by(self.model, self.candidate, &replacement)?.added_bytes());
        self.fits.insert(key, Fitted { replacement, start_error, error, steps });
        // Its bias was trained with it.
        self.absorbs_mean = false;
        Ok(())
    }
}
