//! Beginning a life: which incarnation this start is.
//!
//! # Invariants
//! - (device, incarnation, counter) never names two contents: whenever the store or the ledger
//!   may have forgotten something, the incarnation is new.
//! - Every start takes a fresh range of counters, above every sequence the store has held.

use std::ops::Range;

use syncd_core::model::Incarnation;

use super::ledger::{Ledger, LedgerError, LedgerOpened};
use super::opening::Opened;
use super::store::Store;

/// The ledger's fact that asks the next start for a new incarnation: a peer has shown a session
/// token of this device that it does not know of, so store and ledger were set back together, or
/// there is a copy of them.
pub const REINCARNATE: &str = "reincarnate";

/// The ledger's fact that names the last start after the machine had stopped without warning, by
/// its incarnation (`u64 le`). It is there until the next such start.
pub const SHAKEN: &str = "shaken";

/// What this start is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Who we are in versions.
    pub incarnation: Incarnation,
    /// Whether it is a new incarnation.
    pub fresh: bool,
    /// Why it is new; `None` if it is not, and on the very first start.
    pub why: Option<String>,
    /// Whether the index still holds what it did. Without it the folders are joined as if for the
    /// first time; with it and a new incarnation only the name of the writer has changed.
    pub index_kept: bool,
    /// The counters to begin with.
    pub counters: Range<u64>,
    /// Whether the machine stopped without our having ended: bytes that nobody synced may be
    /// lost.
    pub unclean_boot: bool,
}

/// Decides which life this start is: a new incarnation when the machine stopped without warning,
/// when the store or the ledger is new or was moved aside, when they do not belong together, or
/// when the store is behind the ledger's watermark. A store of the last two kinds is moved aside
/// here, and an empty one takes its place.
///
/// # Errors
/// [`LedgerError`] when the ledger cannot be written, [`LedgerError::Store`] when the store
/// cannot be read or moved aside.
pub fn begin_life(
    store: &Store,
    opened: Opened,
    ledger: &Ledger,
    ledger_opened: LedgerOpened,
) -> Result<Life, LedgerError> {
    begin(store, opened, ledger, ledger_opened, boot_id().as_deref())
}

fn begin(
    store: &Store,
    opened: Opened,
    ledger: &Ledger,
    ledger_opened: LedgerOpened,
    boot: Option<&str>,
) -> Result<Life, LedgerError> {
    let unclean_boot = ledger
        .last_boot()
        .is_some_and(|(before, clean)| !clean && boot.is_none_or(|boot| boot != before));
    let known = ledger.life();
    let mut index_kept = opened == Opened::Existing;
    let mut why = Vec::new();
    if ledger.fact(REINCARNATE).is_some() {
        why.push("another device has heard of this one since what it remembers".to_owned());
    }
    if unclean_boot {
        why.push("the machine stopped while syncd ran".to_owned());
    }
    match &ledger_opened {
        LedgerOpened::Existing => {}
        LedgerOpened::New if opened == Opened::New => {}
        LedgerOpened::New => why.push("the ledger was missing".to_owned()),
        LedgerOpened::MovedAside { to, why: what } => {
            why.push(format!("the ledger was damaged ({what}) and now lies at {}", to.display()));
        }
    }
    match opened {
        Opened::Existing => {
            if let Some(what) = distrust(store, ledger)? {
                let to = store.start_over().map_err(LedgerError::Store)?;
                why.push(format!("{what}; it now lies at {}", to.display()));
                index_kept = false;
            }
        }
        Opened::New if known.is_none() => {}
        Opened::New => why.push("the index was missing".to_owned()),
        Opened::MovedAside { to, why: what } => {
            why.push(format!("the index was broken ({what}) and now lies at {}", to.display()));
        }
    }
    if why.is_empty() && known.is_some_and(|(_, of)| of != store.id()) {
        why.push("the index was made anew".to_owned());
        index_kept = false;
    }
    let continued = known.filter(|(_, of)| why.is_empty() && index_kept && *of == store.id());
    let incarnation = match continued {
        Some((incarnation, _)) => incarnation,
        None => Incarnation(getrandom::u64().map_err(|_| LedgerError::NoRandom)?),
    };
    if unclean_boot {
        // Before the ledger has this boot for the last one: the next start could not tell any more.
        ledger.set_fact(SHAKEN, Some(&incarnation.0.to_le_bytes()))?;
    }
    ledger.begin(incarnation, store.id(), boot.unwrap_or_default().to_owned())?;
    if continued.is_none() {
        ledger.forget_tokens()?;
    }
    if ledger.fact(REINCARNATE).is_some() {
        ledger.set_fact(REINCARNATE, None)?;
    }
    let floor = store.last_seq().map_err(LedgerError::Store)?;
    Ok(Life {
        incarnation,
        fresh: continued.is_none(),
        why: (!why.is_empty()).then(|| why.join("; ")),
        index_kept,
        counters: ledger.reserve_above(floor)?,
        unclean_boot,
    })
}

