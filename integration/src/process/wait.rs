//! Waiting for what can be observed.

use std::thread;
use std::time::{Duration, Instant};

/// The first pause between two looks. Short, because most conditions hold within milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The longest pause, so that a slow condition costs no more than this on top.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Asks again and again until `look` finds what it looks for, and returns that.
///
/// The pause between two looks grows to 100 ms, and is never shorter than a look took: expensive
/// looks take at most half of the machine.
///
/// # Panics
/// When `wait_max` is over, with `what` and the reason that the last look gave.
#[track_caller]
pub fn eventually<T>(
    wait_max: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let looked = Instant::now();
        match look() {
            Ok(found) => return found,
            Err(reason) if began.elapsed() > wait_max => {
                panic!("{what}: not within {} s: {reason}", wait_max.as_secs())
            }
            Err(_) => thread::sleep(pause.max(looked.elapsed())),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
