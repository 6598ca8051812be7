//! The ignore file that a new folder begins with.

use std::fs::File;
use std::io::{Read, Write};

use ignore_rules::Rules;
use rustix::fs::{self, OFlags};
use syncd_api::ApiError;
use syncd_core::model::RelPath;

use super::chain;
use crate::world::disk::{DiskError, Root, system};

/// The folder's rules.
pub(super) const NAME: &str = ".stignore";

/// Where the new rules are written before they take that name.
const NEW_NAME: &str = ".stignore.syncd-new";

/// The largest rule file that is read, in bytes.
const RULE_BYTES_MAX: u64 = 4 << 20;

/// Patterns that belong together.
struct Group {
    /// The comment line above them.
    comment: &'static str,
    /// Names at the folder's top that say that they suit.
    signs: &'static [&'static str],
    patterns: &'static [&'static str],
}

const GROUPS: [Group; 8] = [
    Group {
        comment: "Node and the web",
        signs: &["package.json", "node_modules"],
        patterns: &["node_modules", "dist", ".next", ".nuxt", ".turbo", ".parcel-cache"],
    },
    Group {
        comment: "Python",
        signs: &["pyproject.toml", "requirements.txt", "setup.py", ".venv", "Pipfile"],
        patterns: &["__pycache__", "*.pyc", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache"],
    },
    Group { comment: "Rust", signs: &["Cargo.toml"], patterns: &["target"] },
    Group { comment: "Go", signs: &["go.mod"], patterns: &["*.test", ".gocache"] },
    Group {
        comment: "JVM",
        signs: &["pom.xml", "build.gradle", "build.gradle.kts"],
        patterns: &[".gradle", "*.class"],
    },
    Group {
        comment: "Build caches",
        signs: &["CMakeLists.txt", "BUILD.bazel", "meson.build"],
        patterns: &[".cache", ".ccache", "CMakeFiles", "bazel-*"],
    },
    Group {
        comment: "Editors: swap and backup files",
        signs: &[],
        patterns: &["*.swp", "*.swo", "*~", ".#*", "#*#", ".idea"],
    },
    Group {
        comment: "Operating systems",
        signs: &[],
        patterns: &[".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".Trash-*"],
    },
];

/// Returns the text of a starter ignore file: each group behind its comment.
pub(super) fn starter() -> String {
    let mut text = String::new();
    for group in &GROUPS {
        text += &format!("// {}\n", group.comment);
        for pattern in group.patterns {
            text += &lawful(pattern);
            text.push('\n');
        }
        text.push('\n');
    }
    text.pop();
    text
}

/// Writes a pattern so that its line is not read as a directive.
fn lawful(pattern: &str) -> String {
    match pattern.strip_prefix('#') {
        Some(rest) => format!("\\#{rest}"),
        None => pattern.to_owned(),
    }
}

/// Returns the patterns that suit what lies at the top of a folder.
pub(super) fn suited(names: &[Vec<u8>]) -> Vec<String> {
    let lies = |name: &&str| names.iter().any(|n| n == name.as_bytes());
    if lies(&NAME) {
        return Vec::new();
    }
    let mut suited: Vec<String> = Vec::new();
    if lies(&".gitignore") {
        suited.push("#gitignore".to_owned());
    }
    let groups = GROUPS.iter().filter(|group| group.signs.iter().any(lies));
    suited.extend(groups.flat_map(|group| group.patterns).map(|pattern| lawful(pattern)));
    suited
}

/// Lists the names at the top of a root. Blocks.
pub(super) fn names(root: &Root) -> Vec<Vec<u8>> {
    // What cannot be listed is told by the folder itself, soon.
    let listed = root.list(&RelPath::root()).unwrap_or_default();
    listed.into_iter().map(|listed| listed.name).collect()
}

/// Makes sure that patterns are some. Blocks never.
///
/// # Errors
/// Exit 2 with the line and the reason.
pub(super) fn check(patterns: &[String]) -> Result<(), ApiError> {
    if let Some(pattern) = patterns.iter().find(|pattern| pattern.contains(['\n', '\r', '\0'])) {
        return Err(ApiError::usage(format!("the pattern {pattern:?} has more than one line")));
    }
    let text = joined(patterns, "");
    // What it includes is looked for when the folder begins.
    let parsed = Rules::parse(&[("--ignore", text.as_bytes())], &mut |_: &str| Some(Vec::new()));
    parsed.map(|_| ()).map_err(|error| ApiError::usage(error.to_string()))
}

fn joined(patterns: &[String], behind: &str) -> String {
    let lines: String = patterns.iter().map(|pattern| format!("{pattern}\n")).collect();
    lines + behind
}

/// Writes what [`added`] returns into the ignore file of a root that is not synced yet. Blocks.
///
/// # Errors
/// One sentence when the file cannot be read or written.
pub(super) fn write(root: &Root, patterns: &[String], wants_starter: bool) -> Result<(), ApiError> {
    match added(root, patterns, wants_starter)? {
        Some(text) => put(root, &text).map_err(|error| failed(&error)),
        None => Ok(()),
    }
}

fn failed(error: &dyn std::error::Error) -> ApiError {
    ApiError::could_not(format!("{NAME} cannot be written: {}", chain(error)))
}

/// Returns the ignore file of `root` with patterns before what it says; with `wants_starter` and
/// without such a file, the starter behind them. `None` when nothing changes. Blocks.
///
/// # Errors
/// One sentence when the file cannot be read.
pub(super) fn added(
    root: &Root,
    patterns: &[String],
    wants_starter: bool,
) -> Result<Option<Vec<u8>>, ApiError> {
    let path = RelPath::parse(NAME).map_err(|error| failed(&error))?;
    let mut text = joined(patterns, "").into_bytes();
    match root.open_file(&path) {
        Ok(fd) => {
            let mut old = Vec::new();
            let read = File::from(fd).take(RULE_BYTES_MAX + 1).read_to_end(&mut old);
            read.map_err(|error| failed(&error))?;
            if old.len() as u64 > RULE_BYTES_MAX {
                return Err(ApiError::could_not(format!("{NAME} is too large to be added to")));
            }
            if text.is_empty() {
                return Ok(None);
            }
            text.extend(old);
        }
        Err(DiskError::Missing { .. }) if wants_starter => text.extend(starter().into_bytes()),
        Err(DiskError::Missing { .. }) if text.is_empty() => return Ok(None),
        Err(DiskError::Missing { .. }) => {}
        Err(error) => return Err(failed(&error)),
    }
    Ok(Some(text))
}

/// Gives the ignore file new bytes, whole or not at all.
fn put(root: &Root, text: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::TRUNC
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let fd = system::open_at(root.fd(), NEW_NAME.as_bytes(), flags, 0o666)?;
    let mut file = File::from(fd);
    file.write_all(text)?;
    file.sync_all()?;
    fs::renameat(root.fd(), NEW_NAME, root.fd(), NAME)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(root: &std::path::Path) -> String {
        std::fs::read_to_string(root.join(NAME)).unwrap()
    }

    #[test]
    fn the_starter_is_read_as_it_is_meant() {
        let starter = starter();
        let rules =
            Rules::parse(&[(NAME, starter.as_bytes())], &mut |_: &str| None::<Vec<u8>>).unwrap();
        for (path, is_dir, ignored) in [
            ("node_modules", true, true),
            ("web/node_modules/x", false, true),
            ("a/dist", true, true),
            (".next", true, true),
            ("x/__pycache__", true, true),
            ("x.pyc", false, true),
            (".venv", true, true),
            ("target", true, true),
            (".notes.txt.swp", false, true),
            ("#notes#", false, true),
            ("notes~", false, true),
            (".DS_Store", false, true),
            ("src/main.rs", false, false),
            ("targets.txt", false, false),
            (".stignore", false, false),
            (".env", false, false),
            ("x.test.js", false, false),
        ] {
            assert_eq!(rules.verdict(path.as_bytes(), is_dir).ignored, ignored, "{path}");
        }
        let comments = starter.lines().filter(|line| line.starts_with("// ")).count();
        assert_eq!(comments, GROUPS.len(), "a comment line each");
    }

    #[test]
    fn only_what_suits_is_suggested() {
        let names = |names: &[&str]| -> Vec<Vec<u8>> {
            names.iter().map(|name| name.as_bytes().to_vec()).collect()
        };
        assert!(suited(&names(&["notes.txt"])).is_empty(), "nothing to ignore");
        assert_eq!(suited(&names(&["Cargo.toml", ".gitignore"])), ["#gitignore", "target"]);
        assert!(suited(&names(&["Cargo.toml", ".stignore"])).is_empty(), "it has rules");
    }

    #[test]
    fn patterns_come_before_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        write(&root, &[], false).unwrap();
        assert!(!dir.path().join(NAME).exists(), "nothing to write");
        write(&root, &["*.log".to_owned()], true).unwrap();
        assert_eq!(text(dir.path()), format!("*.log\n{}", starter()));
        write(&root, &["!keep.log".to_owned()], true).unwrap();
        assert_eq!(text(dir.path()), format!("!keep.log\n*.log\n{}", starter()), "once");
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join(NAME)).unwrap();
        assert!(write(&root, &["x".to_owned()], false).is_err(), "no link is followed");
    }

    #[test]
    fn bad_patterns_are_refused_before_anything_is_written() {
        for (pattern, good) in [("*.o", true), ("!", false), ("[a", false), ("a\nb", false)] {
            assert_eq!(check(&[pattern.to_owned()]).is_ok(), good, "{pattern:?}");
        }
    }
}
