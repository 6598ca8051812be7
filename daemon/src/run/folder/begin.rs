//! Beginning a folder: its root is recognised, what a crash left is put in order, the engine
//! and the workers start.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use syncd_api::sentence;
use syncd_core::engine::{Engine, EngineConfig, Event, Intended, There};
use syncd_core::flow::plan::conflict;
use syncd_core::flow::settle::Becoming;
use syncd_core::model::{ContentId, DeviceId, Kind, RelPath, Writer};
use syncd_home::{FolderConfig, Topology};

use super::thread::ruling::rules_fact;
use super::thread::{FolderThread, Workers};
use super::{Folder, FolderScope, Note, Parts, bases, join, looks, settings, settles, stops};
use crate::flow::detect::Watcher;
use crate::flow::index::{Intent, Ledger, RootToken, Store};
use crate::flow::settle::{Hands, OPEN_WAIT, SettleOptions};
use crate::run::{Daemon, Happening};
use crate::world::disk::{self, DiskError, Root, RootProblem, Single};

/// How often a root that is not there is looked for.
const ROOT_WAIT: Duration = Duration::from_secs(3);

/// More files than this, and more than half of all, are not deleted for another device before a
/// person has said so.
const BRAKE_FILES: usize = 1_000;

/// Why a folder cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Halt(String);

impl Halt {
    /// Says what could not be done, and all that led to it.
    fn of(what: &str, error: &dyn std::error::Error) -> Self {
        Self(format!("{what}: {}", sentence(error)))
    }
}

/// Starts a folder's thread. It waits for its root if that is not there.
///
/// # Errors
/// When no thread can be started.
pub fn begin(daemon: &Arc<Daemon>, config: FolderConfig) -> std::io::Result<Folder> {
    let (sender, notes) = channel();
    let folder = Folder::new(config, sender);
    let (daemon, ours) = (Arc::clone(daemon), folder.clone());
    let thread = std::thread::Builder::new()
        .name(format!("folder {}", folder.id()))
        .spawn(move || live(&daemon, &ours, &notes))?;
    folder.set_thread(thread);
    Ok(folder)
}

/// Lives until told to stop: with its root, or waiting for it.
fn live(daemon: &Arc<Daemon>, folder: &Folder, notes: &Receiver<Note>) {
    loop {
        match open(daemon, folder) {
            Ok(mut thread) => {
                folder.with_standing(|s| s.halted = None);
                daemon.tell(Happening::folder(
                    folder.id(),
                    "folder-started",
                    "the folder is ready",
                ));
                daemon.folder_ready(folder);
                let ended = thread.run(notes);
                folder.set_parts(None);
                daemon.folder_unready(folder);
                if ended {
                    return;
                }
            }
            Err(halt) => halted(daemon, folder, &halt),
        }
        if !wait(notes) {
            return;
        }
    }
}

fn halted(daemon: &Daemon, folder: &Folder, halt: &Halt) {
    let why = halt.to_string();
    let news = folder.with_standing(|s| s.halted.replace(why.clone()) != Some(why.clone()));
    if news {
        tracing::warn!(folder = %folder.id(), why, "the folder is halted");
        daemon.tell(Happening::folder(folder.id(), "folder-halted", &why));
    }
}

