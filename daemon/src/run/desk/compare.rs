//! Comparing what lies at a path with what another device has, before a folder is taken. Changes
//! nothing, here or there.

use std::collections::BTreeMap;
use std::sync::Arc;

use ignore_rules::Rules;
use syncd_api::{ApiError, PathText};
use syncd_core::model::limits::WHOLE_BYTES_MAX;
use syncd_core::model::{ContentId, FolderId, Kind, Record, RelPath};
use syncd_core::protocol::{Body, Need, WantedItem};

use super::blocking;
use crate::flow::digest::{COARSE_WINDOW_NS, digest_file};
use crate::run::session::Peer;
use crate::world::disk::{Lstat, Root};

/// Paths that are listed of each kind.
const LISTED_MAX: usize = 1000;

/// Rule files that one another include.
const INCLUDES_MAX: usize = 100;

/// The rule files of a folder: one device's own, and the shared one.
const RULE_FILES: [&str; 2] = [".stignore.local", ".stignore"];

/// What two sides have of a folder. Directories do not count, nor does what the rules ignore.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Comparison {
    /// Files that are the same on both sides.
    pub(super) equal: u64,
    /// Files that lie only here.
    pub(super) only_here: Paths,
    /// Files that lie only there.
    pub(super) only_there: Paths,
    /// Files that differ in content or kind.
    pub(super) different: Paths,
}

/// Some paths, of which the first are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Paths {
    pub(super) count: u64,
    pub(super) first: Vec<PathText>,
}

impl Paths {
    fn add(&mut self, path: &RelPath, root: Option<&Root>) {
        self.count += 1;
        if self.first.len() < LISTED_MAX {
            let here = root.map(|root| root.path_here(path));
            self.first.push(PathText::of(here.as_deref().unwrap_or(path).as_bytes()));
        }
    }
}

/// What lies at a path on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct There {
    kind: Kind,
    size: u64,
    content: ContentId,
}

type Tree = BTreeMap<RelPath, There>;

/// Compares what lies below `root` with what `peer` has in `folder`; `None` for a root that is
/// not there yet.
///
/// # Errors
/// One sentence: the connection ended, or something here cannot be read.
pub(super) async fn compare(
    peer: &Arc<Peer>,
    folder: &FolderId,
    root: Option<Root>,
) -> Result<Comparison, ApiError> {
    let tree = fetch_tree(peer, folder).await?;
    let files = match &root {
        Some(root) if own_rules(root).is_some() => BTreeMap::new(),
        Some(_) | None => fetch_rules(peer, folder, &tree).await?,
    };
    blocking(move || meet(root.as_ref(), tree, &files)).await?
}

fn gone() -> ApiError {
    ApiError::could_not(
        "the connection to the other device ended while the two sides were compared; nothing is \
         changed, say it again",
    )
}

/// Asks for all that the peer has.
async fn fetch_tree(peer: &Arc<Peer>, folder: &FolderId) -> Result<Tree, ApiError> {
    let mut tree = Tree::new();
    let mut after = 0;
    loop {
        let listed = peer.list(folder.clone(), after).await.ok_or_else(gone)?;
        for (path, Record { kind, size, content, .. }) in listed.records {
            tree.insert(path, There { kind, size, content });
        }
        match listed.next {
            // A log that did not go on would be asked for ever.
            Some(next) if next > after => after = next,
            Some(_) | None => return Ok(tree),
        }
    }
}

