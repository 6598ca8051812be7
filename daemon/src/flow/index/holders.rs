//! Who holds a content: a tree of hints that lags behind the pages.
//!
//! Contents fall anywhere in the tree, so that a batch of a thousand new files would rewrite a
//! thousand buckets; loading a million files took 17 s of CPU that way, and takes 6 s this way:
//! new holders wait in memory until there are [`LAG_MAX`] of them, and only then go into the tree,
//! many to a bucket. Up to which sequence the tree is complete is written with them; what came
//! after is read back from the log of changes when the store opens.
//!
//! # Invariants
//! - The tree and the lag together name every file with bytes. They may name more: each answer is
//!   checked against the page.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use syncd_core::model::{ContentId, Kind, Record, RelPath, Seq};

use super::commit::even_part;
use super::fault::Fault;
use super::keys::{self, FolderNumber, Holding, holding_seq};
use super::pages::{PageCache, PageReader};
use super::rows::{HOLDERS_MAX, decode_holders, encode_holders};
use super::trees::{In, Rows, Trees, holders_key};

/// Holders to add (`true`) or remove.
pub(super) type Holdings = BTreeMap<Holding, bool>;

/// This many wait in memory at most, about 4 MiB; few in tests, so that they get there.
const LAG_MAX: usize = if cfg!(test) { 100 } else { 128 << 10 };

/// Changes read at a time when the lag is read back.
const REPLAY_CHANGES: usize = 4096;

/// Tells whether a record's file can lend its bytes to another.
pub(super) fn holds_bytes(record: &Record) -> bool {
    record.kind == Kind::File && record.size > 0
}

/// Lets the holders that a batch has changed wait, and writes all that wait once they are many.
pub(super) fn lag(
    trees: &mut Trees,
    folder: FolderNumber,
    holdings: Holdings,
) -> Result<(), Fault> {
    let waiting = trees.lags.entry(folder).or_default();
    waiting.extend(holdings);
    if waiting.len() >= LAG_MAX { settle(trees, folder) } else { Ok(()) }
}

/// Writes all waiting holders of `folder` into the tree.
pub(super) fn settle(trees: &mut Trees, folder: FolderNumber) -> Result<(), Fault> {
    let Some(waiting) = trees.lags.get(&folder).filter(|waiting| !waiting.is_empty()) else {
        return Ok(());
    };
    let mut rows = Rows::new();
    bucket_rows(trees, folder, waiting, &mut rows)?;
    let complete = trees.tally(folder)?.last_seq;
    rows.insert((In::Marks, holders_key(folder)), Some(complete.to_be_bytes().to_vec()));
    trees.write(&rows)?;
    trees.lags.remove(&folder);
    Ok(())
}

/// Reads back what waited when the store was last closed.
pub(super) fn replay(trees: &Trees, folder: FolderNumber) -> Result<Holdings, Fault> {
    let cache = PageCache::default();
    let reader = PageReader { tree: &trees.pages, cache: &cache, folder };
    let mut after = trees.holders_complete(folder)?;
    let mut waiting = Holdings::new();
    loop {
        let changes = trees.changes_after(folder, after, REPLAY_CHANGES)?;
        let Some((last, _)) = changes.last() else { return Ok(waiting) };
        after = *last;
        for (seq, path) in changes {
            if let Some(entry) = reader.get(&path)?
                && entry.seq == seq
                && holds_bytes(&entry.record)
            {
                waiting.insert(keys::holding(entry.record.content, seq), true);
            }
        }
    }
}

/// Lists up to `limit` files that hold `content`, those that changed longest ago, by path.
pub(super) fn holders(
    trees: &Trees,
    reader: PageReader<'_>,
    content: ContentId,
    limit: usize,
) -> Result<Vec<RelPath>, Fault> {
    let folder = reader.folder;
    let (first, last) = (keys::holding(content, 0), keys::holding(content, Seq::MAX));
    let mut found = Vec::new();
    let mut look = |holding: &Holding| -> Result<bool, Fault> {
        let seq = holding_seq(holding);
        if found.len() < limit
            && let Some(path) = trees.changed_at(folder, seq)?
            && let Some(entry) = reader.get(&path)?
            && entry.seq == seq
            && entry.record.content == content
            && holds_bytes(&entry.record)
        {
            found.push(path);
        }
        Ok(found.len() < limit)
    };
    let lowest = keys::holders(folder, &[0; 16]);
    let target = keys::holders(folder, &first);
    let start = trees.holders.range(&lowest[..]..=&target[..]).keys().next_back();
    let start = start.transpose()?.map_or(target.to_vec(), |key| key.to_vec());
    let end = keys::holders(folder, &last);
    'tree: for row in trees.holders.range(&start[..]..=&end[..]) {
        let bucket = decode_holders(&row?.1).map_err(Fault::of_row)?;
        for holding in bucket.iter().filter(|holding| (first..=last).contains(*holding)) {
            if !look(holding)? {
                break 'tree;
            }
        }
    }
    if let Some(waiting) = trees.lags.get(&folder) {
        for (holding, _) in waiting.range(first..=last).filter(|(_, add)| **add) {
            if !look(holding)? {
                break;
            }
        }
    }
    found.sort();
    Ok(found)
}

fn bucket_rows(
    trees: &Trees,
    folder: FolderNumber,
    holdings: &Holdings,
    rows: &mut Rows,
) -> Result<(), Fault> {
    let mut holdings = holdings.iter().peekable();
    while let Some((first, _)) = holdings.peek() {
        let Bucket { key, mut holders, upper } = bucket_of(trees, folder, first)?;
        while let Some((holding, add)) =
            holdings.next_if(|(holding, _)| upper.is_none_or(|upper| **holding < upper))
        {
            if *add {
                holders.insert(*holding);
            } else {
                holders.remove(holding);
            }
        }
        let holders: Vec<Holding> = holders.into_iter().collect();
        if holders.is_empty() {
            rows.insert((In::Holders, key), None);
            continue;
        }
        let mut at = Some(key);
        for part in holders.chunks(even_part(holders.len(), HOLDERS_MAX)) {
            let key = at.take().unwrap_or_else(|| keys::holders(folder, &part[0]).to_vec());
            rows.insert((In::Holders, key), Some(encode_holders(part)));
        }
    }
    Ok(())
}

struct Bucket {
    key: Vec<u8>,
    holders: BTreeSet<Holding>,
    /// The fence of the next bucket.
    upper: Option<Holding>,
}

/// Returns the bucket that `holding` belongs into.
fn bucket_of(trees: &Trees, folder: FolderNumber, holding: &Holding) -> Result<Bucket, Fault> {
    let tree = &trees.holders;
    let lowest = keys::holders(folder, &[0; 16]);
    let target = keys::holders(folder, holding);
    let (key, holders) = match tree.range(&lowest[..]..=&target[..]).next_back() {
        None => (lowest.to_vec(), BTreeSet::new()),
        Some(found) => {
            let (key, value) = found?;
            let holders = decode_holders(&value).map_err(Fault::of_row)?;
            (key.to_vec(), holders.into_iter().collect())
        }
    };
    let highest = keys::holders(folder, &[0xff; 16]);
    let later = (Bound::Excluded(&key[..]), Bound::Included(&highest[..]));
    let upper = match tree.range::<&[u8], _>(later).keys().next() {
        None => None,
        Some(next) => Holding::try_from(&next?[4..]).ok(),
    };
    Ok(Bucket { key, holders, upper })
}
