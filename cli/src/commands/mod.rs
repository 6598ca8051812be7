//! The commands: each asks one thing and shows the answer.

pub(crate) mod config;
pub(crate) mod conflict;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod folder;
pub(crate) mod generate;
pub(crate) mod held;
pub(crate) mod identity;
pub(crate) mod ignore;
pub(crate) mod pause;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod trash;
pub(crate) mod why;
pub(crate) mod work;

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

pub(crate) use syncd_api::sentence as chain;
use syncd_api::{ApiError, Exit};
use syncd_home::{Config, ConfigError, HOME_VARIABLE, Home, HomeError, near_device};

use crate::args::{self, Cli, Command};
use crate::client::{Answered, Client};
use crate::render;

/// How a command ends.
pub(crate) type Outcome = Result<(), ApiError>;

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Session {
    /// The home that was chosen.
    pub(crate) home: Home,
    /// The daemon of that home.
    pub(crate) client: Client,
    /// Whether facts are wanted as JSON.
    pub(crate) json: bool,
    /// Whether stdout may have colours.
    pub(crate) colours: bool,
    /// How many columns the terminal has; `None` where nobody looks.
    pub(crate) columns: Option<usize>,
}

impl Session {
    fn new(dir: Option<&Path>, json: bool) -> Result<Self, ApiError> {
        let home = Home::resolve(dir).map_err(|error| home_error(&error))?;
        let path = home.dir();
        if path.is_file() {
            let path = path.to_path_buf();
            return Err(home_error(&HomeError::NoDirectory { path }));
        }
        let start = home.command("syncd", "");
        let named = match dir {
            Some(_) => Some("--home"),
            None => {
                std::env::var_os(HOME_VARIABLE).filter(|v| !v.is_empty()).map(|_| HOME_VARIABLE)
            }
        };
        let absent = match named.filter(|_| !path.exists()) {
            Some(named) => format!(
                "syncd is not running, and there is no home at {}; if {named} is right, start it \
                 with: {start}",
                path.display()
            ),
            None => format!("syncd is not running; start it with: {start}"),
        };
        let client = Client::new(home.connect_path(), absent, start)?;
        let (colours, columns) = (render::colours(), render::columns());
        Ok(Self { home, client, json, colours, columns })
    }

    /// Reads what names a known device. A whole id with a typing error is compared with the ids of
    /// the paired ones.
    pub(crate) fn device(&self, text: &str) -> Result<String, ApiError> {
        args::device(text).map_err(|what| {
            let paired = Config::load(&self.home).map(|config| config.devices).unwrap_or_default();
            let meant = near_device(text, &paired);
            mistyped(&what, meant.map(|device| format!("'{}'", device.name)))
        })
    }

    /// Reads what names known devices.
    pub(crate) fn devices(&self, texts: &[String]) -> Result<Vec<String>, ApiError> {
        texts.iter().map(|text| self.device(text)).collect()
    }

    /// Shows an answer: word for word as JSON, or as `people` write it.
    pub(crate) fn show(
        &self,
        answer: &Answered,
        people: impl FnOnce(&Self) -> Result<String, ApiError>,
    ) -> Outcome {
        match self.json {
            true => render::print(&format!("{}\n", render::safe_json(&answer.0))),
            false => render::print(&people(self)?),
        }
    }

    /// Lays out a table for this terminal, or says that there is nothing.
    pub(crate) fn table(
        &self,
        heads: &[&str],
        rows: &[Vec<render::Cell>],
        nothing: &str,
    ) -> String {
        match rows.is_empty() {
            true => format!("{nothing}\n"),
            false => render::table(heads, rows, self.colours, self.columns),
        }
    }
}

/// Does what was typed.
pub(crate) fn run(cli: &Cli) -> Outcome {
    let session = || Session::new(cli.home.as_deref(), cli.json);
    match &cli.command {
        Command::Init(args) => args.run(&session()?),
        Command::Id(args) => args.run(&session()?),
        Command::Pair(args) => args.run(&session()?),
        Command::Pending(args) => args.run(&session()?),
        Command::Devices(args) => args.run(&session()?),
        Command::Unpair(args) => args.run(&session()?),
        Command::Folder(args) => args.run(&session()?),
        Command::Status(args) => args.run(&session()?),
        Command::Pause(args) => args.run(&session()?),
        Command::Resume(args) => args.run(&session()?),
        Command::Flush(args) => args.run(&session()?),
        Command::Scan(args) => args.run(&session()?),
        Command::Verify(args) => args.run(&session()?),
        Command::Why(args) => args.run(&session()?),
        Command::Conflicts(args) => args.run(&session()?),
        Command::Trash(args) => args.run(&session()?),
        Command::Held(args) => args.run(&session()?),
        Command::Events(args) => args.run(&session()?),
        Command::Config(args) => args.run(&session()?),
        Command::Doctor(args) => args.run(&session()?),
        Command::Report(args) => args.run(&session()?),
        // These need not even a home.
        Command::Ignore(args) => args.run(cli.json),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// Says what is wrong with a home, and all that led to it.
pub(crate) fn home_error(error: &HomeError) -> ApiError {
    match error {
        HomeError::Config(error) => config_error(error),
        HomeError::Name { .. } | HomeError::Unnamed => ApiError::usage(chain(error)),
        HomeError::NoPlace
        | HomeError::NoDirectory { .. }
        | HomeError::IdentityLost { .. }
        | HomeError::SettingsLost { .. }
        | HomeError::Busy { .. }
        | HomeError::OpenToOthers { .. }
        | HomeError::NoIdentity { .. }
        | HomeError::SecretExposed { .. }
        | HomeError::SecretDamaged { .. }
        | HomeError::NoSocket { .. }
        | HomeError::NoSocketPlace { .. }
        | HomeError::NoRandomness(_)
        | HomeError::Disk { .. } => ApiError::could_not(chain(error)),
    }
}

/// Says what is wrong with an id that was typed, and which one was probably meant.
pub(crate) fn mistyped(what: &str, meant: Option<String>) -> ApiError {
    ApiError::usage(match meant {
        Some(meant) => format!("{what}; did you mean {meant}?"),
        None => format!("{what}; print it there with: syncctl id"),
    })
}

/// Says what is wrong with the settings.
pub(crate) fn config_error(error: &ConfigError) -> ApiError {
    let exit = match error {
        // What was typed has no place in a file; what stands in the file is no wrong usage.
        ConfigError::UnknownKey { place, .. } | ConfigError::Value { place, .. }
            if place.file.is_none() =>
        {
            Exit::Usage
        }
        ConfigError::UnknownKey { .. } | ConfigError::Value { .. } => Exit::CouldNot,
        ConfigError::Damaged { .. } | ConfigError::Changed { .. } | ConfigError::Disk { .. } => {
            Exit::CouldNot
        }
    };
    ApiError::new(exit, chain(error))
}

/// Writes JSON of our own making.
pub(crate) fn print_json(value: &serde_json::Value) -> Outcome {
    render::print(&format!("{}\n", render::safe_json(&value.to_string())))
}

/// Tells whether there is a person to ask.
pub(crate) fn has_person() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks the person and returns the answer, trimmed; empty when there is none.
pub(crate) fn ask(question: &str) -> String {
    let mut stderr = std::io::stderr().lock();
    // Whoever cannot see the question gives no answer.
    let _ = write!(stderr, "{question} ").and_then(|()| stderr.flush());
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(_) => line.trim().to_owned(),
        Err(_) => String::new(),
    }
}
