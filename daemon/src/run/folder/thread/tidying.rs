//! What a folder's thread does every second.

use std::time::{Duration, Instant};

use syncd_core::engine::{Cause, Event};
use syncd_core::model::Seq;

use super::{FolderThread, Note};
use crate::run::Happening;
use crate::run::folder::settles;

/// How often bytes that users wrote are made durable. Nobody else syncs what an editor wrote.
const SYNC_EVERY: Duration = Duration::from_secs(4);

/// Old versions are pruned every so many tidyings.
const PRUNE_EVERY: u32 = 600;

/// How long after it came, or is known to be held by another device, a base is kept of it. What
/// comes meanwhile is kept with it.
const BASES_AFTER: Duration = Duration::from_millis(100);

impl FolderThread {
    /// Notes that an event may have made something a base: another device holds it too.
    pub(super) fn expect_bases(&mut self, event: &Event) {
        if matches!(event, Event::Acked { .. } | Event::Settled { .. }) {
            self.bases_due.get_or_insert_with(|| Instant::now() + BASES_AFTER);
        }
    }

    /// Has bases kept when their time has come.
    pub(super) fn keep_bases_in_time(&mut self) {
        if self.bases_due.is_some_and(|due| due <= Instant::now()) {
            self.keep_bases();
        }
    }

    /// Has bases kept now; a part of them where there are many.
    pub(super) fn keep_bases(&mut self) {
        self.bases_due = None;
        // One that has ended keeps no more bases, and nothing depends on them.
        let _ = self.workers.bases.order(());
    }

    /// Looks at displaced files for late writes, at the trash, and at the root.
    pub(super) fn tidy(&mut self) {
        self.tidied = Instant::now();
        self.tidyings += 1;
        for late in self.parts.hands.late_writes() {
            match late {
                Ok(late) => self.look_at([late.path, late.kept]),
                Err(error) => tracing::warn!(folder = %self.folder.id(), %error, "a late write"),
            }
        }
        self.keep_bases();
        if self.synced.elapsed() >= SYNC_EVERY
            && self.engine.bytes_durable() < self.engine.durable_seq()
        {
            self.synced = Instant::now();
            self.workers.syncs.order(self.engine.durable_seq());
        }
        let is_due = self.parts.hands.is_pruning_due();
        if is_due || self.tidyings.is_multiple_of(PRUNE_EVERY) {
            settles::prune(self.folder.id(), &self.parts);
        }
        self.parts.hands.rest();
        self.look_at_starved();
        self.look_at_mount();
        if let Err(problem) = self.parts.root.is_in_place() {
            self.failed = Some(problem.to_string());
        } else if self.parts.hands.are_cut_off() {
            self.failed = Some("its '.syncd' was removed; it is made again".to_owned());
        }
    }

    /// Notes whether the root's file system takes writes. While it does not, what came from peers
    /// waits and is tried again every second.
    fn look_at_mount(&self) {
        let read_only = self.parts.root.is_read_only();
        let news = self.folder.with_standing(|s| std::mem::replace(&mut s.read_only, read_only));
        if news == read_only {
            return;
        }
        let (kind, text) = match read_only {
            true => ("folder-read-only", "its file system is mounted read-only"),
            false => ("folder-writable", "its file system can be written to again"),
        };
        tracing::warn!(folder = %self.folder.id(), "{text}");
        self.daemon.tell(Happening::folder(self.folder.id(), kind, text));
    }

    /// Looks once more at what could not be looked at for want of descriptors or memory. What is
    /// gone meanwhile may have gone in any way.
    fn look_at_starved(&mut self) {
        let starved = std::mem::take(&mut self.starved);
        if starved.is_empty() {
            return;
        }
        let look = self.begin_look(Cause::Scanned, starved.into_iter().collect());
        for settling in self.settlings.iter_mut().filter(|settling| settling.seq.is_none()) {
            settling.looks.push(look);
        }
    }

    /// Notes that users' bytes are durable, a part at a time so that nobody waits long.
    pub(super) fn bytes_are_durable(&mut self, seq: Seq) {
        self.tell(Event::BytesDurable { seq });
        if self.engine.bytes_durable() < seq {
            self.folder.note(Note::BytesDurable(seq));
        }
    }
}
