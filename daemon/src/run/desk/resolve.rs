//! Ending a conflict. Nothing is lost: what is not kept goes to the trash.
//!
//! The hands do it as a user would: the folder then sees a write and a delete like any other.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use syncd_api::{ApiError, Keep, PathText, ResolveRequest, Resolved};
use syncd_core::flow::settle::{Expect, Job, SettleError, Step, Ticket};
use syncd_core::model::shown::is_harmful;
use syncd_core::model::{ContentId, DeviceId, Kind, RelPath};

use super::conflicts::Pair;
use super::places::{file_of, shown};
use super::{FrontDesk, blocking, chain, look_at};
use crate::flow::digest::digest_file;
use crate::run::folder::Parts;
use crate::world::disk::DiskError;

/// Tickets of the desk's own jobs, counted down: the engine counts up.
static TICKETS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// Names that are tried for a copy that is kept.
const NAMES_MAX: usize = 1_000;

/// What lies at a path right now.
struct There {
    expect: Expect,
    kind: Kind,
    content: ContentId,
    size: u64,
    mtime_ns: i64,
    mode: u32,
}

impl FrontDesk {
    pub(super) async fn end_conflict(self, request: ResolveRequest) -> Result<Resolved, ApiError> {
        let pair = self.pair_at(&request.path).await?;
        let (folder, file) = (pair.folder.clone(), pair.file.clone());
        one_of_many(&pair, request.keep, self.daemon.me)?;
        let keeps_file = match request.keep {
            Keep::Mine => !pair.mine_is_the_copy(self.daemon.me),
            Keep::Theirs => pair.mine_is_the_copy(self.daemon.me),
            Keep::Both | Keep::Merged => false,
        };
        let with = match (&request.with, request.keep) {
            (Some(with), Keep::Merged) => Some(file_of(with)?),
            (None, Keep::Mine | Keep::Theirs | Keep::Both) => None,
            (Some(_), _) | (None, Keep::Merged) => {
                return Err(ApiError::usage("a merged file goes with 'merged' and only with it"));
            }
        };
        // The file itself, merged by hand: then it is what is kept.
        let merged_in_place = match &request.with {
            Some(with) => self.is_file_of(&pair, with).await?,
            None => false,
        };
        let author = pair.copy_entry.record.author;
        let device = self.name_of(&self.daemon.config(), author);
        let touched = blocking(move || match request.keep {
            Keep::Both => keep_both(&pair, &device),
            _ if keeps_file || merged_in_place => drop_copy(&pair),
            Keep::Mine | Keep::Theirs | Keep::Merged => match with {
                Some(with) => take_merged(&pair, &with),
                None => take_copy(&pair),
            },
        })
        .await?;
        // Half of it may be done even when the rest was refused.
        let paths = match &touched {
            Ok(paths) => paths.clone(),
            Err(_) => vec![file.clone()],
        };
        look_at(&folder, paths).await;
        touched?;
        // The answer tells what is left; so it waits until the folder has seen it.
        let _ = tokio::time::timeout(super::ASK_WAIT, folder.settle()).await;
        Ok(Resolved {
            folder: folder.id().to_string(),
            left: self.copies_left(&folder, &file).await,
            path: shown(&folder, &file),
            kept: request.keep,
        })
    }

    async fn is_file_of(&self, pair: &Pair, with: &PathText) -> Result<bool, ApiError> {
        let spot = self.locate(with).await?;
        Ok(spot.is_some_and(|spot| spot.folder.id() == pair.folder.id() && spot.rel == pair.file))
    }
}

/// Refuses to choose among several copies of a file. Keeping the file ends them one by one.
fn one_of_many(pair: &Pair, keep: Keep, me: DeviceId) -> Result<(), ApiError> {
    let ends_one = keep == Keep::Mine && !pair.mine_is_the_copy(me);
    if pair.others.is_empty() || keep == Keep::Both || ends_one {
        return Ok(());
    }
    let all = std::iter::once(&pair.copy).chain(&pair.others);
    let named = |path: &RelPath| pair.parts.root.path_here(path).to_string();
    Err(ApiError::needs_person(format!(
        "{} has {} conflict copies; name the one that is meant instead of the file",
        named(&pair.file),
        pair.others.len() + 1
    ))
    .listing(all.map(named)))
}

/// The file stays; the copy goes.
fn drop_copy(pair: &Pair) -> Result<Vec<RelPath>, ApiError> {
    let there = there(&pair.parts, &pair.copy)?;
    take(&pair.parts, vec![trash(&pair.copy, &there)])?;
    Ok(vec![pair.file.clone(), pair.copy.clone()])
}

