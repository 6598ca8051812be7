//! Opening the store, or moving a broken one out of the way.
//!
//! # Invariants
//! - A store that does not open is renamed to `index.broken-<n>`, never deleted.
//! - A store of a newer format is neither opened nor renamed: an older program must not cost the
//!   user an index.
//! - Trouble that a person can mend (a full disk, missing permission, too many open files, another
//!   daemon) leaves the store where it is.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::{Fault, guarded};
use super::trees::{Reading, Trees};

/// The format of the store as a whole that this program writes: which trees there are and how
/// their keys look.
pub(super) const STORE_VERSION: u32 = 1;

/// sled's page cache. It may hold several times as much for a moment.
const CACHE_BYTES: u64 = 32 << 20;

/// What sled writes to its file at a time. Values of a sixteenth of a fourth of it stay in that
/// file; greater ones would go into files of their own, which sled never syncs.
const SEGMENT_BYTES: usize = 2 << 20;

/// The file that says which format the store has, readable without opening it.
const VERSION_FILE: &str = "format";

/// The file that says that the store must be moved aside on the next start, and why.
const CONDEMNED_FILE: &str = "condemned";

/// How a store came to be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It was there.
    Existing,
    /// There was none.
    New,
    /// There was one that does not open; it lies at `to` and this one is new.
    MovedAside {
        /// Where it lies now.
        to: PathBuf,
        /// Why it was moved.
        why: String,
    },
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer version of the program made the store. Run that one; nothing was changed.
    #[error(
        "the index at {dir} was written by a newer syncd (format {found}, this one knows \
         {STORE_VERSION}); nothing was changed, start the newer one"
    )]
    Newer {
        /// Where it lies.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Another process has it open. Stop that one.
    #[error("the index at {0} is in use by another process")]
    Locked(PathBuf),
    /// The system refused, for a reason that can be mended. Nothing was moved.
    #[error("the index at {dir} cannot be used now")]
    Unavailable {
        /// Where it lies.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A sandbox refuses a call that sled cannot do without, where one that did not know it would
    /// be fine. Allow it.
    #[error(
        "the index at {dir} cannot be made durable here: a sandbox refuses the system call \
         sync_file_range; allow it for syncd"
    )]
    CallRefused {
        /// Where it lies.
        dir: PathBuf,
    },
    /// A broken store could not be moved out of the way. Move it by hand.
    #[error("the broken index at {dir} cannot be moved aside")]
    Stuck {
        /// Where it lies.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store failed while it was used. Moved aside on the next start if it is to blame.
    #[error("the index store failed: {0}")]
    Failed(String),
    /// What was committed may not survive a power loss: nothing may be acknowledged.
    #[error("the index could not be made durable")]
    NotDurable(#[source] io::Error),
    /// The system gave no random bytes for the store's id.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.text())
    }
}

/// Why a store did not open: ours to move aside, or somebody else's to mend.
enum Refusal {
    Broken(String),
    Mend(StoreError),
}

/// Opens the store at `dir`, making it if there is none and moving it aside if it is broken.
pub(super) fn open(dir: &Path) -> Result<(Trees, Opened), StoreError> {
    let why = match refuse_condemned(dir).and_then(|()| open_once(dir)) {
        Ok(opened) => return Ok(opened),
        Err(Refusal::Mend(error)) => return Err(error),
        Err(Refusal::Broken(why)) => why,
    };
    let to = move_aside(dir)?;
    match open_once(dir) {
        Ok((trees, _)) => Ok((trees, Opened::MovedAside { to, why })),
        Err(Refusal::Mend(error)) => Err(error),
        Err(Refusal::Broken(why)) => Err(StoreError::Failed(why)),
    }
}

/// Notes that the store at `dir` is to be moved aside on the next start. Best effort: on a disk
/// that takes no more writes, the next start finds out by itself.
pub(super) fn condemn(dir: &Path, why: &str) {
    let noted = File::create(dir.join(CONDEMNED_FILE))
        .and_then(|mut file| file.write_all(why.as_bytes()).and_then(|()| file.sync_all()));
    drop(noted);
}

/// Renames `dir` to the first free `<dir>.broken-<n>`.
pub(super) fn move_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stuck = |source| StoreError::Stuck { dir: dir.to_owned(), source };
    let to = (1..)
        .map(|n| dir.with_file_name(format!("{name}.broken-{n}")))
        .find(|to| to.symlink_metadata().is_err())
        .ok_or_else(|| stuck(ErrorKind::AlreadyExists.into()))?;
    fs::rename(dir, &to).map_err(stuck)?;
    if let Some(home) = dir.parent() {
        File::open(home).and_then(|home| home.sync_all()).map_err(stuck)?;
    }
    Ok(to)
}

fn refuse_condemned(dir: &Path) -> Result<(), Refusal> {
    match fs::read(dir.join(CONDEMNED_FILE)) {
        Ok(why) => Err(Refusal::Broken(String::from_utf8_lossy(&why).into_owned())),
        Err(_) => Ok(()),
    }
}

