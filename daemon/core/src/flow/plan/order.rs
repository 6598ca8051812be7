//! The order of work: which steps turn what lies at a path into what should lie there.

use crate::flow::settle::{Expect, Step};
use crate::model::{Entry, Kind, Record, RelPath};

/// Returns what a step must find at a path for which the index holds `entry`; `None` when the
/// index does not know well enough and the path must be looked at first.
#[must_use]
pub fn expected(entry: Option<&Entry>) -> Option<Expect> {
    let Some(entry) = entry.filter(|e| e.record.is_live() && e.local.is_here()) else {
        return Some(Expect::Nothing);
    };
    let (kind, content) = (entry.record.kind, entry.record.content);
    entry.local.seen.map(|stat| Expect::Known { kind, stat, content })
}

/// Tells whether `record` is a directory.
pub(super) fn is_directory(record: &Record) -> bool {
    record.kind == Kind::Directory
}

/// Returns the steps from what `entry` says lies at `path` to `target`; `None` when the path
/// must be looked at first. No steps at all means that the disk is right already.
#[must_use]
pub fn steps(path: &RelPath, entry: Option<&Entry>, target: &Record) -> Option<Vec<Step>> {
    let expect = expected(entry)?;
    let path = path.clone();
    let before = match expect {
        Expect::Nothing => Kind::Tombstone,
        Expect::Known { kind, .. } => kind,
    };
    let place = |path, expect| Step::Place {
        path,
        expect,
        kind: target.kind,
        content: target.content,
        size: target.size,
        mtime_ns: target.mtime_ns,
        mode: target.mode,
    };
    let make = |path| Step::MakeDirectory { path, mode: target.mode };
    let dress =
        |path, expect| Step::Dress { path, expect, mtime_ns: target.mtime_ns, mode: target.mode };
    let trash = |path| Step::Trash { path, expect };
    use Kind::{Directory, File, Symlink, Tombstone};
    Some(match (before, target.kind) {
        (Tombstone, Tombstone) => Vec::new(),
        (Tombstone, Directory) => vec![make(path)],
        (Directory, Directory) => match entry {
            Some(e) if e.record.mode == target.mode => Vec::new(),
            _ => vec![dress(path, expect)],
        },
        (Directory, Tombstone) => vec![Step::RemoveDirectory { path }],
        (Directory, File | Symlink) => {
            vec![Step::RemoveDirectory { path: path.clone() }, place(path, Expect::Nothing)]
        }
        (File | Symlink, Tombstone) => vec![trash(path)],
        (File | Symlink, Directory) => vec![trash(path.clone()), make(path)],
        (Tombstone, File | Symlink) => vec![place(path, expect)],
        (File | Symlink, File | Symlink) => match entry {
            Some(e) if e.record.looks_like(target) => Vec::new(),
            Some(e) if e.record.same_content(target) => vec![dress(path, expect)],
            _ => vec![place(path, expect)],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Actor, ContentId, DeviceId, Dot, Incarnation, Local, StatKey, Version, Writer,
    };

    fn record(kind: Kind, content: &str, mode: u32) -> Record {
        let writer = Writer { device: DeviceId([1; 32]), incarnation: Incarnation(1) };
        let dot = Dot { writer, counter: 1 };
        let bytes = matches!(kind, Kind::File | Kind::Symlink);
        Record {
            kind,
            size: content.len() as u64,
            mtime_ns: if bytes { 5 } else { 0 },
            mode,
            content: if bytes { ContentId::of(content.as_bytes()) } else { ContentId::NONE },
            ancestors: Vec::new(),
            dot,
            version: Version::of(dot),
            author: writer.device,
            actor: Actor::Unknown,
            found: false,
        }
    }

    fn names(steps: &[Step]) -> Vec<&'static str> {
        let name = |step: &Step| match step {
            Step::KeepAs { .. } => "keep",
            Step::Place { .. } => "place",
            Step::KeepForOthers { .. } => "forward",
            Step::Dress { .. } => "dress",
            Step::MakeDirectory { .. } => "mkdir",
            Step::Trash { .. } => "trash",
            Step::RemoveDirectory { .. } => "rmdir",
        };
        steps.iter().map(name).collect()
    }

    #[test]
    fn every_change_of_kind_has_its_steps() {
        use Kind::{Directory, File, Symlink, Tombstone};
        let stat = StatKey { inode: 1, size: 1, mtime_ns: 5, ctime_ns: 5, mode: 0o644 };
        let path = RelPath::parse("a").unwrap();
        for (before, target, wanted, because) in [
            (None, (File, "x", 0o644), &["place"][..], "a new file"),
            (None, (Directory, "", 0o755), &["mkdir"], "a new directory"),
            (None, (Tombstone, "", 0), &[], "nothing to delete"),
            (Some((Tombstone, "", 0)), (File, "x", 0o644), &["place"], "written again"),
            (Some((File, "x", 0o644)), (File, "x", 0o644), &[], "nothing to do"),
            (Some((File, "x", 0o644)), (File, "x", 0o755), &["dress"], "only the mode"),
            (Some((File, "x", 0o644)), (File, "y", 0o644), &["place"], "other bytes"),
            (Some((File, "x", 0o644)), (Symlink, "x", 0o644), &["place"], "another kind"),
            (Some((File, "x", 0o644)), (Tombstone, "", 0), &["trash"], "deleted"),
            (Some((File, "x", 0o644)), (Directory, "", 0o755), &["trash", "mkdir"], "a directory"),
            (Some((Directory, "", 0o755)), (Directory, "", 0o700), &["dress"], "only the mode"),
            (Some((Directory, "", 0o755)), (Tombstone, "", 0), &["rmdir"], "deleted"),
            (Some((Directory, "", 0o755)), (File, "x", 0o644), &["rmdir", "place"], "a file"),
        ] {
            let entry = before.map(|(kind, content, mode)| Entry {
                record: record(kind, content, mode),
                seq: 1,
                local: Local { seen: Some(stat), ..Local::default() },
            });
            let (kind, content, mode) = target;
            let steps = steps(&path, entry.as_ref(), &record(kind, content, mode)).unwrap();
            assert_eq!(names(&steps), wanted, "{because}");
        }
    }

    #[test]
    fn what_was_not_seen_well_is_looked_at_first() {
        let path = RelPath::parse("a").unwrap();
        let entry =
            Entry { record: record(Kind::File, "x", 0o644), seq: 1, local: Local::default() };
        assert_eq!(steps(&path, Some(&entry), &record(Kind::File, "y", 0o644)), None);
    }
}
