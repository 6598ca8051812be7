//! Disks that take names for one another: nothing is overwritten there, what has no place is
//! said to have none, and goes on to the other devices all the same.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use syncd_integration::fuse::{Form, Mounted};
use syncd_integration::process::{
    Device, FOLDER, Listen, Pair, Scratch, differences, eventually, introduce, nodes, share, write,
};

use super::{NOTICE_MAX, await_no_problem, problem_of};

/// Two devices that share an empty folder; the devbox has it on a disk that folds names.
///
/// The disk goes first, so that nothing is in the way when the directories go.
struct Uneven {
    _disk: Mounted,
    pair: Pair,
}

/// Makes them; `None` where no such disk can be mounted.
fn uneven(form: Form) -> Option<Uneven> {
    let pair = Pair::acquainted();
    fs::create_dir_all(pair.devbox.root()).unwrap();
    let disk = Mounted::mount(pair.devbox.root(), form)?;
    share(&pair.laptop, &pair.devbox);
    Some(Uneven { _disk: disk, pair })
}

/// Returns what lies at a path, asked of its directory's listing: a disk that folds names would
/// answer for its twin.
fn listed(root: &Path, path: &str) -> bool {
    nodes(root).contains_key(Path::new(path))
}

/// Waits until the listing has a name, or has it not.
#[track_caller]
fn await_listed(device: &Device, path: &str, is_there: bool) {
    eventually(NOTICE_MAX, &format!("{path:?} on {}: {is_there}", device.name()), || {
        match listed(device.root(), path) == is_there {
            true => Ok(()),
            false => Err(format!("{:?}, {}", nodes(device.root()), device.ok(&["events"]))),
        }
    });
}

/// Names that a folding disk takes for one, and why.
const TWINS: [(&str, &str, &str); 5] = [
    ("a.txt", "A.TXT", "case"),
    ("\u{e9}t\u{e9}", "e\u{301}te\u{301}", "two forms of Unicode"),
    ("\u{e4}", "A\u{308}", "both at once"),
    ("dir/file", "DIR/other", "directories"),
    ("name", "Name/inside", "a file and a directory"),
];

#[test]
fn twins_are_shown_and_nothing_is_overwritten() {
    let Some(Uneven { pair, _disk }) = uneven(Form::Kept) else { return };
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    for (first, second, because) in TWINS {
        write(&laptop.path(first), format!("{first}\n"));
        laptop.flush();
        write(&laptop.path(second), format!("{second}\n"));
        laptop.flush();
        let text = fs::read_to_string(devbox.path(first)).unwrap();
        assert_eq!(text, format!("{first}\n"), "{because}: the first one stays");
        let there = nodes(devbox.root());
        let has = |path: &str| there.contains_key(Path::new(path));
        assert!(has(first) && !has(second), "{because}: {there:?}");
        let name = second.split('/').next().unwrap();
        let (what, remedy) = problem_of(devbox, name);
        assert!(what.contains("takes both names for one"), "{because}: {what}");
        assert!(remedy.contains("rename"), "{because}: {remedy}");
        assert!(listed(laptop.root(), first) && listed(laptop.root(), second), "{because}");
        // An edit of the one that has no place goes nowhere, an edit of the other arrives.
        write(&laptop.path(second), "edited\n");
        write(&laptop.path(first), "edited too\n");
        laptop.flush();
        assert_eq!(fs::read_to_string(devbox.path(first)).unwrap(), "edited too\n", "{because}");
        // And one made here arrives there.
        write(&devbox.path(first), "from the folding side\n");
        devbox.flush();
        let text = fs::read_to_string(laptop.path(first)).unwrap();
        assert_eq!(text, "from the folding side\n", "{because}");
        assert_eq!(fs::read_to_string(laptop.path(second)).unwrap(), "edited\n", "{because}");
    }
    let said = devbox.ok(&["scan"]);
    devbox.flush();
    for (_, second, because) in TWINS {
        assert!(laptop.path(second).exists(), "{because}: a scan deletes nothing: {said}");
    }
    assert_eq!(laptop.status(FOLDER)["conflicts"], 0);
    eventually(NOTICE_MAX, "the devbox is in sync but for what it cannot hold", || {
        let told = laptop.status(FOLDER)["devices"][0].clone();
        let left_out = serde_json::json!([{ "why": "unsupported", "files": TWINS.len() }]);
        let is_so = told["in_sync"] == true && told["left_out"] == left_out;
        if is_so { Ok(()) } else { Err(told.to_string()) }
    });
}

#[test]
fn a_twin_settles_by_itself_when_the_name_is_free() {
    let Some(Uneven { mut pair, _disk }) = uneven(Form::Kept) else { return };
    for (first, second, because) in TWINS {
        write(&pair.laptop.path(first), format!("{first}\n"));
        pair.laptop.flush();
        write(&pair.laptop.path(second), format!("{second}\n"));
        pair.laptop.flush();
        let top = |path: &str| path.split('/').next().unwrap().to_owned();
        problem_of(&pair.devbox, &top(second));
        if because == "two forms of Unicode" {
            pair.devbox.stop();
            pair.devbox.start();
            pair.await_connected();
            problem_of(&pair.devbox, &top(second));
        }
        let gone = pair.laptop.path(top(first));
        match gone.is_dir() {
            true => fs::remove_dir_all(gone).unwrap(),
            false => fs::remove_file(gone).unwrap(),
        }
        await_listed(&pair.devbox, second, true);
        assert_eq!(fs::read_to_string(pair.devbox.path(second)).unwrap(), format!("{second}\n"));
        await_no_problem(&pair.devbox);
        pair.agree();
    }
}

