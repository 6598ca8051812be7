//! Every cap of the system, with its unit and its reason.

/// Longest folder id. Short enough for every file system and header.
pub const FOLDER_ID_BYTES_MAX: usize = 64;

/// Longest path inside a folder, `PATH_MAX` on Linux.
pub const PATH_BYTES_MAX: usize = 4096;

/// Longest name in a path, `NAME_MAX` on every file system we meet.
pub const NAME_BYTES_MAX: usize = 255;

/// How many earlier contents of a path a record remembers.
pub const ANCESTORS_MAX: usize = 8;

/// Most writers in one version vector that a peer may send. A hub with a hundred boxes whose
/// stores were each rebuilt ten times stays below it.
pub const VERSION_WRITERS_MAX: usize = 1024;

/// A file up to this size is one block, travels whole and needs no block list.
pub const WHOLE_BYTES_MAX: u64 = 64 << 10;

/// Contents up to this size travel inside an interactive offer.
pub const INLINE_BYTES_MAX: u64 = 16 << 10;

/// Inline bytes that may wait on the interactive lane of one peer, so that the lane stays short.
pub const INLINE_IN_FLIGHT_BYTES_MAX: u64 = 64 << 10;

/// Records in one offer frame.
pub const OFFER_RECORDS_MAX: usize = 1000;

/// Records offered to one peer and not yet acknowledged.
pub const OFFERED_IN_FLIGHT_MAX: usize = 8000;

/// A batch of settled files is closed at this many.
pub const BATCH_FILES_MAX: usize = 1000;

/// A batch of settled files is closed after this long.
pub const BATCH_WAIT_MS_MAX: u64 = 50;

/// Bytes wanted from one peer and not yet come.
pub const WANTED_BYTES_MAX: u64 = 32 << 20;

/// Longest frame on a peer's stream. A frame of records or a few blocks stays far below it.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// Greatest counter or sequence that a peer may name. No device counts so far, and whatever is
/// added to one that does not go beyond it stays a number.
pub const COUNTER_MAX: u64 = u64::MAX >> 1;

/// Counters reserved in the ledger at a time; 2^44 such ranges fit in a `u64`.
pub const COUNTER_RANGE: u64 = 1 << 20;
