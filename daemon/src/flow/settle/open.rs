//! Files that another program has open for writing are waited for.
//!
//! Such a program does not see an exchange: what it writes later goes to the displaced inode, and
//! comes back as a conflict copy ([`super::late`]). Most programs write and close within moments,
//! so a job that would displace such a file waits for [`SettleOptions::open_wait`] at most. Then
//! it is taken all the same, and the displaced inode is looked at for as long as it is open.
//!
//! To ask the kernel takes milliseconds on a machine with hundreds of processes, as long as all
//! else that an edit takes. So it is asked for files of more than 64 KiB, which take their time
//! anyway, and for smaller ones that were written and not closed since, as far as the watcher
//! heard. A small file that was written before the watcher heard, or that is open and was not
//! written, is not waited for.
//!
//! RACE: a program may open the file between the question and the exchange. Then the looks at
//! what was displaced find its writes.
//!
//! [`SettleOptions::open_wait`]: super::SettleOptions::open_wait

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use syncd_core::flow::settle::{Expect, Job, SettleError, Step, Ticket};
use syncd_core::model::{Kind, RelPath};

use super::{Hands, locked};
use crate::world::disk::{Unclosed, system, writers};

/// How long a file that another program has open for writing is waited for.
pub const OPEN_WAIT: Duration = Duration::from_secs(30);

/// Files of more bytes than this are always asked for.
const SMALL_BYTES_MAX: u64 = 64 << 10;

impl Hands {
    /// Returns which files were written and not closed since, as far as is known.
    #[must_use]
    pub fn unclosed(&self) -> &Unclosed {
        &self.inner.unclosed
    }

    /// Tells whether any of the jobs displaces a file that may be open for writing, so that
    /// [`Hands::open_elsewhere`] is worth its time.
    #[must_use]
    pub fn asks(&self, jobs: &[Job]) -> bool {
        jobs.iter().any(|job| self.displaced_by(job).next().is_some())
    }

    /// Finds the jobs that must wait, since another program has a file open for writing that they
    /// displace: [`SettleError::Busy`] for each. Files that are rewritten in place are not
    /// displaced. Takes milliseconds.
    #[must_use]
    pub fn open_elsewhere(&self, jobs: &[Job]) -> BTreeMap<Ticket, SettleError> {
        let displaced: Vec<(Ticket, &RelPath, u64)> = jobs
            .iter()
            .flat_map(|job| self.displaced_by(job).map(|(path, inode)| (job.ticket, path, inode)))
            .collect();
        let inodes = displaced.iter().map(|(_, _, inode)| *inode).collect();
        let open = writers::open_for_writing(&inodes);
        let now = Instant::now();
        let wait = self.inner.open_wait;
        let mut since = locked(&self.inner.open_since);
        // One whose wait is over is not waited for anew when its job fails for another reason.
        since.retain(|_, begun| now.duration_since(*begun) < 2 * wait);
        let mut busy = BTreeMap::new();
        for (ticket, path, inode) in displaced {
            if !self.is_among(&open, path, inode) {
                since.remove(path);
                self.unclosed().heard(path, true);
            } else if now.duration_since(*since.entry(path.clone()).or_insert(now)) < wait {
                busy.insert(ticket, SettleError::Busy { path: path.clone() });
            }
        }
        busy
    }

    /// Lists the files that a job displaces and that may be open for writing, with their inodes.
    fn displaced_by<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = (&'a RelPath, u64)> {
        job.steps.iter().filter_map(|step| match step {
            Step::Place { path, kind: Kind::File, .. } if self.is_in_place(path) => None,
            Step::Place { path, expect, .. } | Step::Trash { path, expect } => {
                self.may_be_open(path, expect).map(|inode| (path, inode))
            }
            Step::KeepAs { .. }
            | Step::KeepForOthers { .. }
            | Step::Dress { .. }
            | Step::MakeDirectory { .. }
            | Step::RemoveDirectory { .. } => None,
        })
    }

    /// Returns the inode of the file that a step expects, if that may be open for writing.
    fn may_be_open(&self, path: &RelPath, expect: &Expect) -> Option<u64> {
        let Expect::Known { kind: Kind::File, stat, .. } = expect else { return None };
        let asked = stat.size > SMALL_BYTES_MAX || self.unclosed().contains(path);
        asked.then_some(stat.inode)
    }

    /// Tells whether the file that was seen at a path is among those found open.
    fn is_among(&self, open: &BTreeSet<writers::FileAt>, path: &RelPath, inode: u64) -> bool {
        if !open.iter().any(|(_, found)| *found == inode) {
            return false;
        }
        // Inodes are told apart on their own disk only.
        let stat = self.spot(path).ok().and_then(|spot| spot.stat().ok().flatten());
        stat.is_some_and(|stat| open.contains(&(system::device_of(&stat), inode)))
    }

