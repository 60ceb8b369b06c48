//! The search: the smallest generators for all layers together that keep the model's quality.
//!
//! One bound on the relative output error serves all layers: for a given bound every layer takes the smallest generator
//! whose start meets it, so the whole model has one dial. The dial is bisected with starts alone, which are cheap, then
//! moved step by step with fitted generators, then turned further for one layer after the other. What comes of it is a
//! sequence from choices that are safer than the selection samples ask for to the boldest they let pass, for the final test.

use adntn_fit::quality::Verdict;
use adntn_onnx::Patch;

use crate::error::Error;
use crate::layer::{Key, Layer};
use crate::observer::{Event, Observer};
use crate::options::Options;
use crate::report::StopReason;
use crate::trial::Bench;

/// Positions of the dial: bounds on the relative output error, each `STEP` times the one before.
const FINEST: f64 = 0.0005;
const STEP: f64 = 1.2;
const POSITIONS: usize = 43;
/// How far the dial may be turned on after the bisection, with fitted generators.
const EXTRA: usize = 4;
/// Positions below the boldest at which safer choices are offered to the final test, which has to show more than selection.
const SAFER: [usize; 7] = [16, 12, 9, 6, 4, 2, 1];
/// The same where weights have so many elements that every fit takes long.
const SAFER_OF_LARGE: [usize; 2] = [6, 3];
const LARGE: usize = 1 << 18;
/// Most choices the final test is given; of more, those in between are left out.
const MOST_TESTED: usize = 16;

fn bound(position: usize) -> f64 {
    FINEST * STEP.powi(i32::try_from(position).unwrap_or(i32::MAX))
}

/// A generator, or none, for every layer.
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
}

/// What a trial came to.
enum Trial {
    Accepted,
    Refused,
    /// The caller wants an end.
    Ended,
}

impl Search<'_, '_, '_> {
    /// Runs the search.
    pub(crate) fn run(&mut self) -> Result<Selection, Error> {
        if self.layers.iter().all(|l| !l.has_gain()) {
            return Ok(Selection { accepted: Vec::new(), stopped: StopReason::NoGain });
        }
        let mut accepted: Vec<Choice> = Vec::new();
        let stopped = self.search(&mut accepted)?;
        accepted.retain(|c| c.iter().any(Option::is_some));
        accepted.dedup();
        Ok(Selection { accepted: thinned(accepted), stopped })
    }

    /// Fills `accepted` and says what ended it.
    fn search(&mut self, accepted: &mut Vec<Choice>) -> Result<StopReason, Error> {
        let Some(mut at) = self.bisect()? else { return Ok(StopReason::Interrupted) };
        // With fits a finer start may turn out to be needless, or, after overfitting, a coarser one too coarse.
        while let Some(position) = at {
            let choice = self.choice(position)?;
            match self.trial(&choice, true)? {
                Trial::Accepted => {
                    accepted.push(choice);
                    break;
                }
                Trial::Refused => at = position.checked_sub(1),
                Trial::Ended => return Ok(StopReason::Interrupted),
            }
        }
        let Some(found) = at else { return self.refine(accepted, &mut vec![None; self.layers.len()]) };
        if self.safer(found, accepted)? {
            return Ok(StopReason::Interrupted);
        }
        let mut positions = vec![at; self.layers.len()];
        for position in found + 1..(found + 1 + EXTRA).min(POSITIONS) {
            let choice = self.choice(position)?;
            if accepted.last() != Some(&choice) {
                match self.trial(&choice, true)? {
                    Trial::Accepted => accepted.push(choice),
                    Trial::Refused => break,
                    Trial::Ended => return Ok(StopReason::Interrupted),
                }
            }
            positions.fill(Some(position));
        }
        self.refine(accepted, &mut positions)
    }

    /// The coarsest dial position that the starts alone survive, if any; `None` when the caller ended it.
    fn bisect(&mut self) -> Result<Option<Option<usize>>, Error> {
        let (mut low, mut high) = (0, POSITIONS);
        while low < high {
            let middle = usize::midpoint(low, high);
            let choice = self.choice(middle)?;
            match self.trial(&choice, false)? {
                Trial::Accepted => low = middle + 1,
                Trial::Refused => high = middle,
                Trial::Ended => return Ok(None),
            }
        }
        Ok(Some(low.checked_sub(1)))
    }

    /// Puts fitted choices of finer positions before the one accepted at `found`, the safest first.
    fn safer(&mut self, found: usize, accepted: &mut Vec<Choice>) -> Result<bool, Error> {
        let elements: usize = self.layers.iter().map(|l| l.candidate.elements()).sum();
        let offsets = if elements > LARGE { &SAFER_OF_LARGE[..] } else { &SAFER[..] };
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
                let key = self.layers[index].smallest_within(bound(position))?;
                if key.is_some() && key != current[index] {
                    let mut choice = current.clone();
                    choice[index] = key;
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

    fn choice(&mut self, position: usize) -> Result<Choice, Error> {
        self.layers.iter_mut().map(|l| l.smallest_within(bound(position))).collect()
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
        let loss = self.bench.cautious(&self.measure(choice)?);
        let accepted = loss <= self.options.tolerance;
        tracing::debug!(fitted, accepted, loss, "trial");
        let bytes = self.layers.iter().map(|l| l.candidate.bytes).sum();
        let after = self.layers.iter().zip(choice).map(|(l, key)| key.map_or(l.candidate.bytes, |k| l.bytes(k))).sum();
        self.observer.event(Event::Trial { loss, bytes: (bytes, after), accepted });
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
