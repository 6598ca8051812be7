//! sled's trees, and what is known of the store as a whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use sled::{IVec, Tree};
use syncd_core::model::{FolderId, RelPath, Seq, StoreId};

use super::codec::Malformed;
use super::durable::Durable;
use super::fault::Fault;
use super::holders::{self, Holdings};
use super::keys::{self, FolderNumber};
use super::opening::STORE_VERSION;
use super::rows::{Tally, decode_changes, decode_tally};

/// Keys of the tree `meta`.
mod meta {
    pub(super) const FORMAT: &[u8] = b"format";
    pub(super) const ID: &[u8] = b"id";
    /// The next number for a folder.
    pub(super) const NEXT_FOLDER: &[u8] = b"next";
    /// The greatest sequence of the folders that were forgotten.
    pub(super) const SEQ_FLOOR: &[u8] = b"floor";
    /// Stands before a folder's name.
    pub(super) const FOLDER: &[u8] = b"folder/";
    /// Stands before the number of a folder whose rows are still to be removed.
    pub(super) const DEAD: &[u8] = b"dead/";
    /// Written and removed again by every open.
    pub(super) const TRIED: &[u8] = b"tried";
}

/// Rows removed under one lock while a folder is forgotten.
const FORGET_ROWS: usize = 1000;

/// The trees that hold rows of folders, in the order of [`Trees`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum In {
    /// Pages of directories.
    Pages,
    /// Buckets of changes.
    Changes,
    /// Buckets of holders.
    Holders,
    /// A folder's tally, marks, and how far its holders are.
    Marks,
}

/// Rows to write; `None` removes one.
pub(super) type Rows = BTreeMap<(In, Vec<u8>), Option<Vec<u8>>>;

/// An open store.
#[derive(Debug)]
pub(super) struct Trees {
    /// sled.
    pub(super) db: sled::Db,
    meta: Tree,
    /// (folder, directory, fence) -> page.
    pub(super) pages: Tree,
    /// (folder, first sequence) -> bucket of changes.
    pub(super) changes: Tree,
    /// (folder, fence) -> bucket of holders.
    pub(super) holders: Tree,
    /// (content, part) -> part of a block list.
    pub(super) contents: Tree,
    /// (folder, what) -> tally, marks, or how far the holders are.
    pub(super) marks: Tree,
    /// The store's name.
    pub(super) id: StoreId,
    /// The folders that have rows.
    folders: BTreeMap<FolderId, FolderNumber>,
    /// Holders that are not in their tree yet.
    pub(super) lags: BTreeMap<FolderNumber, Holdings>,
    /// What must reach the disk.
    pub(super) durable: Arc<Durable>,
}

/// What opening found.
pub(super) enum Reading {
    /// A store.
    Whole(Box<Trees>),
    /// Nothing yet.
    Blank(Box<Trees>),
    /// A store of this newer format.
    Newer(u32),
    /// Pages without an id.
    Headless,
}

impl Trees {
    /// Reads what sled has opened at `dir`.
    pub(super) fn read(db: sled::Db, dir: &Path) -> Result<Reading, Fault> {
        let mut trees = Self {
            meta: db.open_tree("meta")?,
            pages: db.open_tree("pages")?,
            changes: db.open_tree("changes")?,
            holders: db.open_tree("holders")?,
            contents: db.open_tree("contents")?,
            marks: db.open_tree("marks")?,
            id: StoreId(0),
            folders: BTreeMap::new(),
            lags: BTreeMap::new(),
            durable: Arc::new(Durable::open(dir).map_err(sled::Error::Io)?),
            db,
        };
        if let Some(found) = trees.meta_number::<4>(meta::FORMAT)?
            && u32::from_be_bytes(found) > STORE_VERSION
        {
            return Ok(Reading::Newer(u32::from_be_bytes(found)));
        }
        match trees.meta_number::<8>(meta::ID)? {
            Some(id) => trees.id = StoreId(u64::from_be_bytes(id)),
            None if trees.pages.is_empty() => return Ok(Reading::Blank(Box::new(trees))),
            None => return Ok(Reading::Headless),
        }
        for row in trees.meta.scan_prefix(meta::FOLDER) {
            let (key, value) = row?;
            let folder = std::str::from_utf8(&key[meta::FOLDER.len()..])
                .ok()
                .and_then(|name| FolderId::parse(name).ok())
                .ok_or(Fault::of_row(Malformed::Wrong("a folder has an impossible name")))?;
            trees.folders.insert(folder, FolderNumber(u32::from_be_bytes(number(&value)?)));
        }
        trees.bury()?;
        for folder in trees.folders.values().copied().collect::<Vec<_>>() {
            let waiting = holders::replay(&trees, folder)?;
            trees.lags.insert(folder, waiting);
        }
        Ok(Reading::Whole(Box::new(trees)))
    }

