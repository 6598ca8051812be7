//! What the devbox is doing when it ends: one story for each order of writes that touches a
//! user's files or what syncd knows of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use syncd_integration::process::{Device, FOLDER, Noise, Pair, eventually, set_mtime, write};

use super::bench::summary;

/// How long an offer of a folder may take to arrive.
const OFFER_MAX: Duration = Duration::from_secs(60);

/// How many files one batch has.
const BATCH: usize = 40;

/// How many bytes a file of several chunks has.
const LARGE: usize = 300_000;

/// What happens in a directory of its own. What the devbox is told to do may fail: it ends.
pub(super) struct Story {
    pub(super) name: &'static str,
    /// Makes what must be there, before both agree.
    pub(super) prepare: fn(&Pair, &str),
    /// Makes what must be there when it begins.
    pub(super) stage: fn(&Pair, &str),
    /// Begins.
    pub(super) act: fn(&Pair, &str),
    /// Does again what was cut short, as a user would.
    pub(super) mend: fn(&Pair, &str),
    /// What must lie in the directory then, on both.
    pub(super) expected: fn() -> BTreeMap<String, String>,
    /// What must still be found on the devbox, in its trash.
    pub(super) kept: &'static [&'static str],
}

/// A story in which nothing happens.
const NONE: Story = Story {
    name: "",
    prepare: |_, _| {},
    stage: |_, _| {},
    act: |_, _| {},
    mend: |_, _| {},
    expected: BTreeMap::new,
    kept: &[],
};

