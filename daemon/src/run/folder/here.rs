//! Bytes that lie here already: nothing is asked of a peer that can be staged from what is kept for
//! others, from a file of the folder, or from the trash.

use syncd_core::flow::index::{Index, Known};
use syncd_core::model::{ContentId, RelPath};

use super::Parts;

/// Files asked for one content: more than one may have been changed since.
const HOLDERS_MAX: usize = 4;

/// What was found of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// It is staged.
    Staged,
    /// The index names files that hold it, and none does now: one may be on its way into the
    /// trash, as the other half of a rename.
    Moving,
    /// It does not lie here.
    Nowhere,
}

impl Parts {
    /// Stages a content from what lies here.
    #[must_use]
    pub fn stage_from_here(&self, content: ContentId) -> Here {
        let hands = &self.hands;
        // What the index knows and never placed, or a person wants back, lies nowhere here.
        let is_placed = |path: &RelPath| {
            let entry = self.index.get(path).ok().flatten();
            entry.is_some_and(|entry| entry.local.is_here())
        };
        let mut holders = self.index.holders(content, HOLDERS_MAX).unwrap_or_default();
        holders.retain(is_placed);
        if hands.has(content)
            || hands.from_kept(content).is_ok()
            || holders.iter().any(|path| hands.from_local(path, content).is_ok())
            || hands.from_trash(content).is_ok()
        {
            Here::Staged
        } else if holders.is_empty() {
            Here::Nowhere
        } else {
            Here::Moving
        }
    }
}
