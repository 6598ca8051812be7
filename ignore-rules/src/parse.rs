//! Reading: the text of rule files becomes rules, in the order in which they are asked.
//!
//! # Invariants
//! - A file that has one bad line gives no rules at all: half a rule file could let out what its
//!   missing half was to keep in.
//! - Patterns of an included file mean the same as if they stood in the including one.

use std::fmt;
use std::sync::Arc;

use crate::glob::Glob;
use crate::token::{SLASH, Token, tokens};
use crate::verdict::RuleAt;

/// On these systems file names that differ only in case are the same file.
pub(crate) const FOLD_ALWAYS: bool = cfg!(any(target_os = "macos", windows));

/// Includes may be nested this deep, so that no chain of files exhausts the stack.
const INCLUDE_DEPTH_MAX: usize = 32;

/// Where included files come from.
pub trait Source {
    /// Returns the content of a file, or `None` if there is no such file. `name` is relative to
    /// the folder's root, `/`-separated, without `.` and `..`.
    fn include(&mut self, name: &str) -> Option<Vec<u8>>;
}

impl<F: FnMut(&str) -> Option<Vec<u8>>> Source for F {
    fn include(&mut self, name: &str) -> Option<Vec<u8>> {
        self(name)
    }
}

/// Why rule files give no rules: the first line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The file, as it was named to [`Rules::parse`](crate::Rules::parse) or relative to the root.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}", self.file, self.line, self.reason)
    }
}

impl std::error::Error for RuleError {}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// `!`, `(?i)` or `(?d)` alone.
    NothingAfterPrefix,
    /// `#include` alone.
    NoIncludeName,
    /// The name of an included file is not UTF-8.
    IncludeNameNotText,
    /// The name leads out of the folder, or to no file.
    IncludeOutside(String),
    /// There is no such file.
    IncludeMissing(String),
    /// The file was included before.
    IncludeTwice(String),
    /// The file includes itself, directly or through others.
    IncludeCycle(String),
    /// A file included by a file included by ... over 32 levels.
    IncludeTooDeep,
    /// A line that begins with `#` and is none of those that mean something.
    UnknownDirective(String),
    /// `#escape` without `=` and exactly one character other than `/`.
    BadEscape,
    /// `#escape` after a pattern of the same file.
    EscapeTooLate,
    /// A second `#escape` in one file.
    EscapeTwice,
    /// The escape character stands last.
    NothingToEscape,
    /// `[` without `]`.
    OpenBracket,
    /// `{` without `}`.
    OpenBrace,
    /// A range such as `[z-a]`.
    BackwardRange,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingAfterPrefix => f.write_str("there is no pattern after the prefix"),
            Self::NoIncludeName => f.write_str("#include names no file"),
            Self::IncludeNameNotText => f.write_str("the name of the included file is not UTF-8"),
            Self::IncludeOutside(name) => write!(f, "'{name}' is no file inside the folder"),
            Self::IncludeMissing(name) => write!(f, "the included file '{name}' is missing"),
            Self::IncludeTwice(name) => write!(f, "'{name}' is included a second time"),
            Self::IncludeCycle(name) => write!(f, "'{name}' includes itself"),
            Self::IncludeTooDeep => {
                write!(f, "includes are nested deeper than {INCLUDE_DEPTH_MAX} files")
            }
            Self::UnknownDirective(word) => write!(
                f,
                "'{word}' is not known; comments begin with '//', and a name that begins with '#' \
                 is written '\\#'"
            ),
            Self::BadEscape => f.write_str("#escape wants '=' and one character other than '/'"),
            Self::EscapeTooLate => f.write_str("#escape must come before the first pattern"),
            Self::EscapeTwice => f.write_str("#escape is given a second time"),
            Self::NothingToEscape => f.write_str("the escape character at the end escapes nothing"),
            Self::OpenBracket => f.write_str("'[' is not closed"),
            Self::OpenBrace => f.write_str("'{' is not closed"),
            Self::BackwardRange => f.write_str("a range in '[]' runs backwards"),
        }
    }
}

/// One line that can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) test: Test,
    /// Keeps what matches (`!`).
    pub(crate) keeps: bool,
    pub(crate) disposable: bool,
    pub(crate) at: RuleAt,
}

