//! Directories: what lives in one keeps it, and a live path needs those above it.

use super::Engine;
use super::copies::Place;
use super::draft::Draft;
use super::incoming::{News, Stage};
use super::observing::DIRECTORY_MODE;
use super::settling::Put;
use crate::flow::detect::Look;
use crate::flow::index::observe;
use crate::flow::index::{Index, IndexError};
use crate::flow::plan::{Resolution, Side, conflict, order};
use crate::flow::settle::{Stamp, Step};
use crate::model::{Entry, Kind, Record, RelPath};

/// How the directories above a path stand.
pub(super) enum Parents {
    /// All there, after these steps and puts.
    Ready(Vec<Step>, Vec<(RelPath, Put)>),
    Wait(Stage),
}

impl Engine {
    /// Keeps a directory in which something lives: what would replace or remove it gives way, and
    /// the directory is announced again (`true`).
    pub(super) fn mind_children(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Result<(Resolution, bool), Stage>, IndexError> {
        let Some(ours) = entry.filter(|e| e.record.kind == Kind::Directory && e.local.is_here())
        else {
            return Ok(Ok((resolution, false)));
        };
        if resolution.record.kind == Kind::Directory {
            return Ok(Ok((resolution, false)));
        }
        if !self.removal_may_go(path, news) {
            return Ok(Err(Stage::Removal));
        }
        let children = draft.live_children(path)?;
        let working =
            |child: &&RelPath| self.busy.contains_key(*child) || self.pending.contains_key(*child);
        if let Some(child) = children.iter().find(working) {
            return Ok(Err(Stage::After(child.clone())));
        }
        if children.is_empty() {
            return Ok(Ok((resolution, false)));
        }
        let version = ours.record.version.joined(&news.record.version);
        let record = Record { version, ..ours.record.clone() };
        let copy = news.record.has_bytes();
        Ok(Ok((Resolution { winner: Side::Ours, record, copy }, true)))
    }

    /// Sees to it that the directories above a live path are there. Where a file is in the way,
    /// all that was told before it or before the path must have come: a lane that overtakes must
    /// not make a conflict of what its writer replaced, whichever of the two came early.
    pub(super) fn mind_parents(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Parents, IndexError> {
        let (mut steps, mut puts) = (Vec::new(), Vec::new());
        let above: Vec<RelPath> = path.ancestors().collect();
        for parent in above.into_iter().rev() {
            if let Some(ticket) = self.busy.get(&parent) {
                let comes = self.flights.get(ticket).is_some_and(|f| f.makes_directory(&parent));
                if comes {
                    continue;
                }
                return Ok(Parents::Wait(Stage::After(parent)));
            }
            let entry = draft.get(&parent)?;
            let Some(entry) = entry else { return Ok(Parents::Wait(Stage::After(parent))) };
            if entry.record.kind == Kind::Directory && entry.local.is_here() {
                continue;
            }
            if self.pending.contains_key(&parent) {
                return Ok(Parents::Wait(Stage::After(parent)));
            }
            if entry.record.has_bytes() && entry.local.is_here() {
                if self.misses_something() {
                    return Ok(Parents::Wait(Stage::Overtook));
                }
                let Some(expect) = order::expected(Some(&entry)) else {
                    self.order_look(vec![Look::Path(parent)]);
                    return Ok(Parents::Wait(Stage::Looking));
                };
                match self.copy_place(&parent, &entry.record, draft)? {
                    Place::Busy(copy) => return Ok(Parents::Wait(Stage::After(copy))),
                    Place::Needless => {}
                    Place::Here(copy) => {
                        let record = conflict::copy_record(&copy, &entry.record);
                        let path = parent.clone();
                        steps.push(Step::KeepAs { path, expect, copy: copy.clone() });
                        puts.push((copy, Put::new(record, Stamp::AsIs)));
                    }
                }
                steps.push(Step::Trash { path: parent.clone(), expect });
            }
            let record = observe::directory_over(&entry.record, DIRECTORY_MODE);
            steps.push(Step::MakeDirectory { path: parent.clone(), mode: record.mode });
            let standing = self.standing_of_own(Some(&entry));
            puts.push((parent, Put { standing, ..Put::new(record, Stamp::Write) }));
        }
        Ok(Parents::Ready(steps, puts))
    }
}
