//! What people and programs do to files, and that it arrives: after `flush` returned, the other
//! side holds exactly the same.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use syncd_integration::process::{Noise, Pair, set_mode, set_mtime, write, write_noise};

type Change = fn(&Path);

/// What happens to a folder, one after the other: each row finds what the rows before it left.
const CHANGES: &[(&str, Change)] = &[
    ("a file is created", |r| write(&r.join("a.txt"), "one\n")),
    ("a file below new directories", |r| write(&r.join("d/e/f.txt"), "deep\n")),
    ("an empty file", |r| write(&r.join("empty"), "")),
    ("a file of one block and a byte", |r| write_noise(&r.join("65537"), 1, 65_537)),
    ("a file of several megabytes", |r| write_noise(&r.join("big.bin"), 2, 5 << 20)),
    ("an empty directory", |r| fs::create_dir(r.join("empty-dir")).unwrap()),
    ("names that are not ASCII", |r| write(&r.join("grüße/日本 語.txt"), "x")),
    ("names that no text has", |r| {
        use std::os::unix::ffi::OsStrExt;
        write(&r.join(std::ffi::OsStr::from_bytes(b"bad-\xff.txt")), "bytes");
    }),
    ("a name of 255 bytes", |r| write(&r.join("n".repeat(255)), "long")),
    ("a link to a file", |r| symlink("a.txt", r.join("link")).unwrap()),
    ("a link to a directory is not walked", |r| symlink("d", r.join("d-link")).unwrap()),
    ("a link to nowhere", |r| symlink("../../nowhere", r.join("dangling")).unwrap()),
    ("a link to outside stays a link", |r| symlink("/etc/hosts", r.join("hosts")).unwrap()),
    ("a link points elsewhere now", |r| {
        fs::remove_file(r.join("link")).unwrap();
        symlink("empty", r.join("link")).unwrap();
    }),
    ("a file is edited in place", |r| {
        let mut file = File::options().write(true).open(r.join("big.bin")).unwrap();
        file.seek(SeekFrom::Start(3 << 20)).unwrap();
        file.write_all(b"edited in place").unwrap();
    }),
    ("a file is saved atomically", |r| {
        write(&r.join(".a.txt.swp"), "two\n");
        fs::rename(r.join(".a.txt.swp"), r.join("a.txt")).unwrap();
    }),
    ("a file is appended to", |r| {
        let mut file = File::options().append(true).open(r.join("a.txt")).unwrap();
        file.write_all(b"three\n").unwrap();
    }),
    ("a file is cut short", |r| {
        File::options().write(true).open(r.join("big.bin")).unwrap().set_len(1 << 20).unwrap();
    }),
    ("bytes of the same count with the same time", |r| {
        let path = r.join("a.txt");
        let mtime = fs::metadata(&path).unwrap().modified().unwrap();
        let same_size = "X".repeat(fs::read(&path).unwrap().len());
        fs::write(&path, same_size).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    }),
    ("a file becomes executable", |r| set_mode(&r.join("a.txt"), 0o755)),
    ("a file becomes private", |r| set_mode(&r.join("a.txt"), 0o600)),
    ("a file becomes read-only", |r| set_mode(&r.join("empty"), 0o444)),
    ("a directory becomes private", |r| set_mode(&r.join("d"), 0o700)),
    ("a file is dated back", |r| set_mtime(&r.join("a.txt"), 1_000_000_000, 123_456_789)),
    ("a file from 1970", |r| set_mtime(&r.join("a.txt"), 0, 1)),
    ("a file is renamed", |r| fs::rename(r.join("a.txt"), r.join("b.txt")).unwrap()),
    ("a file moves to another directory", |r| {
        fs::rename(r.join("b.txt"), r.join("d/b.txt")).unwrap();
    }),
    ("a file is renamed over another", |r| {
        fs::rename(r.join("d/b.txt"), r.join("65537")).unwrap();
    }),
    ("two files change places", |r| {
        fs::rename(r.join("65537"), r.join("tmp")).unwrap();
        fs::rename(r.join("big.bin"), r.join("65537")).unwrap();
        fs::rename(r.join("tmp"), r.join("big.bin")).unwrap();
    }),
    ("a directory is renamed", |r| fs::rename(r.join("d"), r.join("e")).unwrap()),
    ("a file is deleted", |r| fs::remove_file(r.join("65537")).unwrap()),
    ("a file is deleted and recreated", |r| {
        fs::remove_file(r.join("big.bin")).unwrap();
        write(&r.join("big.bin"), "small now");
    }),
    ("a file is deleted and recreated as it was", |r| {
        let bytes = fs::read(r.join("big.bin")).unwrap();
        fs::remove_file(r.join("big.bin")).unwrap();
        write(&r.join("big.bin"), bytes);
    }),
    ("a file becomes a directory", |r| {
        fs::remove_file(r.join("big.bin")).unwrap();
        write(&r.join("big.bin/inside"), "x");
    }),
    ("a directory becomes a file", |r| {
        fs::remove_dir_all(r.join("big.bin")).unwrap();
        write(&r.join("big.bin"), "x");
    }),
    ("a file becomes a link", |r| {
        fs::remove_file(r.join("big.bin")).unwrap();
        symlink("empty", r.join("big.bin")).unwrap();
    }),
    ("a hundred small files at once", |r| {
        let mut noise = Noise::new(3);
        for at in 0..100 {
            write(&r.join(format!("many/{}/{at}", at % 7)), noise.bytes(at * 37));
        }
    }),
    ("one file is written a hundred times", |r| {
        for at in 0..100 {
            write(&r.join("busy"), format!("{at}\n").repeat(at));
        }
    }),
    ("a directory with content is deleted", |r| fs::remove_dir_all(r.join("many")).unwrap()),
    ("an empty directory is deleted", |r| fs::remove_dir(r.join("empty-dir")).unwrap()),
];

