//! Taking a folder that another device offers.
//!
//! Where files lie already the two sides are compared first, and joined in union mode: what is
//! equal joins with nothing sent, nothing is deleted. Of two that differ a person says who wins,
//! and the other goes into the trash; without a word the loser becomes a conflict copy, and above
//! [`ASK_ABOVE`] of those a person is asked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use syncd_api::{AcceptReport, AcceptRequest, ApiError, PathText, Prefer};
use syncd_core::model::{DeviceId, Favour, FolderId, Kind, RelPath};
use syncd_core::protocol::Ready;
use syncd_home::{FolderConfig, Home};

use super::compare::{Comparison, Paths, compare};
use super::places::{self, Place};
use super::{FrontDesk, blocking, chain};
use crate::run::folder::join;
use crate::world::disk::{DiskError, Root, Single};

/// Names of version control, which is not synced by itself.
const NOT_COUNTED: [&[u8]; 4] = [b".git", b".hg", b".svn", b".jj"];

/// More differing files than this are not joined without a person's word.
const ASK_ABOVE: u64 = 20;

/// Differing files that are named when a person is asked.
const NAMED_MAX: usize = 10;

/// Where an offered folder goes.
struct Target {
    path: PathBuf,
    /// The name of the one file, if it is one.
    single: Option<Vec<u8>>,
    /// Files that lie there already.
    files: u64,
}

impl FrontDesk {
    pub(super) async fn accept(
        self,
        id: String,
        request: AcceptRequest,
    ) -> Result<AcceptReport, ApiError> {
        let _turn = self.editing.lock().await;
        let config = self.daemon.config();
        let id = FolderId::parse(&id).map_err(|error| ApiError::usage(error.to_string()))?;
        if let Some(folder) = self.daemon.folder(&id) {
            return Err(ApiError::could_not(format!(
                "the folder '{id}' is on this device already, at {}",
                folder.config().path.display()
            )));
        }
        let mut offers = self.open_offers(&config);
        offers.retain(|(_, ready)| ready.folder == id);
        let Some((_, first)) = offers.first() else {
            return Err(ApiError::could_not(format!(
                "no connected device offers a folder '{id}' yet; this may be repeated, and \
                 'syncctl folder ls --offered' shows what is offered"
            )));
        };
        let single = first.single_file.clone();
        let asked = places::file_of(&request.path)?;
        let (home, folders) = (self.daemon.home.clone(), config.folders.clone());
        let target = blocking(move || aim(&asked, single.as_deref(), &home, &folders)).await??;
        let (path, me) = (target.path.clone(), self.daemon.me);
        blocking(move || places::check_unclaimed(&path, me)).await??;
        let met = self.met(&id, &offers, &target, request.dry_run).await?;
        let different = met.different.count;
        if different > ASK_ABOVE && request.prefer.is_none() && !request.dry_run {
            return Err(ask_which(&target.path, &met));
        }
        let report = AcceptReport {
            id: id.to_string(),
            path: PathText::of_file(&target.path),
            accepted: !request.dry_run,
            equal: met.equal,
            only_here: met.only_here.count,
            only_there: met.only_there.count,
            different,
            examples: met.different.first,
            examples_here: met.only_here.first,
            examples_there: met.only_there.first,
        };
        if request.dry_run {
            return Ok(report);
        }
        // Remembered before anything is joined: a crash must not let the files differ unasked.
        let favour = request.prefer.and_then(favour);
        let giver = Some(&offers[..]).filter(|offers| offers.len() == 1).map(|offers| offers[0].0);
        join::begin(&self.daemon.ledger, &id, favour)
            .and_then(|()| join::takes_from(&self.daemon.ledger, &id, giver))
            .map_err(|error| ApiError::could_not(chain(&error)))?;
        let (path, folder_id) = (target.path.clone(), id.clone());
        blocking(move || make(&target, &folder_id)).await??;
        let settings = FolderConfig {
            devices: offers.into_iter().map(|(device, _)| device).collect(),
            ..FolderConfig::new(id, path)
        };
        self.keep_folder(settings.clone()).await?;
        self.begin(settings)?;
        Ok(report)
    }
}

