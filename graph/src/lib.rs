//! Differentiable interpreter of ONNX graphs.
//!
//! A [`Network`] is the part of a model between some of its values and some of its outputs, with chosen weights as
//! leaves. It runs forward for any batch size, and [`Pass::backward`] gives the gradients of the leaves. What each
//! operator covers is listed in `docs/differentiable-ops.md`; an operator outside it is [`Error::Unsupported`], never a
//! wrong number.
//!
//! [`frontier`] lists the values at which a model can be cut so that everything before them is independent of the
//! leaves: that part needs to run once only.
//!
//! ```
//! use adntn_graph::{Array, Error, Network, Request, frontier};
//!
//! /// Gradients of ½‖y‖², given the values at the frontier.
//! fn step(
//!     model: &adntn_onnx::Model,
//!     trainable: &[String],
//!     outputs: &[String],
//!     cached: Vec<Array>,
//! ) -> Result<Vec<Option<Array>>, Error> {
//!     let inputs = frontier(model, trainable, outputs)?;
//!     let network = Network::new(model, &Request { inputs: &inputs, outputs, trainable })?;
//!     let leaves = trainable.iter().map(|name| network.initial(name)).collect::<Result<Vec<_>, _>>()?;
//!     let pass = network.forward(cached, &leaves)?;
//!     let cotangents = pass.outputs().to_vec();
//!     pass.backward(&cotangents)
//! }
//! ```

mod array;
mod attributes;
mod broadcast;
mod build;
mod constants;
mod convolution;
mod error;
mod frontier;
mod matrix;
mod network;
mod numeric;
mod ops;
mod order;
mod pass;
mod paths;
mod pooling;
mod tensor;
mod value;

pub use array::Array;
pub use error::Error;
pub use frontier::frontier;
pub use network::{Network, Request};
pub use pass::Pass;
pub use paths::{Path, Paths, paths};
