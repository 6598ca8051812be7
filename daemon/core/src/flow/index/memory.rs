//! The index in memory, for tests and the simulator: stricter than the one on disk.

use std::collections::{BTreeMap, BTreeSet};

use super::{Batch, Index, IndexError, Known, Marks};
use crate::model::{ContentId, Entry, Kind, RelPath, Seq};

/// The index in memory, for tests and the simulator.
#[derive(Debug, Clone, Default)]
pub struct MemIndex {
    entries: BTreeMap<RelPath, Entry>,
    log: BTreeMap<Seq, RelPath>,
    holders: BTreeMap<ContentId, BTreeSet<RelPath>>,
    marks: Marks,
    last_seq: Seq,
}

impl MemIndex {
    /// Lists everything, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        self.entries.iter()
    }

    /// Returns what is kept of `path`.
    #[must_use]
    pub fn entry(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(super) fn marks_now(&self) -> &Marks {
        &self.marks
    }

    fn check(&self, batch: &Batch) -> Result<(), IndexError> {
        let mut last = self.last_seq;
        let mut touched = BTreeSet::new();
        for (path, entry) in &batch.puts {
            let unlawful = |what| IndexError::Unlawful { path: path.clone(), what };
            if path.is_root() {
                return Err(unlawful("the root has no entry"));
            }
            if entry.seq <= last {
                return Err(unlawful("a sequence must grow"));
            }
            if !touched.insert(path) {
                return Err(unlawful("a batch names a path once"));
            }
            if !entry.record.version.contains(entry.record.dot) {
                return Err(unlawful("a record has seen its own write"));
            }
            if let Some(old) = self.entries.get(path)
                && old.record.version == entry.record.version
                && !old.record.looks_like(&entry.record)
            {
                return Err(unlawful("one version is one record"));
            }
            last = entry.seq;
        }
        for path in &batch.drops {
            if self.entries.get(path).is_some_and(|e| e.record.is_live()) {
                let what = "only a tombstone is dropped";
                return Err(IndexError::Unlawful { path: path.clone(), what });
            }
        }
        Ok(())
    }

    fn forget(&mut self, path: &RelPath) {
        if let Some(old) = self.entries.remove(path) {
            self.log.remove(&old.seq);
            if let Some(paths) = self.holders.get_mut(&old.record.content) {
                paths.remove(path);
            }
        }
    }
}

impl Known for MemIndex {
    fn get(&self, path: &RelPath) -> Result<Option<Entry>, IndexError> {
        Ok(self.entries.get(path).cloned())
    }

    fn children(&self, dir: &RelPath) -> Result<Vec<(RelPath, Entry)>, IndexError> {
        let below = self
            .entries
            .range(dir.clone()..)
            .skip_while(|(path, _)| *path == dir)
            .take_while(|(path, _)| path.is_below(dir))
            .filter(|(path, _)| path.parent().as_ref() == Some(dir));
        Ok(below.map(|(path, entry)| (path.clone(), entry.clone())).collect())
    }
}

impl Index for MemIndex {
    fn changes(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, RelPath)>, IndexError> {
        let later = self.log.range(after.saturating_add(1)..);
        Ok(later.take(limit).map(|(seq, path)| (*seq, path.clone())).collect())
    }

    fn holders(&self, content: ContentId, limit: usize) -> Result<Vec<RelPath>, IndexError> {
        Ok(self.holders.get(&content).into_iter().flatten().take(limit).cloned().collect())
    }

    fn live_files(&self) -> Result<usize, IndexError> {
        Ok(self.entries.values().filter(|e| e.record.kind == Kind::File).count())
    }

    fn withheld(&self) -> Result<usize, IndexError> {
        Ok(self.entries.values().filter(|e| e.local.is_withheld()).count())
    }

    fn marks(&self) -> Result<Marks, IndexError> {
        Ok(self.marks.clone())
    }

    fn last_seq(&self) -> Result<Seq, IndexError> {
        Ok(self.last_seq)
    }

    fn commit(&mut self, batch: Batch) -> Result<(), IndexError> {
        self.check(&batch)?;
        for (path, entry) in batch.puts {
            self.forget(&path);
            self.last_seq = entry.seq;
            self.log.insert(entry.seq, path.clone());
            if entry.record.kind == Kind::File {
                self.holders.entry(entry.record.content).or_default().insert(path.clone());
            }
            self.entries.insert(path, entry);
        }
        for (path, local) in batch.locals {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.local = local;
            }
        }
        for path in batch.drops {
            self.forget(&path);
        }
        if let Some(marks) = batch.marks {
            self.marks = marks;
        }
        Ok(())
    }
}
