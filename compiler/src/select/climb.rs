//! The ladder: choices too bold for layer-wise fits, trained through the network one after the other, as long as it helps.
//!
//! Networks first take the place of the large matrices, since training makes them good at a size at which no fit to the weight
//! does. From there every rung makes something smaller of what takes the most bytes, begins where the last one ended, and is
//! kept if it passes.

use std::collections::BTreeSet;

use adntn_families::Replacement;
use adntn_passes::LayerKind;

use super::{Choice, Search};
use crate::endtoend::{Ladder, Rung, RungKind, Taught};
use crate::error::Error;
use crate::layer::Key;
use crate::observer::Event;
use crate::report::StopReason;

/// Weights with fewer elements get no network: its nodes would take what it saves. Nor do those with so few rows or columns, of which
/// each counts: on fc2-mnist digits do better for the last layer.
const FEWEST: usize = 1 << 13;
const THIN: usize = 16;
/// Bytes of a network as a share of those of what stands there, one attempt after the other.
const NETWORK_SHARES: [f64; 2] = [0.4, 0.8];
/// Fewest parameters of a first network.
const FEWEST_PARAMETERS: usize = 1024;
/// Bytes of a step down as a share of those of what stands there, and of one that is tried where that fails; of a network its
/// parameters; of a weight in digits, which has few steps.
const STEP_DOWN: [f64; 2] = [0.7, 0.85];
const STEP_OF_NETWORKS: [f64; 2] = [0.5, 0.75];
const STEP_OF_DIGITS: f64 = 0.87;
/// Networks that save a smaller share of all bytes are not worth training.
const WORTH_A_FRESH_START: f64 = 0.1;
/// Bytes that a parameter of a network takes, scales and nodes counted.
const BYTES_PER_PARAMETER: f64 = 1.5;
/// Layers with a smaller share of all bytes are not worth a rung.
const WORTH: f64 = 0.03;
/// Standard errors by which a loss has to be below what the final test lets pass. It ends at the first choice that fails, so one rung
/// that fails costs all those behind it.
const CAUTION: f64 = 0.7;
/// A rung has at most this share of the bytes of the one before.
const GAIN: f64 = 0.97;
/// What loses more before it is trained is not tried for all heavy layers together: a short training does not bring it back, and one
/// layer at a time does better.
const FAR: f64 = 0.5;
/// What loses at most this multiple of the tolerance after a short training is trained on, once.
const NEAR: f64 = 1.6;

/// What a rung came to.
enum Step {
    Up(Choice),
    /// It loses too much; what came of the training, if it came to its end.
    Refused(Option<Choice>),
    /// Nothing can be trained any more.
    Spent,
    /// The caller wants an end.
    Ended,
}

