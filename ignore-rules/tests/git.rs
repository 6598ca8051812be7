//! `#gitignore` against git itself: the same trees, the same `.gitignore` files, and for every
//! path the same line of the same file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ignore_rules::Rules;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// A repository with the fixed tree, into which rules are put.
struct Repo {
    root: PathBuf,
}

impl Repo {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if root.exists() {
            fs::remove_dir_all(&root).expect("remove an earlier run's tree");
        }
        fs::create_dir_all(&root).expect("create a directory for the tree");
        let repo = Self { root };
        let init = repo.git(&["init", "-q"]).status().expect("git must be installed");
        assert!(init.success(), "git init failed");
        let tree = Tree::new(BTreeMap::new());
        for dir in &tree.dirs {
            fs::create_dir_all(repo.root.join(dir)).expect("create a directory");
        }
        for file in &tree.files {
            fs::write(repo.root.join(file), "").expect("write a file");
        }
        repo
    }

    /// A git that knows no configuration but what it is told here.
    fn git(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.root);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("XDG_CONFIG_HOME");
        git.env("HOME", &self.root);
        git.args(["-c", "core.excludesFile=/dev/null", "-c", "core.quotePath=false"]);
        git.args(arguments);
        git
    }

    /// Puts the rules of a tree in the place of those of the tree before.
    fn write(&self, tree: &Tree) {
        for dir in tree.dirs.iter().map(String::as_str).chain([""]) {
            let path = self.root.join(dir).join(".gitignore");
            match tree.gitignores.get(dir) {
                Some(text) => fs::write(path, text).expect("write rules"),
                None if path.exists() => fs::remove_file(path).expect("remove earlier rules"),
                None => {}
            }
        }
    }

    /// Asks git for the deciding line of each path: `file:line` if it ignores.
    fn verdicts(&self, paths: &[String]) -> Vec<Option<String>> {
        let mut git = self.git(&["check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"]);
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run git");
        let mut input = child.stdin.take().expect("a pipe");
        // A few kilobytes, which fit into the pipe, so that git need not be read at the same time.
        input.write_all(format!("{}\0", paths.join("\0")).as_bytes()).expect("ask git");
        drop(input);
        let output = child.wait_with_output().expect("read git's answer");
        let fields: Vec<_> = output.stdout.split(|byte| *byte == 0).collect();
        let rows = fields.chunks_exact(4).map(|row| {
            let [file, line, pattern, _] = row else { unreachable!("four fields") };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (!file.is_empty() && !pattern.starts_with(b"!"))
                .then(|| format!("{}:{}", text(file), text(line)))
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), paths.len(), "git answers every path");
        rows
    }
}

#[derive(Debug, Clone)]
struct Tree {
    dirs: Vec<String>,
    files: Vec<String>,
    gitignores: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Returns a fixed tree of a few names, three levels deep, with the given rules in it.
    fn new(gitignores: BTreeMap<String, Vec<u8>>) -> Self {
        let names = ["a", "b", "ab", "foo", "é"];
        let (mut dirs, mut files) = (Vec::new(), Vec::new());
        for one in names {
            dirs.push(one.to_owned());
            files.push(format!("{one}.o"));
            for two in names {
                dirs.push(format!("{one}/{two}"));
                files.push(format!("{one}/{two}.o"));
                files.extend(names.iter().map(|three| format!("{one}/{two}/{three}")));
            }
        }
        Self { dirs, files, gitignores }
    }

    fn rules(&self) -> Rules {
        let mut rules = Rules::parse(&[(".stignore", b"#gitignore")], &mut |_: &str| None)
            .expect("a good rule file");
        for (dir, text) in &self.gitignores {
            rules.set_gitignore(Path::new(dir).as_os_str().as_bytes(), Some(text));
        }
        rules
    }
}

/// Compares all paths of a tree.
fn compare(repo: &Repo, tree: &Tree) -> Result<(), TestCaseError> {
    repo.write(tree);
    let rules = tree.rules();
    let dirs = tree.dirs.iter().map(|path| (path.clone(), true));
    let all: Vec<_> = dirs.chain(tree.files.iter().map(|path| (path.clone(), false))).collect();
    let paths: Vec<_> = all.iter().map(|(path, _)| path.clone()).collect();
    for ((path, is_dir), expected) in all.into_iter().zip(repo.verdicts(&paths)) {
        let verdict = rules.verdict(path.as_bytes(), is_dir);
        let found = verdict.rule.filter(|_| verdict.ignored).map(|rule| rule.to_string());
        prop_assert_eq!(found, expected, "{} in {:?}", path, tree.gitignores);
    }
    Ok(())
}

