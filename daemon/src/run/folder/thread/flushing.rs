//! How a folder's thread lets somebody wait until all that happened is in the index and durable.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use syncd_core::engine::{Cause, LookId};
use syncd_core::flow::detect::Look;
use syncd_core::model::{RelPath, Seq};
use tokio::sync::oneshot;

use super::FolderThread;
use crate::flow::detect::LookReport;

/// After so long nothing more is waited for because another program is writing it: looks take up
/// each such file within [`syncd_core::flow::detect::CLOSE_WAIT_MS_MAX`].
const UNCLOSED_WAIT_MAX: Duration = Duration::from_secs(10);

/// Somebody who waits until all that happened is in the index and durable.
pub(super) struct Settling {
    pub(super) cookie: Option<u64>,
    /// Looks that were under way, or came of the cookie.
    pub(super) looks: Vec<LookId>,
    /// What the looks left out, since it was still being written, and whether a look for it has
    /// been ordered since.
    unclosed: BTreeMap<RelPath, bool>,
    /// Since when it waits.
    since: Instant,
    pub(super) seq: Option<Seq>,
    done: oneshot::Sender<Seq>,
}

impl Settling {
    /// Notes that a look is over. What it left out is waited for; what is written, closed and
    /// written again without end is not waited for without end.
    pub(super) fn looked(&mut self, look: LookId, report: &LookReport) {
        let before = self.looks.len();
        self.looks.retain(|other| *other != look);
        if self.looks.len() < before {
            let is_patient = self.since.elapsed() < UNCLOSED_WAIT_MAX;
            for path in report.unclosed.iter().filter(|_| is_patient) {
                self.unclosed.insert(path.clone(), false);
            }
        }
    }

    /// Notes that a look was ordered: it is waited for if it is at something that was left out.
    pub(super) fn ordered(&mut self, look: LookId, what: &[Look]) {
        for (path, ordered) in self.unclosed.iter_mut().filter(|(_, ordered)| !**ordered) {
            *ordered = what.iter().any(|what| what.covers(path));
            if *ordered && !self.looks.contains(&look) {
                self.looks.push(look);
            }
        }
    }
}

impl FolderThread {
    /// Begins to wait, for `done`, until all that happened is in the index and durable: first
    /// for a cookie that proves the watcher's queue, then for the looks that came of it.
    pub(super) fn settle(&mut self, done: oneshot::Sender<Seq>) {
        let whole = self.folder.with_standing(|s| s.unwatched.is_none());
        let cookie = self.workers.watcher.as_ref().filter(|_| whole).and_then(|w| w.cookie().ok());
        let looks = self.looking.clone();
        let (unclosed, since) = (BTreeMap::new(), Instant::now());
        self.settlings.push(Settling { cookie, looks, unclosed, since, seq: None, done });
        if cookie.is_none() {
            // What nobody watched may have gone in any way: the brake applies.
            let look = self.begin_look(Cause::Scanned, vec![Look::Tree(RelPath::root())]);
            if let Some(settling) = self.settlings.last_mut() {
                settling.looks.push(look);
            }
        }
    }

    /// Looks at once at all that the debouncer still holds back.
    pub(super) fn flush_debouncer(&mut self, at: usize) {
        let due = self.debouncer.all(self.now());
        let mut looks = self.looking.clone();
        if !due.is_empty() {
            let what = due.into_iter().map(|due| due.look).collect();
            looks.push(self.begin_look(Cause::Watched, what));
        }
        self.settlings[at].looks.extend(looks);
    }

    pub(super) fn answer_settlings(&mut self) {
        let last = self.engine.last_seq();
        let durable = self.engine.durable_seq();
        let mut waiting = Vec::new();
        for mut settling in std::mem::take(&mut self.settlings) {
            let is_looked_at = settling.cookie.is_none() && settling.looks.is_empty();
            let is_seen = is_looked_at && settling.unclosed.values().all(|ordered| *ordered);
            if is_seen && self.starved.is_empty() && settling.seq.is_none() {
                settling.seq = Some(last);
            }
            match settling.seq {
                // Whoever asked may have gone.
                Some(seq) if durable >= seq => drop(settling.done.send(seq)),
                _ if settling.done.is_closed() => {}
                _ => waiting.push(settling),
            }
        }
        self.settlings = waiting;
    }
}
