//! Roots that lie elsewhere from now on: a directory that its user has moved is proven, and a
//! single file is moved by syncd, since its leaving would be told as a delete.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use syncd_api::{ApiError, Folder as Shown, FolderMove};
use syncd_core::flow::index::Known;
use syncd_home::{FolderConfig, quoted};

use super::places::{self, Place};
use super::{FrontDesk, blocking, chain, roots};
use crate::flow::digest::digest_file;
use crate::flow::index::{FolderIndex, Ledger, RootToken};
use crate::flow::settle::{CarryError, carry};
use crate::run::folder::Folder;
use crate::world::disk::{self, Attested, Root, RootProblem, Single};

/// What is to be done for a root to lie elsewhere.
enum Way {
    /// It lies there already, and this is to be remembered of it.
    Lies(Place, RootToken),
    /// A single file, to be carried there.
    Carry(PathBuf),
}

impl FrontDesk {
    pub(super) async fn move_root(
        self,
        id: String,
        request: FolderMove,
    ) -> Result<Shown, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        let config = folder.config();
        let mut others = self.daemon.config().folders;
        others.retain(|other| other.id != config.id);
        let asked = places::file_of(&request.path)?;
        let (home, ledger, me) =
            (self.daemon.home.clone(), self.daemon.ledger.clone(), self.daemon.me);
        let (earlier, moved) = (config.clone(), folder.clone());
        let way = blocking(move || {
            let way = way_to(&moved, &earlier, &asked, &ledger)?;
            let real = match &way {
                Way::Lies(place, _) => &place.real,
                Way::Carry(target) => target,
            };
            places::check_free(real, &home, &others)?;
            places::check_unclaimed(real, me)?;
            Ok::<_, ApiError>(way)
        })
        .await??;
        let (path, token) = match way {
            Way::Lies(place, token) => (place.path, token),
            Way::Carry(target) => {
                self.end(&folder).await?;
                let token = self.carried(&folder, &config, &target).await;
                if token.is_err() {
                    self.begin(config.clone())?;
                }
                (target, token?)
            }
        };
        let config = FolderConfig { path, ..config };
        self.keep_folder(config.clone()).await?;
        if self.daemon.folder(&config.id).is_some() {
            self.end(&folder).await?;
        }
        let (ledger, moved) = (self.daemon.ledger.clone(), folder.id().clone());
        let done = blocking(move || ledger.set_root(&moved, Some(token))).await?;
        let folder = self.begin(config)?;
        done.map_err(|error| ApiError::could_not(chain(&error)))?;
        Ok(self.shown_folder(&folder).await)
    }

    /// Carries a single file whose folder has ended, and returns what to remember of its root.
    async fn carried(
        &self,
        folder: &Folder,
        config: &FolderConfig,
        target: &Path,
    ) -> Result<RootToken, ApiError> {
        let (ledger, index) = (self.daemon.ledger.clone(), self.daemon.store.folder(folder.id()));
        let (earlier, target) = (config.clone(), target.to_owned());
        blocking(move || carry_file(&earlier, &target, &ledger, &index)).await?
    }
}

/// Finds out what is to be done for a folder's root to lie at `asked`. Blocks.
fn way_to(
    folder: &Folder,
    earlier: &FolderConfig,
    asked: &Path,
    ledger: &Ledger,
) -> Result<Way, ApiError> {
    let there = places::look(asked)?;
    if folder.single().is_some() {
        let target = match &there {
            Some(place) if !place.is_file => {
                place.real.join(earlier.path.file_name().unwrap_or_default())
            }
            Some(place) => place.path.clone(),
            None => places::normal(asked),
        };
        let name = target.file_name().map(OsStrExt::as_bytes);
        if name.and_then(Single::new).is_none() {
            return Err(places::no_single(&target));
        }
        let is_renamed = target.parent() == earlier.path.parent()
            && std::fs::symlink_metadata(&earlier.path).is_err();
        if !is_renamed {
            return Ok(Way::Carry(target));
        }
    }
    let place = there.ok_or_else(|| {
        let what = if folder.single().is_some() { "file" } else { "directory" };
        ApiError::could_not(format!(
            "nothing lies at {}; move the {what} there first",
            asked.display()
        ))
    })?;
    let token = proven(folder, earlier, &place, ledger)?;
    Ok(Way::Lies(place, token))
}

