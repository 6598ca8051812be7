//! What a disk does to bytes: a power loss takes those that nobody had made durable, and any may
//! rot.
//!
//! # Invariants
//! - What a power loss did to a file is never told as a user's edit of what was there.
//! - That lasts until the whole folder was looked at and what was found is durable, however often
//!   the process is killed before.
//! - A file that it emptied is told to nobody; its bytes are asked for until they are there, or
//!   somebody writes the file.
//! - Bytes that changed under an unchanged `stat` are nobody's edit: they are told to nobody, and
//!   the right ones are put back from what is kept here or when a device gives them.

use super::draft::Draft;
use super::incoming::{From, News, Next};
use super::settling::Put;
use super::{Action, Engine, Notice, Problem};
use crate::flow::index::observe::Memory;
use crate::flow::index::{Index, IndexError};
use crate::flow::settle::{Expect, Stamp, Step};
use crate::model::{ContentId, Entry, Kind, Local, RelPath, Seq, StatKey};

/// Changes whose bytes are noted as durable after one event.
const NOTED_MAX: usize = 1000;

impl Engine {
    /// Says what can be known of what lay in the folder before.
    pub(super) fn memory(&self, draft: &Draft<'_, impl Index>) -> Memory {
        match (draft.marks().surveyed, self.shaken) {
            (false, _) => Memory::New,
            (true, true) => Memory::Shaken,
            (true, false) => Memory::Whole,
        }
    }

    /// Tells, once it is durable, that all is known of what a power loss left. Until then every
    /// start is one after a power loss.
    pub(super) fn steady(&mut self) {
        if self.steadying == Some(true) {
            self.steadying = None;
            self.actions.push_back(Action::Tell(Notice::Steady));
        }
    }

    /// Returns up to where the users' bytes are known to be durable, for
    /// [`super::Event::BytesDurable`] to go on from.
    #[must_use]
    pub fn bytes_durable(&self) -> Seq {
        self.bytes_durable
    }

    /// Notes that what the log says up to `seq` is durable, bytes and all: a thousand changes at a
    /// time, so that it may have to be told again.
    pub(super) fn bytes_are_durable(
        &mut self,
        seq: Seq,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let changes = draft.index().changes(self.bytes_durable, NOTED_MAX)?;
        let whole = changes.len() < NOTED_MAX;
        for (at, path) in changes.into_iter().filter(|(at, _)| *at <= seq) {
            self.bytes_durable = at;
            let settled = |e: &Entry| e.record.kind == Kind::File && e.local.is_here();
            let entry = draft.get(&path)?.filter(settled);
            if let Some(entry) = entry.filter(|e| !e.local.data_durable && !e.is_emptied()) {
                draft.put_local(&path, Local { data_durable: true, ..entry.local });
            }
        }
        if whole {
            self.bytes_durable = self.bytes_durable.max(seq);
        }
        Ok(())
    }

    /// Takes note that a power loss has emptied the file of `entry`, and asks for its bytes.
    pub(super) fn emptied(
        &mut self,
        path: &RelPath,
        entry: Entry,
        local: Local,
        draft: &mut Draft<'_, impl Index>,
    ) {
        let source = entry.local.source;
        draft.put_local(path, Local { seen: local.seen, source, ..Local::default() });
        self.problems.insert(path.clone(), Problem::Emptied);
        if !self.pending.contains_key(path) {
            self.queue(path, News::ours(entry.record));
        }
    }

    /// Takes note that the bytes of a file are not what was written though its `stat` is as the
    /// index says, and asks for the right ones. What changed meanwhile is left to the next look.
    pub(super) fn rotten(
        &mut self,
        path: &RelPath,
        (stat, content): (StatKey, ContentId),
        staged: bool,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let still = |entry: &Entry| {
            let is_file = entry.record.kind == Kind::File && entry.local.is_here();
            is_file && entry.local.seen == Some(stat) && entry.record.content != content
        };
        let Some(entry) = draft.get(path)?.filter(still) else { return Ok(()) };
        // What is on its way there already displaces it anyway.
        if !self.pending.contains_key(path) {
            self.rotten.insert(path.clone(), (stat, content));
            self.problems.insert(path.clone(), Problem::Rotten);
            let right = entry.record.content;
            self.queue(path, News::ours(entry.record));
            if let Some(pending) = self.pending.get_mut(path).filter(|_| staged) {
                pending.staged = Some(right);
            }
            self.consider(path, draft)?;
        }
        Ok(())
    }

    /// Tells whether `news` is that of a rotten file whose right bytes are in staging: no device is
    /// needed to put them back.
    pub(super) fn mends_itself(&self, path: &RelPath, news: &News) -> bool {
        let staged = self.pending.get(path).and_then(|pending| pending.staged);
        news.from == From::Index
            && self.rotten.contains_key(path)
            && staged == Some(news.record.content)
    }

    /// Returns what lies in the place of a file whose bytes the disk has lost.
    pub(super) fn spoilt(&self, path: &RelPath, entry: &Entry) -> Option<(StatKey, ContentId)> {
        let seen = entry.local.seen?;
        let emptied = || entry.is_emptied().then(|| ContentId::of(b""));
        let rotten = self.rotten.get(path).filter(|(stat, _)| *stat == seen);
        rotten.map(|(_, content)| *content).or_else(emptied).map(|content| (seen, content))
    }

    /// Puts the bytes of a file back in the place of what `holds` says lies there.
    pub(super) fn refill(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: &Entry,
        holds: (StatKey, ContentId),
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let record = entry.record.clone();
        let (stat, content) = holds;
        let expect = Expect::Known { kind: Kind::File, stat, content };
        let place = Step::Place {
            path: path.clone(),
            expect,
            kind: record.kind,
            content: record.content,
            size: record.size,
            mtime_ns: record.mtime_ns,
            mode: record.mode,
        };
        let put = Put { source: entry.local.source, ..Put::new(record, Stamp::AsIs) };
        self.set_to_work(path, news, vec![place], vec![(path.clone(), put)], None, draft)
    }
}
