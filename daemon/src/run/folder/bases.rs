//! The worker that keeps bases: it follows the folder's log, at leisure, and keeps the small texts
//! that another device holds too.

use std::sync::mpsc::Receiver;

use syncd_core::flow::index::{Index, IndexError, Known};
use syncd_core::model::{Kind, Seq};

use super::worker::Worker;
use super::{Folder, Parts};
use crate::flow::settle::BASE_BYTES_MAX;

/// Changes looked at in one go.
const CHANGES_MAX: usize = 1024;

/// Starts the worker; it looks once for all orders that wait.
pub(super) fn start(folder: Folder, parts: Parts) -> std::io::Result<Worker<()>> {
    Worker::start(format!("bases {}", folder.id()), move |orders: Receiver<()>| {
        let mut done = parts.hands.bases_upto();
        while orders.recv().is_ok() {
            while orders.try_recv().is_ok() {}
            // The folder's own thread finds out what is wrong with the index.
            let Ok(after) = follow(&parts, done) else { return };
            if after != done {
                done = after;
                if let Err(errno) = parts.hands.set_bases_upto(done) {
                    tracing::debug!(folder = %folder.id(), %errno, "bases are looked at again");
                }
            }
        }
    })
}

/// Keeps bases of what changed after `done` and is held by another device too; returns up to where
/// nothing is left to look at again.
fn follow(parts: &Parts, mut done: Seq) -> Result<Seq, IndexError> {
    let marks = parts.index.marks()?;
    let acked = marks.acked.values().copied().max().unwrap_or(0);
    // A log that begins anew is followed from its beginning.
    if parts.index.last_seq()? < done {
        done = 0;
    }
    let mut all_before = true;
    for (seq, path) in parts.index.changes(done, CHANGES_MAX)? {
        let Some(entry) = parts.index.get(&path)? else { continue };
        let record = &entry.record;
        let is_agreed = entry.local.source.is_some() || seq <= acked;
        let is_wanted = record.kind == Kind::File
            && (1..=BASE_BYTES_MAX).contains(&record.size)
            && entry.local.is_here();
        if !is_wanted || is_agreed {
            if is_wanted && let Err(errno) = parts.hands.keep_base(&path, seq, record.content) {
                tracing::debug!(%path, %errno, "no base was kept");
            }
            if all_before {
                done = seq;
            }
        } else {
            all_before = false;
        }
    }
    Ok(done)
}
