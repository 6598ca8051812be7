//! Names of bytes: what a file holds, and what one block of it holds.

use std::fmt;

/// BLAKE3 of the whole of a file, or of a symlink's target.
///
/// Directories and tombstones hold nothing and carry [`ContentId::NONE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub [u8; 32]);

/// BLAKE3 of one content-defined block of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub [u8; 32]);

/// The first 8 bytes of a [`ContentId`] that a path held earlier.
///
/// Eight bytes tell apart the handful of contents one path ever had; a clash costs a conflict
/// copy that was not made, with the bytes still in history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AncestorId(pub [u8; 8]);

impl ContentId {
    /// The content of what has none: a directory or a tombstone.
    pub const NONE: Self = Self([0; 32]);

    /// Computes the id of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Returns the short form kept in ancestor lists.
    #[must_use]
    pub fn ancestor(&self) -> AncestorId {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        AncestorId(short)
    }

    /// Returns the 64 lower-case hexadecimal digits, the name of staged bytes.
    #[must_use]
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// Reads what [`ContentId::hex`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl BlockId {
    /// Computes the id of one block's `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE { f.write_str("none") } else { f.write_str(&self.hex()[..8]) }
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Debug for AncestorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_back() {
        let id = ContentId::of(b"hello");
        assert_eq!(ContentId::from_hex(&id.hex()), Some(id));
        for (bad, because) in [
            ("", "nothing is no id"),
            ("zz", "not hexadecimal"),
            (&id.hex()[1..], "one digit short"),
            (&id.hex().to_uppercase(), "staged names are lower case only"),
        ] {
            assert_eq!(ContentId::from_hex(bad), None, "{because}");
        }
    }
}
