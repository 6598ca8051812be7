//! What came of contents that were never placed: a version that is not wanted any more is the
//! beginning of the next one.
//!
//! A large file that changes all the time is often changed again before its last version has come
//! whole, or before it was placed. What came of that holds nearly the bytes of the next version,
//! and no user ever saw it: so the next version is written over it, and of a path's versions one
//! lies in staging, however many come to nothing. Small contents that nobody placed are swept.

use std::collections::BTreeMap;

use rustix::{fs, io};
use syncd_core::model::{ContentId, RelPath};

use super::fill::hash_at;
use super::staging::part_name;
use super::{Hands, locked};
use crate::world::disk::system;

/// How long a content may lie in staging with nobody placing it, in milliseconds.
const STAGED_MS_MAX: u64 = 60 * 60 * 1000;

impl Hands {
    /// Lets what came of an earlier version of `path` be the beginning of `content`, which
    /// [`Hands::begin`] then goes on with.
    pub fn take_over(&self, path: &RelPath, content: ContentId) {
        let mut unplaced = locked(&self.inner.unplaced);
        let before = unplaced.insert(path.clone(), content);
        let Some(before) = before.filter(|before| *before != content) else { return };
        if self.is_wanted(&unplaced, before) {
            return;
        }
        let taken = self.partial(content).is_none()
            && [part_name(before), before.hex()].iter().any(|from| {
                let to = part_name(content);
                fs::renameat(self.staging(), from.as_str(), self.staging(), to.as_str()).is_ok()
            });
        if !taken {
            self.discard(before);
        }
    }

    /// Takes note that nobody writes `content` for `path` any more: what came of it is kept, to be
    /// placed or to go on with, unless another version of the path has been begun since.
    pub fn left_unplaced(&self, path: &RelPath, content: ContentId) {
        let unplaced = locked(&self.inner.unplaced);
        let is_last = unplaced.get(path).is_none_or(|last| *last == content);
        if !is_last && !self.is_wanted(&unplaced, content) {
            self.discard(content);
        }
    }

    /// Takes note that a version of `path` was placed: nothing of it is left over.
    pub(super) fn is_placed(&self, path: &RelPath) {
        locked(&self.inner.unplaced).remove(path);
    }

    fn is_wanted(&self, unplaced: &BTreeMap<RelPath, ContentId>, content: ContentId) -> bool {
        unplaced.values().any(|other| *other == content)
            || locked(&self.inner.writing).contains_key(&content)
    }

    /// Drops contents that have been staged for an hour and that nobody placed. Whoever wants one
    /// after all fetches it again.
    ///
    /// # Errors
    /// What the system said of staging.
    pub fn sweep_staging(&self, now_ms: u64) -> io::Result<()> {
        let staging = self.staging();
        for (name, _) in system::names_in(staging)? {
            let content = std::str::from_utf8(&name).ok().and_then(ContentId::from_hex);
            let (Some(content), Some(stat)) = (content, system::stat_at(staging, &name)?) else {
                continue;
            };
            let staged_ms = u64::try_from(system::key_of(&stat).ctime_ns / 1_000_000);
            let is_old =
                staged_ms.is_ok_and(|staged| now_ms.saturating_sub(staged) > STAGED_MS_MAX);
            // Anything else under such a name is left to the next start.
            if is_old && hash_at(staging, &name)? == Some(content) {
                self.discard(content);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::settle::Expect;

    use super::super::testing::{Folder, path};
    use super::*;

    /// Writes the beginning of a content and breaks off.
    fn begin(folder: &Folder, name: &str, whole: &str) -> ContentId {
        let content = ContentId::of(whole.as_bytes());
        folder.hands.take_over(&path(name), content);
        let writer = folder.hands.begin(content, whole.len() as u64).unwrap();
        writer.write_at(0, &whole.as_bytes()[..2]).unwrap();
        drop(writer);
        folder.hands.left_unplaced(&path(name), content);
        content
    }

    #[test]
    fn one_unfinished_file_is_left_of_a_path_however_many_versions_come_to_nothing() {
        let folder = Folder::new();
        for n in 0..20 {
            begin(&folder, "a", &format!("version {n}"));
        }
        let last = begin(&folder, "a", "last version");
        assert_eq!(folder.staging_names(), [part_name(last)]);
        let other = begin(&folder, "b", "another path");
        let mut expected = [part_name(last), part_name(other)];
        expected.sort();
        assert_eq!(folder.staging_names(), expected);
    }

    #[test]
    fn the_next_version_goes_on_with_what_came_of_the_last() {
        let folder = Folder::new();
        begin(&folder, "a", "version 1, which is longer");
        let next = ContentId::of(b"version 2");
        folder.hands.take_over(&path("a"), next);
        let writer = folder.hands.begin(next, 9).unwrap();
        assert!(writer.is_resumed());
        let mut came = [0; 2];
        assert_eq!(writer.read_at(0, &mut came), Ok(2));
        assert_eq!(&came, b"ve");
        writer.write_at(2, b"rsion 2").unwrap();
        writer.finish().unwrap();
        folder.hands.left_unplaced(&path("a"), next);
        assert!(folder.hands.has(next), "verified whole");
        assert_eq!(folder.staging_names(), [next.hex()]);
        let last = begin(&folder, "a", "version 3");
        assert_eq!(folder.staging_names(), [part_name(last)], "also of a whole one");
    }

    #[test]
    fn what_was_placed_is_not_taken_over() {
        let folder = Folder::new();
        let placed = ContentId::of(b"placed");
        folder.hands.take_over(&path("a"), placed);
        let place = folder.place("a", Expect::Nothing, "placed");
        folder.take(vec![place]).unwrap();
        folder.stage("placed");
        begin(&folder, "a", "next");
        assert!(folder.hands.has(placed), "somebody else's");
    }

    #[test]
    fn what_nobody_placed_for_an_hour_is_swept() {
        let folder = Folder::new();
        let old = folder.stage("old");
        let other = folder.root().join(".syncd/staging").join(ContentId::of(b"x").hex());
        std::fs::write(&other, "not what it says").unwrap();
        let now = super::super::now_ms();
        folder.hands.sweep_staging(now).unwrap();
        assert!(folder.hands.has(old), "it is young");
        folder.hands.sweep_staging(now + 2 * STAGED_MS_MAX).unwrap();
        assert!(!folder.hands.has(old));
        assert!(other.exists(), "nobody knows whose that is");
    }

    #[test]
    fn what_another_path_or_writer_needs_is_left_alone() {
        let folder = Folder::new();
        let shared = begin(&folder, "a", "in two places");
        assert_eq!(begin(&folder, "b", "in two places"), shared);
        let own = begin(&folder, "a", "no longer");
        assert!(folder.hands.partial(shared).is_some(), "b still wants it");
        let writer = folder.hands.begin(own, 9).unwrap();
        folder.hands.take_over(&path("a"), ContentId::of(b"later"));
        assert!(folder.hands.partial(own).is_some(), "it is being written");
        drop(writer);
        folder.hands.left_unplaced(&path("a"), own);
        assert!(folder.hands.partial(own).is_none(), "nobody goes on with it");
    }
}
