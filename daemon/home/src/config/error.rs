//! Why settings could not be read or changed.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where in a file something stands. Prints as ` in line 3, column 5 of /path`, or as nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The file, if it is known.
    pub file: Option<PathBuf>,
    /// The line from 1, if the text has it.
    pub line: Option<usize>,
    /// The column from 1, counted in characters, where it says more than the line.
    pub column: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, " in line {line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        match (&self.file, self.line) {
            (Some(file), Some(_)) => write!(f, " of {}", file.display()),
            (Some(file), None) => write!(f, " in {}", file.display()),
            (None, _) => Ok(()),
        }
    }
}

/// Why settings could not be read or changed. The text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML. Mend the line, or move the file away to begin anew.
    #[error("the settings are damaged{place}: {what}; mend that line")]
    Damaged {
        /// Where.
        place: Place,
        /// What the parser says, in one line.
        what: String,
    },
    /// Nobody reads such a key. It is refused lest a typing error go unnoticed.
    #[error("unknown key '{key}'{place}{}", nearest_hint(nearest.as_deref()))]
    UnknownKey {
        /// The key as it stands, with the tables it is in.
        key: String,
        /// Where.
        place: Place,
        /// The known key most like it.
        nearest: Option<String>,
    },
    /// The key cannot have this value.
    #[error("bad value of '{key}'{place}: {why}")]
    Value {
        /// The key.
        key: String,
        /// Where.
        place: Place,
        /// What is wrong and what would be right.
        why: String,
    },
    /// Another process wrote the file since it was read. Read it again and repeat the change.
    #[error("{} was changed by another process meanwhile; try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {action} {}", path.display())]
    Disk {
        /// What was tried, as a verb: `read`, `write`, `lock`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean '{key}'?"))
}

impl ConfigError {
    /// Returns the same error with its place changed by `change`.
    pub(super) fn placed(mut self, change: impl FnOnce(&mut Place)) -> Self {
        match &mut self {
            Self::Damaged { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Value { place, .. } => change(place),
            Self::Changed { .. } | Self::Disk { .. } => {}
        }
        self
    }

    /// Returns the key the error is about.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::Value { key, .. } => Some(key),
            Self::Damaged { .. } | Self::Changed { .. } | Self::Disk { .. } => None,
        }
    }
}
