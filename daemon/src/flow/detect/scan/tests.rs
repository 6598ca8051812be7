use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use syncd_core::model::Standing;

use super::super::ground::{Folder, Told};
use super::*;
use crate::flow::digest::COARSE_WINDOW_NS;
use crate::world::disk::system;

fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn tree() -> Look {
    Look::Tree(RelPath::root())
}

type Case<'a> = (fn(&Folder), &'a [&'a str], &'a [&'a str], &'a str);

/// Makes each change in a folder of its own and compares what is found and gone.
fn told(cases: &[Case<'_>]) {
    for (change, found, gone, because) in cases {
        let mut folder = Folder::new();
        folder.write("f", "bytes");
        folder.write("d/file", "x");
        folder.write("d/sub/leaf", "y");
        folder.learn(&tree());
        change(&folder);
        let told = folder.learn(&tree());
        assert_eq!(told.found_names(), *found, "{because}");
        assert_eq!(told.gone_names(), *gone, "{because}");
        assert!(folder.look(&tree()).1.seen.is_empty(), "{because}: told twice");
    }
}

#[test]
fn each_change_of_one_name_is_told_by_its_kind() {
    let nothing: &[&str] = &[];
    told(&[
        (|f| f.write("f", "longer"), &["f"], nothing, "written"),
        (
            |f| fs::set_permissions(f.at("f"), PermissionsExt::from_mode(0o755)).unwrap(),
            &["f"],
            nothing,
            "chmod: the engine decides",
        ),
        (
            |f| {
                let file = fs::File::options().write(true).open(f.at("f")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            },
            &["f"],
            nothing,
            "touch: the bytes are as they were, the stat is not",
        ),
        (|f| fs::remove_file(f.at("f")).unwrap(), nothing, &["f"], "deleted"),
        (
            |f| fs::rename(f.at("f"), f.at("g")).unwrap(),
            &["g"],
            &["f"],
            "renamed: both names are told",
        ),
        (
            |f| fs::remove_dir_all(f.at("d")).unwrap(),
            nothing,
            &["d/sub/leaf", "d/sub", "d/file", "d"],
            "a tree: children before their directory",
        ),
        (
            |f| fs::set_permissions(f.at("d"), PermissionsExt::from_mode(0o700)).unwrap(),
            &["d"],
            nothing,
            "a directory's mode",
        ),
    ]);
}

#[test]
fn a_name_that_changes_its_kind_is_told_as_it_is_now() {
    let nothing: &[&str] = &[];
    told(&[
        (
            |f| {
                fs::remove_dir_all(f.at("d")).unwrap();
                fs::write(f.at("d"), "now a file").unwrap();
            },
            &["d"],
            &["d/sub/leaf", "d/sub", "d/file"],
            "directory to file: what lay in it is gone, the name is not",
        ),
        (
            |f| {
                fs::remove_file(f.at("f")).unwrap();
                f.write("f/inside", "x");
            },
            &["f", "f/inside"],
            nothing,
            "file to directory is just found",
        ),
        (
            |f| {
                fs::remove_file(f.at("f")).unwrap();
                symlink("d", f.at("f")).unwrap();
            },
            &["f"],
            nothing,
            "file to symlink, which is not followed",
        ),
        (
            |f| {
                fs::rename(f.at("d"), f.at("real")).unwrap();
                symlink("real", f.at("d")).unwrap();
            },
            &["d", "real", "real/file", "real/sub", "real/sub/leaf"],
            &["d/sub/leaf", "d/sub", "d/file"],
            "directory to symlink: nothing is seen through it",
        ),
    ]);
}

#[test]
fn one_name_is_looked_at_without_its_neighbours() {
    let mut folder = Folder::new();
    folder.write("d/known", "x");
    folder.learn(&tree());
    folder.write("d/new", "y");
    folder.write("d/sub/leaf", "z");
    folder.write("other", "z");
    fs::remove_file(folder.at("d/known")).unwrap();
    for (look, found, gone, because) in [
        (Look::Path(path("d/new")), &["d/new"][..], &[][..], "a new name"),
        (Look::Path(path("d/known")), &[], &["d/known"], "a deleted one"),
        (Look::Path(path("d")), &[], &[], "a directory, as known"),
        (Look::Path(path("d/sub")), &["d/sub"], &[], "a directory, not its children"),
        (Look::Path(path("d/sub/leaf")), &["d/sub", "d/sub/leaf"], &[], "its directory first"),
        (Look::Tree(path("d/sub")), &["d/sub", "d/sub/leaf"], &[], "with its children"),
        (Look::Path(path("never")), &[], &[], "was and is nothing"),
        (Look::Path(path("other/below")), &[], &[], "a file is on the way"),
        (Look::Tree(path("other")), &["other"], &[], "a file is a small tree"),
        (Look::Path(RelPath::root()), &[], &[], "the root has no entry"),
        (Look::Tree(path(".syncd")), &[], &[], "ours"),
    ] {
        let (report, told) = folder.look(&look);
        assert_eq!(told.found_names(), found, "{because}");
        assert_eq!(told.gone_names(), gone, "{because}");
        assert!(report.complete, "{because}");
    }
    fs::remove_dir_all(folder.at("d")).unwrap();
    let (_, told) = folder.look(&Look::Path(path("d")));
    assert_eq!(told.gone_names(), ["d/known", "d"], "gone with all that lay in it");
}

#[test]
fn what_the_scope_leaves_out_is_neither_found_nor_gone() {
    let mut folder = Folder::new();
    folder.write("kept/file", "x");
    folder.write("build/out", "x");
    folder.write("cache/keep/file", "x");
    folder.learn(&tree());
    folder.left_out = vec!["build", "cache", "out"];
    folder.not_entered = vec!["build"];
    folder.write("build/more", "x");
    folder.write("cache/keep/more", "x");
    let (_, told) = folder.look(&tree());
    assert_eq!(told.found_names(), ["cache/keep/more"], "left out, but walked through");
    let (_, told) = folder.look(&Look::Path(path("build/more")));
    assert!(told.seen.is_empty(), "not even when asked for");
    for name in ["build", "cache", "kept"] {
        fs::remove_dir_all(folder.at(name)).unwrap();
    }
    let (_, told) = folder.look(&tree());
    let gone = ["cache/keep/file", "cache/keep", "kept/file", "kept"];
    assert_eq!(told.gone_names(), gone, "an ignored name is never gone");
}

#[test]
fn only_what_was_settled_here_can_be_gone() {
    for standing in [Standing::Ignored, Standing::Unsupported, Standing::Refused, Standing::Evicted]
    {
        let mut folder = Folder::new();
        folder.write("d/a", "x");
        folder.write("d/b", "x");
        folder.write("e/c", "x");
        folder.learn(&tree());
        folder.stand("d/b", standing);
        fs::remove_dir_all(folder.at("d")).unwrap();
        fs::remove_dir_all(folder.at("e")).unwrap();
        let (_, told) = folder.look(&tree());
        let gone = ["d/a", "e/c", "e"];
        assert_eq!(told.gone_names(), gone, "{standing:?}: its directory lives on elsewhere");
    }
}

#[test]
fn fifos_and_sockets_are_named_and_never_opened() {
    let mut folder = Folder::new();
    folder.write("was-a-file", "x");
    folder.learn(&tree());
    fs::remove_file(folder.at("was-a-file")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    for name in ["fifo", "was-a-file"] {
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, folder.at(name), fifo, mode, 0).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(folder.at("socket")).unwrap();
    // A FIFO that were opened would block this test for ever.
    let (report, told) = folder.look(&tree());
    assert!(told.seen.is_empty(), "{:?}", told.seen);
    let named: Vec<_> = report.unsupported.iter().map(|(p, odd)| (p.to_string(), *odd)).collect();
    let expected = [("fifo", Odd::Fifo), ("socket", Odd::Socket), ("was-a-file", Odd::Fifo)];
    assert_eq!(named, expected.map(|(name, odd)| (name.to_owned(), odd)));
    assert!(report.complete && report.problems.is_empty());
}

#[test]
fn names_are_bytes_and_links_are_not_followed() {
    let mut folder = Folder::new();
    folder.write(b"\xff\xfe not text", "x");
    folder.write("new\nline", "x");
    folder.write([b'n'; 255], "x");
    symlink(".", folder.at("loop")).unwrap();
    symlink("loop/loop/loop", folder.at("loops")).unwrap();
    symlink("/etc", folder.at("out")).unwrap();
    let told = folder.learn(&tree());
    assert_eq!(told.found().len(), 6);
    let (report, told) = folder.look(&tree());
    assert!(told.seen.is_empty() && report.complete);
}

#[test]
fn a_path_over_the_limit_is_a_problem_and_hides_nothing() {
    let folder = Folder::new();
    let name = "d".repeat(250);
    let mut at = folder.root.open_dir(&RelPath::root()).unwrap();
    for _ in 0..17 {
        rustix::fs::mkdirat(&at, name.as_str(), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        at = rustix::fs::openat(&at, name.as_str(), system::DIRECTORY, 0o0.into()).unwrap();
    }
    let (report, told) = folder.look(&tree());
    assert_eq!(told.found().len(), 16, "16 names of 250 bytes fit in 4,096");
    assert_eq!(report.problems.len(), 1);
    assert!(report.complete);
    drop(at);
}

#[test]
fn sizes_and_holes_are_read_as_they_are() {
    let mut folder = Folder::new();
    let sparse = fs::File::create(folder.at("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    folder.write("empty", "");
    folder.write("one", "1");
    folder.write("edge", vec![7; 64 << 10]);
    folder.write("over", vec![7; (64 << 10) + 1]);
    let told = folder.learn(&tree());
    for (found, bytes) in told.found().iter().zip([
        vec![7; 64 << 10],
        vec![],
        vec![b'1'],
        vec![7; (64 << 10) + 1],
        vec![0; 5 << 20],
    ]) {
        assert_eq!(found.content, ContentId::of(&bytes), "{:?}", found.path);
        assert_eq!(found.stat.size, bytes.len() as u64);
    }
    let blocks: Vec<_> = told.blocks.iter().map(|(id, list)| (*id, list.total_bytes())).collect();
    // What is over the edge by one byte is cut at no earlier point than its end.
    assert_eq!(blocks, [(ContentId::of(&vec![0; 5 << 20]), 5 << 20)]);
}

#[test]
fn three_thousand_files_are_told_in_order_and_in_parts() {
    let mut folder = Folder::new();
    for n in 0..3000 {
        folder.write(format!("d{:02}/f{n:04}", n / 100), format!("content {n}"));
    }
    let told = folder.learn(&tree());
    let names = told.found_names();
    assert_eq!(names.len(), 3030);
    assert!(told.seen.iter().all(|seen| seen.found.len() <= 500));
    let (again, directories) = (folder.look(&tree()), names.iter().filter(|n| n.len() == 3));
    assert!(directories.is_sorted() && again.1.seen.is_empty());
    for found in told.found().iter().filter(|found| found.kind == Kind::File) {
        let n: usize = found.path.to_string()[5..].parse().unwrap();
        assert_eq!(found.content, ContentId::of(format!("content {n}").as_bytes()));
    }
    fs::remove_dir_all(folder.at("d07")).unwrap();
    let (report, told) = folder.look(&tree());
    assert_eq!((told.gone_names().len(), report.names), (101, 2929));
}

#[test]
fn a_fresh_file_is_looked_at_again_until_its_stat_can_be_trusted() {
    let mut folder = Folder::new();
    folder.window_ns = i64::MAX;
    folder.write("f", "x");
    symlink("x", folder.at("s")).unwrap();
    let told = folder.learn(&tree());
    assert!(told.found().iter().all(|found| found.stat.ctime_ns == UNTRUSTED_CTIME));
    let (report, _) = folder.look(&Look::Path(path("f")));
    assert_eq!(report.again, [path("f")], "still too new");
    folder.window_ns = 0;
    let told = folder.learn(&tree());
    assert_eq!(told.found_names(), ["f", "s"], "read once more, now for good");
    assert!(folder.look(&tree()).1.seen.is_empty());
}

#[test]
fn a_same_size_edit_with_its_time_set_back_is_found() {
    let mut folder = Folder::new();
    folder.window_ns = COARSE_WINDOW_NS;
    folder.write("f", "aaaa");
    let before = fs::metadata(folder.at("f")).unwrap().modified().unwrap();
    folder.learn(&tree());
    folder.write("f", "bbbb");
    fs::File::options().write(true).open(folder.at("f")).unwrap().set_modified(before).unwrap();
    let (_, told) = folder.look(&tree());
    assert_eq!(told.found()[0].content, ContentId::of(b"bbbb"));
}

#[test]
fn another_file_system_is_not_entered_and_hides_what_was_known() {
    struct OnlyProc;
    impl Scope for OnlyProc {
        fn synced(&self, path: &RelPath, _: bool) -> bool {
            path.parts().next() == Some(b"proc")
        }
        fn descend(&self, dir: &RelPath) -> bool {
            dir.parts().next() == Some(b"proc")
        }
    }
    let mut folder = Folder::new();
    folder.write("proc/version", "known from before the mount");
    folder.learn(&tree());
    let root = Root::open(std::path::Path::new("/")).unwrap();
    let scanner = Scanner { root: &root, scope: &OnlyProc, ..folder.scanner() };
    for look in [tree(), Look::Tree(path("proc")), Look::Path(path("proc/version"))] {
        let mut told = Told::default();
        let report = scanner.look(&look, &mut told).unwrap();
        assert!(told.seen.is_empty(), "{look:?}: {:?}", told.seen);
        assert_eq!(report.unsupported.len(), 1, "{look:?}");
    }
}

/// Runs `what` on a thread without root's right to read everything.
fn without_privileges<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::thread::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            what()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn what_cannot_be_read_is_a_problem_and_never_gone() {
    let mut folder = Folder::new();
    folder.write("locked/sub/file", "x");
    folder.write("open/deleted", "x");
    folder.write("secret", "x");
    folder.learn(&tree());
    fs::remove_dir_all(folder.at("locked/sub")).unwrap();
    fs::remove_file(folder.at("open/deleted")).unwrap();
    folder.write("secret", "changed");
    for (name, mode) in [("", 0o755), ("locked", 0o000), ("secret", 0o000)] {
        fs::set_permissions(folder.at(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    let root = folder.root.clone();
    let index = folder.index.clone();
    let (report, told) = without_privileges(move || {
        struct All;
        impl Scope for All {
            fn synced(&self, _: &RelPath, _: bool) -> bool {
                true
            }
            fn descend(&self, _: &RelPath) -> bool {
                true
            }
        }
        let folder = Folder::new();
        let scanner = Scanner { root: &root, known: &index, scope: &All, ..folder.scanner() };
        let mut told = Told::default();
        let report = scanner.look(&tree(), &mut told).unwrap();
        let (seen, found) = (told.gone_names(), told.found_names());
        (report, (seen, found))
    });
    fs::set_permissions(folder.at("locked"), PermissionsExt::from_mode(0o755)).unwrap();
    let (gone, found) = told;
    assert_eq!(gone, ["open/deleted"], "what a whole listing did not name is gone all the same");
    assert_eq!(found, ["locked"], "its mode");
    let problems: Vec<_> = report.problems.iter().map(|p| p.path.to_string()).collect();
    assert_eq!(problems, ["locked", "secret"]);
    assert!(report.problems.iter().all(|p| p.what == "permission denied"));
    assert!(!report.complete && !report.broken_off);
}

#[test]
fn a_look_that_is_given_up_says_so() {
    let folder = Folder::new();
    for n in 0..5 {
        folder.write(format!("d{n}/f"), "x");
    }
    let mut told = Told { dirs_left: Some(std::cell::Cell::new(3)), ..Told::default() };
    let report = folder.look_into(&tree(), &mut told);
    assert!(report.broken_off && !report.complete);
    assert_eq!(told.found_names(), ["d0", "d1", "d2", "d3", "d4", "d0/f"]);
}

#[test]
fn a_large_file_keeps_the_average_it_was_cut_with() {
    let mut folder = Folder::new();
    folder.write("big", vec![1; 1 << 20]);
    folder.learn(&tree());
    folder.write("big", vec![2; (1 << 20) + 1]);
    let mut told = Told { average: Some(128 << 10), ..Told::default() };
    folder.look_into(&tree(), &mut told);
    assert_eq!(told.blocks[0].1.average_bytes, 128 << 10);
}

#[test]
fn a_single_file_folder_sees_its_one_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "other"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let folder = Folder::new();
    let id = syncd_core::model::FolderId::parse("f").unwrap();
    let root = Root::open_single(dir.path(), b"one", &id).unwrap();
    let scanner = Scanner { root: &root, ..folder.scanner() };
    for (look, names) in [
        (tree(), &["file"][..]),
        (Look::Path(path("file")), &["file"]),
        (Look::Path(path("one")), &[]),
        (Look::Path(path("other")), &[]),
    ] {
        let mut told = Told::default();
        scanner.look(&look, &mut told).unwrap();
        assert_eq!(told.found_names(), names);
    }
}
