//! The folders of this device: which there are, with whom they are shared, and their settings.

use futures::future::join_all;
use syncd_api::{
    ApiError, Folder as Shown, FolderChange, FolderDevice, OfferedFolder, PathText, Role,
    ShareRequest,
};
use syncd_core::model::{DeviceId, RelPath};
use syncd_core::protocol::Ready;
use syncd_home::{Config, FolderConfig, FolderLimits, RESCAN_S_MAX, VERIFY_DAYS_MAX};

use super::resolve::put;
use super::status::remember;
use super::{FrontDesk, at_work, blocking, broken, ignores, look_at};
use crate::run::folder::{self, Folder, take_settings};

impl FrontDesk {
    pub(super) async fn list_folders(&self) -> Result<Vec<Shown>, ApiError> {
        let folders = self.daemon.folders();
        Ok(join_all(folders.iter().map(|folder| self.shown_folder(folder))).await)
    }

    /// Shows a folder as it stands.
    pub(super) async fn shown_folder(&self, folder: &Folder) -> Shown {
        let config = self.daemon.config();
        let seen = self.see(folder, &config).await;
        let state = seen.state();
        let marks = remember(&self.daemon.store.folder(folder.id())).await;
        let marks = marks.unwrap_or_default().marks;
        let accepted = |id: &str| {
            let mut devices = seen.config.devices.iter();
            let device = devices.find(|device| device.to_string() == id);
            device.is_some_and(|device| self.has_accepted(folder.id(), *device, &marks))
        };
        let devices: Vec<FolderDevice> = seen
            .devices
            .iter()
            .map(|device| FolderDevice {
                name: device.name.clone(),
                device_id: device.device_id.clone(),
                accepted: accepted(&device.device_id),
                in_sync: device.in_sync,
                left_out: device.left_out.clone(),
            })
            .collect();
        let asked = folder.clone();
        let single = blocking(move || asked.single().is_some()).await;
        Shown {
            id: folder.id().to_string(),
            path: PathText::of_file(&seen.config.path),
            label: seen.config.label.unwrap_or_else(|| folder.id().to_string()),
            role: shown_role(seen.config.role),
            single_file: single.unwrap_or(false),
            state,
            devices,
        }
    }

    pub(super) fn list_offers(&self) -> Vec<OfferedFolder> {
        let config = self.daemon.config();
        let mut offers: Vec<OfferedFolder> = Vec::new();
        for (device, ready) in self.open_offers(&config) {
            let from = FolderDevice {
                name: self.name_of(&config, device),
                device_id: device.to_string(),
                accepted: true,
                in_sync: false,
                left_out: Vec::new(),
            };
            let holds = self.daemon.holds(&ready.folder, device);
            match offers.iter_mut().find(|offer| offer.id == ready.folder.as_str()) {
                Some(offer) => {
                    offer.devices.push(from);
                    if let Some(holds) = holds.filter(|h| offer.files.is_none_or(|f| f < h.files)) {
                        (offer.files, offer.bytes) = (Some(holds.files), Some(holds.bytes));
                    }
                }
                None => offers.push(OfferedFolder {
                    id: ready.folder.to_string(),
                    label: match ready.label.is_empty() {
                        true => ready.folder.to_string(),
                        false => ready.label,
                    },
                    single_file: ready.single_file.is_some(),
                    files: holds.as_ref().map(|holds| holds.files),
                    bytes: holds.map(|holds| holds.bytes),
                    devices: vec![from],
                }),
            }
        }
        for offer in &mut offers {
            offer.devices.sort_by(|a, b| (&a.name, &a.device_id).cmp(&(&b.name, &b.device_id)));
        }
        offers.sort_by(|a, b| a.id.cmp(&b.id));
        offers
    }

    /// Lists what trusted devices offer and this one has not taken.
    pub(super) fn open_offers(&self, config: &Config) -> Vec<(DeviceId, Ready)> {
        let trusted = |id: DeviceId| config.devices.iter().any(|device| device.id == id);
        let mut offers = self.daemon.offered();
        offers.retain(|(device, ready)| {
            trusted(*device) && self.daemon.folder(&ready.folder).is_none()
        });
        offers
    }

    /// Writes a folder's settings into the file and into the folder, if there is one.
    pub(super) async fn keep_folder(&self, config: FolderConfig) -> Result<(), ApiError> {
        let stored = config.clone();
        self.edit(move |file| {
            file.put_folder(&stored);
            Ok(())
        })
        .await?;
        if let Some(folder) = self.daemon.folder(&config.id) {
            take_settings(&self.daemon, &folder, config).await;
        }
        Ok(())
    }

    /// Lets a folder that stands in the settings begin.
    pub(super) fn begin(&self, config: FolderConfig) -> Result<Folder, ApiError> {
        let id = config.id.clone();
        let begun = folder::begin(&self.daemon, config).map_err(|error| {
            ApiError::could_not(format!(
                "the folder '{id}' is stored but cannot begin ({error}); restart syncd"
            ))
        })?;
        self.daemon.add_folder(begun.clone());
        Ok(begun)
    }

