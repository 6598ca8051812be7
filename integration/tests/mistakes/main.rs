//! Every mistake, of people and of machines: one clear sentence, the exit code that scripts rely
//! on, and nothing lost.
//!
//! A refusal is read as a newcomer reads it ([`says`]): one line, no jargon of the system or of
//! Rust, and what to do next. What needs root or a program that is missing says so loudly.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod machine;
mod roots;
mod rot;
mod sandbox;
mod store;
mod words;

use syncd_integration::process::Answer;

/// Words that mean nothing to who has not read the sources.
const JARGON: [&str; 11] = [
    "os error", "Os {", "Some(", "None", "Err(", "panicked", "RelPath", "errno", "unwrap", "ENO",
    "thread '",
];

/// Asserts that a command ended with `code`, printed nothing as an answer, and complained in one
/// sentence that holds all of `words`.
#[track_caller]
fn says(answer: &Answer, code: i32, words: &[&str], because: &str) {
    assert_eq!(answer.code, code, "{because}: {answer:?}");
    assert_eq!(answer.stdout, "", "{because}: {answer:?}");
    let mut lines = answer.stderr.lines().filter(|line| is_told(line));
    let line = lines.next().unwrap_or_else(|| panic!("{because}: it does not say why: {answer:?}"));
    is_plain(line, words, because);
    let help = "For more information, try '--help'.";
    let more = lines.find(|line| !line.is_empty() && !line.starts_with(' ') && *line != help);
    assert_eq!(more, None, "{because}: one sentence will do: {answer:?}");
}

/// Tells the complaint from the daemon's log, whose lines begin with the time.
fn is_told(line: &str) -> bool {
    !line.starts_with("20")
}

/// Asserts that a newcomer understands `text`, and that it holds all of `words`.
#[track_caller]
fn is_plain(text: &str, words: &[&str], because: &str) {
    for word in words {
        assert!(text.contains(word), "{because}: {word:?} is not in {text:?}");
    }
    for word in JARGON {
        assert!(!text.contains(word), "{because}: {word:?} means nothing to people: {text:?}");
    }
    assert!(text.len() < 400, "{because}: a wall of text: {text:?}");
}
