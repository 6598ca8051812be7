//! What the system allows: watches, watchers, open files.

use rustix::process::{Resource, getrlimit};
use serde_json::json;
use syncd_api::Health;

use super::finding::Finding;

/// Fewer watches than this are soon used up by one tree with dependencies in it.
const WATCHES_WANTED: u64 = 65_536;

/// Fewer watchers than this are soon used up by editors and build tools.
const WATCHERS_WANTED: u64 = 64;

/// Fewer open files than this are soon used up by connections and many folders.
const OPEN_FILES_WANTED: u64 = 1024;

/// Looks at the limits of inotify.
pub(super) fn watches(health: Option<&Health>) -> Vec<Finding> {
    let limit = |name: &str| -> Option<u64> {
        let path = format!("/proc/sys/fs/inotify/{name}");
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let used = health.map_or(0, |health| health.watches_used);
    let watches = limit("max_user_watches").map_or_else(
        || Finding::good("watches", "this system has no such limit"),
        |limit| judge_watches(used, limit),
    );
    let watchers = limit("max_user_instances").and_then(judge_watchers);
    std::iter::once(watches).chain(watchers).collect()
}

fn judge_watches(used: u64, limit: u64) -> Finding {
    let what = format!("{used} in use of {limit}");
    let facts = json!({ "used": used, "limit": limit });
    // Half of the limit is where other programs begin to run out of it.
    if limit < WATCHES_WANTED || used > limit / 2 {
        let wanted = (used.saturating_mul(4)).max(WATCHES_WANTED * 8);
        let remedy = format!("sudo sysctl -w fs.inotify.max_user_watches={wanted}");
        return Finding::warn("watches", what, remedy).with(facts);
    }
    Finding::good("watches", what).with(facts)
}

fn judge_watchers(limit: u64) -> Option<Finding> {
    (limit < WATCHERS_WANTED).then(|| {
        Finding::warn(
            "watchers",
            format!("only {limit} programs of this user may watch files"),
            "sudo sysctl -w fs.inotify.max_user_instances=512",
        )
        .with(json!({ "limit": limit }))
    })
}

/// Looks at how many files may be open: in the daemon, or in this command where none runs.
pub(super) fn open_files(health: Option<&Health>) -> Finding {
    let daemon = health.and_then(|health| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", health.pid)).ok()?;
        soft_limit_in(&limits)
    });
    judge_open_files(daemon.or_else(|| getrlimit(Resource::Nofile).current))
}

/// Reads the soft limit of open files from `/proc/PID/limits`.
fn soft_limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn judge_open_files(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < OPEN_FILES_WANTED => Finding::warn(
            "files",
            format!("only {limit} files may be open at once"),
            "ulimit -n 65536 before syncd starts, or LimitNOFILE=65536 in its service",
        )
        .with(json!({ "limit": limit })),
        Some(limit) => Finding::good("files", format!("{limit} may be open at once"))
            .with(json!({ "limit": limit })),
        None => Finding::good("files", "any number may be open at once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_judged() {
        for (used, limit, verdict, because) in [
            (0, 1_048_576, "good", "room for all"),
            (0, 8_192, "warning", "one dependency tree fills it"),
            (600_000, 1_048_576, "warning", "more than half is gone"),
        ] {
            assert_eq!(judge_watches(used, limit).verdict(), verdict, "{because}");
        }
        assert!(judge_watchers(128).is_none(), "the usual limit");
        assert_eq!(judge_watchers(8).unwrap().verdict(), "warning");
        for (limit, verdict) in [(None, "good"), (Some(1024), "good"), (Some(256), "warning")] {
            assert_eq!(judge_open_files(limit).verdict(), verdict, "{limit:?}");
        }
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files   256   4096   files\n";
        assert_eq!(soft_limit_in(text), Some(256));
        assert_eq!(soft_limit_in("Max open files unlimited unlimited files"), None);
    }
}
