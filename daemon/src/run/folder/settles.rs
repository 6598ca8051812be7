//! The workers that settle batches of jobs and make the store durable, in the order of writes of
//! ARCHITECTURE.md: bytes, intents, swap, directories, index, intents closed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Receiver;

use rustix::fd::AsFd;
use syncd_core::engine::Event;
use syncd_core::flow::settle::{Becoming, Job, Placed, SettleError, Step, Ticket, Trouble};
use syncd_core::model::{ContentId, FolderId, RelPath, Seq, Standing};

use super::worker::Worker;
use super::{Folder, Note, Parts};
use crate::flow::index::{FolderIndex, Intent, IntentBatch, Ledger, Store};
use crate::world::disk::system;

/// Starts the worker that takes batches of jobs.
pub(super) fn start_settling(
    folder: Folder,
    parts: Parts,
    ledger: Ledger,
) -> std::io::Result<Worker<Vec<Job>>> {
    Worker::start(format!("settle {}", folder.id()), move |batches: Receiver<Vec<Job>>| {
        while let Ok(jobs) = batches.recv() {
            let (outcomes, batch) = settle(&folder, &parts, &ledger, &jobs);
            folder.note(Note::Settled(Event::Settled { outcomes }, batch));
        }
    })
}

type Outcomes = Vec<(Ticket, Result<Vec<Placed>, SettleError>)>;

fn settle(
    folder: &Folder,
    parts: &Parts,
    ledger: &Ledger,
    jobs: &[Job],
) -> (Outcomes, Option<IntentBatch>) {
    stage_again(parts, jobs);
    let (prepared, busy) = std::thread::scope(|scope| {
        // While the disk is waited for anyway.
        let asks = parts.hands.asks(jobs);
        let asked = asks.then(|| scope.spawn(|| parts.hands.open_elsewhere(jobs)));
        let prepared = prepare(folder, parts, ledger, jobs);
        // A question that ended badly told of nothing that is open.
        let busy = asked.and_then(|asked| asked.join().ok()).unwrap_or_default();
        (prepared, busy)
    });
    let (mut refused, batch) = prepared;
    busy.keys().for_each(|ticket| parts.hands.unready(*ticket));
    for (ticket, error) in busy {
        refused.entry(ticket).or_insert(error);
    }
    let taken = |job: &&Job| !refused.contains_key(&job.ticket);
    let taken: Vec<Job> = jobs.iter().filter(taken).cloned().collect();
    let mut outcomes = parts.hands.take(&taken);
    outcomes.extend(refused.into_iter().map(|(ticket, error)| (ticket, Err(error))));
    (outcomes, batch)
}

/// Makes the jobs' bytes ready and writes their intents; returns why some cannot be taken.
fn prepare(
    folder: &Folder,
    parts: &Parts,
    ledger: &Ledger,
    jobs: &[Job],
) -> (BTreeMap<Ticket, SettleError>, Option<IntentBatch>) {
    let ready = parts.hands.ready(jobs).into_iter();
    let mut refused: BTreeMap<Ticket, SettleError> =
        ready.filter_map(|(ticket, answer)| Some((ticket, answer.err()?))).collect();
    let is_ready = |job: &&Job| !refused.contains_key(&job.ticket);
    let intents = jobs.iter().filter(is_ready).flat_map(|job| intents_of(folder, job));
    match ledger.open_intents(&intents.collect::<Vec<_>>()) {
        Ok(batch) => (refused, Some(batch)),
        Err(error) => {
            // Nothing was changed on the users' paths: the jobs come again.
            tracing::error!(folder = %folder.id(), %error, "no intent could be written");
            for job in jobs {
                parts.hands.unready(job.ticket);
                let path = job.becomes.last().map(|becoming| becoming.path.clone());
                let path = path.unwrap_or_else(RelPath::root);
                refused.insert(job.ticket, SettleError::Trouble { path, trouble: Trouble::Disk });
            }
            (refused, None)
        }
    }
}

/// Stages anew what an earlier batch used up for another path with the same bytes.
fn stage_again(parts: &Parts, jobs: &[Job]) {
    for step in jobs.iter().flat_map(|job| &job.steps) {
        let (Step::Place { content, .. } | Step::KeepForOthers { content, .. }) = step else {
            continue;
        };
        // What is not found is not ready, and is fetched again.
        let _ = parts.stage_from_here(*content);
    }
}

