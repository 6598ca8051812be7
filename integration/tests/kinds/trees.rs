//! Shapes of trees: deep, long, and wide.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use syncd_integration::process::{Noise, Pair, is_long, write};

use super::{Row, arrives_both_ways};

/// Returns a path of `levels` names, each of `bytes` bytes.
fn deep(levels: usize, bytes: usize) -> PathBuf {
    (0..levels).map(|at| format!("{at:0bytes$}")).collect()
}

const TREES: &[Row] = &[
    ("60 levels", |d| write(&d.join(deep(60, 3)).join("f"), "deep down")),
    ("60 levels of nothing but directories", |d| fs::create_dir_all(d.join(deep(60, 3))).unwrap()),
    ("names of 255 bytes in each other", |d| write(&d.join(deep(10, 255)).join("f"), "x")),
    ("an empty directory in an empty directory", |d| fs::create_dir_all(d.join("a/b")).unwrap()),
    ("a link to itself", |d| symlink("self", d.join("self")).unwrap()),
    ("links in a ring", |d| {
        symlink("two", d.join("one")).unwrap();
        symlink("one", d.join("two")).unwrap();
    }),
    ("a link to the directory it lies in", |d| symlink(".", d.join("here")).unwrap()),
    ("a link to nowhere", |d| symlink("../../../nowhere", d.join("nowhere")).unwrap()),
    ("a link to the root of all", |d| symlink("/", d.join("root")).unwrap()),
    ("a link to a device", |d| symlink("/dev/zero", d.join("zero")).unwrap()),
    ("a link whose target is no text", |d| symlink(bytes(b"\xff\n\x1b"), d.join("l")).unwrap()),
    ("a link of 4,000 bytes", |d| symlink("x/".repeat(2_000), d.join("long")).unwrap()),
];

fn bytes(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[test]
fn whatever_shape_a_tree_has_it_arrives() {
    arrives_both_ways(TREES);
}

#[test]
fn a_path_of_4000_bytes_arrives_is_edited_and_deleted() {
    let pair = Pair::new();
    for (here, _) in pair.sides() {
        // 15 names of 255 bytes and their slashes are 3,840 bytes.
        let top = here.path(deep(15, 255));
        let name = "f".repeat(4_000 - 15 * 256);
        let file = top.join(name);
        let inside = file.as_os_str().len() - here.root().as_os_str().len() - 1;
        assert_eq!(inside, 4_000);
        for text in ["long", "edited"] {
            write(&file, text);
            here.flush();
            pair.assert_equal(&format!("{text}, from {}", here.name()));
        }
        fs::remove_dir_all(here.path(deep(1, 255))).unwrap();
        write(&here.path("last"), here.name());
        here.flush();
        pair.assert_equal(&format!("deleted, from {}", here.name()));
    }
}

#[test]
fn a_directory_of_very_many_files_arrives_and_goes() {
    let count = if is_long() { 100_000 } else { 20_000 };
    let pair = Pair::new();
    let mut noise = Noise::new(1);
    for at in 0..count {
        write(&pair.laptop.path(format!("wide/{at:06}")), noise.bytes(at % 100));
    }
    pair.laptop.flush();
    pair.assert_equal("very many files in one directory");
    let odd = |root: &Path| -> Vec<PathBuf> {
        (0..count).filter(|at| at % 2 == 1).map(|at| root.join(format!("wide/{at:06}"))).collect()
    };
    for path in odd(pair.devbox.root()) {
        fs::remove_file(path).unwrap();
    }
    pair.devbox.flush();
    pair.assert_equal("every second one is deleted on the other side");
    assert_eq!(pair.laptop.status("work")["files"], count - odd(Path::new("")).len());
}