/// Fetches the peer's rule file, which comes first when the folder is taken, and what it
/// includes.
async fn fetch_rules(
    peer: &Arc<Peer>,
    folder: &FolderId,
    tree: &Tree,
) -> Result<BTreeMap<String, Vec<u8>>, ApiError> {
    let mut files = BTreeMap::new();
    let mut wanted = vec![RULE_FILES[1].to_owned()];
    while let Some(name) = wanted.pop() {
        if files.contains_key(&name) || files.len() >= INCLUDES_MAX {
            continue;
        }
        let path = RelPath::parse(&name).ok();
        let found = path.and_then(|path| tree.get(&path).map(|there| (path, *there)));
        let Some((path, there)) = found.filter(|(_, there)| there.size <= WHOLE_BYTES_MAX) else {
            continue;
        };
        let text = fetch_text(peer, folder, path, there).await?;
        files.insert(name, text.unwrap_or_default());
        let mut missing = Vec::new();
        // Rules that do not parse yet name what they miss all the same.
        let _ = parsed(&files, &mut |name| {
            missing.push(name.to_owned());
            None
        });
        wanted.extend(missing);
    }
    Ok(files)
}

async fn fetch_text(
    peer: &Arc<Peer>,
    folder: &FolderId,
    path: RelPath,
    there: There,
) -> Result<Option<Vec<u8>>, ApiError> {
    let (kind, content) = (there.kind, there.content);
    let items = vec![WantedItem { path, kind, content, need: Need::Whole }];
    let mut answers = peer.want(folder.clone(), items).await.ok_or_else(gone)?;
    let haves = answers.came.recv().await;
    peer.forget(&answers);
    let body = haves.ok_or_else(gone)?.haves.into_iter().next().map(|have| have.body);
    Ok(match body {
        Some(Body::Whole(bytes)) if ContentId::of(&bytes) == content => Some(bytes),
        Some(Body::Whole(_) | Body::Blocks(_) | Body::Range { .. } | Body::NotThere) | None => None,
    })
}

/// Reads rules from files that were fetched; `more` is asked for those that were not.
fn parsed(
    files: &BTreeMap<String, Vec<u8>>,
    more: &mut dyn FnMut(&str) -> Option<Vec<u8>>,
) -> Option<Rules> {
    let shared = files.get(RULE_FILES[1]);
    let sources: Vec<(&str, &[u8])> =
        shared.iter().map(|text| (RULE_FILES[1], text.as_slice())).collect();
    let mut include = |name: &str| files.get(name).cloned().or_else(|| more(name));
    Rules::parse(&sources, &mut include).ok()
}

/// Reads the rules that lie here; `None` when there are none, or none that are good.
fn own_rules(root: &Root) -> Option<Rules> {
    let read = |name: &str| text_of(root, &RelPath::parse(name).ok()?);
    let texts = RULE_FILES.map(read);
    texts[1].as_ref()?;
    let named = RULE_FILES.iter().zip(&texts);
    let sources: Vec<(&str, &[u8])> =
        named.filter_map(|(name, text)| Some((*name, text.as_deref()?))).collect();
    Rules::parse(&sources, &mut |name: &str| read(name)).ok()
}

fn text_of(root: &Root, path: &RelPath) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::File::from(root.open_file(path).ok()?);
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 4 << 20), &mut text).ok()?;
    Some(text)
}

/// Lets the two sides meet. Blocks.
fn meet(
    root: Option<&Root>,
    mut tree: Tree,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Comparison, ApiError> {
    let own = root.and_then(own_rules);
    let mut rules = own.or_else(|| parsed(files, &mut |_| None)).unwrap_or_default();
    let mut met = Comparison::default();
    let mut dirs = Vec::from_iter(root.map(|_| RelPath::root()));
    while let (Some(dir), Some(root)) = (dirs.pop(), root) {
        let mut listed = root.list(&dir).map_err(|error| {
            let why = super::chain(&error);
            ApiError::could_not(format!("what lies here cannot be compared: {why}"))
        })?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let gitignore = dir.join(".gitignore").ok().and_then(|path| text_of(root, &path));
        if let Some(text) = gitignore.filter(|_| rules.wants_gitignore()) {
            rules.set_gitignore(dir.as_bytes(), Some(&text));
        }
        for listed in listed {
            let Ok(path) = dir.join(&listed.name) else { continue };
            let Some(lstat) = root.stat(&path).ok().flatten() else { continue };
            let is_dir = lstat.kind == Some(Kind::Directory);
            let ignored = rules.verdict(path.as_bytes(), is_dir).ignored;
            if is_dir && !path.is_reserved() && rules.may_hold_synced(path.as_bytes()) {
                dirs.push(path.clone());
            }
            let own = path.is_reserved() || path.as_bytes() == RULE_FILES[0].as_bytes();
            if !ignored && !own {
                here(root, &path, &lstat, &mut tree, &mut met);
            }
        }
    }
    for (path, there) in tree {
        if has_bytes(there.kind) && !rules.verdict(path.as_bytes(), false).ignored {
            met.only_there.add(&path, root);
        }
    }
    Ok(met)
}

fn has_bytes(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Symlink)
}

