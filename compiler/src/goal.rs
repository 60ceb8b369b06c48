//! How long a search goes on, and what ends it before it has nothing left to try.

use std::time::{Duration, Instant};

use adntn_passes::Candidate;

use crate::observer::{Event, Observer};

/// How much work a search may take where no [time](crate::Options::time) ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum SearchEffort {
    /// What layer-wise fits find; nothing is trained through the network.
    Quick,
    /// A few minutes of training for small models, and half an hour or more for large ones.
    #[default]
    Normal,
    /// Several times as much training.
    Max,
}

impl SearchEffort {
    /// Training allowed, as a multiple of that of [`SearchEffort::Normal`].
    pub(crate) fn training(self) -> f64 {
        match self {
            SearchEffort::Quick => 0.0,
            SearchEffort::Normal => 1.0,
            SearchEffort::Max => 6.0,
        }
    }
}

impl std::fmt::Display for SearchEffort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            SearchEffort::Quick => "quick",
            SearchEffort::Normal => "normal",
            SearchEffort::Max => "max",
        })
    }
}

impl std::str::FromStr for SearchEffort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "quick" => Ok(SearchEffort::Quick),
            "normal" => Ok(SearchEffort::Normal),
            "max" => Ok(SearchEffort::Max),
            other => Err(format!("`{other}` is not a known effort; known are quick, normal, max")),
        }
    }
}

/// What the final test and reading back what was written are given of the time: this share of it, and of short times another, up to
/// so many seconds.
const AFTERWARDS: f64 = 0.05;
const MORE_AFTERWARDS: (f64, f64) = (0.15, 10.0);
/// Runs over the held-out samples that follow a search, about; and the share of the time that is kept for them at most.
pub(crate) const RUNS_AFTERWARDS: f64 = 7.0;
const MOST_AFTERWARDS: f64 = 0.5;

/// Passes on to an observer, and asks for an end when the time is up.
pub(crate) struct Timed<'o> {
    observer: &'o mut dyn Observer,
    until: Option<Instant>,
    /// Whether the time ended something.
    pub(crate) is_up: bool,
    /// Whether anybody was told to end.
    pub(crate) was_ended: bool,
}

impl<'o> Timed<'o> {
    /// Ends a search that may take `time` from `begun` on, with all that comes after it: `afterwards` seconds or more.
    pub(crate) fn new(observer: &'o mut dyn Observer, begun: Instant, time: Option<Duration>, afterwards: f64) -> Self {
        // A time beyond what a clock can tell never ends.
        let until = time.and_then(|time| {
            let (share, most) = MORE_AFTERWARDS;
            let all = time.as_secs_f64();
            let least = AFTERWARDS * all + (share * all).min(most);
            let search = all - least.max(afterwards.min(MOST_AFTERWARDS * all));
            begun.checked_add(Duration::try_from_secs_f64(search).ok()?)
        });
        Timed { observer, until, is_up: false, was_ended: false }
    }
}

impl Observer for Timed<'_> {
    fn event(&mut self, event: Event<'_>) {
        self.observer.event(event);
    }

    fn stop(&mut self) -> bool {
        if self.observer.stop() {
            self.was_ended = true;
            return true;
        }
        self.is_up |= self.until.is_some_and(|until| Instant::now() >= until);
        self.was_ended |= self.is_up;
        self.is_up
    }
}

/// Bytes that the replaced layers may take together so that a file of `model_bytes` comes to `most`; `None` if the rest of it is
/// larger alone.
pub(crate) fn bytes_for_layers(model_bytes: u64, candidates: &[&Candidate], most: u64) -> Option<u64> {
    let replaced: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
    most.checked_sub(model_bytes.saturating_sub(replaced))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::observer::Silent;

    #[test]
    fn time_ends_a_search_and_says_so() {
        let mut silent = Silent;
        let mut endless = Timed::new(&mut silent, Instant::now(), Some(Duration::MAX), 0.0);
        assert!(!endless.stop() && !endless.is_up);
        let mut silent = Silent;
        let mut none = Timed::new(&mut silent, Instant::now(), None, 0.0);
        assert!(!none.stop());
        let mut silent = Silent;
        let mut over = Timed::new(&mut silent, Instant::now(), Some(Duration::ZERO), 0.0);
        assert!(over.stop() && over.is_up);
        // What is known to take long afterwards ends it earlier, but never in the first half.
        let minute = Some(Duration::from_secs(60));
        let stops = |seconds: u64, afterwards: f64| {
            let begun = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
            Timed::new(&mut Silent, begun, minute, afterwards).stop()
        };
        assert!(!stops(40, 0.0) && stops(40, 25.0) && !stops(25, 1e9) && stops(31, 1e9));
    }
}
