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

fn main() -> ExitCode {
    let matches = examples::put_into(args::Cli::command()).get_matches();
    let cli = args::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", render::refusal(&error));
            ExitCode::from(error.exit.code())
        }
    }
}