pub(super) const STORIES: [Story; 11] = [
    Story {
        name: "new files, a directory and a link come",
        act: |pair, dir| {
            write(&pair.laptop.path(dir).join("d/small"), "small");
            write(&pair.laptop.path(dir).join("large"), large(1));
            symlink("d/small", pair.laptop.path(dir).join("link")).unwrap();
        },
        expected: || {
            let large = summary(&large(1));
            told(&[("d", "dir/"), ("d/small", "small"), ("large", &large), ("link", "->d/small")])
        },
        ..NONE
    },
    Story {
        name: "a file is replaced",
        prepare: |pair, dir| {
            write(&pair.laptop.path(dir).join("file"), "replaced");
            write(&pair.laptop.path(dir).join("large"), large(1));
        },
        act: |pair, dir| {
            write(&pair.laptop.path(dir).join("file"), "new");
            write(&pair.laptop.path(dir).join("large"), large(2));
        },
        expected: || told(&[("file", "new"), ("large", &summary(&large(2)))]),
        kept: &["replaced"],
        ..NONE
    },
    Story {
        name: "a file is rewritten in place",
        prepare: |pair, dir| write(&pair.laptop.path(dir).join("a.log"), large(1)),
        act: |pair, dir| write(&pair.laptop.path(dir).join("a.log"), large(2)),
        expected: || told(&[("a.log", &summary(&large(2)))]),
        ..NONE
    },
    Story {
        name: "a file and a directory are deleted",
        prepare: |pair, dir| {
            write(&pair.laptop.path(dir).join("stays"), "stays");
            write(&pair.laptop.path(dir).join("file"), "deleted");
            write(&pair.laptop.path(dir).join("d/e/inner"), "deleted too");
        },
        act: |pair, dir| {
            fs::remove_file(pair.laptop.path(dir).join("file")).unwrap();
            fs::remove_dir_all(pair.laptop.path(dir).join("d")).unwrap();
        },
        expected: || told(&[("stays", "stays")]),
        kept: &["deleted", "deleted too"],
        ..NONE
    },
    Story {
        name: "a file and a directory are renamed",
        prepare: |pair, dir| {
            write(&pair.laptop.path(dir).join("file"), "file");
            write(&pair.laptop.path(dir).join("d/large"), large(1));
            write(&pair.laptop.path(dir).join("d/inner"), "inner");
        },
        act: |pair, dir| {
            let at = |path: &str| pair.laptop.path(dir).join(path);
            fs::rename(at("file"), at("renamed")).unwrap();
            fs::rename(at("d"), at("e")).unwrap();
        },
        expected: || {
            let large = summary(&large(1));
            told(&[("renamed", "file"), ("e", "dir/"), ("e/large", &large), ("e/inner", "inner")])
        },
        ..NONE
    },
    Story {
        name: "two versions conflict",
        prepare: |pair, dir| write(&pair.laptop.path(dir).join("file"), "before"),
        stage: |pair, dir| {
            pair.laptop.ok(&["folder", "pause", FOLDER]);
            write(&pair.laptop.path(dir).join("file"), "from the laptop");
            set_mtime(&pair.laptop.path(dir).join("file"), 1_800_000_000, 0);
            write_durable(&pair.devbox, &format!("{dir}/file"), "from the devbox");
        },
        act: |pair, _| {
            pair.laptop.ok(&["folder", "resume", FOLDER]);
        },
        expected: || {
            told(&[("file", "from the laptop"), ("file.sync-conflict", "from the devbox")])
        },
        ..NONE
    },
    Story {
        name: "a batch arrives",
        prepare: |pair, dir| batch(&pair.laptop, dir, "before"),
        act: |pair, dir| batch(&pair.laptop, dir, "after"),
        expected: || {
            let name = |at: usize| format!("f{at}");
            (0..BATCH).map(|at| (name(at), format!("after {at}"))).collect()
        },
        ..NONE
    },
    Story {
        name: "its own user's changes are found",
        prepare: |pair, dir| {
            write(&pair.laptop.path(dir).join("changed"), "before");
            write(&pair.laptop.path(dir).join("deleted"), "deleted");
            write(&pair.laptop.path(dir).join("old"), "renamed");
        },
        // Nothing of it is seen before it is all there and durable.
        stage: |pair, dir| {
            pair.devbox.freeze();
            let at = |path: &str| pair.devbox.path(dir).join(path);
            write_durable(&pair.devbox, &format!("{dir}/changed"), "after");
            write_durable(&pair.devbox, &format!("{dir}/new"), "new");
            fs::remove_file(at("deleted")).unwrap();
            fs::rename(at("old"), at("renamed")).unwrap();
            File::open(at("")).unwrap().sync_all().unwrap();
        },
        act: |pair, _| pair.devbox.thaw(),
        expected: || told(&[("changed", "after"), ("new", "new"), ("renamed", "renamed")]),
        ..NONE
    },
    Story {
        name: "the trash is emptied",
        prepare: |pair, dir| {
            write(&pair.laptop.path(dir).join("file"), "before");
            pair.agree();
            write(&pair.laptop.path(dir).join("file"), "after");
        },
        act: |pair, dir| {
            pair.devbox.ctl(&["trash", "empty"]);
            write(&pair.laptop.path(dir).join("file"), "last");
        },
        mend: |pair, _| {
            pair.devbox.ok(&["trash", "ls"]);
        },
        expected: || told(&[("file", "last")]),
        ..NONE
    },
    Story {
        name: "a folder is ended and taken again",
        prepare: |pair, dir| write(&pair.laptop.path(dir).join("file"), "before"),
        act: |pair, dir| {
            pair.devbox.ctl(&["folder", "rm", FOLDER]);
            write(&pair.laptop.path(dir).join("file"), "after");
            pair.devbox.ctl(&["folder", "accept", FOLDER, &root(&pair.devbox)]);
        },
        mend: |pair, _| accept_again(&pair.devbox),
        expected: || told(&[("file", "after")]),
        ..NONE
    },
    Story {
        name: "a device is forgotten and trusted again",
        prepare: |pair, dir| write(&pair.laptop.path(dir).join("file"), "before"),
        act: |pair, dir| {
            pair.devbox.ctl(&["unpair", "laptop"]);
            write(&pair.laptop.path(dir).join("file"), "after");
            pair.devbox.ctl(&["pair", pair.laptop.id(), "--name", "laptop"]);
            pair.devbox.ctl(&["folder", "share", FOLDER, "--with", "laptop"]);
        },
        mend: |pair, _| {
            pair.devbox.ok(&["pair", pair.laptop.id(), "--name", "laptop"]);
            pair.devbox.ok(&["folder", "share", FOLDER, "--with", "laptop"]);
        },
        expected: || told(&[("file", "after")]),
        ..NONE
    },
];

fn told(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
}

fn large(seed: u64) -> Vec<u8> {
    Noise::new(seed).bytes(LARGE)
}

fn batch(device: &Device, dir: &str, text: &str) {
    for at in 0..BATCH {
        write(&device.path(dir).join(format!("f{at}")), format!("{text} {at}"));
    }
}

/// Writes a file as programs do that want to find it again after a power loss.
fn write_durable(device: &Device, path: &str, text: &str) {
    write(&device.path(path), text);
    let sync = |path: &Path| File::open(path).unwrap().sync_all().unwrap();
    sync(&device.path(path));
    sync(device.path(path).parent().unwrap());
}

fn root(device: &Device) -> String {
    device.root().display().to_string()
}

fn accept_again(device: &Device) {
    eventually(OFFER_MAX, "the folder is there again", || {
        let folders = device.json(&["folder", "ls"]);
        if folders.as_array().is_some_and(|all| !all.is_empty()) {
            return Ok(());
        }
        let answer = device.ctl(&["folder", "accept", FOLDER, &root(device)]);
        if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
    });
}
