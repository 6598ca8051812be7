//! What jobs came to.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::incoming::From;
use super::working::{OPEN_RETRY_MS, RETRY_MS};
use super::{Action, Engine, Intended, Notice, Problem};
use crate::flow::detect::Look;
use crate::flow::index::{Index, IndexError};
use crate::flow::settle::{Becoming, Placed, SettleError, Stamp, Ticket, Trouble};
use crate::model::{
    Causality, DeviceId, Entry, Kind, Local, Record, RelPath, Role, Standing, StatKey, Tick,
};
use crate::mutant::{self, Mutant};

/// A job under way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) path: RelPath,
    pub(super) from: From,
    /// What the index holds once the job is done.
    pub(super) puts: Vec<(RelPath, Put)>,
    /// The conflict copy it makes.
    pub(super) conflict: Option<RelPath>,
    /// The engine's clock when it was handed out.
    pub(super) begun: u64,
    /// What a look found or missed meanwhile at its paths or below them.
    pub(super) overlooked: BTreeSet<RelPath>,
    /// Whether the session it came from is over: there is no frame to count it in.
    pub(super) orphan: bool,
}

/// One entry as it will be.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) record: Record,
    pub(super) source: Option<DeviceId>,
    pub(super) standing: Standing,
    /// What `stat` said before, for a path that the job leaves as it is.
    pub(super) seen: Option<StatKey>,
    pub(super) stamp: Stamp,
}

impl Put {
    /// Returns the put of a record of our own making.
    pub(super) fn new(record: Record, stamp: Stamp) -> Self {
        Self { record, source: None, standing: Standing::Settled, seen: None, stamp }
    }
}

impl Flight {
    /// Tells whether `path` is a directory once the job is done.
    pub(super) fn makes_directory(&self, path: &RelPath) -> bool {
        self.puts.iter().any(|(p, put)| p == path && put.record.kind == Kind::Directory)
    }
}

impl Engine {
    /// Writes a put into the index under the next own counter.
    pub(super) fn put_stamped(
        &mut self,
        path: RelPath,
        put: Put,
        placed: Option<&Placed>,
        draft: &mut Draft<'_, impl Index>,
    ) {
        let seq = self.next_dot().counter;
        let dot = self.dot_of(seq, put.standing);
        let mut record = put.record;
        let stamp = match put.stamp {
            Stamp::Resolution if mutant::on(Mutant::ResolutionIsWrite) => Stamp::Write,
            stamp @ (Stamp::AsIs | Stamp::Resolution | Stamp::Write) => stamp,
        };
        match stamp {
            Stamp::AsIs => {}
            Stamp::Resolution => record.version.raise(dot),
            Stamp::Write => {
                record.version.raise(dot);
                record.dot = dot;
                record.author = dot.writer.device;
            }
        }
        let seen = placed.map_or(put.seen, |p| p.stat);
        let data_durable = placed.is_some_and(|p| p.durable);
        let local = Local { seen, source: put.source, data_durable, standing: put.standing };
        draft.put(path, Entry { record, seq, local });
    }

    pub(super) fn settled(
        &mut self,
        now: Tick,
        outcomes: Vec<(Ticket, Result<Vec<Placed>, SettleError>)>,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.batches = self.batches.saturating_sub(1);
        // A look at the same time may have come after a user's act and before the index knew
        // what we had placed: then it had nothing to say of it.
        let mut overlooked = Vec::new();
        for (ticket, outcome) in outcomes {
            let Some(mut flight) = self.flights.remove(&ticket) else { continue };
            overlooked.extend(std::mem::take(&mut flight.overlooked).into_iter().map(Look::Path));
            for (path, _) in &flight.puts {
                self.busy.remove(path);
                self.touch(path);
            }
            let paths: Vec<RelPath> = flight.puts.iter().map(|(p, _)| p.clone()).collect();
            if !self.looks.is_empty() || self.looked > flight.begun {
                overlooked.extend(paths.iter().cloned().map(Look::Path));
            }
            match outcome {
                Ok(placed) => self.landed(flight, &placed, draft)?,
                Err(error) => self.failed(now, flight, error, draft)?,
            }
            for path in paths {
                self.consider(&path, draft)?;
                self.wake_waiting(&path, draft)?;
            }
        }
        if !overlooked.is_empty() {
            self.order_look(overlooked);
        }
        Ok(())
    }

    fn landed(
        &mut self,
        flight: Flight,
        placed: &[Placed],
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let mut freed = BTreeSet::new();
        for (path, mut put) in flight.puts {
            if flight.orphan {
                // The peer may have lost its store meanwhile: it is told what it told us.
                put.source = None;
            }
            let put = self.as_of_now(put);
            let (kind, author, standing) = (put.record.kind, put.record.author, put.standing);
            // The last word on a path counts: a job may have made and dressed it.
            let there = placed.iter().rev().find(|p| p.path == path);
            if there.is_some_and(|placed| placed.stat.is_some()) {
                self.held.remove(&path);
            }
            let is_new = kind == Kind::Directory && draft.get(&path)?.is_none();
            self.put_stamped(path.clone(), put, there, draft);
            self.rule_file_changed(&path);
            if is_new {
                // The rules may have kept off what lies in it, and ceased before it was there.
                self.place_unignored(&path, draft)?;
            }
            if standing != Standing::Unsupported {
                freed.extend(match kind {
                    Kind::Tombstone => path.parent(),
                    Kind::Directory => Some(path.clone()),
                    Kind::File | Kind::Symlink => None,
                });
                self.refused.remove(&path);
                self.actions.push_back(Action::Tell(Notice::Placed { path, kind, author }));
            }
        }
        if let Some(copy) = flight.conflict {
            self.tell_conflict(flight.path.clone(), copy);
        }
        self.work_is_done(&flight.path, flight.orphan, draft)?;
        self.show_unsupported(&flight.path, draft)?;
        self.try_again_if_roomy(&flight.path, draft)?;
        if !self.unsupported.is_empty() {
            freed.iter().try_for_each(|dir| self.has_room(dir, draft))?;
        }
        Ok(())
    }

