//! The threads of the command: as many as the system lets it have.

use std::sync::{Arc, RwLock};
use std::thread;

use adntn_compiler::Error;

/// Threads beside those that compute: one waits for signals, one draws the progress.
const BESIDE: usize = 2;

/// Starts the threads that compute; fewer where the system does not give as many. Done first of all, since what starts threads
/// later cannot do without them.
pub(super) fn start() -> Result<(), Error> {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).filter(|&count| count > 0);
    let wanted: usize = asked.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let possible = most(wanted.saturating_add(BESIDE));
    let count = match possible.saturating_sub(BESIDE) {
        count if count == wanted => count,
        // What is scarce is left for others, and for what the threads will need.
        count => count.div_ceil(2),
    };
    let refused = || {
        Error::Usage(format!(
            "the system gives this process {possible} of at least {} threads: raise its limits on memory (ulimit -v) and on \
             processes (ulimit -u)",
            BESIDE + 1
        ))
    };
    if count == 0 {
        return Err(refused());
    }
    if count < wanted {
        tracing::warn!(wanted, count, "the system does not give as many threads as wanted");
    }
    rayon::ThreadPoolBuilder::new().num_threads(count).build_global().map_err(|_| refused())
}

/// How many of so many threads can be had at once.
fn most(wanted: usize) -> usize {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write();
    let wait = || {
        let gate = Arc::clone(&gate);
        thread::Builder::new().spawn(move || drop(gate.read())).ok()
    };
    let threads: Vec<_> = (0..wanted).map_while(|_| wait()).collect();
    drop(closed);
    let count = threads.len();
    for thread in threads {
        // It has nothing that could fail.
        let _ = thread.join();
    }
    count
}

#[cfg(test)]
mod tests {
    #[test]
    fn threads_are_counted_and_let_go() {
        assert_eq!(super::most(3), 3);
    }
}