/// The copy's bytes become the file.
fn take_copy(pair: &Pair) -> Result<Vec<RelPath>, ApiError> {
    let copy = there(&pair.parts, &pair.copy)?;
    stage_local(&pair.parts, &pair.copy, &copy)?;
    let steps = vec![
        Step::Place {
            path: pair.file.clone(),
            expect: expected(&pair.parts, &pair.file)?,
            kind: copy.kind,
            content: copy.content,
            size: copy.size,
            mtime_ns: copy.mtime_ns,
            mode: copy.mode,
        },
        trash(&pair.copy, &copy),
    ];
    take(&pair.parts, steps)?;
    Ok(vec![pair.file.clone(), pair.copy.clone()])
}

/// Another file's bytes become the file.
fn take_merged(pair: &Pair, with: &std::path::Path) -> Result<Vec<RelPath>, ApiError> {
    let failed = |error: &dyn std::error::Error| {
        ApiError::could_not(format!("{} cannot be taken: {}", with.display(), chain(error)))
    };
    let merged = File::open(with).map_err(|error| failed(&error))?;
    let meta = merged.metadata().map_err(|error| failed(&error))?;
    if !meta.is_file() {
        return Err(ApiError::could_not(format!("{} is no file", with.display())));
    }
    let merged = OwnedFd::from(merged);
    let content = digest_file(&merged, None, 0).map_err(|error| failed(&error))?.content;
    stage_file(&pair.parts, File::from(merged), content, meta.len())
        .map_err(|error| failed(&*error))?;
    let copy = there(&pair.parts, &pair.copy)?;
    let mode = pair.file_entry.as_ref().map_or(copy.mode, |entry| entry.record.mode);
    let steps = vec![
        Step::Place {
            path: pair.file.clone(),
            expect: expected(&pair.parts, &pair.file)?,
            kind: Kind::File,
            content,
            size: meta.len(),
            mtime_ns: crate::flow::digest::now_ns(),
            mode,
        },
        trash(&pair.copy, &copy),
    ];
    take(&pair.parts, steps)?;
    Ok(vec![pair.file.clone(), pair.copy.clone()])
}

/// The copy gets a name of its own, which is no copy's.
fn keep_both(pair: &Pair, device: &str) -> Result<Vec<RelPath>, ApiError> {
    if pair.parts.root.single().is_some() {
        return Err(ApiError::could_not(format!(
            "the folder '{}' is one single file and cannot hold both; keep mine, theirs or a \
             merged file, or move one of the two elsewhere yourself",
            pair.folder.id()
        )));
    }
    let dir = pair.copy.parent().unwrap_or_else(RelPath::root);
    let refused = |error: &dyn std::error::Error| {
        ApiError::could_not(format!("{} cannot be renamed: {}", pair.copy, chain(error)))
    };
    let way = pair.parts.root.open_way(&dir).map_err(|error| refused(&error))?;
    for name in plain_names(pair.file.name(), device).take(NAMES_MAX) {
        let Ok(path) = dir.join(&name) else { continue };
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&way, pair.copy.name(), &way, name.as_slice(), flags) {
            Ok(()) => return Ok(vec![pair.copy.clone(), path]),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(&errno)),
        }
    }
    Err(ApiError::could_not(format!(
        "no name beside {} is free for the other version; rename {} by hand",
        pair.file, pair.copy
    )))
}

/// Lists plain names for a second version of a file: `notes (devbox).txt`, and so on.
fn plain_names(name: &[u8], device: &str) -> impl Iterator<Item = Vec<u8>> {
    let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, ext) = (name[..dot].to_vec(), name[dot..].to_vec());
    let plain = |c: char| !is_harmful(c) && c != '/';
    let device: String = device.chars().filter(|c| plain(*c)).collect();
    (1_usize..).map(move |number| {
        let mark = match number {
            1 => format!(" ({device})"),
            number => format!(" ({device} {number})"),
        };
        [&stem, mark.as_bytes(), &ext].concat()
    })
}

/// Puts a text in the place of what lies at a path, as a user's write; `None` removes it.
pub(super) fn put(parts: &Parts, path: &RelPath, text: Option<&[u8]>) -> Result<(), ApiError> {
    let there = look(parts, path)?;
    let Some(text) = text else {
        return there.map_or(Ok(()), |there| take(parts, vec![trash(path, &there)]));
    };
    let content = ContentId::of(text);
    let staged = parts.hands.put_small(content, text);
    staged.map_err(|error| ApiError::could_not(format!("{path}: {}", chain(&error))))?;
    let step = Step::Place {
        path: path.clone(),
        mode: there.as_ref().map_or(0o644, |there| there.mode),
        expect: there.map_or(Expect::Nothing, |there| there.expect),
        kind: Kind::File,
        content,
        size: text.len() as u64,
        mtime_ns: crate::flow::digest::now_ns(),
    };
    take(parts, vec![step])
}

