//! Why a path is as it is: all reasons, the one that counts most first.

use syncd_api::{ApiError, PathText, Reason, ReasonKind, Why};
use syncd_core::engine::{Problem, PullError};
use syncd_core::flow::index::{Index, IndexError, Known, Marks};
use syncd_core::flow::settle::{SettleError, Trouble};
use syncd_core::model::{Entry, Kind, RelPath, Standing, StatKey};
use syncd_home::Config;

use super::conflicts::original;
use super::places::{Spot, shown};
use super::problems::{repair_of, told};
use super::{FrontDesk, ask, blocking, unreadable};
use crate::flow::settle::{TrashEntry, Why as Displaced};
use crate::run::folder::{Folder, Parts, gives_git_orders};
use crate::run::scrub::DAMAGED;
use crate::world::disk::{Lstat, OWN_NAME, Odd};

/// What the folder's engine says of a path.
struct Inside {
    waits: Option<String>,
    problem: Option<Problem>,
    held: bool,
}

/// What lies there and what is known of it.
struct Outside {
    lstat: Option<Lstat>,
    unreadable: Option<String>,
    entry: Option<Entry>,
    marks: Marks,
    has_copies: bool,
    ignored: Option<Reason>,
    /// The newest version of the path in the trash, where nothing lies.
    trashed: Option<TrashEntry>,
}

impl FrontDesk {
    pub(super) async fn explain(&self, path: PathText) -> Result<Why, ApiError> {
        let Some(Spot { folder, rel }) = self.locate(&path).await? else {
            let what = match path.path.split('/').any(|name| name.eq_ignore_ascii_case(OWN_NAME)) {
                true => "syncd keeps its own things there",
                false => "it lies in no synced folder",
            };
            let remedy = Some("see the folders with: syncctl folder ls".to_owned());
            let reasons = vec![reason(ReasonKind::NotInFolder, what, remedy)];
            return Ok(Why { folder: None, path, reasons });
        };
        let mut reasons = Vec::new();
        reasons.extend(stopped(&folder));
        if let Some(parts) = folder.parts() {
            self.explain_in(&folder, &parts, &rel, &mut reasons).await?;
        }
        if reasons.is_empty() {
            reasons.push(reason(ReasonKind::Synced, "it is in sync with every device", None));
        }
        let path = shown(&folder, &rel);
        Ok(Why { folder: Some(folder.id().to_string()), path, reasons })
    }

    async fn explain_in(
        &self,
        folder: &Folder,
        parts: &Parts,
        rel: &RelPath,
        reasons: &mut Vec<Reason>,
    ) -> Result<(), ApiError> {
        let asked = rel.clone();
        let inside = ask(folder, move |thread| Inside {
            waits: thread.engine.waits_for(&asked),
            problem: thread.engine.problems().find(|(p, _)| **p == asked).map(|(_, p)| p.clone()),
            held: thread.engine.held().contains(&asked),
        });
        let inside = inside.await;
        let (parts, asked) = (parts.clone(), rel.clone());
        let outside = blocking(move || look(&parts, &asked)).await?;
        let outside = outside.map_err(|error| unreadable(&error))?;
        if let Some(ignored) = outside.ignored {
            reasons.push(ignored);
            return Ok(());
        }
        if let Some((what, remedy)) = folder.standing().problems.get(rel) {
            let kind = match outside.lstat.is_some_and(|lstat| lstat.kind.is_none()) {
                true => ReasonKind::Unsupported,
                false => ReasonKind::Unreadable,
            };
            reasons.push(reason(kind, what, Some(remedy.clone())));
        } else if let Some(what) = &outside.unreadable {
            let remedy = "let the user that runs syncd read it".to_owned();
            reasons.push(reason(ReasonKind::Unreadable, what, Some(remedy)));
        }
        reasons.extend(damaged(folder, rel, outside.entry.as_ref()));
        reasons.extend(inside.iter().flat_map(|inside| reasons_inside(folder, inside)));
        reasons.extend(outside.entry.as_ref().and_then(|entry| local_change(folder, entry)));
        reasons.extend(conflict(rel, outside.has_copies));
        reasons.extend(match outside.lstat {
            None if outside.entry.as_ref().is_none_or(|entry| !entry.record.is_live()) => {
                Some(self.gone(folder, rel, outside.entry.as_ref(), outside.trashed.as_ref()))
            }
            _ => on_disk(outside.entry.as_ref(), outside.lstat.as_ref()),
        });
        if let Some(entry) = outside.entry.as_ref().filter(|e| !e.local.is_withheld()) {
            reasons.extend(self.lacking(folder, entry, &outside.marks).await);
        }
        Ok(())
    }

