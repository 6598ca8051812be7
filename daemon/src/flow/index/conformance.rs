//! One suite for every [`Index`]: random batches against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use syncd_core::flow::index::{Batch, Index, IndexError, Marks, MemIndex};
use syncd_core::model::{ContentId, Entry, FolderId, Kind, RelPath, Seq};

use super::sample::{self, Dice, path};
use super::{FolderIndex, Store, Summary};

/// What an index should hold, in the plainest way to say it.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) entries: BTreeMap<RelPath, Entry>,
    pub(super) marks: Marks,
    pub(super) last_seq: Seq,
}

impl Model {
    pub(super) fn commit(&mut self, batch: Batch) {
        for (path, entry) in batch.puts {
            self.last_seq = entry.seq;
            self.entries.insert(path, entry);
        }
        for (path, local) in batch.locals {
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.local = local;
            }
        }
        for path in batch.drops {
            self.entries.remove(&path);
        }
        self.marks = batch.marks.unwrap_or(std::mem::take(&mut self.marks));
    }

    fn children(&self, dir: &RelPath) -> Vec<(RelPath, Entry)> {
        let found = self.entries.iter().filter(|(path, _)| path.parent().as_ref() == Some(dir));
        found.map(|(path, entry)| (path.clone(), entry.clone())).collect()
    }

    fn changes(&self, after: Seq) -> Vec<(Seq, RelPath)> {
        let found: BTreeMap<Seq, RelPath> =
            self.entries.iter().map(|(path, entry)| (entry.seq, path.clone())).collect();
        found.into_iter().filter(|(seq, _)| *seq > after).collect()
    }

    fn holders(&self, content: ContentId) -> BTreeSet<RelPath> {
        let found = self.entries.iter().filter(|(_, entry)| {
            entry.record.kind == Kind::File && entry.record.content == content
        });
        found.map(|(path, _)| path.clone()).collect()
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for (path, entry) in &self.entries {
            summary.add(path.name(), entry);
        }
        summary
    }

    /// Compares everything.
    pub(super) fn agrees_with(&self, index: &impl Index, because: &str) {
        let mut dirs: BTreeSet<RelPath> = [RelPath::root(), path("no/such")].into();
        dirs.extend(self.entries.keys().filter_map(RelPath::parent));
        dirs.extend(self.entries.keys().cloned());
        for dir in &dirs {
            assert_eq!(index.children(dir).unwrap(), self.children(dir), "{because}: {dir}");
        }
        for (path, entry) in &self.entries {
            assert_eq!(index.get(path).unwrap().as_ref(), Some(entry), "{because}: {path}");
        }
        assert_eq!(index.changes(0, usize::MAX).unwrap(), self.changes(0), "{because}");
        let contents: BTreeSet<ContentId> =
            self.entries.values().map(|entry| entry.record.content).collect();
        for content in contents.into_iter().chain([ContentId::of(b"held by nobody")]) {
            let found = index.holders(content, usize::MAX).unwrap();
            let wanted: Vec<RelPath> = self.holders(content).into_iter().collect();
            assert_eq!(found, wanted, "{because}: {content}");
        }
        let files = self.entries.values().filter(|entry| entry.record.kind == Kind::File);
        assert_eq!(index.live_files().unwrap(), files.count(), "{because}");
        assert_eq!(index.marks().unwrap(), self.marks, "{because}");
        assert_eq!(index.last_seq().unwrap(), self.last_seq, "{because}");
    }

    /// Compares what can be compared quickly, at places the dice choose.
    fn spot_check(&self, index: &impl Index, dice: &mut Dice, because: &str) {
        for _ in 0..8 {
            let path = any_path(dice);
            assert_eq!(
                index.get(&path).unwrap().as_ref(),
                self.entries.get(&path),
                "{because}: {path}"
            );
            if let Some(dir) = path.parent() {
                assert_eq!(index.children(&dir).unwrap(), self.children(&dir), "{because}: {dir}");
            }
        }
        let (after, limit) = (dice.below(self.last_seq + 2), dice.below(300) as usize);
        let mut changes = self.changes(after);
        changes.truncate(limit);
        assert_eq!(index.changes(after, limit).unwrap(), changes, "{because}: {after}, {limit}");
        let content = ContentId::of(dice.below(5).to_string().as_bytes());
        let (wanted, limit) = (self.holders(content), dice.below(4) as usize);
        let found = index.holders(content, limit).unwrap();
        assert_eq!(found.len(), wanted.len().min(limit), "{because}: {content}");
        assert!(found.iter().all(|path| wanted.contains(path)), "{because}: {content}");
        assert!(found.is_sorted(), "{because}: {content}");
        assert_eq!(index.marks().unwrap(), self.marks, "{because}");
        assert_eq!(index.last_seq().unwrap(), self.last_seq, "{because}");
    }
}

