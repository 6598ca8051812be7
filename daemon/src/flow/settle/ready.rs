//! Readying: each place to come gets an inode of its own, dressed and durable.
//!
//! Mode and time are set here, before the bytes are made durable and long before the swap, so
//! that a file is complete in every respect at the first instant it has its name.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{self, Errno};
use syncd_core::flow::settle::{Job, SettleError, Step, Ticket};
use syncd_core::model::{ContentId, Kind, RelPath, StatKey};

use super::durable::{SYNC_SINGLY_MAX, is_synced_at_once};
use super::fill::copy_bytes;
use super::{Hands, locked};
use crate::world::disk::system;

/// A staged inode that is ready for one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Readied {
    /// Its name in staging.
    pub(super) name: String,
    /// What it holds.
    pub(super) content: ContentId,
    /// A file or a symlink.
    pub(super) kind: Kind,
    /// What `stat` says of it.
    pub(super) key: StatKey,
}

/// What a [`Step::Place`] asks to be ready.
struct Wanted<'a> {
    path: &'a RelPath,
    content: ContentId,
    kind: Kind,
    size: u64,
    mtime_ns: i64,
    mode: u32,
}

impl Hands {
    /// Gives every place of the jobs a staged inode of its own with its mode and time, and makes
    /// all of them durable. To be called before the intents are written; a job that is not ready
    /// must not be taken. Staged contents are used up, copied where several places want one.
    ///
    /// Errors come back per job: [`SettleError::NotStaged`], [`SettleError::NoRoom`],
    /// [`SettleError::Trouble`]. Answers are in the order of the jobs.
    #[must_use]
    pub fn ready(&self, jobs: &[Job]) -> Vec<(Ticket, Result<(), SettleError>)> {
        let mut uses = BTreeMap::new();
        for wanted in jobs.iter().flat_map(|job| wanted_of(job).map(|(_, wanted)| wanted)) {
            *uses.entry(wanted.content).or_insert(0_usize) += 1;
        }
        let mut answers = Vec::with_capacity(jobs.len());
        let mut files = Vec::new();
        for job in jobs {
            let answer = self.ready_job(job, &mut uses, &mut files);
            if answer.is_err() {
                self.unready(job.ticket);
            }
            answers.push((job.ticket, answer));
        }
        if let Err(errno) = self.sync_readied(&files) {
            for (ticket, answer) in &mut answers {
                let wants = |job: &&Job| job.ticket == *ticket;
                let first = jobs.iter().find(wants).and_then(|job| wanted_of(job).next());
                if let (true, Some((_, wanted))) = (answer.is_ok(), first) {
                    *answer = Err(self.said(wanted.path, wanted.size, errno));
                    // The kernel forgets what it could not write: these bytes must not be
                    // taken for durable ones at the next try.
                    for readied in self.forget_readied(*ticket) {
                        let _ = clear(self.staging(), &readied.name);
                    }
                }
            }
        }
        answers
    }

    fn ready_job(
        &self,
        job: &Job,
        uses: &mut BTreeMap<ContentId, usize>,
        files: &mut Vec<OwnedFd>,
    ) -> Result<(), SettleError> {
        for (nth, wanted) in wanted_of(job) {
            let left = uses.entry(wanted.content).or_insert(1);
            *left = left.saturating_sub(1);
            let is_last = *left == 0;
            let name = self.fresh_name(wanted.content);
            let key = match wanted.kind {
                Kind::Symlink => self.ready_link(&wanted, &name)?,
                Kind::File | Kind::Directory | Kind::Tombstone => {
                    self.ready_file(&wanted, &name, is_last, files)?
                }
            };
            let readied = Readied { name, content: wanted.content, kind: wanted.kind, key };
            locked(&self.inner.readied).insert((job.ticket, nth), readied);
        }
        Ok(())
    }

    fn ready_file(
        &self,
        wanted: &Wanted<'_>,
        name: &str,
        is_last: bool,
        files: &mut Vec<OwnedFd>,
    ) -> Result<StatKey, SettleError> {
        let said = |errno| self.said(wanted.path, wanted.size, errno);
        let not_staged = || SettleError::NotStaged { path: wanted.path.clone() };
        let pool = wanted.content.hex();
        let staging = self.staging();
        match system::stat_at(staging, pool.as_bytes()).map_err(said)? {
            Some(stat) if system::key_of(&stat).size == wanted.size => {}
            Some(_) | None => return Err(not_staged()),
        }
        let fd = if is_last {
            match fs::renameat(staging, pool.as_str(), staging, name) {
                // Another version of a path that no longer wants it was begun with it.
                Err(Errno::NOENT) => return Err(not_staged()),
                answer => answer.map_err(said)?,
            }
            system::open_at(staging, name.as_bytes(), system::READ, 0).map_err(said)?
        } else {
            let from = system::open_at(staging, pool.as_bytes(), system::READ, 0).map_err(said)?;
            self.room_for_copy(wanted.path, &from)?;
            self.copy_to(&from, name).map_err(said)?
        };
        fs::fchmod(&fd, system::mode(wanted.mode & system::MODE_SYNCED)).map_err(said)?;
        fs::futimens(&fd, &times(wanted.mtime_ns)).map_err(said)?;
        let key = system::key_of(&system::stat_of(&fd).map_err(said)?);
        // Held open only as long as few are: more are made durable by one call, or one by one.
        // Opened again it could not be, if its mode forbids.
        if files.len() <= SYNC_SINGLY_MAX {
            files.push(fd);
        } else if !is_synced_at_once(files.len()) {
            io::retry_on_intr(|| fs::fsync(&fd)).map_err(said)?;
        }
        Ok(key)
    }

