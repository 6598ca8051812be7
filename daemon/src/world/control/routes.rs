//! The routes: each asks the desk one thing.

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use syncd_api::{
    AcceptReport, AcceptRequest, AddressesRequest, ApiError, Conflict, ConflictView, Decided,
    Device, Emptied, EmptyRequest, FlushReport, FlushRequest, Folder, FolderAdd, FolderAdded,
    FolderChange, FolderMove, FolderQuery, FolderRemoved, Health, Held, HeldAnswer, Keep,
    OfferedFolder, PairRequest, PathText, PendingDevice, RenameRequest, ResolveRequest, Resolved,
    RestoreRequest, Restored, ScanReport, ScanRequest, ShareRequest, Status, Trashed, Unpaired,
    VerifyReport, VerifyRequest, Why,
};

use super::reply::{Asked, Body, Named, Reply, absolute};
use super::{Office, events, openapi};

/// The methods in use, by the name they have in an OpenAPI document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Delete,
    Get,
    Patch,
    Post,
    Put,
}

impl Verb {
    fn filter(self) -> MethodFilter {
        match self {
            Self::Delete => MethodFilter::DELETE,
            Self::Get => MethodFilter::GET,
            Self::Patch => MethodFilter::PATCH,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Patch => "patch",
            Self::Post => "post",
            Self::Put => "put",
        }
    }
}

