//! The `.gitignore` files of a folder, read as git reads them.
//!
//! Within a file the last line that matches decides, a deeper file outweighs those above it, and
//! below an ignored directory nothing is asked any more. Patterns are matched byte by byte, and
//! where git's practice and its manual differ the practice is followed, so that both leave out
//! the same files. Only `.gitignore` files count: not `.git/info/exclude`, not the user's own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::{memchr_iter, memrchr};

use crate::automaton::{Inst, Program, Set};
use crate::parse::FOLD_ALWAYS;
use crate::token::{SLASH, Token};
use crate::verdict::RuleAt;

/// The `.gitignore` files by the directory they are in.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Gitignores(BTreeMap<Box<[u8]>, File>);

#[derive(Debug, Clone, PartialEq)]
struct File {
    /// How many bytes of a path go before what the lines speak of.
    base_bytes: usize,
    /// In the order of the file.
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    shape: Shape,
    /// `!`: git does not ignore what matches.
    keeps: bool,
    dir_only: bool,
    /// Matches the last name of a path, wherever it is; otherwise the path from the file's place.
    name_only: bool,
    at: RuleAt,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Plain(Box<[u8]>),
    Ending(Box<[u8]>),
    Program(Program),
}

impl Gitignores {
    /// Sets or removes the file of a directory.
    pub(crate) fn set(&mut self, dir: &[u8], text: Option<&[u8]>) {
        match text {
            Some(text) => drop(self.0.insert(dir.into(), File::parse(dir, text))),
            None => drop(self.0.remove(dir)),
        }
    }

    /// Tells whether `now` certainly ignores all that `before` does: every line that ignores is
    /// still there, in its order, and none with `!` is new.
    pub(crate) fn narrows(now: &Self, before: &Self) -> bool {
        let none = File { base_bytes: 0, lines: Vec::new() };
        let dirs = now.0.keys().chain(before.0.keys());
        dirs.into_iter().all(|dir| {
            let file = |all: &'_ Self| all.0.get(dir).unwrap_or(&none).lines.clone();
            let (now, before) = (file(now), file(before));
            let mut left = &before[..];
            for line in &now {
                match left.iter().position(|other| other.is_like(line)) {
                    Some(at) if left[..at].iter().all(|other| other.keeps) => {
                        left = &left[at + 1..];
                    }
                    _ if line.keeps => return false,
                    _ => {}
                }
            }
            left.iter().all(|line| line.keeps)
        })
    }

    /// Returns the line by which git ignores the path or a directory above it.
    pub(crate) fn ignores(&self, path: &[u8], is_dir: bool) -> Option<RuleAt> {
        if self.0.is_empty() {
            return None;
        }
        let seen = if FOLD_ALWAYS { path.to_ascii_lowercase().into() } else { Cow::from(path) };
        let mut files: Vec<&File> = self.0.get(&b""[..]).into_iter().collect();
        for end in memchr_iter(b'/', path) {
            if let Some(line) = deciding(&files, &seen[..end], true) {
                return Some(line.at.clone());
            }
            files.extend(self.0.get(&path[..end]));
        }
        deciding(&files, &seen, is_dir).map(|line| line.at.clone())
    }
}

/// Returns the line that ignores exactly this path, given the files above it from the top down.
fn deciding<'a>(files: &[&'a File], path: &[u8], is_dir: bool) -> Option<&'a Line> {
    let name = memrchr(b'/', path).map_or(path, |at| &path[at + 1..]);
    let lines = files.iter().rev().flat_map(|file| {
        let below = &path[file.base_bytes..];
        file.lines.iter().rev().filter(move |line| line.matches(below, name, is_dir))
    });
    lines.take(1).find(|line| !line.keeps)
}

impl File {
    fn parse(dir: &[u8], text: &[u8]) -> Self {
        let base_bytes = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let prefix = String::from_utf8_lossy(&[dir, b"/"].concat()).into_owned();
        let file = Arc::from(format!("{}.gitignore", prefix.trim_start_matches('/')));
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter_map(|(index, line)| Line::parse(&file, index + 1, line));
        Self { base_bytes, lines: lines.collect() }
    }
}

impl Line {
    /// Tells whether it says the same, wherever it stands.
    fn is_like(&self, other: &Self) -> bool {
        (&self.shape, self.keeps, self.dir_only, self.name_only)
            == (&other.shape, other.keeps, other.dir_only, other.name_only)
    }