    fn ready_link(&self, wanted: &Wanted<'_>, name: &str) -> Result<StatKey, SettleError> {
        let said = |errno| self.said(wanted.path, wanted.size, errno);
        let not_staged = || SettleError::NotStaged { path: wanted.path.clone() };
        let mut target = vec![0; usize::try_from(wanted.size).map_err(|_| not_staged())?.min(4097)];
        let read = self.read_staged(wanted.content, 0, &mut target).map_err(|_| not_staged())?;
        target.truncate(read);
        if ContentId::of(&target) != wanted.content {
            return Err(not_staged());
        }
        let staging = self.staging();
        fs::symlinkat(&target[..], staging, name).map_err(said)?;
        let at = AtFlags::SYMLINK_NOFOLLOW;
        fs::utimensat(staging, name, &times(wanted.mtime_ns), at).map_err(said)?;
        let stat = system::stat_at(staging, name.as_bytes()).map_err(said)?;
        stat.map(|stat| system::key_of(&stat)).ok_or_else(not_staged)
    }

    /// Copies a staged content under a second name, sharing blocks where that works.
    fn copy_to(&self, from: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        let to = create(self.staging(), name)?;
        copy_bytes(from, &to)?;
        Ok(to)
    }

    fn sync_readied(&self, files: &[OwnedFd]) -> io::Result<()> {
        if is_synced_at_once(files.len()) {
            return system::sync_file_system(self.staging());
        }
        // The names in staging need not last: without one, the bytes are fetched again.
        files.iter().try_for_each(|fd| io::retry_on_intr(|| fs::fsync(fd)))
    }

    /// Returns what was readied for a step, if its inode is still as it was then.
    pub(super) fn readied(&self, ticket: Ticket, nth: usize) -> Option<Readied> {
        let readied = locked(&self.inner.readied).remove(&(ticket, nth))?;
        let stat = system::stat_at(self.staging(), readied.name.as_bytes()).ok()??;
        (system::key_of(&stat) == readied.key).then_some(readied)
    }

    /// Tells whether all places of a job are ready.
    pub(super) fn is_ready(&self, job: &Job) -> bool {
        let readied = locked(&self.inner.readied);
        wanted_of(job).all(|(nth, _)| readied.contains_key(&(job.ticket, nth)))
    }

    /// Gives back what was readied for a job that is not taken.
    pub fn unready(&self, ticket: Ticket) {
        for readied in self.forget_readied(ticket) {
            self.give_back(&readied);
        }
    }

    /// Gives a readied inode that was not swapped in back to the staged contents. Anything else
    /// than our own inode is left alone: it may be a user's.
    pub(super) fn give_back(&self, readied: &Readied) {
        let staging = self.staging();
        let Ok(Some(stat)) = system::stat_at(staging, readied.name.as_bytes()) else { return };
        if system::key_of(&stat).inode != readied.key.inode {
            return;
        }
        // Nothing is lost when one of these fails: a restart looks at every name in staging.
        let _ = if readied.kind == Kind::File && !self.has(readied.content) {
            fs::renameat(staging, readied.name.as_str(), staging, readied.content.hex().as_str())
        } else {
            fs::unlinkat(staging, readied.name.as_str(), AtFlags::empty())
        };
    }

    fn forget_readied(&self, ticket: Ticket) -> Vec<Readied> {
        let mut readied = locked(&self.inner.readied);
        let keys: Vec<_> =
            readied.range((ticket, 0)..=(ticket, usize::MAX)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| readied.remove(key)).collect()
    }
}

fn wanted_of(job: &Job) -> impl Iterator<Item = (usize, Wanted<'_>)> {
    job.steps.iter().enumerate().filter_map(|(nth, step)| match step {
        Step::Place { path, kind, content, size, mtime_ns, mode, .. } => {
            let (kind, content, size) = (*kind, *content, *size);
            Some((nth, Wanted { path, content, kind, size, mtime_ns: *mtime_ns, mode: *mode }))
        }
        Step::KeepAs { .. }
        | Step::Dress { .. }
        | Step::KeepForOthers { .. }
        | Step::MakeDirectory { .. }
        | Step::Trash { .. }
        | Step::RemoveDirectory { .. } => None,
    })
}

/// Makes a new file of our own, unreadable to others from its first moment.
pub(super) fn create(dir: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    system::open_at(dir.as_fd(), name.as_bytes(), flags, 0o600)
}

/// Removes a leftover of our own.
pub(super) fn clear(dir: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The modification time to set; the access time stays.
pub(super) fn times(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    }
}