    /// Makes a blank store one with this id.
    pub(super) fn begin(mut self, id: u64) -> Result<Self, Fault> {
        let mut batch = sled::Batch::default();
        batch.insert(meta::FORMAT, &STORE_VERSION.to_be_bytes());
        batch.insert(meta::ID, &id.to_be_bytes());
        self.meta.apply_batch(batch)?;
        self.db.flush()?;
        self.id = StoreId(id);
        Ok(self)
    }

    /// Writes something that does not stay and lets sled sync it: what it cannot do is better known
    /// now than in the middle of work.
    pub(super) fn try_write(&self) -> Result<(), Fault> {
        self.meta.insert(meta::TRIED, &[])?;
        self.meta.remove(meta::TRIED)?;
        self.db.flush()?;
        Ok(())
    }

    /// Returns the number of `folder`, if it has rows.
    pub(super) fn number(&self, folder: &FolderId) -> Option<FolderNumber> {
        self.folders.get(folder).copied()
    }

    /// Returns the number of `folder`, giving it one if it has none.
    pub(super) fn number_or_new(&mut self, folder: &FolderId) -> Result<FolderNumber, Fault> {
        if let Some(number) = self.number(folder) {
            return Ok(number);
        }
        let next = self.meta_number::<4>(meta::NEXT_FOLDER)?.map_or(1, u32::from_be_bytes);
        let after = next.checked_add(1);
        let after =
            after.ok_or(Fault::of_row(Malformed::Wrong("the folders have no number left")))?;
        let mut batch = sled::Batch::default();
        batch.insert(meta::NEXT_FOLDER, &after.to_be_bytes());
        batch.insert([meta::FOLDER, folder.as_str().as_bytes()].concat(), &next.to_be_bytes());
        self.meta.apply_batch(batch)?;
        self.folders.insert(folder.clone(), FolderNumber(next));
        Ok(FolderNumber(next))
    }

    /// Reads a folder's tally.
    pub(super) fn tally(&self, folder: FolderNumber) -> Result<Tally, Fault> {
        match self.marks.get(tally_key(folder))? {
            Some(row) => decode_tally(&row).map_err(Fault::of_row),
            None => Ok(Tally::default()),
        }
    }

    /// Returns up to which sequence the tree of holders is complete.
    pub(super) fn holders_complete(&self, folder: FolderNumber) -> Result<Seq, Fault> {
        let row = self.marks.get(holders_key(folder))?;
        Ok(row.map(|row| number(&row)).transpose()?.map_or(0, u64::from_be_bytes))
    }

