//! Deletes that the brake stopped, rules of another device, and what a person decides of them.
//!
//! A folder has at most one batch of deletes of its own, which bears its id, one of each other
//! device, and one change of rules.

use jiff::Timestamp;
use syncd_api::{ApiError, FolderQuery, Held, HeldAnswer, HeldKind, PathText};
use syncd_core::engine::Event;
use syncd_core::flow::index::{Brake, Known};
use syncd_core::model::{FolderId, Kind, RelPath};

use super::resolve::put;
use super::status::remember;
use super::{FrontDesk, ask, blocking, look_at};
use crate::run::folder::{Folder, FolderThread};

/// What follows the folder's id in the id of held rules; no folder's id has such an end.
const RULES: &str = ":rules";

/// Paths that are shown.
const EXAMPLES_MAX: usize = 20;

impl FrontDesk {
    pub(super) async fn list_held(&self, query: FolderQuery) -> Result<Vec<Held>, ApiError> {
        let mut held = Vec::new();
        for folder in self.chosen(query.folder.as_deref())? {
            held.extend(self.held_rules(&folder).await);
            held.extend(self.held_of_peers(&folder).await);
            let inside = ask(&folder, |thread| {
                let files = held_files(thread);
                let examples = files.iter().take(EXAMPLES_MAX);
                let root = &thread.parts().root;
                let examples = examples.map(|path| PathText::of(root.path_here(path).as_bytes()));
                (files.len() as u64, examples.collect::<Vec<_>>())
            });
            let Some((files, examples)) = inside.await.filter(|(files, _)| *files > 0) else {
                continue;
            };
            let id = folder.id();
            let remembered = remember(&self.daemon.store.folder(id)).await.unwrap_or_default();
            held.push(Held {
                id: id.to_string(),
                folder: id.to_string(),
                kind: HeldKind::Deletes,
                device: None,
                files,
                of_files: remembered.summary.files,
                since: self.held_since(id),
                what: format!(
                    "a scan found {files} files gone; approved, they are deleted on the other \
                     devices too"
                ),
                remedy: format!(
                    "if they are meant: syncctl held approve {id}; if not, bring the files back \
                     or: syncctl held reject {id}"
                ),
                examples,
                lines: Vec::new(),
            });
        }
        held.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        Ok(held)
    }

    /// Returns the rules of another device that wait in a folder.
    async fn held_rules(&self, folder: &Folder) -> Option<Held> {
        let held = folder.standing().held_rules?;
        let id = folder.id();
        let device = self.name_of(&self.daemon.config(), held.by);
        let remembered = remember(&self.daemon.store.folder(id)).await.unwrap_or_default();
        let since_ms = i64::try_from(held.since_ms).unwrap_or_default();
        Some(Held {
            id: format!("{id}{RULES}"),
            folder: id.to_string(),
            kind: HeldKind::Rules,
            what: format!(
                "{device} changed the ignore rules; by them this device may send or take more"
            ),
            remedy: format!(
                "if that is meant: syncctl held approve {id}{RULES}; to write the old rules \
                 again, for all devices: syncctl held reject {id}{RULES}"
            ),
            device: Some(device),
            files: held.before.len() as u64,
            of_files: remembered.summary.files,
            since: Timestamp::from_millisecond(since_ms).unwrap_or_default(),
            examples: Vec::new(),
            lines: held.lines,
        })
    }

    /// Lists what other devices delete and what waits in a folder, away or not.
    async fn held_of_peers(&self, folder: &Folder) -> Vec<Held> {
        let id = folder.id();
        let remembered = remember(&self.daemon.store.folder(id)).await.unwrap_or_default();
        let mut held = Vec::new();
        for (device, brake) in &remembered.marks.brakes {
            let Brake::Held { files } = *brake else { continue };
            let device = *device;
            let inside = ask(folder, move |thread| {
                let told = files_of(thread, thread.engine.held_of(device));
                let examples = told.iter().take(EXAMPLES_MAX);
                let examples = examples.map(|path| PathText::of(path.as_bytes()));
                (told.len() as u64, examples.collect::<Vec<_>>())
            });
            // What it has told in this session may be less; while it is away, nothing.
            let (told, examples) = inside.await.unwrap_or_default();
            let files = files.max(told);
            let (name, which) =
                (self.name_of(&self.daemon.config(), device), format!("{id}:{}", device.short()));
            held.push(Held {
                id: which.clone(),
                folder: id.to_string(),
                kind: HeldKind::Deletes,
                files,
                of_files: remembered.summary.files,
                since: self.held_since(id),
                what: format!("{name} deleted {files} files at once; they are still here"),
                remedy: format!(
                    "if that is meant: syncctl held approve {which}; if not, to bring them back \
                     to {name}: syncctl held reject {which}"
                ),
                device: Some(name),
                examples,
                lines: Vec::new(),
            });
        }
        held
    }

