//! Settings of a folder that change while it is at work, by a command or by hand in the file.

use std::collections::BTreeSet;
use std::sync::Arc;

use ignore_rules::Rules;
use syncd_core::engine::Event;
use syncd_core::model::{DeviceId, RelPath};
use syncd_home::FolderConfig;

use super::{Folder, FolderThread, Note};
use crate::flow::settle::InPlace;
use crate::run::Daemon;
use crate::world::disk::Root;

/// The setting that says which files are rewritten where they are.
const IN_PLACE: &str = "in_place";

/// Reads which files are rewritten where they are: those that the folder's patterns match, as
/// lines of an ignore file would.
///
/// # Errors
/// One sentence that names the first bad pattern.
pub(super) fn in_place_of(root: &Root, config: &FolderConfig) -> Result<InPlace, String> {
    let text = config.in_place.join("\n");
    let rules = Rules::parse(&[(IN_PLACE, text.as_bytes())], &mut |_: &str| None)
        .map_err(|error| format!("the folder's 'in_place' cannot be used: {error}"))?;
    let root = root.clone();
    // Lines that are built in say what is not synced, and nothing here.
    Ok(Arc::new(move |path: &RelPath| {
        let verdict = rules.verdict(root.path_here(path).as_bytes(), false);
        verdict.ignored && verdict.rule.is_some_and(|rule| &*rule.file == IN_PLACE)
    }))
}

/// Takes new settings of a folder whose root stays where it is, at once. A folder that is not at
/// work takes the rest of them when it begins.
pub async fn take(daemon: &Arc<Daemon>, folder: &Folder, config: FolderConfig) {
    let before = folder.config();
    folder.set_config(config.clone());
    if let Some(parts) = folder.parts() {
        parts.hands.set_limits(config.limits.within(&daemon.config().limits));
        if config.in_place != before.in_place {
            match in_place_of(&parts.root, &config) {
                Ok(in_place) => parts.hands.set_in_place(in_place),
                Err(why) => tracing::warn!(folder = %folder.id(), why, "it stays as it was"),
            }
        }
    }
    if config.role != before.role {
        let _ = folder.ask(FolderThread::take_role).await;
    }
    if config.devices != before.devices {
        share_with(daemon, folder, &before.devices, &config.devices).await;
    }
    if config.paused != before.paused {
        pause(daemon, folder, config.paused).await;
    }
}

async fn share_with(daemon: &Arc<Daemon>, folder: &Folder, before: &[DeviceId], now: &[DeviceId]) {
    for device in before.iter().filter(|device| !now.contains(device)) {
        for peer in daemon.peers().into_iter().filter(|peer| peer.device == *device) {
            peer.withdraw(folder.id()).await;
        }
        folder.note(Note::Event(Event::PeerDown { peer: *device }));
    }
    let devices: BTreeSet<DeviceId> = now.iter().copied().collect();
    folder.note(Note::Event(Event::SharedWith { devices }));
    for peer in daemon.peers() {
        if now.contains(&peer.device) && !before.contains(&peer.device) {
            // A peer that is gone hears of it in its next session.
            let _ = peer.announce(daemon, folder).await;
        }
    }
}

async fn pause(daemon: &Arc<Daemon>, folder: &Folder, paused: bool) {
    folder.note(Note::Event(Event::Paused { paused }));
    for peer in daemon.peers() {
        if paused {
            peer.withdraw(folder.id()).await;
            folder.note(Note::Event(Event::PeerDown { peer: peer.device }));
        }
        // Paused, it is still offered, so that the peer knows that it is shared.
        let _ = peer.announce(daemon, folder).await;
    }
}
