//! The tree in memory: nodes by number, directories by folded name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo};

use super::Form;
use super::names::{decomposed, folded};

/// The names in a directory: as listed and the node, by what the disk takes them for.
pub(super) type Names = BTreeMap<String, (String, u64)>;

/// Everything there is.
#[derive(Debug)]
pub(super) struct Tree {
    form: Form,
    nodes: BTreeMap<u64, Node>,
    last: u64,
}

/// One thing.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) attr: FileAttr,
    pub(super) what: What,
    pub(super) attributes: BTreeMap<OsString, Vec<u8>>,
    /// Whether the kernel knows nothing of it any more.
    pub(super) forgotten: bool,
}

/// What a thing is.
#[derive(Debug, Clone)]
pub(super) enum What {
    Directory(Names),
    File(Vec<u8>),
    Link(Vec<u8>),
    Socket,
}

impl Tree {
    pub(super) fn new(form: Form) -> Self {
        let mut tree = Self { form, nodes: BTreeMap::new(), last: 0 };
        // The first one is the top directory, as the kernel takes for granted.
        tree.add(What::Directory(BTreeMap::new()), 0o755);
        tree
    }

    pub(super) fn node(&self, ino: INodeNo) -> Result<&Node, Errno> {
        self.nodes.get(&ino.0).ok_or(Errno::ENOENT)
    }

