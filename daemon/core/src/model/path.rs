//! Paths inside a folder: bytes, separated by `/`, that cannot escape.

use std::fmt;

use super::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};
use super::shown::escaped;

/// A path below a folder's root, in the bytes the file system gave. It is never absolute, has no
/// empty, `.` or `..` part, no NUL, no part over 255 bytes and at most 4,096 bytes in all.
///
/// Ordered by parts, so that a directory's children follow it before its next sibling.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why bytes are no path inside a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing at all.
    #[error("the path is empty")]
    Empty,
    /// Over 4,096 bytes.
    #[error("the path has {0} bytes; {PATH_BYTES_MAX} is the most")]
    TooLong(usize),
    /// A part over 255 bytes.
    #[error("a name in the path has {0} bytes; {NAME_BYTES_MAX} is the most")]
    NameTooLong(usize),
    /// A leading, trailing or doubled `/`.
    #[error("the path has an empty part")]
    EmptyPart,
    /// `.` or `..`.
    #[error("the path has a part '.' or '..'")]
    Dots,
    /// A NUL byte.
    #[error("the path has a NUL byte")]
    Nul,
}

impl RelPath {
    /// Returns the folder's root itself, the parent of top-level names. It is not a path that a
    /// peer can name: [`RelPath::parse`] refuses it.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Reads a path from bytes.
    ///
    /// # Errors
    /// [`PathError`] naming the first thing that is wrong.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(bytes.len()));
        }
        for part in bytes.split(|b| *b == b'/') {
            check_name(part)?;
        }
        Ok(Self(bytes.into()))
    }

    /// Returns the path of `name` in this directory.
    ///
    /// # Errors
    /// [`PathError`] when `name` is no single name or the whole gets too long.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let name = name.as_ref();
        check_name(name)?;
        if name.contains(&b'/') {
            return Err(PathError::EmptyPart);
        }
        if self.is_root() {
            return Ok(Self(name.into()));
        }
        let whole = [&self.0, &b"/"[..], name].concat();
        if whole.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(whole.len()));
        }
        Ok(Self(whole.into()))
    }

    /// Tells whether this is the folder's root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lists the names from the top down; none for the root.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|part| !part.is_empty())
    }

    /// Returns the last name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.parts().next_back().unwrap_or_default()
    }

    /// Returns the directory it lies in, which may be the root; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].into()))
    }

    /// Lists the directories above it, nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent).take_while(|dir| !dir.is_root())
    }

    /// Tells whether it lies somewhere below `dir`; a path is not below itself.
    #[must_use]
    pub fn is_below(&self, dir: &Self) -> bool {
        if dir.is_root() {
            return !self.is_root();
        }
        self.0.len() > dir.0.len() && self.0.starts_with(&dir.0) && self.0[dir.0.len()] == b'/'
    }

    /// Tells whether the first name is `.syncd` in any mix of cases, where syncd keeps its own.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.parts().next().is_some_and(|name| name.eq_ignore_ascii_case(b".syncd"))
    }

    /// Returns how many names it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.parts().count()
    }
}

/// Checks one name between slashes.
fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::EmptyPart),
        b"." | b".." => Err(PathError::Dots),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::NameTooLong(name.len())),
        _ if name.contains(&0) => Err(PathError::Nul),
        _ => Ok(()),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Prints the path for people: bytes that are no printable UTF-8 come escaped, so that no name
/// can steer a terminal.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(&escaped(chunk.valid()))?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_inside_are_paths() {
        let name = "n".repeat(256);
        let long = vec![b'a'; 4097];
        for (bytes, verdict, because) in [
            (&b"a"[..], Ok(()), "a name"),
            (b"a/b/c", Ok(()), "three names"),
            (b"...", Ok(()), "three dots are a name"),
            (b"\xff\xfe", Ok(()), "names need not be UTF-8"),
            (b"a\nb", Ok(()), "newlines are legal on disk"),
            (b"", Err(PathError::Empty), "nothing"),
            (b"/etc", Err(PathError::EmptyPart), "absolute"),
            (b"a/", Err(PathError::EmptyPart), "trailing slash"),
            (b"a//b", Err(PathError::EmptyPart), "doubled slash"),
            (b"..", Err(PathError::Dots), "the way out"),
            (b"a/../b", Err(PathError::Dots), "the way out, hidden"),
            (b"./a", Err(PathError::Dots), "here"),
            (b"a\0b", Err(PathError::Nul), "C would cut it"),
            (&name.as_bytes()[..255], Ok(()), "as long as a name gets"),
            (name.as_bytes(), Err(PathError::NameTooLong(256)), "a byte longer"),
            (&long, Err(PathError::TooLong(4097)), "longer than PATH_MAX"),
        ] {
            assert_eq!(RelPath::parse(bytes).map(|_| ()), verdict, "{because}");
        }
    }

    #[test]
    fn a_directory_sorts_right_before_its_children() {
        let sorted = ["a", "a/b", "a/b/c", "a/c", "a!", "a-b", "b"];
        for pair in sorted.windows(2) {
            assert!(
                RelPath::parse(pair[0]).unwrap() < RelPath::parse(pair[1]).unwrap(),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn parents_end_at_the_root() {
        let path = RelPath::parse("a/b/c").unwrap();
        let above: Vec<String> = path.ancestors().map(|p| p.to_string()).collect();
        assert_eq!(above, ["a/b", "a"]);
        assert_eq!(RelPath::parse("a").unwrap().parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(RelPath::root().join("a").unwrap().join("b").unwrap().to_string(), "a/b");
        assert!(RelPath::root().join("a/b").is_err(), "a join adds one name");
    }

    #[test]
    fn below_is_by_whole_names() {
        let dir = RelPath::parse("a/b").unwrap();
        for (path, below) in [("a/b/c", true), ("a/b", false), ("a/bc", false), ("a", false)] {
            assert_eq!(RelPath::parse(path).unwrap().is_below(&dir), below, "{path}");
        }
        assert!(dir.is_below(&RelPath::root()));
    }

    #[test]
    fn our_own_name_is_reserved_in_every_case() {
        for (path, reserved) in
            [(".syncd", true), (".SyncD/x", true), ("a/.syncd", false), (".syncd2", false)]
        {
            assert_eq!(RelPath::parse(path).unwrap().is_reserved(), reserved, "{path}");
        }
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        for (bytes, printed) in [
            (&b"plain \xc3\xbc"[..], "plain \u{fc}"),
            (b"a\x1b[31m", "a\\u{1b}[31m"),
            (b"a\nb", "a\\u{a}b"),
            (b"\xff", "\\xff"),
            ("\u{202e}gpj".as_bytes(), "\\u{202e}gpj"),
        ] {
            assert_eq!(RelPath::parse(bytes).unwrap().to_string(), printed);
        }
    }
}
