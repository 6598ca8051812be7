//! What can be typed: the commands, in the order in which a newcomer meets them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use syncd_core::model::DeviceId;

use crate::client::query;
use crate::commands::{
    config, conflict, device, doctor, event, folder, generate, held, identity, ignore, pause,
    report, status, trash, why, work,
};

const ABOUT: &str = "\
Keeps folders identical on your own machines, peer to peer and encrypted end to end.

syncctl talks to syncd, the daemon that does the work. Exit codes: 0 done; 1 could not, with a \
sentence saying what to do next; 2 wrong usage or a bad rule file; 3 syncd is not running; \
4 the time was over; 5 a person has to decide something first.";

const EXAMPLES: &str = "\
Examples:
  A first sync between a laptop and a devbox, with syncd running on both:
    laptop$ syncctl init --name laptop          prints the laptop's id
    devbox$ syncctl init --name devbox          prints the devbox's id
    laptop$ syncctl pair DEVBOX-ID --name devbox --address /ip4/192.0.2.7/tcp/24110
    devbox$ syncctl pair LAPTOP-ID --name laptop
    laptop$ syncctl folder add ~/work --with devbox
    devbox$ syncctl folder accept work ~/work
    laptop$ syncctl flush                       returns when the devbox has it all

  How does it stand, and why is this file not there?
    syncctl status --watch
    syncctl why ~/work/notes.txt";

/// How long a device's PeerId is, in characters; less of it is a beginning.
const PEER_ID_CHARS: usize = 52;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "syncctl", version, about = "Keeps folders identical on your own machines")]
#[command(long_about = ABOUT, after_long_help = EXAMPLES)]
#[command(propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// The home of the instance to talk to; each is a device of its own [env: SYNCD_HOME]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,

    /// Print facts as JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(identity::Init),
    Id(identity::Id),
    Pair(device::Pair),
    Pending(device::Pending),
    Devices(device::Devices),
    Unpair(device::Unpair),
    Folder(folder::Folder),
    Status(status::Status),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Flush(work::Flush),
    Scan(work::Scan),
    Verify(work::Verify),
    Why(why::Why),
    Conflicts(conflict::Conflicts),
    Trash(trash::Trash),
    Held(held::Held),
    Events(event::Events),
    Ignore(ignore::Ignore),
    Config(config::Config),
    Doctor(doctor::Doctor),
    Report(report::Report),
    Completions(generate::Completions),
    Man(generate::Man),
}

// No documentation comment: clap would put it in place of each command's own.
#[derive(Debug, Clone, Args)]
pub(crate) struct Only {
    /// Only this folder
    #[arg(long, value_name = "ID")]
    pub(crate) folder: Option<String>,
}

impl Only {
    /// Writes the route of a list, of this folder alone if one was named.
    pub(crate) fn route(&self, list: &str) -> String {
        query(list, &[("folder", self.folder.as_deref())])
    }
}

/// Reads a duration such as `500ms`, `30s`, `5m`, `1h` or `7d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a duration like 500ms, 30s, 5m, 1h or 7d".into()),
    };
    let count: u64 = count.parse().map_err(|_| "a duration begins with a number".to_owned())?;
    let total_ms = count.checked_mul(unit_ms).ok_or("that is longer than time")?;
    Ok(Duration::from_millis(total_ms))
}

/// Reads the id of a device that is not known yet: only whole ids will do.
pub(crate) fn device_id(text: &str) -> Result<DeviceId, String> {
    DeviceId::parse(text).map_err(|error| error.to_string())
}

/// Reads what names a known device. A whole id is checked for typing errors here; a name or the
/// beginning of an id is for the daemon to find.
pub(crate) fn device(text: &str) -> Result<String, String> {
    let digits = text.chars().filter(|c| *c != '-').count();
    let groups = text.split('-').count();
    let peer_id = text.starts_with("12D3Koo") && digits >= PEER_ID_CHARS;
    let whole = peer_id || groups == 8 || (groups == 1 && digits == 56);
    if whole {
        return device_id(text).map(|id| id.to_string());
    }
    if text.is_empty() { Err("a device has a name or an id".into()) } else { Ok(text.to_owned()) }
}

/// Reads where a device may be found.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let path = text.strip_prefix('/').is_some_and(|rest| rest.contains('/'));
    let ssh = text.strip_prefix("ssh://").is_some_and(|host| !host.is_empty());
    if path || ssh {
        return Ok(text.to_owned());
    }
    Err("write an address like /ip4/192.0.2.7/tcp/24110 or ssh://user@host".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_that_can_be_typed_is_explained() {
        let mut left = vec![Cli::command()];
        while let Some(command) = left.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name} does not say what it does");
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{name}: {} is unexplained",
                    argument.get_id()
                );
            }
            left.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ms, because) in [
            ("500ms", Some(500), "milliseconds"),
            ("30s", Some(30_000), "seconds"),
            ("30", Some(30_000), "seconds go without saying"),
            ("0", Some(0), "now or never"),
            ("5m", Some(300_000), "minutes"),
            ("1h", Some(3_600_000), "hours"),
            ("7d", Some(604_800_000), "days"),
            ("", None, "nothing"),
            ("s", None, "no number"),
            ("-1s", None, "the past"),
            ("1y", None, "an unknown unit"),
            ("1.5h", None, "no fractions"),
            ("99999999999999999999d", None, "no such number"),
            ("9999999999999999d", None, "an overflow"),
        ] {
            let read = duration(text).ok().map(|d| u64::try_from(d.as_millis()).unwrap());
            assert_eq!(read, ms, "{because}: {text}");
        }
    }

    #[test]
    fn whole_ids_are_checked_and_names_are_not() {
        let id = DeviceId([7; 32]);
        let shown = id.to_string();
        let wrong = shown.replacen(&shown[..1], if shown.starts_with('A') { "B" } else { "A" }, 1);
        for (text, read, because) in [
            (shown.as_str(), Ok(shown.clone()), "an id"),
            (&shown.to_lowercase(), Ok(shown.clone()), "an id in lower case"),
            (&id.peer_id(), Ok(shown.clone()), "a PeerId"),
            ("devbox", Ok("devbox".into()), "a name"),
            ("my-dev-box", Ok("my-dev-box".into()), "a name with dashes"),
            (&shown[..7], Ok(shown[..7].to_owned()), "a beginning"),
            (
                &wrong,
                Err("group 1 or 2 of the device id has a typing error".into()),
                "a wrong digit",
            ),
            (&shown[..55], Ok(shown[..55].to_owned()), "a long beginning"),
            (
                &shown[..62],
                Err("a device id has 56 letters and digits in groups of seven; this has 55".into()),
                "the last digit is missing",
            ),
            (&id.peer_id()[..20], Ok(id.peer_id()[..20].to_owned()), "half a PeerId"),
            (
                &format!("{}1", id.peer_id()),
                Err("this is not the whole PeerId of a device".into()),
                "a PeerId and more",
            ),
            ("", Err("a device has a name or an id".into()), "nothing"),
        ] {
            assert_eq!(device(text), read, "{because}: {text}");
        }
    }

    #[test]
    fn addresses_look_like_addresses() {
        for (text, good) in [
            ("/ip4/127.0.0.1/tcp/24111", true),
            ("/dns4/box.example/udp/24110/quic-v1", true),
            ("ssh://user@host", true),
            ("127.0.0.1:24111", false),
            ("/", false),
            ("ssh://", false),
            ("", false),
        ] {
            assert_eq!(address(text).is_ok(), good, "{text}");
        }
    }
}
