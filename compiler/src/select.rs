//! The search: the smallest generators for all layers together that keep the model's quality.
//!
//! One bound on the relative output error serves all layers: for a given bound every layer takes the smallest generator
//! whose start meets it, so the whole model has one dial. The dial is bisected with starts alone, which are cheap, then
//! moved step by step with fitted generators, then turned further for one layer after the other.

use adntn_onnx::Patch;

use crate::error::Error;
use crate::layer::{Key, Layer};
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::report::StopReason;
use crate::trial::{Bench, Measured};

/// Positions of the dial: bounds on the relative output error, each `STEP` times the one before.
const FINEST: f64 = 0.01;
const STEP: f64 = 1.2;
const POSITIONS: usize = 26;
/// How far the dial may be turned on after the bisection, with fitted generators.
const EXTRA: usize = 4;

fn bound(position: usize) -> f64 {
    FINEST * STEP.powi(i32::try_from(position).unwrap_or(i32::MAX))
}

/// A generator, or none, for every layer.
pub(crate) type Choice = Vec<Option<Key>>;

/// Choices that kept the quality, each with fewer bytes than the one before.
pub(crate) struct Selection {
    pub(crate) accepted: Vec<Choice>,
    pub(crate) stopped: StopReason,
}

/// The parts of a search that do not change while it runs.
pub(crate) struct Search<'s, 'a, 'm> {
    pub(crate) layers: &'s mut [Layer<'m>],
    pub(crate) bench: &'s Bench<'a>,
    pub(crate) options: &'s Options,
    pub(crate) observer: &'s mut dyn Observer,
}

impl Search<'_, '_, '_> {
    /// Runs the search.
    pub(crate) fn run(&mut self) -> Result<Selection, Error> {
        if self.layers.iter().all(|l| !l.has_gain()) {
            return Ok(Selection { accepted: Vec::new(), stopped: StopReason::NoGain });
        }
        let mut accepted: Vec<Choice> = Vec::new();
        let dial = self.bisect()?;
        let mut at = dial;
        // With fits a finer start may turn out to be needless, or, after overfitting, a coarser one too coarse.
        while let Some(position) = at {
            let choice = self.choice(position)?;
            if self.accepts(&choice, true)? {
                accepted.push(choice);
                break;
            }
            at = position.checked_sub(1);
        }
        let mut positions = vec![at; self.layers.len()];
        if let Some(found) = at {
            for position in found + 1..(found + 1 + EXTRA).min(POSITIONS) {
                let choice = self.choice(position)?;
                if accepted.last() == Some(&choice) || self.accepts(&choice, true)? {
                    positions.fill(Some(position));
                    accepted.push(choice);
                } else {
                    break;
                }
            }
        }
        self.refine(&mut accepted, &mut positions)?;
        accepted.retain(|c| c.iter().any(Option::is_some));
        accepted.dedup();
        let smallest =
            |(layer, position): (&Layer<'_>, &Option<usize>)| !layer.has_gain() || *position == Some(POSITIONS - 1);
        let stopped = if !accepted.is_empty() && self.layers.iter().zip(&positions).all(smallest) {
            StopReason::Smallest
        } else {
            StopReason::Tolerance
        };
        Ok(Selection { accepted, stopped })
    }

    /// The coarsest dial position that the starts alone survive.
    fn bisect(&mut self) -> Result<Option<usize>, Error> {
        let (mut low, mut high) = (0, POSITIONS);
        while low < high {
            let middle = usize::midpoint(low, high);
            let choice = self.choice(middle)?;
            if self.accepts(&choice, false)? { low = middle + 1 } else { high = middle }
        }
        Ok(low.checked_sub(1))
    }

    /// Turns the dial on for one layer at a time, the one with the most bytes left first.
    fn refine(&mut self, accepted: &mut Vec<Choice>, positions: &mut [Option<usize>]) -> Result<(), Error> {
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
                let key = self.layers[index].smallest_within(bound(position))?;
                if key.is_some() && key != current[index] {
                    let mut choice = current.clone();
                    choice[index] = key;
                    if !self.accepts(&choice, true)? {
                        break;
                    }
                    current.clone_from(&choice);
                    accepted.push(choice);
                }
                positions[index] = Some(position);
                position += 1;
            }
        }
        Ok(())
    }

    fn choice(&mut self, position: usize) -> Result<Choice, Error> {
        self.layers.iter_mut().map(|l| l.smallest_within(bound(position))).collect()
    }

    fn accepts(&mut self, choice: &Choice, fitted: bool) -> Result<bool, Error> {
        if choice.iter().all(Option::is_none) {
            return Ok(true);
        }
        if fitted {
            for (layer, key) in self.layers.iter_mut().zip(choice) {
                if let Some(key) = key {
                    layer.fit(*key, self.options, self.observer)?;
                }
            }
        }
        let measured = self.measure(choice)?;
        let accepted = measured.cautious <= self.options.tolerance;
        let bytes = self.layers.iter().map(|l| l.candidate.bytes).sum();
        let after = self.layers.iter().zip(choice).map(|(l, key)| key.map_or(l.candidate.bytes, |k| l.bytes(k))).sum();
        self.observer.event(Event::Trial { loss: measured.cautious, bytes: (bytes, after), accepted });
        Ok(accepted)
    }

    fn measure(&self, choice: &Choice) -> Result<Measured, Error> {
        self.bench.compare(dense_patch(self.layers, choice)?)
    }
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
