//! `scan`, `verify` and `flush`: doing it now, and returning when it is done.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use syncd_api::{
    ApiError, FlushReport, FlushRequest, ScanReport, ScanRequest, VerifiedFolder, VerifyReport,
    VerifyRequest,
};

use super::{Outcome, Session};
use crate::args::{self, Only};
use crate::client::Patience;
use crate::render::{counted, escaped, took};

/// Scan now, and return when done
///
/// Changes are normally noticed by themselves within milliseconds. Scan where they cannot be:
/// network file systems, or after restoring a backup.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    only: Only,
}

impl Scan {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let request = ScanRequest { folder: self.only.folder.clone() };
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

/// Read every file again, and find those that the disk has damaged
///
/// A file counts as damaged when neither its size nor its times changed, but its bytes did. It is
/// never sent to other devices. Takes half of the disk's time at most.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit codes: 1 when damaged files were found.

Examples:
  syncctl verify --folder work
  syncctl verify --folder work --repair    and fetch what is damaged from another device")]
pub(crate) struct Verify {
    #[command(flatten)]
    only: Only,
    /// Fetch the bytes of damaged files from the other devices; the damaged ones go to the trash
    #[arg(long)]
    repair: bool,
}

impl Verify {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let request = VerifyRequest { folder: self.only.folder.clone(), repair: self.repair };
        let answer = session.client.send(Method::POST, "/v1/verify", &request, Patience::Work)?;
        let report = answer.read::<VerifyReport>()?;
        session.show(&answer, |_| {
            let lines = report.folders.iter().map(|folder| verified(folder, self.repair));
            Ok(format!("{}read in {}\n", lines.collect::<String>(), took(report.took_ms)))
        })?;
        let damaged: usize = report.folders.iter().map(|folder| folder.rotten.len()).sum();
        match (damaged, self.repair) {
            (0, _) => Ok(()),
            (_, true) => {
                Err(ApiError::could_not("the right bytes were asked for; see: syncctl status"))
            }
            (_, false) => Err(ApiError::could_not(
                "files are damaged; back up this disk, and run: syncctl verify --repair",
            )),
        }
    }
}

fn verified(folder: &VerifiedFolder, repair: bool) -> String {
    let whole = counted(folder.whole, "file", "files");
    let mut text = format!("{}: {whole} as written", escaped(&folder.id));
    if folder.changed > 0 {
        text += &format!(", {} changed meanwhile", folder.changed);
    }
    text += "\n";
    let damaged = if repair { "damaged, asked for" } else { "damaged" };
    for (what, paths) in [(damaged, &folder.rotten), ("not readable", &folder.unread)] {
        for path in paths {
            text += &format!("  {what}: {}\n", escaped(&path.path));
        }
    }
    text
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
    #[command(flatten)]
    only: Only,
    /// Wait for this device: name, id or PeerId; may be repeated
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<String>,
    /// Wait for devices that are not connected, too
    #[arg(long)]
    all: bool,
    /// Give up after this long, such as 500ms, 30s or 5m
    #[arg(long, default_value = "30s", value_parser = args::duration)]
    timeout: Duration,
}

impl Flush {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let request = FlushRequest {
            folder: self.only.folder.clone(),
            devices: session.devices(&self.devices)?,
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
