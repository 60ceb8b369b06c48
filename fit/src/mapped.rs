//! Files as bytes without reading them: the one place of this crate with `unsafe`.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The content of a file, mapped: pages come in when they are looked at.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private and read-only and nothing hands out a mutable view of it, so no code of this process can
    // change the bytes under a reference. Files made here have no name. What is left is another process that writes into or
    // shortens a file of samples while it is read; no system offers a lock against that, and every reader of mapped arrays
    // accepts it.
    #[allow(unsafe_code)]
    unsafe {
        Mmap::map(file)
    }
}