/// What a rule asks of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Glob(Glob),
    /// Whether git would ignore it.
    Gitignore,
}

/// The rules of all files, and the files that were included.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) rules: Vec<Rule>,
    pub(crate) includes: Vec<String>,
}

/// Reads rule files one after the other, each with what it includes.
///
/// # Errors
/// [`RuleError`] for the first line that cannot be used.
pub(crate) fn parse(files: &[(&str, &[u8])], source: &mut dyn Source) -> Result<Parsed, RuleError> {
    let mut parsed = Parsed::default();
    for (name, text) in files {
        let mut tree = Tree { source, parsed: &mut parsed, seen: Vec::new(), open: Vec::new() };
        tree.read(name, text)?;
    }
    parsed.includes.retain(|name| files.iter().all(|(named, _)| named != name));
    Ok(parsed)
}

/// Reads the lines that come with the program.
pub(crate) fn built_in(name: &str, lines: &[&str]) -> Vec<Rule> {
    let file = Arc::from(name);
    let rule = |(index, line): (usize, &&str)| {
        parse_pattern(line.as_bytes(), Token::from('\\'), rule_at(&file, index, line.as_bytes()))
    };
    // They are plain names, which always parse; a test asks for each of them.
    lines.iter().enumerate().filter_map(|line| rule(line).ok()).collect()
}

/// One named file and all it includes. A file may be included once in each tree: what a device's
/// own rule file includes must not make the shared one invalid.
struct Tree<'a> {
    source: &'a mut dyn Source,
    parsed: &'a mut Parsed,
    seen: Vec<String>,
    /// The files from the named one down to the one being read.
    open: Vec<String>,
}

/// What one file has set for the lines that follow.
struct Setting {
    escape: Token,
    escape_given: bool,
    had_pattern: bool,
}

impl Tree<'_> {
    fn read(&mut self, name: &str, text: &[u8]) -> Result<(), RuleError> {
        self.open.push(name.to_owned());
        let file: Arc<str> = Arc::from(name);
        let escape = Token::from(if cfg!(windows) { '|' } else { '\\' });
        let mut setting = Setting { escape, escape_given: false, had_pattern: false };
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"//") {
                continue;
            }
            let reason = match self.line(line, rule_at(&file, index, line), &mut setting) {
                Ok(()) => continue,
                Err(Fault::Here(reason)) => reason,
                Err(Fault::Below(error)) => return Err(error),
            };
            return Err(RuleError { file: name.to_owned(), line: index + 1, reason });
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, line: &[u8], at: RuleAt, setting: &mut Setting) -> Result<(), Fault> {
        if !line.starts_with(b"#") {
            setting.had_pattern = true;
            self.parsed.rules.push(parse_pattern(line, setting.escape, at)?);
            return Ok(());
        }
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'=';
        let (word, rest) = line.split_at(line.iter().position(is_end).unwrap_or(line.len()));
        let rest = trim(rest);
        match word {
            b"#include" => self.include(rest),
            b"#escape" => Ok(set_escape(rest, setting)?),
            b"#gitignore" if rest.is_empty() => {
                let test = Test::Gitignore;
                self.parsed.rules.push(Rule { test, keeps: false, disposable: false, at });
                Ok(())
            }
            _ => Err(Reason::UnknownDirective(at.text.to_string()).into()),
        }
    }

    fn include(&mut self, written: &[u8]) -> Result<(), Fault> {
        if written.is_empty() {
            return Err(Reason::NoIncludeName.into());
        }
        let written = std::str::from_utf8(written).map_err(|_| Reason::IncludeNameNotText)?;
        let from = self.open.last().map_or("", String::as_str);
        let name = resolve(from, written)?;
        if self.open.contains(&name) {
            return Err(Reason::IncludeCycle(name).into());
        }
        if self.seen.contains(&name) {
            return Err(Reason::IncludeTwice(name).into());
        }
        if self.open.len() > INCLUDE_DEPTH_MAX {
            return Err(Reason::IncludeTooDeep.into());
        }
        let text = self.source.include(&name);
        let text = text.ok_or_else(|| Reason::IncludeMissing(name.clone()))?;
        self.seen.push(name.clone());
        if !self.parsed.includes.contains(&name) {
            self.parsed.includes.push(name.clone());
        }
        self.read(&name, &text).map_err(Fault::Below)
    }
}

