//! The rule files of one folder, read and asked.
//!
//! # Invariants
//! - Rules that do not parse, or miss an include, change nothing: the last good ones stay. With
//!   none yet, only the rule files themselves are synced.
//! - Another device's rules that may let through more wait for a person; see `confirm`.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use ignore_rules::Rules;
use syncd_core::engine::Scope as CoreScope;
use syncd_core::model::{DeviceId, Kind, RelPath};

use super::confirm::{Texts, Whose, is_joined, whose};

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
    /// What the rule files said when they were last taken; `None` until then.
    confirmed: RwLock<Option<Texts>>,
    me: DeviceId,
    root: Root,
}

/// Tells what a rule file says, or why it cannot be read.
type TextOf<'a> = dyn Fn(&RelPath, &mut Option<BadRules>) -> Option<Vec<u8>> + 'a;

/// What rule files come to.
struct Found {
    rules: Rules,
    problem: Option<BadRules>,
    files: BTreeSet<RelPath>,
    texts: Texts,
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
    /// Whose rules they are.
    pub(super) whose: Whose,
    /// What to remember as confirmed, if that is new.
    pub(super) kept: Option<Texts>,
}

impl FolderScope {
    /// Makes a scope that knows no rules yet. `confirmed` is what a person confirmed in an earlier
    /// run.
    #[must_use]
    pub(super) fn new(root: Root, me: DeviceId, confirmed: Option<Texts>) -> Self {
        let confirmed = RwLock::new(confirmed);
        Self { rules: RwLock::default(), files: RwLock::default(), confirmed, me, root }
    }

    /// Confirms what the rule files say now, and returns that; `None` when they are bad.
    pub(super) fn confirm(&self, index: &FolderIndex) -> Option<Texts> {
        let found = self.parse(index, &Texts::new(), &|path, bad| self.text_of(path, bad));
        let texts = found.problem.is_none().then_some(found.texts)?;
        *self.confirmed.write().unwrap_or_else(PoisonError::into_inner) = Some(texts.clone());
        Some(texts)
    }

    /// Reads the rule files and takes them if they are good and a person need not confirm them.
    pub(super) fn read(&self, index: &FolderIndex) -> Reading {
        let found = self.parse(index, &Texts::new(), &|path, bad| self.text_of(path, bad));
        let files = found.files;
        let rules = match found.problem {
            None => found.rules,
            Some(problem) => {
                let changed = *self.files.read().unwrap_or_else(PoisonError::into_inner) != files;
                *self.files.write().unwrap_or_else(PoisonError::into_inner) = files.clone();
                return Reading {
                    problem: Some(problem),
                    files,
                    changed,
                    whose: Whose::Ours,
                    kept: None,
                };
            }
        };
        let confirmed = self.confirmed.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(confirmed) = confirmed.filter(|confirmed| *confirmed != found.texts) {
            let before = self.parse(index, &confirmed, &|path, bad| match path.as_bytes() {
                name if name == LOCAL.as_bytes() => self.text_of(path, bad),
                _ => confirmed.get(path).cloned(),
            });
            let widens = before.problem.is_none()
                && rules.widens(&before.rules)
                && is_joined(index, found.texts.len()).unwrap_or(true);
            let is_synced = |path: &RelPath| {
                !gives_git_orders(path) && !before.rules.verdict(path.as_bytes(), false).ignored
            };
            let whose = match widens {
                // What the index cannot tell is nobody's word.
                true => whose(&confirmed, &found.texts, self.me, &is_synced, index)
                    .unwrap_or(Whose::Unknown),
                false => Whose::Ours,
            };
            if whose != Whose::Ours {
                let changed = self.take(before.rules, &files);
                return Reading { problem: None, files, changed, whose, kept: None };
            }
        }
        let changed = self.take(rules, &files);
        let mut confirmed = self.confirmed.write().unwrap_or_else(PoisonError::into_inner);
        let kept = (confirmed.as_ref() != Some(&found.texts)).then(|| found.texts.clone());
        *confirmed = Some(found.texts);
        Reading { problem: None, files, changed, whose: Whose::Ours, kept }
    }

    /// Parses rule files whose texts `text_of` tells; `known` are some that may be gone by now.
    fn parse(&self, index: &FolderIndex, known: &Texts, text_of: &TextOf<'_>) -> Found {
        let (mut files, mut texts) = (BTreeSet::new(), Texts::new());
        let mut unreadable = None;
        let local = RelPath::parse(LOCAL).ok().and_then(|path| text_of(&path, &mut unreadable));
        let mut synced = |name: &str| {
            let path = RelPath::parse(name).ok()?;
            let text = text_of(&path, &mut unreadable);
            texts.extend(text.clone().map(|text| (path.clone(), text)));
            files.insert(path);
            text
        };
        let shared = synced(SHARED);
        let mut sources: Vec<(&str, &[u8])> = Vec::new();
        sources.extend(local.as_deref().map(|text| (LOCAL, text)));
        sources.extend(shared.as_deref().map(|text| (SHARED, text)));
        let parsed = Rules::parse(&sources, &mut synced);
        let (mut rules, problem) = match (unreadable, parsed) {
            // What a file that cannot be read ignores is not known: nothing may come of that.
            (Some(bad), _) => (Rules::default(), Some(bad)),
            (None, Ok(rules)) => (rules, None),
            (None, Err(error)) => {
                let file = RelPath::parse(&error.file).unwrap_or_else(|_| RelPath::root());
                let what = format!("line {}: {}", error.line, error.reason);
                (Rules::default(), Some(BadRules { file, what }))
            }
        };
        if problem.is_none() && rules.wants_gitignore() {
            for path in gitignores(index, known) {
                // One that cannot be read is git's to complain about.
                if let Some(text) = text_of(&path, &mut None) {
                    let dir = path.parent().unwrap_or_else(RelPath::root);
                    rules.set_gitignore(dir.as_bytes(), Some(&text));
                    texts.insert(path.clone(), text);
                }
                files.insert(path);
            }
        }
        Found { rules, problem, files, texts }
    }

