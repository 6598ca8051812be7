//! One pattern against one path.
//!
//! A pattern matches a path when it matches the path's whole text or that of a directory above it;
//! unless it is rooted, it may begin at any name. Most patterns are plain names, endings and
//! paths, and never need the machine of [`crate::automaton`].

use std::borrow::Cow;

use memchr::{memchr_iter, memmem};

use crate::automaton::{Hit, Inst, Program};
use crate::parse::Reason;
use crate::piece::{Piece, pieces};
use crate::token::{SLASH, STRAY, Token, push_token};

/// A pattern without its prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    shape: Shape,
    /// Matches only what is inside a directory of that name (`foo/`, `foo/**`).
    inside_only: bool,
    /// Wants to be asked with folded paths.
    folds: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Every path.
    Everything,
    /// A name of the path is exactly this.
    Name(Box<[u8]>),
    /// A name of the path begins so.
    Beginning(Box<[u8]>),
    /// A name of the path ends so.
    Ending(Box<[u8]>),
    /// The path or a directory above it is exactly this.
    Path(Box<[u8]>),
    /// One of these.
    Either(Box<[Shape]>),
    /// Anything else.
    Program(Box<Search>),
}

/// A program, and what rules most paths out before it has to run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Search {
    program: Program,
    rooted: bool,
    /// Every match that is rooted begins so.
    head: Box<[u8]>,
    /// Every match holds this.
    needs: Box<[u8]>,
}

/// A path, and where its names end.
pub(crate) struct Path<'a> {
    pub(crate) text: Cow<'a, [u8]>,
    ends: Vec<usize>,
}

impl<'a> Path<'a> {
    pub(crate) fn new(text: Cow<'a, [u8]>) -> Self {
        let mut ends = Vec::with_capacity(16);
        ends.extend(memchr_iter(b'/', &text));
        ends.push(text.len());
        Self { text, ends }
    }

    /// Returns the names from the top.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |&end| &self.text[std::mem::replace(&mut from, end + 1)..end])
    }

    /// Returns the names of the directories above.
    pub(crate) fn names_above(&self) -> impl Iterator<Item = &[u8]> {
        self.names().take(self.ends.len() - 1)
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`Reason`] when a bracket or brace is not closed, a range runs backwards or the escape
    /// character stands last.
    pub(crate) fn parse(text: &[u8], escape: Token, folds: bool) -> Result<Self, Reason> {
        let pieces = pieces(text, escape, folds)?;
        let slash = Piece::Token(SLASH);
        let mut rest = &pieces[..];
        let rooted = rest.first() == Some(&slash);
        if rooted {
            rest = &rest[1..];
        } else if rest.starts_with(&[Piece::Deep, slash.clone()]) {
            // It may begin at any name anyway.
            rest = &rest[2..];
        }
        if rest.is_empty() || rest == [Piece::Deep] {
            return Ok(Self { shape: Shape::Everything, inside_only: false, folds });
        }
        let inside = rest
            .strip_suffix(&[slash.clone(), Piece::Deep])
            .or_else(|| rest.strip_suffix(std::slice::from_ref(&slash)));
        let inside_only = inside.is_some();
        let shape = shape_of(inside.unwrap_or(rest), rooted);
        Ok(Self { shape, inside_only, folds })
    }

    /// Whether paths are to be folded before they are shown to this pattern.
    pub(crate) fn folds(&self) -> bool {
        self.folds
    }

    /// Whether only what is inside a matching directory matches.
    pub(crate) fn inside_only(&self) -> bool {
        self.inside_only
    }

    /// Returns the name if the pattern is a plain name at any depth.
    pub(crate) fn plain_name(&self) -> Option<&[u8]> {
        if let Shape::Name(name) = &self.shape { Some(name) } else { None }
    }

    /// Tells whether the pattern matches the path or a directory above it.
    pub(crate) fn matches(&self, path: &Path<'_>) -> bool {
        self.shape.matches(path, self.inside_only)
    }

    /// Tells whether the pattern could match something below `dir`. True when in doubt.
    pub(crate) fn may_match_below(&self, dir: &[u8]) -> bool {
        self.shape.may_match_below(dir)
    }
}