/// Waits a while, dropping what is asked; `false` when the folder is to end.
fn wait(notes: &Receiver<Note>) -> bool {
    let until = std::time::Instant::now() + ROOT_WAIT;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match notes.recv_timeout(left) {
            Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
}

fn open(daemon: &Arc<Daemon>, folder: &Folder) -> Result<FolderThread, Halt> {
    let config = folder.config();
    let root = open_root(&config)?;
    recognise(&root, folder, &daemon.ledger)?;
    if let Err(error) = root.sign(&daemon.owner()) {
        tracing::warn!(folder = %folder.id(), %error, "the root does not say whose it is");
    }
    let hands = hands_on(daemon, &root, &config)?;
    let recovered = hands
        .recover(crate::run::now_unix_ms())
        .map_err(|error| Halt::of("what an earlier run left cannot be put in order", &error))?;
    let index = daemon.store.folder(folder.id());
    let confirmed = daemon.ledger.fact(&rules_fact(folder.id()));
    let confirmed = confirmed.and_then(|bytes| super::confirm::decode(&bytes));
    let scope = Arc::new(FolderScope::new(root.clone(), daemon.me, confirmed));
    let parts = Parts { root, hands, index, scope };
    folder.set_parts(Some(parts.clone()));
    let engine = engine_of(daemon, folder, &parts)?;
    let workers = workers_of(daemon, folder, &parts)?;
    let mut thread = FolderThread::new(Arc::clone(daemon), folder.clone(), parts, engine, workers);
    thread.take_settings();
    thread.read_rules();
    let (unfinished, batches) = daemon.take_unfinished(folder.id());
    if !unfinished.is_empty() {
        let paths = unfinished.len();
        tracing::info!(folder = %folder.id(), paths, "work was cut short and is put in order");
    }
    for event in intended(unfinished, thread.parts()) {
        thread.tell(event);
    }
    thread.close_when_durable(batches);
    let moved = recovered.copies.into_iter().flat_map(|(path, copy)| [path, copy]);
    thread.look_at(recovered.restored.into_iter().chain(moved));
    thread.pause(config.paused);
    Ok(thread)
}

/// Returns the names of a folder that is one single file, as what lies at its path tells.
pub(super) fn single_at(config: &FolderConfig) -> Option<Single> {
    let path: &Path = &config.path;
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
    // A single file that is not here yet, or was deleted: its own place beside it tells.
    let own = path.parent()?.join(disk::OWN_NAME).join(config.id.as_str());
    let is_single = is_file || !path.exists() && own.is_dir();
    Single::new(path.file_name().filter(|_| is_single)?.as_bytes())
}

fn open_root(config: &FolderConfig) -> Result<Root, Halt> {
    let opened = match (single_at(config), config.path.parent()) {
        (Some(single), Some(dir)) => Root::open_single(dir, single.here(), &config.id),
        _ => Root::open(&config.path),
    };
    opened.map_err(|error| match error {
        DiskError::Missing { .. } => Halt(RootProblem::Missing.to_string()),
        DiskError::NoWay { .. } => Halt(RootProblem::NotADirectory.to_string()),
        DiskError::OtherKind { .. }
        | DiskError::OtherDevice { .. }
        | DiskError::Foreign { .. }
        | DiskError::Refused { .. } => Halt::of("the folder's root cannot be used", &error),
    })
}

/// Makes sure that the root is the one of the last run, or takes it for the first time.
fn recognise(root: &Root, folder: &Folder, ledger: &Ledger) -> Result<(), Halt> {
    let remembered = ledger
        .root(folder.id())
        .map(|known| disk::RootToken { token: known.token, inode: known.inode });
    root.attest(remembered.as_ref()).map_err(|problem| Halt(sentence(&problem)))?;
    let token = root
        .prepare(folder.id())
        .map_err(|error| Halt::of("'.syncd' cannot be made in the root", &error))?;
    let token = RootToken { token: token.token, inode: token.inode };
    if ledger.root(folder.id()) != Some(token) {
        ledger
            .set_root(folder.id(), Some(token))
            .map_err(|error| Halt::of("the root cannot be remembered", &error))?;
    }
    Ok(())
}

fn hands_on(daemon: &Daemon, root: &Root, config: &FolderConfig) -> Result<Hands, Halt> {
    let me: DeviceId = daemon.me;
    let options = SettleOptions {
        name_copy: Arc::new(move |path: &RelPath, mtime_ns| {
            conflict::copy_path_of(path, mtime_ns, me)
        }),
        limits: config.limits.within(&daemon.config().limits),
        in_place: settings::in_place_of(root, config).map_err(Halt)?,
        open_wait: OPEN_WAIT,
    };
    Hands::new(root.clone(), options).map_err(|error| Halt::of("'.syncd' cannot be used", &error))
}

fn engine_of(daemon: &Daemon, folder: &Folder, parts: &Parts) -> Result<Engine, Halt> {
    let counters = daemon
        .ledger
        .reserve()
        .map_err(|error| Halt::of("no counters could be reserved", &error))?;
    let config = EngineConfig {
        me: Writer { device: daemon.me, incarnation: daemon.incarnation_in(folder.id()) },
        store: daemon.store.id(),
        counters,
        shared: folder.config().devices.into_iter().collect(),
        rule_files: RelPath::parse(".stignore").into_iter().collect(),
        shaken: stops::is_shaken(&daemon.ledger, folder.id()),
        brake_files: brake_of(&daemon.config().topology),
        taken_from: join::taken_from(&daemon.ledger, folder.id()),
    };
    Engine::new(config, &parts.index).map_err(|error| Halt::of("the index cannot be read", &error))
}

/// Returns how many files another device may delete at once unasked; `None` where this device
/// follows a hub.
fn brake_of(topology: &Topology) -> Option<usize> {
    match topology {
        Topology::Mesh => Some(BRAKE_FILES),
        Topology::Hub { .. } => None,
    }
}

fn workers_of(daemon: &Daemon, folder: &Folder, parts: &Parts) -> Result<Workers, Halt> {
    let failed = |error: std::io::Error| Halt::of("no thread could be started", &error);
    let store: Store = daemon.store.clone();
    let looks = looks::start(folder.clone(), parts.clone(), store.clone()).map_err(failed)?;
    let ledger = daemon.ledger.clone();
    let settles =
        settles::start_settling(folder.clone(), parts.clone(), ledger.clone()).map_err(failed)?;
    let persists = settles::start_persisting(folder.clone(), store, ledger).map_err(failed)?;
    let syncs = settles::start_syncing(folder.clone(), parts.clone()).map_err(failed)?;
    let ears = folder.clone();
    let scope = Arc::clone(&parts.scope);
    let watcher = Watcher::start(&parts.root, scope, move |heard| ears.note(Note::Heard(heard)));
    let watcher = match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            folder.with_standing(|s| s.unwatched = Some(error.to_string()));
            None
        }
    };
    let bases = bases::start(folder.clone(), parts.clone()).map_err(failed)?;
    Ok(Workers { looks, settles, persists, syncs, bases, watcher })
}

