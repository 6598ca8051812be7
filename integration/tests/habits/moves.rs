//! Things that change their names, on one side and on both.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use syncd_integration::process::{Noise, Pair, eventually, nodes, write};

use super::{ARRIVES_MAX, agree_without_conflict, copies};

fn mv(root: &Path, from: &str, to: &str) {
    fs::rename(root.join(from), root.join(to)).unwrap();
}

/// Two directories of files, and some more.
fn material(root: &Path) {
    for dir in ["a", "b", "deep/er"] {
        for at in 0..5 {
            write(&root.join(format!("{dir}/{at}")), format!("{dir} {at}\n"));
        }
    }
    write(&root.join("one"), "one\n");
    write(&root.join("two"), "two\n");
}

type Move = fn(&Path);

/// What one device does; the other is up, or away and comes back.
const MOVES: &[(&str, Move)] = &[
    ("two names are swapped", |r| {
        mv(r, "one", "tmp");
        mv(r, "two", "one");
        mv(r, "tmp", "two");
    }),
    ("two directories are swapped", |r| {
        mv(r, "a", "tmp");
        mv(r, "b", "a");
        mv(r, "tmp", "b");
    }),
    ("a chain: each takes the next one's name", |r| {
        for at in (0..5).rev() {
            mv(r, &format!("a/{at}"), &format!("a/{}", at + 1));
        }
    }),
    ("one file through three names", |r| {
        mv(r, "one", "B");
        mv(r, "B", "C");
        mv(r, "C", "one-at-last");
    }),
    ("a name in another case", |r| mv(r, "two", "Two")),
    ("a directory in another case", |r| mv(r, "deep", "Deep")),
    ("and back, both", |r| {
        mv(r, "Deep", "deep");
        mv(r, "Two", "two");
    }),
    ("a directory into another", |r| mv(r, "a", "b/a")),
    ("a directory into one that is new in it", |r| {
        mv(r, "deep", "tmp");
        fs::create_dir(r.join("deep")).unwrap();
        mv(r, "tmp", "deep/deeper");
    }),
    ("a file becomes a directory that holds it", |r| {
        mv(r, "two", "tmp");
        fs::create_dir(r.join("two")).unwrap();
        mv(r, "tmp", "two/two");
    }),
    ("and back", |r| {
        mv(r, "two/two", "tmp");
        fs::remove_dir(r.join("two")).unwrap();
        mv(r, "tmp", "two");
    }),
    ("a directory becomes a link to where it went", |r| {
        mv(r, "b", "moved");
        std::os::unix::fs::symlink("moved", r.join("b")).unwrap();
    }),
    ("deleted and made anew as another kind", |r| {
        fs::remove_file(r.join("b")).unwrap();
        write(&r.join("b/inside"), "b\n");
        fs::remove_dir_all(r.join("deep")).unwrap();
        write(&r.join("deep"), "a file\n");
    }),
];

#[test]
fn moves_arrive_and_make_no_conflict() {
    for is_away in [false, true] {
        let mut pair = Pair::new();
        for of_laptop in [true, false] {
            material(if of_laptop { pair.laptop.root() } else { pair.devbox.root() });
            pair.agree();
            for (what, make) in MOVES {
                if is_away {
                    let there = if of_laptop { &mut pair.devbox } else { &mut pair.laptop };
                    there.stop();
                }
                make(if of_laptop { pair.laptop.root() } else { pair.devbox.root() });
                if is_away {
                    let there = if of_laptop { &mut pair.devbox } else { &mut pair.laptop };
                    there.start();
                    pair.await_connected();
                }
                let because = format!("{what}, on the laptop: {of_laptop}, away: {is_away}");
                agree_without_conflict(&pair, &because);
            }
            for entry in fs::read_dir(pair.laptop.root()).unwrap().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let is_dir = entry.file_type().unwrap().is_dir();
                match name.to_str() {
                    Some(".syncd") => {}
                    _ if is_dir => fs::remove_dir_all(path).unwrap(),
                    _ => fs::remove_file(path).unwrap(),
                }
            }
            agree_without_conflict(&pair, "all is deleted");
        }
    }
}

