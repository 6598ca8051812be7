//! `completions` and `man`: made from the command line's own description.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use syncd_api::ApiError;

use super::Outcome;
use crate::args::Cli;
use crate::examples::put_into;
use crate::render;

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl completions bash > ~/.local/share/bash-completion/completions/syncctl
  syncctl completions zsh > ~/.zfunc/_syncctl
  syncctl completions fish > ~/.config/fish/completions/syncctl.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut put_into(Cli::command()), "syncctl", &mut script);
        render::print(&String::from_utf8_lossy(&script))
    }
}

/// Write man pages into a directory, one for each command
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  syncctl man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// The directory; made if missing
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(&self) -> Outcome {
        let written = std::fs::create_dir_all(&self.dir)
            .and_then(|()| clap_mangen::generate_to(put_into(Cli::command()), &self.dir));
        written.map_err(|error| {
            let dir = self.dir.to_string_lossy();
            ApiError::could_not(format!("cannot write man pages to {dir:?}: {error}"))
        })
    }
}
