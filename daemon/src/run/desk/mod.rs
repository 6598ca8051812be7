//! The front desk: answers the control API about the daemon of one home.
//!
//! # Invariants
//! - What changes something runs to its end, even if whoever asked hangs up.
//! - The settings are changed by one request at a time, in the file first.
//! - No answer waits for a folder's thread without an end.

mod accept;
mod add;
mod compare;
mod conflicts;
mod devices;
mod edited;
mod events;
mod flush;
mod folders;
mod held;
mod ignores;
mod moves;
mod places;
mod problems;
mod resolve;
mod roles;
mod roots;
mod status;
mod trash;
mod why;
mod work;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use syncd_api::{
    AcceptReport, AcceptRequest, AddressesRequest, ApiError, Conflict, ConflictView, Decided,
    Device, Emptied, EmptyRequest, Event, EventsQuery, FlushReport, FlushRequest, FolderAdd,
    FolderAdded, FolderChange, FolderMove, FolderQuery, FolderRemoved, Health, Held, HeldAnswer,
    OfferedFolder, PairRequest, PathText, PendingDevice, RenameRequest, ResolveRequest, Resolved,
    RestoreRequest, Restored, ScanReport, ScanRequest, ShareRequest, Status, Trashed, Unpaired,
    VerifyReport, VerifyRequest, Why, sentence as chain,
};
use syncd_core::model::{DeviceId, FolderId, RelPath};
use syncd_home::{Config, ConfigError, ConfigFile, near};
use tokio::sync::Mutex;

use super::Daemon;
use super::folder::{Folder, FolderThread, Parts};
use crate::world::control::{Answer, Desk};

/// How long an answer waits for a folder's thread before it goes without.
const ASK_WAIT: Duration = Duration::from_secs(2);

/// Answers for a daemon. Clones are the same desk.
#[derive(Clone)]
pub struct FrontDesk {
    daemon: Arc<Daemon>,
    /// Held by whoever changes the settings.
    editing: Arc<Mutex<()>>,
}

impl FrontDesk {
    /// Makes the desk of `daemon`.
    #[must_use]
    pub fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, editing: Arc::default() }
    }

    /// Changes the settings in their file, then takes them. `change` may run several times.
    async fn edit<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut ConfigFile) -> Result<T, ConfigError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let home = self.daemon.home.clone();
        let edited = blocking(move || {
            ConfigFile::edit(&home, |file| {
                let made = change(file)?;
                Ok((made, file.config()?))
            })
        });
        let (made, config) = edited.await?.map_err(|error| ApiError::could_not(chain(&error)))?;
        self.daemon.set_config(config);
        Ok(made)
    }

    /// Returns the folder that `id` names.
    fn folder(&self, id: &str) -> Result<Folder, ApiError> {
        let known = FolderId::parse(id).ok().and_then(|id| self.daemon.folder(&id));
        known.ok_or_else(|| {
            let folders = self.daemon.folders();
            let meant = near(id, folders.iter().map(|folder| folder.id().as_str()));
            let next = meant.map_or_else(
                || "see them with: syncctl folder ls".to_owned(),
                |meant| format!("did you mean '{meant}'?"),
            );
            ApiError::could_not(format!("there is no folder {id:?} on this device; {next}"))
        })
    }

    /// Returns the folder that `id` names, or all of them.
    fn chosen(&self, id: Option<&str>) -> Result<Vec<Folder>, ApiError> {
        match id {
            Some(id) => Ok(vec![self.folder(id)?]),
            None => Ok(self.daemon.folders()),
        }
    }

    /// Returns the trusted device that a person means.
    fn device(&self, text: &str) -> Result<DeviceId, ApiError> {
        let config = self.daemon.config();
        config.device(text).map(|device| device.id).map_err(|why| match why.ends_with('?') {
            true => ApiError::could_not(why),
            false => {
                ApiError::could_not(format!("{why}; see the paired ones with: syncctl devices"))
            }
        })
    }

    /// Returns the trusted devices that a person means, without repeats, in their order.
    fn devices_of(&self, texts: &[String]) -> Result<Vec<DeviceId>, ApiError> {
        let mut devices = Vec::new();
        for text in texts {
            let device = self.device(text)?;
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        Ok(devices)
    }

    /// Returns what a device is called here; `None` for one that is not known any more.
    fn known_name(&self, config: &Config, id: DeviceId) -> Option<String> {
        crate::run::known_name(config, self.daemon.me, id)
    }

    /// Returns what to call a device, known or not.
    fn name_of(&self, config: &Config, id: DeviceId) -> String {
        self.known_name(config, id).unwrap_or_else(|| id.short())
    }
}

/// Returns root, hands and index of a folder that is at work.
fn at_work(folder: &Folder) -> Result<Parts, ApiError> {
    folder.parts().ok_or_else(|| stopped(folder))
}

/// Says why a folder is not at work.
fn stopped(folder: &Folder) -> ApiError {
    let id = folder.id();
    ApiError::could_not(match folder.standing().halted {
        Some(why) => format!("the folder '{id}' is halted: {why}"),
        None => format!("the folder '{id}' is just being started; try again in a moment"),
    })
}

/// Asks a folder's thread; `None` when it is not there or has not answered in time.
async fn ask<T: Send + 'static>(
    folder: &Folder,
    act: impl FnOnce(&mut FolderThread) -> T + Send + 'static,
) -> Option<T> {
    tokio::time::timeout(ASK_WAIT, folder.ask(act)).await.ok().flatten()
}

/// Lets a folder's thread look at paths soon.
async fn look_at(folder: &Folder, paths: Vec<RelPath>) {
    // A thread that is not there scans everything when it comes back.
    let _ = ask(folder, |thread| thread.look_at(paths)).await;
}

