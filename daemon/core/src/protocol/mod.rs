//! What daemons say to each other, in bytes. docs/PROTOCOL.md says the same in prose.

pub mod peer;
mod twins;

pub use peer::{Body, Frame, Have, Hello, Need, Ready, Tag, Want, WantedItem};
pub use twins::{DecodeError, decode, encode, encode_record, decode_record};