fn intents_of(folder: &Folder, job: &Job) -> Vec<Intent> {
    let staged = job.steps.iter().find_map(|step| match step {
        Step::Place { content, .. } => Some(*content),
        Step::KeepAs { .. }
        | Step::Dress { .. }
        | Step::KeepForOthers { .. }
        | Step::MakeDirectory { .. }
        | Step::Trash { .. }
        | Step::RemoveDirectory { .. } => None,
    });
    job.becomes
        .iter()
        .map(|Becoming { path, record, stamp }| Intent {
            folder: folder.id().clone(),
            job: job.ticket.0,
            path: path.clone(),
            record: record.clone(),
            staged: staged.filter(|c| *c == record.content && *c != ContentId::NONE),
            stamp: *stamp,
        })
        .collect()
}

/// An order to make the store durable.
pub(super) struct PersistOrder {
    /// Repeated in the answer.
    pub(super) seq: Seq,
    /// Intents whose records are in the index by now.
    pub(super) done: Vec<IntentBatch>,
}

/// Starts the worker that makes the store durable.
pub(super) fn start_persisting(
    folder: Folder,
    store: Store,
    ledger: Ledger,
) -> std::io::Result<Worker<PersistOrder>> {
    Worker::start(format!("persist {}", folder.id()), move |orders: Receiver<PersistOrder>| {
        while let Ok(order) = orders.recv() {
            if let Err(error) = store.persist() {
                // What is not durable is not told: the folder stops here, the disk is failing.
                tracing::error!(folder = %folder.id(), %error, "the index cannot be made durable");
                folder.with_standing(|s| {
                    s.halted = Some(format!("the index cannot be kept: {error}"))
                });
                return;
            }
            if !order.done.is_empty() {
                let mark = Some((store.id(), order.seq));
                if let Err(error) = ledger.close_intents(&order.done, mark) {
                    tracing::error!(folder = %folder.id(), %error, "intents cannot be closed");
                }
            }
            folder.note(Note::Event(Event::Persisted { seq: order.seq }));
        }
    })
}

/// Ends old versions in the trash, and kept contents that nobody wants any more.
pub(super) fn prune(folder: &FolderId, parts: &Parts) {
    if let Err(error) = parts.hands.prune(crate::run::now_unix_ms()) {
        tracing::warn!(%folder, %error, "old versions were not pruned");
    }
    if let Err(error) = parts.hands.sweep_staging(crate::run::now_unix_ms()) {
        tracing::warn!(%folder, %error, "what nobody placed was not swept");
    }
    if let Err(error) = parts.hands.sweep_kept(|| unsupported(&parts.index)) {
        tracing::warn!(%folder, %error, "what is kept for others was not swept");
    }
}

/// Lists the contents of paths that this disk cannot hold; `None` when the index cannot tell.
fn unsupported(index: &FolderIndex) -> Option<BTreeSet<ContentId>> {
    let mut found = BTreeSet::new();
    let walked = index.walk(&RelPath::root(), &mut |_, entry| {
        if entry.local.standing == Standing::Unsupported && entry.record.is_live() {
            found.insert(entry.record.content);
        }
        true
    });
    walked.ok().map(|_| found)
}

/// Starts the worker that makes users' bytes durable, all of the root's disk at once.
pub(super) fn start_syncing(folder: Folder, parts: Parts) -> std::io::Result<Worker<Seq>> {
    Worker::start(format!("sync {}", folder.id()), move |orders: Receiver<Seq>| {
        if !system::can_sync_file_systems() {
            // What is not known to be durable is looked at again after a power loss.
            tracing::info!(folder = %folder.id(), "this system does not allow syncfs");
        }
        while let Ok(seq) = orders.recv() {
            if !system::can_sync_file_systems() {
                continue;
            }
            let root = parts.root.open_dir(&RelPath::root());
            match root.map(|fd| system::sync_file_system(fd.as_fd())) {
                Ok(Ok(())) => folder.note(Note::BytesDurable(seq)),
                // Nothing is taken for durable; the next order tries again.
                Ok(Err(error)) => {
                    tracing::warn!(folder = %folder.id(), %error, "bytes were not made durable");
                }
                Err(error) => {
                    tracing::warn!(folder = %folder.id(), %error, "bytes were not made durable");
                }
            }
        }
    })
}
