//! A laptop, a devbox on a disk that can be struck, and stories told until they end well.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use syncd_integration::fuse::{Contents, Form, Loss, Mounted, Strike};
use syncd_integration::process::{
    Pair, Scratch, can_use, differences, eventually, introduce, is_long, lacking, nodes, share,
};

use super::stories::Story;

/// How long a story may take until it has ended or all is well.
const STORY_MAX: Duration = Duration::from_secs(120);

/// What the devbox must do without: of these the file system is not told, so that it could not
/// say what is durable. syncd then asks for each file.
const NOT_TOLD: [i64; 2] = [libc::SYS_syncfs, libc::SYS_sync_file_range];

/// What power losses take, and of what file systems that is known.
const LOSSES: [(Loss, &str); 5] = [
    (Loss { names_kept: 0, contents: Contents::Old }, "nothing had been written"),
    (Loss { names_kept: 100, contents: Contents::Old }, "names before contents, as ext4 may"),
    (Loss { names_kept: 0, contents: Contents::New }, "contents before names, as most do"),
    (Loss { names_kept: 50, contents: Contents::Torn }, "in the middle of both"),
    (Loss { names_kept: 100, contents: Contents::Torn }, "in the middle of the contents"),
];

/// How the devbox ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its process is killed.
    Killed,
    /// So is its machine: what was not durable may be gone.
    PowerLost,
}

/// Both devices and the devbox's disk, which goes first so that nothing is in the way when the
/// directories go.
pub(super) struct Bench {
    disk: Mounted,
    pair: Pair,
    round: u32,
}

impl Bench {
    /// Makes them, sharing an empty folder; `None` where no such disk can be mounted.
    pub(super) fn new() -> Option<Self> {
        if !can_use(&["umount"]) {
            return None;
        }
        let scratch = Scratch::new();
        let at = scratch.path().join("disk");
        fs::create_dir(&at).unwrap();
        let disk = Mounted::mount(&at, Form::Exact)?;
        let log = scratch.path().join("devbox.log");
        let mut pair = Pair::idle(scratch, "disk");
        pair.devbox.logs_to(log);
        pair.laptop.start();
        lacking(&NOT_TOLD, Errno::NOSYS, || pair.devbox.start());
        introduce(&pair.laptop, &pair.devbox, &pair.devbox.address());
        share(&pair.laptop, &pair.devbox);
        for device in [&pair.laptop, &pair.devbox] {
            device.ok(&["folder", "set", "work", "--in-place", "*.log"]);
        }
        Some(Self { disk, pair, round: 0 })
    }

    /// Tells a story, the end coming later each time, until it comes no more; returns how often
    /// it came.
    pub(super) fn tell(&mut self, story: &Story, end: End) -> u32 {
        let (mut nth, mut ends) = (1, 0);
        loop {
            let losses: &[_] = match end {
                End::Killed => &[None],
                End::PowerLost if is_long() => &LOSSES.map(Some),
                End::PowerLost => &[Some(LOSSES[ends as usize % LOSSES.len()])],
            };
            for loss in losses {
                let told = format!("{}, end before change {nth}, {loss:?}", story.name);
                if !self.tell_once(story, nth, loss.map(|(loss, _)| loss), &told) {
                    return ends;
                }
                ends += 1;
            }
            nth += if is_long() { 1 } else { 2 + 2 * nth };
        }
    }

    /// Tells whether the end came.
    fn tell_once(&mut self, story: &Story, nth: u64, loss: Option<Loss>, told: &str) -> bool {
        self.round += 1;
        let dir = format!("r{}", self.round);
        (story.prepare)(&self.pair, &dir);
        self.pair.agree();
        (story.stage)(&self.pair, &dir);
        let devbox = Pid::from_raw(self.pair.devbox.pid().cast_signed()).expect("a process");
        self.disk.strike_at(nth, Strike::Kill(devbox));
        (story.act)(&self.pair, &dir);
        let struck = eventually(STORY_MAX, told, || {
            if self.disk.is_struck() {
                return Ok(true);
            }
            self.agrees().map(|()| false)
        });
        // Between the last look and this one it may have come after all.
        let struck = struck || self.disk.is_struck();
        if struck {
            self.pair.devbox.kill();
        }
        self.disk.calm();
        if struck {
            if let Some(loss) = loss {
                self.disk.lose_power(loss);
                self.pair.devbox.boots_as(&dir);
            }
            let devbox = &mut self.pair.devbox;
            lacking(&NOT_TOLD, Errno::NOSYS, || devbox.start());
        }
        (story.mend)(&self.pair, &dir);
        eventually(STORY_MAX, told, || self.agrees());
        let there = contents(&self.pair.laptop.path(&dir));
        assert_eq!(there, (story.expected)(), "{told}");
        for kept in story.kept {
            let inner = self.pair.devbox.path(".syncd");
            assert!(is_somewhere(&inner, kept), "{told}: {kept:?} is in no trash");
        }
        struck
    }

    /// Tells whether both say that they hold the same, and do.
    fn agrees(&self) -> Result<(), String> {
        for (device, _) in self.pair.sides() {
            let answer = device.ctl(&["flush", "--timeout", "1s"]);
            if answer.code != 0 {
                return Err(format!("{}: {}", device.name(), answer.stderr));
            }
        }
        let found = differences(self.pair.laptop.root(), self.pair.devbox.root());
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    }
}

/// Returns what lies below a directory, by path: `dir/` for directories, `->` before where links
/// point. Of conflict copies the name is left out but for what they are copies of.
pub(super) fn contents(root: &Path) -> BTreeMap<String, String> {
    let told = |path: &Path| {
        let at = root.join(path);
        let meta = fs::symlink_metadata(&at).unwrap();
        if meta.is_dir() {
            "dir/".to_owned()
        } else if meta.is_symlink() {
            format!("->{}", fs::read_link(&at).unwrap().display())
        } else {
            summary(&fs::read(&at).unwrap())
        }
    };
    let name = |path: &Path| {
        let name = path.display().to_string();
        match name.split_once(".sync-conflict-") {
            Some((begin, _)) => format!("{begin}.sync-conflict"),
            None => name,
        }
    };
    nodes(root).keys().map(|path| (name(path), told(path))).collect()
}

/// Returns a short content itself, and of a long one its beginning, length and sum.
pub(super) fn summary(bytes: &[u8]) -> String {
    if bytes.len() < 100 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    format!("{} bytes, {sum:x}", bytes.len())
}

/// Tells whether some file below `root` holds just `text`.
fn is_somewhere(root: &Path, text: &str) -> bool {
    let Ok(entries) = fs::read_dir(root) else { return false };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => is_somewhere(&entry.path(), text),
        Ok(kind) if kind.is_file() => {
            fs::read(entry.path()).is_ok_and(|bytes| bytes == text.as_bytes())
        }
        _ => false,
    })
}