    /// Says what became of a path at which nothing lies and, by what is known, nothing should.
    fn gone(
        &self,
        folder: &Folder,
        rel: &RelPath,
        entry: Option<&Entry>,
        trashed: Option<&TrashEntry>,
    ) -> Reason {
        let config = self.daemon.config();
        let by = entry.map(|entry| entry.record.author);
        let by_name = by.map(|by| match by == self.daemon.me {
            true => "on this device".to_owned(),
            false => format!("on {}", self.name_of(&config, by)),
        });
        let told = self.last_delete(folder, rel);
        let (what, remedy) = match (by_name, trashed) {
            (Some(by), Some(_)) => (format!("it was deleted {by}"), RESTORE),
            (Some(by), None) => (format!("it was deleted {by}"), ELSEWHERE),
            (None, Some(there)) if there.why == Displaced::Deleted => {
                ("it was deleted on another device, everywhere".to_owned(), RESTORE)
            }
            (None, Some(_)) => ("it is gone, and an earlier version is kept".to_owned(), RESTORE),
            (None, None) if told => ("it was deleted, everywhere".to_owned(), ELSEWHERE),
            (None, None) => {
                let what = "there is nothing, and syncd remembers nothing of it";
                return reason(ReasonKind::Missing, what, Some(FORGOTTEN.to_owned()));
            }
        };
        let deleted = reason(ReasonKind::Deleted, &what, Some(remedy.to_owned()));
        let other = by.filter(|by| *by != self.daemon.me);
        let ms = trashed.and_then(|there| i64::try_from(there.displaced_at_ms).ok());
        let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        Reason { device: other.map(|by| self.name_of(&config, by)), time, ..deleted }
    }

    /// Tells whether one of the events that are still known was the delete of a path.
    fn last_delete(&self, folder: &Folder, rel: &RelPath) -> bool {
        let (events, _) = self.daemon.happenings.follow(0);
        let shown = shown(folder, rel);
        let last = events.iter().rev().find(|event| {
            event.folder.as_deref() == Some(folder.id().as_str())
                && event.path.as_ref() == Some(&shown)
        });
        last.is_some_and(|event| event.text.ends_with("(deleted)"))
    }

    /// Says which devices lack a path as it is here.
    async fn lacking(&self, folder: &Folder, entry: &Entry, marks: &Marks) -> Vec<Reason> {
        let config: Config = self.daemon.config();
        let devices = folder.config().devices;
        let asked = devices.clone();
        let acked = ask(folder, move |thread| {
            let state = |d| Some((d, thread.engine.peer_state(d, thread.index()).ok()?.acked));
            asked.into_iter().filter_map(state).collect::<Vec<_>>()
        });
        let acked = acked.await.unwrap_or_default();
        let mut lacking = Vec::new();
        for device in devices {
            let upto = acked.iter().find(|(d, _)| *d == device).map_or(0, |(_, acked)| *acked);
            let accepted = self.has_accepted(folder.id(), device, marks);
            if accepted && (upto >= entry.seq || entry.local.source == Some(device)) {
                continue;
            }
            let name = self.name_of(&config, device);
            let (what, remedy) = match (accepted, self.is_connected(device)) {
                (_, false) => ("the other device is not connected", "bring it back"),
                (false, true) => (
                    "the other device has not taken the folder",
                    "say there: syncctl folder accept",
                ),
                (true, true) => {
                    ("the other device has not got it yet", "nothing; it is on its way")
                }
            };
            let waiting = reason(ReasonKind::Waiting, what, Some(remedy.to_owned()));
            lacking.push(Reason { device: Some(name), ..waiting });
        }
        lacking
    }
}

fn reason(kind: ReasonKind, what: &str, remedy: Option<String>) -> Reason {
    Reason { kind, what: what.to_owned(), remedy, file: None, line: None, device: None, time: None }
}

fn stopped(folder: &Folder) -> Option<Reason> {
    let id = folder.id();
    if let Some(why) = folder.standing().halted {
        let remedy = format!("bring its root back, or: syncctl folder adopt {id}");
        return Some(reason(ReasonKind::FolderStopped, &why, Some(remedy)));
    }
    if folder.config().paused {
        let remedy = Some(format!("syncctl folder resume {id}"));
        return Some(reason(ReasonKind::FolderStopped, "its folder is paused", remedy));
    }
    folder
        .parts()
        .is_none()
        .then(|| reason(ReasonKind::FolderStopped, "its folder is just being started", None))
}

