//! What looks tell: users' writes and deletes.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::incoming::{News, Stage};
use super::settling::{Flight, Put};
use super::{Action, Cause, Engine, LookId, Notice};
use crate::flow::detect::{Found, Look, Seen};
use crate::flow::index::observe::{self, Meaning};
use crate::flow::index::{Index, IndexError};
use crate::flow::settle::Stamp;
use crate::model::{Entry, Kind, Local, Record, RelPath, Role, Seq, Standing};
use crate::mutant::{self, Mutant};

/// A look under way.
#[derive(Debug, Clone)]
pub(super) struct LookState {
    /// The engine's clock when it began: our own later work makes what it says of a path stale.
    begun: u64,
    cause: Cause,
    whole: bool,
    gone: Vec<RelPath>,
    stale: BTreeSet<RelPath>,
}

impl LookState {
    pub(super) fn begun(clock: u64, cause: Cause, whole: bool) -> Self {
        Self { begun: clock, cause, whole, gone: Vec::new(), stale: BTreeSet::new() }
    }
}

/// A scan that found more than this many gone, and more than half of all, is held.
const HELD_FILES_MIN: usize = 25;

impl Engine {
    pub(super) fn look_begun(&mut self, look: LookId, cause: Cause, whole: bool) {
        self.looks.insert(look, LookState::begun(self.clock, cause, whole));
    }

    /// Notes, once, that this store has seen the whole of the folder, since the machine stopped
    /// too: a whole look has ended, and so has looking once more at what it could not tell for
    /// sure.
    pub(super) fn note_survey(&mut self, draft: &mut Draft<'_, impl Index>) {
        let overlooks = |flight: &Flight| !flight.overlooked.is_empty();
        if self.walked
            && (self.shaken || !draft.marks().surveyed)
            && self.looks.is_empty()
            && !self.flights.values().any(overlooks)
        {
            if std::mem::take(&mut self.shaken) {
                self.steadying = Some(false);
            }
            if !draft.marks().surveyed {
                draft.marks_mut().surveyed = true;
            }
        }
    }

    /// Takes what a look found. What is gone waits for the look's end.
    pub(super) fn seen(
        &mut self,
        look: LookId,
        seen: Seen,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let Some(state) = self.looks.get_mut(&look) else { return Ok(()) };
        let begun = state.begun;
        state.gone.extend(seen.gone);
        // Another look may have seen, later than this one, that it is gone again, and had nothing
        // to say of what the index did not know yet. Looking twice costs a `stat`.
        let overlaps = self.looks.len() > 1 || self.looked > begun;
        for found in seen.found {
            if self.looked_at_after(&found.path) {
                continue;
            }
            let parents = self.unknown_parents(&found.path, draft)?;
            if !parents.is_empty() {
                parents.into_iter().for_each(|parent| self.mark_stale(look, parent));
                self.mark_stale(look, found.path);
                continue;
            }
            let stale = self.is_stale(&found.path, begun);
            if !stale {
                self.found(&found, draft)?;
                self.touch(&found.path);
            }
            if stale || overlaps {
                self.mark_stale(look, found.path);
            }
        }
        Ok(())
    }

    /// Lists the directories above `path` that should be synced and have no entry: what lies in
    /// them is taken in after them, so that a scan that walks the index finds it.
    fn unknown_parents(
        &self,
        path: &RelPath,
        draft: &Draft<'_, impl Index>,
    ) -> Result<Vec<RelPath>, IndexError> {
        let mut unknown = Vec::new();
        for parent in path.ancestors() {
            if self.rules.synced(&parent, true) && draft.get(&parent)?.is_none() {
                unknown.push(parent);
            }
        }
        Ok(unknown)
    }

