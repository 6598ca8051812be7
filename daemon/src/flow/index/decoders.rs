//! The decoders of what lies in the store and in the ledger, for a test that counts what they
//! allocate: it is a process of its own and sees only what is public. Nobody else calls these.
//!
//! Each takes bytes and returns the same value written again; `None` when they hold none.

use super::format::{decode_page, encode_page};
use super::ledger_format::{self, HEAD_BYTES};
use super::rows;

/// Reads a page of the index.
#[must_use]
pub fn page(bytes: &[u8]) -> Option<Vec<u8>> {
    decode_page(bytes).ok().map(|entries| encode_page(&entries))
}

/// Reads a bucket of changes.
#[must_use]
pub fn changes(bytes: &[u8]) -> Option<Vec<u8>> {
    rows::decode_changes(bytes).ok().map(|changes| rows::encode_changes(&changes))
}

/// Reads a bucket of holders.
#[must_use]
pub fn holders(bytes: &[u8]) -> Option<Vec<u8>> {
    rows::decode_holders(bytes).ok().map(|holders| rows::encode_holders(&holders))
}

/// Reads a folder's tally.
#[must_use]
pub fn tally(bytes: &[u8]) -> Option<Vec<u8>> {
    rows::decode_tally(bytes).ok().map(|tally| rows::encode_tally(&tally))
}

/// Reads a folder's marks.
#[must_use]
pub fn marks(bytes: &[u8]) -> Option<Vec<u8>> {
    rows::decode_marks(bytes).ok().map(|marks| rows::encode_marks(&marks))
}

/// Reads a block list that has one part.
#[must_use]
pub fn blocks(bytes: &[u8]) -> Option<Vec<u8>> {
    rows::decode_blocks([bytes]).ok().map(|list| rows::encode_blocks(&list).concat())
}

/// Reads a whole ledger, and writes its state as one frame.
#[must_use]
pub fn ledger(bytes: &[u8]) -> Option<Vec<u8>> {
    let (state, _) = ledger_format::read(bytes).ok()?;
    let frame = ledger_format::frame(HEAD_BYTES as u64, &state.lines());
    Some([ledger_format::head(), frame].concat())
}

/// Reads what one frame of the ledger holds, without the checksum before it.
#[must_use]
pub fn ledger_lines(bytes: &[u8]) -> Option<Vec<u8>> {
    ledger_format::read_lines(bytes).ok().map(|lines| ledger_format::payload(&lines))
}
