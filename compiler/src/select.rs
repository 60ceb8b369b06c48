//! The search: the smallest replacements for all layers together that keep the model's quality.
//!
//! Everything on offer for a layer is made once and has bytes and a relative output error. One price of error serves all layers:
//! each takes what costs least, its bytes plus the price times the square of what its error does to the model's outputs, so the
//! whole model has one dial, and a position of it is the best allocation of some loss (a Lagrangian). The dial is bisected with
//! real losses, then moved step by step with fitted networks, then turned further for one layer after the other. What comes of it
//! is a sequence from choices that are safer than the selection samples ask for to the boldest they let pass, for the final test.

mod climb;

use std::collections::BTreeMap;

use adntn_fit::quality::Verdict;
use adntn_onnx::Patch;

use crate::endtoend::Ladder;
use crate::error::Error;
use crate::layer::{Key, Layer};
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::report::StopReason;
use crate::trial::Bench;

/// Positions of the dial: the price of the whole error is this many times the bytes of the model's layers, divided by [`STEP`]
/// from one position to the next.
const HIGHEST: f64 = 1e9;
const STEP: f64 = 1.5;
const POSITIONS: usize = 64;
/// Relative error of a layer at which its sensitivity is measured.
const PROBED: f64 = 0.1;
/// How far the dial may be turned on after the bisection, with fitted generators.
const EXTRA: usize = 4;
/// Positions below the boldest at which safer choices are offered to the final test, which has to show more than selection.
const SAFER: [usize; 10] = [16, 13, 10, 8, 6, 5, 4, 3, 2, 1];
/// The same where what is trained comes in between, or networks have so many elements that every fit takes long.
const SAFER_FEW: [usize; 2] = [6, 3];
const LARGE: usize = 1 << 18;
/// Most choices the final test is given; of more, those in between are left out.
const MOST_TESTED: usize = 16;
/// Bytes of a choice as a share of the one tested before it, at most, where some were trained.
const SPACING: f64 = 0.85;

/// A replacement, or none, for every layer.
pub(crate) type Choice = Vec<Option<Key>>;

/// What a search found.
pub(crate) struct Selection {
    /// Choices that kept the quality on the selection samples, each with fewer bytes than the one before; fitted.
    pub(crate) accepted: Vec<Choice>,
    pub(crate) stopped: StopReason,
}

/// The parts of a search that do not change while it runs.
pub(crate) struct Search<'s, 'a, 'm> {
    pub(crate) layers: &'s mut [Layer<'m>],
    pub(crate) bench: &'s Bench<'a>,
    pub(crate) options: &'s Options,
    pub(crate) observer: &'s mut dyn Observer,
    /// Losses of the choices that were measured.
    pub(crate) losses: BTreeMap<Choice, f64>,
    /// Bytes of all layers at which the search is at its goal, if it has one.
    pub(crate) enough: Option<u64>,
    /// Whether each of the final tests takes long.
    pub(crate) are_tests_long: bool,
}

/// What a trial came to.
enum Trial {
    Accepted,
    Refused,
    /// The caller wants an end.
    Ended,
}

