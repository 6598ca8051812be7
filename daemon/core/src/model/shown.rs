//! How texts of strangers are shown: names of files, devices and folders may hold anything, and
//! what a terminal takes for an order, or shows in another order than it is read, comes escaped.
//!
//! This is the one piece that decides what is harmful; the command line, the log and the values'
//! own `Display` use it.

use std::fmt::Write;

/// Tells control characters, ends of lines, and those that reorder a line of text (Unicode UAX #9,
/// explicit formatting).
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

/// Returns `text` with every harmful character as `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> String {
    with(text, |safe, c| safe.extend(c.escape_unicode()))
}

/// Returns `text`, which may be several lines, with every harmful character but the ends of its
/// lines as `\u{1b}`.
#[must_use]
pub fn escaped_lines(text: &str) -> String {
    with(text, |safe, c| match c {
        '\n' => safe.push(c),
        _ => safe.extend(c.escape_unicode()),
    })
}

/// Returns JSON of one line that says the same with every harmful character as `\u001b`: they can
/// stand only inside its strings.
#[must_use]
pub fn escaped_json(json: &str) -> String {
    with(json, |safe, c| {
        // Writing to a string cannot fail.
        let _ = write!(safe, "\\u{:04x}", u32::from(c));
    })
}

fn with(text: &str, escape: impl Fn(&mut String, char)) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if is_harmful(c) {
            escape(&mut safe, c);
        } else {
            safe.push(c);
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left() {
        for (text, safe, because) in [
            ("plain \u{fc} \u{200d}", "plain \u{fc} \u{200d}", "letters, and what joins them"),
            ("a\x1b[31m", "a\\u{1b}[31m", "an order to a terminal"),
            ("\u{9b}31m", "\\u{9b}31m", "the same in one character"),
            ("a\nb\r", "a\\u{a}b\\u{d}", "a line that never was"),
            ("a\u{2028}b", "a\\u{2028}b", "the same, by Unicode"),
            ("\u{202e}gpj", "\\u{202e}gpj", "read from the right"),
            ("\u{61c}\u{2067}", "\\u{61c}\\u{2067}", "other ways to do so"),
        ] {
            assert_eq!(escaped(text), safe, "{because}");
            assert!(!escaped_json(text).chars().any(is_harmful), "{because}");
        }
        assert_eq!(escaped_lines("a\x1b\n\rb\n"), "a\\u{1b}\n\\u{d}b\n");
        assert_eq!(escaped_json("\"a\u{7f}\u{202e}\""), "\"a\\u007f\\u202e\"");
    }
}
