//! What is said of one path, and which line said it.

use std::fmt;
use std::sync::Arc;

/// What the rules say of one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether the path is left out.
    pub ignored: bool,
    /// Whether it is left out by a `(?d)` line: it may go when it is all that keeps a directory.
    pub disposable: bool,
    /// The line that decided, be it to leave out or (`!`) to keep; `None` when no line matched.
    pub rule: Option<RuleAt>,
}

/// One line of a rule file. Shown as `file:line`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleAt {
    /// The file, relative to the folder's root; `(built in)` for the lines that need no file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The line's text without the blanks around it; bytes that are not UTF-8 are shown as `�`.
    pub text: Arc<str>,
}

impl fmt::Display for RuleAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
