//! Where the programs under test are.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of `name`, which is `syncd` or `syncctl`.
///
/// They are taken from `SYNCD_BIN_DIR` if that is set. Otherwise they lie where this test was
/// built, and cargo is asked once to bring them up to date: a test against yesterday's daemon
/// would prove nothing.
///
/// # Panics
/// When they are not there and cannot be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| match env::var_os("SYNCD_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => built(),
    });
    let path = dir.join(name);
    assert!(path.is_file(), "{} is not there; build it or set SYNCD_BIN_DIR", path.display());
    path
}

/// Brings both programs up to date and returns `target/<profile>`.
fn built() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let dir = test
        .ancestors()
        .find(|dir| dir.file_name() == Some(OsStr::new("deps")))
        .and_then(Path::parent)
        .expect("cargo puts tests into target/<profile>/deps")
        .to_path_buf();
    let target = dir.parent().expect("target/<profile> lies in target");
    let profile = match dir.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    // Cargo tells its tests where it is; a test that is run by hand takes what is there.
    let Some(cargo) = env::var_os("CARGO") else { return dir };
    // What cargo tells a test of its package looks to build scripts (ring's asks) like a change,
    // and half of the daemon would be built again for each run.
    let of_package = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    let mut build = Command::new(cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| of_package(name)) {
        build.env_remove(name);
    }
    let done = build
        .args(["build", "--quiet", "--package", "syncd", "--package", "syncd-cli", "--bins"])
        .args(["--locked", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo can be started");
    assert!(done.success(), "syncd and syncctl cannot be built: {done}");
    dir
}
