//! What this disk cannot hold: known, kept for others, and tried again when a name is free.
//!
//! Two names may be one name to a file system that folds case or normalises, and some names no
//! file system takes. Such a path is *unsupported here*: nothing is overwritten for its sake, its
//! record and its bytes go on to the other devices, and it is placed as soon as it can be.

use super::draft::Draft;
use super::incoming::{News, Next};
use super::settling::Put;
use super::{Engine, Problem};
use crate::flow::index::{Index, IndexError};
use crate::flow::plan::Resolution;
use crate::flow::settle::{SettleError, Step, Trouble};
use crate::model::{Entry, Local, RelPath, Standing};

impl Engine {
    /// Tells whether the disk is known to be unable to hold `path`, or a directory above it.
    pub(super) fn is_unsupported(
        &self,
        path: &RelPath,
        draft: &Draft<'_, impl Index>,
    ) -> Result<bool, IndexError> {
        if self.refused.contains_key(path) {
            return Ok(true);
        }
        for dir in path.ancestors().filter(|dir| self.unsupported.contains(dir)) {
            let entry = draft.get(&dir)?;
            if entry.is_some_and(|e| is_unsupported(&e)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a record into the index that this disk cannot hold; its bytes are kept for the
    /// other devices.
    pub(super) fn keep_for_others(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        put: Put,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        self.unsupported.insert(path.clone());
        if resolution.copy
            && let Some(ours) = entry
        {
            // No copy can be made here. Who told us hears ours and resolves it there.
            let standing = Standing::Unsupported;
            draft.put_local(path, Local { seen: None, standing, ..ours.local.clone() });
            return Ok(Next::Done);
        }
        let record = &resolution.record;
        let (path_kept, content) = (path.clone(), record.content);
        let keep = Step::KeepForOthers { path: path_kept, content, size: record.size };
        let steps = if record.has_bytes() { vec![keep] } else { Vec::new() };
        let put = Put { standing: Standing::Unsupported, seen: None, ..put };
        let next = self.set_to_work(path, news, steps, vec![(path.clone(), put)], None, draft)?;
        Ok(next)
    }

    /// Notes why the disk cannot hold `path`: the next plan for it knows.
    pub(super) fn cannot_hold(&mut self, path: &RelPath, why: SettleError) {
        self.refused.insert(path.clone(), why);
    }

    /// Shows why a path is not there, as long as that is so.
    pub(super) fn show_unsupported(
        &mut self,
        path: &RelPath,
        draft: &Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let Some(why) = self.refused.get(path).cloned() else { return Ok(()) };
        if draft.get(path)?.is_some_and(|entry| is_unsupported(&entry)) {
            self.problems.insert(path.clone(), Problem::Settle(why));
        } else if !self.pending.contains_key(path) {
            self.refused.remove(path);
        }
        Ok(())
    }

    /// Notes an unsupported path that an earlier run left, and lets it be tried again.
    pub(super) fn unsupported_before(
        &mut self,
        path: &RelPath,
        entry: Entry,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.unsupported.insert(path.clone());
        self.refused.remove(path);
        let why = SettleError::Trouble { path: path.clone(), trouble: Trouble::Name };
        self.problems.insert(path.clone(), Problem::Settle(why));
        self.queue(path, News::ours(entry.record));
        self.consider(path, draft)
    }

    /// Tries what could not lie in `dir` again: a name in it is free, or it is there itself.
    pub(super) fn has_room(
        &mut self,
        dir: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let in_dir = |path: &&RelPath| path.parent().as_ref() == Some(dir);
        let paths: Vec<RelPath> = self.unsupported.iter().filter(in_dir).cloned().collect();
        for path in paths {
            self.refused.remove(&path);
            if self.busy.contains_key(&path) {
                self.roomy.insert(path);
            } else {
                self.try_again(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Tries `path` again if room was made for it while it was being kept for others.
    pub(super) fn try_again_if_roomy(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        if self.roomy.remove(path) { self.try_again(path, draft) } else { Ok(()) }
    }

    fn try_again(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        match draft.get(path)? {
            Some(entry) if is_unsupported(&entry) => {
                self.queue(path, News::ours(entry.record));
                self.consider(path, draft)
            }
            // On its way: the next plan for it finds the room.
            Some(_) | None if self.pending.contains_key(path) => Ok(()),
            Some(_) | None => {
                self.unsupported.remove(path);
                Ok(())
            }
        }
    }
}

fn is_unsupported(entry: &Entry) -> bool {
    entry.record.is_live() && entry.local.standing == Standing::Unsupported
}