    pub(super) async fn share(self, id: String, request: ShareRequest) -> Result<Shown, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        let devices = named(self.devices_of(&request.with)?)?;
        let mut config = folder.config();
        let new: Vec<DeviceId> =
            devices.into_iter().filter(|device| !config.devices.contains(device)).collect();
        if !new.is_empty() {
            config.devices.extend(&new);
            self.keep_folder(config).await?;
        }
        Ok(self.shown_folder(&folder).await)
    }

    pub(super) async fn unshare(
        self,
        id: String,
        request: ShareRequest,
    ) -> Result<Shown, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        let devices = named(self.devices_of(&request.with)?)?;
        let mut config = folder.config();
        config.devices.retain(|device| !devices.contains(device));
        self.keep_folder(config).await?;
        Ok(self.shown_folder(&folder).await)
    }

    pub(super) async fn set_paused(self, id: String, paused: bool) -> Result<Shown, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        let config = folder.config();
        if config.paused != paused {
            self.keep_folder(FolderConfig { paused, ..config }).await?;
        }
        Ok(self.shown_folder(&folder).await)
    }

    pub(super) async fn change(self, id: String, change: FolderChange) -> Result<Shown, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder(&id)?;
        let patterns = change.in_place.iter().chain(&change.ignore).flatten();
        ignores::check(&patterns.cloned().collect::<Vec<_>>())?;
        let config = changed(folder.config(), &change)?;
        if config != folder.config() {
            self.keep_folder(config).await?;
        }
        if change.ignore.is_some() || change.starter_ignores {
            let parts = at_work(&folder)?;
            if parts.root.single().is_some() {
                return Err(no_ignores());
            }
            let (patterns, starter) = (change.ignore.unwrap_or_default(), change.starter_ignores);
            let path = RelPath::parse(ignores::NAME).map_err(|error| broken(&error))?;
            let at = path.clone();
            blocking(move || match ignores::added(&parts.root, &patterns, starter)? {
                Some(text) => put(&parts, &at, Some(&text)),
                None => Ok(()),
            })
            .await??;
            look_at(&folder, vec![path]).await;
        }
        Ok(self.shown_folder(&folder).await)
    }
}

/// Returns settings with what a change gives.
fn changed(config: FolderConfig, change: &FolderChange) -> Result<FolderConfig, ApiError> {
    let rescan_s = change.rescan_s.unwrap_or(config.rescan_s);
    if rescan_s.is_some_and(|seconds| !(1..=RESCAN_S_MAX).contains(&seconds)) {
        let what = format!("a folder is scanned every 1 to {RESCAN_S_MAX} seconds");
        return Err(ApiError::usage(what));
    }
    let verify_days = change.verify_days.unwrap_or(config.verify_days);
    if verify_days.is_some_and(|days| !(1..=VERIFY_DAYS_MAX).contains(&days)) {
        let what = format!("a folder is verified every 1 to {VERIFY_DAYS_MAX} days");
        return Err(ApiError::usage(what));
    }
    let limits = FolderLimits {
        history_days: change.history_days.unwrap_or(config.limits.history_days),
        history_versions: change.history_versions.unwrap_or(config.limits.history_versions),
        history_percent: change.history_percent.unwrap_or(config.limits.history_percent),
        free_mib: change.free_mib.unwrap_or(config.limits.free_mib),
    };
    let label = match &change.label {
        Some(label) => Some(label.clone()).filter(|label| !label.is_empty()),
        None => config.label,
    };
    Ok(FolderConfig {
        label,
        role: change.role.map_or(config.role, stored_role),
        paused: change.paused.unwrap_or(config.paused),
        in_place: change.in_place.clone().unwrap_or(config.in_place),
        rescan_s,
        verify_days,
        limits,
        ..config
    })
}

/// Says that a single file has no ignore file.
pub(super) fn no_ignores() -> ApiError {
    ApiError::usage("a single file has no ignore file; leave the patterns out")
}

fn named(devices: Vec<DeviceId>) -> Result<Vec<DeviceId>, ApiError> {
    if devices.is_empty() {
        return Err(ApiError::usage("name at least one device"));
    }
    Ok(devices)
}

/// Returns the API's word for a role.
pub(super) fn shown_role(role: syncd_home::Role) -> Role {
    match role {
        syncd_home::Role::SendReceive => Role::SendReceive,
        syncd_home::Role::SendOnly => Role::SendOnly,
        syncd_home::Role::ReceiveOnly => Role::ReceiveOnly,
    }
}

/// Returns the settings' word for a role.
pub(super) fn stored_role(role: Role) -> syncd_home::Role {
    match role {
        Role::SendReceive => syncd_home::Role::SendReceive,
        Role::SendOnly => syncd_home::Role::SendOnly,
        Role::ReceiveOnly => syncd_home::Role::ReceiveOnly,
    }
}
