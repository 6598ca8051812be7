//! What a power loss leaves.
//!
//! As journalling file systems do (ext4, XFS, btrfs; Pillai et al., "All File Systems Are Not
//! Created Equal", OSDI 2014, has what they persist when): changes of names come to the disk in
//! their order, up to any one of them, and at least up to the last that a synced directory took
//! part in. The content of a file comes whenever it likes, and surely when it is synced.

use std::collections::{BTreeMap, BTreeSet};

use fuser::{Errno, FileType, INodeNo};

use super::tree::{Names, Node, Tree, What};

/// What of the changes that nobody made durable a power loss takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How many hundredths of the changes of names are still there, the earliest.
    pub names_kept: u8,
    /// What is left of contents.
    pub contents: Contents,
}

/// What a power loss leaves of contents that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// What was synced last; nothing, if it never was.
    Old,
    /// All that was written.
    New,
    /// The first half of what was written since, and behind it what was there before.
    Torn,
}

/// A change of a name: the directory, the name, and what it leads to from then on.
type Entry = (u64, String, Option<(String, u64)>);

/// What is durable, and what would become so.
#[derive(Debug)]
pub(super) struct Platter {
    names: BTreeMap<u64, Names>,
    /// Changes of names since, in order; those of one act go together.
    pending: Vec<Vec<Entry>>,
    files: BTreeMap<u64, Node>,
}

impl Platter {
    pub(super) fn new(tree: &Tree) -> Self {
        let top = INodeNo::ROOT;
        let names = BTreeMap::from([(top.0, tree.names(top))]);
        Self { names, pending: Vec::new(), files: BTreeMap::new() }
    }

    /// Notes what became of the names in directories that were as `before` tells.
    pub(super) fn note(&mut self, before: &[(u64, Names)], tree: &Tree) {
        let mut act = Vec::new();
        for (dir, old) in before {
            let new = tree.names(INodeNo(*dir));
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            act.extend(gone.map(|key| (*dir, key.clone(), None)));
            let came = new.iter().filter(|(key, there)| old.get(*key) != Some(there));
            act.extend(came.map(|(key, there)| (*dir, key.clone(), Some(there.clone()))));
        }
        if !act.is_empty() {
            self.pending.push(act);
        }
    }

    /// Makes a file, or the names in a directory and all that came before them, durable.
    pub(super) fn sync(&mut self, tree: &Tree, ino: INodeNo) -> Result<(), Errno> {
        let node = tree.node(ino)?;
        if node.attr.kind != FileType::Directory {
            self.files.insert(ino.0, node.clone());
            return Ok(());
        }
        let is_of_it = |act: &Vec<Entry>| act.iter().any(|(dir, ..)| *dir == ino.0);
        let upto = self.pending.iter().rposition(is_of_it).map_or(0, |last| last + 1);
        self.commit(upto);
        Ok(())
    }

    fn commit(&mut self, upto: usize) {
        for (dir, key, there) in self.pending.drain(..upto).flatten() {
            let names = self.names.entry(dir).or_default();
            match there {
                Some(there) => names.insert(key, there),
                None => names.remove(&key),
            };
        }
    }

    /// Leaves in `tree` what a power loss would.
    pub(super) fn lose(&mut self, tree: &mut Tree, loss: Loss) {
        let kept = self.pending.len() * usize::from(loss.names_kept.min(100)) / 100;
        self.commit(kept);
        self.pending.clear();
        for (ino, node) in tree.nodes_mut() {
            match &mut node.what {
                What::Directory(names) => {
                    *names = self.names.get(ino).cloned().unwrap_or_default();
                }
                What::File(_) => wear(node, self.files.get(ino), loss.contents),
                What::Link(_) | What::Socket => {}
            }
        }
        // What is there after a power loss is durable.
        let mut names = BTreeMap::from([(INodeNo::ROOT.0, 1)]);
        for (_, ino) in self.names.values().flat_map(Names::values) {
            *names.entry(*ino).or_insert(0) += 1;
        }
        for (ino, node) in tree.nodes_mut() {
            node.attr.nlink = names.get(ino).copied().unwrap_or_default();
            if node.attr.kind == FileType::RegularFile {
                self.files.insert(*ino, node.clone());
            }
        }
    }

