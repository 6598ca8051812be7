//! Where it all meets: the daemon of one home, its folders, its sessions.

mod ailments;
mod bounds;
mod changes;
pub mod desk;
pub mod fetch;
pub mod folder;
mod greeting;
mod happenings;
mod holds;
mod scrub;
mod serve;
pub mod session;
mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use syncd_core::engine::Event;
use syncd_core::model::{DeviceId, FolderId, Incarnation};
use syncd_core::protocol::tokens::Mint;
use syncd_core::protocol::{Holds, Ready};
use syncd_home::{Config, Home};
use tokio::sync::{Notify, Semaphore};

pub use ailments::{Ailment, Ailments};
pub use happenings::{Happening, Happenings};
pub use start::{Ended, run};

use crate::flow::index::{Intent, IntentBatch, Ledger, Store};
use crate::world::net::Net;
use folder::{Folder, Note, lives};
use session::Peer;

/// Requests served at a time, over all peers.
const SERVING_MAX: usize = 4;

/// The daemon of one home.
pub struct Daemon {
    /// The home.
    pub home: Home,
    /// This device.
    pub me: DeviceId,
    /// The life of its store.
    pub incarnation: Incarnation,
    /// The index of all folders.
    pub store: Store,
    /// What must never be lost.
    pub ledger: Ledger,
    /// The network.
    pub net: Net,
    /// What happened, for people and scripts.
    pub happenings: Happenings,
    /// What is wrong with the device as a whole.
    pub ailments: Ailments,
    /// When it started.
    pub started: Timestamp,
    /// Turns for answering peers.
    pub serving: Arc<Semaphore>,
    config: RwLock<Config>,
    boot_nonce: u64,
    /// What session tokens are made with.
    mint: Mint,
    epochs: AtomicU32,
    folders: Mutex<BTreeMap<FolderId, Folder>>,
    peers: Mutex<BTreeMap<DeviceId, Arc<Peer>>>,
    offered: Mutex<BTreeMap<(FolderId, DeviceId), Ready>>,
    held_by: Mutex<BTreeMap<(FolderId, DeviceId), Holds>>,
    unfinished: Mutex<Unfinished>,
    /// Told when this device turns out to have been set back to an older state.
    rolled_back: Notify,
    /// Told when index and ledger must be opened anew.
    anew: Notify,
    heard: Mutex<BTreeMap<DeviceId, Heard>>,
}

/// What an earlier run left in the ledger.
#[derive(Debug, Default)]
struct Unfinished {
    /// Intents, in the order they were written.
    intents: Vec<Intent>,
    /// Their batches: closed once every folder they name has dealt with its own.
    batches: Vec<IntentBatch>,
}

/// What is known of a device beside the settings.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// What it calls itself.
    pub name: String,
    /// When it was last connected.
    pub last_seen: Option<Timestamp>,
    /// How far its clock was ahead of ours when it last greeted, in seconds.
    pub clock_ahead_s: Option<i64>,
}

impl Daemon {
    /// Returns the settings as they are now.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes settings that were read anew. Limits count at once.
    pub fn set_config(&self, config: Config) {
        self.net.limit(&changes::rate_limits(&config));
        for folder in self.folders() {
            if let Some(parts) = folder.parts() {
                parts.hands.set_limits(folder.config().limits.within(&config.limits));
            }
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Returns what to call a device, known or not.
    #[must_use]
    pub fn name_of(&self, device: DeviceId) -> String {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        known_name(&config, self.me, device).unwrap_or_else(|| device.short())
    }

    /// Returns what a root says of whose it is: device id, name and home, a line each.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("{}\n{}\n{}\n", self.me, self.config().name, self.home.dir().display())
    }

    /// Returns the incarnation under which this device writes in a folder.
    #[must_use]
    pub fn incarnation_in(&self, folder: &FolderId) -> Incarnation {
        lives::incarnation(&self.ledger, folder, self.incarnation)
    }

    /// Tells people and scripts that something happened.
    pub fn tell(&self, happening: Happening) {
        self.happenings.tell(happening);
    }

    /// Tells people that something is wrong with the device as a whole, once.
    pub fn ail(&self, ailment: Ailment, what: &str, remedy: &str) {
        if self.ailments.set(ailment, what.to_owned(), remedy.to_owned()) {
            tracing::warn!("{what}; {remedy}");
            self.tell(Happening::about("device-problem", what));
        }
    }

    /// Tells people that something is as it should be again, once.
    pub fn heal(&self, ailment: Ailment, text: &str) {
        if self.ailments.clear(ailment) {
            tracing::info!("{text}");
            self.tell(Happening::about("device-problem-over", text));
        }
    }

    /// Returns a folder by its id.
    #[must_use]
    pub fn folder(&self, id: &FolderId) -> Option<Folder> {
        locked(&self.folders).get(id).cloned()
    }

    /// Lists the folders, by id.
    #[must_use]
    pub fn folders(&self) -> Vec<Folder> {
        locked(&self.folders).values().cloned().collect()
    }

    /// Takes a folder in, after [`folder::begin`].
    pub fn add_folder(&self, folder: Folder) {
        locked(&self.folders).insert(folder.id().clone(), folder);
    }

    /// Takes a folder out and ends its thread.
    pub fn remove_folder(&self, id: &FolderId) -> Option<Folder> {
        let folder = locked(&self.folders).remove(id)?;
        folder.stop();
        Some(folder)
    }

    /// Lists the peers that are connected, by id.
    #[must_use]
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        locked(&self.peers).values().cloned().collect()
    }

