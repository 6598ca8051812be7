//! What becomes of a path when a record comes for it.

use super::Engine;
use super::copies::Copy;
use super::draft::Draft;
use super::incoming::{From, News, Next, Stage};
use super::parents::Parents;
use super::settling::Put;
use crate::flow::detect::Look;
use crate::flow::index::observe;
use crate::flow::index::{Index, IndexError};
use crate::flow::plan::{Resolution, Side, Verdict, order, reconcile};
use crate::flow::settle::Stamp;
use crate::model::{Entry, Kind, Local, Record, RelPath, Role, Standing};

impl Engine {
    pub(super) fn next_for(
        &mut self,
        path: &RelPath,
        news: &News,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let alone = self.peers.is_empty() && !self.mends_itself(path, news);
        if self.paused || self.halted || alone || !self.gate_is_open(path, news) {
            return Ok(Next::Wait(Stage::Gate));
        }
        let entry = draft.get(path)?;
        let theirs = &news.record;
        let Some(ours) = entry.as_ref().filter(|e| !e.record.is_void()) else {
            return self.unknown_path(path, news, draft);
        };
        if ours.local.is_withheld()
            && let Some(next) = self.for_withheld(path, news, ours, draft)?
        {
            return Ok(next);
        }
        if news.from == From::Index
            && ours.record == *theirs
            && let Some((stat, content)) = self.spoilt(path, ours)
        {
            return self.refill(path, news, ours, (stat, content), draft);
        }
        let not_here = matches!(ours.local.standing, Standing::Ignored | Standing::Unsupported);
        let kept_off = not_here && ours.record == *theirs;
        match reconcile(&ours.record, theirs) {
            Verdict::Keep if kept_off && news.from == From::Index && theirs.is_live() => {
                let all = Resolution { winner: Side::Theirs, record: theirs.clone(), copy: false };
                self.become_(path, news, entry.as_ref(), all, draft)
            }
            Verdict::Keep => Ok(Next::Done),
            Verdict::Join(record) => {
                let seq = self.next_dot().counter;
                let local = Local { source: None, ..ours.local.clone() };
                draft.put(path.clone(), Entry { record, seq, local });
                Ok(Next::Done)
            }
            Verdict::Take => {
                let all = Resolution { winner: Side::Theirs, record: theirs.clone(), copy: false };
                self.become_(path, news, entry.as_ref(), all, draft)
            }
            Verdict::Resolve(resolution) => {
                self.become_(path, news, entry.as_ref(), resolution, draft)
            }
        }
    }

    /// Decides for a path that has no entry here.
    fn unknown_path(
        &mut self,
        path: &RelPath,
        news: &News,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let theirs = &news.record;
        if self.covered(draft).covers(&theirs.version) && !self.takes_again(theirs) {
            if theirs.is_live() {
                // A forgotten delete (DESIGN, covered): answered by a tombstone that has seen
                // all that we have, so that no later old record stands beside it.
                let mut version = self.covered(draft);
                let dot = self.next_dot();
                version.raise(dot);
                let record = Record { version, ..observe::tombstone(theirs, dot) };
                let entry = Entry { record, seq: dot.counter, local: Local::default() };
                draft.put(path.clone(), entry);
            }
            return Ok(Next::Done);
        }
        let all = Resolution { winner: Side::Theirs, record: theirs.clone(), copy: false };
        self.become_(path, news, None, all, draft)
    }

    /// Tells whether what is covered and has no entry is taken all the same: in a folder that
    /// only receives, where what was forgotten here is not told as deleted.
    fn takes_again(&self, theirs: &Record) -> bool {
        self.role == Role::ReceiveOnly && theirs.is_live()
    }

    fn gate_is_open(&self, path: &RelPath, news: &News) -> bool {
        // What lies in a directory of a rule file's name must be able to make room for the file.
        let is_rules = |path: &RelPath| self.rule_files.contains(path);
        let refuses = self.role == Role::SendOnly;
        if refuses || is_rules(path) || path.ancestors().any(|dir| is_rules(&dir)) {
            return true;
        }
        let after_settled = match news.from {
            From::Peer { peer, after, .. } => {
                self.peers.get(&peer).is_none_or(|p| p.incoming.is_settled(after))
            }
            From::Index => true,
        };
        after_settled
            && !self.reading_rules
            && !self.rule_files.iter().any(|file| self.pending.contains_key(file))
    }