/// Carries a single file to `target`, or takes it as its user has moved it there. Blocks.
fn carry_file(
    earlier: &FolderConfig,
    target: &Path,
    ledger: &Ledger,
    index: &FolderIndex,
) -> Result<RootToken, ApiError> {
    let id = &earlier.id;
    let refuse =
        |why: &str| ApiError::could_not(format!("{} is not taken: {why}", target.display()));
    let anew = |why: &str| {
        refuse(&format!(
            "{why}; a file takes such a place by being ended here and taken again; say: syncctl \
             folder rm {id}, then: syncctl folder accept {id} {}",
            quoted(&target.to_string_lossy())
        ))
    };
    let Some(known) = ledger.root(id) else {
        return Err(refuse("the folder has had no root yet; wait until it is ready"));
    };
    let token = disk::RootToken { token: known.token, inode: known.inode };
    let old = roots::root_at(&earlier.path, true, id)
        .map_err(|_| anew(&format!("the directory of {} is gone", earlier.path.display())))?;
    let new = roots::root_at(target, true, id)
        .map_err(|_| refuse("the directory that it is to lie in is not there; make it first"))?;
    let was_moved = !is_there(&earlier.path);
    if was_moved && !is_there(target) {
        return Err(refuse(&format!("nothing lies at {} either", earlier.path.display())));
    }
    if was_moved && !was_known(&new, index) {
        return Err(anew("its bytes are none that the folder has had lately"));
    }
    let carried = carry((&old, &new), id, &token).map_err(|error| match error {
        CarryError::Taken { name } => refuse(&format!(
            "{name} lies there already, and {} is still where it was; move one of them away",
            earlier.path.display()
        )),
        CarryError::OtherDisk => anew("it is on another disk"),
        CarryError::Unproven => anew("nothing proves that it is the file that was shared"),
        CarryError::Refused(_) => refuse(&chain(&error)),
    })?;
    if old.device_inode() != new.device_inode()
        && let Err(error) = roots::remove_own(&old)
    {
        tracing::warn!(folder = %id, %error, "the folder's place at the old root is left behind");
    }
    Ok(RootToken { token: carried.token, inode: carried.inode })
}

fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Tells whether the file of a single-file root holds what the folder holds, or has held lately.
fn was_known(root: &Root, index: &FolderIndex) -> bool {
    let path = root.single().and_then(|single| single.path_of(single.here()));
    let Some(path) = path else { return false };
    let Ok(Some(entry)) = index.get(&path) else { return false };
    let digest = root.open_file(&path).ok().and_then(|fd| digest_file(&fd, None, 0).ok());
    digest.is_some_and(|digest| {
        digest.content == entry.record.content || entry.record.descends_from(digest.content)
    })
}

/// Proves that what lies at `place` is a folder's root, and returns what to remember of it.
fn proven(
    folder: &Folder,
    earlier: &FolderConfig,
    place: &Place,
    ledger: &Ledger,
) -> Result<RootToken, ApiError> {
    let id = folder.id();
    let refuse =
        |why: &str| ApiError::could_not(format!("{} is not taken: {why}", place.path.display()));
    if place.is_file != folder.single().is_some() {
        return Err(refuse("a directory and a single file are two things"));
    }
    let Some(known) = ledger.root(id) else {
        return Err(refuse("the folder has had no root yet; wait until it is ready"));
    };
    let remembered = disk::RootToken { token: known.token, inode: known.inode };
    let root = roots::root_at(&place.path, place.is_file, id).map_err(|why| refuse(&why))?;
    match root.attest(Some(&remembered)) {
        Ok(Attested::Known(token) | Attested::Recreated(token)) => {
            Ok(RootToken { token: token.token, inode: token.inode })
        }
        Ok(Attested::First(_)) => Err(refuse("its root cannot be told from another")),
        // Another disk gives another inode; the token says that it is the same tree.
        Err(RootProblem::Copied) if std::fs::symlink_metadata(&earlier.path).is_err() => {
            Ok(RootToken { token: known.token, inode: root.device_inode().1 })
        }
        Err(RootProblem::Copied) => Err(refuse(&format!(
            "it is a copy, and the root still lies at {}; move that away first",
            earlier.path.display()
        ))),
        Err(
            problem @ (RootProblem::Missing
            | RootProblem::Replaced
            | RootProblem::NotADirectory
            | RootProblem::TokenForeign
            | RootProblem::TokenGone
            | RootProblem::Unreadable(_)),
        ) => Err(refuse(&format!("it is not the root that was moved ({problem})"))),
    }
}
