//! Descriptors kept in reserve: with none left, what is under way can still be ended, and a
//! person who asks what is wrong gets an answer.
//!
//! Connections, which are many, take what the system gives. Whoever works on the disk or answers
//! a command needs one or two for a moment: he gets one of these when there are no others, and the
//! next tick of the daemon's clock fills them up again.
//!
//! # Invariants
//! - No more than `SPARES` are held.
//! - With none left the system's own refusal is told, which passes.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, Mode};
use rustix::io::{self, Errno};

use super::disk::system::WAY;

/// How many are held: an answer, a look, a batch and a sync, each with one or two.
const SPARES: usize = 6;

static HELD: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Takes as many descriptors into reserve as are missing, as far as the system gives them.
pub fn fill() {
    let mut held = held();
    while held.len() < SPARES {
        match fs::open("/", WAY, Mode::empty()) {
            Ok(fd) => held.push(fd),
            Err(_) => break,
        }
    }
}

/// Sees to it that there is a descriptor for whoever opens something next, if need be out of the
/// reserve. Nothing promises that nobody else is faster.
pub fn make_room() {
    // Whatever else it says, there is one.
    let _ = lending(|| fs::open("/", WAY, Mode::empty()));
}

/// Makes a call that opens something; while the system has no descriptor for it, with one out of
/// the reserve.
///
/// # Errors
/// What the call said; `EMFILE` or `ENFILE` only once the reserve is used up.
pub fn lending<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            // RACE: another thread may take the one that is given up here. Then the next one is.
            Err(errno) if is_out_of_them(errno) && give_up_one() => {}
            answer => return answer,
        }
    }
}

/// Tells whether the system said that this process, or the machine, has no descriptor left.
#[must_use]
pub fn is_out_of_them(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

/// Tells the same of an error of the standard library.
#[must_use]
pub fn has_none(error: &std::io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_out_of_them)
}

/// Gives one out of the reserve back to the system, for whoever asks next; `false` when there is
/// none.
pub fn give_up_one() -> bool {
    held().pop().is_some()
}

/// Locks; a thread that panicked while it held the lock left nothing half done.
fn held() -> MutexGuard<'static, Vec<OwnedFd>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that fail `fails` times with `errno`, then succeed; how many were made.
    fn calls(fails: usize, errno: Errno) -> (io::Result<()>, usize) {
        let mut made = 0;
        let answer = lending(|| {
            made += 1;
            if made <= fails { Err(errno) } else { Ok(()) }
        });
        (answer, made)
    }

    #[test]
    fn a_call_gets_what_is_in_reserve_and_no_more() {
        for (errno, fails, answer, made, because) in [
            (Errno::MFILE, 0, Ok(()), 1, "nothing is needed"),
            (Errno::MFILE, 2, Ok(()), 3, "somebody else took the first one"),
            (Errno::NFILE, SPARES, Ok(()), SPARES + 1, "the last one is lent too"),
            (Errno::MFILE, SPARES + 1, Err(Errno::MFILE), SPARES + 1, "then it fails"),
            (Errno::ACCESS, 1, Err(Errno::ACCESS), 1, "no descriptor would help"),
        ] {
            fill();
            assert_eq!(held().len(), SPARES, "{because}");
            assert_eq!(calls(fails, errno), (answer, made), "{because}");
        }
    }
}