    /// After a crash: takes the records of a job whose work on disk was all done, so that it is
    /// not mistaken for a user's edit (MERGING, M13), each with the stamp that it would have got.
    /// A job that was done in part counts for nothing: what it left is found by the scan, and what
    /// it was for comes again.
    pub(super) fn intent_found(
        &mut self,
        intended: Vec<Intended>,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for it in &intended {
            if !is_done(it, draft.get(&it.becomes.path)?.as_ref()) {
                return Ok(());
            }
        }
        for Intended { becomes: Becoming { path, record, stamp }, .. } in intended {
            let newer = draft
                .get(&path)?
                .is_none_or(|e| record.version.compare(&e.record.version) == Causality::After);
            if newer {
                let own = record.is_derived() || stamp == Stamp::Write;
                let standing = match own && self.role == Role::ReceiveOnly {
                    true => Standing::Withheld,
                    false => Standing::Settled,
                };
                let put = Put { standing, ..Put::new(record, stamp) };
                self.put_stamped(path, put, None, draft);
            }
        }
        Ok(())
    }

    fn work_is_done(
        &mut self,
        path: &RelPath,
        orphan: bool,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        if orphan { self.consider(path, draft) } else { self.first_is_done(path, draft) }
    }

    fn failed(
        &mut self,
        now: Tick,
        flight: Flight,
        error: SettleError,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let path = flight.path.clone();
        let mut wait_ms = RETRY_MS;
        match error {
            SettleError::Displaced { path: at, kept, stat } => {
                let placed = [Placed { path: at, stat: Some(stat), durable: false }];
                self.landed(flight, &placed, draft)?;
                self.order_look(vec![Look::Path(kept)]);
                return Ok(());
            }
            SettleError::Overtaken { path: ref at } => {
                let at = at.clone();
                self.wait_for_look(&path, vec![Look::Path(at)]);
                return Ok(());
            }
            SettleError::NoWay { path: ref at } => {
                let mut above: Vec<Look> = at.ancestors().map(Look::Path).collect();
                above.reverse();
                self.wait_for_look(&path, above);
                return Ok(());
            }
            SettleError::NotEmpty { path: ref at } => {
                let at = at.clone();
                return self.not_empty(now, flight, error, &at, draft);
            }
            SettleError::Collides { path: ref at, .. }
            | SettleError::Trouble { path: ref at, trouble: Trouble::Name }
                if *at == path =>
            {
                // This file system cannot hold the name: known and forwarded, not placed.
                self.cannot_hold(&path, error);
                self.unwait(&path);
                return Ok(());
            }
            SettleError::RootLost => {
                self.halted = true;
                self.actions.push_back(Action::Halt);
                return Ok(());
            }
            SettleError::NotStaged { .. } => {
                // Another path that wanted the same bytes used them up; they lie here by now.
                self.unstage(&path);
                self.unwait(&path);
                return Ok(());
            }
            SettleError::Busy { .. } => wait_ms = OPEN_RETRY_MS,
            SettleError::Collides { .. }
            | SettleError::NoRoom { .. }
            | SettleError::Trouble { .. } => {}
        }
        self.problems.insert(path.clone(), Problem::Settle(error));
        self.retry(&path, now, wait_ms);
        Ok(())
    }

    /// A directory that should go holds something: looked at once, since it may be a user's
    /// write nobody had seen; when nothing synced is found, only ignored content keeps it, and
    /// its tombstone stands (MERGING, M14).
    fn not_empty(
        &mut self,
        now: Tick,
        flight: Flight,
        error: SettleError,
        at: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let path = flight.path.clone();
        let looked =
            matches!(self.problems.get(&path), Some(Problem::Settle(before)) if *before == error);
        let removed = flight.puts.iter().all(|(_, put)| !put.record.is_live());
        if looked && removed {
            for (path, put) in flight.puts {
                let put = Put { standing: Standing::Ignored, seen: None, ..put };
                self.put_stamped(path, put, None, draft);
            }
            return self.work_is_done(&path, flight.orphan, draft);
        }
        self.problems.insert(path.clone(), Problem::Settle(error));
        if looked {
            self.retry(&path, now, RETRY_MS);
        } else {
            self.wait_for_look(&path, vec![Look::Tree(at.clone())]);
        }
        Ok(())
    }
}

/// Tells whether what lies at a path is what a job was to make of it. Bytes get their name with
/// mode and time set; where only these were to change, they say whether that was done.
fn is_done(it: &Intended, before: Option<&Entry>) -> bool {
    let record = &it.becomes.record;
    let Some(there) = it.there else { return !record.is_live() };
    let dresses =
        before.is_some_and(|e| e.record.kind == record.kind && e.record.same_content(record));
    let is_dressed = match record.kind {
        Kind::File => (there.mtime_ns, there.mode & 0o777) == (record.mtime_ns, record.mode),
        Kind::Directory => there.mode & 0o777 == record.mode,
        Kind::Symlink => there.mtime_ns == record.mtime_ns,
        Kind::Tombstone => true,
    };
    (there.kind, there.content) == (record.kind, record.content) && (!dresses || is_dressed)
}
