//! `doctor`: looks for what keeps syncd from working, and says how to mend it.

mod finding;
mod here;
mod limits;
mod probe;
mod reach;

use std::path::PathBuf;

use clap::Args;
use syncd_api::{ApiError, Device, Health};
use syncd_home::Config;

use self::finding::Finding;
use super::{Outcome, Session, chain, print_json};
use crate::render::{self, Tone};

/// Look for what keeps syncd from working, and say how to mend it
///
/// Looks at the home and its key, the clock, ports, limits of the system, what the file system
/// below each folder can do, free room, and whether the paired devices can be reached. Works
/// without the daemon. Exit code 1 when something must be mended.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl doctor
  syncctl doctor --fix     closes the home and its secrets to other users")]
pub(crate) struct Doctor {
    /// Mend what can be mended here: who may read the home's secrets and write to it
    #[arg(long)]
    fix: bool,
}

impl Doctor {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let mut told = if self.fix { here::mend(&session.home) } else { Vec::new() };
        told.extend(findings(session));
        tell(session, &told)
    }
}

/// Looks at everything.
pub(super) fn findings(session: &Session) -> Vec<Finding> {
    let home = &session.home;
    let health = session.client.get("/v1/health").and_then(|answer| answer.read::<Health>());
    let config = Config::load(home);
    let mut findings = vec![here::directory(home), here::key(home)];
    findings.push(match &config {
        Ok(_) => Finding::good("settings", home.config_path().to_string_lossy()),
        Err(error) => Finding::bad("settings", chain(error), "mend that line"),
    });
    findings.push(reach::daemon(&health));
    let live = health.as_ref().ok();
    findings.push(here::user(live));
    findings.extend(match (live, &config) {
        (Some(health), _) => Some(reach::listening(health)),
        (None, Ok(config)) => Some(reach::ports(config)),
        (None, Err(_)) => None,
    });
    findings.extend(limits::watches(live));
    findings.push(limits::open_files(live));
    let roots: Vec<PathBuf> = match &config {
        Ok(config) => config.folders.iter().map(probe::root_of).collect(),
        Err(_) => Vec::new(),
    };
    findings.push(here::clock(&here::written_by_syncd(home, &roots)));
    if let Ok(config) = &config {
        findings.extend(probe::folders(config));
        let devices = session.client.get("/v1/devices").and_then(|a| a.read::<Vec<Device>>());
        findings.extend(reach::devices(config, devices.as_deref().ok()));
    }
    findings
}

fn tell(session: &Session, findings: &[Finding]) -> Outcome {
    if session.json {
        print_json(&findings.iter().map(Finding::json).collect())?;
    } else {
        let lines = findings.iter().map(|finding| finding.line(session.colours, session.columns));
        render::print(&lines.collect::<String>())?;
    }
    let mut bad: Vec<&str> =
        findings.iter().filter(|f| f.tone == Tone::Bad).map(|f| f.check).collect();
    bad.dedup();
    if bad.is_empty() {
        return Ok(());
    }
    let sentence = format!("{} must be mended; see above for how", bad.join(", "));
    Err(ApiError::could_not(sentence))
}
