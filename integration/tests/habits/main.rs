//! What people and programs do to files day by day, with the real programs where they are at
//! hand, and what arrives of it on the other side.
//!
//! The daemons are real. Editors that are not at hand are played by the very calls that they
//! make when they save. What takes minutes runs only when `SYNCD_LONG` is set.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod builds;
mod bursts;
mod databases;
mod editors;
mod git;
mod git_clones;
mod large;
mod logs;
mod moves;
mod open_files;
mod watchers;

use std::fs;
use std::process::Command;
use std::time::Duration;

use syncd_integration::process::{Device, Pair, eventually, nodes, run};

/// How long a change may take until it is seen on the other side.
const ARRIVES_MAX: Duration = Duration::from_secs(60);

/// How long one of the programs may run.
const PROGRAM_MAX: Duration = Duration::from_secs(300);

/// Runs a program, which must succeed, and returns what it printed.
#[track_caller]
fn done(command: &mut Command) -> String {
    let answer = run(command, PROGRAM_MAX);
    assert_eq!(answer.code, 0, "{command:?}: {}{}", answer.stdout, answer.stderr);
    answer.stdout
}

/// Waits until the file at `path` holds `text`.
#[track_caller]
fn await_text(device: &Device, path: &str, text: &str) {
    eventually(ARRIVES_MAX, &format!("{path} arrives at {}", device.name()), || {
        match fs::read_to_string(device.path(path)) {
            Ok(found) if found == text => Ok(()),
            Ok(found) => Err(format!("it holds {found:?}")),
            Err(error) => Err(error.to_string()),
        }
    });
}

/// Lists the conflict copies in a device's folder.
fn copies(device: &Device) -> Vec<String> {
    let names = nodes(device.root()).into_keys().map(|path| path.to_string_lossy().into_owned());
    names.filter(|name| name.contains(".sync-conflict-")).collect()
}

/// Waits until both hold the same, and asserts that nobody found a conflict on the way.
#[track_caller]
fn agree_without_conflict(pair: &Pair, because: &str) {
    pair.agree();
    for (here, _) in pair.sides() {
        assert_eq!(copies(here), [""; 0], "{because}, on {}", here.name());
    }
}
