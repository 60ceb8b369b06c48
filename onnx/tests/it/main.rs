//! What users of the crate rely on.

mod build;
mod damage;
mod external;
mod files;
mod names;
mod open;
mod patch;
mod unknown;
mod write;
