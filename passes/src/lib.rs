//! Graph rewrites. A pass looks at a model and returns a [`adntn_onnx::Patch`]; it never edits anything.
//!
//! [`find_candidates`] lists the dense weights, [`replace_by`] writes what stands for one in its place ([`replace_by_generator`] a
//! fitted generator), [`replace_by_dense`] plain numbers, [`drop_unused`] leaves out what nothing reads, and [`describe`] shows a graph as text.

mod axes;
mod bias;
mod candidate;
mod describe;
mod digits;
mod emit;
mod error;
mod find;
mod folded;
mod lowering;
mod name;
mod origin;
mod plain;
mod replace;
mod skip;
mod store;
mod tensor;
mod unused;

pub use bias::{has_own_bias, shift_bias};
pub use candidate::{Candidate, DenseUse, LayerKind, Root, Stored, WeightSource};
pub use describe::describe;
pub use digits::{Rewrite, replace_by, takes_digits};
pub use error::Error;
pub use find::{FindOptions, Survey, find_candidates, find_candidates_with};
pub use lowering::FOLDABLE_BYTES;
pub use plain::{PlainKind, PlainParameter, plain_parameters, replace_values, weight_value};
pub use replace::{replace_by_dense, replace_by_generator};
pub use skip::{SkipReason, Skipped};
pub use store::{Rounding, kept_in_half, round_plain};
pub use unused::{Unused, drop_unused};
