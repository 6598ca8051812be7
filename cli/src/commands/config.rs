//! `config get/set/unset`: the settings, in the home's `config.toml`. Works without the daemon;
//! a running one takes the change over by itself where it can.

use clap::{Args, Subcommand};
use serde_json::json;
use syncd_home::ConfigFile;

use super::{Outcome, Session, config_error, print_json};
use crate::render;

/// Read or change the settings
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl config get listen
  syncctl config set listen /ip4/0.0.0.0/tcp/24110 /ip4/0.0.0.0/udp/24110/quic-v1
  syncctl config set listen []                     outbound connections only
  syncctl config set limits.history_days 90")]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a setting, a value a line; its default if it is not set
    Get {
        /// Such as name, listen, relays, http.listen or limits.history_days
        key: String,
    },
    /// Change a setting
    Set {
        /// Such as name, listen, relays, http.listen or limits.history_days
        key: String,
        /// One value; for a list any number of them, and [] for none
        #[arg(required = true, num_args = 1.., allow_hyphen_values = true)]
        value: Vec<String>,
    },
    /// Go back to a setting's default
    Unset {
        /// Such as name, listen, relays, http.listen or limits.history_days
        key: String,
    },
}

impl Config {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match &self.action {
            Action::Get { key } => get(session, key),
            Action::Set { key, value } => {
                ConfigFile::edit(&session.home, |file| file.set(key, value))
                    .map_err(|error| config_error(&error))
            }
            Action::Unset { key } => ConfigFile::edit(&session.home, |file| file.unset(key))
                .map_err(|error| config_error(&error)),
        }
    }
}

fn get(session: &Session, key: &str) -> Outcome {
    let file = ConfigFile::open(&session.home).map_err(|error| config_error(&error))?;
    let values = file.get(key).map_err(|error| config_error(&error))?;
    if session.json {
        return print_json(&json!({ "key": key, "values": values }));
    }
    let lines: Vec<String> = values.iter().map(|value| render::escaped(value) + "\n").collect();
    render::print(&lines.concat())
}
