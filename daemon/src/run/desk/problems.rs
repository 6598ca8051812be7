//! What is wrong in a folder, and what to do about it, in sentences.

use syncd_api::{PathText, Problem as Shown};
use syncd_core::engine::{Problem, PullError};
use syncd_core::flow::settle::{SettleError, Trouble};
use syncd_core::model::{FolderId, RelPath};

use crate::run::folder::Standing;
use crate::run::scrub::DAMAGED;

/// What comes right without anybody's doing.
const BY_ITSELF: &str = "nothing; it is tried again by itself";

/// Lists all that is wrong in a folder, by path.
pub(super) fn problems_of(
    id: &FolderId,
    shown_as: &dyn Fn(&RelPath) -> PathText,
    standing: &Standing,
    inside: &[(RelPath, Problem)],
) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut say = |path: &RelPath, what: &str, remedy: &str| {
        let path = shown_as(path);
        shown.push(Shown { path, what: what.to_owned(), remedy: remedy.to_owned() });
    };
    let root = RelPath::root();
    if let Some(why) = &standing.halted {
        let remedy = match is_inner(why) {
            true => "nothing, if its disk has room; syncd tries again by itself".to_owned(),
            false => format!(
                "bring the folder's directory back, or take what lies there now with: syncctl \
                 folder adopt {id}"
            ),
        };
        say(&root, why, &remedy);
    }
    if standing.read_only && standing.halted.is_none() {
        let what =
            "its file system is mounted read-only: what others change waits, nothing is lost";
        say(&root, what, "mount it writable; it goes on by itself");
    }
    if let Some(bad) = &standing.bad_rules {
        say(&bad.file, &bad.what, "mend it; until then the last good rules hold");
    }
    if let Some(why) = &standing.unwatched {
        let what = format!("not all directories are watched ({why}); they are scanned instead");
        say(&root, &what, watch_remedy(why));
    }
    for (path, (what, remedy)) in &standing.problems {
        say(path, what, remedy);
    }
    let asked_for =
        |path: &RelPath| inside.iter().any(|(p, what)| p == path && *what == Problem::Rotten);
    for path in standing.damaged.keys().filter(|path| !asked_for(path)) {
        say(path, DAMAGED, &repair_of(id));
    }
    // One sentence is enough of what it does to every file.
    let is_said = |problem: &Problem| standing.read_only && is_of_disk(problem);
    for (path, problem) in inside.iter().filter(|(_, problem)| !is_said(problem)) {
        let (what, remedy) = told(problem);
        say(path, &what, remedy);
    }
    shown.sort();
    shown.dedup();
    shown
}

/// Says how to get back the bytes of a file that the disk has damaged.
pub(super) fn repair_of(id: &FolderId) -> String {
    format!(
        "back up this disk; take the right bytes from the history or another device with: syncctl \
         verify --folder {id} --repair"
    )
}

/// Tells whether a disk that takes no writes may be behind a problem.
fn is_of_disk(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::Pull(PullError::Disk)
            | Problem::Settle(SettleError::Trouble {
                trouble: Trouble::ReadOnly | Trouble::Disk,
                ..
            })
    )
}

/// Tells whether a folder stands still for a fault of syncd's own things, not of its root.
pub(super) fn is_inner(why: &str) -> bool {
    why.starts_with("the index") || why.starts_with("a worker")
}

fn watch_remedy(why: &str) -> &'static str {
    if why.contains("max_user_watches") {
        "sudo sysctl -w fs.inotify.max_user_watches=1048576"
    } else if why.contains("max_user_instances") {
        "sudo sysctl -w fs.inotify.max_user_instances=1024"
    } else {
        "see: syncctl doctor"
    }
}

/// Says what is wrong with one path, and what to do.
pub(super) fn told(problem: &Problem) -> (String, &'static str) {
    match problem {
        Problem::Settle(error) => (error.to_string(), settle_remedy(error)),
        Problem::Pull(error) => (error.to_string(), pull_remedy(*error)),
        Problem::Emptied => (
            "the machine stopped before its bytes were on the disk, and it is empty now".to_owned(),
            "wait for a device that has its bytes; or write the file, as it is meant to be",
        ),
        Problem::Rotten => (
            DAMAGED.to_owned(),
            "wait for a device that has its bytes, and look at the health of this disk",
        ),
    }
}

fn settle_remedy(error: &SettleError) -> &'static str {
    match error {
        SettleError::Busy { .. } => "close it in the program that has it open for writing",
        SettleError::NoRoom { .. } => "make room on this disk; it goes on by itself",
        SettleError::NotEmpty { .. } => "move or delete the ignored files in it, or leave them",
        SettleError::Collides { .. } => "rename one of the two on another device",
        SettleError::NoWay { .. } => "look at what lies at the names above it",
        SettleError::RootLost => "bring the folder's directory back",
        SettleError::Overtaken { .. }
        | SettleError::Displaced { .. }
        | SettleError::NotStaged { .. } => BY_ITSELF,
        SettleError::Trouble { trouble, .. } => match trouble {
            Trouble::Denied => "let the user that runs syncd write there",
            Trouble::ReadOnly => "mount the file system writable",
            Trouble::Occupied => "move away what lies there",
            Trouble::Elsewhere => "unmount it, or ignore it in .stignore",
            Trouble::Disk => "check the disk and whether it is still mounted",
            Trouble::Exhausted => "raise the limit of open files for syncd",
            Trouble::Name => "rename it where it comes from",
            Trouble::Other(_) => "see whether other programs can write there",
        },
    }
}

fn pull_remedy(error: PullError) -> &'static str {
    match error {
        PullError::NoRoom => "make room on this disk; it goes on by itself",
        PullError::Disk => "check the disk and whether it is still mounted",
        PullError::PeerGone => "bring the other device back; it goes on by itself",
        PullError::NotThere | PullError::Wrong => BY_ITSELF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::folder::BadRules;

    #[test]
    fn everything_wrong_is_told_once_and_by_path() {
        let path = |text: &str| RelPath::parse(text).unwrap();
        let bad = BadRules { file: path(".stignore"), what: "line 3".into() };
        let mut standing = Standing { bad_rules: Some(bad), ..Standing::default() };
        standing.problems.insert(path("z"), ("it cannot be read".into(), "chmod".into()));
        let busy =
            |text: &str| (path(text), Problem::Settle(SettleError::Busy { path: path(text) }));
        let id = FolderId::parse("work").unwrap();
        let plain = |path: &RelPath| PathText::of(path.as_bytes());
        let shown = problems_of(&id, &plain, &standing, &[busy("b"), busy("a"), busy("b")]);
        let paths: Vec<&str> = shown.iter().map(|p| p.path.path.as_str()).collect();
        assert_eq!(paths, [".stignore", "a", "b", "z"]);
        assert_eq!(shown[1].what, "a is open for writing");
        standing.read_only = true;
        let disk = (path("c"), Problem::Pull(PullError::Disk));
        let shown = problems_of(&id, &plain, &standing, &[disk.clone(), busy("a")]);
        let paths: Vec<&str> = shown.iter().map(|p| p.path.path.as_str()).collect();
        assert_eq!(paths, ["", ".stignore", "a", "z"], "one sentence for the whole folder");
        standing.halted = Some("the folder's root is gone".into());
        let first = problems_of(&id, &plain, &standing, &[]).remove(0);
        assert_eq!(first.path.path, "", "the folder as a whole");
        assert!(first.remedy.contains("syncctl folder adopt work"), "{}", first.remedy);
    }
}