    /// Lists the folders that peers offer: by folder and device.
    #[must_use]
    pub fn offered(&self) -> Vec<(DeviceId, Ready)> {
        locked(&self.offered).iter().map(|((_, device), r)| (*device, r.clone())).collect()
    }

    /// Returns what is known of a device beside the settings.
    #[must_use]
    pub fn heard_of(&self, device: DeviceId) -> Heard {
        locked(&self.heard).get(&device).cloned().unwrap_or_default()
    }

    fn next_epoch(&self) -> u32 {
        self.epochs.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn peer_up(&self, peer: &Arc<Peer>) {
        locked(&self.peers).insert(peer.device, Arc::clone(peer));
        locked(&self.heard).entry(peer.device).or_default().last_seen = Some(Timestamp::now());
    }

    fn peer_down(&self, peer: &Peer) {
        let device = peer.device;
        {
            let mut peers = locked(&self.peers);
            if peers.get(&device).is_some_and(|p| p.session == peer.session) {
                peers.remove(&device);
            }
        }
        locked(&self.offered).retain(|(_, from), _| *from != device);
        locked(&self.held_by).retain(|(_, from), _| *from != device);
        locked(&self.heard).entry(device).or_default().last_seen = Some(Timestamp::now());
        for folder in self.folders() {
            folder.note(Note::Event(Event::PeerDown { peer: device }));
        }
    }

    /// Takes note of what a peer offers; `false` when it offers more than anybody would.
    fn offer_came(&self, device: DeviceId, ready: &Ready) -> bool {
        let key = (ready.folder.clone(), device);
        let is_ours = self.folder(&ready.folder).is_some();
        let news = {
            let mut offered = locked(&self.offered);
            let others = offered.keys().filter(|(_, by)| *by == device).count();
            if !is_ours && !offered.contains_key(&key) && others >= bounds::OFFERED_MAX {
                return false;
            }
            offered.insert(key, ready.clone()).is_none()
        };
        if news && !is_ours {
            let text = format!(
                "offers the folder '{0}'; take it with 'syncctl folder accept {0} PATH'",
                ready.folder
            );
            self.tell(Happening::device(device, "folder-offered", &text).of(&ready.folder));
        }
        true
    }

    fn offer_gone(&self, device: DeviceId, folder: &FolderId) {
        locked(&self.offered).remove(&(folder.clone(), device));
        locked(&self.held_by).remove(&(folder.clone(), device));
    }

    /// Takes the intents that an earlier run left for a folder and, once no folder has any left,
    /// the batches to close.
    pub fn take_unfinished(&self, folder: &FolderId) -> (Vec<Intent>, Vec<IntentBatch>) {
        let mut unfinished = locked(&self.unfinished);
        let all = std::mem::take(&mut unfinished.intents);
        let (ours, rest) = all.into_iter().partition(|intent| intent.folder == *folder);
        unfinished.intents = rest;
        let done = unfinished.intents.is_empty();
        let batches = if done { std::mem::take(&mut unfinished.batches) } else { Vec::new() };
        (ours, batches)
    }

    /// Ends the daemon in order, to begin anew at once with what is on the disk.
    fn begin_anew(&self) {
        self.anew.notify_one();
    }

    /// Says to all connected peers that a folder is ready.
    pub fn folder_ready(self: &Arc<Self>, folder: &Folder) {
        let (daemon, folder) = (Arc::clone(self), folder.clone());
        self.runtime().spawn(async move {
            for peer in daemon.peers() {
                // A peer that is gone hears of it in its next session.
                let _ = peer.announce(&daemon, &folder).await;
            }
        });
    }

    /// Says to all connected peers that a folder is not there for now.
    pub fn folder_unready(self: &Arc<Self>, folder: &Folder) {
        let (daemon, id) = (Arc::clone(self), folder.id().clone());
        self.runtime().spawn(async move {
            for peer in daemon.peers() {
                peer.withdraw(&id).await;
                // One that is only halted is still shared: the peer is to know that much.
                if let Some(folder) = daemon.folder(&id) {
                    let _ = peer.announce(&daemon, &folder).await;
                }
            }
        });
    }

    fn runtime(&self) -> tokio::runtime::Handle {
        self.happenings.runtime()
    }
}

/// Returns what `device` is called on the device `me`; `None` for one that is not known any more.
fn known_name(config: &Config, me: DeviceId, device: DeviceId) -> Option<String> {
    if device == me {
        return Some(config.name.clone());
    }
    config.devices.iter().find(|known| known.id == device).map(|known| known.name.clone())
}

/// Locks; a thread that panicked while it held the lock left nothing half done in these maps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the wall clock in milliseconds since 1970, for people and for ages; decides nothing.
#[must_use]
pub fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
