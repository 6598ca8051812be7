//! The changes of one event, seen by later steps of the same event and committed at its end.

use std::collections::BTreeMap;

use crate::flow::index::{Batch, Index, IndexError, Marks};
use crate::model::{Counter, Entry, Local, RelPath, Seq, Writer};

/// An index with the uncommitted changes of one event on top.
pub(super) struct Draft<'a, I> {
    index: &'a mut I,
    puts: BTreeMap<RelPath, Entry>,
    locals: BTreeMap<RelPath, Local>,
    drops: Vec<RelPath>,
    marks: Marks,
    marks_changed: bool,
    last_seq: Seq,
    me: Writer,
    /// Our greatest counter in a version put here.
    written: Counter,
}

impl<'a, I: Index> Draft<'a, I> {
    pub(super) fn new(index: &'a mut I, me: Writer) -> Result<Self, IndexError> {
        let marks = index.marks()?;
        let last_seq = index.last_seq()?;
        Ok(Self {
            index,
            puts: BTreeMap::new(),
            locals: BTreeMap::new(),
            drops: Vec::new(),
            marks,
            marks_changed: false,
            last_seq,
            me,
            written: 0,
        })
    }

    pub(super) fn index(&self) -> &I {
        self.index
    }

    pub(super) fn get(&self, path: &RelPath) -> Result<Option<Entry>, IndexError> {
        if let Some(entry) = self.puts.get(path) {
            return Ok(Some(entry.clone()));
        }
        let mut entry = self.index.get(path)?;
        if let (Some(entry), Some(local)) = (&mut entry, self.locals.get(path)) {
            entry.local = local.clone();
        }
        Ok(entry)
    }

    /// Lists the live entries directly in `dir`.
    pub(super) fn live_children(&self, dir: &RelPath) -> Result<Vec<RelPath>, IndexError> {
        let mut live: BTreeMap<RelPath, bool> = self
            .index
            .children(dir)?
            .into_iter()
            .map(|(path, entry)| (path, entry.record.is_live() && entry.local.is_here()))
            .collect();
        for (path, entry) in self.puts.range(dir.clone()..) {
            if path.parent().as_ref() == Some(dir) {
                live.insert(path.clone(), entry.record.is_live() && entry.local.is_here());
            } else if path != dir && !path.is_below(dir) {
                break;
            }
        }
        Ok(live.into_iter().filter(|(_, is_live)| *is_live).map(|(path, _)| path).collect())
    }

    /// Lists what is withheld from the peers, by path.
    pub(super) fn withheld(&self) -> Result<Vec<(RelPath, Entry)>, IndexError> {
        let mut found: BTreeMap<RelPath, Entry> = BTreeMap::new();
        let mut dirs = Vec::from_iter((self.index.withheld()? > 0).then(RelPath::root));
        while let Some(dir) = dirs.pop() {
            for (path, entry) in self.index.children(&dir)? {
                // Below what is no directory any more lie tombstones.
                dirs.push(path.clone());
                if entry.local.is_withheld()
                    && let Some(now) = self.get(&path)?
                {
                    found.insert(path, now);
                }
            }
        }
        found.extend(self.puts.iter().map(|(path, entry)| (path.clone(), entry.clone())));
        found.retain(|_, entry| entry.local.is_withheld());
        Ok(found.into_iter().collect())
    }

    pub(super) fn put(&mut self, path: RelPath, entry: Entry) {
        self.last_seq = self.last_seq.max(entry.seq);
        self.written = self.written.max(entry.record.version.seen(self.me));
        self.locals.remove(&path);
        self.puts.insert(path, entry);
    }

    pub(super) fn put_local(&mut self, path: &RelPath, local: Local) {
        match self.puts.get_mut(path) {
            Some(entry) => entry.local = local,
            None => {
                self.locals.insert(path.clone(), local);
            }
        }
    }

    pub(super) fn drop_tombstone(&mut self, path: RelPath) {
        self.drops.push(path);
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(super) fn marks_mut(&mut self) -> &mut Marks {
        self.marks_changed = true;
        &mut self.marks
    }

    /// Returns the greatest sequence, uncommitted ones included.
    pub(super) fn last_seq(&self) -> Seq {
        self.last_seq
    }

    pub(super) fn written(&self) -> Counter {
        self.written
    }

    /// Writes everything and returns the greatest sequence.
    pub(super) fn commit(&mut self) -> Result<Seq, IndexError> {
        let mut puts: Vec<(RelPath, Entry)> = std::mem::take(&mut self.puts).into_iter().collect();
        puts.sort_by_key(|(_, entry)| entry.seq);
        let batch = Batch {
            puts,
            locals: std::mem::take(&mut self.locals).into_iter().collect(),
            drops: std::mem::take(&mut self.drops),
            marks: self.marks_changed.then(|| self.marks.clone()),
        };
        if !batch.is_empty() {
            self.index.commit(batch)?;
        }
        Ok(self.last_seq)
    }
}
