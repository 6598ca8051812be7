//! What the control API of syncd says and hears: types only.
//!
//! The daemon answers HTTP with JSON under [`ROOT`], on the home's `control.sock` and, with a
//! token, on loopback TCP. `syncctl --json` prints these objects as they come, so that a field's
//! name here is a promise to scripts: fields are added, never renamed.
//!
//! # Invariants
//! - Times are RFC 3339 in UTC; lengths are bytes, durations milliseconds, and their names say so.
//! - A path is UTF-8 where it can be; otherwise a second field holds its bytes ([`PathText`]).
//! - Lists are sorted, by the first field that names a thing unless their type says otherwise.

mod conflict;
mod device;
mod error;
mod event;
mod folder;
mod held;
mod path;
mod status;
mod trash;
mod why;
mod words;
mod work;

pub use conflict::{Conflict, ConflictView, Keep, ResolveRequest, Resolved, Side};
pub use device::{
    AddressesRequest, Device, LinkPath, PairRequest, PendingDevice, RenameRequest, Unpaired,
};
pub use error::{ApiError, Exit, sentence};
pub use event::{Event, EventsQuery};
pub use folder::{
    AcceptReport, AcceptRequest, Decided, Folder, FolderAdd, FolderAdded, FolderChange,
    FolderDevice, FolderMove, FolderRemoved, OfferedFolder, Prefer, Role, ShareRequest,
};
pub use held::{Held, HeldAnswer, HeldKind};
pub use path::{PathText, PathTextError};
pub use status::{
    DeviceSync, FolderState, FolderStatus, Health, LeftOut, LeftOutWhy, Problem, Status,
};
pub use trash::{Emptied, EmptyRequest, RestoreRequest, Restored, TrashReason, Trashed};
pub use why::{Reason, ReasonKind, Why};
pub use words::span;
pub use work::{
    FlushReport, FlushRequest, FlushedDevice, FlushedFolder, FolderQuery, ScanReport, ScanRequest,
    ScannedFolder, VerifiedFolder, VerifyReport, VerifyRequest,
};

/// What every route begins with. A change that old clients would misread gets another number.
pub const ROOT: &str = "/v1";

/// The version of the API, in [`Health::api`].
pub const VERSION: u32 = 1;

/// The longest request body, in bytes. Nothing that is asked needs more than a few paths.
pub const BODY_BYTES_MAX: usize = 1 << 20;
