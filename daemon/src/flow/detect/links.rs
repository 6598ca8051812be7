//! Files with several names: a write through one of them is a write through all, and the system
//! tells of one name only.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use syncd_core::model::RelPath;

/// The names of inodes that have several, as far as looks came by them. A name that has gone
/// since costs one look in vain.
#[derive(Debug, Default)]
pub struct Links {
    names: RefCell<BTreeMap<u64, BTreeSet<RelPath>>>,
}

impl Links {
    /// Forgets everything: all names are about to be listed.
    pub(super) fn begin_anew(&self) {
        self.names.borrow_mut().clear();
    }

    /// Notes that `path` is a name of `inode`.
    pub(super) fn note(&self, inode: u64, path: &RelPath) {
        self.names.borrow_mut().entry(inode).or_default().insert(path.clone());
    }

    /// Lists the other names of `inode`, sorted.
    pub(super) fn others(&self, inode: u64, path: &RelPath) -> Vec<RelPath> {
        let names = self.names.borrow();
        let all = names.get(&inode).into_iter().flatten();
        all.filter(|name| *name != path).cloned().collect()
    }
}
