//! What the file system below each folder can do, tried out in the folder's own `.syncd`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{RenameFlags, XattrFlags, fsetxattr, renameat_with, statvfs};
use rustix::io::Errno;
use serde_json::{Value, json};
use syncd_home::{Config, FolderConfig, Limits};

use super::finding::Finding;
use crate::render::bytes;

/// Times kept more coarsely than this hide quick changes, in nanoseconds.
const COARSE_NS: u64 = 1_000_000;

/// What was found out about one root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    exchange: bool,
    no_replace: bool,
    hard_links: bool,
    reflink: bool,
    symlinks: bool,
    case_sensitive: bool,
    keeps_names: bool,
    modes: bool,
    xattr: bool,
    /// How finely modification times are kept, in nanoseconds.
    mtime_ns: u64,
}

/// Looks at the root of each folder.
pub(super) fn folders(config: &Config) -> Vec<Finding> {
    config.folders.iter().flat_map(|folder| look(folder, &config.limits)).collect()
}

/// Returns the directory that holds a folder: for a single file, the one it lies in.
pub(super) fn root_of(folder: &FolderConfig) -> PathBuf {
    let own = folder.path.parent().map(|dir| dir.join(".syncd").join(folder.id.as_str()));
    let is_single = folder.path.is_file() || own.is_some_and(|own| own.is_dir());
    match folder.path.parent().filter(|_| is_single) {
        Some(dir) => dir.to_owned(),
        None => folder.path.clone(),
    }
}

fn look(folder: &FolderConfig, limits: &Limits) -> Vec<Finding> {
    let (name, root) = (folder.id.as_str(), root_of(folder));
    if !root.is_dir() {
        let what = format!("{name}: {} is not there", root.display());
        let remedy = format!("bring it back, or end the folder: syncctl folder rm {name}");
        return vec![Finding::bad("folder", what, remedy)];
    }
    let own = root.join(".syncd");
    if !own.is_dir() {
        let what = format!("{name}: syncd has not begun there yet; nothing was tried out");
        return vec![Finding::good("folder", what)];
    }
    let place = own.join(format!("doctor-{}", std::process::id()));
    let found = fs::create_dir(&place).and_then(|()| {
        let found = probe(&place);
        fs::remove_dir_all(&place).and(found)
    });
    match found {
        Ok(found) => {
            let mut all = vec![summary(name, &found)];
            all.extend(lacks(name, &found));
            all.extend(room(name, &root, limits));
            all
        }
        Err(error) => {
            let what = format!("{name}: nothing can be written below {}: {error}", own.display());
            vec![Finding::bad("folder", what, "run this as the user that runs syncd, or mend that")]
        }
    }
}

fn summary(name: &str, found: &Found) -> Finding {
    let facts: [(&str, bool); 9] = [
        ("exchange of names", found.exchange),
        ("no-replace", found.no_replace),
        ("hard links", found.hard_links),
        ("shared blocks", found.reflink),
        ("symlinks", found.symlinks),
        ("case", found.case_sensitive),
        ("names as written", found.keeps_names),
        ("modes", found.modes),
        ("attributes", found.xattr),
    ];
    let list = |has: bool| -> String {
        let names: Vec<&str> = facts.iter().filter(|(_, is)| *is == has).map(|(n, _)| *n).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    let times = Duration::from_nanos(found.mtime_ns);
    let what = format!("{name}: has {}; lacks {}; times to {times:?}", list(true), list(false));
    Finding::good("folder", what).with(json!(found.facts()))
}

impl Found {
    fn facts(&self) -> Value {
        json!({
            "exchange": self.exchange, "no_replace": self.no_replace,
            "hard_links": self.hard_links, "reflink": self.reflink, "symlinks": self.symlinks,
            "case_sensitive": self.case_sensitive, "keeps_names": self.keeps_names,
            "modes": self.modes, "xattr": self.xattr, "mtime_ns": self.mtime_ns,
        })
    }
}

/// Says what follows from what a file system cannot do.
fn lacks(name: &str, found: &Found) -> Vec<Finding> {
    let elsewhere = "move the folder to another file system: syncctl folder move";
    let mut all = Vec::new();
    let mut say = |lacks: bool, what: &str, remedy: &str| {
        if lacks {
            all.push(Finding::warn("folder", format!("{name}: {what}"), remedy));
        }
    };
    let unsafe_to_place = !found.no_replace && !found.hard_links;
    say(
        !found.exchange && !unsafe_to_place,
        "two names cannot be exchanged: a file that is replaced is not there for a moment",
        elsewhere,
    );
    say(
        !found.symlinks,
        "symlinks cannot be made: those of other devices are left out here",
        elsewhere,
    );
    say(
        !found.case_sensitive,
        "'Name' and 'name' are one file: of two such names one is left out here",
        "rename one of the two where they come from",
    );
    say(
        !found.keeps_names,
        "names with accents are written another way: of two that look alike one is left out",
        "rename one of the two where they come from",
    );
    say(!found.modes, "permission bits are not kept: files may lose 'executable' here", elsewhere);
    say(
        found.mtime_ns > COARSE_NS,
        "times are kept so coarsely that a quick second change shows only at the next scan",
        elsewhere,
    );
    if unsafe_to_place {
        let what = format!("{name}: a new file cannot be placed without the risk of replacing one");
        all.push(Finding::bad("folder", what, elsewhere));
    }
    all
}

/// Compares what is free with what must stay free.
fn room(name: &str, root: &Path, limits: &Limits) -> Option<Finding> {
    let disk = statvfs(root).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let floor = limits.floor_bytes(disk.f_blocks.saturating_mul(disk.f_frsize));
    Some(judge_room(name, free, floor).with(json!({ "free_bytes": free, "floor_bytes": floor })))
}

fn judge_room(name: &str, free: u64, floor: u64) -> Finding {
    let what = format!("{name}: {} free, {} of it stay free", bytes(free), bytes(floor));
    if free > floor {
        return Finding::good("room", what);
    }
    let what = format!("{name}: only {} are free, and {} must stay so", bytes(free), bytes(floor));
    Finding::bad("room", what, "make room, or: syncctl config set limits.free_mib MEBIBYTES")
}

/// Tries everything out in `place`, an empty directory of our own.
fn probe(place: &Path) -> io::Result<Found> {
    let at = |name: &str| place.join(name);
    let (a, b, c) = (at("a"), at("b"), at("c"));
    for name in ["a", "b", "case", "\u{e9}"] {
        fs::write(at(name), name)?;
    }
    let rename = |from: &Path, to: &Path, flags| {
        renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags)
    };
    let exchange = rename(&a, &b, RenameFlags::EXCHANGE).is_ok() && fs::read(&a)? == b"b";
    // It must both work and refuse: some file systems ignore the flag.
    let no_replace = rename(&a, &b, RenameFlags::NOREPLACE) == Err(Errno::EXIST)
        && rename(&a, &c, RenameFlags::NOREPLACE).is_ok()
        && rename(&c, &a, RenameFlags::NOREPLACE).is_ok();
    let mode = |mode: u32| -> io::Result<bool> {
        fs::set_permissions(&a, fs::Permissions::from_mode(mode))?;
        Ok(fs::metadata(&a)?.permissions().mode() & 0o777 == mode)
    };
    let file = File::options().read(true).write(true).open(&a)?;
    Ok(Found {
        exchange,
        no_replace,
        hard_links: fs::hard_link(&a, at("link")).is_ok(),
        reflink: shares_blocks(&at("case"), &at("shared")),
        symlinks: symlink("nowhere", at("symlink")).is_ok(),
        case_sensitive: !at("CASE").exists(),
        keeps_names: !at("e\u{301}").exists(),
        // Where it is forbidden it is not kept either.
        modes: mode(0o640).unwrap_or(false) && mode(0o700).unwrap_or(false),
        xattr: fsetxattr(&file, "user.syncd.probe", b"x", XattrFlags::empty()).is_ok(),
        mtime_ns: granularity(&file)?,
    })
}