impl Search<'_, '_, '_> {
    /// Runs the search; `ladder` trains through the network what is bolder than layer-wise fits allow.
    pub(crate) fn run(&mut self, ladder: Option<Ladder<'_>>) -> Result<Selection, Error> {
        if self.layers.iter().all(|l| !l.has_gain()) {
            return Ok(Selection { accepted: Vec::new(), stopped: StopReason::NoGain });
        }
        let mut accepted: Vec<Choice> = Vec::new();
        let mut positions = vec![None; self.layers.len()];
        let mut ended = self.search(&mut accepted, &mut positions, ladder.is_some())?;
        let found = accepted.len();
        if let (Some(mut ladder), None, false) = (ladder, ended, self.is_enough(&accepted)) {
            ended = self.climb(&mut ladder, &mut accepted)?;
        }
        let trained = accepted.len() > found;
        let stopped = match ended {
            _ if self.is_enough(&accepted) => StopReason::Size,
            Some(reason) => reason,
            None if trained => StopReason::Tolerance,
            None => self.refine(&mut accepted, &mut positions)?,
        };
        accepted.retain(|c| c.iter().any(Option::is_some));
        accepted.dedup();
        let mut accepted = self.undominated(accepted);
        if self.is_enough(&accepted) {
            // The safest of those that are small enough.
            let first = accepted.iter().position(|choice| self.enough.is_some_and(|most| self.bytes(choice) <= most));
            accepted = first.map(|first| accepted.split_off(first)).unwrap_or_default();
            accepted.truncate(1);
        }
        if trained || self.are_tests_long {
            accepted = self.spaced(accepted);
        }
        Ok(Selection { accepted: thinned(accepted), stopped })
    }

    /// Fills `accepted`, and `positions` with where the dial then stands; a reason where the caller ended it. What is trained
    /// through the network afterwards needs fewer choices to fall back on.
    fn search(
        &mut self,
        accepted: &mut Vec<Choice>,
        positions: &mut [Option<usize>],
        is_trained_next: bool,
    ) -> Result<Option<StopReason>, Error> {
        const ENDED: Option<StopReason> = Some(StopReason::Interrupted);
        for index in 0..self.layers.len() {
            self.layers[index].price(self.observer)?;
            if self.observer.stop() {
                return Ok(ENDED);
            }
            self.measure_sensitivity(index)?;
        }
        let Some(mut at) = self.bisect(accepted)? else { return Ok(ENDED) };
        accepted.clear();
        // With fits a finer start may turn out to be needless, or, after overfitting, a coarser one too coarse.
        while let Some(position) = at {
            let choice = self.choice(position)?;
            match self.trial(&choice, true)? {
                Trial::Accepted => {
                    accepted.push(choice);
                    break;
                }
                Trial::Refused => at = position.checked_sub(1),
                Trial::Ended => return Ok(ENDED),
            }
        }
        let Some(found) = at else { return Ok(None) };
        if self.safer(found, accepted, is_trained_next)? {
            return Ok(ENDED);
        }
        positions.fill(at);
        for position in found + 1..(found + 1 + EXTRA).min(POSITIONS) {
            let choice = self.choice(position)?;
            if accepted.last() != Some(&choice) {
                match self.trial(&choice, true)? {
                    Trial::Accepted => accepted.push(choice),
                    Trial::Refused => break,
                    Trial::Ended => return Ok(ENDED),
                }
            }
            positions.fill(Some(position));
        }
        Ok(None)
    }

    /// What a relative error of one layer does to the outputs, per unit, by a run with this layer replaced.
    fn measure_sensitivity(&mut self, index: usize) -> Result<(), Error> {
        let Some((key, error)) = self.layers[index].with_error_near(PROBED) else { return Ok(()) };
        self.layers[index].start(key)?;
        let mut choice: Choice = vec![None; self.layers.len()];
        choice[index] = Some(key);
        if let Some(effect) = self.bench.relative_error(dense_patch(self.layers, &choice)?)? {
            // A layer without any effect on the samples still has bytes to its error.
            self.layers[index].sensitivity = (effect / error).max(1e-3);
        }
        Ok(())
    }

    /// The coarsest dial position that the starts alone survive, if any; `None` when the caller ended it. What needs no fit and
    /// passes is left in `accepted`.
    fn bisect(&mut self, accepted: &mut Vec<Choice>) -> Result<Option<Option<usize>>, Error> {
        let (mut low, mut high) = (0, POSITIONS);
        while low < high {
            let middle = usize::midpoint(low, high);
            let choice = self.choice(middle)?;
            match self.trial(&choice, false)? {
                Trial::Accepted => {
                    if self.is_fixed(&choice) {
                        for (layer, key) in self.layers.iter_mut().zip(&choice) {
                            if let Some(key) = key {
                                layer.fit(*key, self.options, self.observer)?;
                            }
                        }
                        accepted.push(choice);
                    }
                    low = middle + 1;
                }
                Trial::Refused => high = middle,
                Trial::Ended => return Ok(None),
            }
        }
        Ok(Some(low.checked_sub(1)))
    }

    /// Puts fitted choices of finer positions before the one accepted at `found`, the safest first.
    fn safer(&mut self, found: usize, accepted: &mut Vec<Choice>, few: bool) -> Result<bool, Error> {
        let fitted = self.layers.iter().filter(|l| !l.offers_digits());
        let elements: usize = fitted.map(|l| l.candidate.elements()).sum();
        let offsets = if few || elements > LARGE { &SAFER_FEW[..] } else { &SAFER[..] };
        let mut before = Vec::new();
        // From the boldest on, so that an end by the caller leaves the most useful ones.
        for offset in offsets.iter().rev() {
            let Some(position) = found.checked_sub(*offset) else { break };
            let choice = self.choice(position)?;
            if before.last() == Some(&choice) || accepted.first() == Some(&choice) {
                continue;
            }
            match self.trial(&choice, true)? {
                Trial::Accepted => before.push(choice),
                // A finer choice that fails where a coarser one passed is chance; it is no safer.
                Trial::Refused => {}
                Trial::Ended => {
                    accepted.splice(0..0, before.into_iter().rev());
                    return Ok(true);
                }
            }
        }
        accepted.splice(0..0, before.into_iter().rev());
        Ok(false)
    }

    /// Turns the dial on for one layer at a time, the one with the most bytes left first.
    fn refine(&mut self, accepted: &mut Vec<Choice>, positions: &mut [Option<usize>]) -> Result<StopReason, Error> {
        let mut current = accepted.last().cloned().unwrap_or_else(|| vec![None; self.layers.len()]);
        let mut order = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let bytes = match current[index] {
                Some(key) => layer.bytes(key),
                None => layer.candidate.bytes,
            };
            order.push((std::cmp::Reverse(bytes), index));
        }
        order.sort_unstable();
        for (_, index) in order {
            let mut position = positions[index].map_or(0, |p| p + 1);
            while position < POSITIONS {
                let key = self.layers[index].cheapest(self.price(position));
                if key.is_some() && key != current[index] {
                    let mut choice = current.clone();
                    choice[index] = key;
                    self.make(&choice)?;
                    match self.trial(&choice, true)? {
                        Trial::Accepted => {}
                        Trial::Refused => break,
                        Trial::Ended => return Ok(StopReason::Interrupted),
                    }
                    current.clone_from(&choice);
                    accepted.push(choice);
                }
                positions[index] = Some(position);
                position += 1;
            }
        }
        let turned = |(layer, at): (&Layer<'_>, &Option<usize>)| !layer.has_gain() || *at == Some(POSITIONS - 1);
        let all = !accepted.is_empty() && self.layers.iter().zip(positions.iter()).all(turned);
        Ok(if all { StopReason::Smallest } else { StopReason::Tolerance })
    }

    /// Whether the last choice is as small as was asked for.
    fn is_enough(&self, accepted: &[Choice]) -> bool {
        let last = accepted.last();
        self.enough.zip(last).is_some_and(|(most, choice)| self.bytes(choice) <= most)
    }

    /// Bytes of all layers.
    fn bytes(&self, choice: &Choice) -> u64 {
        let of = |(layer, key): (&Layer<'_>, &Option<Key>)| key.map_or(layer.candidate.bytes, |key| layer.bytes(key));
        self.layers.iter().zip(choice).map(of).sum()
    }

    /// The largest first, without those that take no fewer bytes than another that lost less: the final test goes from the safest
    /// to the boldest, and what was trained may lose less than what is larger and was not.
    fn undominated(&self, mut accepted: Vec<Choice>) -> Vec<Choice> {
        let loss = |choice: &Choice| self.losses.get(choice).copied().unwrap_or(0.0);
        accepted.sort_by_key(|choice| std::cmp::Reverse(self.bytes(choice)));
        let mut least = f64::INFINITY;
        let mut kept: Vec<Choice> = Vec::new();
        for choice in accepted.into_iter().rev() {
            if loss(&choice) <= least {
                least = loss(&choice);
                kept.push(choice);
            }
        }
        kept.reverse();
        kept
    }

    /// Without those that save little over the one before, the last one kept: for where each test takes long, or what was trained is
    /// far below all others.
    fn spaced(&self, accepted: Vec<Choice>) -> Vec<Choice> {
        let mut kept: Vec<Choice> = Vec::new();
        let last = accepted.len().saturating_sub(1);
        for (k, choice) in accepted.into_iter().enumerate() {
            let before = kept.last().map(|before| self.bytes(before) as f64);
            if k == last || before.is_none_or(|before| self.bytes(&choice) as f64 <= SPACING * before) {
                kept.push(choice);
            }
        }
        kept
    }

    fn choice(&mut self, position: usize) -> Result<Choice, Error> {
        let price = self.price(position);
        let choice: Choice = self.layers.iter().map(|l| l.cheapest(price)).collect();
        self.make(&choice)?;
        Ok(choice)
    }

    /// Whether no replacement of a choice has a fit to gain from.
    fn is_fixed(&self, choice: &Choice) -> bool {
        self.layers.iter().zip(choice).all(|(layer, key)| key.is_none_or(|key| !layer.needs_fit(key)))
    }

    /// Makes the replacements of a choice, unless that was done before.
    fn make(&mut self, choice: &Choice) -> Result<(), Error> {
        for (layer, key) in self.layers.iter_mut().zip(choice) {
            if let Some(key) = key {
                layer.start(*key)?;
            }
        }
        Ok(())
    }

    /// Bytes that one relative error of the outputs, squared, is worth.
    fn price(&self, position: usize) -> f64 {
        let bytes: u64 = self.layers.iter().map(|l| l.candidate.bytes).sum();
        bytes as f64 * HIGHEST / STEP.powi(i32::try_from(position).unwrap_or(i32::MAX))
    }

    fn trial(&mut self, choice: &Choice, fitted: bool) -> Result<Trial, Error> {
        if self.observer.stop() {
            return Ok(Trial::Ended);
        }
        if choice.iter().all(Option::is_none) {
            return Ok(Trial::Accepted);
        }
        if fitted {
            for (layer, key) in self.layers.iter_mut().zip(choice) {
                if let Some(key) = key {
                    layer.fit(*key, self.options, self.observer)?;
                    if self.observer.stop() {
                        return Ok(Trial::Ended);
                    }
                }
            }
        }
        // What is not fitted is the same at every trial.
        let known = self.losses.get(choice).copied().filter(|_| self.is_fixed(choice));
        let loss = match known {
            Some(loss) => loss,
            None => self.bench.cautious(&self.measure(choice)?),
        };
        self.losses.insert(choice.clone(), loss);
        let accepted = loss <= self.options.tolerance;
        tracing::debug!(fitted, accepted, loss, "trial");
        let bytes = (self.layers.iter().map(|l| l.candidate.bytes).sum(), self.bytes(choice));
        self.observer.event(Event::Trial { loss, bytes, accepted });
        Ok(if accepted { Trial::Accepted } else { Trial::Refused })
    }

    fn measure(&self, choice: &Choice) -> Result<Verdict, Error> {
        self.bench.compare(dense_patch(self.layers, choice)?)
    }
}

