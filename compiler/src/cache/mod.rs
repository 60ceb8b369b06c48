//! Kept results: what a compilation works out is a function of its inputs, and is looked up by a digest of these the next time.
//!
//! Nothing depends on it: an entry that is not there, or damaged, is made again, and what cannot be written is only told.

mod codec;
mod key;
mod replacement;
mod statistics;
mod store;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::report::CacheReport;
pub(crate) use codec::{Reader, Writer};
pub(crate) use key::{Key, MADE_BY};
pub(crate) use replacement::{read_patch, read_replacement, write_patch, write_replacement};
pub(crate) use statistics::{kept_gram, statistics, statistics_name};
use store::{Missing, Store};

/// Where results of compilations are kept, so that the next ones find them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheOptions {
    /// The folder; it is made where it does not exist. Any number of processes may use it at once.
    pub folder: PathBuf,
    /// Bytes that all entries may take together: beyond, those that were not used for longest are removed. One may take a quarter of
    /// it; larger ones are not kept. Processes that write at the same time may pass it by a twentieth each.
    pub most_bytes: u64,
}

impl CacheOptions {
    /// The default of [`most_bytes`](CacheOptions::most_bytes).
    pub const MOST_BYTES: u64 = 2_000_000_000;

    /// In this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        CacheOptions { folder: folder.into(), most_bytes: Self::MOST_BYTES }
    }

    /// The folder of adntn among the user's caches: `$XDG_CACHE_HOME/adntn`, or what is usual on the system. `None` where the
    /// environment names no such folder.
    #[must_use]
    pub fn users_folder() -> Option<PathBuf> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let usual = || match std::env::consts::OS {
            "windows" => absolute("LOCALAPPDATA"),
            "macos" => absolute("HOME").map(|home| home.join("Library/Caches")),
            _ => absolute("HOME").map(|home| home.join(".cache")),
        };
        absolute("XDG_CACHE_HOME").or_else(usual).map(|caches| caches.join("adntn"))
    }
}

/// A cache that is shared by all parts of a compilation; the default one keeps nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    store: Store,
    /// The entries that were found.
    found: Mutex<BTreeSet<String>>,
    kept: AtomicUsize,
    broken: AtomicUsize,
    found_search: AtomicBool,
    /// Bytes of the largest entry that was too large.
    refused: AtomicU64,
    /// Why the first entry that could not be written could not.
    problem: Mutex<Option<String>>,
}

impl Cache {
    pub(crate) fn open(options: Option<&CacheOptions>) -> Cache {
        Cache(options.map(|options| {
            Arc::new(Shared {
                store: Store::new(options.folder.clone(), options.most_bytes),
                found: Mutex::default(),
                kept: AtomicUsize::new(0),
                broken: AtomicUsize::new(0),
                found_search: AtomicBool::new(false),
                refused: AtomicU64::new(0),
                problem: Mutex::new(None),
            })
        }))
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The most bytes that an entry may take; none where nothing is kept.
    pub(crate) fn largest(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.store.largest())
    }

    /// Remembers an entry of so many bytes that was too large to be kept.
    pub(crate) fn refuse(&self, bytes: u64) {
        if let Some(shared) = &self.0 {
            shared.refused.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes of the largest entry that was too large to be kept, if there was one, and of a cache that would take it.
    pub(crate) fn refused(&self) -> Option<(u64, u64)> {
        let bytes = self.0.as_ref()?.refused.load(Ordering::Relaxed);
        (bytes > 0).then(|| (bytes, Store::holding(bytes)))
    }

    /// What was kept under a name, as `read` takes it from the bytes; what it cannot take is removed.
    pub(crate) fn load<T>(&self, key: Key, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<T> {
        let shared = self.0.as_ref()?;
        let whole = |bytes: Vec<u8>| {
            let mut reader = Reader(&bytes);
            let value = read(&mut reader)?;
            reader.end().map(|()| value)
        };
        let value = shared.store.read(key).and_then(|bytes| {
            whole(bytes).ok_or_else(|| {
                shared.store.remove(key);
                Missing::Broken
            })
        });
        match value {
            Ok(value) => {
                if let Ok(mut found) = shared.found.lock() {
                    found.insert(key.to_string());
                }
                Some(value)
            }
            Err(Missing::Absent) => None,
            Err(Missing::Broken) => {
                tracing::debug!(%key, "a damaged entry of the cache was removed");
                shared.broken.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Keeps what `write` writes, if it can be kept.
    pub(crate) fn save(&self, key: Key, write: impl FnOnce(&mut Writer)) {
        let Some(shared) = &self.0 else { return };
        let mut writer = Writer::default();
        write(&mut writer);
        match shared.store.write(key, &writer.0) {
            Ok(true) => {
                shared.kept.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => self.refuse(writer.0.len() as u64),
            Err(error) => {
                tracing::debug!(%key, %error, "nothing was kept");
                if let Ok(mut problem) = shared.problem.lock() {
                    problem.get_or_insert(error.kind().to_string());
                }
            }
        }
    }

    /// Remembers that a whole search was found.
    pub(crate) fn found_search(&self) {
        if let Some(shared) = &self.0 {
            shared.found_search.store(true, Ordering::Relaxed);
        }
    }

    /// A clause where something could not be kept.
    pub(crate) fn problem(&self) -> Option<String> {
        let shared = self.0.as_ref()?;
        let problem = shared.problem.lock().ok()?.clone()?;
        Some(format!("the cache {} cannot be written ({problem})", shared.store.folder().display()))
    }

    /// A sentence where something could not be kept.
    pub(crate) fn note(&self) -> Option<String> {
        let problem = self.problem()?;
        let rest = problem.strip_prefix("the").unwrap_or(&problem);
        Some(format!("The{rest}: what was worked out is not kept."))
    }

    /// What came of it.
    pub(crate) fn report(&self) -> Option<CacheReport> {
        let shared = self.0.as_ref()?;
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Some(CacheReport {
            folder: shared.store.folder().display().to_string(),
            search_found: shared.found_search.load(Ordering::Relaxed),
            found: shared.found.lock().map_or(0, |found| found.len()),
            kept: count(&shared.kept),
            damaged: count(&shared.broken),
        })
    }
}