/// Names that meet each other: prefixes, bytes around the separator, no UTF-8.
fn any_path(dice: &mut Dice) -> RelPath {
    let dirs = ["", "a", "a!", "a\u{1}", "a/b", "a/b/c", "b", "wide", "wide/deep"];
    let dir = dice.pick(&dirs);
    let dir = if dir.is_empty() { RelPath::root() } else { path(dir) };
    let name: Vec<u8> = match dice.below(6) {
        0 => dice.pick(&["a", "b", "c", "a!", "a\u{1}", "wide"]).into(),
        1 => vec![dice.below(254) as u8 + 1].into_iter().filter(|b| !b"./".contains(b)).collect(),
        2 => format!("x.sync-conflict-20260131-235959-ABCDEF{}.txt", dice.below(6) + 2).into(),
        3 => vec![b'n'; 200 + dice.below(50) as usize],
        _ => format!("file-{:03}", dice.below(400)).into(),
    };
    dir.join(if name.is_empty() { &b"x"[..] } else { &name }).unwrap()
}

fn any_batch(dice: &mut Dice, model: &Model) -> Batch {
    let mut batch = Batch::default();
    let mut seq = model.last_seq;
    let mut paths = BTreeSet::new();
    if dice.one_in(6) {
        let start = dice.below(100);
        paths.extend((0..dice.below(400)).map(|n| path(format!("wide/file-{:03}", start + n))));
    }
    for _ in 0..dice.below(20) {
        paths.insert(any_path(dice));
    }
    let mut paths: Vec<RelPath> = paths.into_iter().collect();
    // Sequences follow no order of paths.
    for at in (1..paths.len()).rev() {
        paths.swap(at, dice.below(at as u64 + 1) as usize);
    }
    for path in paths {
        seq += 1 + if dice.one_in(20) { dice.below(1 << 21) } else { 0 };
        let entry = sample::entry(dice, model.entries.get(&path), seq);
        batch.puts.push((path, entry));
    }
    for _ in 0..dice.below(5) {
        batch.locals.push((any_path(dice), sample::local(dice)));
    }
    let touched: BTreeSet<&RelPath> = batch.puts.iter().map(|(path, _)| path).collect();
    let dead = model.entries.iter().filter(|(_, entry)| !entry.record.is_live());
    let dead = dead.filter(|(path, _)| !touched.contains(path)).map(|(path, _)| path.clone());
    batch.drops = dead.filter(|_| dice.one_in(3)).collect();
    batch.drops.push(path("never/heard/of"));
    batch.marks = Some(sample::marks(dice)).filter(|_| dice.one_in(3));
    batch
}

/// Breaks one law of `batch`; `None` if it has nothing to break.
fn break_a_law(dice: &mut Dice, model: &Model, mut batch: Batch) -> Option<Batch> {
    let at = dice.below(batch.puts.len().max(1) as u64) as usize;
    let put = batch.puts.get_mut(at)?;
    match dice.below(6) {
        0 => put.1.seq = if at == 0 { model.last_seq } else { 0 },
        1 => put.1.record.dot.counter += 1 << 50,
        2 => put.0 = RelPath::root(),
        3 => {
            let mut again = put.clone();
            again.1.seq = batch.puts.last()?.1.seq + 1;
            batch.puts.push(again);
        }
        4 => {
            let live = model.entries.iter().find(|(_, entry)| entry.record.is_live())?;
            batch.drops.push(live.0.clone());
        }
        _ => {
            let (path, old) = model.entries.iter().find(|(_, e)| e.record.is_live())?;
            let mut other = old.clone();
            other.record.mode ^= 1;
            other.seq = model.last_seq + 1;
            batch = sample::puts(vec![(path.clone(), other)]);
        }
    }
    Some(batch)
}

