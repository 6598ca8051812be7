//! `syncctl`: asks the daemon, shows the answer, decides nothing.
//!
//! What needs no daemon works on the home directly; everything else goes through the home's
//! control socket. Facts go to stdout, as tables for people or as the API's own JSON; what went
//! wrong goes to stderr as one sentence, and the exit code says which kind it was.
//!
//! # Invariants
//! - No name from a disk or another device reaches a terminal unescaped.
//! - Colours only on a terminal, and not with `NO_COLOR`.
//! - Exit codes: 0 done, 1 could not, 2 usage, 3 no daemon, 4 time over, 5 needs a person.

mod args;
mod client;
mod commands;
mod examples;
mod render;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use syncd_core::model::shown;

fn main() -> ExitCode {
    let parsed = examples::put_into(args::Cli::command()).try_get_matches();
    let cli = match parsed.and_then(|matches| args::Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => mistyped(&error),
    };
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", render::refusal(&error));
            ExitCode::from(error.exit.code())
        }
    }
}

/// Says what is wrong with the call, or shows the help that it asks for, and ends.
fn mistyped(error: &clap::Error) -> ! {
    let is_harmful = |arg: std::ffi::OsString| arg.to_string_lossy().chars().any(shown::is_harmful);
    if !error.use_stderr() || !std::env::args_os().any(is_harmful) {
        error.exit();
    }
    // It repeats what was typed, and a shell types names of files for `*`.
    eprint!("{}", shown::escaped_lines(&error.render().to_string()));
    std::process::exit(error.exit_code());
}
