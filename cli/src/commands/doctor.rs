//! `doctor`: looks for what keeps syncd from working, and says how to mend it.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use syncd_api::{ApiError, Exit, Health};
use syncd_home::{Config, HomeError, Listen};

use super::{Outcome, Session, chain, print_json, quoted};
use crate::render::{self, Tone, escaped, painted};

/// Fewer watches than this are soon used up by one tree with dependencies in it.
const WATCHES_WANTED: u64 = 65_536;

/// 2026-01-01: no copy of this program is older, so no right clock is either.
const CLOCK_MIN_S: i64 = 1_767_225_600;

/// How far the clock may be behind a file of the home, in seconds.
const CLOCK_BEHIND_S_MAX: i64 = 60;

/// Look for what keeps syncd from working, and say how to mend it
///
/// Works without the daemon. Exit code 1 when something must be mended.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Mend what can be mended here: the permissions of the home's key
    #[arg(long)]
    fix: bool,
}

/// What one look found.
struct Finding {
    check: &'static str,
    tone: Tone,
    what: String,
    /// How to mend it; empty when there is nothing to mend.
    remedy: String,
}

impl Finding {
    fn good(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, tone: Tone::Good, what: what.into(), remedy: String::new() }
    }

    fn warn(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, tone: Tone::Warn, what: what.into(), remedy: remedy.into() }
    }

    fn bad(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, tone: Tone::Bad, what: what.into(), remedy: remedy.into() }
    }

    fn verdict(&self) -> &'static str {
        match self.tone {
            Tone::Good | Tone::Dim | Tone::Plain => "good",
            Tone::Warn => "warning",
            Tone::Bad => "bad",
        }
    }

    fn json(&self) -> Value {
        json!({
            "check": self.check, "verdict": self.verdict(), "what": self.what, "do": self.remedy,
        })
    }

    fn line(&self, colours: bool) -> String {
        let verdict = painted(self.tone, &format!("{:<8}", self.verdict()), colours);
        let mut text = format!("{verdict}{:<10}{}\n", self.check, escaped(&self.what));
        if !self.remedy.is_empty() {
            text += &format!("{:18}{}\n", "", escaped(&self.remedy));
        }
        text
    }
}

impl Doctor {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let home = &session.home;
        if self.fix {
            mend(&home.identity_path());
        }
        let health = session.client.get("/v1/health").and_then(|answer| answer.read::<Health>());
        let config = Config::load(home);
        let mut findings = vec![directory(session), key(session)];
        findings.push(match &config {
            Ok(_) => Finding::good("settings", home.config_path().to_string_lossy()),
            Err(error) => Finding::bad("settings", chain(error), "mend that line"),
        });
        findings.push(daemon(&health));
        findings.extend(match (&health, &config) {
            (Ok(health), _) => Some(listening(health)),
            (Err(_), Ok(config)) => Some(ports(config)),
            (Err(_), Err(_)) => None,
        });
        findings.push(watches(health.as_ref().ok()));
        findings.push(clock(&[home.identity_path(), home.ledger_path(), home.config_path()]));
        self.tell(session, &findings)
    }

    fn tell(&self, session: &Session, findings: &[Finding]) -> Outcome {
        if session.json {
            print_json(&findings.iter().map(Finding::json).collect())?;
        } else {
            let lines = findings.iter().map(|finding| finding.line(session.colours));
            render::print(&lines.collect::<String>())?;
        }
        let bad: Vec<&str> =
            findings.iter().filter(|f| f.tone == Tone::Bad).map(|f| f.check).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let sentence = format!("{} must be mended; see above for how", bad.join(", "));
        Err(ApiError::could_not(sentence))
    }
}

/// Closes the key to others. What could not be mended shows up in the findings.
fn mend(key: &Path) {
    let _ = std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600));
}

fn directory(session: &Session) -> Finding {
    let dir = session.home.dir();
    let name = dir.to_string_lossy();
    match std::fs::metadata(dir) {
        Ok(there) if !there.is_dir() => {
            Finding::bad("home", format!("{name} is no directory"), "move it away")
        }
        Ok(there) if there.permissions().mode() & 0o022 != 0 => Finding::bad(
            "home",
            format!("others may write to {name}"),
            format!("chmod go-w {}", quoted(&name)),
        ),
        Ok(_) => Finding::good("home", name),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::bad("home", format!("{name} is not there yet"), "syncctl init")
        }
        Err(error) => {
            Finding::bad("home", format!("cannot look at {name}: {error}"), "let this user read it")
        }
    }
}

fn key(session: &Session) -> Finding {
    let remedy = |error: &HomeError| match error {
        HomeError::NoIdentity { .. } => "syncctl init",
        HomeError::SecretExposed { .. } => "syncctl doctor --fix",
        HomeError::SecretDamaged { .. } => {
            "restore it from a backup, or move it away and pair anew"
        }
        HomeError::Unnamed
        | HomeError::NoPlace
        | HomeError::NoDirectory { .. }
        | HomeError::Busy { .. }
        | HomeError::OpenToOthers { .. }
        | HomeError::Name { .. }
        | HomeError::NoSocket { .. }
        | HomeError::NoSocketPlace { .. }
        | HomeError::NoRandomness(_)
        | HomeError::Disk { .. }
        | HomeError::Config(_) => "let this user read it",
    };
    match session.home.identity() {
        Ok(own) => Finding::good("key", format!("this device is {}", own.device_id.short())),
        Err(error) => Finding::bad("key", chain(&error), remedy(&error)),
    }
}