#[test]
fn a_rename_in_case_only_arrives_on_both_kinds_of_disk() {
    let Some(Uneven { pair, _disk }) = uneven(Form::Kept) else { return };
    write(&pair.laptop.path("file"), "text\n");
    write(&pair.laptop.path("dir/inside"), "deep\n");
    pair.laptop.flush();
    let names = [("file", "File"), ("dir", "Dir"), ("File", "FILE"), ("Dir", "DIR")];
    for (at, (from, to)) in names.into_iter().enumerate() {
        // Linux takes a rename to a twin for none at all where the disk finds the same file.
        let here = if at < 2 { &pair.laptop } else { &pair.devbox };
        fs::rename(here.path(from), here.path("aside")).unwrap();
        fs::rename(here.path("aside"), here.path(to)).unwrap();
        for device in [&pair.laptop, &pair.devbox] {
            await_listed(device, to, true);
            await_listed(device, from, false);
        }
        pair.agree();
    }
    assert_eq!(fs::read_to_string(pair.devbox.path("FILE")).unwrap(), "text\n");
    assert_eq!(fs::read_to_string(pair.laptop.path("DIR/inside")).unwrap(), "deep\n");
    await_no_problem(&pair.devbox);
    assert_eq!(pair.laptop.status(FOLDER)["conflicts"], 0);
}

#[test]
fn a_delete_of_one_twin_spares_the_other() {
    let Some(Uneven { pair, _disk }) = uneven(Form::Kept) else { return };
    for (first, second, because) in [("a", "A", "files"), ("d/x", "D/x", "directories")] {
        for path in [first, second] {
            write(&pair.laptop.path(path), path);
            pair.laptop.flush();
        }
        let top = second.split('/').next().unwrap();
        problem_of(&pair.devbox, top);
        // The one that has no place there is deleted elsewhere: its twin stays.
        let gone = pair.laptop.path(top);
        match gone.is_dir() {
            true => fs::remove_dir_all(gone).unwrap(),
            false => fs::remove_file(gone).unwrap(),
        }
        pair.laptop.flush();
        assert_eq!(fs::read_to_string(pair.devbox.path(first)).unwrap(), first, "{because}");
        await_no_problem(&pair.devbox);
        pair.agree();
    }
}

#[test]
fn a_name_that_the_disk_would_rewrite_or_refuse_is_not_placed() {
    let Some(Uneven { pair, _disk }) = uneven(Form::Decomposed) else { return };
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    let bytes = OsStr::from_bytes(b"bytes-\xff");
    write(&laptop.path("plain"), "x");
    write(&laptop.path("e\u{301}"), "decomposed already");
    write(&laptop.path("\u{fc}ber/file"), "composed");
    write(&laptop.path(bytes), "no text");
    laptop.flush();
    assert!(listed(devbox.root(), "plain") && listed(devbox.root(), "e\u{301}"));
    let (what, _) = problem_of(devbox, "\u{fc}ber");
    assert!(what.contains("cannot hold the name"), "{what}");
    problem_of(devbox, "bytes-\\xff");
    assert_eq!(nodes(devbox.root()).len(), 2, "nothing else: {:?}", nodes(devbox.root()));
    devbox.ok(&["scan"]);
    devbox.flush();
    assert!(laptop.path("\u{fc}ber/file").exists() && laptop.path(bytes).exists());
    assert_eq!(nodes(laptop.root()).len(), 5, "nothing came back under another name");
    // A name that is made there arrives as that disk spells it.
    write(&devbox.path("\u{f6}l"), "made there");
    devbox.flush();
    assert!(laptop.path("o\u{308}l").exists() && !laptop.path("\u{f6}l").exists());
}

#[test]
fn a_hub_forwards_what_it_cannot_hold() {
    let scratch = Scratch::new();
    let name = ["hub", "one", "two"];
    let mut devices = name.map(|name| Device::init(scratch.path(), name, Listen::Port));
    devices.iter_mut().for_each(Device::start);
    let [hub, one, two] = &devices;
    fs::create_dir_all(hub.root()).unwrap();
    let Some(_disk) = Mounted::mount(hub.root(), Form::Kept) else { return };
    for other in [one, two] {
        introduce(hub, other, &other.address());
        share(hub, other);
    }
    write(&one.path("a"), "first\n");
    one.flush();
    hub.flush();
    write(&one.path("A"), "second\n");
    write(&one.path("D/big"), vec![7; 300_000]);
    write(&one.path("d/small"), "small\n");
    std::os::unix::fs::symlink("target", one.path("LINK")).unwrap();
    std::os::unix::fs::symlink("elsewhere", one.path("link")).unwrap();
    write(&one.path(OsStr::from_bytes(b"bytes-\xff")), "no text\n");
    let agree = |what: &str| {
        eventually(NOTICE_MAX, what, || {
            let found = differences(one.root(), two.root());
            match found.is_empty() {
                true => Ok(()),
                false => Err(format!("{found:#?}\n{}", hub.status(FOLDER))),
            }
        });
    };
    agree("both boxes hold all twins");
    assert_eq!(fs::read_to_string(hub.path("a")).unwrap(), "first\n");
    // From the other box, too, and over the hub's restart.
    write(&two.path("A"), "edited by two\n");
    agree("an edit of what the hub cannot hold");
    fs::remove_file(two.path("a")).unwrap();
    agree("a delete makes room");
    await_listed(hub, "A", true);
    assert_eq!(fs::read_to_string(hub.path("A")).unwrap(), "edited by two\n");
}
