//! When an unchanged `stat` proves unchanged bytes.
//!
//! A file system stamps changes with a clock that ticks every few milliseconds. Two writes within
//! one tick leave the same times, so a file read right after it was written may be written again
//! with nothing to show for it. Such a `stat` is *fresh*: it is not to be trusted, and the file
//! has to be read again once the tick is over. Some file systems stamp a change finely whenever
//! somebody has asked for the times since the last one; there no `stat` is ever fresh.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::{self, Errno};
use syncd_core::model::StatKey;

use crate::world::disk::system;

/// The longest tick of a file system's clock to be reckoned with: Linux ticks every 1 to 10 ms.
pub const COARSE_WINDOW_NS: i64 = 20_000_000;

/// A change time so far ahead of now is that of a clock which was set back; a new write would
/// show.
const AHEAD_NS_MAX: i64 = 2_000_000_000;

/// Name of the file that the clock is tried out with.
const PROBE: &str = "probe-time";

/// How many changes in a row must each leave a time of their own.
const PROBES: usize = 16;

/// Returns nanoseconds since 1970 on the clock of the system. Asked for before the `stat` that it
/// is compared with, it makes a file seem newer rather than older.
#[must_use]
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Tells whether a file with this `stat`, asked for after `now_ns`, could be written once more
/// without its `stat` changing. `window_ns` is what [`window_ns`] returned.
#[must_use]
pub fn is_fresh(stat: &StatKey, now_ns: i64, window_ns: i64) -> bool {
    let age_ns = now_ns.saturating_sub(stat.ctime_ns);
    window_ns > 0 && (-AHEAD_NS_MAX..=window_ns).contains(&age_ns)
}

/// Tries out the clock of the file system in `dir`, a directory of our own: returns for how many
/// nanoseconds after a change its `stat` is fresh, [`COARSE_WINDOW_NS`] or 0.
#[must_use]
pub fn window_ns(dir: BorrowedFd<'_>) -> i64 {
    let fine = stamps_finely(dir);
    // What stays behind would only be found again by the next try.
    let _ = fs::unlinkat(dir, PROBE, AtFlags::empty());
    if fine == Ok(true) { 0 } else { COARSE_WINDOW_NS }
}

fn stamps_finely(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = system::open_at(dir, PROBE.as_bytes(), flags, 0o600)?;
    let mut last = system::key_of(&system::stat_of(&file)?).ctime_ns;
    for round in 0..PROBES {
        io::pwrite(file.as_fd(), &[u8::try_from(round).unwrap_or_default()], 0)?;
        let now = system::key_of(&system::stat_of(&file)?).ctime_ns;
        if now <= last {
            return Ok(false);
        }
        last = now;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_fresh_for_one_tick() {
        let stat = |ctime_ns| StatKey { inode: 1, size: 1, mtime_ns: 0, ctime_ns, mode: 0o644 };
        let now = 1_000_000_000_000;
        for (ctime, window, fresh, because) in [
            (now, COARSE_WINDOW_NS, true, "changed this moment"),
            (now - COARSE_WINDOW_NS, COARSE_WINDOW_NS, true, "the last moment of the tick"),
            (now - COARSE_WINDOW_NS - 1, COARSE_WINDOW_NS, false, "the tick is over"),
            (now + 1_000, COARSE_WINDOW_NS, true, "a clock a little ahead"),
            (now + 3_000_000_000, COARSE_WINDOW_NS, false, "the clock was set back"),
            (0, COARSE_WINDOW_NS, false, "long ago"),
            (now, 0, false, "this file system stamps finely"),
        ] {
            assert_eq!(is_fresh(&stat(ctime), now, window), fresh, "{because}");
        }
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let window = window_ns(fd.as_fd());
        assert!([0, COARSE_WINDOW_NS].contains(&window));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