impl Search<'_, '_, '_> {
    /// Climbs as long as something passes, puts what does behind `accepted`, and goes on training the last of it.
    pub(super) fn climb(
        &mut self,
        ladder: &mut Ladder<'_>,
        accepted: &mut Vec<Choice>,
    ) -> Result<Option<StopReason>, Error> {
        let before = accepted.len();
        let ended = self.ascend(ladder, accepted)?;
        if ended.is_some() || self.is_enough(accepted) {
            return Ok(ended);
        }
        // The final test asks for more than the samples that these were chosen on, and comes to the safer one first.
        let last = accepted.iter().rev().take((accepted.len() - before).clamp(1, 2)).rev().cloned().collect::<Vec<_>>();
        for (k, choice) in last.iter().enumerate() {
            let kind = if k + 1 < last.len() { RungKind::LastButOne } else { RungKind::Last };
            let first = choice.iter().rposition(Option::is_some).unwrap_or(0);
            match self.rung(ladder, choice, Rung { first, kind }, Some(choice))? {
                Step::Up(better) if self.losses.get(&better) <= self.losses.get(choice) => accepted.push(better),
                Step::Up(_) | Step::Refused(_) | Step::Spent => {}
                Step::Ended => return Ok(Some(StopReason::Interrupted)),
            }
        }
        Ok(None)
    }

    fn ascend(&mut self, ladder: &mut Ladder<'_>, accepted: &mut Vec<Choice>) -> Result<Option<StopReason>, Error> {
        let mut at = match accepted.last() {
            Some(choice) => choice.clone(),
            None => self.choice(0)?,
        };
        for share in NETWORK_SHARES {
            let Some((choice, first)) = self.with_networks(&at, share)? else { break };
            match self.rung_or_longer(ladder, &choice, Rung { first, kind: RungKind::Fresh }, accepted.last())? {
                Step::Up(choice) => {
                    accepted.push(choice.clone());
                    if self.is_enough(accepted) {
                        return Ok(None);
                    }
                    at = choice;
                    break;
                }
                Step::Refused(_) => {}
                Step::Spent => return Ok(None),
                Step::Ended => return Ok(Some(StopReason::Interrupted)),
            }
        }
        // Layers whose next step failed, or that have none; and those of which a smaller step is tried.
        let mut stuck = BTreeSet::new();
        let mut careful = BTreeSet::new();
        let mut together = true;
        loop {
            let mut movable = self.by_bytes(&at);
            movable.retain(|layer| !stuck.contains(layer));
            let Some(&heaviest) = movable.first() else { return Ok(None) };
            if !together || movable.len() == 1 {
                movable = vec![heaviest];
            }
            let mut choice = at.clone();
            for &layer in &movable {
                match self.step_down(layer, &at, careful.contains(&layer))? {
                    Some(key) => choice[layer] = Some(key),
                    None => {
                        stuck.insert(layer);
                    }
                }
            }
            let Some(first) = (0..choice.len()).find(|&i| choice[i] != at[i]) else { continue };
            if self.bytes(&choice) as f64 > GAIN * self.bytes(&at) as f64 {
                stuck.extend(movable);
                continue;
            }
            if movable.len() > 1 && self.measure(&choice)?.loss() > FAR {
                together = false;
                continue;
            }
            match self.rung_or_longer(ladder, &choice, Rung { first, kind: RungKind::Onward }, accepted.last())? {
                Step::Up(choice) => {
                    accepted.push(choice.clone());
                    if self.is_enough(accepted) {
                        return Ok(None);
                    }
                    at = choice;
                }
                Step::Refused(_) if movable.len() > 1 => together = false,
                Step::Refused(_) if self.has_smaller_step(heaviest, &at) && careful.insert(heaviest) => {}
                Step::Refused(_) => {
                    stuck.insert(heaviest);
                }
                Step::Spent => return Ok(None),
                Step::Ended => return Ok(Some(StopReason::Interrupted)),
            }
        }
    }

    /// Layers whose replacement takes a share of the bytes worth a rung, the heaviest first.
    fn by_bytes(&self, choice: &Choice) -> Vec<usize> {
        let all = self.bytes(choice) as f64;
        let bytes = |i: usize| choice[i].map_or(0, |key| self.layers[i].bytes(key));
        let mut layers: Vec<usize> = (0..choice.len()).filter(|&i| bytes(i) as f64 >= WORTH * all).collect();
        layers.sort_by_key(|&i| std::cmp::Reverse(bytes(i)));
        layers
    }

    /// `at` with networks of `share` of the bytes in place of its large matrices, and the first layer that gets one.
    fn with_networks(&mut self, at: &Choice, share: f64) -> Result<Option<(Choice, usize)>, Error> {
        let all = self.bytes(at) as f64;
        let mut choice = at.clone();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let bytes = at[index].map_or(layer.candidate.bytes, |key| layer.bytes(key)) as f64;
            let candidate = layer.candidate;
            let is_large = candidate.elements() >= FEWEST && candidate.outputs.min(candidate.inputs) >= THIN;
            let worth = layer.has_gain() && is_large && bytes >= WORTH * all;
            if !worth || matches!(candidate.kind, LayerKind::Conv | LayerKind::Gather) {
                continue;
            }
            // A byte a parameter, and most of another for what is not in bytes and for the nodes.
            let parameters = (share * bytes / BYTES_PER_PARAMETER) as usize;
            if let Some(key) = layer.network_from(at[index], parameters.max(FEWEST_PARAMETERS), self.options)? {
                choice[index] = Some(key);
            }
        }
        let Some(first) = (0..choice.len()).find(|&i| choice[i] != at[i]) else { return Ok(None) };
        // What lies behind a network has to be learnt anew, for which few levels are too coarse to begin with.
        for (layer, key) in self.layers.iter_mut().zip(&mut choice).skip(first) {
            if let Some(finer) = key.and_then(|key| layer.finer_than(key)) {
                layer.start(finer)?;
                *key = Some(finer);
            }
        }
        let saves = self.bytes(&choice) as f64 <= (1.0 - WORTH_A_FRESH_START) * all;
        Ok(saves.then_some((choice, first)))
    }

    /// Something smaller for one layer of `at`, made from what is there.
    fn step_down(&mut self, index: usize, at: &Choice, is_careful: bool) -> Result<Option<Key>, Error> {
        let layer = &mut self.layers[index];
        let Some(key) = at[index] else { return Ok(None) };
        let which = usize::from(is_careful);
        if let Some(Replacement::Network(generator)) = layer.replacement(key) {
            let parameters = (STEP_OF_NETWORKS[which] * generator.parameter_count() as f64) as usize;
            return layer.network_from(Some(key), parameters, self.options);
        }
        let is_digits = matches!(layer.replacement(key), Some(Replacement::Digits(_)));
        match layer.smaller_than(key, if is_digits { STEP_OF_DIGITS } else { STEP_DOWN[which] }) {
            Some(to) if layer.is_trained(key) => layer.made_from(key, to),
            other => {
                if let Some(to) = other {
                    layer.start(to)?;
                }
                Ok(other)
            }
        }
    }

    /// Whether there is a step for a layer that saves less than the first one tried.
    fn has_smaller_step(&self, index: usize, at: &Choice) -> bool {
        let replacement = at[index].and_then(|key| self.layers[index].replacement(key));
        !matches!(replacement, None | Some(Replacement::Digits(_)))
    }

    /// Trains a choice and measures it, and trains it on where that was nearly enough.
    fn rung_or_longer(
        &mut self,
        ladder: &mut Ladder<'_>,
        choice: &Choice,
        rung: Rung,
        best: Option<&Choice>,
    ) -> Result<Step, Error> {
        match self.rung(ladder, choice, rung, best)? {
            Step::Refused(Some(near))
                if self.losses.get(&near).is_some_and(|&loss| loss <= NEAR * self.options.tolerance) =>
            {
                self.rung(ladder, &near, Rung { kind: RungKind::Longer, ..rung }, best)
            }
            step => Ok(step),
        }
    }

    /// Trains a choice and measures it.
    fn rung(
        &mut self,
        ladder: &mut Ladder<'_>,
        choice: &Choice,
        rung: Rung,
        best: Option<&Choice>,
    ) -> Result<Step, Error> {
        let best = best.and_then(|best| Some((self.bytes(best), *self.losses.get(best)?)));
        if self.observer.stop() {
            return Ok(Step::Ended);
        }
        let bytes = (self.layers.iter().map(|l| l.candidate.bytes).sum(), self.bytes(choice));
        self.observer.event(Event::Attempt { bytes: bytes.1, best });
        let trained = match ladder.train(self.layers, choice, rung, self.observer)? {
            Taught::Done(trained) => trained,
            Taught::Hopeless | Taught::Impossible => return Ok(Step::Refused(None)),
            Taught::Spent if self.observer.stop() => return Ok(Step::Ended),
            Taught::Spent => return Ok(Step::Spent),
        };
        // What was trained differs from the original nearly everywhere, which says nothing of its decisions: no margins here.
        let verdict = self.measure(&trained)?;
        let loss = verdict.loss();
        self.losses.insert(trained.clone(), loss);
        let margin = ladder.margin(CAUTION) * verdict.deviation();
        let accepted = loss + margin <= self.options.tolerance;
        tracing::debug!(loss, accepted, bytes = self.bytes(&trained), "rung");
        self.observer.event(Event::Trial { loss, bytes, accepted });
        Ok(if accepted { Step::Up(trained) } else { Step::Refused(Some(trained)) })
    }
}