/// Puts an index through `batch_count` random batches, closing and opening it now and then with
/// `reopen`, and compares it with the model after each; `also` looks at what only this index has.
pub(super) fn conforms<I: Index>(
    mut index: I,
    mut reopen: impl FnMut(I) -> I,
    also: impl Fn(&I, &Model, &mut Dice),
    seed: u64,
    batch_count: usize,
) {
    let mut dice = Dice::new(seed);
    let mut model = Model::default();
    model.agrees_with(&index, "an empty index");
    for step in 0..batch_count {
        let because = format!("seed {seed}, batch {step}");
        let batch = any_batch(&mut dice, &model);
        if dice.one_in(3)
            && let Some(broken) = break_a_law(&mut dice, &model, batch.clone())
        {
            let told = index.commit(broken);
            assert!(matches!(told, Err(IndexError::Unlawful { .. })), "{because}: {told:?}");
        }
        model.commit(batch.clone());
        index.commit(batch).unwrap_or_else(|error| panic!("{because}: {error}"));
        model.spot_check(&index, &mut dice, &because);
        also(&index, &model, &mut dice);
        if dice.one_in(8) {
            index = reopen(index);
        }
        if dice.one_in(8) {
            model.agrees_with(&index, &because);
        }
    }
    index = reopen(index);
    model.agrees_with(&index, &format!("seed {seed}, at the end"));
}

/// What a [`FolderIndex`] has beside the contract.
fn folder_agrees(index: &FolderIndex, model: &Model, dice: &mut Dice) {
    assert_eq!(index.summary().unwrap(), model.summary());
    let dir = dice.pick(&[RelPath::root(), path("a"), path("wide"), path("no")]);
    let mut walked = Vec::new();
    let mut see = |path: &RelPath, entry: &Entry| {
        walked.push((path.clone(), entry.clone()));
        true
    };
    index.walk(&dir, &mut see).unwrap();
    let below = model.entries.iter().filter(|(path, _)| path.is_below(&dir));
    let below: Vec<_> = below.map(|(path, entry)| (path.clone(), entry.clone())).collect();
    assert_eq!(walked, below, "{dir}");
    let limit = 1 + dice.below(200) as usize;
    let mut paged: Vec<(RelPath, Entry)> = Vec::new();
    loop {
        let after = paged.last().map(|(path, _)| path.name().to_vec());
        let more = index.children_from(&dir, after.as_deref(), limit).unwrap();
        assert!(more.len() <= limit);
        if more.is_empty() {
            break;
        }
        paged.extend(more);
    }
    assert_eq!(paged, model.children(&dir), "{dir}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_index_in_memory_is_an_index(seed: u64) {
        conforms(MemIndex::default(), |index| index, |_, _, _| {}, seed, 25);
    }

    #[test]
    fn the_index_on_disk_is_an_index(seed: u64) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        let folder = FolderId::parse("work").unwrap();
        let other = FolderId::parse("other").unwrap();
        let open = || Store::open(&dir).unwrap().0;
        let store = open();
        let stranger = sample::puts(vec![(path("a"), sample::file("stranger", 9))]);
        store.folder(&other).commit(stranger).unwrap();
        let index = store.folder(&folder);
        drop(store);
        let reopen = |index: FolderIndex| {
            drop(index);
            open().folder(&folder)
        };
        conforms(index, reopen, folder_agrees, seed, 25);
        let store = open();
        store.forget_folder(&folder).unwrap();
        Model::default().agrees_with(&store.folder(&folder), "a forgotten folder");
        prop_assert_eq!(store.folder(&other).changes(0, 9).unwrap(), vec![(9, path("a"))]);
    }
}
