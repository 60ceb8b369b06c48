//! The generator of a layer whose ratio is given.

use crate::error::Error;
use crate::layer::{AtHand, Key, Layer};

/// Relative difference of start errors that says nothing about which generator does better after training.
const LIKE_ERRORS: f64 = 0.05;

impl Layer<'_> {
    /// The generator for a given ratio: every family offers its largest with at most the weight's parameters over `ratio`, and
    /// among these the start with the smallest error wins.
    ///
    /// Small generators all start with errors close to 1, which then say little: starts within [`LIKE_ERRORS`] of the best one
    /// count as alike, and of these the one with the most legs and then the most parameters wins. Generators that are mere outer
    /// products (χ = 1) or leave more than half of the parameters unused are looked at only where there are no others.
    pub(crate) fn chosen_by_ratio(&mut self) -> Result<Option<Key>, Error> {
        if !self.has_gain() {
            return Ok(None);
        }
        let most = self.candidate.elements() as f64 / self.ratio;
        let mut offers: Vec<(usize, Key)> = Vec::new();
        for (index, family) in self.families.iter().enumerate() {
            let Some(family) = family.networks() else { continue };
            let fitting = family.bonds.iter().filter_map(|&bond| Some((family.parameters(bond)?, (index, bond))));
            offers.extend(fitting.filter(|(count, _)| *count as f64 <= most).max());
        }
        let families = &self.families;
        prefer(&mut offers, |(_, key)| families[key.0].networks().is_some_and(|family| family.carries(key.1) > 1));
        prefer(&mut offers, |(count, _)| 2.0 * *count as f64 >= most);
        let mut at_hand = AtHand::default();
        let mut made: Vec<(f64, usize, Key)> = Vec::new();
        for (count, key) in offers {
            let error = self.start_error(key, &mut at_hand)?;
            if error.is_finite() && self.bytes(key) < self.candidate.bytes {
                self.keep_start(key, &mut at_hand)?;
                made.push((error, count, key));
            }
        }
        let legs = |key: Key| self.families[key.0].networks().map(|family| family.leg_count());
        let key = nearest(made, |m| m.0, |m| (legs(m.2), m.1, std::cmp::Reverse(m.2))).map(|(.., key)| key);
        self.starts.retain(|made, _| Some(*made) == key);
        Ok(key)
    }
}

/// Of starts whose errors are alike, that is within [`LIKE_ERRORS`] of the smallest, the one with the largest `rank`.
pub(super) fn nearest<T, R: Ord>(starts: Vec<T>, error: impl Fn(&T) -> f64, rank: impl Fn(&T) -> R) -> Option<T> {
    let best = starts.iter().map(&error).fold(f64::INFINITY, f64::min);
    starts.into_iter().filter(|start| error(start) <= best * (1.0 + LIKE_ERRORS)).max_by_key(rank)
}

/// Keeps the offers that are `good`, if there are any.
pub(super) fn prefer<T>(offers: &mut Vec<T>, good: impl Fn(&T) -> bool) {
    if offers.iter().any(&good) {
        offers.retain(good);
    }
}
