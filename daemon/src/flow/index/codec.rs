//! The bytes below every format on disk: lengths, numbers, runs of bytes.
//!
//! Numbers are LEB128, signed ones zigzag first. Nothing read here can panic or make room for
//! more than the bytes at hand could fill.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// They end too early, or hold something impossible.
    #[error("{0}")]
    Wrong(&'static str),
    /// They carry a version byte this program does not know.
    #[error("written by a newer version (format {0})")]
    Newer(u8),
}

/// Appends an unsigned number in 1 to 10 bytes.
pub(super) fn put_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number, small ones of either sign in few bytes.
pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of a run of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Begins after the version byte of `bytes`, which must be `known` or older than it.
    pub(super) fn versioned(bytes: &'a [u8], known: u8) -> Result<Self, Malformed> {
        match bytes.split_first() {
            None => Err(Malformed::Wrong("there is nothing")),
            Some((0, _)) => Err(Malformed::Wrong("the version byte is zero")),
            Some((version, _)) if *version > known => Err(Malformed::Newer(*version)),
            Some((_, rest)) => Ok(Self { rest }),
        }
    }

    /// Reads exactly `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(Malformed::Wrong("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a run of known length.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads one byte.
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Reads what [`put_uint`] wrote.
    pub(super) fn uint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Wrong("a number is too long"))
    }

    /// Reads what [`put_int`] wrote.
    pub(super) fn int(&mut self) -> Result<i64, Malformed> {
        let value = self.uint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads an unsigned number of 32 bits.
    pub(super) fn uint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.uint()?).map_err(|_| Malformed::Wrong("a number is too great"))
    }

    /// Reads a count of things of which each takes at least `bytes_min` of the bytes left.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.uint()?).unwrap_or(usize::MAX);
        if count > self.rest.len() / bytes_min.max(1) {
            return Err(Malformed::Wrong("a count is too great"));
        }
        Ok(count)
    }

    /// Reads what [`put_bytes`] wrote.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count(1)?;
        self.take(count)
    }

    /// Tells whether everything was read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that everything was read.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::Wrong("something follows the end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_end_where_they_must() {
        for (bytes, read, because) in [
            (&[0x00][..], Some(0), "zero"),
            (&[0x7f], Some(127), "the last of one byte"),
            (&[0x80, 0x01], Some(128), "the first of two"),
            (&[0x80], None, "cut short"),
            (&[0xff; 10], None, "over 64 bits"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Some(u64::MAX), "all"),
        ] {
            assert_eq!(Reader::new(bytes).uint().ok(), read, "{because}");
        }
    }

    #[test]
    fn a_count_never_promises_more_than_there_is() {
        let mut out = Vec::new();
        put_uint(&mut out, u64::MAX);
        assert!(Reader::new(&out).count(1).is_err());
        assert!(Reader::new(&out).bytes().is_err());
        assert_eq!(Reader::new(&[2, 1, 1]).count(1), Ok(2));
        assert!(Reader::new(&[2, 1, 1]).count(2).is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(unsigned: u64, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_uint(&mut out, unsigned);
            put_int(&mut out, signed);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.uint(), Ok(unsigned));
            prop_assert_eq!(reader.int(), Ok(signed));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