fn trash(path: &RelPath, there: &There) -> Step {
    Step::Trash { path: path.clone(), expect: there.expect }
}

/// Looks at what lies at a path, reading it.
fn there(parts: &Parts, path: &RelPath) -> Result<There, ApiError> {
    look(parts, path)?.ok_or_else(|| changed(path))
}

fn expected(parts: &Parts, path: &RelPath) -> Result<Expect, ApiError> {
    Ok(look(parts, path)?.map_or(Expect::Nothing, |there| there.expect))
}

fn look(parts: &Parts, path: &RelPath) -> Result<Option<There>, ApiError> {
    let refused =
        |error: &DiskError| ApiError::could_not(format!("it cannot be read: {}", chain(error)));
    let Some(lstat) = parts.root.stat(path).map_err(|error| refused(&error))? else {
        return Ok(None);
    };
    let (kind, content) = match lstat.kind {
        Some(Kind::File) => {
            let fd = parts.root.open_file(path).map_err(|error| refused(&error))?;
            let digest = digest_file(&fd, None, 0).map_err(|_| changed(path))?;
            (Kind::File, digest.content)
        }
        Some(Kind::Symlink) => {
            let target = parts.root.read_link(path).map_err(|error| refused(&error))?;
            (Kind::Symlink, ContentId::of(&target))
        }
        Some(Kind::Directory | Kind::Tombstone) | None => return Err(changed(path)),
    };
    let stat = lstat.key;
    Ok(Some(There {
        expect: Expect::Known { kind, stat, content },
        kind,
        content,
        size: stat.size,
        mtime_ns: stat.mtime_ns,
        mode: stat.mode,
    }))
}

fn stage_local(parts: &Parts, path: &RelPath, there: &There) -> Result<(), ApiError> {
    let staged = match there.kind {
        Kind::Symlink => {
            let target = parts.root.read_link(path).map_err(|_| changed(path))?;
            parts.hands.put_small(there.content, &target)
        }
        Kind::File | Kind::Directory | Kind::Tombstone => {
            parts.hands.from_local(path, there.content)
        }
    };
    staged.map_err(|error| {
        ApiError::could_not(format!("{path} cannot be put aside: {}", chain(&error)))
    })
}

fn stage_file(
    parts: &Parts,
    mut from: File,
    content: ContentId,
    size: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    from.rewind()?;
    let writer = parts.hands.begin(content, size)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        writer.write_at(offset, &buffer[..count])?;
        offset += count as u64;
    }
    Ok(writer.finish()?)
}

/// Lets the hands take steps.
fn take(parts: &Parts, steps: Vec<Step>) -> Result<(), ApiError> {
    let ticket = Ticket(TICKETS.fetch_sub(1, Ordering::Relaxed));
    let outcomes = parts.hands.take(&[Job { ticket, steps, becomes: Vec::new() }]);
    match outcomes.into_iter().next().map(|(_, outcome)| outcome) {
        Some(Ok(_)) => Ok(()),
        Some(Err(SettleError::Overtaken { path } | SettleError::Displaced { path, .. })) => {
            Err(changed(&path))
        }
        Some(Err(error)) => Err(ApiError::could_not(format!("{}; try again", chain(&error)))),
        None => Err(ApiError::could_not("nothing was done; try again")),
    }
}

fn changed(path: &RelPath) -> ApiError {
    ApiError::needs_person(format!(
        "{path} changed meanwhile; look at it again with: syncctl conflicts show"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_copy_gets_a_plain_name() {
        for (name, device, names) in [
            (&b"notes.txt"[..], "devbox", ["notes (devbox).txt", "notes (devbox 2).txt"]),
            (b"README", "a/b\n", ["README (ab)", "README (ab 2)"]),
            (b".bashrc", "x", [".bashrc (x)", ".bashrc (x 2)"]),
        ] {
            let made: Vec<Vec<u8>> = plain_names(name, device).take(2).collect();
            assert_eq!(made, names.map(|name| name.as_bytes().to_vec()));
            assert!(!syncd_core::flow::plan::conflict::is_copy_name(&made[0]));
        }
    }
}
