//! Comparing two trees on disk, without anything of the daemon's.
//!
//! # Invariants
//! - Bytes are compared, not digests of them.
//! - `.syncd` in the root is the daemon's own and is left out; nothing else is.
//! - The answer is sorted by path.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many differences are told; more tell nobody more.
const TOLD_MAX: usize = 20;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory. Its time changes with what lies in it, so it is nobody's.
    Directory {
        /// Its permissions.
        mode: u32,
    },
    /// A file.
    File {
        /// Its permissions.
        mode: u32,
        /// Its time of modification, in nanoseconds since 1970.
        mtime_ns: i128,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: PathBuf,
        /// Its own time of modification, in nanoseconds since 1970.
        mtime_ns: i128,
    },
    /// A fifo, socket or device.
    Other,
}

/// Returns all that lies below `root`, by path. What vanishes meanwhile is left out.
#[must_use]
pub fn nodes(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = fs::read_dir(root.join(&dir)) else { continue };
        for entry in entries.flatten() {
            let path = dir.join(entry.file_name());
            let Ok(meta) = fs::symlink_metadata(root.join(&path)) else { continue };
            if path == Path::new(".syncd") {
                continue;
            }
            let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
            let mode = meta.mode() & 0o777;
            let node = if meta.is_dir() {
                left.push(path.clone());
                Node::Directory { mode }
            } else if meta.is_file() {
                Node::File { mode, mtime_ns, size: meta.len() }
            } else if meta.is_symlink() {
                let target = fs::read_link(root.join(&path)).unwrap_or_default();
                Node::Symlink { target, mtime_ns }
            } else {
                Node::Other
            };
            found.insert(path, node);
        }
    }
    found
}

/// Returns how two trees differ, a sentence each, at most 20; empty when they do not.
///
/// Kind, bytes, permissions, times and link targets count.
#[must_use]
pub fn differences(here: &Path, there: &Path) -> Vec<String> {
    let (ours, theirs) = (nodes(here), nodes(there));
    let mut told = Vec::new();
    for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
        if told.len() == TOLD_MAX {
            told.push("and more".to_owned());
            break;
        }
        match (ours.get(path), theirs.get(path)) {
            (Some(a), Some(b)) if a != b => {
                told.push(format!("{}: {a:?} against {b:?}", path.display()));
            }
            (Some(Node::File { .. }), Some(_)) => {
                if !is_same(&here.join(path), &there.join(path)) {
                    told.push(format!("{}: other bytes", path.display()));
                }
            }
            (Some(_), Some(_)) => {}
            (ours, _) => {
                let side = if ours.is_some() { here } else { there };
                told.push(format!("{} lies only in {}", path.display(), side.display()));
            }
        }
    }
    told.sort();
    told
}

/// Tells whether two files hold the same bytes. One that cannot be read is like no other.
fn is_same(one: &Path, other: &Path) -> bool {
    let (Ok(mut one), Ok(mut other)) = (File::open(one), File::open(other)) else { return false };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        let read = one.by_ref().take(1 << 20).read_to_end(&mut left);
        if read.is_err() || other.by_ref().take(1 << 20).read_to_end(&mut right).is_err() {
            return false;
        }
        if left != right {
            return false;
        }
        if left.is_empty() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::{set_mode, set_mtime, write};
    use super::*;

    /// Makes the same small tree.
    fn tree(root: &Path) {
        write(&root.join("d/f"), "same");
        set_mtime(&root.join("d/f"), 1_000_000_000, 5);
        fs::create_dir(root.join("empty")).unwrap();
        symlink("d/f", root.join("l")).unwrap();
        let touched = std::process::Command::new("touch")
            .args(["-h", "-d", "@1000000000"])
            .arg(root.join("l"))
            .status()
            .unwrap();
        assert!(touched.success());
        write(&root.join(".syncd/id"), root.display().to_string());
    }

    type Change = fn(&Path);

    #[test]
    fn every_difference_is_seen_from_both_sides() {
        let rows: [(&str, Change, usize); 9] = [
            ("nothing", |_| {}, 0),
            (
                "other bytes of the same size and time",
                |r| {
                    write(&r.join("d/f"), "diff");
                    set_mtime(&r.join("d/f"), 1_000_000_000, 5);
                },
                1,
            ),
            ("a nanosecond", |r| set_mtime(&r.join("d/f"), 1_000_000_000, 6), 1),
            ("a file's mode", |r| set_mode(&r.join("d/f"), 0o600), 1),
            ("a directory's mode", |r| set_mode(&r.join("empty"), 0o700), 1),
            ("an empty directory is gone", |r| fs::remove_dir(r.join("empty")).unwrap(), 1),
            (
                "a link points elsewhere",
                |r| {
                    fs::remove_file(r.join("l")).unwrap();
                    symlink("d/g", r.join("l")).unwrap();
                },
                1,
            ),
            (
                "a link became what it points to",
                |r| {
                    fs::remove_file(r.join("l")).unwrap();
                    write(&r.join("l"), "same");
                },
                1,
            ),
            ("a file more", |r| write(&r.join("d/.syncd"), ""), 1),
        ];
        for (because, change, count) in rows {
            let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            tree(here.path());
            tree(there.path());
            change(there.path());
            for (one, other) in [(&here, &there), (&there, &here)] {
                let told = differences(one.path(), other.path());
                assert_eq!(told.len(), count, "{because}: {told:?}");
            }
        }
    }
}
