//! Mistakes around a folder's root and what lies in it: unreadable, read-only, gone, another.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{
    Device, FOLDER, Listen, Mount, Pair, Scratch, can_use, differences, done, eventually,
    introduce, set_mode, share, without_root_rights, write,
};

use super::is_plain;

/// How long it may take to notice something, and to go on.
const NOTICE_MAX: Duration = Duration::from_secs(60);

/// Waits until `status` names a problem whose text or path holds each of `words`.
#[track_caller]
fn await_problem(device: &Device, words: &[&str]) -> Value {
    eventually(NOTICE_MAX, &format!("{} tells {words:?}", device.name()), || {
        let status = device.status(FOLDER);
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let holds = |problem: &&Value| {
            let text = format!("{} {}", problem["path"], problem["what"]);
            words.iter().all(|word| text.contains(word))
        };
        let found = problems.iter().find(holds).cloned().ok_or_else(|| status.to_string())?;
        is_plain(found["what"].as_str().unwrap(), &[], "what is wrong");
        is_plain(found["do"].as_str().unwrap(), &[], "what to do");
        Ok(found)
    })
}

/// Waits until the folder has no problem and both sides hold the same.
#[track_caller]
fn await_well(laptop: &Device, devbox: &Device) {
    eventually(NOTICE_MAX, "all is well again", || {
        let flush = laptop.ctl(&["flush", "--timeout", "10s"]);
        let back = devbox.ctl(&["flush", "--timeout", "10s"]);
        let found: Vec<_> = differences(laptop.root(), devbox.root())
            .into_iter()
            .filter(|found| !found.starts_with("lost+found"))
            .collect();
        let problems = [laptop, devbox].map(|device| device.status(FOLDER)["problems"].clone());
        let none = problems.iter().all(|problems| *problems == Value::Array(Vec::new()));
        match flush.code == 0 && back.code == 0 && found.is_empty() && none {
            true => Ok(()),
            false => Err(format!("{flush:?} {back:?} {found:?} {problems:?}")),
        }
    });
}

#[test]
fn what_cannot_be_read_is_named_and_hides_nothing_else() {
    if !can_use(&["setpriv"]) {
        return;
    }
    let mut pair = Pair::new();
    pair.laptop.stop();
    pair.laptop.run_under(without_root_rights());
    pair.laptop.start();
    for path in ["file", "dir/below", "fine"] {
        write(&pair.laptop.path(path), path);
    }
    pair.agree();
    for (path, mode) in [("file", 0o644), ("dir", 0o755)] {
        let (laptop, devbox) = (&pair.laptop, &pair.devbox);
        let closed = laptop.path(path);
        let inside = if path == "dir" { closed.join("below") } else { closed.clone() };
        // Another program writes, then closes it: as one that runs as another user does.
        write(&inside, "new");
        set_mode(&closed, 0o000);
        laptop.ctl(&["scan"]);
        write(&laptop.path("fine"), path);
        eventually(NOTICE_MAX, "the rest goes on", || {
            let fine = fs::read_to_string(devbox.path("fine")).unwrap_or_default();
            if fine == path { Ok(()) } else { Err(laptop.log_end()) }
        });
        assert!(devbox.path("file").exists(), "unreadable is not gone");
        assert!(devbox.path("dir/below").exists(), "what lies below is not gone either");
        let shown = await_problem(laptop, &[path, "permission denied"]);
        assert!(shown["do"].as_str().unwrap().contains("read it"), "{shown}");
        let why = laptop.ok(&["why", &closed.display().to_string()]);
        is_plain(&why, &["permission denied"], "why tells the same");
        set_mode(&closed, mode);
        await_well(laptop, devbox);
        let below = inside.strip_prefix(laptop.root()).unwrap();
        assert_eq!(fs::read_to_string(devbox.path(below)).unwrap(), "new", "it came by itself");
    }
}

