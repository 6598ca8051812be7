//! Making what sled wrote survive a power loss.
//!
//! sled's own `flush` ends with `sync_file_range`, which writes neither the file's size nor the
//! disk's cache. What sled writes while it runs is its file `db` and, for nodes over a fourth of
//! a segment, files in `blobs/` that it never syncs; snapshots and `conf` are written only while
//! it opens.
//!
//! `fdatasync` of these files was measured against `syncfs` of the home, each after small
//! changes: 0.3 ms either way on an idle disk; while another process wrote gigabytes, `fdatasync`
//! took 5 ms at worst, `syncfs` 485 ms, because it waits for that process's pages too.
//!
//! # Invariants
//! - After [`Durable::sync`], all that sled had flushed before is on the disk.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::world::spare;

/// How often it is tried again while there is no descriptor.
const DESCRIPTOR_WAIT: Duration = Duration::from_millis(100);

/// How long. Then the daemon begins anew, and with it all that it holds open.
const DESCRIPTOR_WAIT_MAX: Duration = Duration::from_secs(60);

/// The files of one open store that must reach the disk.
#[derive(Debug)]
pub(super) struct Durable {
    dir: PathBuf,
    db: File,
    /// Names in `blobs/` that are on the disk already; sled writes each of them once.
    blobs: Mutex<BTreeSet<OsString>>,
}

impl Durable {
    /// Opens the files of the store that sled has just opened at `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let db = File::open(dir.join("db"))?;
        Ok(Self { dir: dir.to_owned(), db, blobs: Mutex::default() })
    }

    /// Syncs what sled writes while it runs. Waits for a descriptor while there is none: nothing
    /// has failed to be written.
    pub(super) fn sync(&self) -> io::Result<()> {
        let until = Instant::now() + DESCRIPTOR_WAIT_MAX;
        loop {
            spare::make_room();
            match self.sync_blobs() {
                Err(error) if spare::has_none(&error) && Instant::now() < until => {
                    std::thread::sleep(DESCRIPTOR_WAIT);
                }
                synced => break synced?,
            }
        }
        self.db.sync_data()
    }

    /// Syncs every file of the store and the names of them: after it was made or opened.
    pub(super) fn sync_all_files(&self) -> io::Result<()> {
        for found in fs::read_dir(&self.dir)? {
            let found = found?;
            if found.file_type()?.is_file() {
                File::open(found.path())?.sync_all()?;
            }
        }
        self.sync_blobs()?;
        File::open(&self.dir)?.sync_all()?;
        match self.dir.parent() {
            Some(home) if !home.as_os_str().is_empty() => File::open(home)?.sync_all(),
            _ => Ok(()),
        }
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let dir = self.dir.join("blobs");
        let mut known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeSet::new();
        let mut any_new = false;
        for found in fs::read_dir(&dir)? {
            let found = found?;
            let name = found.file_name();
            if !known.contains(&name) {
                match File::open(found.path()).and_then(|blob| blob.sync_all()) {
                    Ok(()) => any_new = true,
                    // sled has removed it again: nothing points to it any more.
                    Err(gone) if gone.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            now.insert(name);
        }
        if any_new {
            File::open(&dir)?.sync_all()?;
        }
        *known = now;
        Ok(())
    }
}
