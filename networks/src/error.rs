//! What can go wrong when a generator is described, filled or started.

use thiserror::Error;

/// Errors of this crate: each is one sentence that says what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Too few legs for a tree.
    #[error("a tree needs at least {needed} legs, but the layout has {legs}; split some, or add legs of dimension 1")]
    LegCount {
        /// Legs of the layout.
        legs: usize,
        /// The least number.
        needed: usize,
    },
    /// No tree.
    #[error("the tree is inconsistent: {problem}")]
    Tree {
        /// What is wrong with it.
        problem: String,
    },
    /// Tree and layout do not belong together.
    #[error("the tree has {leaves} leaves, but the layout has {legs} legs; give every leg one leaf")]
    Leaves {
        /// Leaves of the tree.
        leaves: usize,
        /// Legs of the layout.
        legs: usize,
    },
    /// A list of σ of the wrong length.
    #[error("{given} activations were given, but this tree has {needed} levels, coarse to fine, the top tensor first")]
    ActivationCount {
        /// Entries given.
        given: usize,
        /// Entries needed.
        needed: usize,
    },
    /// A leg of dimension zero.
    #[error("leg {leg} of the layout has dimension 0; every leg needs a dimension of at least 1")]
    EmptyLeg {
        /// Position of the leg in leaf order.
        leg: usize,
    },
    /// The places of one side's legs are no permutation of 0, 1, 2, ….
    #[error("the places of the {side} legs must be 0, 1, …, {last} once each, but {place} is missing", last = count.saturating_sub(1))]
    Places {
        /// `output` or `input`.
        side: &'static str,
        /// Number of legs on that side.
        count: usize,
        /// The first missing place.
        place: usize,
    },
    /// The product of leg dimensions does not fit the address space.
    #[error("the legs of the layout multiply to more elements than memory can address; use smaller legs")]
    TooLarge,
    /// A weight dimension is zero.
    #[error("a weight of {outputs}×{inputs} has no elements; both dimensions must be at least 1")]
    EmptyWeight {
        /// Rows of the weight.
        outputs: usize,
        /// Columns of the weight.
        inputs: usize,
    },
    /// The legs cover fewer elements than the weight has.
    #[error(
        "the {side} legs of the layout multiply to {covered}, fewer than the weight's {needed}; use larger legs (padding is sliced off)"
    )]
    LayoutTooSmall {
        /// `output` or `input`.
        side: &'static str,
        /// Product of that side's leg dimensions.
        covered: usize,
        /// Rows or columns of the weight.
        needed: usize,
    },
    /// A bond dimension of zero.
    #[error("the bond dimension χ must be at least 1")]
    ZeroBond,
    /// Larger bonds than a start was prepared for.
    #[error("leaf bonds {wanted:?} were asked for, but the start was prepared for {prepared:?} at most")]
    NotPrepared {
        /// Bonds asked for, one for each leaf pair.
        wanted: Vec<usize>,
        /// The largest possible ones.
        prepared: Vec<usize>,
    },
    /// A list of bond dimensions of the wrong length.
    #[error("{given} bond dimensions were given, but this tree has {needed} levels of bonds, coarse to fine")]
    BondCount {
        /// Entries given.
        given: usize,
        /// Entries needed.
        needed: usize,
    },
    /// A parameter vector of the wrong length.
    #[error("{given} parameters were given, but this generator has {needed}")]
    ParameterCount {
        /// Values given.
        given: usize,
        /// Values needed.
        needed: usize,
    },
    /// A weight of the wrong length.
    #[error("the weight has {given} values, but {outputs}×{inputs} needs {needed}", needed = outputs.saturating_mul(*inputs))]
    WeightLength {
        /// Values given.
        given: usize,
        /// Rows of the weight.
        outputs: usize,
        /// Columns of the weight.
        inputs: usize,
    },
    /// NaN or infinity among values that must be finite.
    #[error("value {index} of the {what} is not finite; a generator can only be built from finite numbers")]
    NonFinite {
        /// `weight`, `parameters` or `input weighting`.
        what: &'static str,
        /// Index of the first such value.
        index: usize,
    },
    /// An input weighting whose Gram matrix does not have the right size.
    #[error("the input weighting returned {given} values for a Gram matrix of {dim}×{dim}")]
    WeightingShape {
        /// Values returned.
        given: usize,
        /// Expected rows and columns.
        dim: usize,
    },
    /// An eigendecomposition did not converge.
    #[error("the eigendecomposition of a {dim}×{dim} Gram matrix did not converge")]
    Eigen {
        /// Rows of the matrix.
        dim: usize,
    },
    /// A name that is none of the known ones.
    #[error("`{given}` is not a known {what}; known are {known}")]
    UnknownName {
        /// `activation`, `layout` or `topology`.
        what: &'static str,
        /// The text given.
        given: String,
        /// The names accepted, comma separated.
        known: &'static str,
    },
}