/// At most [`MOST_TESTED`] of the choices, the first and the last ones among them.
fn thinned(accepted: Vec<Choice>) -> Vec<Choice> {
    let n = accepted.len();
    if n <= MOST_TESTED {
        return accepted;
    }
    let wanted: std::collections::BTreeSet<usize> = (0..MOST_TESTED).map(|k| k * (n - 1) / (MOST_TESTED - 1)).collect();
    accepted.into_iter().enumerate().filter(|(k, _)| wanted.contains(k)).map(|(_, choice)| choice).collect()
}

/// The patch that puts the chosen generators' weights in place, as plain weights.
pub(crate) fn dense_patch(layers: &[Layer<'_>], choice: &Choice) -> Result<Patch, Error> {
    let mut patch = Patch::default();
    for (layer, key) in layers.iter().zip(choice) {
        if let Some(key) = key {
            patch.merge(layer.dense_patch(*key)?);
        }
    }
    Ok(patch)
}

/// For models that cannot be run: the smallest generators whose weights are within `tolerance` of the trained ones.
pub(crate) fn by_weight_error(layers: &mut [Layer<'_>], tolerance: f64) -> Result<Selection, Error> {
    let choice: Choice = layers.iter_mut().map(|l| l.smallest_within(tolerance)).collect::<Result<_, _>>()?;
    let any = choice.iter().any(Option::is_some);
    Ok(Selection { accepted: if any { vec![choice] } else { Vec::new() }, stopped: StopReason::Unmeasured })
}