#[test]
fn what_happens_on_one_side_is_on_the_other_after_a_flush() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for (because, change) in CHANGES {
            change(here.root());
            here.flush();
            let because = format!("{because}, on {}", here.name());
            pair.assert_equal(&because);
        }
        assert_eq!(here.status("work")["conflicts"], 0, "one writer makes no conflicts");
        assert_eq!(there.status("work")["conflicts"], 0, "one writer makes no conflicts");
        // The other side finds nothing of it.
        for entry in fs::read_dir(here.root()).unwrap().flatten() {
            let path = entry.path();
            match entry.file_name().to_str() {
                Some(".syncd" | "e") => {}
                _ if entry.file_type().unwrap().is_dir() => fs::remove_dir_all(path).unwrap(),
                _ => fs::remove_file(path).unwrap(),
            }
        }
        fs::remove_dir_all(here.path("e")).unwrap();
        write(&here.path("last"), "so that the folder is not empty");
        here.flush();
        pair.assert_equal("everything is deleted again");
        fs::remove_file(here.path("last")).unwrap();
        here.flush();
    }
}

#[test]
fn both_sides_write_different_files_at_once() {
    let pair = Pair::new();
    let write_some = |root: &Path, name: &str| {
        let mut noise = Noise::new(name.len() as u64);
        for at in 0..200_usize {
            write(&root.join(format!("{}/{name}-{at}", at % 10)), noise.bytes(at * 11));
        }
    };
    std::thread::scope(|scope| {
        for (here, _) in pair.sides() {
            scope.spawn(|| write_some(here.root(), here.name()));
        }
    });
    pair.agree();
    assert_eq!(pair.laptop.status("work")["files"], 400, "both sides' files are everywhere");
    assert_eq!(pair.laptop.status("work")["conflicts"], 0, "different files do not meet");
}

#[test]
fn a_directory_of_5000_files_is_renamed_without_sending_them_again() {
    let pair = Pair::through_proxy();
    let mut noise = Noise::new(5);
    for at in 0..5_000 {
        write(&pair.laptop.path(format!("old/{}/{at}", at % 50)), noise.bytes(2_000));
    }
    pair.laptop.flush();
    pair.assert_equal("5,000 files");
    for (here, from, to) in [(&pair.laptop, "old", "new"), (&pair.devbox, "new", "newer")] {
        let before = pair.proxy().passed_bytes();
        fs::rename(here.path(from), here.path(to)).unwrap();
        here.flush();
        pair.assert_equal("the directory is renamed");
        let sent = pair.proxy().passed_bytes() - before;
        assert!(sent < 5_000_000, "{sent} bytes were sent for 10,000,000 that moved");
    }
}

#[test]
fn a_rename_of_a_large_file_sends_nothing_of_it() {
    let pair = Pair::through_proxy();
    write_noise(&pair.laptop.path("large"), 6, 20 << 20);
    pair.laptop.flush();
    let before = pair.proxy().passed_bytes();
    fs::rename(pair.laptop.path("large"), pair.laptop.path("renamed")).unwrap();
    pair.laptop.flush();
    pair.assert_equal("a large file is renamed");
    let sent = pair.proxy().passed_bytes() - before;
    assert!(sent < 1 << 20, "{sent} bytes were sent for a rename");
}

#[test]
fn a_small_edit_of_a_large_file_sends_little() {
    let pair = Pair::through_proxy();
    write_noise(&pair.laptop.path("large"), 7, 20 << 20);
    pair.laptop.flush();
    for (here, there) in pair.sides() {
        let before = pair.proxy().passed_bytes();
        let mut file = File::options().write(true).open(here.path("large")).unwrap();
        file.seek(SeekFrom::Start(10 << 20)).unwrap();
        file.write_all(here.name().as_bytes()).unwrap();
        drop(file);
        here.flush();
        pair.assert_equal("a large file is edited");
        let sent = pair.proxy().passed_bytes() - before;
        assert!(sent < 4 << 20, "{sent} bytes went to {} for a few", there.name());
    }
}
