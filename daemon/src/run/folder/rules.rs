//! The rule files of one folder, read and asked.
//!
//! # Invariants
//! - Rules that do not parse, or miss an include, change nothing: the last good ones stay. With
//!   none yet, only the rule files themselves are synced.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use ignore_rules::Rules;
use syncd_core::engine::Scope as CoreScope;
use syncd_core::model::{Kind, RelPath};

use crate::flow::detect::Scope;
use crate::flow::index::FolderIndex;
use crate::world::disk::{DiskError, Root};

/// The device's own rules, never synced, asked first.
const LOCAL: &str = ".stignore.local";

/// The folder's rules, an ordinary synced file.
const SHARED: &str = ".stignore";

/// The largest rule file that is read, in bytes.
const RULE_BYTES_MAX: u64 = 4 << 20;

/// What is synced in a folder.
#[derive(Debug)]
pub struct FolderScope {
    /// `None` until the first good reading.
    rules: RwLock<Option<Arc<Rules>>>,
    files: RwLock<BTreeSet<RelPath>>,
    root: Root,
}

/// Why rule files give no rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRules {
    /// The file with the bad line, or that cannot be read.
    pub file: RelPath,
    /// What is wrong with it, and with which line.
    pub what: String,
}

/// What reading the rule files came to.
#[derive(Debug)]
pub(super) struct Reading {
    /// What is wrong, if anything; the rules are then as they were.
    pub(super) problem: Option<BadRules>,
    /// The synced files that hold rules.
    pub(super) files: BTreeSet<RelPath>,
    /// Whether anything is other than before.
    pub(super) changed: bool,
}

impl FolderScope {
    /// Makes a scope that knows no rules yet.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self { rules: RwLock::default(), files: RwLock::default(), root }
    }

    /// Reads the rule files and takes them if they are good.
    pub(super) fn read(&self, index: &FolderIndex) -> Reading {
        let mut files = BTreeSet::new();
        let mut unreadable = None;
        let local = self.text_of(LOCAL, &mut unreadable);
        let shared = self.text_of(SHARED, &mut unreadable);
        files.extend(RelPath::parse(SHARED));
        let mut sources: Vec<(&str, &[u8])> = Vec::new();
        if let Some(text) = &local {
            sources.push((LOCAL, text));
        }
        if let Some(text) = &shared {
            sources.push((SHARED, text));
        }
        let mut include = |name: &str| {
            files.extend(RelPath::parse(name));
            self.text_of(name, &mut unreadable)
        };
        let parsed = Rules::parse(&sources, &mut include);
        let problem = match (unreadable, parsed) {
            // What a file that cannot be read ignores is not known: nothing may come of that.
            (Some(bad), _) => bad,
            (None, Ok(mut rules)) => {
                if rules.wants_gitignore() {
                    self.feed_gitignores(&mut rules, index, &mut files);
                }
                let changed = self.take(rules, &files);
                return Reading { problem: None, files, changed };
            }
            (None, Err(error)) => BadRules {
                file: RelPath::parse(&error.file).unwrap_or_else(|_| RelPath::root()),
                what: format!("line {}: {}", error.line, error.reason),
            },
        };
        let changed = *self.files.read().unwrap_or_else(PoisonError::into_inner) != files;
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files.clone();
        Reading { problem: Some(problem), files, changed }
    }

    fn take(&self, rules: Rules, files: &BTreeSet<RelPath>) -> bool {
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files.clone();
        let mut held = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let changed = held.as_deref() != Some(&rules);
        *held = Some(Arc::new(rules));
        changed
    }

    fn feed_gitignores(
        &self,
        rules: &mut Rules,
        index: &FolderIndex,
        files: &mut BTreeSet<RelPath>,
    ) {
        let mut found = BTreeSet::from_iter(RelPath::parse(".gitignore"));
        // An index that cannot be read stops the folder elsewhere; here the root's file counts.
        let _ = index.walk(&RelPath::root(), &mut |path, entry| {
            if path.name() == b".gitignore" && entry.record.kind == Kind::File {
                found.insert(path.clone());
            }
            true
        });
        for path in found {
            // One that cannot be read is git's to complain about.
            if let Ok(Some(text)) = self.bytes_of(&path) {
                let dir = path.parent().unwrap_or_else(RelPath::root);
                rules.set_gitignore(dir.as_bytes(), Some(&text));
            }
            files.insert(path);
        }
    }

    /// Reads a rule file; `None` when there is none, or when it cannot be read: then `unreadable`
    /// says why.
    fn text_of(&self, name: &str, unreadable: &mut Option<BadRules>) -> Option<Vec<u8>> {
        let file = RelPath::parse(name).ok()?;
        match self.bytes_of(&file) {
            Ok(text) => text,
            Err(what) => {
                unreadable.get_or_insert(BadRules { file, what });
                None
            }
        }
    }

    fn bytes_of(&self, path: &RelPath) -> Result<Option<Vec<u8>>, String> {
        let fd = match self.root.open_file(path) {
            Ok(fd) => fd,
            Err(DiskError::Missing { .. } | DiskError::NoWay { .. }) => return Ok(None),
            Err(DiskError::OtherKind { .. }) => return Err("it is no file".to_owned()),
            Err(error) => return Err(error.trouble().to_string()),
        };
        let refused = |error: std::io::Error| error.to_string();
        let file = std::fs::File::from(fd);
        if file.metadata().map_err(refused)?.len() > RULE_BYTES_MAX {
            return Err("it has more than 4 MiB".to_owned());
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut { file }, &mut text).map_err(refused)?;
        Ok(Some(text))
    }

    /// Tells which rule decides on `path`.
    #[must_use]
    pub fn verdict(&self, path: &RelPath, is_dir: bool) -> Option<ignore_rules::Verdict> {
        Some(self.rules()?.verdict(path.as_bytes(), is_dir))
    }

    fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_rule_file(&self, path: &RelPath) -> bool {
        self.files.read().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Returns the same scope in the form the engine asks.
    #[must_use]
    pub fn for_engine(self: &Arc<Self>) -> CoreScope {
        let scope = Arc::clone(self);
        CoreScope::new(move |path, is_dir| scope.synced(path, is_dir))
    }
}

impl Scope for FolderScope {
    fn synced(&self, path: &RelPath, is_dir: bool) -> bool {
        if path.is_reserved() || path.as_bytes() == LOCAL.as_bytes() || !self.root.is_ours(path) {
            return false;
        }
        match self.rules() {
            Some(rules) => !rules.verdict(path.as_bytes(), is_dir).ignored,
            None => self.is_rule_file(path),
        }
    }

    fn descend(&self, dir: &RelPath) -> bool {
        if dir.is_reserved() {
            return false;
        }
        self.rules().is_none_or(|rules| rules.may_hold_synced(dir.as_bytes()))
    }
}

/// Tells whether a change of `path` may change the rules.
#[must_use]
pub(super) fn is_local_rule_file(path: &RelPath) -> bool {
    path.as_bytes() == LOCAL.as_bytes() || path.name() == b".gitignore"
}