impl Shape {
    fn matches(&self, path: &Path<'_>, inside_only: bool) -> bool {
        let name_that = |wanted: &dyn Fn(&[u8]) -> bool| {
            if inside_only { path.names_above().any(wanted) } else { path.names().any(wanted) }
        };
        match self {
            Self::Everything => true,
            Self::Name(wanted) => name_that(&|name| name == &**wanted),
            Self::Beginning(wanted) => name_that(&|name| name.starts_with(wanted)),
            Self::Ending(wanted) => name_that(&|name| name.ends_with(wanted)),
            Self::Path(wanted) => match path.text.strip_prefix(&**wanted) {
                Some([]) => !inside_only,
                Some(rest) => rest[0] == b'/',
                None => false,
            },
            Self::Either(shapes) => shapes.iter().any(|shape| shape.matches(path, inside_only)),
            Self::Program(search) => match search.hit(&path.text) {
                Hit::Nothing => false,
                Hit::Above => true,
                Hit::Whole => !inside_only,
            },
        }
    }

    fn may_match_below(&self, dir: &[u8]) -> bool {
        let below = |upper: &[u8], lower: &[u8]| {
            lower.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        match self {
            Self::Path(wanted) => below(dir, wanted) || below(wanted, dir),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.may_match_below(dir)),
            Self::Program(search) => !search.rooted || search.program.may_match_below(dir),
            Self::Everything | Self::Name(_) | Self::Beginning(_) | Self::Ending(_) => true,
        }
    }
}

impl Search {
    fn hit(&self, path: &[u8]) -> Hit {
        let possible = path.starts_with(&self.head) && memmem::find(path, &self.needs).is_some();
        if possible { self.program.hit(path, !self.rooted) } else { Hit::Nothing }
    }
}

/// Chooses the cheapest way to match.
fn shape_of(pieces: &[Piece], rooted: bool) -> Shape {
    if let Some(text) = plain(pieces) {
        if rooted {
            return Shape::Path(text);
        }
        if !text.contains(&b'/') {
            return Shape::Name(text);
        }
    }
    if !rooted {
        if let [Piece::Star, rest @ ..] = pieces
            && let Some(text) = plain(rest).filter(|text| !text.contains(&b'/'))
        {
            return Shape::Ending(text);
        }
        if let [rest @ .., Piece::Star] = pieces
            && let Some(text) = plain(rest).filter(|text| !text.contains(&b'/'))
        {
            return Shape::Beginning(text);
        }
    }
    if let Some(shapes) = choices(pieces, rooted) {
        return Shape::Either(shapes);
    }
    let (program, needs) = compile(pieces);
    let fixed = pieces.iter().take_while(|piece| matches!(piece, Piece::Token(_))).count();
    let head = if rooted { text_of(&pieces[..fixed]) } else { Box::default() };
    Shape::Program(Box::new(Search { program, rooted, head, needs }))
}

/// Multiplies out a pattern with a single pair of braces, such as `*.{jpg,png}`, if none of its
/// choices then needs a program.
fn choices(pieces: &[Piece], rooted: bool) -> Option<Box<[Shape]>> {
    let is_brace = |piece: &Piece| matches!(piece, Piece::Open | Piece::Close);
    let open = pieces.iter().position(is_brace)?;
    let close = open + 1 + pieces[open + 1..].iter().position(is_brace)?;
    if pieces[close] != Piece::Close || pieces[close + 1..].iter().any(is_brace) {
        return None;
    }
    let each = pieces[open + 1..close].split(|piece| *piece == Piece::Comma);
    each.map(|choice| {
        let whole = [&pieces[..open], choice, &pieces[close + 1..]].concat();
        let shape = shape_of(&whole, rooted);
        (!matches!(shape, Shape::Program(_))).then_some(shape)
    })
    .collect()
}

/// Returns the text of pieces that are all valid characters. Stray bytes go the long way: their
/// neighbours in a path decide how they are read.
fn plain(pieces: &[Piece]) -> Option<Box<[u8]>> {
    let is_plain = |piece: &Piece| matches!(piece, Piece::Token(token) if *token < STRAY);
    pieces.iter().all(is_plain).then(|| text_of(pieces))
}

/// Returns the bytes of all pieces that stand for themselves.
fn text_of(pieces: &[Piece]) -> Box<[u8]> {
    let mut text = Vec::new();
    for piece in pieces {
        if let Piece::Token(token) = piece {
            push_token(*token, &mut text);
        }
    }
    text.into()
}

