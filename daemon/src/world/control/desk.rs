//! Who answers: the one thing that the control server asks, a method a route.

use std::future::Future;
use std::pin::Pin;

use futures::stream::BoxStream;
use syncd_api::{
    AcceptReport, AcceptRequest, AddressesRequest, ApiError, Conflict, ConflictView, Decided,
    Device, Emptied, EmptyRequest, Event, EventsQuery, FlushReport, FlushRequest, Folder,
    FolderAdd, FolderAdded, FolderChange, FolderMove, FolderQuery, FolderRemoved, Health, Held,
    HeldAnswer, OfferedFolder, PairRequest, PathText, PendingDevice, RenameRequest, ResolveRequest,
    Resolved, RestoreRequest, Restored, ScanReport, ScanRequest, ShareRequest, Status, Trashed,
    Unpaired, VerifyReport, VerifyRequest, Why,
};

/// What a desk promises.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// Answers the control API.
///
/// A `device` is what a person typed: a name, a full id, a PeerId, or a unique prefix of at least
/// 7 characters. A `folder` is a folder's id. Paths that come in are absolute paths of this
/// device. Lists go out sorted as the API's types say.
///
/// The server drops an answer that nobody waits for any more: whoever asked has hung up. What
/// must be finished then has to run by itself.
///
/// Every method may refuse with an [`ApiError`] whose sentence says what to do next; exit 1 unless
/// the method says more.
pub trait Desk: Send + Sync + 'static {
    /// Tells that the daemon is there. Never waits for anything.
    fn health(&self) -> Answer<'_, Health>;

    /// Tells how all folders stand.
    fn status(&self) -> Answer<'_, Status>;

    /// Lists the trusted devices, by name.
    fn devices(&self) -> Answer<'_, Vec<Device>>;

    /// Lists the devices that ask to be trusted, by id.
    fn pending(&self) -> Answer<'_, Vec<PendingDevice>>;

    /// Trusts a device; answers when that is stored, waits for nobody.
    fn pair(&self, request: PairRequest) -> Answer<'_, Device>;

    /// Trusts a device no longer; answers when its connections are closed.
    fn unpair(&self, device: String) -> Answer<'_, Unpaired>;

    /// Replaces the addresses at which a device is looked for.
    fn set_addresses(&self, device: String, request: AddressesRequest) -> Answer<'_, Device>;

    /// Calls a device something else here.
    fn rename_device(&self, device: String, request: RenameRequest) -> Answer<'_, Device>;

    /// Lists this device's folders, by id.
    fn folders(&self) -> Answer<'_, Vec<Folder>>;

    /// Lists the folders that are offered and not taken, by id.
    fn offers(&self) -> Answer<'_, Vec<OfferedFolder>>;

    /// Shares a directory or a file; answers when that is stored, the scan goes on behind.
    fn folder_add(&self, request: FolderAdd) -> Answer<'_, FolderAdded>;

    /// Takes an offered folder. Exit 1 when the offer is not here yet; exit 5 when more files
    /// differ than may be decided without a person and `prefer` does not say how.
    fn folder_accept(&self, folder: String, request: AcceptRequest) -> Answer<'_, AcceptReport>;

    /// Shares a folder no longer. Users' files stay.
    fn folder_remove(&self, folder: String) -> Answer<'_, FolderRemoved>;

    /// Shares a folder with more devices.
    fn folder_share(&self, folder: String, request: ShareRequest) -> Answer<'_, Folder>;

    /// Shares a folder with fewer devices.
    fn folder_unshare(&self, folder: String, request: ShareRequest) -> Answer<'_, Folder>;

    /// Stops a folder until it is resumed.
    fn folder_pause(&self, folder: String) -> Answer<'_, Folder>;

    /// Lets a paused folder go on.
    fn folder_resume(&self, folder: String) -> Answer<'_, Folder>;

    /// Changes a folder's settings.
    fn folder_set(&self, folder: String, request: FolderChange) -> Answer<'_, Folder>;

    /// Makes this device's state of a folder that only sends win everywhere.
    fn folder_override(&self, folder: String) -> Answer<'_, Decided>;

    /// Gives up what was changed here in a folder that only receives; it goes into the trash.
    fn folder_revert(&self, folder: String) -> Answer<'_, Decided>;

    /// Takes a halted folder's root back in union mode: nothing is deleted anywhere.
    fn folder_adopt(&self, folder: String) -> Answer<'_, Folder>;

    /// Tells a folder that its root lies elsewhere now.
    fn folder_move(&self, folder: String, request: FolderMove) -> Answer<'_, Folder>;

    /// Scans now; answers when done.
    fn scan(&self, request: ScanRequest) -> Answer<'_, ScanReport>;

    /// Reads every file again and compares it with what was written.
    fn verify(&self, request: VerifyRequest) -> Answer<'_, VerifyReport>;

    /// Answers when what lies here now is durable elsewhere. Exit 4 when the time is over, exit 5
    /// when held changes stand in the way, listed in the items.
    fn flush(&self, request: FlushRequest) -> Answer<'_, FlushReport>;

    /// Lists the conflict copies, by folder and path.
    fn conflicts(&self, query: FolderQuery) -> Answer<'_, Vec<Conflict>>;

    /// Shows the versions of one conflict; `path` is the file or its copy.
    fn conflict(&self, path: PathText) -> Answer<'_, ConflictView>;

    /// Ends a conflict. Exit 5 when only a person can: a version changed meanwhile.
    fn resolve(&self, request: ResolveRequest) -> Answer<'_, Resolved>;

    /// Lists what was displaced or deleted, by folder, path and newest first.
    fn trash(&self, query: FolderQuery) -> Answer<'_, Vec<Trashed>>;

    /// Brings something back, never replacing what lies there.
    fn restore(&self, request: RestoreRequest) -> Answer<'_, Restored>;

    /// Deletes what was displaced or deleted, for good.
    fn empty_trash(&self, request: EmptyRequest) -> Answer<'_, Emptied>;

    /// Tells why a path is as it is. A path in no folder is an answer, not a refusal.
    fn why(&self, path: PathText) -> Answer<'_, Why>;

    /// Lists the changes that wait for a person, oldest first.
    fn held(&self, query: FolderQuery) -> Answer<'_, Vec<Held>>;

    /// Lets held changes go on.
    fn approve(&self, id: String) -> Answer<'_, HeldAnswer>;

    /// Undoes held changes: what would have gone is brought back.
    fn reject(&self, id: String) -> Answer<'_, HeldAnswer>;

    /// Tells events, by id. When following, the stream has no end; else it ends with the last
    /// event that is known now.
    fn events(&self, query: EventsQuery) -> Answer<'_, BoxStream<'static, Event>>;
}
