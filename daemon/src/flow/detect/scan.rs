//! The scanner: compares what lies on the disk with what the index knows.
//!
//! # Invariants
//! - Nothing is told as gone but what a whole listing did not name and a `stat` did not find.
//!   An error hides what lies behind it and makes nothing gone.
//! - Nothing is told that the scope leaves out; nothing is told as gone that was not settled here.
//! - A directory is told before what lies in it, and as gone after what lay in it.
//! - FIFOs, sockets and devices are never opened; other file systems are never entered.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use syncd_core::flow::detect::Look;
use syncd_core::flow::index::{IndexError, Known};
use syncd_core::flow::settle::Trouble;
use syncd_core::model::{ContentId, Entry, Kind, RelPath, StatKey};

use super::batch::Batch;
use super::{Links, LookReport, Problem, Scope, Sink, UNTRUSTED_CTIME};
use crate::flow::digest::{is_fresh, now_ns};
use crate::world::disk::{DiskError, Listed, Lstat, Odd, Root, Unclosed, trouble_of};

/// Looks at one folder's root.
#[derive(Clone, Copy)]
pub struct Scanner<'a> {
    /// The root.
    pub root: &'a Root,
    /// The folder's index.
    pub known: &'a dyn Known,
    /// What is synced.
    pub scope: &'a dyn Scope,
    /// For how long after a change a `stat` of this file system proves nothing: see
    /// [`crate::flow::digest::window_ns`].
    pub window_ns: i64,
    /// Which files have several names, from look to look.
    pub links: &'a Links,
    /// Which files are still being written, as far as is known.
    pub unclosed: &'a Unclosed,
}

/// One look under way.
struct Walk<'a, 's> {
    at: Scanner<'a>,
    batch: Batch,
    /// Whether it comes across files of which nothing may have been heard yet.
    is_wide: bool,
    report: LookReport,
    sink: &'s mut dyn Sink,
    /// Directories still to be listed, the next one last.
    dirs: Vec<RelPath>,
}

impl Scanner<'_> {
    /// Looks, and tells `sink` whatever differs from the index. Attest the root before and after.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read. What the disk does is in the report.
    pub fn look(&self, look: &Look, sink: &mut dyn Sink) -> Result<LookReport, IndexError> {
        let report = LookReport { complete: true, ..LookReport::default() };
        let (path, mut deep) = match look {
            Look::Path(path) => (path, false),
            Look::Tree(path) => (path, true),
        };
        let (batch, dirs) = (Batch::default(), Vec::new());
        let mut walk = Walk { at: *self, batch, is_wide: deep, report, sink, dirs };
        if path.is_root() {
            if deep {
                self.links.begin_anew();
                walk.dirs.push(RelPath::root());
            }
        } else if walk.leads_to(path) {
            deep = walk.one(path, deep)?;
        }
        while let Some(dir) = walk.dirs.pop() {
            if walk.report.broken_off || walk.sink.is_over() {
                walk.report.broken_off = true;
                break;
            }
            walk.directory(&dir)?;
        }
        walk.tell();
        walk.report.complete &= !walk.report.broken_off;
        if deep && !walk.report.broken_off {
            walk.report.covered.push(path.clone());
        }
        Ok(walk.report)
    }
}

impl Walk<'_, '_> {
    /// Tells whether the scope lets a walk from the root come to `path`.
    fn leads_to(&self, path: &RelPath) -> bool {
        self.at.root.is_ours(path) && path.ancestors().all(|dir| self.at.scope.descend(&dir))
    }

    /// Looks at one name, and below it if `deep` or if a directory's mode was changed: it may
    /// have been closed to us until now. Tells whether all below it was looked at.
    fn one(&mut self, path: &RelPath, deep: bool) -> Result<bool, IndexError> {
        let entry = self.at.known.get(path)?;
        self.report.names += 1;
        let there = match self.at.root.stat(path) {
            Ok(Some(there)) => match self.at.root.spelt(path) {
                // What was heard of has another name: the file system changed it, or it is a twin.
                Ok(Some(real)) if real != *path => {
                    self.one(&real, deep)?;
                    Ok(None)
                }
                Ok(spelt) => Ok(spelt.map(|_| there)),
                Err(error) => Err(error),
            },
            answer => answer,
        };
        match there {
            Ok(Some(there)) => {
                self.parents_first(path)?;
                let seen = entry.as_ref().and_then(|entry| entry.local.seen);
                let deep = deep || seen.is_some_and(|seen| seen.mode != there.key.mode);
                self.there(path, entry.as_ref(), &there)?;
                if !deep {
                    self.dirs.clear();
                }
                return Ok(deep || there.kind != Some(Kind::Directory));
            }
            Ok(None) => self.missing(path, entry.as_ref())?,
            Err(error) => {
                self.hidden(path, &error);
                return Ok(deep);
            }
        }
        Ok(true)
    }