/// Turns pieces into a program and the longest text that every match holds.
fn compile(pieces: &[Piece]) -> (Program, Box<[u8]>) {
    let mut insts = Vec::with_capacity(pieces.len() + 1);
    let mut needs = Vec::new();
    let mut text = Vec::new();
    // For each open brace: the split before its latest choice, the jumps to its end.
    let mut braces: Vec<(usize, Vec<usize>)> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Token(token) if braces.is_empty() => push_token(*token, &mut text),
            Piece::Token(_) => {}
            Piece::One | Piece::Star | Piece::Deep | Piece::Set(_) => {
                keep_longer(&mut needs, &mut text)
            }
            Piece::Open | Piece::Comma | Piece::Close => keep_longer(&mut needs, &mut text),
        }
        let here = insts.len();
        match piece {
            Piece::Token(token) => insts.push(Inst::Token(*token)),
            Piece::One => insts.push(Inst::One),
            Piece::Star => insts.push(Inst::Star),
            Piece::Deep => insts.push(Inst::Deep),
            Piece::Set(set) => insts.push(Inst::Set(Box::new(set.clone()))),
            Piece::Open => {
                braces.push((here, Vec::new()));
                insts.push(Inst::Jump(here + 1));
            }
            Piece::Comma => {
                if let Some((split, jumps)) = braces.last_mut() {
                    insts[*split] = Inst::Split(*split + 1, here + 1);
                    jumps.push(here);
                    *split = here + 1;
                    insts.extend([Inst::Jump(here), Inst::Jump(here + 2)]);
                }
            }
            Piece::Close => {
                for jump in braces.pop().map(|(_, jumps)| jumps).unwrap_or_default() {
                    insts[jump] = Inst::Jump(here);
                }
            }
        }
    }
    keep_longer(&mut needs, &mut text);
    (Program::new(insts, false), needs.into())
}

fn keep_longer(best: &mut Vec<u8>, text: &mut Vec<u8>) {
    if text.len() > best.len() {
        std::mem::swap(best, text);
    }
    text.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn glob(text: &str) -> Glob {
        Glob::parse(text.as_bytes(), Token::from('\\'), false).expect("a pattern")
    }

    fn matches(text: &str, path: &str) -> bool {
        glob(text).matches(&Path::new(path.as_bytes().into()))
    }

    #[test]
    fn common_patterns_never_need_the_machine() {
        for text in ["foo", "/foo/bar", "*.o", "foo*", "foo/", "**/foo", "**", "/", "*", "*.{o,a}"]
        {
            let shape = glob(text).shape;
            assert!(!matches!(shape, Shape::Program(_)), "{text} became {shape:?}");
        }
    }

    #[test]
    fn braces_may_be_nested_and_hold_nothing() {
        let rows = [
            ("{a,b{c,d}}e", "bde", true, "an inner choice"),
            ("{a,b{c,d}}e", "be", false, "an inner choice must be made"),
            ("x{,y}z", "xz", true, "an empty choice"),
            ("x{}z", "xz", true, "no choice at all is the empty one"),
            ("{a}", "a", true, "a single choice"),
            ("{,}{,}{,}a", "a", true, "only empty choices"),
            ("{a/b,c}/d", "a/b/d", true, "a choice of two names"),
            ("{*,?}{**,x}/y", "p/q/y", true, "wildcards in choices"),
        ];
        for (text, path, expected, reason) in rows {
            assert_eq!(matches(text, path), expected, "{reason}: {text} {path}");
        }
    }

    #[test]
    fn no_pattern_makes_matching_explode() {
        let path = "a".repeat(4_000);
        let texts = [
            format!("{}b", "*a".repeat(60)),
            format!("/{}b", "**a".repeat(60)),
            format!("{}b", "{a,aa,*}".repeat(60)),
            format!("{}b", "[!b]*".repeat(60)),
            format!("{}a{}b", "{".repeat(5_000), ",a}".repeat(5_000)),
        ];
        let start = Instant::now();
        for text in texts {
            // A path with the last letter would be found at once; this one needs every try.
            assert!(!matches(&text, &path), "{text}");
            assert!(!matches(&text, &format!("{path}bc")), "{text}");
        }
        // Trying every split would outlast the universe; this bound only has to tell that apart.
        assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
    }

    #[test]
    fn what_cannot_be_below_a_directory_is_known() {
        let rows = [
            ("/a/b/c", "a", true, "on the way"),
            ("/a/b/c", "a/b", true, "just above"),
            ("/a/b", "a/bc", false, "a longer name"),
            ("/a/b/c", "a/x", false, "beside"),
            ("/a/b", "a/b/c", true, "already below"),
            ("/a/*/c", "a/x", true, "a star for the name"),
            ("/a/*/c", "b", false, "another top"),
            ("/a/*.c", "a/x", false, "a star does not cross the slash"),
            ("/a/**.c", "a/x/y", true, "two stars do"),
            ("/{a,b}/c", "b", true, "either choice"),
            ("/{a,b}/c", "c", false, "neither choice"),
            ("c", "a/b", true, "any depth"),
        ];
        for (text, dir, expected, reason) in rows {
            assert_eq!(
                glob(text).may_match_below(dir.as_bytes()),
                expected,
                "{reason}: {text} {dir}"
            );
        }
    }
}
