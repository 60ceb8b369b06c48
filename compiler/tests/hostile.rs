//! Models made to hang, to exhaust memory or to crash: bounded in both, and never an exit code that is not 0, 2 or 3.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