    /// Decides on what another device, by the first group of its id, deletes in a folder; `None`:
    /// the one that there is.
    async fn decide_of_peer(
        &self,
        folder: &Folder,
        device: Option<&str>,
        approved: bool,
    ) -> Result<Option<HeldAnswer>, ApiError> {
        let id = folder.id();
        let remembered = remember(&self.daemon.store.folder(id)).await.unwrap_or_default();
        let held = remembered.marks.brakes.into_iter().filter_map(|(peer, brake)| match brake {
            Brake::Held { files } => Some((peer, files)),
            Brake::Approved | Brake::Rejected => None,
        });
        let meant: Vec<_> =
            held.filter(|(peer, _)| device.is_none_or(|device| peer.short() == device)).collect();
        let [(peer, files)] = meant[..] else { return Ok(None) };
        let done = ask(folder, move |thread| thread.tell(Event::Decided { peer, approved }));
        done.await.ok_or_else(|| super::stopped(folder))?;
        let which = format!("{id}:{}", peer.short());
        Ok(Some(HeldAnswer { id: which, folder: id.to_string(), approved, files }))
    }

    async fn decide_rules(self, id: &str, approved: bool) -> Result<HeldAnswer, ApiError> {
        let folder = self.folder(id)?;
        let nothing = || {
            ApiError::could_not(format!(
                "no rules are held in the folder '{id}'; see what is with: syncctl held ls"
            ))
        };
        let held = folder.standing().held_rules.ok_or_else(nothing)?;
        let files = held.before.len() as u64;
        if approved {
            let done = ask(&folder, FolderThread::approve_rules).await;
            done.ok_or_else(|| super::stopped(&folder))?;
        } else {
            let parts = super::at_work(&folder)?;
            let paths: Vec<RelPath> = held.before.iter().map(|(path, _)| path.clone()).collect();
            blocking(move || {
                held.before.iter().try_for_each(|(path, text)| put(&parts, path, text.as_deref()))
            })
            .await??;
            look_at(&folder, paths).await;
            // The answer comes when the folder has seen them, so that nothing is held any more.
            let _ = tokio::time::timeout(super::ASK_WAIT, folder.settle()).await;
        }
        Ok(HeldAnswer { id: format!("{id}{RULES}"), folder: id.to_owned(), approved, files })
    }

    /// Returns since when a folder's deletes wait; the start of the daemon when that is forgotten.
    fn held_since(&self, id: &FolderId) -> Timestamp {
        let (events, _) = self.daemon.happenings.follow(0);
        let ours = |event: &&syncd_api::Event| {
            event.kind == "held" && event.folder.as_deref() == Some(id.as_str())
        };
        events.iter().rev().find(ours).map_or(self.daemon.started, |event| event.time)
    }

    pub(super) async fn decide(self, id: String, approved: bool) -> Result<HeldAnswer, ApiError> {
        if let Some(folder) = id.strip_suffix(RULES) {
            return self.decide_rules(folder, approved).await;
        }
        let nothing = |id: &str| {
            ApiError::could_not(format!(
                "nothing of the name '{id}' is held; see what is with: syncctl held ls"
            ))
        };
        if let Some((folder, device)) = id.split_once(':') {
            let folder = self.folder(folder)?;
            let decided = self.decide_of_peer(&folder, Some(device), approved).await?;
            return decided.ok_or_else(|| nothing(&id));
        }
        let folder = self.folder(&id)?;
        let decided = ask(&folder, move |thread| {
            let files = held_files(thread).len() as u64;
            if !thread.engine.held().is_empty() {
                thread.tell(if approved { Event::Approved } else { Event::Rejected });
            }
            files
        });
        match decided.await {
            Some(0) => match self.decide_of_peer(&folder, None, approved).await? {
                Some(answer) => Ok(answer),
                None => Err(nothing(&id)),
            },
            Some(files) => Ok(HeldAnswer { folder: id.clone(), id, approved, files }),
            None => Err(super::stopped(&folder)),
        }
    }
}

/// Lists the files among the held deletes, by path.
fn held_files(thread: &FolderThread) -> Vec<RelPath> {
    files_of(thread, thread.engine.held().iter())
}

/// Lists those of `paths` at which no directory lies.
fn files_of<'a>(thread: &FolderThread, paths: impl Iterator<Item = &'a RelPath>) -> Vec<RelPath> {
    let index = thread.index();
    let is_file = |path: &&RelPath| {
        let entry = index.get(path).ok().flatten();
        entry.is_some_and(|entry| entry.record.kind != Kind::Directory)
    };
    paths.filter(is_file).cloned().collect()
}
