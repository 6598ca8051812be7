//! Other file systems mounted below a folder's root: never entered, never taken for deletes.

use std::path::{Path, PathBuf};
use std::process::Command;

use syncd_integration::process::{Device, Pair, nodes, write};

use super::{await_no_problem, problem_of};

/// Something mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts an empty file system in memory; `None` where that is not allowed.
    fn tmpfs(at: &Path) -> Option<Self> {
        Self::by(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], at)
    }

    /// Shows `from` a second time.
    fn bind(from: &Path, at: &Path) -> Option<Self> {
        Self::by(&["--bind", from.to_str().unwrap()], at)
    }

    fn by(arguments: &[&str], at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        let done = mount.args(arguments).arg(at).output();
        done.is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Somebody's look may hold it for a moment; it goes when that is over.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Lets a device look at everything and tell what it found.
fn settle(device: &Device) {
    device.ok(&["scan"]);
    device.flush();
}

#[test]
fn what_is_mounted_inside_is_not_entered_and_what_it_hides_is_not_gone() {
    let pair = Pair::new();
    let aside = pair.aside("other");
    write(&aside.join("foreign"), "not the folder's");
    for (here, there) in pair.sides() {
        for bind in [false, true] {
            let name = format!("dir-{}-{bind}", here.name());
            let (dir, deep) = (here.path(&name), here.path(&name).join("deep"));
            write(&dir.join("file"), "hidden");
            write(&deep.join("file"), "hidden too");
            here.flush();
            let before = nodes(there.root());
            let mounted = match bind {
                true => Mounted::bind(&aside, &dir),
                false => Mounted::tmpfs(&dir),
            };
            let Some(mounted) = mounted else {
                eprintln!("left out: nothing can be mounted here");
                return;
            };
            write(&dir.join("inside"), "of another file system");
            settle(here);
            assert_eq!(nodes(there.root()), before, "{name}: nothing is sent, nothing is gone");
            let (what, remedy) = problem_of(here, &name);
            assert!(what.contains("mounted"), "{what}");
            assert!(remedy.contains(".stignore"), "{remedy}");
            let why = here.ok(&["why", &dir.display().to_string()]);
            assert!(why.contains("mounted"), "{why}");
            // What comes for a name below waits, and is said to.
            write(&there.path(&name).join("file"), "edited there");
            let (what, _) = problem_of(here, &format!("{name}/file"));
            assert!(what.contains("mounted"), "{what}");
            assert!(dir.join("inside").is_file() && !dir.join("file").exists());
            drop(mounted);
            settle(here);
            await_no_problem(here);
            pair.agree();
        }
    }
    assert!(aside.join("foreign").is_file());
}

#[test]
fn a_mount_point_is_neither_deleted_nor_emptied_by_another_device() {
    let pair = Pair::new();
    write(&pair.laptop.path("dir/file"), "x");
    write(&pair.laptop.path("keep"), "x");
    pair.laptop.flush();
    let dir = pair.laptop.path("dir");
    let Some(mounted) = Mounted::tmpfs(&dir) else {
        eprintln!("left out: nothing can be mounted here");
        return;
    };
    write(&dir.join("inside"), "of another file system");
    pair.laptop.ok(&["scan"]);
    std::fs::remove_dir_all(pair.devbox.path("dir")).unwrap();
    problem_of(&pair.laptop, "dir/file");
    assert!(dir.join("inside").is_file());
    drop(mounted);
    pair.agree();
    assert!(!dir.exists());
}
