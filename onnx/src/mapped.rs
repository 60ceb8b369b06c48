//! Files as bytes without reading them: the one place with `unsafe`.

use std::fs::File;
use std::io;

use bytes::Bytes;

/// The content of a file, mapped: pages come in when they are looked at. The map lives as long as any slice of it.
pub(crate) fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is private and read-only, and is only ever handed out as immutable `Bytes`, whose owner keeps it
    // mapped, so no code of this process can change or unmap the bytes under a reference. What is left is another
    // process writing into or shortening the same file while it is open; no system offers a lock that prevents this,
    // and every reader of mapped models accepts it. This crate's own writer never does so: it renames a new file over
    // the old one, which keeps the mapped one intact.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}
