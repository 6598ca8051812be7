//! A pattern's text, cut into pieces.
//!
//! # Invariants
//! - Each [`Piece::Open`] has its [`Piece::Close`]; a [`Piece::Comma`] is always between them.

use crate::automaton::Set;
use crate::parse::Reason;
use crate::token::{Token, fold, tokens};

/// One piece of a pattern's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A character that stands for itself, folded if the pattern folds.
    Token(Token),
    /// `?`
    One,
    /// `*`
    Star,
    /// Two stars or more.
    Deep,
    /// `[...]`
    Set(Set),
    /// `{`
    Open,
    /// `,` inside braces.
    Comma,
    /// `}` of an open brace.
    Close,
}

/// Cuts a pattern.
///
/// # Errors
/// [`Reason`] when a bracket or brace is not closed, a range runs backwards or the escape
/// character stands last.
pub(crate) fn pieces(text: &[u8], escape: Token, folds: bool) -> Result<Vec<Piece>, Reason> {
    Reader { text: &tokens(text), at: 0, escape, folds, depth: 0 }.read()
}

/// The place in a pattern's text.
struct Reader<'a> {
    text: &'a [Token],
    at: usize,
    escape: Token,
    folds: bool,
    /// How many braces are open.
    depth: usize,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<Piece>, Reason> {
        let mut pieces = Vec::new();
        while let Some(token) = self.next() {
            pieces.push(self.piece(token)?);
        }
        if self.depth > 0 {
            return Err(Reason::OpenBrace);
        }
        Ok(pieces)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.text.get(self.at).copied();
        self.at += 1;
        token
    }

    fn piece(&mut self, token: Token) -> Result<Piece, Reason> {
        if token == self.escape {
            let meant = self.next().ok_or(Reason::NothingToEscape)?;
            return Ok(self.literal(meant));
        }
        Ok(match char::from_u32(token) {
            Some('?') => Piece::One,
            Some('*') => {
                let from = self.at;
                while self.text.get(self.at) == Some(&Token::from('*')) {
                    self.at += 1;
                }
                if self.at == from { Piece::Star } else { Piece::Deep }
            }
            Some('[') => Piece::Set(self.set()?),
            Some('{') => {
                self.depth += 1;
                Piece::Open
            }
            Some(',') if self.depth > 0 => Piece::Comma,
            Some('}') if self.depth > 0 => {
                self.depth -= 1;
                Piece::Close
            }
            Some(_) | None => self.literal(token),
        })
    }

    fn literal(&self, token: Token) -> Piece {
        Piece::Token(if self.folds { fold(token) } else { token })
    }

    /// Reads what follows `[`. A `]` that comes first is an ordinary member.
    fn set(&mut self) -> Result<Set, Reason> {
        let negated = [Token::from('!'), Token::from('^')].map(Some);
        let negated = negated.contains(&self.text.get(self.at).copied());
        self.at += usize::from(negated);
        let mut ranges = Vec::new();
        loop {
            let token = self.next().ok_or(Reason::OpenBracket)?;
            if token == Token::from(']') && !ranges.is_empty() {
                return Ok(Set { negated, fold: self.folds, ranges });
            }
            let low = self.member(token)?;
            let more = self.text.get(self.at..).unwrap_or_default();
            let high = match more {
                [dash, end, ..] if *dash == Token::from('-') && *end != Token::from(']') => {
                    self.at += 2;
                    self.member(*end)?
                }
                _ => low,
            };
            if high < low {
                return Err(Reason::BackwardRange);
            }
            ranges.push((low, high));
        }
    }

    fn member(&mut self, token: Token) -> Result<Token, Reason> {
        if token == self.escape { self.next().ok_or(Reason::OpenBracket) } else { Ok(token) }
    }
}