/// Compares one path that lies here.
fn here(root: &Root, path: &RelPath, lstat: &Lstat, tree: &mut Tree, met: &mut Comparison) {
    let there = tree.get(path).copied();
    let Some(kind) = lstat.kind else { return };
    match there {
        _ if kind == Kind::Directory && there.is_none_or(|t| t.kind == Kind::Directory) => {}
        None => met.only_here.add(path, Some(root)),
        Some(there) => {
            tree.remove(path);
            // Only bytes of one length need be read.
            let same = there.kind == kind && content_of(root, path, lstat, there) == Some(there);
            if same { met.equal += 1 } else { met.different.add(path, Some(root)) }
        }
    }
}

/// Returns what lies here as the other side would tell it; what cannot be read is nothing.
fn content_of(root: &Root, path: &RelPath, lstat: &Lstat, there: There) -> Option<There> {
    match there.kind {
        Kind::Symlink => {
            let target = root.read_link(path).ok()?;
            Some(There { content: ContentId::of(&target), size: target.len() as u64, ..there })
        }
        Kind::File if lstat.key.size == there.size => {
            let fd = root.open_file(path).ok()?;
            let content = digest_file(&fd, None, COARSE_WINDOW_NS).ok()?.content;
            Some(There { content, ..there })
        }
        Kind::File | Kind::Directory | Kind::Tombstone => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn there(text: &str) -> There {
        let content = ContentId::of(text.as_bytes());
        There { kind: Kind::File, size: text.len() as u64, content }
    }

    fn texts(paths: &Paths) -> Vec<&str> {
        paths.first.iter().map(|path| path.path.as_str()).collect()
    }

    #[test]
    fn what_lies_here_meets_what_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("same", "x"),
            ("longer", "xx"),
            ("other", "y"),
            ("mine", "x"),
            ("d/same", "x"),
            ("skip.log", "x"),
            (".git/config", "x"),
            (".syncd/id", "x"),
        ] {
            let at = dir.path().join(name);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, text).unwrap();
        }
        let mut tree: Tree = ["same", "longer", "other", "theirs", "d/same", "skip.log", "new.log"]
            .iter()
            .map(|name| (path(name), there("x")))
            .collect();
        tree.insert(path("d"), There { kind: Kind::Directory, ..there("") });
        let files = BTreeMap::from([(".stignore".to_owned(), b"*.log\n".to_vec())]);
        let root = Root::open(dir.path()).unwrap();
        let met = meet(Some(&root), tree.clone(), &files).unwrap();
        assert_eq!(met.equal, 2, "same and d/same");
        assert_eq!(texts(&met.different), ["longer", "other"]);
        assert_eq!(texts(&met.only_here), ["mine"]);
        assert_eq!(texts(&met.only_there), ["theirs"]);
        std::fs::write(dir.path().join(".stignore"), "o*\n").unwrap();
        let met = meet(Some(&root), tree.clone(), &files).unwrap();
        assert_eq!(texts(&met.different), ["longer"], "the rules here are asked first");
        assert_eq!(texts(&met.only_there), ["new.log", "theirs"]);
        let none = meet(None, tree, &files).unwrap();
        assert_eq!((none.equal, none.only_there.count), (0, 5), "nothing lies here yet");
    }
}
