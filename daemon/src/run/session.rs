//! One session with a peer: greeting, which folders both share, and frames to where they belong.
//!
//! # Invariants
//! - Nothing but Hello is taken before Hello, and nothing of a folder that is not shared with the
//!   peer on both sides.
//! - A frame counts only under the epochs that both sides last said of the folder.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use syncd_core::engine::{Event, FolderHello};
use syncd_core::flow::index::Index;
use syncd_core::flow::offer::Offer;
use syncd_core::model::shown::is_harmful;
use syncd_core::model::{ContentId, DeviceId, FolderId, Seq};
use syncd_core::protocol::peer::PROTOCOL_VERSION;
use syncd_core::protocol::{self, Frame, Have, List, Listed, Ready, Tag, Want, WantedItem};
use tokio::sync::{mpsc, oneshot, watch};

use super::bounds::{Bounds, Room};
use super::fetch::{Answers, Came, Fetcher};
use super::folder::{Folder, Link, Note};
use super::{Daemon, Happening, holds, serve};
use crate::flow::index::LedgerError;
use crate::run::folder::links;
use crate::world::net::{Gone, Inbox, Lane, LinkPath, Outbox, Session};

/// Longest name or label that is taken from a peer, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A peer with which a session is open.
pub struct Peer {
    /// Who.
    pub device: DeviceId,
    /// The session.
    pub session: u64,
    /// Frames to it.
    pub out: Outbox,
    requests: AtomicU64,
    waiters: Mutex<BTreeMap<u64, mpsc::UnboundedSender<Came>>>,
    /// How much of its doing may be under way here.
    pub(super) bounds: Bounds,
    listeners: Mutex<BTreeMap<u64, oneshot::Sender<Listed>>>,
    folders: Mutex<BTreeMap<FolderId, Shared>>,
    /// Moves whenever `folders` changes, for frames that wait for it.
    changed: watch::Sender<u64>,
    /// Held from the moment a folder is announced until its engine has heard of the peer: what
    /// the peer answers in between must not come to an engine that does not know it yet.
    joining: tokio::sync::Mutex<()>,
    /// Whether its Hello was read: nothing is said of folders before.
    greeted: AtomicBool,
}