impl FrontDesk {
    /// Compares what lies at the target with what a connected device has. Where nothing lies
    /// there and nothing need be told, a device that cannot be asked now is no obstacle.
    async fn met(
        &self,
        id: &FolderId,
        offers: &[(DeviceId, Ready)],
        target: &Target,
        must_tell: bool,
    ) -> Result<Comparison, ApiError> {
        let alone = Comparison {
            only_here: Paths { count: target.files, first: Vec::new() },
            ..Comparison::default()
        };
        let ready = |device: DeviceId| {
            offers.iter().any(|(other, ready)| *other == device && ready.epoch > 0)
        };
        let Some(peer) = self.daemon.peers().into_iter().find(|peer| ready(peer.device)) else {
            if target.files == 0 && !must_tell {
                return Ok(alone);
            }
            return Err(ApiError::could_not(format!(
                "the folder '{id}' is offered, but paused or halted there, so that the two sides \
                 cannot be compared; let it go on there, and say it again"
            )));
        };
        let root = match target.root(id) {
            Ok(root) => Some(root),
            Err(DiskError::Missing { .. }) => None,
            Err(error) => {
                let (path, why) = (target.path.display(), chain(&error));
                return Err(ApiError::could_not(format!("{path} cannot be used: {why}")));
            }
        };
        compare(&peer, id, root).await
    }
}

/// Asks a person who wins.
fn ask_which(path: &Path, met: &Comparison) -> ApiError {
    let count = met.different.count;
    let named: Vec<&PathText> = met.different.first.iter().take(NAMED_MAX).collect();
    let more = count - named.len() as u64;
    let more = (more > 0).then(|| format!("and {more} more"));
    ApiError::needs_person(format!(
        "{count} files differ between {} and the other device; say who wins: --prefer here, there \
         or newer (the other goes into the trash), or copies (both stay); see them all with \
         --dry-run --json",
        path.display()
    ))
    .listing(named.into_iter().map(|path| path.path.clone()).chain(more))
}

/// Returns whose version stands; `None` where both stay.
fn favour(prefer: Prefer) -> Option<Favour> {
    match prefer {
        Prefer::Here => Some(Favour::Here),
        Prefer::There => Some(Favour::There),
        Prefer::Newer => Some(Favour::Newer),
        Prefer::Copies => None,
    }
}

/// Looks at where the folder is to go; `single` is the name that a single file has on the other
/// device. Changes nothing.
fn aim(
    asked: &Path,
    single: Option<&[u8]>,
    home: &Home,
    folders: &[FolderConfig],
) -> Result<Target, ApiError> {
    let shown = asked.display();
    let mut place = match places::look(asked)? {
        Some(place) => place,
        None => {
            let path = places::normal(asked);
            Place { real: path.clone(), path, is_file: single.is_some() }
        }
    };
    match single {
        None if place.is_file => {
            return Err(ApiError::could_not(format!(
                "{shown} is a file, and a directory is offered; name a directory"
            )));
        }
        Some(name) if !place.is_file => {
            let single = Single::new(name).ok_or_else(|| {
                ApiError::could_not(format!(
                    "{shown} is a directory, and a single file is offered; name the file in it"
                ))
            })?;
            let name = OsStr::from_bytes(single.here());
            (place.path, place.real) = (place.path.join(name), place.real.join(name));
        }
        None | Some(_) => {}
    }
    places::check_free(&place.real, home, folders)?;
    let name = place.path.file_name().map(|name| name.as_bytes().to_vec());
    if single.is_some() && name.as_deref().and_then(Single::new).is_none() {
        return Err(places::no_single(&place.path));
    }
    let files = match single {
        Some(_) => u64::from(std::fs::symlink_metadata(&place.path).is_ok()),
        None => match Root::open(&place.path) {
            Ok(root) => count(&root),
            Err(DiskError::Missing { .. }) => 0,
            Err(error) => {
                let why = chain(&error);
                return Err(ApiError::could_not(format!("{shown} cannot be used: {why}")));
            }
        },
    };
    Ok(Target { path: place.path, single: name.filter(|_| single.is_some()), files })
}

