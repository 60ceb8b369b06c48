//! The tensor library asserts; a library on top of it must not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Error;

/// Runs `f`, a panic of which becomes [`Error::Panicked`]. Shapes are checked before: this is the last resort.
pub(crate) fn guarded<T>(action: impl FnOnce() -> String, f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(Error::Panicked { action: action() }))
}