#[test]
fn where_nothing_can_be_written_it_waits_and_tells() {
    if !can_use(&["setpriv"]) {
        return;
    }
    let mut pair = Pair::new();
    write(&pair.laptop.path("d/old"), "old");
    write(&pair.laptop.path("d/gone"), "gone");
    pair.agree();
    pair.devbox.stop();
    pair.devbox.run_under(without_root_rights());
    pair.devbox.start();
    set_mode(&pair.devbox.path("d"), 0o555);
    // The laptop must not take the mode over before it has something to send.
    fs::remove_file(pair.laptop.path("d/gone")).unwrap();
    write(&pair.laptop.path("d/new"), "new");
    write(&pair.laptop.path("fine"), "fine");
    eventually(NOTICE_MAX, "the rest goes on", || {
        if pair.devbox.path("fine").exists() { Ok(()) } else { Err(pair.devbox.log_end()) }
    });
    assert_eq!(fs::read_to_string(pair.devbox.path("d/old")).unwrap(), "old");
    set_mode(&pair.devbox.path("d"), 0o755);
    await_well(&pair.laptop, &pair.devbox);
    assert!(pair.devbox.path("d/new").exists() && !pair.devbox.path("d/gone").exists());
}

/// Two devices that share a folder; what lies at `scratch/devbox-work` was made before.
fn pair_in(scratch: &Scratch) -> (Device, Device) {
    let mut laptop = Device::init(scratch.path(), "laptop", Listen::Port);
    let mut devbox = Device::init(scratch.path(), "devbox", Listen::Port);
    laptop.start();
    devbox.start();
    introduce(&laptop, &devbox, &devbox.address());
    share(&laptop, &devbox);
    for at in 0..30 {
        write(&laptop.path(format!("d/f{at}")), format!("{at}"));
    }
    await_well(&laptop, &devbox);
    (laptop, devbox)
}

#[test]
fn a_read_only_file_system_and_one_that_is_unmounted_delete_nothing() {
    if !can_use(&["mount", "umount", "losetup", "mkfs.ext4"]) {
        return;
    }
    let scratch = Scratch::new();
    let at = scratch.path().join("devbox-work");
    let disk = Mount::ext4(&at, 64);
    let mut later = Vec::new();
    fs::remove_dir(at.join("lost+found")).unwrap();
    let (laptop, mut devbox) = pair_in(&scratch);
    for running in [true, false] {
        if !running {
            devbox.stop();
        }
        // Refused for as long as anything there is open for writing.
        eventually(NOTICE_MAX, "nothing keeps it writable", || disk.remount("ro"));
        if !running {
            devbox.start();
        }
        let before = fs::read_to_string(devbox.path("d/f0")).unwrap();
        write(&laptop.path("d/f0"), format!("newer, running: {running}"));
        fs::remove_file(laptop.path(format!("d/f{}", 10 + u8::from(running)))).unwrap();
        let word = if running { "mounted read-only" } else { "Read-only file system" };
        let shown = await_problem(&devbox, &[word]);
        // What it did to single files may have been said until it was noticed.
        eventually(NOTICE_MAX, "it is said once", || {
            let problems = devbox.status(FOLDER)["problems"].clone();
            if problems == serde_json::json!([shown]) { Ok(()) } else { Err(problems.to_string()) }
        });
        assert_eq!(fs::read_to_string(devbox.path("d/f0")).unwrap(), before, "as it was");
        eventually(NOTICE_MAX, "it is writable again", || disk.remount("rw"));
        await_well(&laptop, &devbox);
    }
    for running in [true, false] {
        if !running {
            devbox.stop();
        }
        done(Command::new("umount").arg("--lazy").arg(&at));
        if !running {
            devbox.start();
        }
        let halted = await_problem(&devbox, &["folder's root"]);
        assert!(halted["do"].as_str().unwrap().contains("bring"), "{halted}");
        assert_eq!(devbox.status(FOLDER)["state"], "halted");
        write(&laptop.path("d/f2"), format!("while it was away {running}"));
        write(&at.join("below-the-mount"), "x");
        assert!(laptop.path("d/f29").exists(), "nothing is deleted elsewhere");
        fs::remove_file(at.join("below-the-mount")).unwrap();
        eventually(NOTICE_MAX, "nothing holds the disk any more", || {
            let image = at.with_extension("image");
            let held = Command::new("losetup").arg("-j").arg(image).output().unwrap().stdout;
            let held = String::from_utf8_lossy(&held).into_owned();
            if held.is_empty() { Ok(()) } else { Err(held) }
        });
        later.push(Mount::again(&at));
        await_well(&laptop, &devbox);
        assert_eq!(laptop.json(&["held", "ls"]), Value::Array(Vec::new()), "nothing to decide");
    }
}

