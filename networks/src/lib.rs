//! Tree tensor network weight generators: layouts, forward, adjoint and start.

mod activation;
mod adjoint;
mod elementwise;
mod error;
mod factorise;
mod forward;
mod generator;
mod kernels;
mod layout;
mod leg;
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
