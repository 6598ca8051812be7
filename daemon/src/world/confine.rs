//! Confinement by Landlock: a daemon whose settings name the directories below which folders may
//! lie (`confine`) can reach nothing else, whatever becomes of it.
//!
//! A ruleset holds for the process and all that it starts, and can only be narrowed: that is why
//! the directories are named beforehand, and others count from the next start. What the system
//! itself needs can be read. Neither the network nor signals are restricted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use syncd_home::{Config, Home};

/// The directories below which folders may lie, once the process is confined.
static IN_FORCE: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Why a process that is to be confined is not. It does not run then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A directory of `confine` cannot be opened: make it, or take it out of the settings.
    #[error("'confine' in the settings names {}, which cannot be opened", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel has no Landlock, or it is switched off: take `confine` out of the settings.
    #[error(
        "'confine' is in the settings, but this system has no Landlock to confine syncd with; take \
         it out with: syncctl config set confine []"
    )]
    Unsupported,
    /// The kernel took no ruleset: take `confine` out of the settings, and report it.
    #[error("syncd cannot confine itself: {0}")]
    Refused(String),
}

/// Confines the process if its settings ask for it. To be called while it has a single thread:
/// the ruleset holds for the calling one and those it starts.
///
/// # Errors
/// [`ConfineError`] when the settings ask for it and it does not come about.
pub fn confine(home: &Home, config: &Config) -> Result<(), ConfineError> {
    if config.confine.is_empty() {
        return Ok(());
    }
    for path in &config.confine {
        std::fs::read_dir(path)
            .map_err(|source| ConfineError::Directory { path: path.clone(), source })?;
    }
    // A daemon that begins anew is confined already, as its program before it.
    if !is_confined() {
        restrict(home, config)?;
    }
    if !is_confined() {
        return Err(ConfineError::Unsupported);
    }
    let real = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let in_force = IN_FORCE.get_or_init(|| config.confine.iter().map(real).collect());
    let named: Vec<String> = in_force.iter().map(|path| path.display().to_string()).collect();
    tracing::info!("confined to its home and to {}", named.join(", "));
    Ok(())
}

/// Tells whether a folder may lie at `place`, whose links are resolved: the process is not
/// confined, or to a directory above it.
#[must_use]
pub fn may_lie(place: &Path) -> bool {
    IN_FORCE.get().is_none_or(|dirs| dirs.iter().any(|dir| place.starts_with(dir)))
}

/// Everybody may list the root of the file system, but who is confined.
fn is_confined() -> bool {
    std::fs::read_dir("/").is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(not(target_os = "linux"))]
fn restrict(_home: &Home, _config: &Config) -> Result<(), ConfineError> {
    Err(ConfineError::Unsupported)
}

#[cfg(target_os = "linux")]
fn restrict(home: &Home, config: &Config) -> Result<(), ConfineError> {
    use landlock::{
        ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
        path_beneath_rules,
    };
    // The last that brought a right to files. A kernel that knows less restricts less.
    let abi = ABI::V5;
    let refused = |error: landlock::RulesetError| ConfineError::Refused(error.to_string());
    let own = [home.dir().to_owned(), parent_of(&home.config_path())];
    let socket = home.bind_path().ok().map(|path| parent_of(&path));
    let whole: Vec<&PathBuf> = own.iter().chain(&socket).chain(&config.confine).collect();
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(abi)).map_err(refused)?;
    let ruleset = ruleset.create().map_err(refused)?;
    let ruleset = ruleset.add_rules(path_beneath_rules(whole, AccessFs::from_all(abi)));
    let system = path_beneath_rules(SYSTEM, AccessFs::from_read(abi));
    let ruleset = ruleset.and_then(|ruleset| ruleset.add_rules(system)).map_err(refused)?;
    // It begins anew by starting itself again.
    let program = path_beneath_rules(std::env::current_exe(), AccessFs::from_read(abi));
    let ruleset = ruleset.add_rules(program).map_err(refused)?;
    let devices = path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile);
    let ruleset = ruleset.add_rules(devices).map_err(refused)?;
    match ruleset.restrict_self().map_err(refused)?.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(ConfineError::Unsupported),
    }
}

/// What the system's own libraries read: names of hosts and users, time zones, the machine's state.
#[cfg(target_os = "linux")]
const SYSTEM: [&str; 8] =
    ["/bin", "/etc", "/lib", "/lib64", "/proc", "/run/systemd/resolve", "/sys", "/usr"];

#[cfg(target_os = "linux")]
const DEVICES: [&str; 4] = ["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

#[cfg(target_os = "linux")]
fn parent_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}
