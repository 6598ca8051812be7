//! Paths in JSON, whatever bytes they are.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path as two fields, `path` and, only for names that are not UTF-8, `path_hex`.
///
/// It is flattened into the object that speaks of it. `path` is then the bytes with each stray
/// one written as `\xNN`, for people to read; `path_hex` is what counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct PathText {
    /// The path; escaped if `path_hex` is there. May hold control characters: JSON escapes
    /// them, a terminal does not.
    pub path: String,
    /// The path's bytes in lower-case hexadecimal, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
}

/// A `path_hex` that is not an even count of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathTextError;

impl std::fmt::Display for PathTextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("path_hex must be an even count of hexadecimal digits")
    }
}

impl std::error::Error for PathTextError {}

impl PathText {
    /// Writes the bytes of a path.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if let Ok(path) = std::str::from_utf8(bytes) {
            return Self { path: path.to_owned(), path_hex: None };
        }
        let (mut path, mut hex) = (String::new(), String::new());
        for chunk in bytes.utf8_chunks() {
            path.push_str(chunk.valid());
            for byte in chunk.invalid() {
                // Writing to a string cannot fail.
                let _ = write!(path, "\\x{byte:02x}");
            }
        }
        for byte in bytes {
            let _ = write!(hex, "{byte:02x}");
        }
        Self { path, path_hex: Some(hex) }
    }

    /// Writes a path of the file system.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self::of(path.as_os_str().as_bytes())
    }

    /// Returns the path's bytes.
    ///
    /// # Errors
    /// [`PathTextError`] when `path_hex` is there and is not hexadecimal.
    pub fn bytes(&self) -> Result<Vec<u8>, PathTextError> {
        match &self.path_hex {
            None => Ok(self.path.as_bytes().to_vec()),
            Some(hex) => unhex(hex.as_bytes()).ok_or(PathTextError),
        }
    }

    /// Returns the path for the file system.
    ///
    /// # Errors
    /// [`PathTextError`] when `path_hex` is there and is not hexadecimal.
    pub fn file(&self) -> Result<PathBuf, PathTextError> {
        Ok(PathBuf::from(std::ffi::OsString::from_vec(self.bytes()?)))
    }
}

impl From<&Path> for PathText {
    fn from(path: &Path) -> Self {
        Self::of_file(path)
    }
}

impl From<&OsStr> for PathText {
    fn from(path: &OsStr) -> Self {
        Self::of(path.as_bytes())
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_read_back() {
        for (bytes, json, because) in [
            (&b"/a/b"[..], r#"{"path":"/a/b"}"#, "plain"),
            ("/\u{fc}".as_bytes(), "{\"path\":\"/\u{fc}\"}", "UTF-8 needs no second field"),
            (b"a\x1b[31m", r#"{"path":"a\u001b[31m"}"#, "control characters are JSON's to escape"),
            (b"", r#"{"path":""}"#, "the folder's root"),
            (
                b"a\xffb",
                r#"{"path":"a\\xffb","path_hex":"61ff62"}"#,
                "not UTF-8: the bytes stand beside it",
            ),
        ] {
            let text = PathText::of(bytes);
            assert_eq!(serde_json::to_string(&text).unwrap(), json, "{because}");
            let back: PathText = serde_json::from_str(json).unwrap();
            assert_eq!(back.bytes().unwrap(), bytes, "{because}");
        }
    }

    #[test]
    fn hexadecimal_is_checked() {
        for (hex, because) in [("6", "half a byte"), ("zz", "no digits"), ("+1", "no sign")] {
            let text = PathText { path: String::new(), path_hex: Some(hex.to_owned()) };
            assert_eq!(text.bytes(), Err(PathTextError), "{because}");
        }
    }
}
