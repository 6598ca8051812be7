//! What a synced folder leaves out: rule files in, verdicts out.
//!
//! Reads the language of Syncthing's `.stignore` and tells of any path whether it is ignored, and
//! which line of which file says so. It touches no disk: whoever calls brings the texts.
//!
//! ```
//! use ignore_rules::Rules;
//!
//! let text = b"!/build/keep.txt\n/build\n(?d).DS_Store\n";
//! let rules = Rules::parse(&[(".stignore", text)], &mut |_: &str| None)?;
//!
//! assert!(rules.verdict(b"build/out.o", false).ignored);
//! assert!(!rules.verdict(b"build/keep.txt", false).ignored);
//! assert!(rules.verdict(b"photos/.DS_Store", false).disposable);
//!
//! let rule = rules.verdict(b"build", true).rule.expect("a line decided");
//! assert_eq!(rule.to_string(), ".stignore:2");
//! # Ok::<(), ignore_rules::RuleError>(())
//! ```
//!
//! # The language
//! One pattern a line; blanks around it are trimmed; the first line that matches decides.
//!
//! | written | means |
//! |---|---|
//! | `foo` | the name at any depth, and everything below it |
//! | `/foo` | only at the root of the folder |
//! | `foo/` | what is in the directory, but not the directory |
//! | `*` `**` `?` | any run within a name; any run, over `/` too; one character, never `/` |
//! | `[a-z]` `[!a]` `[^a]` | one character of a set, or not of it; never `/` |
//! | `{a,b}` | either; may be nested |
//! | `\*` | the character itself; `#escape=X` at the top of a file chooses another escape |
//! | `!foo` | keeps what matches |
//! | `(?i)foo` | upper and lower case are the same (always so on macOS and Windows) |
//! | `(?d)foo` | may be deleted when it is all that keeps a directory alive |
//! | `// text` | a comment |
//! | `#include file` | the lines of another file, named relative to this one |
//! | `#gitignore` | the folder's `.gitignore` files, read as git reads them |
//!
//! After all files come the built-in lines `.git`, `.hg`, `.jj` and `.svn`. Before all of them, and
//! beyond any line's power, stands `.syncd` at the root, however it is spelled in upper and lower
//! case.
//!
//! # What always holds
//! - Equal texts give equal verdicts; a verdict costs at most path length × pattern length.
//! - What lies below an ignored directory is ignored, unless an earlier `!` line matches it.
//! - Paths are bytes. One that is not UTF-8 still matches, each stray byte as one character.

mod automaton;
mod gitignore;
mod glob;
mod parse;
mod piece;
mod ruleset;
mod token;
mod verdict;
mod widen;

pub use parse::{Reason, RuleError, Source};
pub use ruleset::Rules;
pub use verdict::{RuleAt, Verdict};
