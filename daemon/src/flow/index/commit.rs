//! A batch on its way into the trees: checked, worked out in memory, written in one go.
//!
//! # Invariants
//! - A batch that breaks a law changes nothing.
//! - Every live or dead path stands in exactly one bucket of changes, at its last sequence.
//! - No page or bucket is empty, none of more than one row is over its caps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use syncd_core::flow::index::Batch;
use syncd_core::model::{Entry, FolderId, RelPath, Seq};

use super::fault::Fault;
use super::format::{Named, encode_page};
use super::holders::{self, Holdings, holds_bytes};
use super::keys::{self, FolderNumber};
use super::pages::{PAGE_BYTES_MAX, PAGE_RECORDS_MAX, PageCache, PageReader};
use super::rows::{
    CHANGES_BYTES_MAX, CHANGES_MAX, Tally, decode_changes, encode_changes, encode_marks,
    encode_tally,
};
use super::trees::{In, Rows, Trees, marks_key, tally_key};

/// Writes `batch` into the index of `folder`.
pub(super) fn commit(
    trees: &mut Trees,
    cache: &PageCache,
    folder: &FolderId,
    batch: Batch,
) -> Result<(), Fault> {
    if batch.is_empty() {
        return Ok(());
    }
    let number = trees.number_or_new(folder)?;
    let mut draft = Draft::new(trees, cache, number)?;
    draft.check(&batch)?;
    for (path, entry) in batch.puts {
        draft.put(&path, entry)?;
    }
    for (path, local) in batch.locals {
        draft.set_local(&path, local)?;
    }
    for path in &batch.drops {
        draft.drop_path(path)?;
    }
    let (mut rows, holdings) = draft.rows()?;
    if let Some(marks) = &batch.marks {
        rows.insert((In::Marks, marks_key(number)), Some(encode_marks(marks)));
    }
    let written = trees.write(&rows);
    for (tree, key) in rows.keys() {
        if *tree == In::Pages {
            cache.forget(key);
        }
    }
    written?;
    holders::lag(trees, number, holdings)
}

/// A page as it will be.
struct DraftPage {
    dir: RelPath,
    entries: BTreeMap<Box<[u8]>, Entry>,
    upper: Option<Box<[u8]>>,
    dirty: bool,
}

/// What a batch makes of the trees.
struct Draft<'a> {
    trees: &'a Trees,
    reader: PageReader<'a>,
    folder: FolderNumber,
    tally: Tally,
    pages: BTreeMap<Vec<u8>, DraftPage>,
    changed: BTreeMap<Seq, RelPath>,
    unchanged: BTreeSet<Seq>,
    holdings: Holdings,
}

impl<'a> Draft<'a> {
    fn new(trees: &'a Trees, cache: &'a PageCache, folder: FolderNumber) -> Result<Self, Fault> {
        Ok(Self {
            trees,
            reader: PageReader { tree: &trees.pages, cache, folder },
            folder,
            tally: trees.tally(folder)?,
            pages: BTreeMap::new(),
            changed: BTreeMap::new(),
            unchanged: BTreeSet::new(),
            holdings: Holdings::new(),
        })
    }

