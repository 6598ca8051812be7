//! A simulated disk: what lies at each path, and what was ever there.

use std::collections::{BTreeMap, BTreeSet};

use syncd_core::flow::detect::{Found, Look, Seen};
use syncd_core::flow::index::Known;
use syncd_core::flow::settle::{Expect, Job, Placed, SettleError, Step};
use syncd_core::model::{ContentId, Kind, RelPath, StatKey};

/// One thing on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Thing {
    /// File, directory or symlink.
    pub kind: Kind,
    /// Its bytes, by name.
    pub content: ContentId,
    /// Its modification time.
    pub mtime_ns: i64,
    /// Its mode.
    pub mode: u32,
    /// A number that changes with every change, as ctime and inode do together.
    pub stamp: u64,
    /// Whether its bytes survive a loss of power: what programs write, nobody makes durable.
    pub durable: bool,
}

impl Thing {
    pub(super) fn stat(&self) -> StatKey {
        StatKey {
            inode: self.stamp,
            size: u64::from(self.content != ContentId::of(b"")),
            mtime_ns: self.mtime_ns,
            ctime_ns: 0,
            mode: self.mode,
        }
    }
}

/// A disk with one folder on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    things: BTreeMap<RelPath, Thing>,
    /// Every content that was ever here: in place, in the trash, or in history.
    ever: BTreeSet<ContentId>,
    /// What programs have replaced or removed since the path was last made durable.
    earlier: BTreeMap<RelPath, BTreeSet<ContentId>>,
    stamp: u64,
}

impl Disk {
    /// Lists what lies there, by path.
    pub fn things(&self) -> impl Iterator<Item = (&RelPath, &Thing)> {
        self.things.iter()
    }