    fn take(&self, rules: Rules, files: &BTreeSet<RelPath>) -> bool {
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files.clone();
        let mut held = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let changed = held.as_deref() != Some(&rules);
        *held = Some(Arc::new(rules));
        changed
    }

    /// Reads a rule file; `None` when there is none, or when it cannot be read: then `unreadable`
    /// says why.
    fn text_of(&self, path: &RelPath, unreadable: &mut Option<BadRules>) -> Option<Vec<u8>> {
        match self.bytes_of(path) {
            Ok(text) => text,
            Err(what) => {
                unreadable.get_or_insert(BadRules { file: path.clone(), what });
                None
            }
        }
    }

    fn bytes_of(&self, path: &RelPath) -> Result<Option<Vec<u8>>, String> {
        let fd = match self.root.open_file(path) {
            Ok(fd) => fd,
            // A single file has no rules: those beside it are others'.
            Err(
                DiskError::Missing { .. } | DiskError::NoWay { .. } | DiskError::Foreign { .. },
            ) => return Ok(None),
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

    /// Tells whether a change of `path` changes the rules, and no engine hears of it: the device's
    /// own rule file, git's, and what is read as rules and not synced.
    #[must_use]
    pub(super) fn is_read_here(&self, path: &RelPath) -> bool {
        let is_own = path.as_bytes() == LOCAL.as_bytes() || path.name() == b".gitignore";
        is_own || self.is_rule_file(path) && !self.synced(path, false)
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

/// Lists the paths of the folder's `.gitignore` files.
fn gitignores(index: &FolderIndex, known: &Texts) -> BTreeSet<RelPath> {
    let mut found = BTreeSet::from_iter(RelPath::parse(".gitignore"));
    found.extend(known.keys().filter(|path| path.name() == b".gitignore").cloned());
    // An index that cannot be read stops the folder elsewhere; here the root's file counts.
    let _ = index.walk(&RelPath::root(), &mut |path, entry| {
        if path.name() == b".gitignore" && entry.record.kind == Kind::File {
            found.insert(path.clone());
        }
        true
    });
    found
}

/// Tells whether git would run what lies at `path`, or take orders from it: hooks and settings of
/// a repository. They are never synced, whatever the rules say.
pub(in crate::run) fn gives_git_orders(path: &RelPath) -> bool {
    let names: Vec<Vec<u8>> =
        path.as_bytes().split(|byte| *byte == b'/').map(<[u8]>::to_ascii_lowercase).collect();
    let Some(at) = names.iter().position(|name| name == b".git") else { return false };
    let mut inside = &names[at + 1..];
    if matches!(inside.first().map(Vec::as_slice), Some(b"modules" | b"worktrees")) {
        let orders =
            |name: &Vec<u8>| matches!(&name[..], b"hooks" | b"config" | b"config.worktree");
        let from = inside.iter().position(orders).unwrap_or(inside.len());
        inside = &inside[from..];
    }
    matches!(inside.first().map(Vec::as_slice), Some(b"hooks" | b"config" | b"config.worktree"))
}

impl Scope for FolderScope {
    fn synced(&self, path: &RelPath, is_dir: bool) -> bool {
        if gives_git_orders(path) {
            return false;
        }
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

    fn heeds(&self, path: &RelPath) -> bool {
        self.synced(path, false) || self.synced(path, true) || self.is_read_here(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_git_orders_is_known() {
        for (path, orders, because) in [
            (".git/hooks", true, "the directory"),
            (".git/hooks/pre-commit", true, "what is in it"),
            ("a/.git/config", true, "of any repository"),
            ("a/.GIT/Hooks/x", true, "however it is written"),
            (".git/config.worktree", true, "of one worktree"),
            (".git/modules/sub/hooks/x", true, "of a repository inside"),
            (".git/HEAD", false, "that is data"),
            (".git/refs/heads/hooks", false, "a branch of that name"),
            ("hooks/config", false, "no repository's"),
            (".github/hooks/config", false, "no repository's"),
        ] {
            assert_eq!(gives_git_orders(&RelPath::parse(path).unwrap()), orders, "{because}");
        }
    }
}
