//! A folder of entries, which several processes may use at once.
//!
//! An entry is written to a temporary file of the folder and then renamed, so that nobody ever sees half of one. It says what made
//! it, what its name is, how long it is and what its content hashes to. An entry of which any of that is wrong counts as none and is
//! removed. Reading one sets its time of change, by which the entries that were not used for longest go first where all of them
//! together take too much.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::key::{FORMAT, Key, MADE_BY};

const MAGIC: &[u8; 8] = b"adntnfit";
/// Ends of the names of entries, and of entries being written.
const ENTRY: &str = ".adntn";
const TEMPORARY: &str = ".adntn-tmp";
/// Held by the process that removes entries.
const LOCK: &str = "evict.lock";
/// Temporary files that are older were left behind by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// What is left of the size allowed when entries had to go.
const LEFT: f64 = 0.9;
/// Largest share of the size allowed that one entry may take.
const LARGEST: u64 = 4;
/// Own writes, as a share of the size allowed, after which all entries are counted again: other processes write too.
const COUNTED_AGAIN: u64 = 20;

/// Why an entry is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing was kept under that name.
    Absent,
    /// What was there is damaged, or of another version; it was removed.
    Broken,
}

#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    most: u64,
    /// `None` until the first entry is written.
    used: Mutex<Option<Used>>,
}

/// Bytes of all entries as far as this process knows.
#[derive(Debug, Clone, Copy)]
struct Used {
    all: u64,
    /// What this process has written since they were counted.
    since: u64,
}

impl Store {
    pub(super) fn new(folder: PathBuf, most: u64) -> Store {
        Store { folder, most, used: Mutex::new(None) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{key}{ENTRY}"))
    }

    /// What was kept under a name.
    pub(super) fn read(&self, key: Key) -> Result<Vec<u8>, Missing> {
        let path = self.path(key);
        let mut file = File::open(&path).map_err(|_| Missing::Absent)?;
        let mut bytes = Vec::new();
        let head = head(key, &[]);
        let whole = file.read_to_end(&mut bytes).is_ok() && bytes.len() >= head.len();
        if !whole || bytes[..head.len()] != self::head(key, &bytes[head.len()..]) {
            self.remove(key);
            return Err(Missing::Broken);
        }
        // Where it cannot be set the entry only seems older than it is.
        let _ = file.set_modified(SystemTime::now());
        bytes.drain(..head.len());
        Ok(bytes)
    }

    /// Removes an entry.
    pub(super) fn remove(&self, key: Key) {
        // Another process may have done so, or nobody may.
        let _ = fs::remove_file(self.path(key));
    }

    /// The most bytes that an entry may take.
    pub(super) fn largest(&self) -> u64 {
        self.most / LARGEST
    }

    /// The size that has to be allowed for an entry of so many bytes.
    pub(super) fn holding(length: u64) -> u64 {
        length.saturating_mul(LARGEST)
    }

    /// Keeps `body`, unless it is too large.
    ///
    /// # Errors
    /// What the system says of a folder that cannot be written or a disk that is full.
    pub(super) fn write(&self, key: Key, body: &[u8]) -> io::Result<bool> {
        let length = body.len() as u64;
        if length > self.largest() {
            return Ok(false);
        }
        if !self.folder.is_dir() {
            fs::create_dir_all(&self.folder)?;
        }
        let mut file = temporary(&self.folder)?;
        file.write_all(&head(key, body))?;
        file.write_all(body)?;
        file.persist(self.path(key)).map_err(|error| error.error)?;
        self.count(length);
        Ok(true)
    }

    /// Counts what was written, and makes room where there is too much.
    fn count(&self, length: u64) {
        let Ok(mut used) = self.used.lock() else { return };
        let counted = |all| Used { all, since: 0 };
        let now = match *used {
            Some(Used { all, since }) if since + length <= self.most / COUNTED_AGAIN => {
                Used { all: all + length, since: since + length }
            }
            _ => counted(bytes(&self.entries())),
        };
        *used = Some(if now.all > self.most { counted(self.evict()) } else { now });
    }

    /// Removes the entries that were not used for longest until there is room again; the bytes of those that are left.
    fn evict(&self) -> u64 {
        // Where another process removes entries already, two of them would remove too many.
        let lock = File::create(self.folder.join(LOCK)).ok();
        let is_busy = lock.as_ref().is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        let mut entries = self.entries();
        let mut used = bytes(&entries);
        if is_busy {
            return used;
        }
        entries.sort_by_key(|entry| entry.used);
        for entry in entries {
            let wanted = self.most as f64 * LEFT;
            if used as f64 <= wanted {
                break;
            }
            let removed = fs::remove_file(&entry.path);
            if removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                used -= entry.bytes;
            }
        }
        used
    }

