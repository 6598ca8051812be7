//! Programs that watch the receiving side: each change that arrives is one event they understand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use syncd_integration::process::{Device, FOLDER, Pair, eventually, write};

use super::{ARRIVES_MAX, await_text};

/// Hears of all that happens in one directory, as nodemon, watchman and their like do.
struct Ears(OwnedFd);

impl Ears {
    fn on(dir: &Path) -> Self {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&fd, dir, WatchFlags::ALL_EVENTS).unwrap();
        Self(fd)
    }

    /// Takes what was heard since the last call: by name, what happened to it in order. Opening,
    /// reading and closing without a write change nothing.
    fn heard(&self) -> BTreeMap<String, Vec<ReadFlags>> {
        let quiet = ReadFlags::OPEN | ReadFlags::ACCESS | ReadFlags::CLOSE_NOWRITE;
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut heard: BTreeMap<String, Vec<ReadFlags>> = BTreeMap::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return heard,
                Err(errno) => panic!("inotify: {errno}"),
            };
            let name = event.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
            let is_own = name.starts_with(".syncd");
            if !is_own && !event.events().intersects(quiet | ReadFlags::ISDIR) {
                heard.entry(name).or_default().push(event.events());
            }
        }
    }
}

/// Flushes the change, and returns what the other side's watcher heard of it.
fn heard_of(
    here: &Device,
    ears: &Ears,
    change: impl Fn(&Path),
) -> BTreeMap<String, Vec<ReadFlags>> {
    here.flush();
    ears.heard();
    change(here.root());
    here.flush();
    ears.heard()
}

type Change = fn(&Path);
type Told = &'static [(&'static str, &'static [ReadFlags])];

/// What is done on one side, and what a watcher on the other side hears, by name.
const HEARD: &[(&str, Change, Told)] = &[
    ("a new file comes whole", |r| write(&r.join("a"), "one\n"), &[("a", &[ReadFlags::MOVED_TO])]),
    (
        "a new version takes the old one's name: the last word is that it came",
        |r| write(&r.join("a"), "two\n"),
        &[("a", &[ReadFlags::MOVED_FROM, ReadFlags::MOVED_TO])],
    ),
    (
        "a rename is a coming and a going",
        |r| fs::rename(r.join("a"), r.join("b")).unwrap(),
        &[("a", &[ReadFlags::MOVED_FROM]), ("b", &[ReadFlags::MOVED_TO])],
    ),
    (
        "another mode and time, the same bytes",
        |r| syncd_integration::process::set_mode(&r.join("b"), 0o750),
        &[("b", &[ReadFlags::ATTRIB])],
    ),
    ("a delete", |r| fs::remove_file(r.join("b")).unwrap(), &[("b", &[ReadFlags::MOVED_FROM])]),
    (
        "a large file comes whole",
        |r| syncd_integration::process::write_noise(&r.join("large"), 1, 3 << 20),
        &[("large", &[ReadFlags::MOVED_TO])],
    ),
];

#[test]
fn each_change_is_heard_once_and_nothing_of_its_way() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        write(&here.path("keep"), "so that the folder is not empty\n");
        here.flush();
        let ears = Ears::on(there.root());
        for (because, change, expected) in HEARD {
            let heard = heard_of(here, &ears, change);
            let expected: BTreeMap<String, Vec<ReadFlags>> =
                expected.iter().map(|(name, all)| ((*name).to_owned(), all.to_vec())).collect();
            assert_eq!(heard, expected, "{because}, from {}", here.name());
        }
        fs::remove_file(here.path("large")).unwrap();
        here.flush();
    }
}

/// Lets a device rewrite files in place, which counts from its next start.
fn rewrite_in_place(device: &mut Device, patterns: &str) {
    let path = device.home().join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let id = format!("id = \"{FOLDER}\"\n");
    assert!(text.contains(&id), "the folder is in the settings: {text}");
    device.stop();
    fs::write(&path, text.replace(&id, &format!("{id}in_place = {patterns}\n"))).unwrap();
    device.start();
}

#[test]
fn a_file_that_is_to_be_rewritten_in_place_keeps_its_inode() {
    let mut pair = Pair::new();
    rewrite_in_place(&mut pair.devbox, "[\"*.live\", \"src/**\"]");
    pair.await_connected();
    let (here, there) = (&pair.laptop, &pair.devbox);
    write(&here.path("keep"), "so that the folder is not empty\n");
    for name in ["a.live", "src/deep/b.rs"] {
        write(&here.path(name), "first\n");
        here.flush();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let before = inode(&there.path(name));
        // A second name of the inode stands for a bind mount.
        fs::hard_link(there.path(name), there.root().with_extension("second")).unwrap();
        let dir = there.path(name).parent().unwrap().to_path_buf();
        let ears = Ears::on(&dir);
        for text in ["second version\n", "third\n", &"much more\n".repeat(20_000), ""] {
            let heard = heard_of(here, &ears, |r| write(&r.join(name), text));
            pair.assert_equal(name);
            let second = fs::read_to_string(there.root().with_extension("second")).unwrap();
            assert!(second == text, "the same inode under its other name, {name}");
            assert_eq!(inode(&there.path(name)), before, "{name}");
            let last = Path::new(name).file_name().unwrap().to_string_lossy();
            let heard = &heard[&*last];
            let closes = heard.iter().filter(|e| e.contains(ReadFlags::CLOSE_WRITE)).count();
            assert_eq!(closes, 1, "it is written once: {heard:?}");
            let moved = ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO;
            let moved = moved | ReadFlags::CREATE | ReadFlags::DELETE;
            assert!(!heard.iter().any(|e| e.intersects(moved)), "{name}: {heard:?}");
        }
        fs::remove_file(there.root().with_extension("second")).unwrap();
        // What was written over can be had back, and an edit here goes the other way.
        let trash = there.json(&["trash", "ls"]);
        let kept = trash.as_array().unwrap().iter().filter(|one| one["path"] == name).count();
        assert_eq!(kept, 4, "{trash}");
        write(&there.path(name), "an edit of the devbox\n");
        await_text(here, name, "an edit of the devbox\n");
    }
    assert_eq!(there.status(FOLDER)["conflicts"], 0, "no rewriting is taken for an edit");
    assert_eq!(here.status(FOLDER)["conflicts"], 0, "no rewriting is taken for an edit");
}

/// Follows a file by its name into another file.
fn tail(path: &Path, into: &Path) -> Child {
    Command::new("tail")
        .args(["-n", "+1", "-F"])
        .arg(path)
        .stdout(File::create(into).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn tail_sees_each_line_of_a_log_that_is_rewritten_in_place_once() {
    let mut pair = Pair::new();
    rewrite_in_place(&mut pair.devbox, "[\"*.log\"]");
    pair.await_connected();
    let (here, there) = (&pair.laptop, &pair.devbox);
    write(&here.path("x.log"), "line 0\n");
    here.flush();
    let seen = pair.aside("seen");
    let mut follower = tail(&there.path("x.log"), &seen);
    let mut log = File::options().append(true).open(here.path("x.log")).unwrap();
    for line in 1..200 {
        writeln!(log, "line {line}").unwrap();
        if line % 20 == 0 {
            here.flush();
        }
    }
    here.flush();
    let lines: String = (0..200).map(|line| format!("line {line}\n")).collect();
    let found = eventually(ARRIVES_MAX, "tail has seen all lines", || {
        let found = fs::read_to_string(&seen).unwrap();
        if found.len() >= lines.len() { Ok(found) } else { Err(found) }
    });
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!(found, lines, "each line once, in order");
}
