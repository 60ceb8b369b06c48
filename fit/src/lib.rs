//! Calibration, objectives and optimisers that fit generators to trained weights.
//!
//! [`screen`] refuses models that no run could finish, [`runner`] runs models in tract, [`data`] reads samples, [`unfold`] and [`gram`] turn activations into the
//! statistics that weigh the error of a layer, [`layerwise`] fits a generator to a weight under them, [`distill`] fits
//! several through the network against the original, [`quality`] compares the outputs of two models. Nothing here prints, edits a
//! graph or chooses which layers to replace.

mod adam;
pub mod data;
pub mod distill;
mod error;
pub mod gram;
pub mod layerwise;
mod mapped;
mod matrix;
mod outline;
pub mod quality;
mod random;
pub mod runner;
mod screen;
mod text;
pub mod unfold;

pub use adam::Schedule;
pub use error::Error;
pub use outline::outline;
pub use screen::screen;
