//! What only sends and what only receives; whose version wins where a person has said so.
//!
//! A change that no peer is told of stands in the index as [`Standing::Withheld`], by a writer of
//! its own, see [`Writer::untold`]. When it is told at last it is written anew by this device.
//!
//! # Invariants
//! - Nothing of a folder that only receives is told but what came from peers.
//! - A folder that only sends changes nothing on its disk.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::incoming::{From, News, Next, Stage};
use super::settling::Put;
use super::{Action, Engine, Notice};
use crate::flow::index::fingerprint::Fingerprint;
use crate::flow::index::{Index, IndexError, observe};
use crate::flow::plan::favour::{self, By, Ruling};
use crate::flow::plan::{Resolution, Side};
use crate::flow::settle::Stamp;
use crate::model::{
    Counter, DeviceId, Dot, Entry, Favour, Record, RelPath, Role, Seq, Standing, StoreId, Writer,
};

/// A person's word on who wins, which holds until every connected peer has told all it has.
#[derive(Debug, Clone)]
pub(super) struct Word {
    by: By,
    /// Later changes are not meant.
    upto: Seq,
    /// The peers that have told all they have.
    pub(super) heard: BTreeSet<DeviceId>,
}

impl Word {
    /// Gives it to `into`, as held by a device with its store.
    pub(super) fn fingerprint(
        &self,
        (me, store): (DeviceId, StoreId),
        into: &mut impl Fingerprint,
    ) {
        into.value((self.by, &self.heard, self.upto == Seq::MAX));
        if self.upto != Seq::MAX {
            into.seq(me, store, self.upto);
        }
    }
}

impl Engine {
    /// Takes the role. What was withheld in the former one is told now.
    pub(super) fn role_is(
        &mut self,
        role: Role,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.role = role;
        // It comes at each start, and what was said of whom the folder is shared with may not have
        // been durable before that.
        self.forget_the_absent(draft);
        self.overruling.clear();
        self.gate_moved = true;
        let joins = self.word.as_ref().is_some_and(|word| matches!(word.by, By::Joining(_)));
        match (role, joins) {
            (Role::ReceiveOnly, _) | (Role::SendReceive, true) => Ok(()),
            (Role::SendOnly, true) => self.end_word(draft),
            (Role::SendReceive | Role::SendOnly, false) => {
                self.word = None;
                self.tell_withheld(false, draft)
            }
        }
    }

    /// Begins to join a folder: what lies here and no peer has told of yet is withheld until all
    /// have told what they have.
    pub(super) fn join(&mut self, favour: Favour) {
        let (by, upto) = (By::Joining(favour), Seq::MAX);
        self.word = Some(Word { by, upto, heard: BTreeSet::new() });
    }

