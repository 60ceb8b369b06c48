//! The `adntn-compile` command.

mod cli;

use std::process::ExitCode;

/// Allocations from this size on are handed back to the system as soon as they are freed (bytes).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED_AT_ONCE: libc::c_int = 4 << 20;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets a parameter of the allocator; no other thread runs yet. Without it glibc raises the
    // threshold to the largest block freed so far and keeps several weights' worth of freed memory to itself.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_AT_ONCE);
    }
    cli::run()
}