/// One line of a `.gitignore`.
fn line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ab]",
        2 => Just("foo".to_owned()),
        2 => Just("*".to_owned()),
        2 => Just("**".to_owned()),
        2 => Just("/".to_owned()),
        1 => Just("**/".to_owned()),
        1 => Just("/**/".to_owned()),
        1 => Just("é".to_owned()),
        1 => Just("?".to_owned()),
        1 => Just("[a-b]".to_owned()),
        1 => Just("[!a]".to_owned()),
        1 => Just("[[:alpha:]]".to_owned()),
        1 => Just("\\a".to_owned()),
        1 => Just(".o".to_owned()),
    ];
    let body = prop_oneof![
        4 => prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat()),
        2 => prop::sample::select(vec!["a", "b", "ab", "foo", "é", "*.o", "*", "**", "a*", "a/b"])
            .prop_map(str::to_owned),
        1 => r"[\[\]\\!^*?/ab:\-#  ]{1,8}",
    ];
    ("!?", "/?", body, "/?", " ?\r?")
        .prop_map(|(keep, root, body, end, blank)| format!("{keep}{root}{body}{end}{blank}"))
}

fn tree() -> impl Strategy<Value = Tree> {
    let dir = prop::sample::select(vec!["", "", "a", "ab", "a/b", "foo/a", "b/b"]);
    let text = prop::collection::vec(line(), 1..7).prop_map(|lines| lines.join("\n").into_bytes());
    let files = prop::collection::btree_map(dir.prop_map(str::to_owned), text, 1..4);
    files.prop_map(Tree::new)
}

#[test]
fn git_ignores_the_same_by_the_same_line() {
    let repo = Repo::new("git-random");
    let cases = std::env::var("GIT_TREES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    runner.run(&tree(), |tree| compare(&repo, &tree)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn git_agrees_on_what_is_easily_got_wrong() {
    let repo = Repo::new("git-chosen");
    let rows: [(&[(&str, &str)], &str); 15] = [
        (&[("", "a/\n!a/b")], "nothing comes back below an excluded directory"),
        (&[("", "a/*\n!a/b")], "it does below one whose content alone is excluded"),
        (&[("", "*\n!*/\n!*.o")], "only some files"),
        (&[("", "*.o"), ("a", "!*.o"), ("a/b", "*.o")], "the deepest file decides"),
        (&[("", "a/"), ("a", "!*"), ("a/b", "!*")], "files below an excluded directory are mute"),
        (&[("", "a**/b\na**b\n/foo/")], "two stars beside text; plain text that is a beginning"),
        (&[("", "**/a/**\n!a/b/a")], "two stars on both sides"),
        (&[("", "a/**/b\n**")], "two stars between"),
        (&[("", "[[:alpha:]]\n[[:wrong:]]\n[a\n[]a]\n[!b-]")], "sets, good and bad"),
        (&[("", "[]a]\nfo[]o]")], "a closing bracket that is a member"),
        (&[("", "[a-a-c]")], "a range is not the beginning of another"),
        (&[("", "[!]a]/b\n[[a]o\n[\\]a-]b")], "brackets and dashes in sets"),
        (&[("", "\u{feff}a\n#b\n\\#b\n\\a\nfoo\\")], "marks, comments and escapes"),
        (&[("", "a \nb\\ \nab\\\\ \nfoo  \r\n.o\r")], "blanks and line ends"),
        (&[("", "/\n//\n!\n!/\n \n\nfoo//\n./a")], "lines that mean nothing"),
    ];
    for (files, reason) in rows {
        let files = files.iter().map(|(dir, text)| (dir.to_string(), text.as_bytes().to_vec()));
        let outcome = compare(&repo, &Tree::new(files.collect()));
        outcome.unwrap_or_else(|error| panic!("{reason}: {error}"));
    }
}