/// How often, and how long apart, another process's lock is tried again: one that was just
/// killed needs a moment to end.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(50);

fn open_once(dir: &Path) -> Result<(Trees, Opened), Refusal> {
    if let Ok(text) = fs::read_to_string(dir.join(VERSION_FILE))
        && let Ok(found) = text.trim().parse::<u32>()
        && found > STORE_VERSION
    {
        return Err(Refusal::Mend(StoreError::Newer { dir: dir.to_owned(), found }));
    }
    let refused = |source| refusal_of_io(dir, source);
    fs::create_dir_all(dir).map_err(refused)?;
    drop_unfinished_snapshots(dir).map_err(refused)?;
    // A store that had begun, be it that nothing of it can be read any more.
    let had_begun = dir.join(VERSION_FILE).exists()
        && fs::metadata(dir.join("db")).is_ok_and(|log| log.len() > 0);
    let trees = match read_patiently(dir)? {
        Reading::Whole(trees) => {
            guarded(|| trees.try_write()).map_err(|fault| refusal_of_write(dir, fault))?;
            // sled has just renamed a snapshot and may now write over what the last one needs.
            trees.durable.sync_all_files().map_err(refused)?;
            return Ok((*trees, Opened::Existing));
        }
        Reading::Newer(found) => {
            return Err(Refusal::Mend(StoreError::Newer { dir: dir.to_owned(), found }));
        }
        Reading::Headless => {
            return Err(Refusal::Broken("it holds pages but no id".to_owned()));
        }
        Reading::Blank(_) if had_begun => {
            return Err(Refusal::Broken("nothing in it can be read".to_owned()));
        }
        Reading::Blank(trees) => *trees,
    };
    File::create(dir.join(VERSION_FILE))
        .and_then(|mut file| {
            file.write_all(format!("{STORE_VERSION}\n").as_bytes())?;
            file.sync_all()
        })
        .map_err(refused)?;
    let id = getrandom::u64().map_err(|_| Refusal::Mend(StoreError::NoRandom))?;
    let trees = guarded(|| trees.begin(id)).map_err(|fault| refusal_of_write(dir, fault))?;
    trees.durable.sync_all_files().map_err(refused)?;
    Ok((trees, Opened::New))
}

/// Lets sled open the store, waiting a second for a lock.
fn read_patiently(dir: &Path) -> Result<Reading, Refusal> {
    let mut tries = 0;
    loop {
        tries += 1;
        let read = guarded(|| {
            let config = sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .segment_size(SEGMENT_BYTES);
            Trees::read(config.open()?, dir)
        });
        match read.map_err(|fault| refusal_of_fault(dir, fault)) {
            Err(Refusal::Mend(StoreError::Locked(_))) if tries < LOCK_TRIES => {
                std::thread::sleep(LOCK_WAIT);
            }
            other => return other,
        }
    }
}

