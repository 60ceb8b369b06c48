//! What users of the crate rely on.

// The lints make an exception for test functions, but not for the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod build;
mod damage;
mod external;
mod files;
mod names;
mod nested;
mod open;
mod patch;
mod sparse;
mod unknown;
mod write;
