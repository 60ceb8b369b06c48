//! The tiny models: one for each spelling of a dense weight, and for each reason to leave one alone.

mod build;
mod models;

use prost::Message;

/// Name and file content of every model, by name.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<_> = models::all().into_iter().map(|(name, model)| (name, model.encode_to_vec())).collect();
    files.sort_by_key(|f| f.0);
    files
}
