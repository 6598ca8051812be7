//! What one frame may hold beside the caps of [`crate::model::limits`]. Who sends keeps to them;
//! a frame that does not is refused whole.

/// Longest name of a device, or label of a folder, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest name of an agent, in bytes.
pub const AGENT_BYTES_MAX: usize = 64;

/// Greatest file, in bytes: 256 TiB. Sums over all that can wait to be settled stay far below
/// 2^64.
pub const FILE_BYTES_MAX: u64 = 1 << 48;

/// Writers that one offer names. The records and the covered vector point into this list.
pub const WRITERS_MAX: usize = 1 << 14;

/// Ranges in one acknowledgement: as many as frames may be open.
pub const ACK_RANGES_MAX: usize = 1 << 14;

/// Items in one want.
pub const WANT_ITEMS_MAX: usize = 4096;

/// Ranges in one want, over all its items.
pub const WANT_RANGES_MAX: usize = 4096;

/// Answers in one frame.
pub const HAVES_MAX: usize = 1 << 15;

/// Blocks of one list. With an average block of 1 MiB this is a file of about 195 GiB; the list
/// of a larger one does not fit into a frame, and such a file is not fetched.
pub const BLOCKS_MAX: usize = 200_000;

/// Longest block, in bytes: four times the greatest average.
pub const BLOCK_BYTES_MAX: u32 = 4 << 20;