/// Does what waits for the disk, away from the threads that answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| broken(&error))
}

fn broken(error: &dyn Error) -> ApiError {
    ApiError::could_not(format!("syncd failed inside ({error}); please report what its log says"))
}

/// Runs to the end, even if nobody waits any more.
fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Answer<'static, T> {
    Box::pin(async {
        match tokio::spawn(work).await {
            Ok(answer) => answer,
            Err(error) => Err(broken(&error)),
        }
    })
}

/// Refuses because the index does not answer.
fn unreadable(error: &syncd_core::flow::index::IndexError) -> ApiError {
    ApiError::could_not(format!("{error}; restart syncd, which rebuilds what is broken"))
}

/// Turns nanoseconds since 1970 into a time to show.
fn shown_time(ns: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

impl Desk for FrontDesk {
    fn health(&self) -> Answer<'_, Health> {
        Box::pin(self.tell_health())
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(self.tell_status())
    }

    fn devices(&self) -> Answer<'_, Vec<Device>> {
        Box::pin(self.list_devices())
    }

    fn pending(&self) -> Answer<'_, Vec<PendingDevice>> {
        Box::pin(self.list_pending())
    }

    fn pair(&self, request: PairRequest) -> Answer<'_, Device> {
        to_its_end(self.clone().trust(request))
    }

    fn unpair(&self, device: String) -> Answer<'_, Unpaired> {
        to_its_end(self.clone().distrust(device))
    }

    fn set_addresses(&self, device: String, request: AddressesRequest) -> Answer<'_, Device> {
        to_its_end(self.clone().change_addresses(device, request))
    }

    fn rename_device(&self, device: String, request: RenameRequest) -> Answer<'_, Device> {
        to_its_end(self.clone().rename(device, request))
    }

    fn folders(&self) -> Answer<'_, Vec<syncd_api::Folder>> {
        Box::pin(self.list_folders())
    }

    fn offers(&self) -> Answer<'_, Vec<OfferedFolder>> {
        Box::pin(async { Ok(self.list_offers()) })
    }

    fn folder_add(&self, request: FolderAdd) -> Answer<'_, FolderAdded> {
        to_its_end(self.clone().add(request))
    }

    fn folder_accept(&self, folder: String, request: AcceptRequest) -> Answer<'_, AcceptReport> {
        to_its_end(self.clone().accept(folder, request))
    }

    fn folder_remove(&self, folder: String) -> Answer<'_, FolderRemoved> {
        to_its_end(self.clone().remove(folder))
    }

    fn folder_share(&self, folder: String, request: ShareRequest) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().share(folder, request))
    }

    fn folder_unshare(
        &self,
        folder: String,
        request: ShareRequest,
    ) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().unshare(folder, request))
    }

    fn folder_pause(&self, folder: String) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().set_paused(folder, true))
    }

    fn folder_resume(&self, folder: String) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().set_paused(folder, false))
    }

    fn folder_set(&self, folder: String, request: FolderChange) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().change(folder, request))
    }

    fn folder_override(&self, folder: String) -> Answer<'_, Decided> {
        to_its_end(self.clone().overrule(folder))
    }

    fn folder_revert(&self, folder: String) -> Answer<'_, Decided> {
        to_its_end(self.clone().revert(folder))
    }

    fn folder_adopt(&self, folder: String) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().adopt(folder))
    }

    fn folder_move(&self, folder: String, request: FolderMove) -> Answer<'_, syncd_api::Folder> {
        to_its_end(self.clone().move_root(folder, request))
    }

    fn scan(&self, request: ScanRequest) -> Answer<'_, ScanReport> {
        Box::pin(self.scan_now(request))
    }

    fn verify(&self, request: VerifyRequest) -> Answer<'_, VerifyReport> {
        to_its_end(self.clone().verify_now(request))
    }

    fn flush(&self, request: FlushRequest) -> Answer<'_, FlushReport> {
        Box::pin(self.flush_now(request))
    }

    fn conflicts(&self, query: FolderQuery) -> Answer<'_, Vec<Conflict>> {
        Box::pin(self.list_conflicts(query))
    }

    fn conflict(&self, path: PathText) -> Answer<'_, ConflictView> {
        Box::pin(self.show_conflict(path))
    }

    fn resolve(&self, request: ResolveRequest) -> Answer<'_, Resolved> {
        to_its_end(self.clone().end_conflict(request))
    }

    fn trash(&self, query: FolderQuery) -> Answer<'_, Vec<Trashed>> {
        Box::pin(self.list_trash(query))
    }

    fn restore(&self, request: RestoreRequest) -> Answer<'_, Restored> {
        to_its_end(self.clone().bring_back(request))
    }

    fn empty_trash(&self, request: EmptyRequest) -> Answer<'_, Emptied> {
        to_its_end(self.clone().end_trash(request))
    }

    fn why(&self, path: PathText) -> Answer<'_, Why> {
        Box::pin(self.explain(path))
    }

    fn held(&self, query: FolderQuery) -> Answer<'_, Vec<Held>> {
        Box::pin(self.list_held(query))
    }

    fn approve(&self, id: String) -> Answer<'_, HeldAnswer> {
        to_its_end(self.clone().decide(id, true))
    }

    fn reject(&self, id: String) -> Answer<'_, HeldAnswer> {
        to_its_end(self.clone().decide(id, false))
    }

    fn events(&self, query: EventsQuery) -> Answer<'_, BoxStream<'static, Event>> {
        Box::pin(async move { Ok(events::stream(&self.daemon.happenings, query)) })
    }
}
