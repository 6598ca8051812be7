//! `report`: what a bug report needs to say, without a secret or the name of anything.
//!
//! # Invariants
//! - Only what is named here goes in: numbers, words of this program, and kinds. No text that a
//!   person or another device chose does, nor a path, address, id or key.
//! - Devices, folders and paths are told apart by numbers and by hashes with a key that is
//!   forgotten, so that two reports cannot be compared.

mod log;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use syncd_api::{ApiError, Device, Event, FolderStatus, Health, Status};
use syncd_home::{Config, Listen, Rates, Topology};

use super::{Outcome, Session, doctor, print_json};
use crate::client::query;

/// Events that are told, the latest.
const EVENTS_MAX: usize = 200;

/// Write down what a bug report needs: no secrets, no names of files, folders or devices
///
/// One JSON document: versions, settings, counts, kinds of problems, the last events with their
/// paths hashed, what the doctor finds and, if its file is named, the end of the log without the
/// values in it. Look through it before you send it. Works without the daemon too.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl report > report.json
  journalctl --user -u syncd > syncd.log; syncctl report --log syncd.log > report.json")]
pub(crate) struct Report {
    /// A file with what syncd logged
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

impl Report {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let mut names = Names::default();
        let config = Config::load(&session.home);
        if let Ok(config) = &config {
            names.learn(config);
        }
        let log = self.log.as_deref().map(log::tail).transpose()?;
        let told = |route: &str| session.client.get(route);
        let health = told("/v1/health").and_then(|answer| answer.read::<Health>());
        let status = told("/v1/status").and_then(|answer| answer.read::<Status>());
        let devices = told("/v1/devices").and_then(|answer| answer.read::<Vec<Device>>());
        let events = told(&query("/v1/events", &[("since", Some("0"))]));
        let events = events.and_then(|answer| answer.read::<Vec<Event>>());
        print_json(&json!({
            "report": 1,
            "made": hour(Timestamp::now()),
            "syncctl": env!("CARGO_PKG_VERSION"),
            "system": system(),
            "syncd": health.as_ref().ok().map(told_health),
            "settings": match &config {
                Ok(config) => settings(config, &names),
                Err(_) => Value::from("cannot be read"),
            },
            "devices": devices.ok().map(|all| told_devices(&all, &names)),
            "folders": status.ok().map(|status| told_folders(&status, &names)),
            "events": events.ok().map(|all| told_events(&all, &names)),
            "doctor": doctor::findings(session).iter().map(|finding| json!({
                "check": finding.check, "verdict": finding.verdict(), "facts": finding.facts,
            })).collect::<Vec<_>>(),
            "log": log,
        }))
    }
}

/// What devices, folders and paths are called in a report.
#[derive(Debug, Default)]
struct Names {
    devices: BTreeMap<String, usize>,
    folders: BTreeMap<String, usize>,
    key: RandomState,
}

impl Names {
    fn learn(&mut self, config: &Config) {
        let ids = config.devices.iter().map(|device| device.id.to_string());
        self.devices = ids.zip(1..).collect();
        let ids = config.folders.iter().map(|folder| folder.id.to_string());
        self.folders = ids.zip(1..).collect();
    }

    fn device(&self, id: &str) -> String {
        numbered("device", self.devices.get(id))
    }

    fn folder(&self, id: &str) -> String {
        numbered("folder", self.folders.get(id))
    }

    fn path(&self, path: &str) -> String {
        format!("{:016x}", self.key.hash_one(path))
    }
}

fn numbered(what: &str, number: Option<&usize>) -> String {
    number.map_or_else(|| format!("another {what}"), |number| format!("{what}-{number}"))
}

/// Writes a time to the hour: when exactly somebody worked is nobody's business.
fn hour(time: Timestamp) -> String {
    let whole = time.as_second().div_euclid(3600) * 3600;
    Timestamp::from_second(whole).map(|time| time.to_string()).unwrap_or_default()
}

fn system() -> Value {
    let uname = rustix::system::uname();
    json!({
        "kernel": uname.sysname().to_string_lossy(),
        "release": uname.release().to_string_lossy(),
        "machine": uname.machine().to_string_lossy(),
    })
}

fn told_health(health: &Health) -> Value {
    let addresses: Vec<String> = health.listening.iter().map(|a| kind_of_address(a)).collect();
    json!({
        "version": health.version,
        "api": health.api,
        "runs_for_s": Timestamp::now().as_second() - health.started.as_second(),
        "listening": addresses,
        "watches_used": health.watches_used,
    })
}

/// Says of which kind an address is: the names of its protocols and nothing between them.
fn kind_of_address(address: &str) -> String {
    const KNOWN: [&str; 9] =
        ["ip4", "ip6", "dns", "dns4", "dns6", "tcp", "udp", "quic-v1", "p2p-circuit"];
    if address.starts_with("ssh://") {
        return "ssh".to_owned();
    }
    let kinds: Vec<&str> = address.split('/').filter(|part| KNOWN.contains(part)).collect();
    kinds.join("/")
}

fn told_rates(rates: &Rates) -> Value {
    json!({ "send_kib_per_s": rates.send_kib_per_s, "receive_kib_per_s": rates.receive_kib_per_s })
}

