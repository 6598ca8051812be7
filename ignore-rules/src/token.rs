//! Characters: how the bytes of paths and patterns are read.
//!
//! Every byte string has exactly one reading, and the reading gives the bytes back. So texts that
//! are equal as bytes are equal as characters, whatever they hold.

/// One character of a path: its scalar value, or [`STRAY`] + the byte where UTF-8 is broken.
/// Programs that read bytes see the byte itself.
pub(crate) type Token = u32;

/// The separator of names.
pub(crate) const SLASH: Token = b'/' as Token;

/// Added to a byte that is not part of valid UTF-8; above every scalar value.
pub(crate) const STRAY: Token = 0x11_0000;

/// Reads the first character of `rest`, which is not empty, and how many bytes it takes.
pub(crate) fn first_token(rest: &[u8]) -> (Token, usize) {
    let width = match rest[0] {
        0..0x80 => return (Token::from(rest[0]), 1),
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        0x80..0xc2 | 0xf5.. => 1,
    };
    let found = rest.get(..width).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match found.and_then(|text| text.chars().next()) {
        Some(c) => (Token::from(c), width),
        None => (STRAY + Token::from(rest[0]), 1),
    }
}

/// Reads all characters of a text.
pub(crate) fn tokens(mut rest: &[u8]) -> Vec<Token> {
    let mut all = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (token, width) = first_token(rest);
        all.push(token);
        rest = &rest[width..];
    }
    all
}

/// Writes a character back as the bytes it was read from.
pub(crate) fn push_token(token: Token, bytes: &mut Vec<u8>) {
    match char::from_u32(token) {
        Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        // A stray byte: its low eight bits are the byte, as STRAY has none of them.
        None => bytes.push(token.to_le_bytes()[0]),
    }
}

/// Returns the one form that all cases of a character share.
///
/// Through upper case, as `ſ` and `S` meet only there. A character whose other case takes several
/// characters stays as it is, and so does the dotless `ı`, which is a letter of its own.
pub(crate) fn fold(token: Token) -> Token {
    let Some(c) = char::from_u32(token) else { return token };
    if c.is_ascii() {
        return Token::from(c.to_ascii_lowercase());
    }
    if c == 'ı' {
        return token;
    }
    let upper = sole(c.to_uppercase()).unwrap_or(c);
    Token::from(sole(upper.to_lowercase()).unwrap_or(c))
}

/// Folds every character of a path.
pub(crate) fn fold_path(path: &[u8]) -> Vec<u8> {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    let mut folded = Vec::with_capacity(path.len());
    for token in tokens(path) {
        push_token(fold(token), &mut folded);
    }
    folded
}

/// Returns the upper case of a character, if that is one character.
pub(crate) fn upper(token: Token) -> Token {
    char::from_u32(token).and_then(|c| sole(c.to_uppercase())).map_or(token, Token::from)
}

fn sole(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_survives_being_read_as_characters() {
        let rows: [(&[u8], usize, &str); 6] = [
            (b"abc", 3, "ascii"),
            ("é春😀".as_bytes(), 3, "two, three and four bytes"),
            (b"\xe2\x82", 2, "a character cut short is stray bytes"),
            (b"\xc3\xa9\xa9", 2, "a stray continuation after a character"),
            (b"\xed\xa0\x80", 3, "a surrogate is no character"),
            (b"\xff\xc0\xaf", 3, "bytes that UTF-8 never has"),
        ];
        for (text, count, reason) in rows {
            let read = tokens(text);
            assert_eq!(read.len(), count, "{reason}");
            let mut written = Vec::new();
            read.into_iter().for_each(|token| push_token(token, &mut written));
            assert_eq!(written, text, "{reason}");
        }
    }

    #[test]
    fn all_cases_of_a_character_fold_to_one() {
        for (one, other) in [('A', 'a'), ('É', 'é'), ('ς', 'Σ'), ('ſ', 'S'), ('ẞ', 'ß')] {
            assert_eq!(fold(one.into()), fold(other.into()), "{one} {other}");
        }
        for (one, other) in [('ı', 'i'), ('é', 'e'), ('1', '!')] {
            assert_ne!(fold(one.into()), fold(other.into()), "{one} {other}");
        }
    }
}
