//! A peer that breaks every rule of the protocol, paired and not, against real daemons.
//!
//! Each attack is a row or a story: what is sent, why somebody would, and what must become of it.
//! Whatever it is, the daemon lives, nothing outside the folder is read or written, its memory
//! stays below [`RESIDENT_BYTES_MAX`], and the honest device goes on syncing.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod asking;
mod counters;
mod floods;
mod frames;
mod links;
mod local;
mod names;
mod shown;
mod strangers;

/// The most memory that the daemon may ever have resident while one peer attacks it: what it takes
/// at rest in an unoptimised build, and the room that one peer has by docs/PROTOCOL.md and
/// `daemon/src/run/bounds.rs`, decoded.
const RESIDENT_BYTES_MAX: u64 = 512 << 20;