fn settings(config: &Config, names: &Names) -> Value {
    let kinds = |all: &[String]| all.iter().map(|a| kind_of_address(a)).collect::<Vec<_>>();
    let limits = &config.limits;
    json!({
        "listen": match &config.listen {
            Listen::Default => Value::from("default"),
            Listen::Given(all) => Value::from(kinds(all)),
        },
        "relays": config.relays.len(),
        "discovery": config.discovery.iter().map(|way| way.as_str()).collect::<Vec<_>>(),
        "topology": match config.topology {
            Topology::Mesh => "mesh",
            Topology::Hub { .. } => "hub",
        },
        "http_listen": if config.http.listen.is_some() { "given" } else { "default" },
        "limits": {
            "history_days": limits.history_days,
            "history_versions": limits.history_versions,
            "history_percent": limits.history_percent,
            "free_mib": limits.free_mib,
            "rates": told_rates(&limits.rates),
            "limit_lan": limits.limit_lan,
        },
        "devices": config.devices.iter().map(|device| json!({
            "device": names.device(&device.id.to_string()),
            "addresses": kinds(&device.addresses),
            "rates": told_rates(&device.rates),
        })).collect::<Vec<_>>(),
        "folders": config.folders.iter().map(|folder| json!({
            "folder": names.folder(folder.id.as_str()),
            "role": folder.role.as_str(),
            "paused": folder.paused,
            "rescan_s": folder.rescan_s,
            "verify_days": folder.verify_days,
            "is_file": folder.path.is_file(),
            "with": folder.devices.iter()
                .map(|device| names.device(&device.to_string())).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn told_devices(devices: &[Device], names: &Names) -> Value {
    let told = |device: &Device| {
        json!({
            "device": names.device(&device.device_id),
            "connected": device.connected,
            "path": device.path,
            "rtt_ms": device.rtt_ms,
            "last_seen": device.last_seen.map(hour),
        })
    };
    devices.iter().map(told).collect()
}

fn told_folders(status: &Status, names: &Names) -> Value {
    let told = |folder: &FolderStatus| {
        let mut problems: BTreeMap<String, u64> = BTreeMap::new();
        for problem in &folder.problems {
            *problems.entry(kind_of_problem(&problem.remedy)).or_default() += 1;
        }
        json!({
            "folder": names.folder(&folder.id),
            "state": folder.state, "role": folder.role,
            "files": folder.files, "bytes": folder.bytes,
            "need_files": folder.need_files, "need_bytes": folder.need_bytes,
            "conflicts": folder.conflicts, "held": folder.held,
            "devices": folder.devices.iter().map(|device| json!({
                "device": names.device(&device.device_id),
                "connected": device.connected, "in_sync": device.in_sync,
                "need_files": device.need_files,
            })).collect::<Vec<_>>(),
            "problems": problems,
        })
    };
    status.folders.iter().map(told).collect()
}

/// Tells problems apart by what is to be done about them, as far as that is words of this
/// program: it ends where a command or a name begins.
fn kind_of_problem(remedy: &str) -> String {
    let end = remedy.find([':', '/', '\'', '"']).unwrap_or(remedy.len());
    remedy[..end].trim().to_owned()
}

fn told_events(events: &[Event], names: &Names) -> Value {
    let told = |event: &Event| {
        json!({
            "time": event.time.to_string(),
            "kind": event.kind,
            "folder": event.folder.as_deref().map(|id| names.folder(id)),
            "path": event.path.as_ref().map(|path| names.path(&path.path)),
            "device": event.device_id.as_deref().map(|id| names.device(id)),
        })
    };
    events.iter().skip(events.len().saturating_sub(EVENTS_MAX)).map(told).collect()
}

/// Refuses a file that cannot be read.
fn unreadable(path: &std::path::Path, error: &std::io::Error) -> ApiError {
    ApiError::could_not(format!("{} cannot be read: {error}; name another file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_kind_only() {
        for (address, kind) in [
            ("/ip4/192.0.2.7/tcp/24110", "ip4/tcp"),
            ("/dns4/tcp/udp/1/quic-v1", "dns4/tcp/udp/quic-v1"),
            ("/ip6/::1/udp/24110/quic-v1", "ip6/udp/quic-v1"),
            ("/dns4/secret.example/tcp/1/p2p/12D3KooW", "dns4/tcp"),
            ("ssh://me@secret", "ssh"),
            ("secret", ""),
        ] {
            assert_eq!(kind_of_address(address), kind, "{address}");
        }
    }

    #[test]
    fn a_problem_is_known_by_what_to_do() {
        for (remedy, kind) in [
            ("nothing; it is tried again by itself", "nothing; it is tried again by itself"),
            ("bring it back, or: syncctl folder adopt work", "bring it back, or"),
            ("ignore it in '.stignore'", "ignore it in"),
        ] {
            assert_eq!(kind_of_problem(remedy), kind);
        }
    }

    #[test]
    fn names_are_numbers_and_hashes() {
        let names = Names::default();
        assert_eq!(names.folder("secret"), "another folder");
        assert_eq!(names.path("a"), names.path("a"), "the same within a report");
        assert_ne!(names.path("a"), Names::default().path("a"), "another in the next");
    }
}
