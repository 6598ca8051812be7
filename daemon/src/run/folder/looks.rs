//! The worker that looks: it scans what it is told to and sends what it saw.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rustix::fd::AsFd;
use syncd_core::engine::{Event, LookId};
use syncd_core::flow::detect::{Look, Seen};
use syncd_core::flow::digest::BlockList;
use syncd_core::flow::index::IndexError;
use syncd_core::model::ContentId;

use super::rules::FolderScope;
use super::worker::Worker;
use super::{Folder, Note, Parts};
use crate::flow::detect::{Links, LookReport, Scanner, Sink};
use crate::flow::digest::{COARSE_WINDOW_NS, window_ns};
use crate::flow::index::Store;

/// An order to look.
pub(super) struct LookOrder {
    /// Repeated in the answers.
    pub(super) look: LookId,
    /// Where.
    pub(super) what: Vec<Look>,
}

/// Starts the worker.
pub(super) fn start(
    folder: Folder,
    parts: Parts,
    store: Store,
) -> std::io::Result<Worker<LookOrder>> {
    let name = format!("look {}", folder.id());
    Worker::start(name, move |orders| work(&folder, &parts, &store, &orders))
}

fn work(folder: &Folder, parts: &Parts, store: &Store, orders: &Receiver<LookOrder>) {
    // Tried out in the folder's own directory, where no user sees it.
    let window_ns = match parts.root.open_dir(parts.root.own()) {
        Ok(own) => window_ns(own.as_fd()),
        Err(_) => COARSE_WINDOW_NS,
    };
    let links = Links::default();
    let mut has_failed = false;
    while let Ok(order) = orders.recv() {
        let (report, failed) = look(folder, parts, store, &order, window_ns, &links);
        if let Some(error) = &failed
            && !has_failed
        {
            tracing::error!(folder = %folder.id(), %error, "the index cannot be read");
        }
        has_failed = failed.is_some();
        folder.note(Note::Looked(order.look, report));
    }
}

/// Looks as it is ordered; with the error that broke it off if the index failed.
fn look(
    folder: &Folder,
    parts: &Parts,
    store: &Store,
    order: &LookOrder,
    window_ns: i64,
    links: &Links,
) -> (LookReport, Option<IndexError>) {
    let mut whole = LookReport { complete: true, ..LookReport::default() };
    if parts.root.is_in_place().is_err() {
        return (LookReport { broken_off: true, complete: false, ..whole }, None);
    }
    let scope: &Arc<FolderScope> = &parts.scope;
    let (root, known) = (&parts.root, &parts.index);
    let unclosed = parts.hands.unclosed();
    let scanner = Scanner { root, known, scope: &**scope, window_ns, links, unclosed };
    let mut teller = Teller { folder, store, look: order.look };
    let mut failed = None;
    for what in &order.what {
        match scanner.look(what, &mut teller) {
            Ok(report) => join(&mut whole, report),
            // It would fail for the others as well.
            Err(error) => {
                whole.broken_off = true;
                failed = Some(error);
                break;
            }
        }
    }
    // The root may have been unmounted under the look: then nothing is gone.
    whole.broken_off |= parts.root.is_in_place().is_err();
    (whole, failed)
}

fn join(whole: &mut LookReport, part: LookReport) {
    whole.complete &= part.complete;
    whole.broken_off |= part.broken_off;
    whole.problems.extend(part.problems);
    whole.unsupported.extend(part.unsupported);
    whole.again.extend(part.again);
    whole.unclosed.extend(part.unclosed);
    whole.starved.extend(part.starved);
    whole.costly.extend(part.costly);
    whole.covered.extend(part.covered);
    whole.names += part.names;
    whole.hashed_bytes += part.hashed_bytes;
}

/// Hands on what a look sees.
struct Teller<'a> {
    folder: &'a Folder,
    store: &'a Store,
    look: LookId,
}

impl Sink for Teller<'_> {
    fn seen(&mut self, seen: Seen) {
        self.folder.note(Note::Event(Event::Seen { look: self.look, seen }));
    }

    fn blocks(&mut self, content: ContentId, blocks: BlockList) {
        // A lost list is cut again when somebody asks for it.
        if let Err(error) = self.store.put_blocks(content, &blocks) {
            tracing::warn!(folder = %self.folder.id(), %error, "a block list was not kept");
        }
    }

    fn average_of(&self, content: ContentId) -> Option<u32> {
        self.store.blocks(content).ok().flatten().map(|list| list.average_bytes)
    }
}