fn daemon(health: &Result<Health, ApiError>) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match health {
        Ok(health) if health.version != own => Finding::warn(
            "daemon",
            format!("syncd is {}, syncctl {own}", health.version),
            "start syncd again after an update",
        ),
        Ok(health) => {
            let since = render::local(health.started);
            Finding::good("daemon", format!("process {}, since {since}", health.pid))
        }
        Err(error) if error.exit == Exit::NotRunning => match error.error.split_once("; ") {
            Some((what, remedy)) => Finding::warn("daemon", what, remedy),
            None => Finding::warn("daemon", &error.error, "start syncd"),
        },
        Err(error) => Finding::bad("daemon", &error.error, "start syncd again"),
    }
}

fn listening(health: &Health) -> Finding {
    match health.listening.is_empty() {
        true => Finding::warn(
            "ports",
            "syncd listens nowhere: only devices that listen can be reached",
            "syncctl config unset listen",
        ),
        false => Finding::good("ports", format!("syncd listens at {}", health.listening.join(" "))),
    }
}

/// Tries the ports that the daemon will want.
fn ports(config: &Config) -> Finding {
    let addresses = config.listen.addresses();
    let taken: Vec<&String> = addresses.iter().filter(|address| is_taken(address)).collect();
    match (taken.first(), &config.listen) {
        (Some(address), _) => Finding::bad(
            "ports",
            format!("{address} is in use by another program"),
            "end it, or choose another port: syncctl config set listen ADDRESS...",
        ),
        (None, Listen::Default | Listen::Given(_)) => Finding::good("ports", "free to listen on"),
    }
}

fn is_taken(address: &str) -> bool {
    let parts: Vec<&str> = address.split('/').skip(1).collect();
    let [_, ip, kind, port, ..] = parts[..] else { return false };
    let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse::<u16>()) else { return false };
    let at = SocketAddr::new(ip, port);
    let bound = match kind {
        "tcp" => TcpListener::bind(at).map(drop),
        "udp" => UdpSocket::bind(at).map(drop),
        _ => return false,
    };
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

fn watches(health: Option<&Health>) -> Finding {
    let path = "/proc/sys/fs/inotify/max_user_watches";
    let limit = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let used = health.map_or(0, |health| health.watches_used);
    match limit {
        None => Finding::good("watches", "this system has no such limit"),
        Some(limit) => judge_watches(used, limit),
    }
}

fn judge_watches(used: u64, limit: u64) -> Finding {
    let what = format!("{used} in use of {limit}");
    // Half of the limit is where other programs begin to run out of it.
    if limit < WATCHES_WANTED || used > limit / 2 {
        let wanted = (used.saturating_mul(4)).max(WATCHES_WANTED * 8);
        let remedy = format!("sudo sysctl -w fs.inotify.max_user_watches={wanted}");
        return Finding::warn("watches", what, remedy);
    }
    Finding::good("watches", what)
}

fn clock(files: &[std::path::PathBuf]) -> Finding {
    let newest = files
        .iter()
        .filter_map(|file| std::fs::metadata(file).and_then(|there| there.modified()).ok())
        .max()
        .map_or(0, seconds);
    judge_clock(Timestamp::now().as_second(), newest)
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
    if now_s + CLOCK_BEHIND_S_MAX < newest_file_s {
        let what = format!("{shown} is before this home was last written to");
        return Finding::warn("clock", what, remedy);
    }
    Finding::good("clock", shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_clocks_are_judged() {
        for (used, limit, verdict, because) in [
            (0, 1_048_576, "good", "room for all"),
            (0, 8_192, "warning", "one dependency tree fills it"),
            (600_000, 1_048_576, "warning", "more than half is gone"),
        ] {
            assert_eq!(judge_watches(used, limit).verdict(), verdict, "{because}");
        }
        for (now, newest, verdict, because) in [
            (CLOCK_MIN_S + 1, 0, "good", "any time after the making"),
            (0, 0, "bad", "1970"),
            (CLOCK_MIN_S, CLOCK_MIN_S + 60, "good", "a little behind"),
            (CLOCK_MIN_S, CLOCK_MIN_S + 61, "warning", "set back"),
        ] {
            assert_eq!(judge_clock(now, newest).verdict(), verdict, "{because}");
        }
    }

    #[test]
    fn a_port_in_use_is_noticed() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(is_taken(&format!("/ip4/127.0.0.1/tcp/{port}")));
        drop(tcp);
        for (address, because) in [
            (format!("/ip4/127.0.0.1/tcp/{port}"), "free again"),
            ("/dns4/box/tcp/1".to_owned(), "not of this machine"),
            ("nonsense".to_owned(), "no address"),
        ] {
            assert!(!is_taken(&address), "{because}");
        }
    }
}