fn look(parts: &Parts, rel: &RelPath) -> Result<Outside, IndexError> {
    let named = |lstat| parts.root.is_spelt_so(rel).then_some(lstat);
    let (lstat, unreadable) = match parts.root.stat(rel).map(|lstat| lstat.and_then(named)) {
        Ok(lstat) => (lstat, None),
        Err(error) => (None, Some(super::chain(&error))),
    };
    let entry = parts.index.get(rel)?;
    let kind = lstat.and_then(|lstat| lstat.kind);
    let is_dir = match kind {
        Some(kind) => kind == Kind::Directory,
        None => entry.as_ref().is_some_and(|entry| entry.record.kind == Kind::Directory),
    };
    let beside = match rel.parent() {
        Some(dir) => parts.index.children(&dir)?,
        None => Vec::new(),
    };
    let has_copies = beside
        .iter()
        .any(|(path, entry)| entry.record.is_live() && original(path).as_ref() == Some(rel));
    Ok(Outside {
        ignored: ignored(parts, rel, is_dir),
        lstat,
        unreadable,
        entry,
        marks: parts.index.marks()?,
        has_copies,
        trashed: match lstat {
            None => parts.hands.trash_newest(rel).ok().flatten(),
            Some(_) => None,
        },
    })
}

/// Says which rule ignores a path, be it by a directory above it.
fn ignored(parts: &Parts, rel: &RelPath, is_dir: bool) -> Option<Reason> {
    if rel.is_root() {
        return None;
    }
    if rel.as_bytes() == b".stignore.local" {
        let what = "it holds rules of this device alone and is never synced";
        return Some(reason(ReasonKind::Ignored, what, None));
    }
    if gives_git_orders(rel) {
        let what = "git would run it or take orders from it: such files are never synced";
        let remedy = "set it up on each device by hand".to_owned();
        return Some(reason(ReasonKind::Ignored, what, Some(remedy)));
    }
    let verdict = parts.scope.verdict(rel, is_dir)?;
    if !verdict.ignored {
        return None;
    }
    let Some(rule) = verdict.rule else {
        return Some(reason(ReasonKind::Ignored, "the rules ignore it", None));
    };
    let what = format!("the line '{}' ignores it", rule.text);
    let remedy = "to sync it, put a line with '!' before its path above that line".to_owned();
    let ignored = reason(ReasonKind::Ignored, &what, Some(remedy));
    Some(Reason { file: Some(rule.file.to_string()), line: Some(rule.line as u64), ..ignored })
}

fn reasons_inside(folder: &Folder, inside: &Inside) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if inside.held {
        let id = folder.id();
        let remedy = format!("syncctl held approve {id}, or: syncctl held reject {id}");
        let what = "a scan found it gone together with many others; the delete is held";
        reasons.push(reason(ReasonKind::Held, what, Some(remedy)));
    }
    if let Some(problem) = &inside.problem {
        let kind = match problem {
            Problem::Settle(SettleError::Busy { .. }) => ReasonKind::OpenForWriting,
            Problem::Settle(SettleError::NoRoom { .. }) | Problem::Pull(PullError::NoRoom) => {
                ReasonKind::NoRoom
            }
            Problem::Settle(SettleError::Trouble { trouble: Trouble::Name, .. }) => {
                ReasonKind::Unsupported
            }
            Problem::Settle(_) | Problem::Pull(_) | Problem::Emptied | Problem::Rotten => {
                ReasonKind::Waiting
            }
        };
        let (what, remedy) = told(problem);
        reasons.push(reason(kind, &what, Some(remedy.to_owned())));
    }
    if let Some(waits) = &inside.waits {
        let what = format!("another version is on its way here: {waits}");
        let remedy = "nothing; see how far it is with: syncctl status --watch".to_owned();
        reasons.push(reason(ReasonKind::Waiting, &what, Some(remedy)));
    }
    reasons
}

/// Says that the disk has damaged a file, if a scrub found that and nobody has written it since.
fn damaged(folder: &Folder, rel: &RelPath, entry: Option<&Entry>) -> Option<Reason> {
    let stat = folder.standing().damaged.get(rel).copied();
    let is_still = stat.is_some() && entry.is_some_and(|entry| entry.local.seen == stat);
    is_still.then(|| reason(ReasonKind::Damaged, DAMAGED, Some(repair_of(folder.id()))))
}

