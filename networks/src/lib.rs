//! Tensor-network weight generators (TTN, aTTN, MERA): layouts, forward, adjoint and start.
//!
//! A top tensor A is expanded level by level: every leg by its own isometry w, then pairs of neighbouring legs by
//! disentanglers u where the topology has them, then σ:
//!
//! ```text
//! T_0 = σ_0(A)      T_l = σ_l(T_{l-1} ×_a w_{l,a} … ×_(k,k+1) u_{l,k} …)      W = s · diag(d) · matrix(T_L)
//! ```
//!
//! The repository's `docs/generators.md` has all formulas with their shapes (forward, adjoint, parameter counts, starts),
//! their sources, the schedule, and a diagram of each topology.

mod activation;
mod adjoint;
mod buffer;
mod elementwise;
mod equivalent;
mod error;
mod factorise;
mod forward;
mod gathered;
mod generator;
mod kernels;
mod layout;
mod leg;
mod loading;
mod matmul;
mod permute;
mod place;
mod plan;
mod real;
mod rows;
mod shape;
mod spec;
pub mod start;
mod topology;
mod tree;
mod wide;
mod workspace;

pub use activation::{Activation, LEAKY_SLOPE};
pub use equivalent::Equivalent;
pub use error::Error;
pub use factorise::{Factors, factorise};
pub use generator::Generator;
pub use layout::{KernelLegs, LayoutKind, LegLayout};
pub use leg::{Leg, Side};
pub use real::Real;
pub use shape::{Core, CoreKind, Shape};
pub use spec::{Activations, Bonds, GeneratorSpec};
pub use start::InputWeighting;
pub use topology::{Arrangement, Topology};
pub use tree::Tree;
pub use workspace::Workspace;
