//! Joins that are under way: who wins where files differ is remembered until the join is over.

use syncd_core::model::{DeviceId, Favour, FolderId};

use crate::flow::index::{Ledger, LedgerError};

/// Who wins, each with the word that is kept for it.
const WORDS: [(Favour, &[u8]); 3] =
    [(Favour::Here, b"here"), (Favour::There, b"there"), (Favour::Newer, b"newer")];

fn fact(folder: &FolderId) -> String {
    format!("join/{folder}")
}

fn giver_fact(folder: &FolderId) -> String {
    format!("taken-from/{folder}")
}

/// Remembers from which device `folder` is taken, or that it begins here.
///
/// # Errors
/// [`LedgerError`] when it cannot be kept.
pub fn takes_from(
    ledger: &Ledger,
    folder: &FolderId,
    giver: Option<DeviceId>,
) -> Result<(), LedgerError> {
    ledger.set_fact(&giver_fact(folder), giver.as_ref().map(|device| &device.0[..]))
}

/// Returns from which device `folder` was taken.
pub(super) fn taken_from(ledger: &Ledger, folder: &FolderId) -> Option<DeviceId> {
    Some(DeviceId(ledger.fact(&giver_fact(folder))?.try_into().ok()?))
}

/// Remembers that `folder` is about to be joined and who wins, or that nobody does.
///
/// # Errors
/// [`LedgerError`] when it cannot be kept.
pub fn begin(
    ledger: &Ledger,
    folder: &FolderId,
    favour: Option<Favour>,
) -> Result<(), LedgerError> {
    let word = WORDS.iter().find(|(known, _)| Some(*known) == favour);
    ledger.set_fact(&fact(folder), word.map(|(_, word)| *word))
}

/// Returns who wins in a join that is not over.
pub(super) fn under_way(ledger: &Ledger, folder: &FolderId) -> Option<Favour> {
    let kept = ledger.fact(&fact(folder))?;
    WORDS.iter().find(|(_, word)| *word == kept).map(|(favour, _)| *favour)
}

/// Forgets a join that is over. One that could not be forgotten has nothing left to decide.
pub(super) fn is_over(ledger: &Ledger, folder: &FolderId) {
    if let Err(error) = ledger.set_fact(&fact(folder), None) {
        tracing::warn!(%folder, %error, "a join that is over was not forgotten");
    }
}