/// Does something to the root at a path; the other path is free.
type Harm = fn(&Path, &Path);

#[test]
fn a_root_that_is_gone_or_another_halts_and_goes_on_when_it_is_back() {
    let scratch = Scratch::new();
    let (laptop, mut devbox) = pair_in(&scratch);
    let (root, aside) = (devbox.root().to_path_buf(), scratch.path().join("aside"));
    let rows: [(&str, Harm); 5] = [
        ("moved away", |root, aside| fs::rename(root, aside).unwrap()),
        ("an empty directory in its place", |root, aside| {
            fs::rename(root, aside).unwrap();
            fs::create_dir(root).unwrap();
        }),
        ("another tree in its place", |root, aside| {
            fs::rename(root, aside).unwrap();
            write(&root.join("d/f1"), "another");
        }),
        ("a symlink to it in its place", |root, aside| {
            fs::rename(root, aside).unwrap();
            symlink(aside, root).unwrap();
        }),
        ("a file in its place", |root, aside| {
            fs::rename(root, aside).unwrap();
            write(root, "x");
        }),
    ];
    for (because, harm) in rows {
        for running in [true, false] {
            if !running {
                devbox.stop();
            }
            harm(&root, &aside);
            if !running {
                devbox.start();
            }
            await_problem(&devbox, &["root"]);
            assert_eq!(devbox.status(FOLDER)["state"], "halted", "{because}");
            write(&laptop.path("d/f2"), because);
            let flush = laptop.ctl(&["flush", "--timeout", "1s"]);
            assert!([1, 4].contains(&flush.code), "{because}: {flush:?}");
            assert!(laptop.path("d/f29").exists(), "{because}: nothing is deleted elsewhere");
            if because == "another tree in its place" {
                let there = fs::read_to_string(root.join("d/f1")).unwrap();
                assert_eq!(there, "another", "{because}: nothing is done to it");
                assert!(!root.join("d/f0").exists() && !root.join(".syncd").exists());
            }
            let meta = fs::symlink_metadata(&root);
            match meta {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&root).unwrap(),
                Ok(_) => fs::remove_file(&root).unwrap(),
                Err(_) => {}
            }
            fs::rename(&aside, &root).unwrap();
            await_well(&laptop, &devbox);
        }
    }
}

#[test]
fn a_root_that_was_emptied_while_nobody_looked_is_held() {
    let scratch = Scratch::new();
    let (laptop, mut devbox) = pair_in(&scratch);
    devbox.stop();
    fs::remove_dir_all(devbox.path("d")).unwrap();
    devbox.start();
    eventually(NOTICE_MAX, "the deletes are held", || {
        let status = devbox.status(FOLDER);
        if status["state"] == "held" { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(laptop.path("d/f29").exists(), "nothing is deleted elsewhere unasked");
    devbox.await_connected("laptop");
    let flush = devbox.ctl(&["flush", "--timeout", "5s"]);
    super::says(&flush, 5, &["held approve", "held reject"], "a person decides");
}

#[test]
fn a_removed_syncd_directory_costs_nothing() {
    let scratch = Scratch::new();
    let (laptop, mut devbox) = pair_in(&scratch);
    for running in [true, false] {
        if !running {
            devbox.stop();
        }
        fs::remove_dir_all(devbox.path(".syncd")).unwrap();
        if !running {
            devbox.start();
        }
        write(&laptop.path("d/f0"), format!("newer {running}"));
        write(&devbox.path("d/f1"), format!("newer {running}"));
        await_well(&laptop, &devbox);
        let came = fs::read_to_string(devbox.path("d/f0")).unwrap();
        assert_eq!(came, format!("newer {running}"));
        eventually(NOTICE_MAX, "its own place is there again", || {
            let id = devbox.path(".syncd/id");
            if id.exists() { Ok(()) } else { Err(devbox.log_end()) }
        });
    }
}