/// Counts the files below a root, as far as it can be read.
fn count(root: &Root) -> u64 {
    let mut files = 0;
    let mut dirs = vec![RelPath::root()];
    while let Some(dir) = dirs.pop() {
        // A part that cannot be read is told by the folder itself, soon.
        for listed in root.list(&dir).unwrap_or_default() {
            let Ok(path) = dir.join(&listed.name) else { continue };
            if path.is_reserved() || NOT_COUNTED.contains(&path.name()) {
                continue;
            }
            let asked = || root.stat(&path).ok().flatten().and_then(|stat| stat.kind);
            match listed.kind.or_else(asked) {
                Some(Kind::Directory) => dirs.push(path),
                Some(Kind::File | Kind::Symlink) => files += 1,
                Some(Kind::Tombstone) | None => {}
            }
        }
    }
    files
}

impl Target {
    /// Opens the root that it is to be, if that is there.
    fn root(&self, id: &FolderId) -> Result<Root, DiskError> {
        match (&self.single, self.path.parent()) {
            (Some(name), Some(parent)) => Root::open_single(parent, name, id),
            _ => Root::open(&self.path),
        }
    }
}

/// Makes what must lie there before the folder begins.
fn make(target: &Target, id: &FolderId) -> Result<(), ApiError> {
    let parent = target.path.parent().unwrap_or(&target.path);
    let dir = if target.single.is_some() { parent } else { &target.path };
    std::fs::create_dir_all(dir).map_err(|error| {
        ApiError::could_not(format!("{} cannot be made: {error}", dir.display()))
    })?;
    if target.single.is_none() {
        return Ok(());
    }
    // The folder's own place says that a single file is meant while it is not there yet.
    target.root(id).and_then(|root| root.prepare(id)).map(|_| ()).map_err(|error| {
        ApiError::could_not(format!("{} cannot be used: {}", parent.display(), chain(&error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_folder_goes_follows_from_what_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(dir.path()).unwrap();
        let home = Home::at(&base.join("home"));
        std::fs::create_dir_all(base.join("full/.git")).unwrap();
        std::fs::create_dir_all(base.join("full/d")).unwrap();
        for name in ["full/a", "full/d/b", "full/.git/c", "file"] {
            std::fs::write(base.join(name), "x").unwrap();
        }
        for (asked, single, expected, because) in [
            ("new", None, Ok(("new", None, 0)), "made"),
            ("full", None, Ok(("full", None, 2)), "joined, without version control"),
            ("file", None, Err("name a directory"), "a directory is offered"),
            ("new.txt", Some("x.txt"), Ok(("new.txt", Some("new.txt"), 0)), "made by the sync"),
            ("file", Some("file"), Ok(("file", Some("file"), 1)), "joined"),
            ("full", Some("x.txt"), Ok(("full/x.txt", Some("x.txt"), 0)), "into the directory"),
            ("other", Some("x.txt"), Ok(("other", Some("other"), 0)), "another name"),
            ("full", Some("my/notes"), Err("name the file in it"), "the name is none"),
            (
                "a.sync-conflict-20261120-192402-EIRCEIR",
                Some("x.txt"),
                Err("name of a conflict copy"),
                "another file's copies would have it too",
            ),
            ("home/x", None, Err("syncd's own home"), "not among the keys"),
        ] {
            let found = aim(&base.join(asked), single.map(str::as_bytes), &home, &[]);
            match (found, expected) {
                (Ok(target), Ok((path, name, files))) => {
                    assert_eq!(target.path, base.join(path), "{because}");
                    assert_eq!(target.single.as_deref(), name.map(str::as_bytes), "{because}");
                    assert_eq!(target.files, files, "{because}");
                }
                (Err(error), Err(why)) => assert!(error.error.contains(why), "{error}"),
                (found, _) => panic!("{because}: {:?}", found.map(|target| target.path)),
            }
        }
    }
}
