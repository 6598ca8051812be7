//! What lies in the home, who works there, and what time it is.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use syncd_api::Health;
use syncd_home::{Home, HomeError, quoted};

use super::super::chain;
use super::finding::Finding;
use crate::render;

/// 2026-01-01: no copy of this program is older, so no right clock is either.
const CLOCK_MIN_S: i64 = 1_767_225_600;

/// 2100-01-01: a clock beyond it stands wrong.
const CLOCK_MAX_S: i64 = 4_102_444_800;

/// How far the clock may be behind a file that syncd wrote, in seconds.
const CLOCK_BEHIND_S_MAX: i64 = 60;

/// Mends what is safe to mend, who may read the secrets and who may write to the home, and
/// returns what it mended. What could not be mended shows up in the findings that follow.
pub(super) fn mend(home: &Home) -> Vec<Finding> {
    let secrets = [home.identity_path(), home.http_token_path()];
    let mended = secrets.iter().filter_map(|secret| give_mode(secret, |_| 0o600));
    mended.chain(give_mode(home.dir(), |mode| mode & !0o022)).collect()
}

/// Gives a path the mode it should have; nothing to tell where it has it or cannot be given it.
fn give_mode(path: &Path, wanted: impl FnOnce(u32) -> u32) -> Option<Finding> {
    let had = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let mode = wanted(had);
    if mode == had {
        return None;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).ok()?;
    let what = format!("{} had mode {had:03o} and has {mode:03o} now", path.display());
    Some(Finding::good("mended", what))
}

pub(super) fn directory(home: &Home) -> Finding {
    let dir = home.dir();
    let name = dir.to_string_lossy();
    match std::fs::metadata(dir) {
        Ok(there) if !there.is_dir() => {
            Finding::bad("home", format!("{name} is no directory"), "move it away")
        }
        Ok(there) if there.permissions().mode() & 0o022 != 0 => Finding::bad(
            "home",
            format!("others may write to {name}"),
            format!(
                "{}, or: chmod go-w {}",
                home.command("syncctl", "doctor --fix"),
                quoted(&name)
            ),
        ),
        Ok(_) => Finding::good("home", name),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::bad(
            "home",
            format!("{name} is not there yet"),
            home.command("syncctl", "init"),
        ),
        Err(error) => {
            Finding::bad("home", format!("cannot look at {name}: {error}"), "let this user read it")
        }
    }
}

pub(super) fn key(home: &Home) -> Finding {
    let remedy = |error: &HomeError| match error {
        HomeError::NoIdentity { init, .. } => init.clone(),
        HomeError::SecretExposed { .. } => home.command("syncctl", "doctor --fix"),
        HomeError::SecretDamaged { .. } => {
            "restore it from a backup, or move it away and pair anew".to_owned()
        }
        HomeError::Unnamed
        | HomeError::NoPlace
        | HomeError::NoDirectory { .. }
        | HomeError::IdentityLost { .. }
        | HomeError::SettingsLost { .. }
        | HomeError::Busy { .. }
        | HomeError::OpenToOthers { .. }
        | HomeError::Name { .. }
        | HomeError::NoSocket { .. }
        | HomeError::NoSocketPlace { .. }
        | HomeError::NoRandomness(_)
        | HomeError::Disk { .. }
        | HomeError::Config(_) => "let this user read it".to_owned(),
    };
    match home.identity() {
        Ok(own) => Finding::good("key", format!("this device is {}", own.device_id.short())),
        Err(error) => Finding::bad("key", chain(&error), remedy(&error)),
    }
}

/// Tells whether the daemon, or this command where none runs, has the rights of root.
pub(super) fn user(health: Option<&Health>) -> Finding {
    let daemon = health.and_then(|health| {
        let proc = PathBuf::from(format!("/proc/{}", health.pid));
        std::fs::metadata(proc).ok().map(|there| there.uid())
    });
    let uid = daemon.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    judge_user(uid, daemon.is_some())
}

fn judge_user(uid: u32, is_daemon: bool) -> Finding {
    let who = if is_daemon { "syncd runs" } else { "this command runs" };
    if uid == 0 {
        return Finding::warn(
            "user",
            format!("{who} as root: what it makes belongs to root, and nothing is refused to it"),
            "run syncd as the user whose files it syncs",
        );
    }
    Finding::good("user", format!("{who} as user {uid}"))
}

/// Compares the clock with the making of this program and with the newest of `files`.
pub(super) fn clock(files: &[PathBuf]) -> Finding {
    let time = |file: &PathBuf| std::fs::metadata(file).and_then(|there| there.modified()).ok();
    let newest = files.iter().filter_map(time).max().map_or(0, seconds);
    judge_clock(Timestamp::now().as_second(), newest)
}

/// Lists files that syncd itself writes, whose times tell when it last worked.
pub(super) fn written_by_syncd(home: &Home, roots: &[PathBuf]) -> Vec<PathBuf> {
    let in_root = |root: &PathBuf| Path::join(root, ".syncd/trash/journal");
    let mut files = vec![home.identity_path(), home.ledger_path(), home.config_path()];
    files.extend(roots.iter().map(in_root));
    files
}

fn seconds(time: SystemTime) -> i64 {
    Timestamp::try_from(time).map_or(0, Timestamp::as_second)
}

fn judge_clock(now_s: i64, newest_file_s: i64) -> Finding {
    let remedy = "set the clock, best by NTP: sudo timedatectl set-ntp true";
    let shown = Timestamp::from_second(now_s).map(render::local).unwrap_or_default();
    if now_s < CLOCK_MIN_S {
        return Finding::bad("clock", format!("{shown} is before this program was made"), remedy);
    }
    if now_s > CLOCK_MAX_S {
        return Finding::bad("clock", format!("{shown} is in another century"), remedy);
    }
    if now_s + CLOCK_BEHIND_S_MAX < newest_file_s {
        let what = format!("{shown} is before syncd last wrote here");
        return Finding::warn("clock", what, remedy);
    }
    Finding::good("clock", shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_users_are_judged() {
        for (now, newest, verdict, because) in [
            (CLOCK_MIN_S + 1, 0, "good", "any time after the making"),
            (0, 0, "bad", "1970"),
            (CLOCK_MAX_S + 1, 0, "bad", "centuries ahead"),
            (CLOCK_MIN_S, CLOCK_MIN_S + 60, "good", "a little behind"),
            (CLOCK_MIN_S, CLOCK_MIN_S + 61, "warning", "set back"),
        ] {
            assert_eq!(judge_clock(now, newest).verdict(), verdict, "{because}");
        }
        assert_eq!(judge_user(0, true).verdict(), "warning");
        assert_eq!(judge_user(1000, false).verdict(), "good");
    }
}
