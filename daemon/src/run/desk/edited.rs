//! Folders that were added, moved, changed or removed in the settings file by hand.
//!
//! What is written there holds as it would after a restart, at once. A folder that cannot be used
//! as it is written there stays as it was, and the others go on.

use syncd_api::ApiError;
use syncd_core::model::DeviceId;
use syncd_home::{FolderConfig, Home};
use tokio::sync::OwnedMutexGuard;

use super::{FrontDesk, blocking, places};
use crate::run::Happening;
use crate::run::folder::{Folder, take_settings};
use crate::world::disk::Single;

impl FrontDesk {
    /// Waits until nobody else changes the settings, and keeps them from doing so.
    pub(in crate::run) async fn turn(&self) -> OwnedMutexGuard<()> {
        std::sync::Arc::clone(&self.editing).lock_owned().await
    }

    /// Takes the folders as the settings file has them. Returns those that hold from now on, and a
    /// sentence for each that cannot be used as it is written. To be called in one's turn.
    pub(in crate::run) async fn take_folders(
        &self,
        now: &[FolderConfig],
    ) -> (Vec<FolderConfig>, Vec<String>) {
        let (mut held, mut troubles) = (Vec::new(), Vec::new());
        for folder in self.daemon.folders() {
            if !now.iter().any(|new| new.id == *folder.id()) {
                troubles.extend(self.dismiss(&folder).await.err().map(|error| error.error));
            }
        }
        for new in now {
            let taken = match self.daemon.folder(&new.id) {
                Some(folder) if folder.config().path == new.path => {
                    if folder.config() != *new {
                        take_settings(&self.daemon, &folder, new.clone()).await;
                    }
                    Ok(())
                }
                Some(folder) => self.rehouse(&folder, new).await,
                None => self.admit(new).await,
            };
            if let Err(error) = taken {
                troubles.push(format!("the folder '{}': {}", new.id, error.error));
            }
            held.extend(self.daemon.folder(&new.id).map(|folder| folder.config()));
        }
        (held, troubles)
    }

    /// Begins a folder that is new in the settings.
    async fn admit(&self, new: &FolderConfig) -> Result<(), ApiError> {
        self.check_place(new).await?;
        self.begin(new.clone())?;
        self.daemon.tell(Happening::folder(
            &new.id,
            "folder-added",
            "the folder stands in the settings now",
        ));
        Ok(())
    }

    /// Ends a folder that is no longer in the settings; nothing that lies there is touched.
    async fn dismiss(&self, folder: &Folder) -> Result<(), ApiError> {
        let ended = self.end(folder).await;
        for peer in self.daemon.peers() {
            peer.withdraw(folder.id()).await;
        }
        let text = "the folder is not in the settings any more; its files stay";
        self.daemon.tell(Happening::folder(folder.id(), "folder-removed", text));
        ended
    }

    /// Lets a folder go on at another place, where it halts unless its root lies there.
    async fn rehouse(&self, folder: &Folder, new: &FolderConfig) -> Result<(), ApiError> {
        let before = folder.config();
        let settings = FolderConfig { path: before.path, ..new.clone() };
        take_settings(&self.daemon, folder, settings).await;
        self.check_place(new).await?;
        self.end(folder).await?;
        self.begin(new.clone())?;
        Ok(())
    }

    /// Makes sure that a folder may have its root where the settings say.
    async fn check_place(&self, new: &FolderConfig) -> Result<(), ApiError> {
        let mut others: Vec<FolderConfig> =
            self.daemon.folders().iter().map(Folder::config).collect();
        others.retain(|other| other.id != new.id);
        let (home, me, new) = (self.daemon.home.clone(), self.daemon.me, new.clone());
        blocking(move || may_lie(&new, &others, &home, me)).await?
    }
}

/// Tells whether a folder may have its root where its settings say. Blocks.
fn may_lie(
    new: &FolderConfig,
    others: &[FolderConfig],
    home: &Home,
    me: DeviceId,
) -> Result<(), ApiError> {
    // One that is not there is waited for, as after a start.
    let real = match places::look(&new.path)? {
        Some(place) if place.is_file => {
            let name = place.path.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes);
            if name.and_then(Single::new).is_none() {
                return Err(places::no_single(&place.path));
            }
            place.real
        }
        Some(place) => place.real,
        None => new.path.clone(),
    };
    places::check_free(&real, home, others)?;
    places::check_unclaimed(&real, me)
}
