//! What is no file: pipes, sockets and devices are named and never opened.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use syncd_integration::process::{Pair, eventually, nodes, write};

use super::{NOTICE_MAX, await_no_problem, problem_of};

#[test]
fn pipes_sockets_and_devices_are_shown_and_never_opened() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        let mode = Mode::from_raw_mode(0o600);
        let node = |name: &str, kind, device| {
            mknodat(CWD, here.path(name), kind, mode, device).unwrap();
        };
        node("pipe", FileType::Fifo, 0);
        // The null device and a loop device that is not there: opening it would fail or hang.
        node("null", FileType::CharacterDevice, makedev(1, 3));
        node("disk", FileType::BlockDevice, makedev(7, 250));
        let socket = UnixListener::bind(here.path("socket")).unwrap();
        write(&here.path(format!("beside-{}", here.name())), "x");
        here.flush();
        assert_eq!(nodes(there.root()).len(), nodes(here.root()).len() - 4, "only files arrive");
        for (name, word) in
            [("pipe", "pipe"), ("null", "device"), ("disk", "device"), ("socket", "socket")]
        {
            let (what, remedy) = problem_of(here, name);
            assert!(what.contains(word), "{name}: {what}");
            assert!(remedy.contains(".stignore"), "{name}: {remedy}");
            let why = here.ok(&["why", &here.path(name).display().to_string()]);
            assert!(why.contains(word), "{name}: {why}");
        }
        drop(socket);
        for name in ["pipe", "null", "disk", "socket"] {
            fs::remove_file(here.path(name)).unwrap();
        }
        await_no_problem(here);
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_deletes_nothing_elsewhere() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        write(&here.path("name"), "text");
        here.flush();
        fs::remove_file(here.path("name")).unwrap();
        mknodat(CWD, here.path("name"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        write(&here.path("beside"), here.name());
        here.flush();
        problem_of(here, "name");
        assert_eq!(fs::read_to_string(there.path("name")).unwrap(), "text");
        // What comes for the name waits, and nothing else waits for it.
        write(&there.path("name"), "edited");
        write(&there.path("beside"), "edited");
        eventually(NOTICE_MAX, "what lies beside it is edited", || {
            let text = fs::read_to_string(here.path("beside")).unwrap();
            if text == "edited" { Ok(()) } else { Err(text) }
        });
        let path = here.path("name").display().to_string();
        eventually(NOTICE_MAX, "why tells what waits for the name", || {
            let why = here.ok(&["why", &path]);
            if why.contains("something that is never synced lies there") {
                Ok(())
            } else {
                Err(why)
            }
        });
        let there_now = fs::symlink_metadata(here.path("name")).unwrap();
        assert!(there_now.file_type().is_fifo(), "it is left alone");
        fs::remove_file(here.path("name")).unwrap();
        pair.agree();
        await_no_problem(here);
    }
}