    /// Works towards `resolution` at `path`: puts it into the index, or makes the job for it.
    pub(super) fn become_(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let is_dir = news.record.kind == Kind::Directory
            || entry.is_some_and(|e| e.record.kind == Kind::Directory);
        if !self.rules.synced(path, is_dir) {
            if resolution.copy
                && let Some(ours) = entry
            {
                // No copy can be made here. Who told us hears ours and resolves it there.
                let standing = Standing::Ignored;
                draft.put_local(path, Local { seen: None, standing, ..ours.local.clone() });
                return Ok(Next::Done);
            }
            self.put_unplaced(path, news, entry, resolution, draft);
            return Ok(Next::Done);
        }
        if let Some(next) = self.refuse(path, news, entry, &resolution, draft) {
            return Ok(next);
        }
        if let Some(next) = self.brake(path, news, entry, &resolution, draft) {
            return Ok(next);
        }
        if resolution.record.is_live() && self.is_unsupported(path, draft)? {
            let unchanged = resolution.record == news.record;
            let put = put_for(news, entry, resolution.clone(), unchanged);
            return self.keep_for_others(path, news, entry, resolution, put, draft);
        }
        let (resolution, revived) =
            match self.mind_children(path, news, entry, resolution, draft)? {
                Ok(minded) => minded,
                Err(stage) => return Ok(Next::Wait(stage)),
            };
        let (mut steps, mut puts) = if resolution.record.is_live() {
            match self.mind_parents(path, draft)? {
                Parents::Ready(steps, puts) => (steps, puts),
                Parents::Wait(stage) => return Ok(Next::Wait(stage)),
            }
        } else {
            (Vec::new(), Vec::new())
        };
        let mut conflict = None;
        if resolution.copy {
            match self.copy_for(path, news, entry, &resolution, draft)? {
                Copy::Make(made) => {
                    let (copy, step, put) = *made;
                    steps.push(step);
                    conflict = Some(copy.clone());
                    puts.push((copy, put));
                }
                Copy::Needless => {}
                Copy::Wait(stage) => return Ok(Next::Wait(stage)),
            }
        }
        if resolution.winner == Side::Theirs {
            match order::steps(path, entry, &resolution.record) {
                Some(more) => steps.extend(more),
                None => {
                    self.order_look(vec![Look::Path(path.clone())]);
                    return Ok(Next::Wait(Stage::Looking));
                }
            }
        }
        let unchanged = resolution.record == news.record;
        let mut put = put_for(news, entry, resolution, unchanged);
        if revived {
            put.stamp = Stamp::Write;
            put.record.found = false;
            put.standing = self.standing_of_own(entry);
        }
        puts.push((path.clone(), put));
        self.set_to_work(path, news, steps, puts, conflict, draft)
    }

    /// Puts a record into the index that the rules keep off this disk.
    fn put_unplaced(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) {
        let unchanged = resolution.record == news.record;
        let put = put_for(news, entry, resolution, unchanged);
        self.put_stamped(
            path.clone(),
            Put { standing: Standing::Ignored, seen: None, ..put },
            None,
            draft,
        );
    }
}

/// Returns how a resolved record is put into the index: as it is when the peer's own record
/// stands unchanged, else with the resolver's counter in its vector.
fn put_for(news: &News, entry: Option<&Entry>, resolution: Resolution, unchanged: bool) -> Put {
    let record = resolution.record;
    let (source, stamp) = match news.from {
        From::Peer { peer, .. } if unchanged => (Some(peer), Stamp::AsIs),
        From::Index if unchanged => (None, Stamp::AsIs),
        From::Peer { .. } | From::Index => (None, Stamp::Resolution),
    };
    let seen = entry.and_then(|e| e.local.seen).filter(|_| record.is_live());
    // What only ignored content keeps stays deleted, whoever else deletes it too (MERGING, M14).
    let still = entry.filter(|e| !e.record.is_live() && !record.is_live());
    let standing = still.map_or(Standing::Settled, |e| e.local.standing);
    Put { record, source, standing, seen, stamp }
}