    /// Lists up to `limit` changes after `after`, by sequence.
    pub(super) fn changes_after(
        &self,
        folder: FolderNumber,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, RelPath)>, Fault> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let (lowest, target) = (folder.prefix(), keys::changes(folder, first));
        let start = self.changes.range(&lowest[..]..=&target[..]).keys().next_back();
        let start = start.transpose()?.map_or(target.to_vec(), |key| key.to_vec());
        let highest = keys::changes(folder, Seq::MAX);
        let mut found = Vec::new();
        for row in self.changes.range(&start[..]..=&highest[..]) {
            let bucket = decode_changes(&row?.1).map_err(Fault::of_row)?;
            found.extend(bucket.into_iter().filter(|(seq, _)| *seq > after));
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Returns the path whose last change came at `seq`.
    pub(super) fn changed_at(
        &self,
        folder: FolderNumber,
        seq: Seq,
    ) -> Result<Option<RelPath>, Fault> {
        let (lowest, target) = (folder.prefix(), keys::changes(folder, seq));
        let Some(found) = self.changes.range(&lowest[..]..=&target[..]).next_back() else {
            return Ok(None);
        };
        let bucket = decode_changes(&found?.1).map_err(Fault::of_row)?;
        Ok(bucket.into_iter().find(|(known, _)| *known == seq).map(|(_, path)| path))
    }

    /// Returns the greatest sequence this store has ever held.
    pub(super) fn last_seq(&self) -> Result<Seq, Fault> {
        let mut last = self.meta_number::<8>(meta::SEQ_FLOOR)?.map_or(0, u64::from_be_bytes);
        for number in self.folders.values() {
            last = last.max(self.tally(*number)?.last_seq);
        }
        Ok(last)
    }

    /// Writes rows of several trees, all or none.
    pub(super) fn write(&self, rows: &Rows) -> Result<(), Fault> {
        let trees = [&self.pages, &self.changes, &self.holders, &self.marks];
        let done = trees[..].transaction(|trees| {
            for ((tree, key), value) in rows {
                let tree = &trees[match tree {
                    In::Pages => 0,
                    In::Changes => 1,
                    In::Holders => 2,
                    In::Marks => 3,
                }];
                match value {
                    Some(value) => tree.insert(&key[..], &value[..])?,
                    None => tree.remove(&key[..])?,
                };
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        match done {
            Ok(()) | Err(TransactionError::Abort(())) => Ok(()),
            Err(TransactionError::Storage(error)) => Err(error.into()),
        }
    }

    /// Makes a folder unknown at once; its rows go with [`Trees::bury`].
    pub(super) fn forget(&mut self, folder: &FolderId) -> Result<(), Fault> {
        let Some(number) = self.number(folder) else { return Ok(()) };
        let floor = self.last_seq()?;
        let mut batch = sled::Batch::default();
        batch.remove([meta::FOLDER, folder.as_str().as_bytes()].concat());
        batch.insert([meta::DEAD, &number.prefix()].concat(), &[]);
        batch.insert(meta::SEQ_FLOOR, &floor.to_be_bytes());
        self.meta.apply_batch(batch)?;
        self.folders.remove(folder);
        self.lags.remove(&number);
        Ok(())
    }

    /// Removes the rows of forgotten folders.
    pub(super) fn bury(&self) -> Result<(), Fault> {
        for dead in self.meta.scan_prefix(meta::DEAD).keys() {
            let dead = dead?;
            for tree in [&self.pages, &self.changes, &self.holders, &self.marks] {
                while remove_some(tree, &dead[meta::DEAD.len()..])? {}
            }
            self.meta.remove(dead)?;
        }
        Ok(())
    }

    fn meta_number<const N: usize>(&self, key: &[u8]) -> Result<Option<[u8; N]>, Fault> {
        self.meta.get(key)?.map(|value| number(&value)).transpose()
    }
}

/// The key of a folder's tally.
pub(super) fn tally_key(folder: FolderNumber) -> Vec<u8> {
    [&folder.prefix()[..], b"t"].concat()
}

/// The key of the sequence up to which a folder's holders are in their tree.
pub(super) fn holders_key(folder: FolderNumber) -> Vec<u8> {
    [&folder.prefix()[..], b"h"].concat()
}

/// The key of a folder's marks.
pub(super) fn marks_key(folder: FolderNumber) -> Vec<u8> {
    [&folder.prefix()[..], b"m"].concat()
}

fn number<const N: usize>(value: &IVec) -> Result<[u8; N], Fault> {
    <[u8; N]>::try_from(&value[..])
        .map_err(|_| Fault::of_row(Malformed::Wrong("a number has the wrong size")))
}

/// Removes up to [`FORGET_ROWS`] rows; tells whether there were any.
fn remove_some(tree: &Tree, prefix: &[u8]) -> Result<bool, Fault> {
    let mut batch = sled::Batch::default();
    let mut any = false;
    for key in tree.scan_prefix(prefix).keys().take(FORGET_ROWS) {
        batch.remove(key?);
        any = true;
    }
    tree.apply_batch(batch)?;
    Ok(any)
}
