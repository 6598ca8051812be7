//! What daemons say to each other, in bytes. docs/PROTOCOL.md says the same in prose.
//!
//! [`peer`] has the frames as the rest of syncd knows them; their serialized twins are private, so
//! that no decision can lean on the shape of the bytes.
//!
//! # Invariants
//! - What [`decode`] returns is within every limit of [`limits`], and [`encode`] gives it back.
//! - Nothing is allocated for what a length only claims: room is made for bytes that are there.
//! - Bytes of a peer can neither panic nor overflow anything here.

pub mod limits;
mod parse;
pub mod peer;
mod raw;
#[cfg(test)]
mod tests;
pub mod tokens;
mod twins;

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};

pub use peer::{
    Body, Frame, Have, Hello, Holds, List, Listed, Need, Ready, Tag, Want, WantedItem, agreed,
};

use crate::model::limits::FRAME_BYTES_MAX;
use twins::FrameTwin;

/// Why bytes are no frame. The peer is cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They do not decode at all.
    #[error("the frame does not decode")]
    Bytes,
    /// Something is left over.
    #[error("the frame has {0} bytes too many")]
    Surplus(usize),
    /// A value decodes but is none.
    #[error("the frame holds {0}")]
    Value(&'static str),
}

/// Writes a frame.
#[must_use]
pub fn encode(frame: &Frame) -> Vec<u8> {
    // Writing into memory fails only for types that serde cannot describe; these it can.
    bincode::serde::encode_to_vec(FrameTwin::from(frame), codec()).unwrap_or_default()
}

/// Reads a frame.
///
/// # Errors
/// [`DecodeError`] for anything that [`encode`] would not write, save that the Hello of a later
/// version may hold more than is known here.
pub fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
    let (twin, used): (FrameTwin<'_>, usize) =
        bincode::serde::borrow_decode_from_slice(bytes, codec()).map_err(decode_error)?;
    match bytes.len() - used {
        surplus if surplus > 0 && !twin.is_later_hello() => Err(DecodeError::Surplus(surplus)),
        _ => parse::frame(twin),
    }
}

/// The limit counts what decoded numbers take in memory, not on the wire.
fn codec() -> Configuration<LittleEndian, Varint, Limit<FRAME_BYTES_MAX>> {
    standard().with_limit::<FRAME_BYTES_MAX>()
}

fn decode_error(error: bincode::error::DecodeError) -> DecodeError {
    if let bincode::error::DecodeError::OtherString(why) = error
        && why == raw::TOO_MANY
    {
        return DecodeError::Value("more of something than its limit allows");
    }
    DecodeError::Bytes
}
