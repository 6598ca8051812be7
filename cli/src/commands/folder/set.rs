//! `folder set`: a folder's settings on this device, at once.

use std::time::Duration;

use clap::{ArgGroup, Args};
use hyper::Method;
use syncd_api::{self as api, FolderChange};
use syncd_home::VERIFY_DAYS_MAX;

use super::{Outcome, Role, Session, changed};
use crate::args;
use crate::client::{Patience, part};

/// The word that gives a setting up for what holds for all folders.
const DEFAULT: &str = "default";

/// A value, or none of one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Own<T>(Option<T>);

/// Change a folder's settings on this device
///
/// They count at once, and stand in config.toml under `[[folder]]`. The limits are those of
/// `[limits]` where a folder has none of its own; the word 'default' gives its own one up.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
#[command(after_long_help = "\
Examples:
  syncctl folder set work --role receiveonly       take changes, send none
  syncctl folder set work --rescan 10m             scan everything every 10 minutes
  syncctl folder set work --rescan default         back to the usual time
  syncctl folder set work --verify-days 30         read every file again each month
  syncctl folder set work --ignore '*.log'         adds a line to its .stignore
  syncctl folder set work --history-days 7 --free-mib 2000

What holds now: syncctl status, and config.toml.")]
pub(super) struct Set {
    /// The folder's id
    id: String,
    /// What people call it
    #[arg(long, group = "change")]
    label: Option<String>,
    /// What this device does in it
    #[arg(long, value_enum, group = "change")]
    role: Option<Role>,
    /// Whether it rests: true or false
    #[arg(long, group = "change", value_name = "BOOL")]
    paused: Option<bool>,
    /// How often everything is scanned, such as 60s or 10m, or default
    #[arg(long, group = "change", alias = "rescan-s", value_name = "TIME", value_parser = rescan)]
    rescan: Option<Own<u32>>,
    /// Days after which every file is read again, to find what the disk has damaged; or default,
    /// which is never
    #[arg(long, group = "change", value_name = "N", value_parser = days)]
    verify_days: Option<Own<u32>>,
    /// A pattern of files that are rewritten where they are; may be repeated, '' for none
    #[arg(long, group = "change", value_name = "PATTERN")]
    in_place: Option<Vec<String>>,
    /// Days that replaced and deleted files are kept, or default
    #[arg(long, group = "change", value_name = "N", value_parser = number)]
    history_days: Option<Own<u32>>,
    /// Earlier versions of one file that are kept, or default
    #[arg(long, group = "change", value_name = "N", value_parser = number)]
    history_versions: Option<Own<u32>>,
    /// Percent of the disk that these may fill, or default
    #[arg(long, group = "change", value_name = "N", value_parser = number)]
    history_percent: Option<Own<u32>>,
    /// MiB to leave free on its disk, or default
    #[arg(long, group = "change", value_name = "N", value_parser = mebibytes)]
    free_mib: Option<Own<u64>>,
    /// A pattern to write into its .stignore, before what is there; may be repeated
    #[arg(long, group = "change", value_name = "PATTERN")]
    ignore: Option<Vec<String>>,
    /// Write a starter .stignore, where it has none
    #[arg(long, group = "change")]
    starter_ignores: bool,
}

fn rescan(text: &str) -> Result<Own<u32>, String> {
    if text == DEFAULT {
        return Ok(Own(None));
    }
    let time = args::duration(text)?;
    let seconds = u32::try_from(time.as_secs()).ok().filter(|_| time >= Duration::from_secs(1));
    let seconds = seconds.ok_or("write a time from 1s to 365d, or default")?;
    Ok(Own(Some(seconds)))
}

fn days(text: &str) -> Result<Own<u32>, String> {
    let days = own(text)?;
    let is_right = days.0.is_none_or(|days| (1..=VERIFY_DAYS_MAX).contains(&days));
    is_right.then_some(days).ok_or(format!("write 1 to {VERIFY_DAYS_MAX} days, or default"))
}

fn number(text: &str) -> Result<Own<u32>, String> {
    own(text)
}

fn mebibytes(text: &str) -> Result<Own<u64>, String> {
    own(text)
}

fn own<T: std::str::FromStr>(text: &str) -> Result<Own<T>, String> {
    if text == DEFAULT {
        return Ok(Own(None));
    }
    let read = text.parse().map_err(|_| "write a whole number, or default".to_owned());
    read.map(|number| Own(Some(number)))
}

impl Set {
    pub(super) fn run(&self, session: &Session) -> Outcome {
        let in_place = self.in_place.clone().map(|mut patterns| {
            patterns.retain(|pattern| !pattern.is_empty());
            patterns
        });
        let request = FolderChange {
            label: self.label.clone(),
            role: self.role.map(api::Role::from),
            paused: self.paused,
            rescan_s: self.rescan.map(|own| own.0),
            verify_days: self.verify_days.map(|own| own.0),
            in_place,
            history_days: self.history_days.map(|own| own.0),
            history_versions: self.history_versions.map(|own| own.0),
            history_percent: self.history_percent.map(|own| own.0),
            free_mib: self.free_mib.map(|own| own.0),
            ignore: self.ignore.clone(),
            starter_ignores: self.starter_ignores,
        };
        let route = format!("/v1/folders/{}", part(&self.id));
        let answer = session.client.send(Method::PATCH, &route, &request, Patience::Work)?;
        changed(session, &answer, "is changed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ones_own_is_told_from_what_holds_for_all() {
        for (text, read) in [
            ("default", Ok(Own(None))),
            ("90", Ok(Own(Some(90)))),
            ("10m", Ok(Own(Some(600)))),
            ("0", Err("write a time from 1s to 365d, or default".to_owned())),
            ("500ms", Err("write a time from 1s to 365d, or default".to_owned())),
            ("often", Err("write a duration like 500ms, 30s, 5m, 1h or 7d".to_owned())),
        ] {
            assert_eq!(rescan(text), read, "{text}");
        }
        assert_eq!((days("30"), days("default")), (Ok(Own(Some(30))), Ok(Own(None))));
        assert!(days("0").is_err() && days("3651").is_err());
        assert_eq!(number("default"), Ok(Own(None)));
        assert_eq!(mebibytes("2000"), Ok(Own(Some(2000))));
        assert!(number("-1").is_err() && number("many").is_err());
    }
}