/// Removes what sled leaves when it is killed while it writes a snapshot. It would take the
/// torn file for the newest snapshot and refuse to open; the one before is whole.
fn drop_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for found in fs::read_dir(dir)? {
        let path = found?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Names what the first write to a store that is open met.
fn refusal_of_write(dir: &Path, fault: Fault) -> Refusal {
    // The file is open for writing: it is the sync that is not permitted.
    if let Fault::Sled(sled::Error::Io(source)) = &fault
        && source.kind() == ErrorKind::PermissionDenied
    {
        return Refusal::Mend(StoreError::CallRefused { dir: dir.to_owned() });
    }
    refusal_of_fault(dir, fault)
}

fn refusal_of_fault(dir: &Path, fault: Fault) -> Refusal {
    match fault {
        Fault::Sled(sled::Error::Io(source)) => {
            if source.to_string().contains("could not acquire lock") {
                return Refusal::Mend(StoreError::Locked(dir.to_owned()));
            }
            refusal_of_io(dir, source)
        }
        Fault::Sled(sled::Error::Unsupported(why)) if why.contains("pagecache version") => {
            Refusal::Mend(StoreError::Failed(why))
        }
        Fault::Newer(found) => {
            Refusal::Mend(StoreError::Newer { dir: dir.to_owned(), found: found.into() })
        }
        other @ (Fault::Sled(_)
        | Fault::Panic(_)
        | Fault::Damaged { .. }
        | Fault::Closed
        | Fault::Unlawful { .. }) => Refusal::Broken(other.text()),
    }
}

fn refusal_of_io(dir: &Path, source: io::Error) -> Refusal {
    let mendable_errno = rustix::io::Errno::from_io_error(&source)
        .is_some_and(|errno| matches!(errno, rustix::io::Errno::MFILE | rustix::io::Errno::NFILE));
    let mendable = [
        ErrorKind::PermissionDenied,
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::OutOfMemory,
    ];
    if mendable_errno || mendable.contains(&source.kind()) {
        Refusal::Mend(StoreError::Unavailable { dir: dir.to_owned(), source })
    } else {
        Refusal::Broken(source.to_string())
    }
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::index::{Index, Known};
    use syncd_core::model::FolderId;

    use super::super::Store;
    use super::super::sample::{self, Dice, path, puts};
    use super::*;

    fn folder() -> FolderId {
        FolderId::parse("work").unwrap()
    }

    /// Makes a store with a few hundred files.
    fn make(dir: &Path) -> Store {
        let (store, opened) = Store::open(dir).unwrap();
        assert_eq!(opened, Opened::New);
        let files = (1..400).map(|n| (path(format!("d/{n}")), sample::file("x", n))).collect();
        store.folder(&folder()).commit(puts(files)).unwrap();
        store.persist().unwrap();
        store
    }

    #[test]
    fn a_store_is_made_once_and_has_one_id() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        let id = make(&dir).id();
        let (store, opened) = Store::open(&dir).unwrap();
        assert_eq!((store.id(), opened), (id, Opened::Existing));
        assert_eq!(store.last_seq().unwrap(), 399);
    }

    #[test]
    fn a_store_that_does_not_open_is_moved_aside_whole() {
        type Harm = fn(&Path);
        let rows: [(&str, Harm); 5] = [
            ("garbage for a log", |dir| fs::write(dir.join("db"), vec![7; 9000]).unwrap()),
            ("no configuration that makes sense", |dir| {
                fs::write(dir.join("conf"), b"segment_size: many").unwrap();
            }),
            ("condemned while it was used", |dir| condemn(dir, "a page was damaged")),
            ("a file where the directory was", |dir| {
                fs::remove_dir_all(dir).unwrap();
                fs::write(dir, b"?").unwrap();
            }),
            ("its snapshot is torn", |dir| {
                let names = fs::read_dir(dir).unwrap().map(|found| found.unwrap().path());
                for path in names.filter(|path| path.to_string_lossy().contains("snap.")) {
                    fs::write(path, b"torn").unwrap();
                }
            }),
        ];
        for (because, harm) in rows {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("index");
            let id = make(&dir).id();
            drop(Store::open(&dir).unwrap());
            harm(&dir);
            let (store, opened) = Store::open(&dir).unwrap();
            let aside = home.path().join("index.broken-1");
            assert!(
                matches!(&opened, Opened::MovedAside { to, .. } if *to == aside),
                "{because}: {opened:?}"
            );
            assert!(aside.exists(), "{because}");
            assert_ne!(store.id(), id, "{because}");
            assert_eq!(store.last_seq().unwrap(), 0, "{because}");
        }
    }

    #[test]
    fn a_snapshot_that_was_not_finished_costs_nothing() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        drop(make(&dir));
        fs::write(dir.join("snap.00000000FFFFFFFF.generating"), b"to").unwrap();
        let (store, opened) = Store::open(&dir).unwrap();
        assert_eq!((opened, store.last_seq().unwrap()), (Opened::Existing, 399));
    }

    #[test]
    fn what_others_must_mend_is_left_where_it_is() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        let store = make(&dir);
        let refused = Store::open(&dir).unwrap_err();
        assert!(matches!(refused, StoreError::Locked(_)), "{refused}");
        drop(store);
        fs::write(dir.join("format"), "2\n").unwrap();
        let before = fs::read(dir.join("db")).unwrap();
        let refused = Store::open(&dir).unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found: 2, .. }), "{refused}");
        assert_eq!(fs::read(dir.join("db")).unwrap(), before);
        fs::remove_file(dir.join("format")).unwrap();
        assert_eq!(Store::open(&dir).unwrap().1, Opened::Existing);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing was moved");
    }

    #[test]
    fn a_log_cut_or_changed_anywhere_never_ends_the_program() {
        let home = tempfile::tempdir().unwrap();
        let whole = home.path().join("whole");
        drop(make(&whole));
        let log = fs::read(whole.join("db")).unwrap();
        let used = log.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let mut dice = Dice::new(1);
        for round in 0..24 {
            let dir = home.path().join(format!("index-{round}"));
            fs::create_dir_all(dir.join("blobs")).unwrap();
            fs::copy(whole.join("conf"), dir.join("conf")).unwrap();
            let mut log = log.clone();
            let at = dice.below(used) as usize;
            if round % 2 == 0 {
                log.truncate(at);
            } else {
                log[at] ^= 1 << dice.below(8);
            }
            fs::write(dir.join("db"), log).unwrap();
            let (store, opened) = Store::open(&dir).unwrap();
            let index = store.folder(&folder());
            let children = index.children(&path("d")).map(|children| children.len());
            // All, or nothing because it is new, or an error that condemns it: never some.
            assert!(
                matches!(children, Ok(0 | 399) | Err(_)),
                "{round} at {at}: {opened:?} {children:?}"
            );
            if children.is_err() {
                drop((index, store));
                let (_, opened) = Store::open(&dir).unwrap();
                assert!(matches!(opened, Opened::MovedAside { .. }), "{round} at {at}");
            }
        }
    }
}