    /// Ends a look: what is gone counts if the root was attested and the brake does not hold it.
    pub(super) fn look_done(
        &mut self,
        look: LookId,
        attested: bool,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let Some(mut state) = self.looks.remove(&look) else { return Ok(()) };
        let mut all: Vec<RelPath> = state.gone.drain(..).collect();
        all.retain(|path| !self.looked_at_after(path));
        let (stale, gone): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|path| self.is_stale(path, state.begun));
        state.stale.extend(stale);
        if attested || mutant::on(Mutant::TrustLostRoot) {
            self.walked |= state.whole;
            self.take_gone(gone, state.cause, draft)?;
        }
        self.clock += 1;
        self.looked = self.clock;
        if !state.stale.is_empty() {
            self.order_look(state.stale.into_iter().map(Look::Path).collect());
        }
        if self.looks.is_empty() {
            self.worked.clear();
        }
        self.wake_lookers(draft)
    }

    /// Takes what a look missed as deleted, or holds it. What is held stays so until a person has
    /// decided, it is there again, or news of it comes, whoever looks.
    fn take_gone(
        &mut self,
        gone: Vec<RelPath>,
        cause: Cause,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        // What is told nobody need not be held back.
        let told = self.role != Role::ReceiveOnly;
        let brake = told && cause == Cause::Scanned && self.is_braked(&gone, draft)?;
        if brake {
            let before = self.held.len();
            self.held.extend(gone);
            if self.held.len() > before {
                self.actions.push_back(Action::Tell(Notice::Held { count: self.held.len() }));
            }
            return Ok(());
        }
        for path in gone {
            // Against news the delete must be told: the file that the news expects is not there.
            if self.held.contains(&path) && !self.pending.contains_key(&path) {
                // What news wants to place below it needs the directory, whatever is decided of
                // what lay in it.
                let below = self.pending.range(path.clone()..).next();
                if below.is_some_and(|(wanted, _)| wanted.is_below(&path)) {
                    self.held.remove(&path);
                    self.put_back(&path, draft)?;
                }
                continue;
            }
            self.held.remove(&path);
            // What is held below a directory that goes would keep it, and be looked at without end.
            let below = self.held.range(path.clone()..).skip_while(|held| **held == path);
            let below: Vec<RelPath> =
                below.take_while(|held| held.is_below(&path)).cloned().collect();
            for held in below {
                self.held.remove(&held);
                self.put_back(&held, draft)?;
            }
            self.gone(&path, draft)?;
            self.touch(&path);
        }
        Ok(())
    }

    fn is_stale(&self, path: &RelPath, begun: u64) -> bool {
        self.busy.contains_key(path) || self.worked.get(path).is_some_and(|at| *at > begun)
    }

    fn mark_stale(&mut self, look: LookId, path: RelPath) {
        if let Some(state) = self.looks.get_mut(&look) {
            state.stale.insert(path);
        }
    }

    fn is_braked(
        &self,
        gone: &[RelPath],
        draft: &Draft<'_, impl Index>,
    ) -> Result<bool, IndexError> {
        let mut gone_files = 0;
        for path in gone {
            let entry = draft.get(path)?;
            gone_files += usize::from(entry.is_some_and(|e| e.record.kind == Kind::File));
        }
        if gone_files == 0 {
            return Ok(false);
        }
        let files = draft.index().live_files()?;
        let many = gone_files > HELD_FILES_MIN && gone_files * 2 > files;
        Ok(many || gone_files >= files)
    }

    /// Takes the held deletes as meant.
    pub(super) fn approve(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        // What lay in a directory goes before it.
        for path in std::mem::take(&mut self.held).into_iter().rev() {
            if self.busy.contains_key(&path) {
                self.order_look(vec![Look::Path(path)]);
            } else {
                self.gone(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Takes the held deletes as not meant: what is gone is fetched again, as if it had never
    /// been placed here.
    pub(super) fn reject(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        for path in std::mem::take(&mut self.held) {
            self.put_back(&path, draft)?;
        }
        Ok(())
    }

    /// Places again what the index holds for `path`, as if it had never been placed here.
    fn put_back(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let Some(entry) = draft.get(path)?.filter(|e| e.record.is_live()) else { return Ok(()) };
        let standing = Standing::Ignored;
        draft.put_local(path, Local { seen: None, standing, ..entry.local });
        self.queue(path, News::ours(entry.record));
        self.consider(path, draft)
    }

    fn found(
        &mut self,
        found: &Found,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let path = &found.path;
        let is_dir = found.kind == Kind::Directory;
        if path.is_reserved() || !self.rules.synced(path, is_dir) {
            return Ok(());
        }
        self.held.remove(path);
        self.refused.remove(path);
        let entry = draft.get(path)?;
        let was_dir = entry.as_ref().is_some_and(|e| e.record.kind == Kind::Directory);
        if was_dir && !is_dir {
            self.all_below_is_gone(path, draft)?;
        }
        let standing = self.standing_of_own(entry.as_ref());
        let dot = self.dot_of(self.coming_dot().counter, standing);
        let local = Local { seen: Some(found.stat), standing, ..Local::default() };
        let meaning = observe::found(entry.as_ref(), found, dot, self.memory(draft));
        if matches!(meaning, Meaning::Written(_) | Meaning::Apart(_) | Meaning::Suspect(_)) {
            self.next_dot();
        }
        match meaning {
            Meaning::Nothing => {}
            Meaning::Restat => {
                if let Some(entry) = entry {
                    self.restat(path, &entry, local, draft);
                }
            }
            Meaning::Written(record) => {
                self.mind_own_parents(path, draft)?;
                self.put_own(path, *record, local, draft);
            }
            // Whoever was told of the version that is lost gives it back when he hears of this.
            Meaning::Suspect(record) => self.put_own(path, *record, local, draft),
            Meaning::Emptied => {
                if let Some(entry) = entry {
                    self.emptied(path, entry, local, draft);
                }
            }
            Meaning::Apart(record) => {
                let known = entry.map(|e| e.record);
                self.put_own(path, *record, local, draft);
                if let Some(record) = known {
                    self.queue(path, News::ours(record));
                }
            }
        }
        self.unwait(path);
        self.consider(path, draft)?;
        self.wake_waiting(path, draft)
    }

    /// Something else lies where a directory was: nothing below it is left, and that is told
    /// first, so that no peer keeps the directory for the sake of what lay in it.
    fn all_below_is_gone(
        &mut self,
        dir: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for child in draft.live_children(dir)? {
            self.all_below_is_gone(&child, draft)?;
            self.gone(&child, draft)?;
        }
        Ok(())
    }

    fn restat(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        local: Local,
        draft: &mut Draft<'_, impl Index>,
    ) {
        let standing = match entry.local.standing {
            Standing::Withheld => Standing::Withheld,
            Standing::Settled
            | Standing::Ignored
            | Standing::Unsupported
            | Standing::Refused
            | Standing::Evicted => Standing::Settled,
        };
        let local = Local { standing, ..local };
        let source = entry.local.source;
        let data_durable = entry.local.data_durable;
        draft.put_local(path, Local { source, data_durable, ..local });
    }

    /// Writes a user's change into the index.
    fn put_own(
        &mut self,
        path: &RelPath,
        record: Record,
        local: Local,
        draft: &mut Draft<'_, impl Index>,
    ) {
        let kind = record.kind;
        let seq = record.dot.counter;
        self.keep_after_all(path);
        self.rule_file_changed(path);
        draft.put(path.clone(), Entry { record, seq, local });
        self.actions.push_back(Action::Tell(Notice::Changed { path: path.clone(), kind }));
    }

    /// Forgets what lay here and was told nobody.
    fn put_void(&mut self, path: &RelPath, seq: Seq, draft: &mut Draft<'_, impl Index>) {
        let entry = Entry { record: Record::void(), seq, local: Local::default() };
        draft.put(path.clone(), entry);
        let kind = Kind::Tombstone;
        self.actions.push_back(Action::Tell(Notice::Changed { path: path.clone(), kind }));
    }

    fn gone(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let entry = draft.get(path)?;
        let standing = self.standing_of_own(entry.as_ref());
        let dot = self.dot_of(self.coming_dot().counter, standing);
        if let Some(record) = observe::gone(entry.as_ref(), dot) {
            let is_dir = entry.as_ref().is_some_and(|e| e.record.kind == Kind::Directory);
            if is_dir && !draft.live_children(path)?.is_empty() {
                // Something below it was taken in meanwhile: look at the whole again. Where a job
                // is under way, not before it is over: until then each look would order another.
                if !self.looked_at_after_jobs_below(path) {
                    self.order_look(vec![Look::Tree(path.clone())]);
                }
                return Ok(());
            }
            self.next_dot();
            let local = Local { standing, ..Local::default() };
            let unheard = |e: &Entry| e.local.is_withheld() && e.record.is_unheard_of();
            match entry.as_ref().is_some_and(unheard) {
                true => self.put_void(path, dot.counter, draft),
                false => self.put_own(path, record, local, draft),
            }
        }
        self.unwait(path);
        self.consider(path, draft)?;
        self.wake_waiting(path, draft)?;
        match path.parent().filter(|_| !self.unsupported.is_empty()) {
            Some(dir) => self.has_room(&dir, draft),
            None => Ok(()),
        }
    }

    /// Sees to it that the directories above a thing that a user wrote are known: tombstoned
    /// ones are announced again, unknown ones are looked at.
    fn mind_own_parents(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let parents: Vec<RelPath> = path.ancestors().collect();
        for parent in parents.into_iter().rev() {
            let Some(entry) = draft.get(&parent)? else { continue };
            if !entry.record.is_live() && !self.busy.contains_key(&parent) {
                let record = observe::directory_over(&entry.record, DIRECTORY_MODE);
                let standing = self.standing_of_own(Some(&entry));
                let put = Put { standing, ..Put::new(record, Stamp::Write) };
                self.put_stamped(parent.clone(), put, None, draft);
                self.order_look(vec![Look::Path(parent)]);
            }
        }
        Ok(())
    }

    /// Orders the rules to be read again if `path` is one of their files; nothing else is placed
    /// until they have been.
    pub(super) fn rule_file_changed(&mut self, path: &RelPath) {
        if self.rule_files.contains(path) {
            self.reading_rules = true;
            self.actions.push_back(Action::ReadRules);
        }
    }

    /// Takes a new scope: what waits is considered again under it.
    pub(super) fn rules_changed(
        &mut self,
        scope: super::Scope,
        rule_files: BTreeSet<RelPath>,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.rules = scope;
        self.rule_files = rule_files;
        self.reading_rules = false;
        self.place_unignored(&RelPath::root(), draft)?;
        self.consider_gated(draft)
    }

    /// Queues what the index knows below `dir` but the rules kept off this disk until now.
    /// Presence is made true; absence of it here meant nothing (MERGING, M15).
    pub(super) fn place_unignored(
        &mut self,
        dir: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for (path, entry) in draft.index().children(dir)? {
            let is_dir = entry.record.kind == Kind::Directory;
            let kept_off = entry.record.is_live() && entry.local.standing == Standing::Ignored;
            if kept_off && self.rules.synced(&path, is_dir) {
                // Told again: a conflict may have been left to who hears it (see `become_`).
                let local = Local { source: None, ..entry.local.clone() };
                let seq = self.next_dot().counter;
                draft.put(path.clone(), Entry { record: entry.record.clone(), seq, local });
                self.queue(&path, News::ours(entry.record.clone()));
                self.consider(&path, draft)?;
            }
            let is_live = entry.record.is_live();
            if is_live && entry.local.standing == Standing::Unsupported {
                self.unsupported_before(&path, entry, draft)?;
            }
            // What lives below a deleted directory brings that back when it is placed.
            if is_dir || !is_live {
                self.place_unignored(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Reconsiders what waited for a look that is over.
    fn wake_lookers(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        if self.looks.keys().any(|look| matches!(look, LookId::Ordered(_))) {
            return Ok(());
        }
        for path in std::mem::take(&mut self.lookers) {
            if self.pending.get(&path).is_some_and(|p| p.stage == Stage::Looking) {
                self.unwait(&path);
                self.consider(&path, draft)?;
            }
        }
        Ok(())
    }
}

/// The mode of a directory that is made again because something in it lives.
pub(super) const DIRECTORY_MODE: u32 = 0o755;