/// Lists what jobs that a crash cut short would have made true.
fn intended(intents: Vec<Intent>, parts: &Parts) -> Vec<Event> {
    let mut jobs: Vec<(u64, Vec<Intended>)> = Vec::new();
    for intent in intents {
        let there = there(parts, &intent.path, intent.record.content);
        let Intent { path, record, stamp, job, .. } = intent;
        let intended = Intended { becomes: Becoming { path, record, stamp }, there };
        match jobs.last_mut() {
            Some((last, list)) if *last == job => list.push(intended),
            _ => jobs.push((job, vec![intended])),
        }
    }
    jobs.into_iter().map(|(_, intended)| Event::IntentFound { intended }).collect()
}

/// Returns what lies at `path`; what cannot be read counts as other content.
fn there(parts: &Parts, path: &RelPath, wanted: ContentId) -> Option<There> {
    let lstat = parts.root.stat(path).ok()??;
    let kind = lstat.kind?;
    let content = match kind {
        Kind::Directory | Kind::Tombstone => ContentId::NONE,
        Kind::Symlink => ContentId::of(&parts.root.read_link(path).ok()?),
        Kind::File => {
            let fd = parts.root.open_file(path).ok()?;
            match crate::flow::digest::digest_file(&fd, None, 0) {
                Ok(digest) => digest.content,
                Err(_) => ContentId(wanted.0.map(|byte| !byte)),
            }
        }
    };
    let (mtime_ns, mode) = (lstat.key.mtime_ns, lstat.key.mode);
    Some(There { kind, content, mtime_ns, mode })
}