/// Lists all that files hold below a root, sorted.
fn contents(root: &Path) -> Vec<Vec<u8>> {
    let mut all: Vec<_> =
        nodes(root).into_keys().filter_map(|path| fs::read(root.join(path)).ok()).collect();
    all.sort();
    all
}

/// What both do without knowing of each other: the laptop's move, the devbox's, and what is
/// there in the end.
struct Both {
    because: &'static str,
    laptop: Move,
    devbox: Move,
    /// Directories that hold all five files of the directory that was moved.
    whole: &'static [&'static str],
}

const BOTH: &[Both] = &[
    Both {
        because: "the same move is one move",
        laptop: |r| mv(r, "a", "moved"),
        devbox: |r| mv(r, "a", "moved"),
        whole: &["moved", "b"],
    },
    Both {
        because: "two names for one directory: both stay, each whole",
        laptop: |r| mv(r, "a", "left"),
        devbox: |r| mv(r, "a", "right"),
        whole: &["left", "right", "b"],
    },
    Both {
        because: "each moved into the other: both stay, each whole, and no loop",
        laptop: |r| mv(r, "a", "b/a"),
        devbox: |r| mv(r, "b", "a/b"),
        whole: &["b/a", "a/b"],
    },
    Both {
        because: "a directory is moved, its old place is written to",
        laptop: |r| mv(r, "a", "moved"),
        devbox: |r| write(&r.join("a/new"), "new\n"),
        whole: &["moved", "b"],
    },
    Both {
        because: "a directory is moved, another one is moved into its old place",
        laptop: |r| mv(r, "a", "moved"),
        devbox: |r| mv(r, "b", "a/b"),
        whole: &["moved", "a/b"],
    },
];

#[test]
fn moves_on_both_sides_lose_nothing_and_make_no_conflict() {
    for (at, both) in BOTH.iter().enumerate() {
        let because = both.because;
        let mut pair = Pair::new();
        material(pair.laptop.root());
        pair.agree();
        let before = contents(pair.laptop.root());
        // One hears of the other's only when it has made its own: away, or at the same time.
        if at % 2 == 0 {
            pair.devbox.stop();
            (both.laptop)(pair.laptop.root());
            (both.devbox)(pair.devbox.root());
            pair.devbox.start();
            pair.await_connected();
        } else {
            std::thread::scope(|scope| {
                scope.spawn(|| (both.laptop)(pair.laptop.root()));
                scope.spawn(|| (both.devbox)(pair.devbox.root()));
            });
        }
        pair.agree();
        let after = contents(pair.laptop.root());
        for content in &before {
            assert!(after.contains(content), "{because}: {:?}", String::from_utf8_lossy(content));
        }
        for dir in both.whole {
            let files = fs::read_dir(pair.laptop.path(dir)).map_or(0, |found| {
                found.flatten().filter(|e| e.file_type().unwrap().is_file()).count()
            });
            assert!(files >= 5, "{because}: {dir} holds {files} files");
        }
        assert_eq!(copies(&pair.laptop), [""; 0], "{because}");
    }
}

#[test]
fn a_terminal_in_a_directory_that_is_renamed_elsewhere_loses_nothing() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        let mut noise = Noise::new(3);
        for at in 0..20 {
            write(&here.path(format!("project/{at}")), noise.bytes(300));
        }
        here.flush();
        let mut shell = Command::new("sh")
            .current_dir(there.path("project"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        mv(here.root(), "project", "renamed");
        eventually(ARRIVES_MAX, "the rename arrives", || {
            match there.path("project").exists() || !there.path("renamed/19").exists() {
                true => Err("it is under its old name".to_owned()),
                false => Ok(()),
            }
        });
        // What the shell writes now has no place: it must not bring the old name back.
        let mut asks = shell.stdin.take().unwrap();
        asks.write_all(b"echo lost > file; cd ../renamed || cd \"$PWD/../renamed\"\n").unwrap();
        asks.write_all(b"echo found > file; exit 0\n").unwrap();
        drop(asks);
        assert!(shell.wait().unwrap().success(), "the shell lives");
        pair.agree();
        assert_eq!(fs::read_to_string(here.path("renamed/file")).unwrap(), "found\n");
        assert!(!here.path("project").exists(), "the old name does not come back");
        fs::remove_dir_all(here.path("renamed")).unwrap();
        here.flush();
    }
}
