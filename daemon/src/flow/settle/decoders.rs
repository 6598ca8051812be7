//! The decoders of what lies in `.syncd` beside the bytes, for a test that counts what they
//! allocate: it is a process of its own and sees only what is public. Nobody else calls these.
//!
//! Each takes bytes and returns the same value written again; `None` when they hold none.

use super::bases::Base;
use super::journal;

/// Reads a journal of the trash, and writes it as short as it can be.
#[must_use]
pub fn trash_journal(bytes: &[u8]) -> Option<Vec<u8>> {
    let (live, next_seq) = journal::noted(bytes);
    for (moved, _) in live.values() {
        // What is listed of it is read from its texts.
        let _ = (moved.path(), moved.content(), moved.name());
    }
    Some(journal::told(live, next_seq))
}

/// Reads the name of a version in the trash.
#[must_use]
pub fn trash_name(bytes: &[u8]) -> Option<Vec<u8>> {
    let (content, seq) = journal::parse_trash_name(bytes)?;
    Some(journal::trash_name(content, seq).into_bytes())
}

/// Reads the name of a base.
#[must_use]
pub fn base_name(bytes: &[u8]) -> Option<Vec<u8>> {
    Base::parse(bytes).map(|base| base.name().into_bytes())
}