/// A router that remembers its routes, so that the document can be held against them.
#[derive(Default)]
pub(super) struct Table {
    pub(super) router: Router<Office>,
    pub(super) listed: Vec<(Verb, &'static str)>,
}

impl Table {
    fn on<H, T>(mut self, verb: Verb, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Office>,
        T: 'static,
    {
        self.listed.push((verb, path));
        self.router = self.router.route(path, on(verb.filter(), handler));
        self
    }
}

/// Lists all routes.
pub(super) fn table() -> Table {
    use Verb::{Delete, Get, Patch, Post, Put};
    Table::default()
        .on(Get, "/v1/openapi.json", async || axum::Json(openapi::document()))
        .on(Get, "/v1/health", health)
        .on(Get, "/v1/status", status)
        .on(Get, "/v1/devices", devices)
        .on(Post, "/v1/devices", pair)
        .on(Delete, "/v1/devices/{device}", unpair)
        .on(Put, "/v1/devices/{device}/addresses", set_addresses)
        .on(Put, "/v1/devices/{device}/name", rename_device)
        .on(Get, "/v1/pending", pending)
        .on(Get, "/v1/folders", folders)
        .on(Post, "/v1/folders", folder_add)
        .on(Delete, "/v1/folders/{folder}", folder_remove)
        .on(Patch, "/v1/folders/{folder}", folder_set)
        .on(Post, "/v1/folders/{folder}/accept", folder_accept)
        .on(Post, "/v1/folders/{folder}/share", folder_share)
        .on(Post, "/v1/folders/{folder}/unshare", folder_unshare)
        .on(Post, "/v1/folders/{folder}/pause", folder_pause)
        .on(Post, "/v1/folders/{folder}/resume", folder_resume)
        .on(Post, "/v1/folders/{folder}/adopt", folder_adopt)
        .on(Post, "/v1/folders/{folder}/move", folder_move)
        .on(Post, "/v1/folders/{folder}/override", folder_override)
        .on(Post, "/v1/folders/{folder}/revert", folder_revert)
        .on(Get, "/v1/offers", offers)
        .on(Post, "/v1/scan", scan)
        .on(Post, "/v1/verify", verify)
        .on(Post, "/v1/flush", flush)
        .on(Get, "/v1/conflicts", conflicts)
        .on(Get, "/v1/conflicts/show", conflict)
        .on(Post, "/v1/conflicts/resolve", resolve)
        .on(Get, "/v1/trash", trash)
        .on(Post, "/v1/trash/restore", restore)
        .on(Post, "/v1/trash/empty", empty_trash)
        .on(Get, "/v1/why", why)
        .on(Get, "/v1/held", held)
        .on(Post, "/v1/held/{id}/approve", approve)
        .on(Post, "/v1/held/{id}/reject", reject)
        .on(Get, "/v1/events", events::events)
}

/// Routes that ask without saying more.
macro_rules! plain {
    ($($name:ident -> $answer:ty;)*) => {$(
        async fn $name(State(office): State<Office>) -> Reply<$answer> {
            Reply(office.desk.$name().await)
        }
    )*};
}

plain! {
    health -> Health;
    status -> Status;
    devices -> Vec<Device>;
    pending -> Vec<PendingDevice>;
    folders -> Vec<Folder>;
    offers -> Vec<OfferedFolder>;
}

/// Routes that ask about one name.
macro_rules! named {
    ($($name:ident -> $answer:ty;)*) => {$(
        async fn $name(State(office): State<Office>, Named(name): Named) -> Reply<$answer> {
            Reply(office.desk.$name(name).await)
        }
    )*};
}

named! {
    unpair -> Unpaired;
    folder_remove -> FolderRemoved;
    folder_pause -> Folder;
    folder_resume -> Folder;
    folder_adopt -> Folder;
    folder_override -> Decided;
    folder_revert -> Decided;
    approve -> HeldAnswer;
    reject -> HeldAnswer;
}

/// Routes that ask within one folder or all.
macro_rules! listing {
    ($($name:ident -> $answer:ty;)*) => {$(
        async fn $name(
            State(office): State<Office>,
            Asked(query): Asked<FolderQuery>,
        ) -> Reply<$answer> {
            Reply(office.desk.$name(query).await)
        }
    )*};
}

listing! {
    conflicts -> Vec<Conflict>;
    trash -> Vec<Trashed>;
    held -> Vec<Held>;
}

/// Routes that hand over a body which `check` finds nothing wrong with.
macro_rules! posting {
    ($($name:ident($request:ty) -> $answer:ty, $check:expr;)*) => {$(
        async fn $name(
            State(office): State<Office>,
            Body(request): Body<$request>,
        ) -> Reply<$answer> {
            let check: fn(&$request) -> Result<(), ApiError> = $check;
            match check(&request) {
                Ok(()) => Reply(office.desk.$name(request).await),
                Err(error) => Reply(Err(error)),
            }
        }
    )*};
}

posting! {
    pair(PairRequest) -> Device, |_| Ok(());
    folder_add(FolderAdd) -> FolderAdded, |request| absolute(&request.path);
    scan(ScanRequest) -> ScanReport, |_| Ok(());
    verify(VerifyRequest) -> VerifyReport, |_| Ok(());
    flush(FlushRequest) -> FlushReport, |_| Ok(());
    resolve(ResolveRequest) -> Resolved, resolvable;
    restore(RestoreRequest) -> Restored, restorable;
    empty_trash(EmptyRequest) -> Emptied, |_| Ok(());
}

/// Routes that hand over a body about one name.
macro_rules! naming {
    ($($name:ident($request:ty) -> $answer:ty, $check:expr;)*) => {$(
        async fn $name(
            State(office): State<Office>,
            Named(name): Named,
            Body(request): Body<$request>,
        ) -> Reply<$answer> {
            let check: fn(&$request) -> Result<(), ApiError> = $check;
            match check(&request) {
                Ok(()) => Reply(office.desk.$name(name, request).await),
                Err(error) => Reply(Err(error)),
            }
        }
    )*};
}

naming! {
    set_addresses(AddressesRequest) -> Device, |_| Ok(());
    rename_device(RenameRequest) -> Device, |_| Ok(());
    folder_accept(AcceptRequest) -> AcceptReport, |request| absolute(&request.path);
    folder_share(ShareRequest) -> Folder, shareable;
    folder_unshare(ShareRequest) -> Folder, shareable;
    folder_set(FolderChange) -> Folder, |_| Ok(());
    folder_move(FolderMove) -> Folder, |request| absolute(&request.path);
}

/// Routes that ask about one path of this device.
macro_rules! locating {
    ($($name:ident -> $answer:ty;)*) => {$(
        async fn $name(
            State(office): State<Office>,
            Asked(path): Asked<PathText>,
        ) -> Reply<$answer> {
            match absolute(&path) {
                Ok(()) => Reply(office.desk.$name(path).await),
                Err(error) => Reply(Err(error)),
            }
        }
    )*};
}

locating! {
    conflict -> ConflictView;
    why -> Why;
}

fn shareable(request: &ShareRequest) -> Result<(), ApiError> {
    match request.with.is_empty() {
        true => Err(ApiError::usage("name at least one device in 'with'")),
        false => Ok(()),
    }
}

fn resolvable(request: &ResolveRequest) -> Result<(), ApiError> {
    absolute(&request.path)?;
    match (&request.keep, &request.with) {
        (Keep::Merged, Some(file)) => absolute(file),
        (Keep::Merged, None) => Err(ApiError::usage("name the merged file in 'with'")),
        (Keep::Mine | Keep::Theirs | Keep::Both, None) => Ok(()),
        (Keep::Mine | Keep::Theirs | Keep::Both, Some(_)) => {
            Err(ApiError::usage("a merged file goes with 'keep': 'merged' only"))
        }
    }
}

fn restorable(request: &RestoreRequest) -> Result<(), ApiError> {
    if request.id.is_none() && request.from.is_none() {
        return Err(ApiError::usage("name what to restore by its id or by its path in 'from'"));
    }
    request.from.iter().chain(&request.to).try_for_each(absolute)
}
