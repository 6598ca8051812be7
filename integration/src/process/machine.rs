//! The machine as a test wants it: with less room, fewer rights, or without some system calls.
//!
//! # Invariants
//! - What is taken away is taken from one daemon or one thread, never from the machine.
//! - Mounts are made where only the test's thread and what it starts see them, so that a test
//!   that is killed leaves none behind.
//! - A test that cannot be done says so on the terminal; where `CI` is `true` it fails.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::UnshareFlags;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Tells whether this test runs as root and finds `programs`; if not, says loudly that it is
/// skipped.
///
/// # Panics
/// When something is missing and `CI` is `true`.
#[must_use]
pub fn can_use(programs: &[&str]) -> bool {
    let mut missing: Vec<&str> =
        programs.iter().copied().filter(|program| !is_installed(program)).collect();
    if !rustix::process::geteuid().is_root() {
        missing.insert(0, "root");
    }
    if missing.is_empty() {
        return true;
    }
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let told = format!("SKIPPED: {name} needs {}", missing.join(", "));
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{told}");
    // Past the test harness, which would keep it to itself. Who closed it wants to hear nothing.
    let _ = writeln!(stderr(), "********\n* {told}\n********");
    false
}

fn is_installed(program: &str) -> bool {
    let dirs = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = env::split_paths(&dirs).collect();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    dirs.iter().chain(&system).any(|dir| dir.join(program).is_file())
}

/// Returns what to run a daemon under so that file permissions hold for it even if the tests run
/// as root.
#[must_use]
pub fn without_root_rights() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() {
        &["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-sys_resource", "--"]
    } else {
        &[]
    }
}

/// A file system of a test's own, gone with this.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts `mib` MiB of memory at `at`, which is made.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn tmpfs(at: &Path, mib: u64) -> Self {
        let size = format!("size={mib}m,mode=0700");
        Self::new(at, &["-t", "tmpfs", "-o", &size, "syncd-test"])
    }

    /// Makes an ext4 of `mib` MiB in a file beside `at` and mounts it at `at`, which is made.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn ext4(at: &Path, mib: u64) -> Self {
        let image = image(at, mib);
        done(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        Self::new(at, &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()])
    }

    /// Makes a btrfs of `mib` MiB in a file beside `at` and mounts it at `at`, which is made.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn btrfs(at: &Path, mib: u64) -> Self {
        let image = image(at, mib);
        done(Command::new("mkfs.btrfs").arg("-q").arg(&image));
        Self::new(at, &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()])
    }

    /// Mounts the file system again that [`Mount::ext4`] once made for `at`.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn again(at: &Path) -> Self {
        let image = at.with_extension("image");
        Self::new(at, &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()])
    }

    fn new(at: &Path, what: &[impl AsRef<OsStr>]) -> Self {
        own_mounts();
        std::fs::create_dir_all(at).expect("a directory can be made");
        done(Command::new("mount").args(what).arg(at));
        Self { at: at.to_path_buf() }
    }

    /// Changes how it is mounted: `ro`, `rw`. To be tried again where it may be in use.
    ///
    /// # Errors
    /// What the system said.
    pub fn remount(&self, how: &str) -> Result<(), String> {
        let mut command = Command::new("mount");
        let output = command.args(["-o", &format!("remount,{how}")]).arg(&self.at).output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Taken out of sight even where something has it open still; unmounted already is as good.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn image(at: &Path, mib: u64) -> PathBuf {
    let image = at.with_extension("image");
    let file = std::fs::File::create(&image).expect("a file can be made");
    file.set_len(mib << 20).expect("a file can grow");
    image
}

/// Gives this thread, and what it starts, mounts of their own.
fn own_mounts() {
    thread_local!(static OWN: Cell<bool> = const { Cell::new(false) });
    if OWN.replace(true) {
        return;
    }
    #[expect(deprecated, reason = "unsafe is sharing descriptors, which this does not touch")]
    rustix::thread::unshare(UnshareFlags::NEWNS).expect("root may have mounts of its own");
    done(Command::new("mount").args(["--make-rprivate", "/"]));
}

/// Runs a command that must succeed.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn done(command: &mut Command) {
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// Does `act` on a thread for which, and for all that it starts, `calls` fail with `errno`, as
/// under a sandbox that does not know them.
///
/// # Panics
/// When the kernel has no filters of system calls, or `act` panics.
#[track_caller]
pub fn lacking(calls: &[i64], errno: rustix::io::Errno, act: impl FnOnce() + Send) {
    let refused = SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let arch: TargetArch = env::consts::ARCH.try_into().expect("filters know this machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch);
    let filter: BpfProgram =
        filter.and_then(TryInto::try_into).expect("a filter of a few calls can be made");
    std::thread::scope(|scope| {
        let lacking = scope.spawn(move || {
            apply_filter(&filter).expect("the kernel takes the filter");
            act();
        });
        if let Err(panicked) = lacking.join() {
            std::panic::resume_unwind(panicked);
        }
    });
}