#[cfg(target_os = "linux")]
fn shares_blocks(from: &Path, to: &Path) -> bool {
    let (Ok(from), Ok(to)) = (File::open(from), File::create_new(to)) else { return false };
    rustix::fs::ioctl_ficlone(&to, &from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn shares_blocks(_from: &Path, _to: &Path) -> bool {
    false
}

/// Sets a time and returns the coarsest step that explains what is read back, in nanoseconds.
fn granularity(file: &File) -> io::Result<u64> {
    const SET_NS: u64 = 1_700_000_001_123_456_789;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(SET_NS))?;
    let read = file.metadata()?.modified()?;
    let read = read.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(step(SET_NS, u64::try_from(read.as_nanos()).unwrap_or(u64::MAX)))
}

fn step(set_ns: u64, read_ns: u64) -> u64 {
    let steps = [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];
    let fits = |step: &u64| set_ns / step * step == read_ns;
    steps.into_iter().find(fits).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_out_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let found = probe(dir.path()).unwrap();
        assert!(found.case_sensitive && found.symlinks && found.modes, "{found:?}");
        assert_eq!(lacks("work", &Found { exchange: true, no_replace: true, ..found }).len(), 0);

        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".syncd")).unwrap();
        let folder = Config::parse(&format!(
            "[[folder]]\nid = 'work'\npath = '{}'\n",
            root.path().display()
        ));
        assert!(folders(&folder.unwrap()).len() >= 2);
        assert_eq!(fs::read_dir(root.path().join(".syncd")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_lacking_is_said_with_what_follows() {
        let all = Found {
            exchange: true,
            no_replace: true,
            hard_links: true,
            reflink: false,
            symlinks: true,
            case_sensitive: true,
            keeps_names: true,
            modes: true,
            xattr: true,
            mtime_ns: 1,
        };
        assert!(lacks("work", &all).is_empty(), "shared blocks are only quicker");
        for (found, said, because) in [
            (Found { exchange: false, ..all.clone() }, "not there for a moment", "no exchange"),
            (Found { symlinks: false, ..all.clone() }, "symlinks", "FAT"),
            (Found { case_sensitive: false, ..all.clone() }, "one file", "macOS"),
            (Found { keeps_names: false, ..all.clone() }, "accents", "HFS+"),
            (Found { modes: false, ..all.clone() }, "executable", "a mounted FAT"),
            (Found { mtime_ns: 2_000_000_000, ..all.clone() }, "coarsely", "FAT"),
            (Found { no_replace: false, hard_links: false, ..all.clone() }, "risk", "neither"),
        ] {
            let said_of: Vec<_> = lacks("work", &found).into_iter().map(|f| f.what).collect();
            assert!(said_of.len() == 1 && said_of[0].contains(said), "{because}: {said_of:?}");
        }
        assert_eq!(judge_room("work", 2, 1).verdict(), "good");
        assert_eq!(judge_room("work", 1, 1).verdict(), "bad");
    }

    #[test]
    fn the_step_of_times_is_read_off() {
        for (read, ns) in [
            (1_700_000_001_123_456_789, 1),
            (1_700_000_001_123_456_000, 1_000),
            (1_700_000_001_120_000_000, 10_000_000),
            (1_700_000_001_000_000_000, 1_000_000_000),
            (1_700_000_000_000_000_000, 2_000_000_000),
            (5, u64::MAX),
        ] {
            assert_eq!(step(1_700_000_001_123_456_789, read), ns, "{read}");
        }
    }
}
