//! Fitting through the network: the cores of generators, and what else may be trained, against the dense teacher.
//!
//! What lies before the first replaced layer is frozen. It runs once, in tract, and its values are kept ([`Samples`]); the
//! rest of the network is differentiable (`adntn-graph`) and every step trains it on a batch of them. A generator enters that
//! network as a leaf with the shape of its weight; the gradient by the leaf goes back through the generator's adjoint
//! ([`Student`]). Nothing here knows ONNX.

mod augment;
mod cached;
mod check;
mod checkpoint;
mod objective;
mod optimizer;
mod rows;
mod samples;
mod settings;
mod student;
mod trainer;

pub use augment::Augment;
pub use check::{Check, check};
pub use checkpoint::{Extent, Identity, State};
pub use objective::{Loss, Objective};
pub use rows::{Budget, Rows, RowsWriter};
pub use samples::{Places, Samples};
pub use settings::Settings;
pub use student::{Part, Student};
pub use trainer::{Control, Ended, Problem, Progress, Trained, train};