    /// Checks the laws that [`syncd_core::flow::index::MemIndex`] checks.
    fn check(&mut self, batch: &Batch) -> Result<(), Fault> {
        let mut last = self.tally.last_seq;
        let mut touched = BTreeSet::new();
        for (path, entry) in &batch.puts {
            let unlawful = |what| Err(Fault::Unlawful { path: path.clone(), what });
            if path.is_root() {
                return unlawful("the root has no entry");
            }
            if entry.seq <= last {
                return unlawful("a sequence must grow");
            }
            if !touched.insert(path) {
                return unlawful("a batch names a path once");
            }
            if !entry.record.version.contains(entry.record.dot) {
                return unlawful("a record has seen its own write");
            }
            if let Some(old) = self.entry(path)?
                && old.record.version == entry.record.version
                && !old.record.looks_like(&entry.record)
            {
                return unlawful("one version is one record");
            }
            last = entry.seq;
        }
        for path in &batch.drops {
            if self.entry(path)?.is_some_and(|entry| entry.record.is_live()) {
                let what = "only a tombstone is dropped";
                return Err(Fault::Unlawful { path: path.clone(), what });
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &RelPath) -> Result<Option<&Entry>, Fault> {
        match self.page(path)? {
            None => Ok(None),
            Some(page) => Ok(page.entries.get(path.name())),
        }
    }

    /// Returns the page of `path` for changing; `None` for the root, which lies on no page.
    fn page(&mut self, path: &RelPath) -> Result<Option<&mut DraftPage>, Fault> {
        let Some(dir) = path.parent() else { return Ok(None) };
        let name = path.name();
        let first = keys::pages_of(self.folder, &dir);
        let target = keys::page(self.folder, &dir, name);
        let drafted = self
            .pages
            .range::<[u8], _>((Bound::Included(&first[..]), Bound::Included(&target[..])))
            .next_back()
            .filter(|(_, page)| page.upper.as_ref().is_none_or(|upper| name < &**upper))
            .map(|(key, _)| key.clone());
        let key = match drafted {
            Some(key) => key,
            None => {
                let (key, page) = self.load(dir, name, first)?;
                self.pages.insert(key.clone(), page);
                key
            }
        };
        Ok(self.pages.get_mut(&key))
    }

    fn load(
        &self,
        dir: RelPath,
        name: &[u8],
        first: Vec<u8>,
    ) -> Result<(Vec<u8>, DraftPage), Fault> {
        if let Some(page) = self.reader.covering(&dir, name)? {
            let entries = page.entries.iter().cloned().collect();
            let upper = page.upper.clone();
            return Ok((page.key.clone(), DraftPage { dir, entries, upper, dirty: false }));
        }
        let next = self.reader.at_fence(&dir, &[])?;
        let upper = next.map(|page| Box::from(&page.key[first.len()..]));
        Ok((first, DraftPage { dir, entries: BTreeMap::new(), upper, dirty: false }))
    }

    fn put(&mut self, path: &RelPath, entry: Entry) -> Result<(), Fault> {
        self.forget(path)?;
        self.tally.last_seq = entry.seq;
        self.tally.add(path.name(), &entry);
        self.changed.insert(entry.seq, path.clone());
        if holds_bytes(&entry.record) {
            self.holdings.insert(keys::holding(entry.record.content, entry.seq), true);
        }
        if let Some(page) = self.page(path)? {
            page.entries.insert(path.name().into(), entry);
        }
        Ok(())
    }

    fn set_local(&mut self, path: &RelPath, local: syncd_core::model::Local) -> Result<(), Fault> {
        let mut tally = self.tally;
        if let Some(page) = self.page(path)?
            && let Some(entry) = page.entries.get_mut(path.name())
        {
            tally.remove(path.name(), entry);
            entry.local = local;
            tally.add(path.name(), entry);
            page.dirty = true;
        }
        self.tally = tally;
        Ok(())
    }

    fn drop_path(&mut self, path: &RelPath) -> Result<(), Fault> {
        self.forget(path)
    }

    /// Takes what is kept of `path` out of the page, the changes, the holders and the tally.
    fn forget(&mut self, path: &RelPath) -> Result<(), Fault> {
        let Some(page) = self.page(path)? else { return Ok(()) };
        let old = page.entries.remove(path.name());
        page.dirty = true;
        let Some(old) = old else { return Ok(()) };
        self.tally.remove(path.name(), &old);
        if self.changed.remove(&old.seq).is_none() {
            self.unchanged.insert(old.seq);
        }
        if holds_bytes(&old.record) {
            let holding = keys::holding(old.record.content, old.seq);
            if self.holdings.remove(&holding).is_none() {
                self.holdings.insert(holding, false);
            }
        }
        Ok(())
    }

    /// Returns all rows that the batch writes or removes.
    fn rows(self) -> Result<(Rows, Holdings), Fault> {
        let mut rows = Rows::new();
        rows.insert((In::Marks, tally_key(self.folder)), Some(encode_tally(&self.tally)));
        self.change_rows(&mut rows)?;
        for (key, page) in self.pages {
            if !page.dirty {
                continue;
            }
            let entries: Vec<Named> = page.entries.into_iter().collect();
            if entries.is_empty() {
                rows.insert((In::Pages, key), None);
                continue;
            }
            let mut at = Some(key);
            for (first, bytes) in cut(&entries) {
                let key = at.take().unwrap_or_else(|| keys::page(self.folder, &page.dir, first));
                rows.insert((In::Pages, key), Some(bytes));
            }
        }
        Ok((rows, self.holdings))
    }

    fn change_rows(&self, rows: &mut Rows) -> Result<(), Fault> {
        let tree = &self.trees.changes;
        let prefix = self.folder.prefix();
        let mut buckets: BTreeMap<Vec<u8>, Vec<(Seq, RelPath)>> = BTreeMap::new();
        for seq in &self.unchanged {
            let key = keys::changes(self.folder, *seq);
            let Some(found) = tree.range(&prefix[..]..=&key[..]).next_back() else { continue };
            let (key, value) = found?;
            if !buckets.contains_key(&key[..]) {
                let bucket = decode_changes(&value).map_err(Fault::of_row)?;
                buckets.insert(key.to_vec(), bucket);
            }
            if let Some(bucket) = buckets.get_mut(&key[..]) {
                bucket.retain(|(known, _)| known != seq);
            }
        }
        if !self.changed.is_empty() {
            let (mut key, mut tail) = (Vec::new(), Vec::new());
            if let Some(found) = tree.scan_prefix(prefix).next_back() {
                let (last, value) = found?;
                key = last.to_vec();
                tail = match buckets.remove(&key) {
                    Some(bucket) => bucket,
                    None => decode_changes(&value).map_err(Fault::of_row)?,
                };
            }
            let mut byte_count: usize = tail.iter().map(change_bytes).sum();
            for change in &self.changed {
                let change = (*change.0, change.1.clone());
                byte_count += change_bytes(&change);
                let full = tail.len() >= CHANGES_MAX || byte_count > CHANGES_BYTES_MAX;
                if key.is_empty() || (full && !tail.is_empty()) {
                    if !key.is_empty() {
                        buckets.insert(key, std::mem::take(&mut tail));
                    }
                    key = keys::changes(self.folder, change.0).to_vec();
                    byte_count = change_bytes(&change);
                }
                tail.push(change);
            }
            buckets.insert(key, tail);
        }
        for (key, bucket) in buckets {
            let value = (!bucket.is_empty()).then(|| encode_changes(&bucket));
            rows.insert((In::Changes, key), value);
        }
        Ok(())
    }
}

/// About how much a change takes in its bucket.
fn change_bytes((_, path): &(Seq, RelPath)) -> usize {
    path.as_bytes().len() + 4
}

/// Returns how many of `count` rows go into each part so that all fit and none is nearly full;
/// all of them if they fit into one.
pub(super) fn even_part(count: usize, part_max: usize) -> usize {
    if count <= part_max {
        return count.max(1);
    }
    count.div_ceil(count.div_ceil(part_max * 3 / 4))
}

/// Cuts sorted entries into pages, each with its first name.
fn cut(entries: &[Named]) -> Vec<(&[u8], Vec<u8>)> {
    let mut pages = Vec::new();
    let mut waiting: Vec<&[Named]> =
        entries.chunks(even_part(entries.len(), PAGE_RECORDS_MAX)).rev().collect();
    while let Some(part) = waiting.pop() {
        let bytes = encode_page(part);
        if bytes.len() > PAGE_BYTES_MAX && part.len() > 1 {
            let (left, right) = part.split_at(part.len() / 2);
            waiting.extend([right, left]);
        } else {
            pages.push((&*part[0].0, bytes));
        }
    }
    pages
}
