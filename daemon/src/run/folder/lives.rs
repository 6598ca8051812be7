//! Under which incarnation this device writes in a folder.
//!
//! It is the device's own, until the folder is forgotten while its peers go on: adopted, or ended
//! and taken again. What this device wrote before is then like another's: were it still its own,
//! a file of then that is not here would look like one that it had deleted. Another begins too
//! when a peer speaks of counters that this device never gave out.

use syncd_core::model::{FolderId, Incarnation};

use crate::flow::index::{Ledger, LedgerError};

fn fact(folder: &FolderId) -> String {
    format!("life/{folder}")
}

/// Begins another life in `folder`, of a device whose incarnation is `own`.
///
/// # Errors
/// [`LedgerError`] when it cannot be kept.
pub fn begin(ledger: &Ledger, folder: &FolderId, own: Incarnation) -> Result<(), LedgerError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| LedgerError::NoRandom)?;
    ledger.set_fact(&fact(folder), Some(&[own.0.to_le_bytes(), random].concat()))
}

/// Returns the incarnation in `folder` of a device whose incarnation is `own`. A new one of the
/// device is new everywhere.
#[must_use]
pub fn incarnation(ledger: &Ledger, folder: &FolderId, own: Incarnation) -> Incarnation {
    let kept = ledger.fact(&fact(folder)).unwrap_or_default();
    match kept.split_first_chunk::<8>() {
        Some((of, life)) if *of == own.0.to_le_bytes() => {
            life.try_into().map_or(own, |life| Incarnation(u64::from_le_bytes(life)))
        }
        Some(_) | None => own,
    }
}
