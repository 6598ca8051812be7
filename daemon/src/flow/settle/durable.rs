//! How many files are made durable.

use crate::world::disk::system;

/// Up to this many files are made durable one by one; more by one `syncfs` where that is allowed,
/// which waits for everybody's dirty pages but only once.
pub(super) const SYNC_SINGLY_MAX: usize = 8;

/// Tells whether so many files are made durable by one call.
pub(super) fn is_synced_at_once(files: usize) -> bool {
    files > SYNC_SINGLY_MAX && system::can_sync_file_systems()
}