fn local_change(folder: &Folder, entry: &Entry) -> Option<Reason> {
    let id = folder.id();
    let remedy = format!("to undo it and all the others: syncctl folder revert {id}");
    let what = "it was changed here, and nobody is told since the folder only receives";
    let withheld = entry.local.is_withheld();
    withheld.then(|| reason(ReasonKind::LocalChange, what, Some(remedy)))
}

fn conflict(rel: &RelPath, has_copies: bool) -> Option<Reason> {
    let remedy = Some("look at both with: syncctl conflicts show PATH".to_owned());
    if let Some(file) = original(rel) {
        let what = format!("it is a conflict copy of {file}");
        return Some(reason(ReasonKind::Conflict, &what, remedy));
    }
    let what = "it has a conflict copy beside it";
    has_copies.then(|| reason(ReasonKind::Conflict, what, remedy))
}

/// Compares what is known of a path with what lies there.
fn on_disk(entry: Option<&Entry>, lstat: Option<&Lstat>) -> Option<Reason> {
    let live = entry.filter(|entry| entry.record.is_live());
    match (live, lstat) {
        (None, None) => None,
        (_, Some(lstat)) if lstat.kind.is_none() => Some(reason(
            ReasonKind::Unsupported,
            &lstat.odd.unwrap_or(Odd::Unknown).to_string(),
            Some("ignore it in .stignore".to_owned()),
        )),
        (None, Some(_)) => Some(reason(ReasonKind::Quiet, FRESH, soon())),
        (Some(entry), _) if entry.local.standing == Standing::Unsupported => Some(reason(
            ReasonKind::Unsupported,
            "this file system cannot hold it beside another name",
            Some("rename one of the two where they come from".to_owned()),
        )),
        (Some(entry), Some(lstat)) => {
            let fresh = entry.local.seen.is_some_and(|seen| differs(&seen, &lstat.key))
                && entry.record.kind != Kind::Directory;
            fresh.then(|| reason(ReasonKind::Quiet, FRESH, soon()))
        }
        (Some(_), None) => None,
    }
}

/// What to do about a deleted file that is in the trash here.
const RESTORE: &str = "bring it back with: syncctl trash restore PATH";

/// What to do about a deleted file of which nothing is kept here.
const ELSEWHERE: &str =
    "nothing of it is kept here; on a device that had it: syncctl trash restore PATH";

/// What to do where nothing is known.
const FORGOTTEN: &str = "see that the name is right, and look on the device that wrote it";

/// What is said of a write that syncd is about to look at.
const FRESH: &str = "it changed a moment ago; syncd waits until it rests";

fn soon() -> Option<String> {
    Some("nothing; it is looked at within seconds".to_owned())
}

fn differs(seen: &StatKey, now: &StatKey) -> bool {
    (seen.inode, seen.size, seen.mtime_ns) != (now.inode, now.size, now.mtime_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_compared_with_what_is_known() {
        let stat = StatKey { inode: 1, size: 2, mtime_ns: 3, ctime_ns: 4, mode: 0o644 };
        let file = Lstat { kind: Some(Kind::File), odd: None, key: stat, nlink: 1 };
        let pipe = Lstat { kind: None, odd: Some(Odd::Fifo), ..file };
        for (lstat, kind, because) in [
            (Some(&file), Some(ReasonKind::Quiet), "not looked at yet"),
            (Some(&pipe), Some(ReasonKind::Unsupported), "a pipe"),
        ] {
            assert_eq!(on_disk(None, lstat).map(|reason| reason.kind), kind, "{because}");
        }
        let touched = StatKey { mtime_ns: 9, ..stat };
        assert!(differs(&stat, &touched) && !differs(&stat, &StatKey { ctime_ns: 9, ..stat }));
    }

    #[test]
    fn a_copy_and_its_file_are_in_conflict() {
        let path = |text: &str| RelPath::parse(text).unwrap();
        let copy = conflict(&path("a.sync-conflict-20260131-235959-ABCDEF2.txt"), false);
        assert!(copy.unwrap().what.ends_with("of a.txt"));
        assert!(conflict(&path("a.txt"), true).is_some());
        assert!(conflict(&path("a.txt"), false).is_none());
    }
}