    /// Reads a line; `None` if it is a comment or can match nothing.
    fn parse(file: &Arc<str>, number: usize, line: &[u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        if line.starts_with(b"#") {
            return None;
        }
        let line = trim_end(line);
        let text = String::from_utf8_lossy(line).into();
        let at = RuleAt { file: Arc::clone(file), line: number, text };
        let folded = if FOLD_ALWAYS { line.to_ascii_lowercase().into() } else { Cow::from(line) };
        let (keeps, pattern) = match folded.strip_prefix(b"!") {
            Some(pattern) => (true, pattern),
            None => (false, &*folded),
        };
        let (dir_only, pattern) = match pattern.strip_suffix(b"/") {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        let name_only = !pattern.contains(&b'/');
        let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
        if pattern.is_empty() {
            return None;
        }
        let shape = shape_of(pattern, name_only)?;
        Some(Self { shape, keeps, dir_only, name_only, at })
    }

    /// Asks for a path, given from the file's place on, and its last name.
    fn matches(&self, below: &[u8], name: &[u8], is_dir: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        let subject = if self.name_only { name } else { below };
        match &self.shape {
            Shape::Plain(text) => subject == &**text,
            Shape::Ending(text) => subject.ends_with(text),
            Shape::Program(program) => program.matches(subject),
        }
    }
}

/// Takes the spaces from the end, but not one that a backslash protects.
fn trim_end(line: &[u8]) -> &[u8] {
    let (mut at, mut end) = (0, 0);
    while at < line.len() {
        match line[at] {
            b'\\' if at + 1 == line.len() => return line,
            b'\\' => {
                at += 2;
                end = at;
            }
            b' ' => at += 1,
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    &line[..end]
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

/// Chooses how to match; `None` if the pattern is broken, which to git is one that never matches.
fn shape_of(pattern: &[u8], name_only: bool) -> Option<Shape> {
    if !pattern.iter().any(|byte| is_special(*byte)) {
        return Some(Shape::Plain(pattern.into()));
    }
    match pattern {
        [b'*', rest @ ..] if name_only && !rest.iter().any(|byte| is_special(*byte)) => {
            Some(Shape::Ending(rest.into()))
        }
        _ => compile(pattern).map(Shape::Program),
    }
}

fn compile(pattern: &[u8]) -> Option<Program> {
    let mut insts = Vec::with_capacity(pattern.len() + 1);
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'?' => insts.push(Inst::One),
            b'*' => at = stars(pattern, at, &mut insts),
            b'[' => {
                let (set, end) = set(pattern, at + 1)?;
                insts.push(Inst::Set(Box::new(set)));
                at = end;
            }
            b'\\' => {
                at += 1;
                insts.push(Inst::Token(Token::from(*pattern.get(at)?)));
            }
            byte => insts.push(Inst::Token(Token::from(byte))),
        }
        at += 1;
    }
    Some(Program::new(insts, true))
}

/// Reads a run of stars; returns where its last byte is, or that of the slash it takes with it.
///
/// Two or more cross slashes if they stand alone between slashes or ends. To git the beginning is
/// where the first wildcard is, as it compares the plain text before that by other means: so
/// `a**/b` crosses too.
fn stars(pattern: &[u8], from: usize, insts: &mut Vec<Inst>) -> usize {
    let end =
        pattern[from..].iter().position(|byte| *byte != b'*').map_or(pattern.len(), |n| from + n);
    let free_before =
        !pattern[..from].iter().any(|byte| is_special(*byte)) || pattern[from - 1] == b'/';
    match &pattern[end..] {
        _ if end - from < 2 || !free_before => insts.push(Inst::Star),
        [b'/', ..] => {
            // Any number of directories, each with its slash; none, too.
            let here = insts.len();
            insts.extend([Inst::Split(here + 1, here + 3), Inst::Deep, Inst::Token(SLASH)]);
            return end;
        }
        [] | [b'\\', b'/', ..] => insts.push(Inst::Deep),
        _ => insts.push(Inst::Star),
    }
    end - 1
}

/// Reads what follows `[`; returns the set and where its `]` is.
fn set(pattern: &[u8], mut at: usize) -> Option<(Set, usize)> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let mut ranges: Vec<(Token, Token)> = Vec::new();
    // The lower end of a range, if the next byte is `-`.
    let mut low = None;
    let first = at;
    loop {
        let byte = *pattern.get(at)?;
        match byte {
            b']' if at > first => return Some((Set { negated, fold: false, ranges }, at)),
            b'-' if low.is_some() && !matches!(pattern.get(at + 1), None | Some(b']')) => {
                at += 1;
                if pattern[at] == b'\\' {
                    at += 1;
                }
                let high = *pattern.get(at)?;
                ranges.extend(low.take().map(|low: u8| (low.into(), high.into())));
            }
            b'[' if pattern.get(at + 1) == Some(&b':') => {
                let close = at + 2 + pattern[at + 2..].iter().position(|byte| *byte == b']')?;
                match pattern[at + 2..close].strip_suffix(b":") {
                    Some(class) => {
                        ranges.extend(class_ranges(class)?);
                        (low, at) = (None, close);
                    }
                    None => {
                        ranges.push((byte.into(), byte.into()));
                        low = Some(byte);
                    }
                }
            }
            _ => {
                if byte == b'\\' {
                    at += 1;
                }
                let member = *pattern.get(at)?;
                ranges.push((member.into(), member.into()));
                low = Some(member);
            }
        }
        at += 1;
    }
}

/// Returns the members of a named class such as `[:digit:]`.
fn class_ranges(class: &[u8]) -> Option<Vec<(Token, Token)>> {
    let holds: fn(&u8) -> bool = match class {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    };
    let members = (0..0x80u8).filter(holds);
    Some(members.map(|byte| (byte.into(), byte.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_at_the_end_go_unless_protected() {
        let rows: [(&[u8], &[u8], &str); 7] = [
            (b"a  ", b"a", "spaces"),
            (b"a\t", b"a\t", "a tab is part of the name"),
            (b" a b ", b" a b", "other spaces stay"),
            (b"a\\ ", b"a\\ ", "a protected space"),
            (b"a\\  ", b"a\\ ", "a protected space and another"),
            (b"a\\\\ ", b"a\\\\", "a protected backslash protects nothing"),
            (b"a \\", b"a \\", "a backslash at the end"),
        ];
        for (line, expected, reason) in rows {
            assert_eq!(trim_end(line), expected, "{reason}");
        }
    }
}