/// How a folder stands between the two.
#[derive(Debug, Clone, Default)]
struct Shared {
    /// Our epoch, 0 while the folder is not ready here.
    mine: u32,
    /// Whether our last word to the peer was that it is shared.
    told: bool,
    theirs: Option<Ready>,
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the session is over")]
    Gone,
    #[error("it speaks version {0} of the protocol, not {PROTOCOL_VERSION}; update the older one")]
    Version(u16),
    #[error("{0}")]
    Bytes(#[from] protocol::DecodeError),
    #[error("it sent {0} where that does not belong")]
    Order(&'static str),
    #[error("the session could not be written down: {0}")]
    Kept(#[from] LedgerError),
    #[error("it knows a later session of this device than this one")]
    Behind,
}

impl From<Gone> for Cut {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Lives through one session; returns when it is over.
pub async fn live(daemon: Arc<Daemon>, session: Session) {
    let peer = Arc::new(Peer {
        device: session.device,
        session: session.id,
        out: session.send,
        requests: AtomicU64::new(0),
        waiters: Mutex::default(),
        bounds: Bounds::default(),
        listeners: Mutex::default(),
        folders: Mutex::default(),
        changed: watch::Sender::new(0),
        joining: tokio::sync::Mutex::new(()),
        greeted: AtomicBool::new(false),
    });
    let how = match session.path {
        LinkPath::DirectTcp => "TCP",
        LinkPath::DirectQuic => "QUIC",
    };
    tracing::info!(peer = %peer.device.short(), how, address = session.address, "connected");
    daemon.peer_up(&peer);
    daemon.tell(Happening::device(peer.device, "device-connected", "connected").via(how));
    let ended = talk(&daemon, &peer, session.recv).await;
    if let Err(why) = &ended
        && !matches!(why, Cut::Gone)
    {
        tracing::warn!(peer = %peer.device.short(), %why, "the session is cut");
        daemon.tell(Happening::device(peer.device, "device-refused", &why.to_string()));
    }
    peer.out.close();
    peer.waiters().clear();
    peer.listeners().clear();
    daemon.peer_down(&peer);
    daemon.tell(Happening::device(peer.device, "device-disconnected", "disconnected"));
}

async fn talk(daemon: &Arc<Daemon>, peer: &Arc<Peer>, recv: Inbox) -> Result<(), Cut> {
    let Inbox { mut interactive, mut bulk, mut data } = recv;
    let hello = daemon.hello(peer.device)?;
    peer.send(Lane::Interactive, &Frame::Hello(hello)).await?;
    let first = interactive.recv().await.ok_or(Cut::Gone)?;
    let Frame::Hello(hello) = protocol::decode(&first)? else {
        return Err(Cut::Order("another frame before its hello"));
    };
    if protocol::agreed(hello.version).is_none() {
        return Err(Cut::Version(hello.version));
    }
    let name: String = hello.name.chars().filter(|c| !is_harmful(*c)).take(64).collect();
    if !daemon.greeted(peer.device, &name, &hello)? {
        return Err(Cut::Behind);
    }
    peer.greeted.store(true, Ordering::SeqCst);
    for folder in daemon.folders() {
        peer.announce(daemon, &folder).await?;
    }
    let control = async {
        let mut arrived = false;
        while let Some(bytes) = interactive.recv().await {
            if !std::mem::replace(&mut arrived, true) {
                // It says nothing more before it has read and kept our Hello.
                daemon.greeting_arrived(peer.device);
            }
            let room = peer.bounds.news(bytes.len()).await;
            take_control(daemon, peer, &bytes, room).await?;
        }
        Err::<(), Cut>(Cut::Gone)
    };
    let offers = async {
        while let Some(bytes) = bulk.recv().await {
            take_bulk(daemon, peer, &bytes).await?;
        }
        Err::<(), Cut>(Cut::Gone)
    };
    let contents = async {
        while let Some(bytes) = data.recv().await {
            let room = peer.bounds.answers(bytes.len()).await;
            match protocol::decode(&bytes)? {
                Frame::Have(haves) => peer.route(haves, room),
                Frame::Listed(listed) => peer.route_listed(listed),
                Frame::Hello(_)
                | Frame::Ready(_)
                | Frame::Unready { .. }
                | Frame::Offer { .. }
                | Frame::Ack { .. }
                | Frame::List(_)
                | Frame::Holds(_)
                | Frame::Want(_) => return Err(Cut::Order("control on the data lane")),
            }
        }
        Err::<(), Cut>(Cut::Gone)
    };
    let telling = async { holds::tell(daemon, peer).await.map_err(Cut::from) };
    tokio::try_join!(control, offers, contents, telling).map(|_| ())
}

async fn take_control(
    daemon: &Arc<Daemon>,
    peer: &Arc<Peer>,
    bytes: &Bytes,
    room: Room,
) -> Result<(), Cut> {
    let frame = protocol::decode(bytes)?;
    let _joined = peer.joining.lock().await;
    match frame {
        Frame::Ready(ready) => {
            if ready.label.len() > NAME_BYTES_MAX {
                return Err(Cut::Order("a label without end"));
            }
            ready_came(daemon, peer, ready);
            Ok(())
        }
        Frame::Unready { folder } => {
            if let Some(shared) = peer.shared().get_mut(&folder) {
                shared.theirs = None;
            }
            peer.moved();
            daemon.offer_gone(peer.device, &folder);
            if let Some(folder) = daemon.folder(&folder) {
                folder.note(Note::Event(Event::PeerDown { peer: peer.device }));
            }
            Ok(())
        }
        Frame::Offer { tag, offer, inline } => {
            peer.take_offer(daemon, &tag, offer, inline, room);
            Ok(())
        }
        Frame::Ack { tag, frames, aside, sent } => {
            if let Some(folder) = peer.addressee(daemon, &tag) {
                let peer = peer.device;
                let acked = Event::Acked { peer, frames, aside, sent };
                folder.note(Note::FromPeer(acked, room));
            }
            Ok(())
        }
        Frame::Holds(holds) => {
            daemon.holds_came(peer.device, holds);
            Ok(())
        }
        Frame::Hello(_) => Err(Cut::Order("a second hello")),
        Frame::Want(_) | Frame::Have(_) | Frame::List(_) | Frame::Listed(_) => {
            Err(Cut::Order("contents on the interactive lane"))
        }
    }
}

async fn take_bulk(daemon: &Arc<Daemon>, peer: &Arc<Peer>, bytes: &Bytes) -> Result<(), Cut> {
    match protocol::decode(bytes)? {
        Frame::Offer { tag, offer, inline } => {
            peer.wait_for(&tag).await;
            let room = peer.bounds.news(bytes.len()).await;
            let _joined = peer.joining.lock().await;
            peer.take_offer(daemon, &tag, offer, inline, room);
            Ok(())
        }
        Frame::Want(want) => {
            let folder = peer.shared_folder(daemon, &want.folder);
            serve::serve(daemon, peer, folder.as_ref(), want).await;
            Ok(())
        }
        Frame::List(list) => {
            let folder = peer.shared_folder(daemon, &list.folder);
            // It may take as long as the first scan: what else is wanted does not wait for it.
            let place = Arc::clone(&peer.bounds.listing).acquire_owned().await.ok();
            let (daemon, peer) = (Arc::clone(daemon), Arc::clone(peer));
            tokio::spawn(serve::list(daemon, peer, folder, list, place));
            Ok(())
        }
        Frame::Hello(_)
        | Frame::Ready(_)
        | Frame::Unready { .. }
        | Frame::Ack { .. }
        | Frame::Listed(_)
        | Frame::Holds(_)
        | Frame::Have(_) => Err(Cut::Order("control on the bulk lane")),
    }
}

/// Stages bytes that came inside an offer. One that does not fit its id is fetched like any
/// other, and found wrong there.
fn take_inline(folder: &Folder, inline: Vec<(ContentId, Vec<u8>)>) {
    let Some(parts) = folder.parts() else { return };
    tokio::task::block_in_place(|| {
        for (content, bytes) in inline {
            if let Err(error) = parts.hands.put_small(content, &bytes) {
                tracing::debug!(%error, "inline bytes were not staged");
            }
        }
    });
}

fn ready_came(daemon: &Arc<Daemon>, peer: &Arc<Peer>, ready: Ready) {
    let id = ready.folder.clone();
    if !daemon.offer_came(peer.device, &ready) {
        return;
    }
    let mine = {
        let mut folders = peer.shared();
        let shared = folders.entry(id.clone()).or_default();
        shared.theirs = (ready.epoch > 0).then_some(ready);
        shared.mine
    };
    peer.moved();
    if let Some(folder) = daemon.folder(&id).filter(|_| mine > 0) {
        peer.join(daemon, &folder);
    }
}

impl Peer {
    fn shared(&self) -> MutexGuard<'_, BTreeMap<FolderId, Shared>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::UnboundedSender<Came>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) {
        self.changed.send_modify(|moves| *moves += 1);
    }

    /// Hands an offer to its folder, with what came inline staged before.
    fn take_offer(
        &self,
        daemon: &Daemon,
        tag: &Tag,
        offer: Offer,
        inline: Vec<(ContentId, Vec<u8>)>,
        room: Room,
    ) {
        if let Some(folder) = self.addressee(daemon, tag) {
            take_inline(&folder, inline);
            folder.note(Note::FromPeer(Event::Offered { peer: self.device, offer }, room));
        }
    }

    /// Returns a folder that this device shares with the peer.
    fn shared_folder(&self, daemon: &Daemon, id: &FolderId) -> Option<Folder> {
        let is_shared = self.shared().get(id).is_some_and(|shared| shared.mine > 0);
        daemon.folder(id).filter(|_| is_shared)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`Gone`] when the session is over.
    pub async fn send(&self, lane: Lane, frame: &Frame) -> Result<(), Gone> {
        self.out.send(lane, Bytes::from(protocol::encode(frame))).await
    }

    /// Says of a folder how it stands here, if it is shared with the peer: ready, or only
    /// offered while its root is not there. Joins if the peer has said the same.
    ///
    /// # Errors
    /// [`Gone`] when the session is over.
    pub async fn announce(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        folder: &Folder,
    ) -> Result<(), Gone> {
        let config = folder.config();
        if !config.devices.contains(&self.device) || !self.greeted.load(Ordering::SeqCst) {
            return Ok(());
        }
        let _joining = self.joining.lock().await;
        let ready = folder.parts().is_some() && !config.paused;
        let epoch = if ready { daemon.next_epoch() } else { 0 };
        let marks = folder.parts().and_then(|p| p.index.marks().ok()).unwrap_or_default();
        let seen = marks.covered.counters().filter(|(w, _)| w.device == self.device);
        let frame = Frame::Ready(Ready {
            folder: folder.id().clone(),
            label: config.label.unwrap_or_default(),
            single_file: folder.single().map(|single| single.here().to_vec()),
            epoch,
            store: daemon.store.id(),
            cursor: marks.cursors.get(&self.device).copied(),
            seen_of_you: seen.map(|(w, counter)| (w.incarnation, counter)).collect(),
        });
        self.shared().entry(folder.id().clone()).or_default().mine = epoch;
        self.moved();
        self.send(Lane::Interactive, &frame).await?;
        self.shared().entry(folder.id().clone()).or_default().told = true;
        if ready {
            self.join(daemon, folder);
        }
        Ok(())
    }

    /// Tells whether the peer has been told of a folder, and not since that it may not have it.
    #[must_use]
    pub fn has_announced(&self, folder: &FolderId) -> bool {
        self.shared().get(folder).is_some_and(|shared| shared.told)
    }

    /// Says that a folder is not shared any more, or not for now.
    pub async fn withdraw(&self, folder: &FolderId) {
        let known = self.shared().get_mut(folder).map(|shared| {
            (shared.mine, shared.told) = (0, false);
        });
        self.moved();
        if known.is_some() {
            // A session that is over needs no telling.
            let _ = self.send(Lane::Interactive, &Frame::Unready { folder: folder.clone() }).await;
        }
    }

    /// Lets the folder's engine hear of the peer, once both sides are ready.
    fn join(self: &Arc<Self>, daemon: &Arc<Daemon>, folder: &Folder) {
        let shared = self.shared().get(folder.id()).cloned().unwrap_or_default();
        let (Some(theirs), true) = (shared.theirs, shared.mine > 0) else { return };
        let Some(parts) = folder.parts() else { return };
        let tag = Tag { folder: folder.id().clone(), from: shared.mine, to: theirs.epoch };
        let store = daemon.store.clone();
        let fetcher = Fetcher::new(folder.clone(), parts.clone(), store, Arc::clone(self));
        let out = links::start(Arc::clone(self), parts, fetcher);
        let hello = FolderHello { store: theirs.store, cursor: theirs.cursor };
        let link = Link { tag, out, session: self.out.clone() };
        let seen_of_us = theirs.seen_of_you;
        folder.note(Note::PeerUp { peer: self.device, hello, link, seen_of_us });
    }

    /// Returns the folder that a tagged frame is for, if its epochs are the present ones.
    fn addressee(&self, daemon: &Daemon, tag: &Tag) -> Option<Folder> {
        let current = self.shared().get(&tag.folder).is_some_and(|shared| {
            shared.mine == tag.to && shared.theirs.as_ref().is_some_and(|t| t.epoch == tag.from)
        });
        daemon.folder(&tag.folder).filter(|_| current)
    }

    /// Waits until the peer's word on a folder, which travels on the other lane, is as new as
    /// the tag.
    async fn wait_for(&self, tag: &Tag) {
        let mut changes = self.changed.subscribe();
        let known = |peer: &Self| {
            let folders = peer.shared();
            let theirs = folders.get(&tag.folder).and_then(|shared| shared.theirs.as_ref());
            theirs.is_some_and(|theirs| theirs.epoch >= tag.from)
        };
        while !known(self) {
            if changes.changed().await.is_err() || self.out.is_closed() {
                return;
            }
        }
    }

    /// Asks for contents; `None` when the session is over.
    pub async fn want(&self, folder: FolderId, items: Vec<WantedItem>) -> Option<Answers> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, came) = mpsc::unbounded_channel();
        self.waiters().insert(request, sender);
        let frame = Frame::Want(Want { request, folder, items });
        if self.send(Lane::Bulk, &frame).await.is_err() {
            self.waiters().remove(&request);
            return None;
        }
        // The session may have ended between the two: then nobody would wake the waiter.
        if self.out.is_closed() {
            self.waiters().remove(&request);
        }
        Some(Answers { request, came })
    }

    /// Waits for answers to a request no more.
    pub fn forget(&self, answers: &Answers) {
        self.waiters().remove(&answers.request);
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Listed>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what the peer has in a folder, after a place in its log; `None` when the session is
    /// over. A peer that does not share the folder, or not for now, has nothing.
    pub async fn list(&self, folder: FolderId, after: Seq) -> Option<Listed> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.listeners().insert(request, sender);
        let frame = Frame::List(List { request, folder, after });
        if self.send(Lane::Bulk, &frame).await.is_err() || self.out.is_closed() {
            self.listeners().remove(&request);
            return None;
        }
        answer.await.ok()
    }

    fn route_listed(&self, listed: Listed) {
        if let Some(listener) = self.listeners().remove(&listed.request) {
            // Whoever asked may have given up.
            let _ = listener.send(listed);
        }
    }

    fn route(&self, haves: Vec<Have>, room: Room) {
        let room = Arc::new(room);
        let mut by_request: BTreeMap<u64, Vec<Have>> = BTreeMap::new();
        for have in haves {
            by_request.entry(have.request).or_default().push(have);
        }
        let waiters = self.waiters();
        for (request, haves) in by_request {
            if let Some(waiter) = waiters.get(&request) {
                // Whoever asked may have given up.
                let _ = waiter.send(Came { haves, room: Arc::clone(&room) });
            }
        }
    }
}
