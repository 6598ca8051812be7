//! What a folder's thread does every second.

use std::time::Instant;

use super::FolderThread;
use crate::run::folder::settles;

/// Old versions are pruned every so many tidyings.
const PRUNE_EVERY: u32 = 600;

impl FolderThread {
    /// Looks at displaced files for late writes, at the trash, and at the root.
    pub(super) fn tidy(&mut self) {
        self.tidied = Instant::now();
        self.tidyings += 1;
        for late in self.parts.hands.late_writes() {
            match late {
                Ok(late) => self.look_at([late.path, late.kept]),
                Err(error) => tracing::warn!(folder = %self.folder.id(), %error, "a late write"),
            }
        }
        // One that has ended keeps no more bases, and nothing depends on them.
        let _ = self.workers.bases.order(());
        let is_due = self.parts.hands.is_pruning_due();
        if is_due || self.tidyings.is_multiple_of(PRUNE_EVERY) {
            settles::prune(self.folder.id(), &self.parts);
        }
        if let Err(problem) = self.parts.root.is_in_place() {
            self.failed = Some(problem.to_string());
        } else if self.parts.hands.are_cut_off() {
            self.failed = Some("its '.syncd' was removed; it is made again".to_owned());
        }
    }
}