    /// Gives back the room of what has no name, neither now nor after a power loss, and that
    /// nobody has open.
    pub(super) fn sweep(&mut self, tree: &mut Tree) {
        let durable = self.names.values().flat_map(Names::values).map(|(_, ino)| *ino);
        let coming = self.pending.iter().flatten().filter_map(|(.., there)| there.as_ref());
        let named: BTreeSet<u64> = durable.chain(coming.map(|(_, ino)| *ino)).collect();
        tree.nodes_mut().retain(|ino, node| {
            *ino == INodeNo::ROOT.0 || node.attr.nlink > 0 || !node.forgotten || named.contains(ino)
        });
        let nodes = tree.nodes_mut();
        self.files.retain(|ino, _| nodes.contains_key(ino));
        self.names.retain(|ino, _| nodes.contains_key(ino));
    }
}

/// Leaves of a file what a power loss would, where `synced` is what was durable of it.
fn wear(node: &mut Node, synced: Option<&Node>, left: Contents) {
    let What::File(bytes) = &mut node.what else { return };
    let old = match synced.map(|node| &node.what) {
        Some(What::File(old)) => old.as_slice(),
        _ => &[],
    };
    match (left, synced) {
        (Contents::New, _) => {}
        (Contents::Old, Some(synced)) => *node = synced.clone(),
        (Contents::Old, None) => bytes.clear(),
        (Contents::Torn, _) => {
            let alike = bytes.iter().zip(old).take_while(|(new, old)| new == old).count();
            for at in alike + (bytes.len() - alike) / 2..bytes.len() {
                bytes[at] = old.get(at).copied().unwrap_or(0);
            }
        }
    }
    if let What::File(bytes) = &node.what {
        node.attr.size = bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::Form;
    use super::*;

    const TOP: INodeNo = INodeNo::ROOT;

    /// A disk on which `old` is durable, was then written anew and renamed to `new`, and `late`
    /// was made after that; `synced` says what is synced in between.
    fn worn(synced: impl Fn(&mut Platter, &Tree, INodeNo)) -> (Tree, Platter) {
        let mut tree = Tree::new(Form::Exact);
        let mut platter = Platter::new(&tree);
        let act = |tree: &mut Tree, act: &dyn Fn(&mut Tree), platter: &mut Platter| {
            let before = [(TOP.0, tree.names(TOP))];
            act(tree);
            platter.note(&before, tree);
        };
        let make = |tree: &mut Tree, name: &str| {
            tree.make(TOP, OsStr::new(name), What::File(b"first".to_vec()), 0o644).unwrap();
        };
        act(&mut tree, &|tree| make(tree, "old"), &mut platter);
        let ino = tree.find(TOP, OsStr::new("old")).unwrap().ino;
        platter.sync(&tree, ino).unwrap();
        platter.sync(&tree, TOP).unwrap();
        tree.node_mut(ino).unwrap().what = What::File(b"second".to_vec());
        let (from, to) = ((TOP, OsStr::new("old")), (TOP, OsStr::new("new")));
        let flags = fuser::RenameFlags::empty();
        act(&mut tree, &|tree| tree.rename(from, to, flags).unwrap(), &mut platter);
        synced(&mut platter, &tree, ino);
        act(&mut tree, &|tree| make(tree, "late"), &mut platter);
        (tree, platter)
    }

    #[test]
    fn a_power_loss_takes_what_was_not_synced_and_nothing_else() {
        let nothing: fn(&mut Platter, &Tree, INodeNo) = |_, _, _| {};
        let file: fn(&mut Platter, &Tree, INodeNo) =
            |platter, tree, ino| platter.sync(tree, ino).unwrap();
        let dir: fn(&mut Platter, &Tree, INodeNo) =
            |platter, tree, _| platter.sync(tree, TOP).unwrap();
        let rows: [(_, _, _, &[&str], &str); 6] = [
            (nothing, 0, Contents::Old, &["old"], "first"),
            (nothing, 100, Contents::Old, &["late", "new"], "first"),
            (nothing, 50, Contents::New, &["new"], "second"),
            (nothing, 0, Contents::Torn, &["old"], "secst\0"),
            (file, 0, Contents::Old, &["old"], "second"),
            (dir, 0, Contents::Old, &["new"], "first"),
        ];
        for (synced, names_kept, contents, names, text) in rows {
            let (mut tree, mut platter) = worn(synced);
            let loss = Loss { names_kept, contents };
            platter.lose(&mut tree, loss);
            let there: Vec<_> = tree.names(TOP).into_keys().collect();
            assert_eq!(there, names, "{loss:?}");
            let name = if names.contains(&"new") { "new" } else { "old" };
            let ino = tree.find(TOP, OsStr::new(name)).unwrap().ino;
            let What::File(bytes) = &tree.node(ino).unwrap().what else { panic!("a file") };
            assert_eq!(String::from_utf8_lossy(bytes), text, "{loss:?}");
        }
    }
}