/// Says why an opened store is not the one that the ledger knows, if it is not.
fn distrust(store: &Store, ledger: &Ledger) -> Result<Option<String>, LedgerError> {
    let last_seq = store.last_seq().map_err(LedgerError::Store)?;
    let id = store.id();
    if ledger.life().is_some_and(|(_, known)| known != id) {
        // A store that is still empty was made by a start that did not get as far as this.
        let what = "the index is not the one this device last used";
        return Ok((last_seq > 0).then(|| what.to_owned()));
    }
    match ledger.watermark() {
        Some((of, mark)) if of == id && mark > last_seq => {
            Ok(Some(format!("the index ends at {last_seq}, but {mark} was on the disk")))
        }
        _ => Ok(None),
    }
}

/// Names the run of the machine, where the system tells it, or by [`BOOT_ID`].
fn boot_id() -> Option<String> {
    let told = std::env::var(BOOT_ID).or_else(|_| std::fs::read_to_string(KERNEL_BOOT_ID));
    Some(told.ok()?.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Names the run of the machine where its kernel does not: in a virtual machine that is stopped
/// from outside and goes on, or in tests.
const BOOT_ID: &str = "SYNCD_BOOT_ID";

const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use syncd_core::flow::index::{Batch, Index};
    use syncd_core::model::FolderId;

    use super::super::sample::{self, path};
    use super::*;

    /// Starts as the daemon does.
    fn start(home: &Path, boot: Option<&str>) -> (Store, Ledger, Life) {
        let (ledger, ledger_opened) = Ledger::open(&home.join("ledger")).unwrap();
        let (store, opened) = Store::open(&home.join("index")).unwrap();
        let life = begin(&store, opened, &ledger, ledger_opened, boot).unwrap();
        (store, ledger, life)
    }

    /// Writes one file and acknowledges it.
    fn write(store: &Store, ledger: &Ledger, seq: u64) {
        let mut index = store.folder(&FolderId::parse("work").unwrap());
        let entry = sample::file(&seq.to_string(), seq);
        index.commit(Batch { puts: vec![(path("a"), entry)], ..Batch::default() }).unwrap();
        store.persist().unwrap();
        ledger.close_intents(&[], Some((store.id(), seq))).unwrap();
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for found in fs::read_dir(from).unwrap() {
            let found = found.unwrap();
            let to = to.join(found.file_name());
            if found.file_type().unwrap().is_dir() {
                copy(&found.path(), &to);
            } else {
                fs::copy(found.path(), to).unwrap();
            }
        }
    }

    #[test]
    fn a_life_goes_on_until_something_may_be_forgotten() {
        type Happening = fn(&Path);
        let broken: Happening = |home| fs::write(home.join("index/db"), [7; 5000]).unwrap();
        let rows: [(&str, Happening, bool, bool); 6] = [
            ("nothing happened", |_| {}, false, true),
            ("the ledger is gone", |h| fs::remove_file(h.join("ledger")).unwrap(), true, true),
            ("the ledger is damaged", |h| fs::write(h.join("ledger"), b"x").unwrap(), true, true),
            ("the index is gone", |h| fs::remove_dir_all(h.join("index")).unwrap(), true, false),
            ("the index is broken", broken, true, false),
            (
                "the index is an older one",
                |h| {
                    fs::remove_dir_all(h.join("index")).unwrap();
                    copy(&h.join("backup"), &h.join("index"));
                },
                true,
                false,
            ),
        ];
        for (because, happen, fresh, index_kept) in rows {
            let home = tempfile::tempdir().unwrap();
            let (store, ledger, first) = start(home.path(), Some("boot"));
            assert!(first.fresh && first.why.is_none(), "{because}: {first:?}");
            write(&store, &ledger, first.counters.start);
            drop(store);
            copy(&home.path().join("index"), &home.path().join("backup"));
            let (store, ledger, _) = start(home.path(), Some("boot"));
            let last = ledger.reserve().unwrap();
            write(&store, &ledger, last.start);
            drop((store, ledger));
            happen(home.path());
            let (store, ledger, next) = start(home.path(), Some("boot"));
            assert_eq!((next.fresh, next.index_kept), (fresh, index_kept), "{because}: {next:?}");
            assert_eq!(next.incarnation != first.incarnation, fresh, "{because}");
            assert_eq!(next.why.is_some(), fresh, "{because}");
            if index_kept {
                assert!(next.counters.start > store.last_seq().unwrap(), "{because}");
            } else {
                assert_eq!(store.last_seq().unwrap(), 0, "{because}: it is empty");
            }
            if !because.contains("ledger") {
                assert!(next.counters.start >= last.end, "{because}");
            }
            write(&store, &ledger, next.counters.start);
            drop((store, ledger));
            let (_, _, after) = start(home.path(), Some("boot"));
            assert!(!after.fresh, "{because}: and then it goes on: {after:?}");
            assert_eq!(after.incarnation, next.incarnation, "{because}");
        }
    }

    #[test]
    fn another_devices_index_is_not_ours() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for home in [&ours, &theirs] {
            let (store, ledger, life) = start(home.path(), None);
            write(&store, &ledger, life.counters.start);
        }
        fs::rename(ours.path().join("index"), ours.path().join("away")).unwrap();
        copy(&theirs.path().join("index"), &ours.path().join("index"));
        let (store, _, life) = start(ours.path(), None);
        assert!(life.fresh && !life.index_kept, "{life:?}");
        assert!(ours.path().join("index.broken-1").exists(), "theirs is not deleted either");
        assert_eq!(store.last_seq().unwrap(), 0);
    }

    #[test]
    fn only_another_boot_without_an_end_is_unclean() {
        for (before, clean, now, unclean, because) in [
            (Some("one"), false, Some("one"), false, "killed"),
            (Some("one"), true, Some("one"), false, "stopped"),
            (Some("one"), true, Some("two"), false, "stopped, then the machine"),
            (Some("one"), false, Some("two"), true, "the machine stopped first"),
            (None, false, None, true, "nobody can tell"),
            (None, true, None, false, "stopped, where nobody can tell more"),
        ] {
            let home = tempfile::tempdir().unwrap();
            let (_, ledger, first) = start(home.path(), before);
            assert!(!first.unclean_boot, "{because}: the first start ever");
            if clean {
                ledger.end_cleanly().unwrap();
            }
            drop(ledger);
            let next = start(home.path(), now).2;
            assert_eq!((next.unclean_boot, next.fresh), (unclean, unclean), "{because}");
            if now.is_some() {
                let (_, ledger, after) = start(home.path(), now);
                assert!(!after.unclean_boot, "{because}: killed once more");
                let kept = ledger.fact(SHAKEN).is_some();
                assert_eq!(kept, unclean, "{because}: a stop is not forgotten");
            }
            assert!(next.index_kept, "{because}: the index goes on");
        }
    }
}