    /// Gives up what was changed here in a folder that only receives: what only this device has
    /// goes at once; for the rest the peers are heard from the beginning, in new sessions.
    pub(super) fn revert(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        if self.role != Role::ReceiveOnly {
            return Ok(());
        }
        let peers: Vec<DeviceId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.peer_down(peer, draft)?;
        }
        // Their stores stay known: whoever comes with another one has lost what it told us.
        draft.marks_mut().cursors.values_mut().for_each(|cursor| cursor.seq = 0);
        let (by, upto) = (By::Reverting, self.committed);
        self.word = Some(Word { by, upto, heard: BTreeSet::new() });
        self.give_up(upto, draft, Record::is_unheard_of)
    }

    /// Makes this device's state win over all that waits in a folder that only sends, and over
    /// what the peers that have more to tell tell until then.
    pub(super) fn overrule(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        if self.role != Role::SendOnly {
            return Ok(());
        }
        let telling = self.peers.iter().filter(|(_, state)| state.incoming.is_busy());
        self.overruling = telling.map(|(peer, _)| *peer).collect();
        // What lies in a directory before the directory.
        let waiting = self.pending.iter().rev().filter(|(_, p)| p.stage == Stage::Role);
        let waiting: Vec<RelPath> = waiting.map(|(path, _)| path.clone()).collect();
        for path in waiting {
            self.unwait(&path);
            self.consider(&path, draft)?;
        }
        Ok(())
    }

    /// Tells whether what a user does at a path with this entry is told nobody.
    pub(super) fn withholds(&self, entry: Option<&Entry>) -> bool {
        let joins = || self.word.as_ref().is_some_and(|word| matches!(word.by, By::Joining(_)));
        let unheard = || entry.is_none_or(|e| e.local.is_withheld() || e.record.is_void());
        self.role == Role::ReceiveOnly || joins() && unheard()
    }

    /// Returns the dot of our own write that stands so.
    pub(super) fn dot_of(&self, counter: Counter, standing: Standing) -> Dot {
        let writer = match standing {
            Standing::Withheld => Writer::untold(self.me.device),
            Standing::Settled
            | Standing::Ignored
            | Standing::Unsupported
            | Standing::Refused
            | Standing::Evicted => self.me,
        };
        Dot { writer, counter }
    }

    /// Returns how what is written over `entry` stands.
    pub(super) fn standing_of_own(&self, entry: Option<&Entry>) -> Standing {
        if self.withholds(entry) { Standing::Withheld } else { Standing::Settled }
    }

    /// Notes that `peers` have told all they have; ends a person's word that held until then.
    pub(super) fn heard_all(
        &mut self,
        peers: &[DeviceId],
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.overruling.retain(|peer| !peers.contains(peer));
        let Some(word) = &mut self.word else { return Ok(()) };
        word.heard.extend(peers);
        let all = self.peers.keys().all(|peer| word.heard.contains(peer));
        if peers.is_empty() || !all {
            return Ok(());
        }
        self.end_word(draft)
    }

    fn end_word(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        let Some(word) = self.word.take() else { return Ok(()) };
        match word.by {
            By::Joining(_) => {
                self.actions.push_back(Action::Tell(Notice::Joined));
                if self.role == Role::ReceiveOnly {
                    Ok(())
                } else {
                    self.tell_withheld(true, draft)
                }
            }
            // What no peer has told of again although it covers it was deleted there.
            By::Reverting => {
                let covered = self.covered(draft);
                let known = |record: &Record| covered.covers(&record.version.of_others());
                self.give_up(word.upto, draft, |record| record.is_unheard_of() || known(record))
            }
            By::Role => Ok(()),
        }
    }

    /// Lets withheld things up to `upto` that `goes` is true of become what nobody knows of; what
    /// lies in a directory before the directory.
    fn give_up(
        &mut self,
        upto: Seq,
        draft: &mut Draft<'_, impl Index>,
        goes: impl Fn(&Record) -> bool,
    ) -> Result<(), IndexError> {
        for (path, entry) in draft.withheld()?.into_iter().rev() {
            if entry.seq <= upto && goes(&entry.record) {
                self.queue(&path, News::ours(Record::void()));
                self.consider(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Forgets that `path` was to be given up: a user has written there since.
    pub(super) fn keep_after_all(&mut self, path: &RelPath) {
        let Some(pending) = self.pending.get_mut(path) else { return };
        let first_goes = pending.news.front().is_some_and(|news| news.record.is_void());
        pending.news.retain(|news| !news.record.is_void());
        if first_goes {
            pending.stage = Stage::Fresh;
            pending.staged = None;
            self.removals.remove(path);
        }
        if pending.news.is_empty() {
            self.pending.remove(path);
        }
    }

    /// Tells what was withheld: as a write made now, since its dot may be covered elsewhere. What
    /// nobody wrote, but a store found that knew nothing, stays found, unless a person has `joined`
    /// the folder with it.
    fn tell_withheld(
        &mut self,
        joined: bool,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let (live, gone): (Vec<_>, Vec<_>) =
            draft.withheld()?.into_iter().partition(|(_, entry)| entry.record.is_live());
        for (path, entry) in live.into_iter().chain(gone.into_iter().rev()) {
            let put = told(entry);
            let record = Record { found: put.record.found && !joined, ..put.record };
            self.put_stamped(path, Put { record, ..put }, None, draft);
        }
        Ok(())
    }

    /// Returns the put of a job that is done, under the role that holds now.
    pub(super) fn as_of_now(&self, put: Put) -> Put {
        if put.standing != Standing::Withheld || self.withholds(None) {
            return put;
        }
        match put.stamp {
            // A write by a dot that comes only now.
            Stamp::Write => {
                let version = put.record.version.as_told();
                let record = Record { version, ..put.record };
                Put { record, standing: Standing::Settled, ..put }
            }
            Stamp::AsIs | Stamp::Resolution => Put { seen: put.seen, ..told_record(put.record) },
        }
    }

    /// Decides for a path whose version here no peer was told of; `None`: as for any other.
    pub(super) fn for_withheld(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: &Entry,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Option<Next>, IndexError> {
        let meant = self.word.as_ref().filter(|word| entry.seq <= word.upto);
        let by = match (meant, self.role) {
            _ if news.record.is_void() => By::Reverting,
            (Some(word), _) => word.by,
            (None, Role::ReceiveOnly) => By::Role,
            (None, Role::SendReceive | Role::SendOnly) => return Ok(None),
        };
        let ours = &entry.record;
        let above = || favour::above(ours, &news.record);
        let put = match favour::rule(ours, &news.record, by) {
            // Between it and theirs it is decided as soon as it is told.
            Ruling::AsAny if matches!(by, By::Joining(_)) => {
                let put = told(entry.clone());
                let record = Record { found: false, ..put.record };
                self.put_stamped(path.clone(), Put { record, ..put }, None, draft);
                return self.next_for(path, news, draft).map(Some);
            }
            Ruling::AsAny => return Ok(None),
            Ruling::Theirs { copy } => {
                let record = news.record.clone();
                let theirs = Resolution { winner: Side::Theirs, record, copy };
                return self.become_(path, news, Some(entry), theirs, draft).map(Some);
            }
            Ruling::OursAbove => told_record(above()),
            Ruling::OursUntold => {
                let record = Record { found: ours.found, ..above() };
                let put = Put::new(record, Stamp::Resolution);
                Put { standing: Standing::Withheld, ..put }
            }
        };
        let put = Put { seen: entry.local.seen, ..put };
        self.put_stamped(path.clone(), put, None, draft);
        Ok(Some(Next::Done))
    }

    /// Decides what a folder that only sends makes of `resolution`: `None` where nothing on the
    /// disk would change.
    pub(super) fn refuse(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: &Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) -> Option<Next> {
        if self.role != Role::SendOnly || leaves_disk(entry, resolution) {
            return None;
        }
        let overruled = match news.from {
            From::Peer { peer, .. } => self.overruling.contains(&peer),
            From::Index => false,
        };
        if !overruled {
            return Some(Next::Wait(Stage::Role));
        }
        let put = match entry.filter(|e| e.local.is_here()) {
            Some(ours) => {
                let above = favour::above(&ours.record, &news.record);
                Put { seen: ours.local.seen, ..Put::new(above, Stamp::Write) }
            }
            None => Put::new(observe::tombstone(&news.record, news.record.dot), Stamp::Write),
        };
        self.put_stamped(path.clone(), put, None, draft);
        Some(Next::Done)
    }

    /// Returns how many paths wait because the folder only sends.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.pending.values().filter(|pending| pending.stage == Stage::Role).count()
    }
}

/// Tells whether `resolution` changes nothing on the disk.
fn leaves_disk(entry: Option<&Entry>, resolution: &Resolution) -> bool {
    let here = entry.filter(|e| e.local.is_here() && e.record.is_live());
    let same = match here {
        Some(ours) => ours.record.looks_like(&resolution.record),
        None => !resolution.record.is_live(),
    };
    !resolution.copy && (resolution.winner == Side::Ours || same)
}

/// Returns a withheld entry as it is told at last: written anew.
fn told(entry: Entry) -> Put {
    Put { seen: entry.local.seen, ..told_record(entry.record) }
}

/// Returns a withheld record as it is told at last. A conflict copy is the same one whoever makes
/// it.
fn told_record(record: Record) -> Put {
    if record.is_derived() {
        return Put::new(record, Stamp::AsIs);
    }
    Put::new(Record { version: record.version.as_told(), ..record }, Stamp::Write)
}