    /// All entries; temporary files that nobody writes any more are removed on the way.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if name.strip_suffix(ENTRY).is_some_and(|key| Key::parse(key).is_some()) {
                entries.push(Entry { path: file.path(), bytes: metadata.len(), used });
            } else if name.ends_with(TEMPORARY) && used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(file.path());
            }
        }
        entries
    }
}

/// A file with the rights of ordinary new ones, since users may share a folder.
#[cfg(unix)]
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let rights = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix("").suffix(TEMPORARY).permissions(rights).tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix("").suffix(TEMPORARY).tempfile_in(folder)
}

fn bytes(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.bytes).sum()
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// What stands before the content of an entry.
fn head(key: Key, body: &[u8]) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&(MADE_BY.len() as u64).to_le_bytes());
    head.extend_from_slice(MADE_BY.as_bytes());
    head.extend_from_slice(key.as_bytes());
    head.extend_from_slice(&(body.len() as u64).to_le_bytes());
    head.extend_from_slice(blake3::hash(body).as_bytes());
    head
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::of("test").text(name).finish()
    }

    fn store(most: u64) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("a/b"), most);
        (folder, store)
    }

    #[test]
    fn entries_are_found_again_by_their_names() {
        let (_folder, store) = store(1 << 20);
        assert_eq!(store.read(key("a")), Err(Missing::Absent));
        assert!(store.write(key("a"), b"one").unwrap() && store.write(key("b"), b"").unwrap());
        assert_eq!(store.read(key("a")).unwrap(), b"one");
        assert_eq!(store.read(key("b")).unwrap(), b"");
        assert!(store.write(key("a"), b"two").unwrap());
        assert_eq!(store.read(key("a")).unwrap(), b"two");
    }

    #[test]
    fn damaged_entries_are_removed() {
        let (_folder, store) = store(1 << 20);
        let path = store.path(key("a"));
        store.write(key("a"), b"some content").unwrap();
        let whole = fs::read(&path).unwrap();
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        damaged.extend((0..whole.len()).map(|at| {
            let mut other = whole.clone();
            other[at] ^= 1;
            other
        }));
        damaged.push([&whole[..], b"!"].concat());
        for bytes in damaged {
            fs::write(&path, bytes).unwrap();
            assert_eq!(store.read(key("a")), Err(Missing::Broken));
            assert!(!path.exists());
        }
        // An entry under the name of another.
        fs::write(store.path(key("b")), &whole).unwrap();
        assert_eq!(store.read(key("b")), Err(Missing::Broken));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let (_folder, store) = store(10_000);
        for name in ["a", "b", "c"] {
            assert!(store.write(key(name), &[0; 2000]).unwrap());
            let file = File::options().append(true).open(store.path(key(name))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(name.as_bytes()[0].into())).unwrap();
        }
        // Of other files in the folder nothing is known, and nothing touched but temporary ones.
        fs::write(store.folder().join("mine.adntn"), [0; 9000]).unwrap();
        assert!(store.read(key("a")).is_ok());
        assert!(!store.write(key("large"), &[0; 2600]).unwrap());
        for name in ["d", "e", "f"] {
            store.write(key(name), &[0; 2000]).unwrap();
        }
        assert_eq!(store.read(key("b")), Err(Missing::Absent));
        assert!(store.read(key("a")).is_ok() && store.read(key("f")).is_ok());
        assert!(store.folder().join("mine.adntn").exists());
        let used: u64 = store.entries().iter().map(|entry| entry.bytes).sum();
        assert!(used <= 10_000, "{used}");
    }

    #[test]
    fn temporary_files_left_behind_are_removed_when_they_are_old() {
        let (_folder, store) = store(1 << 20);
        store.write(key("a"), b"").unwrap();
        let [old, new] = ["old", "new"].map(|name| store.folder().join(format!("{name}{TEMPORARY}")));
        for path in [&old, &new] {
            fs::write(path, b"half").unwrap();
        }
        File::options().append(true).open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(store.entries().len(), 1);
        assert!(!old.exists() && new.exists());
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error_that_can_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"").unwrap();
        let store = Store::new(path, 1 << 20);
        assert_eq!(store.read(key("a")), Err(Missing::Absent));
        assert!(store.write(key("a"), b"one").is_err());
    }
}
