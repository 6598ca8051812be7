//! The share of the disk's write rate that one path may take: a large file that changes all the
//! time must not keep the disk busy with its versions.
//!
//! Writing a version of it is paid for with five times the time that it took; until that is paid,
//! the next version waits, and of those that come meanwhile only the last is written. So a path
//! takes a fifth of what the disk can write in the long run, and somebody who saves a large file
//! now and then waits for nothing.

use std::time::{Duration, Instant};

use syncd_core::model::{RelPath, Tick};

use super::{Hands, locked};

/// Contents of more bytes than this are large: they take no more than their path's share of the
/// disk, and are made durable as soon as they are staged.
pub const LARGE_BYTES_MIN: u64 = 16 << 20;

/// What writing takes out of a path's credit, times the time that it took.
const SHARE: u32 = 5;

/// How much may be taken ahead, in milliseconds: six seconds of writing.
pub(super) const AHEAD_MS: u64 = 30_000;

/// No version is waited for longer than this, however large it is, in milliseconds.
const COST_MS_MAX: u64 = 600_000;

impl Hands {
    /// Returns how long to wait before another version of a large file is written for `path`.
    #[must_use]
    pub fn share_wait(&self, path: &RelPath) -> Duration {
        let now = self.tick();
        Duration::from_millis(locked(&self.inner.share).from(path, now).since(now))
    }

    /// Takes note that writing a version of a large file for `path` took so long.
    pub fn wrote(&self, path: &RelPath, took: Duration) {
        let cost_ms = u64::try_from((took * SHARE).as_millis()).unwrap_or(u64::MAX);
        let now = self.tick();
        locked(&self.inner.share).take(path, cost_ms.min(COST_MS_MAX), now);
    }

    fn tick(&self) -> Tick {
        let since = Instant::now().duration_since(self.inner.began);
        Tick(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, path};
    use super::*;

    #[test]
    fn a_path_waits_until_what_it_wrote_is_paid_for() {
        let second = Duration::from_secs(1);
        for (took, waits, because) in [
            (&[][..], 0..=0, "nothing was written"),
            (&[second], 0..=0, "a file that is saved now and then"),
            (&[second; 6], 0..=0, "as much as may be taken ahead"),
            (&[second; 8], 1..=10, "two seconds more: ten to wait"),
            (&[second * 60], 1..=270, "5 GB at 80 MB/s: less than five minutes"),
            (&[second * 6_000], 1..=570, "an end to it"),
        ] {
            let folder = Folder::in_memory(|_| {});
            for took in took {
                folder.hands.wrote(&path("a"), *took);
            }
            let wait = folder.hands.share_wait(&path("a")).as_secs_f64().ceil() as u64;
            assert!(waits.contains(&wait), "{because}: {wait} s");
            assert_eq!(folder.hands.share_wait(&path("b")), Duration::ZERO, "another path");
        }
    }
}
