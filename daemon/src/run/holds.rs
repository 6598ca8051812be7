//! How much of a folder each side holds, told to the other for people: nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use syncd_core::flow::index::Index;
use syncd_core::model::{DeviceId, FolderId};
use syncd_core::protocol::{Frame, Holds};
use tokio::time::MissedTickBehavior;

use super::folder::Folder;
use super::session::Peer;
use super::{Daemon, locked};
use crate::world::net::{Gone, Lane};

/// How often it is looked whether there is something new to tell.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long a folder's thread may take to answer before the rest is told without it.
const ASK_WAIT: Duration = Duration::from_secs(2);

impl Daemon {
    /// Returns what a connected device has told of a folder that it shares with this one.
    #[must_use]
    pub fn holds(&self, folder: &FolderId, device: DeviceId) -> Option<Holds> {
        locked(&self.held_by).get(&(folder.clone(), device)).cloned()
    }

    /// Takes note of what a device tells, of a folder that it shares with this one.
    pub(super) fn holds_came(&self, device: DeviceId, holds: Holds) {
        let key = (holds.folder.clone(), device);
        if locked(&self.offered).contains_key(&key) {
            locked(&self.held_by).insert(key, holds);
        }
    }
}

/// Tells a peer, as long as its session lasts, how much of each folder this device holds.
///
/// # Errors
/// [`Gone`] when the session is over.
pub(super) async fn tell(daemon: &Arc<Daemon>, peer: &Arc<Peer>) -> Result<(), Gone> {
    let mut told: BTreeMap<FolderId, Holds> = BTreeMap::new();
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for folder in daemon.folders() {
            if !peer.has_announced(folder.id()) {
                told.remove(folder.id());
                continue;
            }
            let Some(holds) = held(daemon, &folder).await else { continue };
            if told.get(folder.id()) != Some(&holds) {
                peer.send(Lane::Interactive, &Frame::Holds(holds.clone())).await?;
                told.insert(folder.id().clone(), holds);
            }
        }
    }
}

/// Counts what this device holds of a folder; `None` while it has not looked at all of it yet.
async fn held(daemon: &Arc<Daemon>, folder: &Folder) -> Option<Holds> {
    let index = daemon.store.folder(folder.id());
    let read = move || Some((index.summary().ok()?, index.marks().ok()?.surveyed));
    let (summary, surveyed) = tokio::task::spawn_blocking(read).await.ok().flatten()?;
    let only_sends = folder.config().role == syncd_home::Role::SendOnly;
    let refused = match folder.parts().filter(|_| only_sends) {
        Some(_) => {
            let asked = folder.ask(|thread| thread.engine.refused() as u64);
            tokio::time::timeout(ASK_WAIT, asked).await.ok().flatten()?
        }
        None => 0,
    };
    surveyed.then(|| Holds {
        folder: folder.id().clone(),
        files: summary.files,
        bytes: summary.bytes,
        ignored: summary.ignored,
        unsupported: summary.unsupported,
        not_taken: refused,
    })
}
