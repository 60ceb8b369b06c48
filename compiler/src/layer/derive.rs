//! Replacements to be trained: made from what was trained last, or from the weight, with fewer bytes than what stands there now.

use adntn_families::{Digits, Replacement, round_cores};
use adntn_fit::layerwise::Target;
use adntn_networks::{Bonds, Generator};

use super::ratio::nearest;
use super::{Key, Layer};
use crate::error::Error;
use crate::menu::{self, Family};
use crate::options::Options;
use crate::training::FitKind;

/// Digits in which a weight learns well from far away.
const LEARNABLE: Digits = Digits::Sixteen;
/// Networks that leave more of the parameters allowed unused are looked at only where there are no others.
const USED: f64 = 0.5;

impl Layer<'_> {
    /// Of all networks with at most `parameters` parameters the one that starts nearest to what `from` makes, or to the weight
    /// where that is no network yet; `None` where there is none that takes fewer bytes than what stands there now.
    ///
    /// Networks that are trained do not begin near the weight, so the statistics of the inputs weigh nothing here.
    pub(crate) fn network_from(
        &mut self,
        from: Option<Key>,
        parameters: usize,
        options: &Options,
    ) -> Result<Option<Key>, Error> {
        let own = Options { fit: FitKind::EndToEnd, bond: None, ..options.clone() };
        let mut offers: Vec<(usize, Bonds, adntn_networks::GeneratorSpec, bool)> = Vec::new();
        for family in menu::networks(self.candidate, &own) {
            let fitting = family.bonds.iter().filter_map(|&bond| Some((family.parameters(bond)?, bond)));
            if let Some((count, bond)) = fitting.filter(|(count, _)| *count <= parameters).max() {
                let spec = family.spec(bond);
                offers.push((count, spec.bonds.clone(), spec, family.carries(bond) > 1));
            }
        }
        super::ratio::prefer(&mut offers, |offer| offer.3);
        super::ratio::prefer(&mut offers, |offer| offer.0 as f64 >= USED * parameters as f64);
        let network = from.filter(|key| self.replacement(*key).is_some_and(|r| r.network().is_some()));
        let weight = match network.and_then(|key| self.generated(key)) {
            Some(made) => self.in_units(made),
            None => self.unit_weight()?,
        };
        let (outputs, inputs) = (self.candidate.outputs, self.candidate.inputs);
        let target = Target { weight: &weight, outputs, inputs, gram: None };
        let mut made: Vec<(f64, usize, usize, Generator)> = Vec::new();
        for (count, bonds, spec, _) in offers {
            let legs = spec.layout.legs().len();
            let start = target.prepare(&spec).map_err(Error::from).and_then(|prepared| {
                let mut generator = prepared.start(bonds).map_err(adntn_fit::Error::from)?;
                round_cores(&mut generator);
                Ok((super::numbers::finite(target.error(&generator), "the error of the start")?, generator))
            });
            match start {
                Ok((error, generator)) => made.push((error, legs, count, generator)),
                Err(e) if e.unsuitable().is_some() => {}
                Err(e) => return Err(e),
            }
        }
        let Some(mut generator) = nearest(made, |m| m.0, |m| (m.1, m.2)).map(|m| m.3) else { return Ok(None) };
        let (layout, bonds) = (&generator.spec().layout, &generator.spec().bonds);
        tracing::debug!(layer = self.candidate.layer, %layout, ?bonds, parameters = generator.parameter_count(), "a network to be trained");
        self.to_weight(&mut generator)?;
        self.adopt_smaller(from, Replacement::Network(Box::new(generator)))
    }

    /// What `to` is on offer for the weight, made from what `from` makes instead; `None` where numbers or sizes allow none.
    pub(crate) fn made_from(&mut self, from: Key, to: Key) -> Result<Option<Key>, Error> {
        let Some(made) = self.generated(from) else { return Err(self.unmade()) };
        let weight = self.in_units(made);
        let replacement = match &self.families[to.0] {
            Family::Digits(_) => {
                let site = self.site(&weight);
                site.prepare(0).digits(&site, menu::digits(to.1)).map(Replacement::Digits)
            }
            Family::LowRank(digits, _) => {
                let site = self.site(&weight);
                let made = site.prepare(to.1).low_rank(&site, to.1, *digits);
                made.map(|(factors, _)| Replacement::LowRank(factors))
            }
            Family::Networks(_) | Family::Halves | Family::Trained => None,
        };
        match replacement {
            Some(replacement) => self.adopt_smaller(Some(from), replacement),
            None => Ok(None),
        }
    }

    /// Of the digits and low ranks that were priced, with at most `share` of the bytes of `key`, the one with the smallest error.
    pub(crate) fn smaller_than(&self, key: Key, share: f64) -> Option<Key> {
        let most = self.bytes(key) as f64 * share;
        let offers = self.errors.iter().filter(|(key, error)| {
            matches!(self.families[key.0], Family::Digits(_) | Family::LowRank(..))
                && error.is_finite()
                && self.bytes(**key) as f64 <= most
        });
        offers.min_by(|a, b| a.1.total_cmp(b.1)).map(|(key, _)| *key)
    }

    /// The weight in digits of [`LEARNABLE`] levels, where `key` makes it of fewer.
    pub(crate) fn finer_than(&self, key: Key) -> Option<Key> {
        let coarse = matches!(self.replacement(key), Some(Replacement::Digits(digits)) if digits.digits().levels() < LEARNABLE.levels());
        let step = Digits::ALL.iter().position(|digits| *digits == LEARNABLE)?;
        let family =
            self.families.iter().position(|family| matches!(family, Family::Digits(steps) if steps.contains(&step)))?;
        let finer = (family, step);
        (coarse && self.errors.get(&finer).is_some_and(|error| error.is_finite())).then_some(finer)
    }

    /// A weight divided by the layer's unit.
    fn in_units(&self, mut weight: Vec<f32>) -> Vec<f32> {
        if self.unit != 1.0 {
            weight.iter_mut().for_each(|x| *x /= self.unit);
        }
        weight
    }

    fn adopt_smaller(&mut self, from: Option<Key>, replacement: Replacement) -> Result<Option<Key>, Error> {
        // What was trained beside it goes with it.
        let rest = from.and_then(|key| self.trained.get(&key)).cloned().unwrap_or_default();
        let at = from.unwrap_or((0, 0));
        let own = self.adopt_trained(at, replacement, 0, rest)?;
        let now = from.map_or(self.candidate.bytes, |key| self.bytes(key));
        Ok((self.bytes(own) < now).then_some(own))
    }
}
