//! `scan` and `flush`: doing it now, and returning when it is done.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use syncd_api::{FlushReport, FlushRequest, ScanReport, ScanRequest};

use super::{Outcome, Session};
use crate::args;
use crate::client::Patience;
use crate::render::{counted, escaped, took};

/// Scan now, and return when done
///
/// Changes are normally noticed by themselves within milliseconds. Scan where they cannot be:
/// network file systems, or after restoring a backup.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Only this folder
    #[arg(long, value_name = "ID")]
    folder: Option<String>,
}

impl Scan {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let request = ScanRequest { folder: self.folder.clone() };
        let answer = session.client.send(Method::POST, "/v1/scan", &request, Patience::Work)?;
        session.show(&answer, |_| {
            let report = answer.read::<ScanReport>()?;
            let lines = report.folders.iter().map(|folder| {
                let files = counted(folder.files, "file", "files");
                format!("{}: {files}, {} changed\n", escaped(&folder.id), folder.changed)
            });
            Ok(format!("{}scanned in {}\n", lines.collect::<String>(), took(report.took_ms)))
        })
    }
}

/// Wait until everything that lies here now is safely on the other devices
///
/// Done for a file when a version read at or after this call is durable there. Waits for the
/// devices that are connected, at least one; --all waits for absent ones too.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit codes: 1 when no device is connected; 4 when the time is over; 5 when held changes stand \
in the way.

Example:
  syncctl flush --folder work --device devbox && ssh devbox make -C work")]
pub(crate) struct Flush {
    /// Only this folder
    #[arg(long, value_name = "ID")]
    folder: Option<String>,
    /// Wait for this device: name, id or PeerId; may be repeated
    #[arg(long = "device", value_name = "DEVICE", value_parser = args::device)]
    devices: Vec<String>,
    /// Wait for devices that are not connected, too
    #[arg(long, conflicts_with = "devices")]
    all: bool,
    /// Give up after this long, such as 500ms, 30s or 5m
    #[arg(long, default_value = "30s", value_parser = args::duration)]
    timeout: Duration,
}

impl Flush {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let request = FlushRequest {
            folder: self.folder.clone(),
            devices: self.devices.clone(),
            all: self.all,
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let patience = Patience::Told(self.timeout);
        let answer = session.client.send(Method::POST, "/v1/flush", &request, patience)?;
        session.show(&answer, |_| {
            let report = answer.read::<FlushReport>()?;
            let lines = report.folders.iter().map(|folder| {
                let names: Vec<&str> = folder.devices.iter().map(|d| d.name.as_str()).collect();
                let files = counted(folder.files, "file", "files");
                let text = format!("{}: {files} on {}", folder.id, names.join(", "));
                format!("{}\n", escaped(&text))
            });
            Ok(format!("{}flushed in {}\n", lines.collect::<String>(), took(report.took_ms)))
        })
    }
}