    /// Finds which of the names in the trash, each with its inode, are still open for writing.
    pub(super) fn open_in_trash(&self, names: &BTreeMap<String, u64>) -> BTreeSet<String> {
        if names.is_empty() {
            return BTreeSet::new();
        }
        let open = writers::open_for_writing(&names.values().copied().collect());
        let is_open = |name: &&String| {
            let stat = system::stat_at(self.trash(), name.as_bytes()).ok().flatten();
            let at = stat.map(|stat| (system::device_of(&stat), system::key_of(&stat).inode));
            at.is_some_and(|at| open.contains(&at))
        };
        names.keys().filter(is_open).cloned().collect()
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::testing::{Folder, job, path};
    use super::*;
    use crate::world::disk::writers::Holder;

    fn writing(folder: &Folder, name: &str) -> Holder {
        let file = File::options().append(true).open(folder.root().join(name)).unwrap();
        Holder::of(file, true)
    }

    fn busy(folder: &Folder, steps: Vec<Step>) -> Vec<SettleError> {
        folder.hands.open_elsewhere(&[job(1, steps)]).into_values().collect()
    }

    #[test]
    fn what_another_program_writes_to_is_waited_for_and_nothing_else() {
        type MakeStep = fn(&Folder, Expect) -> Step;
        let place: MakeStep = |folder, expect| folder.place("a", expect, "new");
        let trash: MakeStep = |_, expect| Step::Trash { path: path("a"), expect };
        let dress: MakeStep =
            |_, expect| Step::Dress { path: path("a"), expect, mtime_ns: 1, mode: 0o600 };
        let fresh: MakeStep = |folder, _| folder.place("b", Expect::Nothing, "new");
        for (bytes, unclosed, writes, step, waits, because) in [
            (3, true, true, place, true, "its later writes would go to the displaced inode"),
            (3, true, true, trash, true, "and so would they from the trash"),
            (3, false, true, place, false, "it is small and was closed as far as was heard"),
            (70_000, false, true, place, true, "it is large"),
            (70_000, true, false, place, false, "who only reads loses nothing"),
            (3, true, true, dress, false, "it keeps its inode"),
            (3, true, true, fresh, false, "nothing is displaced"),
        ] {
            let folder = Folder::new();
            folder.write("a", &"x".repeat(bytes));
            let at = folder.root().join("a");
            let file = File::options().read(!writes).append(writes).open(at).unwrap();
            let holder = Holder::of(file, writes);
            folder.hands.unclosed().heard(&path("a"), !unclosed);
            let steps = vec![step(&folder, folder.known("a"))];
            let expected = if waits { vec![SettleError::Busy { path: path("a") }] } else { vec![] };
            assert_eq!(busy(&folder, steps.clone()), expected, "{because}");
            drop(holder);
            assert_eq!(busy(&folder, steps.clone()), [], "{because}: it is closed by now");
            let asks = folder.hands.asks(&[job(1, steps)]);
            assert_eq!(asks, bytes > 3, "{because}: what was found closed is not asked for again");
        }
    }

    #[test]
    fn what_is_rewritten_in_place_is_not_waited_for() {
        let folder = Folder::new();
        folder.write("a.live", "old");
        folder.hands.unclosed().heard(&path("a.live"), false);
        let _holder = writing(&folder, "a.live");
        let place = folder.place("a.live", folder.known("a.live"), "new");
        assert!(!folder.hands.asks(&[job(1, vec![place.clone()])]));
        assert_eq!(busy(&folder, vec![place]), []);
    }

    #[test]
    fn the_wait_has_an_end() {
        let folder = Folder::patient_for(Duration::ZERO);
        folder.write("a", "old");
        folder.hands.unclosed().heard(&path("a"), false);
        let _holder = writing(&folder, "a");
        let place = folder.place("a", folder.known("a"), "new");
        assert_eq!(busy(&folder, vec![place]), []);
    }

    #[test]
    fn a_displaced_file_is_kept_and_looked_at_for_as_long_as_it_is_open() {
        let folder = Folder::new();
        folder.write("a", "old");
        let holder = writing(&folder, "a");
        folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
        folder.hands.set_limits(syncd_home::Limits { history_percent: 0, ..Default::default() });
        let looked_at = || locked(&folder.hands.inner.watched).len();
        let let_time_go_by =
            || locked(&folder.hands.inner.watched).values_mut().for_each(|one| one.expire());
        let_time_go_by();
        assert_eq!(folder.hands.late_writes(), []);
        assert_eq!(looked_at(), 1, "it is open: looked at for another while");
        folder.hands.prune(super::super::now_ms()).unwrap();
        assert_eq!(folder.trashed().len(), 1, "no room is left for it, but it is open");
        drop(holder);
        let_time_go_by();
        assert_eq!(folder.hands.late_writes(), []);
        assert_eq!(looked_at(), 0, "it is closed");
        folder.hands.prune(super::super::now_ms()).unwrap();
        assert_eq!(folder.trashed(), []);
    }
}
