//! How a caller follows a compilation.

use adntn_fit::distill::Progress;

/// A step of a compilation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A new phase began, such as `calibrating`.
    Phase(&'a str),
    /// A generator is being fitted.
    Fit {
        /// The layer.
        layer: &'a str,
        /// What is fitted, such as `TTN interleaved, 8 legs, χ = 16`.
        generator: &'a str,
        /// Steps done.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Relative output error so far.
        error: f64,
    },
    /// An end-to-end fit has its generators.
    Generators {
        /// Parameters of the weights they replace.
        weights: u64,
        /// Their own parameters.
        parameters: u64,
    },
    /// A choice is to be trained through the network.
    Attempt {
        /// Bytes of all replaced weights in it.
        bytes: u64,
        /// Bytes of all replaced weights in the smallest choice that passed so far, and its loss of quality.
        best: Option<(u64, f64)>,
    },
    /// Values of the frozen part of the model are being computed.
    Cache {
        /// Samples done.
        done: usize,
        /// Samples in all, changed copies included.
        all: usize,
    },
    /// A step of an end-to-end fit is done.
    Train(Progress),
    /// A choice of generators for the whole model was measured.
    Trial {
        /// Loss of quality on the selection samples.
        loss: f64,
        /// Bytes of all replaced weights before and after.
        bytes: (u64, u64),
        /// Whether it stayed within the tolerance.
        accepted: bool,
    },
}

/// Receives the events of a compilation; called from one thread at a time.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: Event<'_>);

    /// Whether the compilation should end here with the best found so far. Before the first pass of an end-to-end fit, or
    /// before a search has accepted anything, there is none: then it ends with [`Error::Interrupted`](crate::Error).
    fn stop(&mut self) -> bool {
        false
    }
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: Event<'_>) {}
}
