//! The keys of the store's trees: they sort so that a directory's pages lie together, right
//! before those of the directories in it.
//!
//! A page's key is `folder, name 0, name 0, ..., 0, fence`: names hold no NUL, so one NUL ends a
//! name and an empty name ends the directory. The fence is the least name the page may hold.

use syncd_core::model::{ContentId, RelPath, Seq};

/// Numbers a folder within its store. Never used again once the folder is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FolderNumber(pub(super) u32);

impl FolderNumber {
    /// What every key of the folder begins with.
    pub(super) fn prefix(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// What the keys of all pages of `dir` and of everything below it begin with.
pub(super) fn below(folder: FolderNumber, dir: &RelPath) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + dir.as_bytes().len() + 2 + 32);
    key.extend_from_slice(&folder.prefix());
    for part in dir.parts() {
        key.extend_from_slice(part);
        key.push(0);
    }
    key
}

/// What the keys of the pages of `dir` itself begin with.
pub(super) fn pages_of(folder: FolderNumber, dir: &RelPath) -> Vec<u8> {
    let mut key = below(folder, dir);
    key.push(0);
    key
}

/// The key of the page of `dir` with this fence, and the greatest key that a page holding the
/// name `fence` can have.
pub(super) fn page(folder: FolderNumber, dir: &RelPath, fence: &[u8]) -> Vec<u8> {
    let mut key = pages_of(folder, dir);
    key.extend_from_slice(fence);
    key
}

/// The key of the bucket of changes that begins with `seq`.
pub(super) fn changes(folder: FolderNumber, seq: Seq) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&folder.prefix());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// One holder of a content: the first bytes of the content's id, and the sequence under which
/// the log of changes knows the path.
pub(super) type Holding = [u8; 16];

/// Names the path last changed at `seq` as a holder of `content`.
pub(super) fn holding(content: ContentId, seq: Seq) -> Holding {
    let mut holding = [0; 16];
    holding[..8].copy_from_slice(&content.0[..8]);
    holding[8..].copy_from_slice(&seq.to_be_bytes());
    holding
}

/// Reads the sequence of a holder.
pub(super) fn holding_seq(holding: &Holding) -> Seq {
    let mut seq = [0; 8];
    seq.copy_from_slice(&holding[8..]);
    Seq::from_be_bytes(seq)
}

/// The key of the bucket of holders with this fence.
pub(super) fn holders(folder: FolderNumber, fence: &Holding) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&folder.prefix());
    key[4..].copy_from_slice(fence);
    key
}

/// The key of one part of a content's block list.
pub(super) fn contents(content: ContentId, part: u32) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(&content.0);
    key[32..].copy_from_slice(&part.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directorys_pages_come_before_those_below_it_and_after_no_stranger() {
        let at = |dir: &str, fence: &str| {
            let dir = if dir.is_empty() { RelPath::root() } else { RelPath::parse(dir).unwrap() };
            page(FolderNumber(1), &dir, fence.as_bytes())
        };
        let sorted = [
            at("", ""),
            at("", "m"),
            at("a", ""),
            at("a", "z"),
            at("a/b", ""),
            at("a/c", ""),
            at("a\u{1}", ""),
            at("a!", ""),
            at("b", ""),
        ];
        for pair in sorted.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    #[test]
    fn holders_of_one_content_lie_together_by_sequence() {
        let (a, b) = (ContentId::of(b"a"), ContentId::of(b"b"));
        assert_eq!(holding_seq(&holding(a, 7)), 7);
        assert!(holding(a, 255) < holding(a, 256));
        assert_eq!(holding(a, u64::MAX) < holding(b, 0), a.0[..8] < b.0[..8]);
    }
}