    pub(super) fn node_mut(&mut self, ino: INodeNo) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino.0).ok_or(Errno::ENOENT)
    }

    fn names_mut(&mut self, dir: INodeNo) -> Result<&mut Names, Errno> {
        match &mut self.node_mut(dir)?.what {
            What::Directory(names) => Ok(names),
            What::File(_) | What::Link(_) | What::Socket => Err(Errno::ENOTDIR),
        }
    }

    /// Returns the names in a directory; none where there is no directory.
    pub(super) fn names(&self, dir: INodeNo) -> Names {
        match self.node(dir).map(|node| &node.what) {
            Ok(What::Directory(names)) => names.clone(),
            _ => Names::new(),
        }
    }

    /// Returns all nodes, by number.
    pub(super) fn nodes_mut(&mut self) -> &mut BTreeMap<u64, Node> {
        &mut self.nodes
    }

    /// Returns what this disk takes a name for.
    fn key(&self, name: &str) -> String {
        match self.form {
            Form::Exact => name.to_owned(),
            Form::Kept | Form::Decomposed => folded(name),
        }
    }

    /// Lists a directory: names as they were given, and what they are.
    pub(super) fn list(&self, dir: INodeNo) -> Result<Vec<(String, u64, FileType)>, Errno> {
        let What::Directory(names) = &self.node(dir)?.what else { return Err(Errno::ENOTDIR) };
        let listed = names.values().map(|(name, ino)| {
            let kind = self.nodes.get(ino).map_or(FileType::RegularFile, |node| node.attr.kind);
            (name.clone(), *ino, kind)
        });
        Ok(listed.collect())
    }

    pub(super) fn find(&mut self, dir: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let key = self.key(text(name)?);
        let ino = self.names_mut(dir)?.get(&key).map(|(_, ino)| *ino).ok_or(Errno::ENOENT)?;
        let node = self.node_mut(INodeNo(ino))?;
        node.forgotten = false;
        Ok(node.attr)
    }

    fn add(&mut self, what: What, mode: u32) -> u64 {
        self.last += 1;
        let (ino, now) = (self.last, SystemTime::now());
        let (kind, size) = match &what {
            What::Directory(_) => (FileType::Directory, 0),
            What::File(bytes) => (FileType::RegularFile, bytes.len()),
            What::Link(target) => (FileType::Symlink, target.len()),
            What::Socket => (FileType::Socket, 0),
        };
        let attr = FileAttr {
            ino: INodeNo(ino),
            size: size as u64,
            blocks: 1,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind,
            perm: (mode & 0o7777) as u16,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        self.nodes.insert(ino, Node { attr, what, attributes: BTreeMap::new(), forgotten: false });
        ino
    }

    /// Makes something under a new name.
    pub(super) fn make(
        &mut self,
        dir: INodeNo,
        name: &OsStr,
        what: What,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        text(name)?;
        let ino = self.add(what, mode);
        self.enter(dir, name, ino)?;
        Ok(self.node(INodeNo(ino))?.attr)
    }

    fn enter(&mut self, dir: INodeNo, name: &OsStr, ino: u64) -> Result<(), Errno> {
        let name = text(name)?;
        let listed = match self.form {
            Form::Exact | Form::Kept => name.to_owned(),
            Form::Decomposed => decomposed(name),
        };
        let key = self.key(name);
        self.names_mut(dir)?.insert(key, (listed, ino));
        self.touch(dir)
    }

    /// Gives a file another name.
    pub(super) fn link(
        &mut self,
        ino: INodeNo,
        dir: INodeNo,
        name: &OsStr,
    ) -> Result<FileAttr, Errno> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.enter(dir, name, ino.0)?;
        let node = self.node_mut(ino)?;
        node.attr.nlink += 1;
        node.attr.ctime = SystemTime::now();
        Ok(node.attr)
    }

    /// Takes a name away; `directory` says what must lie there.
    pub(super) fn remove(
        &mut self,
        dir: INodeNo,
        name: &OsStr,
        directory: bool,
    ) -> Result<(), Errno> {
        let there = self.find(dir, name)?;
        match &self.node(there.ino)?.what {
            What::Directory(_) if !directory => return Err(Errno::EISDIR),
            What::Directory(names) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            What::File(_) | What::Link(_) | What::Socket if directory => {
                return Err(Errno::ENOTDIR);
            }
            What::Directory(_) | What::File(_) | What::Link(_) | What::Socket => {}
        }
        let key = self.key(text(name)?);
        self.names_mut(dir)?.remove(&key);
        self.touch(dir)?;
        // The node stays for whoever has it open.
        let node = self.node_mut(there.ino)?;
        node.attr.nlink = node.attr.nlink.saturating_sub(1);
        node.attr.ctime = SystemTime::now();
        Ok(())
    }

    /// Moves a name. An exchange leaves both names spelt as they are.
    pub(super) fn rename(
        &mut self,
        (dir, name): (INodeNo, &OsStr),
        (new_dir, new_name): (INodeNo, &OsStr),
        flags: fuser::RenameFlags,
    ) -> Result<(), Errno> {
        let moved = self.find(dir, name)?;
        let replaced = self.find(new_dir, new_name).ok();
        let (key, new_key) = (self.key(text(name)?), self.key(text(new_name)?));
        let is_itself = (dir, &key) == (new_dir, &new_key);
        if flags.contains(fuser::RenameFlags::RENAME_EXCHANGE) {
            let other = replaced.ok_or(Errno::ENOENT)?;
            for (dir, key, ino) in [(dir, key, other.ino), (new_dir, new_key, moved.ino)] {
                if let Some(entry) = self.names_mut(dir)?.get_mut(&key) {
                    entry.1 = ino.0;
                }
                self.touch(ino)?;
            }
            return Ok(());
        }
        if let Some(replaced) = replaced.filter(|_| !is_itself) {
            if flags.contains(fuser::RenameFlags::RENAME_NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            self.remove(new_dir, new_name, replaced.kind == FileType::Directory)?;
        }
        self.names_mut(dir)?.remove(&key);
        self.enter(new_dir, new_name, moved.ino.0)?;
        self.touch(dir)?;
        self.node_mut(moved.ino)?.attr.ctime = SystemTime::now();
        Ok(())
    }

    fn touch(&mut self, ino: INodeNo) -> Result<(), Errno> {
        let now = SystemTime::now();
        let node = self.node_mut(ino)?;
        node.attr.ctime = now;
        if node.attr.kind == FileType::Directory {
            node.attr.mtime = now;
        }
        Ok(())
    }
}

fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EILSEQ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_spelt_and_listed_as_the_form_says() {
        for (form, listed) in
            [(Form::Kept, "\u{c9}t\u{e9}"), (Form::Decomposed, "E\u{301}te\u{301}")]
        {
            let mut tree = Tree::new(form);
            let file = What::File(Vec::new());
            tree.make(INodeNo::ROOT, OsStr::new("\u{c9}t\u{e9}"), file, 0o644).unwrap();
            for name in ["\u{e9}t\u{e9}", "E\u{301}TE\u{301}", "\u{c9}t\u{e9}"] {
                assert!(tree.find(INodeNo::ROOT, OsStr::new(name)).is_ok(), "{form:?}: {name}");
            }
            assert!(tree.find(INodeNo::ROOT, OsStr::new("Ete")).is_err(), "{form:?}");
            assert_eq!(tree.list(INodeNo::ROOT).unwrap()[0].0, listed, "{form:?}");
        }
    }
}
