//! What signals do to the command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code after a second Ctrl-C, or one before there was anything to write: 128 and the number of the signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C sets, so that the work ends with the best it has found; the second one ends the program.
/// A request to terminate ends it at once.
pub(crate) fn watch() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Fails only where the system has no signals; Ctrl-C then does what it does everywhere.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    });
    end_on_termination();
    stop
}

/// Set even where the system would do the same by itself: for the first process of a container it would not.
#[cfg(unix)]
fn end_on_termination() {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: `_exit` may be called in a signal handler; it runs nothing else of this process.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(128 + libc::SIGTERM)
        }
    }
    let handler: extern "C" fn(libc::c_int) = end;
    // SAFETY: the handler has the type that `signal` takes, and does nothing but end the process.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
    }
}

#[cfg(not(unix))]
fn end_on_termination() {}
