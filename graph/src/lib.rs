//! Differentiable interpreter of ONNX graphs.
//!
//! A [`Network`] is the part of a model between some of its values and some of its outputs, with chosen weights as
//! leaves. It runs forward for any batch size, and [`Pass::backward`] gives the gradients of the leaves. What each
//! operator covers is listed in `docs/differentiable-ops.md`; an operator outside it is [`Error::Unsupported`], never a
//! wrong number.
//!
//! [`frontier`] lists the values at which a model can be cut so that everything before them is independent of the
//! leaves: that part needs to run once only.

mod array;
mod attributes;
mod backend;
mod broadcast;
mod build;
mod constants;
mod error;
mod frontier;
mod guard;
mod network;
mod ops;
mod order;
mod pass;
mod tensor;
mod value;

pub use array::Array;
pub use error::Error;
pub use frontier::frontier;
pub use network::{Network, Request};
pub use pass::Pass;
