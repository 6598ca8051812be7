//! What a power loss leaves: bytes that nobody had made durable.
//!
//! # Invariants
//! - What a power loss did to a file is never told as a user's edit of what was there.
//! - A file that it emptied is told to nobody; its bytes are asked for until they are there, or
//!   somebody writes the file.

use super::draft::Draft;
use super::incoming::{News, Next};
use super::settling::Put;
use super::{Engine, Problem};
use crate::flow::index::observe::Memory;
use crate::flow::index::{Index, IndexError};
use crate::flow::settle::{Expect, Stamp, Step};
use crate::model::{ContentId, Entry, Kind, Local, RelPath, Seq};

/// Changes whose bytes are noted as durable after one event.
const NOTED_MAX: usize = 1000;

impl Engine {
    /// Says what can be known of what lay in the folder before.
    pub(super) fn memory(&self, draft: &Draft<'_, impl Index>) -> Memory {
        match (draft.marks().surveyed, self.shaken && !self.walked) {
            (false, _) => Memory::New,
            (true, true) => Memory::Shaken,
            (true, false) => Memory::Whole,
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

    /// Puts the bytes of an emptied file back.
    pub(super) fn refill(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: &Entry,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let record = entry.record.clone();
        let Some(stat) = entry.local.seen else { return Ok(Next::Done) };
        let expect = Expect::Known { kind: Kind::File, stat, content: ContentId::of(b"") };
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
