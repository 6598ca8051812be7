//! Conflict copies: where the loser of a conflict goes.

use super::Action;
use super::draft::Draft;
use super::incoming::{News, Stage};
use super::settling::Put;
use super::{Engine, Notice};
use crate::flow::detect::Look;
use crate::flow::index::{Index, IndexError};
use crate::flow::plan::{Resolution, Side, conflict, order};
use crate::flow::settle::{Expect, Stamp, Step};
use crate::model::{Entry, Record, RelPath, Standing};

/// What becomes of a conflict's loser.
pub(super) enum Copy {
    /// Nothing: it is kept already, or was and somebody removed it.
    Needless,
    Make(Box<(RelPath, Step, Put)>),
    Wait(Stage),
}

/// Where a copy may lie.
pub(super) enum Place {
    /// It is there already, or was and somebody removed it.
    Needless,
    Here(RelPath),
    /// A job is under way there.
    Busy(RelPath),
}

impl Engine {
    /// Plans the conflict copy of the loser, unless one is there or was there.
    pub(super) fn copy_for(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: &Resolution,
        draft: &Draft<'_, impl Index>,
    ) -> Result<Copy, IndexError> {
        let (ours, loser) = match (resolution.winner, entry) {
            (Side::Theirs, Some(entry)) => (true, &entry.record),
            (Side::Ours, _) | (Side::Theirs, None) => (false, &news.record),
        };
        let copy = match self.copy_place(path, loser, draft)? {
            Place::Here(copy) => copy,
            Place::Needless => return Ok(Copy::Needless),
            Place::Busy(copy) => return Ok(Copy::Wait(Stage::After(copy))),
        };
        let record = conflict::copy_record(&copy, loser);
        let step = if ours {
            let Some(expect) = order::expected(entry) else {
                self.order_look(vec![Look::Path(path.clone())]);
                return Ok(Copy::Wait(Stage::Looking));
            };
            Step::KeepAs { path: path.clone(), expect, copy: copy.clone() }
        } else {
            place_copy(&copy, &record)
        };
        // The copy of what nobody was told of is told nobody either.
        let untold = entry.is_some_and(|e| e.local.is_withheld()) && self.withholds(None);
        let standing = if untold { Standing::Withheld } else { Standing::Settled };
        let put = Put { standing, ..Put::new(record, Stamp::AsIs) };
        Ok(Copy::Make(Box::new((copy, step, put))))
    }

    /// Finds the place for a copy of `loser`, which lies at `path`.
    pub(super) fn copy_place(
        &self,
        path: &RelPath,
        loser: &Record,
        draft: &Draft<'_, impl Index>,
    ) -> Result<Place, IndexError> {
        let plain = if loser.is_derived() && conflict::is_copy_name(path.name()) {
            conflict::tell_apart(path, loser.content, 4)
        } else {
            conflict::copy_path(path, loser)
        };
        let longer = [4, 8, 16, 64];
        let names = std::iter::once(plain.clone())
            .chain(longer.map(|digits| conflict::tell_apart(&plain, loser.content, digits)));
        for copy in names {
            if copy == *path {
                return Ok(Place::Needless);
            }
            if self.busy.contains_key(&copy) {
                return Ok(Place::Busy(copy));
            }
            let dot = conflict::copy_dot(&copy, loser.content);
            match draft.get(&copy)? {
                Some(there) if there.record.version.contains(dot) => return Ok(Place::Needless),
                Some(there) if there.record.same_content(loser) => return Ok(Place::Needless),
                Some(_) => {}
                None => return Ok(Place::Here(copy)),
            }
        }
        Ok(Place::Needless)
    }

    pub(super) fn tell_conflict(&mut self, path: RelPath, copy: RelPath) {
        self.actions.push_back(Action::Tell(Notice::Conflict { path, copy }));
    }
}

/// The step that makes a copy of bytes that a peer sent.
fn place_copy(copy: &RelPath, record: &Record) -> Step {
    Step::Place {
        path: copy.clone(),
        expect: Expect::Nothing,
        kind: record.kind,
        content: record.content,
        size: record.size,
        mtime_ns: record.mtime_ns,
        mode: record.mode,
    }
}
