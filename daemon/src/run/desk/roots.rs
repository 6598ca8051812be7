//! Ending folders, and roots that are others than before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{self, AtFlags};
use rustix::io;
use syncd_api::{ApiError, Folder as Shown, FolderRemoved, PathText};
use syncd_core::model::{FolderId, Incarnation, Kind};
use syncd_home::FolderConfig;

use super::{FrontDesk, blocking, chain, places};
use crate::flow::index::Ledger;
use crate::run::Happening;
use crate::run::folder::{Folder, join, lives};
use crate::run::scrub;
use crate::world::disk::{self, OWN_NAME, Root, system};

/// How long a folder's thread may take to end.
const END_WAIT: Duration = Duration::from_secs(30);

impl FrontDesk {
    pub(super) async fn remove(self, id: String) -> Result<FolderRemoved, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        let config = folder.config();
        let gone = folder.id().clone();
        self.edit(move |file| Ok(file.remove_folder(&gone))).await?;
        self.end(&folder).await?;
        for peer in self.daemon.peers() {
            peer.withdraw(folder.id()).await;
        }
        let (ledger, store) = (self.daemon.ledger.clone(), self.daemon.store.clone());
        let (asked, settings, own) = (folder.clone(), config.clone(), self.daemon.incarnation);
        let cleared = blocking(move || {
            let cleared = clear(&asked, &settings, &ledger);
            forget(&ledger, &store, asked.id(), own)?;
            cleared
        });
        cleared.await??;
        let text = "the folder is not shared on this device any more; its files stay";
        self.daemon.tell(Happening::folder(folder.id(), "folder-removed", text));
        Ok(FolderRemoved { id, path: PathText::of_file(&config.path) })
    }

    /// Ends a folder's thread and waits until it has ended.
    pub(super) async fn end(&self, folder: &Folder) -> Result<(), ApiError> {
        self.daemon.remove_folder(folder.id());
        // A thread that has ended answers nothing; one that still works answers.
        let ended = async { while folder.ask(|_| ()).await.is_some() {} };
        tokio::time::timeout(END_WAIT, ended).await.map_err(|_| {
            ApiError::could_not(format!(
                "the folder '{}' does not come to an end; restart syncd and try again",
                folder.id()
            ))
        })
    }

    pub(super) async fn adopt(self, id: String) -> Result<Shown, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        // One that halts right now still has its workers; they are waited for below.
        if folder.parts().is_some() && folder.standing().halted.is_none() {
            return Err(ApiError::could_not(format!(
                "the folder '{id}' is not halted, so there is nothing to adopt; see: syncctl \
                 status"
            )));
        }
        let config = folder.config();
        let path = config.path.clone();
        let there = blocking(move || places::look(&path)).await??;
        if there.is_none() {
            return Err(ApiError::could_not(format!(
                "nothing lies at {}; bring the directory back, or say where it is with: syncctl \
                 folder move {id} PATH",
                config.path.display()
            )));
        }
        self.end(&folder).await?;
        let (ledger, store) = (self.daemon.ledger.clone(), self.daemon.store.clone());
        let (forgotten, own) = (folder.id().clone(), self.daemon.incarnation);
        let done = blocking(move || forget(&ledger, &store, &forgotten, own)).await?;
        // Begun again in any case: halted is better than gone.
        let folder = self.begin(config)?;
        done?;
        let text = "the root is taken as it is; nothing is deleted anywhere";
        self.daemon.tell(Happening::folder(folder.id(), "folder-adopted", text));
        Ok(self.shown_folder(&folder).await)
    }
}

pub(super) fn root_at(path: &Path, is_file: bool, id: &FolderId) -> Result<Root, String> {
    let opened = match (is_file, path.parent(), path.file_name()) {
        (true, Some(parent), Some(name)) => Root::open_single(parent, name.as_bytes(), id),
        _ => Root::open(path),
    };
    opened.map_err(|error| chain(&error))
}

