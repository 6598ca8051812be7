//! Every kind of file: what people and programs leave in a folder arrives as it is, or is named
//! as what syncd does not carry. `docs/FILES.md` tells the same for users, row by row.
//!
//! Each table is tried from both sides and compared by a reader that shares no code with the
//! daemon. What takes minutes runs only when `SYNCD_LONG` is set.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod attributes;
mod contents;
mod flips;
mod folding;
mod links;
mod modes;
mod mounts;
mod names;
mod odd;
mod rules;
mod trees;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Device, Pair, eventually};

/// How long a device may take to notice something nobody flushes for.
const NOTICE_MAX: Duration = Duration::from_secs(30);

/// One kind of file: its name for people, and how it is made in a directory.
type Row = (&'static str, fn(&Path));

/// Makes every row in a directory of its own, on one side and then the other, and asserts that
/// it arrives as it is.
#[track_caller]
fn arrives_both_ways(rows: &[Row]) {
    let pair = Pair::new();
    for (here, _) in pair.sides() {
        for (at, (_, make)) in rows.iter().enumerate() {
            let dir = here.path(format!("{}-{at}", here.name()));
            fs::create_dir(&dir).unwrap();
            make(&dir);
        }
        here.flush();
        for (at, (because, _)) in rows.iter().enumerate() {
            let name = format!("{}-{at}", here.name());
            let found = diff(&pair.laptop.path(&name), &pair.devbox.path(&name));
            assert!(found.is_empty(), "{because}, from {}: {found}", here.name());
        }
        pair.assert_equal(&format!("all kinds, from {}", here.name()));
    }
    for side in [&pair.laptop, &pair.devbox] {
        let status = side.status("work");
        assert_eq!(status["conflicts"], 0, "one writer makes no conflicts");
        assert_eq!(status["problems"], Value::Array(Vec::new()), "on {}", side.name());
    }
}

/// Returns what `diff`, a program of others, says of two trees; empty when they are equal.
fn diff(here: &Path, there: &Path) -> String {
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--brief", "--no-dereference"]).arg(here).arg(there);
    let said = diff.output().unwrap();
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

/// Returns what a file takes on the disk, in bytes.
fn held_bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().blocks() * 512
}

/// Returns what is said to be wrong with `path` of the folder on a device, and what to do; waits
/// until something is.
#[track_caller]
fn problem_of(device: &Device, path: &str) -> (String, String) {
    eventually(NOTICE_MAX, &format!("{path} is a problem on {}", device.name()), || {
        let status = device.status("work");
        let all = status["problems"].as_array().cloned().unwrap_or_default();
        let text =
            |problem: &Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        let found = all.iter().find(|problem| problem["path"] == path);
        found.map(|p| (text(p, "what"), text(p, "do"))).ok_or_else(|| status.to_string())
    })
}

/// Waits until nothing is said to be wrong with a folder.
#[track_caller]
fn await_no_problem(device: &Device) {
    eventually(NOTICE_MAX, &format!("{} has no problem", device.name()), || {
        let problems = device.status("work")["problems"].clone();
        if problems == Value::Array(Vec::new()) { Ok(()) } else { Err(problems.to_string()) }
    });
}
