//! Scrubbing: every file of a folder is read again, when asked and by the folder's `verify_days`,
//! since a disk that gives back other bytes than were written to it tells nobody.
//!
//! # Invariants
//! - What is found damaged is told to people of this device alone, to no other device as an edit.
//! - Nothing is repaired unasked.
//! - Only a scrub that came to its end and found nothing is written down as done: after a restart,
//!   what is damaged is found and told again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use syncd_core::flow::index::{IndexError, Known};
use syncd_core::model::{FolderId, RelPath, StatKey};
use tokio::sync::oneshot;

use super::folder::{Folder, Parts};
use super::{Daemon, Happening};
use crate::flow::detect::{Verified, verify};
use crate::flow::index::{FolderIndex, Ledger, LedgerError};

/// How often it is looked whether a folder's time has come.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The nice value of the thread that reads: whoever else wants the processor has it first, and the
/// disk too where its scheduler looks at that.
const NICE: i32 = 19;

/// What is said of a file that the disk has lost bytes of.
pub(super) const DAMAGED: &str = "the disk gives back other bytes than were written to it";

const DAY_S: u64 = 24 * 60 * 60;

/// Why a folder was not scrubbed to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrubError {
    /// The folder has no root now, was stopped, or its root went away meanwhile. See its status.
    #[error("the folder was stopped or its directory went away while it was read")]
    BrokenOff,
    /// The index cannot be read. See the folder's status.
    #[error("the index cannot be read")]
    Index(#[from] IndexError),
    /// The system gives no thread now. Try again.
    #[error("no thread could be started")]
    NoThread(#[source] std::io::Error),
}

/// Reads every file of a folder again at a low priority, notes what is damaged for its status, and
/// tells of what was not known to be.
///
/// # Errors
/// [`ScrubError`] when it did not come to its end; then nothing that was known changes.
pub(super) async fn scrub(daemon: &Daemon, folder: &Folder) -> Result<Verified, ScrubError> {
    let parts = folder.parts().ok_or(ScrubError::BrokenOff)?;
    let found = read(folder.clone(), parts).await?;
    if found.broken_off {
        return Err(ScrubError::BrokenOff);
    }
    let damaged: BTreeMap<RelPath, StatKey> =
        found.rotten.iter().map(|one| (one.path.clone(), one.stat)).collect();
    if damaged.is_empty() && found.problems.is_empty() {
        is_done(&daemon.ledger, folder.id());
    }
    let before = folder.set_damaged(damaged);
    for path in found.rotten.iter().map(|one| &one.path).filter(|path| !before.contains_key(path)) {
        tracing::warn!(folder = %folder.id(), %path, "{DAMAGED}");
        daemon.tell(Happening::path(folder.id(), "file-damaged", path.clone(), DAMAGED));
    }
    Ok(found)
}

/// Reads on a thread of its own: a priority that was lowered cannot be raised again.
async fn read(folder: Folder, parts: Parts) -> Result<Verified, ScrubError> {
    let (sender, answer) = oneshot::channel();
    let work = move || {
        lower_priority();
        let is_over = || folder.has_ended(Instant::now()) || sender.is_closed();
        let found = verify(&parts.root, &parts.index, &*parts.scope, &is_over);
        // Whoever asked may have gone; then nobody needs the answer.
        let _ = sender.send(found);
    };
    let started = std::thread::Builder::new().name("scrub".to_owned()).spawn(work);
    started.map_err(ScrubError::NoThread)?;
    Ok(answer.await.map_err(|_| ScrubError::BrokenOff)??)
}

#[cfg(target_os = "linux")]
fn lower_priority() {
    // Of no process means of this thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a scrub runs at the usual priority");
    }
}

/// Elsewhere a priority is one of the whole process.
#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

/// Scrubs folders when their time has come, one after the other, until the daemon ends.
pub(super) async fn watch(daemon: Arc<Daemon>) {
    let mut tried: BTreeMap<FolderId, u64> = BTreeMap::new();
    loop {
        for folder in daemon.folders() {
            let config = folder.config();
            let Some(days) = config.verify_days.filter(|_| !config.paused) else { continue };
            let is_due = |last| is_due(last, now_s(), days);
            if !is_due(tried.get(folder.id()).copied()) || !is_due(done(&daemon, folder.id())) {
                continue;
            }
            // Not beside the first scan, nor without a root: it is tried again soon.
            if folder.parts().is_none() || folder.standing().scanning > 0 {
                continue;
            }
            match scrub(&daemon, &folder).await {
                Ok(_) => drop(tried.insert(folder.id().clone(), now_s())),
                Err(error) => tracing::warn!(folder = %folder.id(), %error, "it was not scrubbed"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Returns what is still as damaged as it was found: whatever was written since is something else.
#[must_use]
pub(super) fn still_damaged(
    mut damaged: BTreeMap<RelPath, StatKey>,
    index: &FolderIndex,
) -> BTreeMap<RelPath, StatKey> {
    damaged.retain(|path, stat| {
        let entry = index.get(path).ok().flatten();
        entry.is_none_or(|entry| entry.local.is_here() && entry.local.seen == Some(*stat))
    });
    damaged
}

/// Forgets when a folder was scrubbed: what takes its place is another one.
///
/// # Errors
/// [`LedgerError`] when that cannot be kept.
pub(super) fn forget(ledger: &Ledger, folder: &FolderId) -> Result<(), LedgerError> {
    ledger.set_fact(&fact(folder), None)
}

fn fact(folder: &FolderId) -> String {
    format!("scrubbed/{folder}")
}

/// Returns when a folder was last found to be whole, in seconds since 1970.
fn done(daemon: &Daemon, folder: &FolderId) -> Option<u64> {
    Some(u64::from_le_bytes(daemon.ledger.fact(&fact(folder))?.try_into().ok()?))
}

fn is_done(ledger: &Ledger, folder: &FolderId) {
    if let Err(error) = ledger.set_fact(&fact(folder), Some(&now_s().to_le_bytes())) {
        tracing::warn!(%folder, %error, "that a folder was scrubbed was not kept");
    }
}

/// Tells whether `days` have gone by since `last`; seconds since 1970. A clock that was set back by
/// as much counts too: nobody knows how long it was.
fn is_due(last: Option<u64>, now_s: u64, days: u32) -> bool {
    last.is_none_or(|last| now_s.abs_diff(last) >= u64::from(days) * DAY_S)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_due_after_its_days() {
        let now = 1_800_000_000;
        for (last, days, due, because) in [
            (None, 30, true, "never before"),
            (Some(now), 1, false, "just now"),
            (Some(now - DAY_S + 1), 1, false, "a second too early"),
            (Some(now - DAY_S), 1, true, "a day ago"),
            (Some(now - 2 * DAY_S), 30, false, "a part of it"),
            (Some(now + 60), 1, false, "a clock that was set a little"),
            (Some(now + 400 * DAY_S), 365, true, "a clock that was years ahead"),
            (Some(0), u32::MAX, false, "no number overflows"),
        ] {
            assert_eq!(is_due(last, now, days), due, "{because}");
        }
    }
}
