//! Names of folders and of the stores that index them.

use std::fmt;

use super::limits::FOLDER_ID_BYTES_MAX;

/// The name under which devices share one folder: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(String);

/// Why a text is no folder id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FolderIdError {
    /// Empty or too long.
    #[error("a folder id has 1 to {FOLDER_ID_BYTES_MAX} characters, not {0}")]
    Length(usize),
    /// A character that would need quoting somewhere.
    #[error("a folder id has only letters, digits, '.', '_' and '-', not {0:?}")]
    Character(char),
    /// A name that file systems give a meaning of their own.
    #[error("a folder id cannot begin with a dot")]
    LeadingDot,
}

impl FolderId {
    /// Reads a folder id.
    ///
    /// # Errors
    /// [`FolderIdError`] when it is empty, over 64 bytes, begins with a dot, or holds another
    /// character than `A-Z a-z 0-9 . _ -`.
    pub fn parse(text: &str) -> Result<Self, FolderIdError> {
        if text.is_empty() || text.len() > FOLDER_ID_BYTES_MAX {
            return Err(FolderIdError::Length(text.len()));
        }
        if text.starts_with('.') {
            return Err(FolderIdError::LeadingDot);
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            Some(bad) => Err(FolderIdError::Character(bad)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Names one life of an index store; a rebuilt store has another. Sequences and covered vectors
/// mean something only together with the store that gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_folder_ids() {
        let long = "x".repeat(65);
        for (text, good, because) in [
            ("work", true, "a plain word"),
            ("a.b_c-9", true, "every allowed mark"),
            ("", false, "nothing"),
            (&long[..64], true, "just short enough"),
            (&long[..], false, "one too long"),
            (".syncd", false, "a hidden name"),
            ("a/b", false, "a separator"),
            ("a b", false, "a blank"),
            ("ü", false, "not ASCII"),
        ] {
            assert_eq!(FolderId::parse(text).is_ok(), good, "{because}: {text}");
        }
    }
}