    /// Tells the directories above `path` that the index does not hold yet, so that no one hears
    /// of a child before its directory.
    fn parents_first(&mut self, path: &RelPath) -> Result<(), IndexError> {
        let mut unknown = Vec::new();
        for dir in path.ancestors() {
            let entry = self.at.known.get(&dir)?;
            if entry.as_ref().is_some_and(|entry| entry.record.kind == Kind::Directory) {
                break;
            }
            unknown.push((dir, entry));
        }
        for (dir, entry) in unknown.into_iter().rev() {
            if let Ok(Some(there)) = self.at.root.stat(&dir) {
                self.there(&dir, entry.as_ref(), &there)?;
            }
        }
        self.dirs.clear();
        Ok(())
    }

    /// Looks at everything in one directory; its directories come later.
    fn directory(&mut self, dir: &RelPath) -> Result<(), IndexError> {
        let listed = self.at.root.open_dir(dir).and_then(|fd| {
            let mut names = self.at.root.names_in(dir, &fd)?;
            names.dedup_by(|a, b| a.name == b.name);
            Ok((fd, names))
        });
        let (fd, names) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.hidden(dir, &error);
                return Ok(());
            }
        };
        let first_dir = self.dirs.len();
        let mut known = self.at.known.children(dir)?.into_iter().peekable();
        for Listed { name, .. } in &names {
            while let Some((path, entry)) = known.next_if(|(path, _)| path.name() < &name[..]) {
                self.unlisted(&fd, &path, &entry)?;
            }
            let entry = known.next_if(|(path, _)| path.name() == &name[..]);
            match dir.join(name) {
                Ok(path) => self.listed(&fd, &path, entry.as_ref().map(|(_, entry)| entry))?,
                Err(_) => self.too_long(dir),
            }
        }
        for (path, entry) in known {
            self.unlisted(&fd, &path, &entry)?;
        }
        // The last one is taken first.
        self.dirs[first_dir..].reverse();
        Ok(())
    }

    /// Looks at a name that a listing gave.
    fn listed(
        &mut self,
        dir: &OwnedFd,
        path: &RelPath,
        entry: Option<&Entry>,
    ) -> Result<(), IndexError> {
        if !self.at.root.is_ours(path) {
            return Ok(());
        }
        self.report.names += 1;
        match self.at.root.stat_in(dir, path) {
            Ok(Some(there)) => self.there(path, entry, &there),
            // It went in between: the next look knows.
            Ok(None) => {
                self.report.again.push(path.clone());
                Ok(())
            }
            Err(error) => {
                self.hidden(path, &error);
                Ok(())
            }
        }
    }

    /// Looks at a name that the index knows and a listing did not give. Some file systems lose
    /// a name from a listing while it is being replaced, so the name itself is asked for.
    fn unlisted(&mut self, dir: &OwnedFd, path: &RelPath, entry: &Entry) -> Result<(), IndexError> {
        if !self.at.root.is_ours(path) || !entry.record.is_live() {
            return Ok(());
        }
        match self.at.root.stat_in(dir, path) {
            Ok(None) => self.missing(path, Some(entry)),
            // Where names are folded, the answer may be that of another name.
            Ok(Some(_)) if !self.at.root.is_spelt_so(path) => self.missing(path, Some(entry)),
            Ok(Some(there)) => self.there(path, Some(entry), &there),
            Err(error) => {
                self.hidden(path, &error);
                Ok(())
            }
        }
    }

    /// Compares a thing that lies at `path` with the index.
    fn there(
        &mut self,
        path: &RelPath,
        entry: Option<&Entry>,
        there: &Lstat,
    ) -> Result<(), IndexError> {
        let Some(kind) = there.kind else {
            if self.at.scope.synced(path, false) || self.at.scope.synced(path, true) {
                let odd = there.odd.unwrap_or(Odd::Unknown);
                self.report.unsupported.push((path.clone(), odd));
            }
            return Ok(());
        };
        let is_dir = kind == Kind::Directory;
        if is_dir && self.at.scope.descend(path) {
            self.dirs.push(path.clone());
        }
        if !is_dir && entry.is_some_and(|e| e.record.kind == Kind::Directory) {
            let (gone, _) = self.lost_below(path)?;
            self.batch.gone(gone);
        }
        let has_names = kind == Kind::File && there.nlink > 1;
        if has_names {
            self.at.links.note(there.key.inode, path);
        }
        if !self.at.scope.synced(path, is_dir) || is_as_known(entry, kind, &there.key) {
            return Ok(());
        }
        if has_names {
            self.report.again.extend(self.at.links.others(there.key.inode, path));
        }
        if self.batch.is_full_for(if kind == Kind::File { there.key.size } else { 0 }) {
            self.tell();
        }
        match kind {
            Kind::Directory => self.batch.directory(path.clone(), there.key),
            Kind::Symlink => self.symlink(path, there.key),
            Kind::File => {
                let before = entry.map(|entry| entry.record.content);
                let average = before.and_then(|content| self.sink.average_of(content));
                self.batch.file(path.clone(), there.key.size, average);
            }
            Kind::Tombstone => {}
        }
        Ok(())
    }

    fn symlink(&mut self, path: &RelPath, before: StatKey) {
        let now = now_ns();
        let target = self.at.root.read_link(path);
        let after = self.at.root.stat(path);
        match (target, after) {
            (Ok(target), Ok(Some(after))) if after.key == before => {
                let mut stat = StatKey { size: target.len() as u64, ..before };
                if is_fresh(&before, now, self.at.window_ns) {
                    stat.ctime_ns = UNTRUSTED_CTIME;
                    self.report.again.push(path.clone());
                }
                self.batch.symlink(path.clone(), stat, ContentId::of(&target));
            }
            (Err(error @ DiskError::Refused { .. }), _) => self.hidden(path, &error),
            _ => self.report.again.push(path.clone()),
        }
    }

    /// Tells that nothing lies at `path`, if the index held something there.
    fn missing(&mut self, path: &RelPath, entry: Option<&Entry>) -> Result<(), IndexError> {
        self.at.unclosed.heard(path, true);
        let Some(entry) = entry.filter(|entry| entry.record.is_live()) else { return Ok(()) };
        if entry.record.kind == Kind::Directory {
            let (gone, keeps) = self.lost_below(path)?;
            self.batch.gone(gone);
            if keeps {
                return Ok(());
            }
        }
        if self.is_ours_to_miss(path, entry) {
            self.batch.gone([path.clone()]);
        }
        if self.batch.is_full_for(0) {
            self.tell();
        }
        Ok(())
    }

    fn is_ours_to_miss(&self, path: &RelPath, entry: &Entry) -> bool {
        entry.local.is_here() && self.at.scope.synced(path, entry.record.kind == Kind::Directory)
    }

    /// Lists what the index held below a directory that is no more, children before their
    /// directory, and whether something live remains: what was never settled here, or what the
    /// scope leaves out. A directory above such a thing is not gone, since it lives elsewhere.
    fn lost_below(&self, dir: &RelPath) -> Result<(Vec<RelPath>, bool), IndexError> {
        let mut from_top = Vec::new();
        let mut dirs = vec![dir.clone()];
        while let Some(dir) = dirs.pop() {
            for (path, entry) in self.at.known.children(&dir)? {
                if !entry.record.is_live() || !self.at.root.is_ours(&path) {
                    continue;
                }
                if entry.record.kind == Kind::Directory {
                    dirs.push(path.clone());
                }
                let ours = self.is_ours_to_miss(&path, &entry);
                from_top.push((path, ours));
            }
        }
        from_top.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        let mut kept = BTreeSet::new();
        let mut gone = Vec::new();
        for (path, ours) in from_top {
            if ours && !kept.contains(&path) {
                gone.push(path);
            } else {
                kept.extend(path.parent());
            }
        }
        Ok((gone, kept.contains(dir)))
    }

    /// Takes note of an error that hides `path` and what lies below it.
    fn hidden(&mut self, path: &RelPath, error: &DiskError) {
        match error {
            // It was there a moment ago.
            DiskError::Missing { .. } | DiskError::NoWay { .. } | DiskError::OtherKind { .. } => {
                self.report.again.push(path.clone());
            }
            DiskError::OtherDevice { .. } => {
                self.report.unsupported.push((error.path().clone(), Odd::Mount));
            }
            DiskError::Foreign { .. } => {}
            DiskError::Refused { source, .. } => {
                let trouble = trouble_of(*source);
                self.report.complete = false;
                self.report.broken_off |= trouble == Trouble::Disk;
                if trouble == Trouble::Exhausted {
                    self.report.starved.push(Look::Tree(path.clone()));
                }
                self.report.problems.push(Problem::of(path.clone(), trouble));
            }
        }
    }

    /// Takes note of a name whose whole path is over the limit: it was never in the index.
    fn too_long(&mut self, dir: &RelPath) {
        self.report.problems.push(Problem {
            path: dir.clone(),
            what: "a name in it makes a path of more than 4,096 bytes".to_owned(),
            advice: "shorten the names above it, or ignore the directory in .stignore",
        });
    }

    fn tell(&mut self) {
        self.batch.tell(&self.at, self.is_wide, &mut self.report, self.sink);
    }
}

/// Tells whether the index says the same of a path as the disk.
fn is_as_known(entry: Option<&Entry>, kind: Kind, stat: &StatKey) -> bool {
    let Some(entry) = entry.filter(|e| e.record.kind == kind && e.local.is_here()) else {
        return false;
    };
    match (&entry.local.seen, kind) {
        (None, _) => false,
        // Its times and size change with every name in it.
        (Some(seen), Kind::Directory) => seen.inode == stat.inode && seen.mode == stat.mode,
        // Looked at each time, until its bytes are there again.
        (Some(_), Kind::File) if entry.is_emptied() => false,
        (Some(seen), Kind::File | Kind::Symlink | Kind::Tombstone) => seen == stat,
    }
}

#[cfg(test)]
mod tests;
