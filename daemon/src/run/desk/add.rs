//! Sharing a directory or one single file.

use std::os::unix::ffi::OsStrExt;

use syncd_api::{ApiError, FolderAdd, FolderAdded};
use syncd_core::model::{DeviceId, FolderId};
use syncd_home::{Config, FolderConfig};

use super::folders::{no_ignores, stored_role};
use super::places::{self, Place};
use super::{FrontDesk, blocking, chain, ignores};
use crate::run::folder::join;
use crate::world::disk::{Root, Single};

impl FrontDesk {
    pub(super) async fn add(self, request: FolderAdd) -> Result<FolderAdded, ApiError> {
        let _turn = self.editing.lock().await;
        let config = self.daemon.config();
        let devices = self.devices_of(&request.with)?;
        ignores::check(&request.ignore)?;
        let asked = places::file_of(&request.path)?;
        let (home, me) = (self.daemon.home.clone(), self.daemon.me);
        let folders = config.folders.clone();
        let place = blocking(move || {
            let place = places::look(&asked)?.ok_or_else(|| {
                ApiError::could_not(format!(
                    "{} is not there; make it first, or name another path",
                    asked.display()
                ))
            })?;
            places::check_free(&place.real, &home, &folders)?;
            places::check_unclaimed(&place.real, me)?;
            let name = place.path.file_name().map(OsStrExt::as_bytes);
            if place.is_file && name.and_then(Single::new).is_none() {
                return Err(places::no_single(&place.path));
            }
            Ok::<Place, ApiError>(place)
        })
        .await??;
        let id = self.new_id(&config, request.id.as_deref(), &place)?;
        if !place.is_file {
            let (path, real, owner) = (place.path.clone(), place.real.clone(), self.daemon.owner());
            blocking(move || claim(&path, &real, &owner, me)).await??;
        }
        let writes = !request.ignore.is_empty() || request.starter_ignores;
        if place.is_file && writes {
            return Err(no_ignores());
        }
        let root = place.path.clone();
        let suggested = match place.is_file {
            true => Vec::new(),
            false => {
                let (patterns, starter) = (request.ignore.clone(), request.starter_ignores);
                blocking(move || suggest(&root, &patterns, starter)).await??
            }
        };
        let settings = FolderConfig {
            label: request.label.filter(|label| !label.is_empty()),
            role: stored_role(request.role),
            devices,
            ..FolderConfig::new(id, place.path)
        };
        join::takes_from(&self.daemon.ledger, &settings.id, None)
            .map_err(|error| ApiError::could_not(chain(&error)))?;
        self.keep_folder(settings.clone()).await?;
        let folder = self.begin(settings)?;
        let folder = self.shown_folder(&folder).await;
        Ok(FolderAdded { folder, suggested_ignores: suggested })
    }

    /// Reads the id that is asked for, or makes one of the path's last name.
    fn new_id(
        &self,
        config: &Config,
        asked: Option<&str>,
        place: &Place,
    ) -> Result<FolderId, ApiError> {
        let taken = |id: &FolderId| config.folders.iter().find(|folder| folder.id == *id);
        let Some(text) = asked else {
            let name = place.path.file_name().unwrap_or_default();
            let offered = self.daemon.offered();
            let is_offered = |id: &FolderId| offered.iter().any(|(_, ready)| ready.folder == *id);
            let is_taken = |id: &FolderId| taken(id).is_some() || is_offered(id);
            return Ok(places::id_from(name.as_bytes(), is_taken));
        };
        let id = FolderId::parse(text).map_err(|error| ApiError::usage(error.to_string()))?;
        match taken(&id) {
            Some(folder) => Err(ApiError::could_not(format!(
                "{} has the id '{id}' already; choose another --id",
                folder.path.display()
            ))),
            None => Ok(id),
        }
    }
}

/// Claims a directory for this device; of several devices that share it at once one succeeds.
fn claim(
    path: &std::path::Path,
    real: &std::path::Path,
    owner: &str,
    me: DeviceId,
) -> Result<(), ApiError> {
    match Root::open(path).and_then(|root| root.claim(owner)) {
        Ok(false) => places::check_unclaimed(real, me),
        // What cannot be written is told by the folder itself, which waits for it.
        Ok(true) | Err(_) => Ok(()),
    }
}

/// Writes the ignore file as asked and returns what more would suit.
fn suggest(
    path: &std::path::Path,
    patterns: &[String],
    starter: bool,
) -> Result<Vec<String>, ApiError> {
    let root = Root::open(path).map_err(|error| {
        ApiError::could_not(format!("{} cannot be used: {}", path.display(), chain(&error)))
    })?;
    ignores::write(&root, patterns, starter)?;
    Ok(ignores::suited(&ignores::names(&root)))
}