/// Forgets all that is remembered of a folder.
fn forget(
    ledger: &Ledger,
    store: &crate::flow::index::Store,
    id: &FolderId,
    own: Incarnation,
) -> Result<(), ApiError> {
    lives::begin(ledger, id, own).map_err(|error| ApiError::could_not(chain(&error)))?;
    ledger.set_root(id, None).map_err(|error| ApiError::could_not(chain(&error)))?;
    join::begin(ledger, id, None).map_err(|error| ApiError::could_not(chain(&error)))?;
    scrub::forget(ledger, id).map_err(|error| ApiError::could_not(chain(&error)))?;
    store.forget_folder(id).map_err(|error| ApiError::could_not(chain(&error)))
}

/// Removes a folder's own place from its root, if the root is the one it was made in.
fn clear(folder: &Folder, config: &FolderConfig, ledger: &Ledger) -> Result<(), ApiError> {
    let known = ledger.root(folder.id());
    let known = known.map(|known| disk::RootToken { token: known.token, inode: known.inode });
    let is_file = folder.single().is_some();
    // A root that is gone or another's holds nothing of ours.
    let Ok(root) = root_at(&config.path, is_file, folder.id()) else { return Ok(()) };
    // A single file's place bears the folder's name; that of a directory must be proven.
    let is_ours = root.attest(known.as_ref()).is_ok() && (known.is_some() || is_file);
    if !is_ours || !matches!(root.stat(root.own()), Ok(Some(_))) {
        return Ok(());
    }
    remove_own(&root).map_err(|errno| {
        ApiError::could_not(format!(
            "the folder '{}' is ended, but '{OWN_NAME}' in {} cannot be removed ({errno}); remove \
             it by hand",
            folder.id(),
            config.path.display()
        ))
    })
}

pub(super) fn remove_own(root: &Root) -> io::Result<()> {
    let mut attribute = "user.syncd.id".to_owned();
    if let Some(name) = root.own().parts().nth(1) {
        attribute += &format!(".{}", String::from_utf8_lossy(name));
        let outer = system::open_at(root.fd(), OWN_NAME.as_bytes(), system::DIRECTORY, 0)?;
        match remove_tree(outer.as_fd(), name) {
            // It was carried elsewhere.
            Ok(()) | Err(io::Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let left = system::names_in(outer.as_fd())?;
        if left.iter().all(|(name, _)| name == b".git") {
            remove_tree(root.fd(), OWN_NAME.as_bytes())?;
        }
    } else {
        remove_tree(root.fd(), OWN_NAME.as_bytes())?;
    }
    // It is harmless where it stays.
    let _ = fs::fremovexattr(root.fd(), attribute.as_str());
    Ok(())
}

/// Removes a directory and all in it, following no symlink.
fn remove_tree(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let inner: OwnedFd = system::open_at(dir, name, system::DIRECTORY, 0)?;
    for (below, file_type) in system::names_in(inner.as_fd())? {
        let kind = match system::kind_of_type(file_type) {
            Some(kind) => Some(kind),
            None => system::stat_at(inner.as_fd(), &below)?.as_ref().and_then(system::kind_of),
        };
        match kind {
            Some(Kind::Directory) => remove_tree(inner.as_fd(), &below)?,
            Some(Kind::File | Kind::Symlink | Kind::Tombstone) | None => {
                fs::unlinkat(inner.as_fd(), below.as_slice(), AtFlags::empty())?;
            }
        }
    }
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_place_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let id = FolderId::parse("work").unwrap();
        std::fs::write(dir.path().join("user"), "x").unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.prepare(&id).unwrap();
        std::os::unix::fs::symlink("../user", dir.path().join(".syncd/trash/link")).unwrap();
        std::fs::create_dir(dir.path().join(".syncd/staging/deep")).unwrap();
        std::fs::write(dir.path().join(".syncd/staging/deep/x"), "x").unwrap();
        remove_own(&root).unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(std::fs::read_to_string(dir.path().join("user")).unwrap(), "x");
    }

    #[test]
    fn single_files_beside_each_other_keep_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let roots = ["one", "two"].map(|name| {
            let id = FolderId::parse(name).unwrap();
            let root = Root::open_single(dir.path(), name.as_bytes(), &id).unwrap();
            root.prepare(&id).unwrap();
            root
        });
        remove_own(&roots[0]).unwrap();
        assert!(!dir.path().join(".syncd/one").exists());
        assert!(dir.path().join(".syncd/two/id").exists());
        remove_own(&roots[1]).unwrap();
        assert!(!dir.path().join(".syncd").exists(), "the last one takes all");
    }
}
