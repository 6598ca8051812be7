//! The values every stage speaks.
//!
//! Nothing here does anything but compare, parse and print. Serialized twins live in
//! [`crate::protocol`] (the wire) and in the daemon's index format (the disk), so that neither
//! shape can leak into a decision.

mod content;
mod device;
mod entry;
mod folder;
pub mod limits;
mod path;
pub(crate) mod record;
mod role;
pub mod shown;
mod tick;
mod version;

pub use content::{AncestorId, BlockId, ContentId};
pub use device::{DeviceId, DeviceIdError};
pub use entry::{Entry, Local, Standing, StatKey};
pub use folder::{FolderId, FolderIdError, StoreId};
pub use path::{PathError, RelPath};
pub use record::{Actor, Kind, Record};
pub use role::{Favour, Role};
pub use tick::Tick;
pub use version::{Causality, Counter, Dot, Incarnation, Seq, Version, Writer};
