//! Whether a program has begun to write much: many paths are touched with hardly a pause.
//!
//! The first of them is looked at, made durable and told within milliseconds, when the rest has
//! been touched and not been looked at. So that even the first is told as part of a burst, and the
//! burst does not seem to be over whenever the disk lets the program wait, it is the touches that
//! count.
//!
//! What goes on for longer is no burst, and nobody waits for its end.

use std::collections::BTreeSet;

use crate::model::{RelPath, Tick};

/// With so many paths it is a rush; one that a person saves touches fewer, its backups included.
pub const RUSH_PATHS_MIN: usize = 8;

/// A pause of more than this ends a rush.
pub const RUSH_PAUSE_MS_MAX: u64 = 100;

/// No rush lasts longer.
pub const RUSH_MS_MAX: u64 = 3_000;

/// Touches that came one soon after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Rush {
    /// When the first and the last of them came.
    came: Option<(Tick, Tick)>,
    /// What they touched, as far as it matters how many it is.
    paths: BTreeSet<RelPath>,
}

impl Rush {
    /// Takes note that `path` was touched.
    pub(super) fn touched(&mut self, path: &RelPath, now: Tick) {
        let first = match self.came {
            Some((first, last)) if now.since(last) <= RUSH_PAUSE_MS_MAX => first,
            Some(_) | None => {
                self.paths.clear();
                now
            }
        };
        self.came = Some((first, now));
        if self.paths.len() < RUSH_PATHS_MIN && !self.paths.contains(path) {
            self.paths.insert(path.clone());
        }
    }

    /// Returns until when it lasts if nothing more is touched; `None` when there is none.
    pub(super) fn until(&self, now: Tick) -> Option<Tick> {
        let (first, last) = self.came.filter(|_| self.paths.len() >= RUSH_PATHS_MIN)?;
        let until = last.after(RUSH_PAUSE_MS_MAX).min(first.after(RUSH_MS_MAX));
        (now <= until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Touches `count` paths every `every_ms` from `from_ms` on.
    fn touch(rush: &mut Rush, from_ms: u64, count: u64, every_ms: u64) -> u64 {
        for n in 0..count {
            let path = RelPath::parse(format!("p{n}")).unwrap();
            rush.touched(&path, Tick(from_ms + n * every_ms));
        }
        from_ms + (count - 1) * every_ms
    }

    #[test]
    fn many_paths_at_once_are_a_rush_until_they_pause() {
        for (count, every_ms, until, because) in [
            (1, 0, None, "an edit"),
            (5, 1, None, "an editor with its backups"),
            (8, 1, Some(107), "a program"),
            (2_000, 1, Some(2_099), "a checkout"),
            (30, 100, Some(3_000), "as slow as can be"),
            (100, 101, None, "somebody saves now and then"),
            (10_000, 1, None, "without end: nobody waits for the end of that"),
        ] {
            let mut rush = Rush::default();
            let last = touch(&mut rush, 0, count, every_ms);
            assert_eq!(rush.until(Tick(last)).map(|until| until.0), until, "{because}");
            let later = Tick(last + RUSH_PAUSE_MS_MAX + 1);
            assert_eq!(rush.until(later), None, "{because}: it is over");
            touch(&mut rush, later.0, 2, 1);
            assert_eq!(rush.until(later.after(1)), None, "{because}: what comes later is another");
        }
    }

    #[test]
    fn one_path_is_no_rush_however_often_it_is_touched() {
        let mut rush = Rush::default();
        for ms in 0..1_000 {
            rush.touched(&RelPath::parse("log").unwrap(), Tick(ms));
        }
        assert_eq!(rush.until(Tick(999)), None);
    }
}