/// Where a fault lies: in the line at hand, or in a file that it includes.
enum Fault {
    Here(Reason),
    Below(RuleError),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Here(reason)
    }
}

fn rule_at(file: &Arc<str>, index: usize, line: &[u8]) -> RuleAt {
    let text = String::from_utf8_lossy(line).into();
    RuleAt { file: Arc::clone(file), line: index + 1, text }
}

fn parse_pattern(line: &[u8], escape: Token, at: RuleAt) -> Result<Rule, Reason> {
    let mut text = line;
    // Each prefix counts once; the same again belongs to the pattern: `!!x` keeps a file `!x`.
    let (mut keeps, mut fold, mut disposable) = (false, false, false);
    loop {
        let prefixes: [(&[u8], &mut bool); 3] =
            [(b"!", &mut keeps), (b"(?i)", &mut fold), (b"(?d)", &mut disposable)];
        let found =
            prefixes.into_iter().find(|(prefix, given)| !**given && text.starts_with(prefix));
        let Some((prefix, given)) = found else { break };
        *given = true;
        text = &text[prefix.len()..];
    }
    if text.is_empty() {
        return Err(Reason::NothingAfterPrefix);
    }
    let glob = Glob::parse(text, escape, fold || FOLD_ALWAYS)?;
    Ok(Rule { test: Test::Glob(glob), keeps, disposable: disposable && !keeps, at })
}

fn set_escape(rest: &[u8], setting: &mut Setting) -> Result<(), Reason> {
    if setting.escape_given {
        return Err(Reason::EscapeTwice);
    }
    if setting.had_pattern {
        return Err(Reason::EscapeTooLate);
    }
    let character = rest.strip_prefix(b"=").map(trim).ok_or(Reason::BadEscape)?;
    match tokens(character)[..] {
        [token] if token != SLASH => setting.escape = token,
        _ => return Err(Reason::BadEscape),
    }
    setting.escape_given = true;
    Ok(())
}

/// Returns the name, relative to the root, of a file that another file names.
fn resolve(from: &str, written: &str) -> Result<String, Reason> {
    let outside = || Reason::IncludeOutside(written.to_owned());
    let mut names: Vec<&str> = from.split('/').collect();
    names.pop();
    for name in written.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop().ok_or_else(outside)?),
            name => names.push(name),
        }
    }
    if names.is_empty() || written.ends_with('/') {
        return Err(outside());
    }
    Ok(names.join("/"))
}

/// Takes the blanks from both ends, those of Unicode too if the line is text.
fn trim(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_names_are_relative_to_the_including_file() {
        let rows = [
            (".stignore", "common", Ok("common"), "beside"),
            ("rules/a", "b", Ok("rules/b"), "beside, in a directory"),
            ("rules/a", "../b", Ok("b"), "above"),
            ("rules/a", "./x//b", Ok("rules/x/b"), "dots and doubled slashes mean nothing"),
            ("rules/a", "/b", Ok("rules/b"), "a leading slash changes nothing"),
            (".stignore", "../b", Err("../b"), "out of the folder"),
            ("rules/a", "../../b", Err("../../b"), "out of the folder from below"),
            ("rules/a", "..", Err(".."), "the root is no file"),
            (".stignore", "rules/", Err("rules/"), "a directory is no file"),
        ];
        for (from, written, expected, reason) in rows {
            let expected = match expected {
                Ok(name) => Ok(name.to_owned()),
                Err(name) => Err(Reason::IncludeOutside(name.to_owned())),
            };
            assert_eq!(resolve(from, written), expected, "{reason}: {written} in {from}");
        }
    }

    #[test]
    fn a_chain_of_includes_ends() {
        let mut next = 0;
        let mut source = |_: &str| {
            next += 1;
            Some(format!("#include {next}").into_bytes())
        };
        let error = parse(&[(".stignore", b"#include 0")], &mut source).expect_err("endless");
        assert_eq!(error.reason, Reason::IncludeTooDeep);
        assert_eq!(error.file, "31");
    }
}
