//! Watching a fit through the network.

use std::path::Path;

use adntn_fit::distill::{Control, Identity, Progress, State};

use crate::observer::{Event, Observer};

/// Passes news on, and keeps checkpoints.
pub(super) struct Watch<'w> {
    pub(super) observer: &'w mut dyn Observer,
    pub(super) checkpoint: Option<(&'w Path, &'w Identity)>,
    /// The quality that is wanted and the loss that is allowed; a fit that is far from it is ended.
    pub(super) least: Option<(f64, f64)>,
    pub(super) hopeless: bool,
}

/// Share of its steps after which a fit is looked at for whether it gets anywhere, and what it may then lose beyond what is
/// allowed: a multiple of that, or so much at least.
const LOOKED_AT: f64 = 0.35;
const STILL_LOST: f64 = 3.0;
const STILL_LOST_AT_LEAST: f64 = 0.02;

impl Control for Watch<'_> {
    fn progress(&mut self, progress: &Progress) {
        if let Some((wanted, loss)) = self.least {
            let looked_at = progress.step as f64 >= LOOKED_AT * progress.steps as f64 && progress.epoch > 1;
            self.hopeless |= looked_at && progress.best.quality < wanted - (STILL_LOST * loss).max(STILL_LOST_AT_LEAST);
        }
        self.observer.event(Event::Train(*progress));
    }

    fn stop(&mut self) -> bool {
        self.hopeless || self.observer.stop()
    }

    fn checkpoint(&mut self, state: &State) -> Result<(), adntn_fit::Error> {
        match self.checkpoint {
            Some((path, identity)) => state.save(path, identity),
            None => Ok(()),
        }
    }
}
