//! What lies outside of the folder: as it was, and by the log of system calls not even touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Node, nodes, write};

/// A tree beside the folder that nobody may read or write.
#[derive(Debug)]
pub struct Outside {
    root: PathBuf,
    before: BTreeMap<PathBuf, (Node, Vec<u8>)>,
}

impl Outside {
    /// Makes it at `root`: files with the names that attacks go for, and a directory.
    ///
    /// # Panics
    /// When the disk does not take it.
    #[must_use]
    pub fn make(root: &Path) -> Self {
        for name in ["secret", "f", "d/f", "d/secret", "evil", "rules"] {
            write(&root.join(name), format!("outside: {name}\n"));
        }
        let mut outside = Self { root: root.to_path_buf(), before: BTreeMap::new() };
        outside.before = outside.now();
        outside
    }

    /// Returns where it lies.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Asserts that it is as it was: names, kinds, modes, times and bytes.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_untouched(&self, because: &str) {
        assert_eq!(self.now(), self.before, "{because}: what lies outside has changed");
    }

    fn now(&self) -> BTreeMap<PathBuf, (Node, Vec<u8>)> {
        let with_bytes = |(path, node): (PathBuf, Node)| {
            let bytes = fs::read(self.root.join(&path)).unwrap_or_default();
            (path, (node, bytes))
        };
        nodes(&self.root).into_iter().map(with_bytes).collect()
    }
}

/// Calls whose arguments are texts that a link holds, and no paths that are gone to.
const OF_TEXTS: [&str; 4] = ["symlink(", "symlinkat(", "readlink(", "readlinkat("];

/// Returns the lines in a log of `strace -y` in which a path below one of `forbidden` was named or
/// reached.
///
/// # Panics
/// When the log cannot be read or tells of nothing.
#[must_use]
pub fn traced(log: &Path, forbidden: &[&Path]) -> Vec<String> {
    let text = fs::read(log).expect("strace writes its log");
    let text = String::from_utf8_lossy(&text);
    assert!(text.lines().count() > 100, "the daemon does more than nothing");
    let reaches = |line: &str| {
        let call = line.split_whitespace().find(|word| word.contains('(')).unwrap_or_default();
        let is_text = OF_TEXTS.iter().any(|name| call.starts_with(name))
            || line.contains("<... readlink")
            || line.contains("<... symlink");
        forbidden.iter().any(|dir| {
            let dir = dir.display().to_string();
            line.contains(&format!("<{dir}")) || !is_text && line.contains(&format!("\"{dir}"))
        })
    };
    text.lines().filter(|line| reaches(line)).map(str::to_owned).collect()
}
