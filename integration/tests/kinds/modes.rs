//! Permissions: what travels, what stays, and what keeps syncd out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use syncd_integration::process::{Pair, set_mode, write};

use super::{await_no_problem, problem_of};

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn every_mode_of_a_file_and_a_directory_arrives() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for mode in [0o000, 0o100, 0o200, 0o400, 0o444, 0o600, 0o644, 0o666, 0o711, 0o755, 0o777] {
            let name = |what: &str| format!("{what}-{mode:o}-{}", here.name());
            write(&here.path(name("file")), "x");
            fs::create_dir(here.path(name("dir"))).unwrap();
            set_mode(&here.path(name("file")), mode);
            set_mode(&here.path(name("dir")), mode);
            here.flush();
            for what in ["file", "dir"] {
                assert_eq!(mode_of(&there.path(name(what))), mode, "{what}, {mode:o}");
            }
        }
        pair.assert_equal("all modes");
    }
}

#[test]
fn setuid_setgid_and_sticky_are_neither_sent_nor_lost() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for extra in [0o4000, 0o2000, 0o1000, 0o7000] {
            let file = format!("file-{extra:o}-{}", here.name());
            let dir = format!("dir-{extra:o}-{}", here.name());
            write(&here.path(&file), "x");
            fs::create_dir(here.path(&dir)).unwrap();
            set_mode(&here.path(&file), 0o755 | extra);
            set_mode(&here.path(&dir), 0o755 | extra);
            here.flush();
            for name in [&file, &dir] {
                assert_eq!(mode_of(&there.path(name)), 0o755, "{extra:o} is not sent");
            }
            // The other side changes bytes, then mode: what is set here stays.
            write(&there.path(&file), "changed");
            there.flush();
            assert_eq!(fs::read_to_string(here.path(&file)).unwrap(), "changed");
            assert_eq!(mode_of(&here.path(&file)), 0o755 | extra, "{extra:o} is not lost");
            for name in [&file, &dir] {
                set_mode(&there.path(name), 0o700);
            }
            there.flush();
            for name in [&file, &dir] {
                assert_eq!(mode_of(&here.path(name)), 0o700 | extra, "{extra:o} is not lost");
            }
        }
    }
}

#[test]
fn what_may_not_be_read_is_shown_and_comes_when_it_may() {
    let pair = Pair::bound_by_permissions();
    for (here, there) in pair.sides() {
        let name = |what: &str| format!("{what}-{}", here.name());
        // Closed before they come into the folder.
        write(&pair.aside("file"), "secret");
        write(&pair.aside("dir").join("inside"), "x");
        write(&here.path(name("known")), "old");
        write(&here.path(name("known-dir")).join("inside"), "x");
        for what in ["file", "dir"] {
            set_mode(&pair.aside(what), 0o000);
            fs::rename(pair.aside(what), here.path(name(what))).unwrap();
        }
        here.flush();
        // What is known by then is not taken for gone when it cannot be read any more.
        set_mode(&here.path(name("known")), 0o000);
        set_mode(&here.path(name("known-dir")), 0o000);
        write(&here.path(name("beside")), "x");
        here.ok(&["scan"]);
        here.flush();
        assert!(there.path(name("beside")).is_file(), "nothing else waits for it");
        assert!(there.path(name("known-dir")).join("inside").is_file(), "hidden is not gone");
        assert_eq!(fs::read_to_string(there.path(name("known"))).unwrap(), "old");
        assert!(!there.path(name("file")).exists() && !there.path(name("dir/inside")).exists());
        for what in ["file", "dir", "known", "known-dir"] {
            let (said, remedy) = problem_of(here, &name(what));
            assert!(said.contains("permission denied"), "{what}: {said}");
            assert!(remedy.contains("read it"), "{what}: {remedy}");
        }
        for what in ["file", "known"] {
            set_mode(&here.path(name(what)), 0o600);
        }
        for what in ["dir", "known-dir"] {
            set_mode(&here.path(name(what)), 0o700);
        }
        await_no_problem(here);
        pair.agree();
    }
}

#[test]
fn a_directory_that_may_not_be_written_keeps_what_it_holds_and_is_shown() {
    let pair = Pair::bound_by_permissions();
    for (here, there) in pair.sides() {
        let name = |what: &str| format!("{what}-{}", here.name());
        let dir = name("dir");
        write(&here.path(&dir).join("edited"), "old");
        write(&here.path(&dir).join("deleted"), "old");
        here.flush();
        // Closed by the other side's user, while this side goes on.
        set_mode(&there.path(&dir), 0o555);
        there.flush();
        assert_eq!(mode_of(&here.path(&dir)), 0o555);
        set_mode(&here.path(&dir), 0o755);
        pair.agree();
        let closed = there.path(&dir);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
        write(&here.path(&dir).join("new"), "new");
        write(&here.path(&dir).join("edited"), "new");
        fs::remove_file(here.path(&dir).join("deleted")).unwrap();
        write(&here.path(name("beside")), "x");
        let (said, remedy) = problem_of(there, &format!("{dir}/new"));
        assert!(said.contains("permission denied"), "{said}");
        assert!(remedy.contains("write"), "{remedy}");
        assert_eq!(mode_of(&closed), 0o555, "nobody opens it behind the user's back");
        assert_eq!(fs::read_to_string(closed.join("edited")).unwrap(), "old");
        assert!(closed.join("deleted").is_file());
        set_mode(&closed, 0o755);
        pair.agree();
        assert_eq!(fs::read_to_string(closed.join("edited")).unwrap(), "new");
        await_no_problem(there);
    }
}
