//! Whether it is known what a stop of the machine without warning has left in a folder.
//!
//! A start writes such a stop down before it counts itself as running under the new boot; each
//! folder writes down when it has looked at everything since. A process that is killed before,
//! however often, finds the folder as unknown as the first one did.

use syncd_core::model::FolderId;

use crate::flow::index::{Ledger, SHAKEN};

fn fact(folder: &FolderId) -> String {
    format!("steady/{folder}")
}

/// Tells whether the machine has stopped without warning and `folder` was not looked at since.
#[must_use]
pub(super) fn is_shaken(ledger: &Ledger, folder: &FolderId) -> bool {
    let stop = ledger.fact(SHAKEN);
    stop.is_some() && stop != ledger.fact(&fact(folder))
}

/// Notes that all is known of what the last stop has left in `folder`. If that cannot be kept, the
/// next start looks once more.
pub(super) fn is_steady(ledger: &Ledger, folder: &FolderId) {
    if let Err(error) = ledger.set_fact(&fact(folder), ledger.fact(SHAKEN).as_deref()) {
        tracing::warn!(%folder, %error, "that a folder was looked at since a stop was not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_shaken_until_it_was_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(&home.path().join("ledger")).unwrap();
        let folder = |name: &str| FolderId::parse(name).unwrap();
        let (one, other) = (folder("one"), folder("other"));
        let shaken = || (is_shaken(&ledger, &one), is_shaken(&ledger, &other));
        assert_eq!(shaken(), (false, false), "the machine never stopped");
        ledger.set_fact(SHAKEN, Some(b"first")).unwrap();
        assert_eq!(shaken(), (true, true), "whichever start it is");
        is_steady(&ledger, &one);
        assert_eq!(shaken(), (false, true), "each folder for itself");
        ledger.set_fact(SHAKEN, Some(b"second")).unwrap();
        assert_eq!(shaken(), (true, true), "another stop is another matter");
    }
}