    /// Returns what lies at `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Thing> {
        self.things.get(path)
    }

    /// Tells whether `content` can be read from here.
    #[must_use]
    pub fn can_serve(&self, content: ContentId) -> bool {
        self.ever.contains(&content)
    }

    /// Lists, by path, the contents that a loss of power may bring back.
    pub fn earlier(&self) -> impl Iterator<Item = (&RelPath, &BTreeSet<ContentId>)> {
        self.earlier.iter()
    }

    /// Loses power as far as `path` is concerned: if the bytes there were not durable, they become
    /// `content` if they may, else what a write leaves that was half done. Returns what is there.
    pub fn lose_power(
        &mut self,
        path: &RelPath,
        content: ContentId,
        mtime_ns: i64,
    ) -> Option<ContentId> {
        let earlier = self.earlier.remove(path).unwrap_or_default();
        let there = self.things.get(path);
        if there.is_some_and(|thing| thing.kind != Kind::File || thing.durable) {
            return None;
        }
        let comes = earlier.contains(&content) || content == ContentId::of(b"");
        if there.is_none() && !earlier.contains(&content) {
            return None;
        }
        let torn = || ContentId::of(&[b"half of ", &content.0[..]].concat());
        let content = if comes { content } else { torn() };
        let lost = there.map(|thing| thing.content);
        self.put(path, Kind::File, content, mtime_ns, 0o644);
        // Nobody can be given bytes that are gone. Of an emptied file nobody is told, and whoever
        // wants it waits and says so: that is no rest the oracle knows.
        let is_emptied = content == ContentId::of(b"");
        self.ever.retain(|known| {
            let is_lost = Some(*known) == lost && !is_emptied;
            !is_lost || self.things.values().any(|thing| thing.content == *known)
        });
        Some(content)
    }

    /// Puts something at `path`, with the directories above it, as a user does.
    pub fn write(&mut self, path: &RelPath, kind: Kind, content: ContentId, mtime_ns: i64) {
        let above: Vec<RelPath> = path.ancestors().collect();
        for dir in above.into_iter().rev() {
            if self.things.get(&dir).is_none_or(|t| t.kind != Kind::Directory) {
                self.put(&dir, Kind::Directory, ContentId::NONE, 0, 0o755);
            }
        }
        let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
        let before = self.things.get(path).filter(|thing| thing.kind == Kind::File).cloned();
        let durable = before.as_ref().is_some_and(|b| b.content == content && b.durable);
        self.replaced(path, before.filter(|b| b.content != content));
        let earlier = self.earlier.remove(path);
        self.put(path, kind, content, mtime_ns, mode);
        self.earlier.extend(earlier.map(|earlier| (path.clone(), earlier)));
        if let Some(thing) = self.things.get_mut(path) {
            thing.durable = durable;
        }
    }

    /// Puts a thing at `path` that a user has moved there, bytes and all.
    pub fn move_to(&mut self, path: &RelPath, thing: &Thing) {
        self.write(path, thing.kind, thing.content, thing.mtime_ns);
        if let Some(moved) = self.things.get_mut(path) {
            moved.durable = thing.durable;
        }
    }

    fn replaced(&mut self, path: &RelPath, thing: Option<Thing>) {
        if let Some(thing) = thing.filter(|thing| thing.kind == Kind::File) {
            self.earlier.entry(path.clone()).or_default().insert(thing.content);
        }
    }

    /// Removes `path` and what lies below it; returns what was there.
    pub fn remove(&mut self, path: &RelPath) -> Vec<(RelPath, ContentId)> {
        self.take_away(path).into_iter().map(|(path, thing)| (path, thing.content)).collect()
    }

    /// Takes `path` and what lies below it away, to put it elsewhere.
    pub fn take_away(&mut self, path: &RelPath) -> Vec<(RelPath, Thing)> {
        let goes = |p: &RelPath| p == path || p.is_below(path);
        let gone: Vec<_> = self
            .things
            .iter()
            .filter(|(p, _)| goes(p))
            .map(|(p, t)| (p.clone(), t.clone()))
            .collect();
        self.things.retain(|p, _| !goes(p));
        for (path, thing) in &gone {
            self.replaced(path, Some(thing.clone()));
        }
        gone
    }

    /// Puts something at `path` for good.
    fn put(&mut self, path: &RelPath, kind: Kind, content: ContentId, mtime_ns: i64, mode: u32) {
        self.stamp += 1;
        self.ever.insert(content);
        let thing = Thing { kind, content, mtime_ns, mode, stamp: self.stamp, durable: true };
        self.earlier.remove(path);
        self.things.insert(path.clone(), thing);
    }

    /// Looks as the daemon does: reports what differs from the index.
    pub fn look(
        &self,
        what: &[Look],
        known: &impl Known,
        synced: &dyn Fn(&RelPath) -> bool,
    ) -> Seen {
        let mut seen = Seen::default();
        let mut gone = BTreeSet::new();
        for look in what {
            let (top, deep) = match look {
                Look::Path(path) => (path, false),
                Look::Tree(path) => (path, true),
            };
            let covers = |p: &RelPath| p == top || deep && p.is_below(top);
            for (path, thing) in self.things.iter().filter(|(p, _)| covers(p) && synced(p)) {
                let entry = known.get(path).ok().flatten();
                let same = entry.is_some_and(|e| {
                    let seen = e.local.seen == Some(thing.stat());
                    e.record.kind == thing.kind && seen && !e.is_emptied()
                });
                if !same {
                    seen.found.push(Found {
                        path: path.clone(),
                        kind: thing.kind,
                        stat: thing.stat(),
                        content: thing.content,
                    });
                }
            }
            self.missing(top, deep, known, &mut gone);
        }
        seen.gone = gone.into_iter().rev().collect();
        seen
    }

    fn missing(&self, top: &RelPath, deep: bool, known: &impl Known, gone: &mut BTreeSet<RelPath>) {
        let absent = |path: &RelPath, entry: &syncd_core::model::Entry| {
            entry.record.is_live() && entry.local.is_here() && !self.things.contains_key(path)
        };
        if let Ok(Some(entry)) = known.get(top)
            && absent(top, &entry)
        {
            gone.insert(top.clone());
        }
        if deep || self.things.get(top).is_none_or(|t| t.kind != Kind::Directory) {
            for (path, entry) in known.children(top).unwrap_or_default() {
                if absent(&path, &entry) {
                    gone.insert(path.clone());
                }
                self.missing(&path, true, known, gone);
            }
        }
    }

    /// Takes the steps of a job, checking what each expects.
    ///
    /// # Errors
    /// [`SettleError`] for the first step that finds something else; the steps before it stand.
    pub fn take(&mut self, job: &Job) -> Result<Vec<Placed>, SettleError> {
        let mut touched = BTreeSet::new();
        for step in &job.steps {
            self.step(step)?;
            let (Step::KeepAs { copy: path, .. }
            | Step::Place { path, .. }
            | Step::KeepForOthers { path, .. }
            | Step::Dress { path, .. }
            | Step::MakeDirectory { path, .. }
            | Step::Trash { path, .. }
            | Step::RemoveDirectory { path }) = step;
            touched.insert(path.clone());
        }
        let placed = |path: RelPath| {
            let stat = self.things.get(&path).map(Thing::stat);
            Placed { path, stat, durable: true }
        };
        Ok(touched.into_iter().map(placed).collect())
    }

    fn step(&mut self, step: &Step) -> Result<(), SettleError> {
        match step {
            Step::KeepAs { path, expect, copy } => {
                self.expect(path, expect)?;
                self.expect(copy, &Expect::Nothing)?;
                if let Some(thing) = self.things.get(path).cloned() {
                    self.put(copy, thing.kind, thing.content, thing.mtime_ns, thing.mode);
                }
            }
            Step::Place { path, expect, kind, content, mtime_ns, mode, .. } => {
                self.reachable(path)?;
                self.expect(path, expect)?;
                self.put(path, *kind, *content, *mtime_ns, *mode);
            }
            // This disk holds every name, so that no plan asks for it.
            Step::KeepForOthers { .. } => {}
            Step::Dress { path, expect, mtime_ns, mode } => {
                self.expect(path, expect)?;
                if let Some(thing) = self.things.get(path).cloned() {
                    self.put(path, thing.kind, thing.content, *mtime_ns, *mode);
                }
            }
            Step::MakeDirectory { path, mode } => {
                self.reachable(path)?;
                match self.things.get(path).map(|t| t.kind) {
                    Some(Kind::Directory) => {}
                    Some(_) => return Err(SettleError::Overtaken { path: path.clone() }),
                    None => self.put(path, Kind::Directory, ContentId::NONE, 0, *mode),
                }
            }
            Step::Trash { path, expect } => {
                self.expect(path, expect)?;
                self.things.remove(path);
                self.earlier.remove(path);
            }
            Step::RemoveDirectory { path } => {
                if self.things.get(path).is_some_and(|t| t.kind != Kind::Directory) {
                    return Err(SettleError::Overtaken { path: path.clone() });
                }
                if self.things.keys().any(|p| p.is_below(path)) {
                    return Err(SettleError::NotEmpty { path: path.clone() });
                }
                self.things.remove(path);
            }
        }
        Ok(())
    }

    fn expect(&self, path: &RelPath, expect: &Expect) -> Result<(), SettleError> {
        let there = self.things.get(path);
        let as_expected = match expect {
            Expect::Nothing => there.is_none(),
            // A directory's stamp moves with what happens in it; its kind is what counts.
            Expect::Known { kind: Kind::Directory, .. } => {
                there.is_some_and(|t| t.kind == Kind::Directory)
            }
            Expect::Known { kind, stat, content } => {
                there.is_some_and(|t| t.kind == *kind && t.stat() == *stat && t.content == *content)
            }
        };
        if as_expected { Ok(()) } else { Err(SettleError::Overtaken { path: path.clone() }) }
    }

    fn reachable(&self, path: &RelPath) -> Result<(), SettleError> {
        let is_dir = |p: &RelPath| self.things.get(p).is_some_and(|t| t.kind == Kind::Directory);
        match path.ancestors().all(|p| is_dir(&p)) {
            true => Ok(()),
            false => Err(SettleError::NoWay { path: path.clone() }),
        }
    }
}
