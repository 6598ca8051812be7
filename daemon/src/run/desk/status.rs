//! How the daemon and its folders stand.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use syncd_api::{
    DeviceSync, FolderState, FolderStatus, Health, LeftOut, LeftOutWhy, PathText, Problem as Shown,
    Status,
};
use syncd_core::engine::{PeerState, Problem};
use syncd_core::flow::index::{Brake, Index, Known, Marks};
use syncd_core::model::{DeviceId, FolderId, Kind, RelPath, Seq};
use syncd_home::{Config, FolderConfig};

use super::places::shown;
use super::problems::{is_inner, problems_of};
use super::{ApiError, FrontDesk, ask, blocking};
use crate::flow::index::{FolderIndex, Summary};
use crate::run::folder::{Folder, Standing};
use crate::run::scrub::still_damaged;

/// How long the health waits for the network's addresses.
const LISTENING_WAIT: Duration = Duration::from_millis(200);

/// Problems of one folder that are shown.
const PROBLEMS_MAX: usize = 1_000;

/// Changes that are looked at one by one to count what a device lacks; beyond, the sequences tell.
const LACKS_COUNTED_MAX: usize = 20_000;

/// What a folder's thread tells of its engine.
#[derive(Debug, Default)]
pub(super) struct Inside {
    need: (u64, u64),
    idle: bool,
    held: u64,
    refused: u64,
    last: Seq,
    peers: BTreeMap<DeviceId, PeerState>,
    problems: Vec<(RelPath, Problem)>,
}

/// What the index says of a folder.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) summary: Summary,
    pub(super) marks: Marks,
    pub(super) last: Seq,
}

/// All that is known of how a folder stands.
pub(super) struct Seen {
    pub(super) config: FolderConfig,
    standing: Standing,
    remembered: Option<Remembered>,
    inside: Option<Inside>,
    pub(super) devices: Vec<DeviceSync>,
    /// Whether a connected device is not where this one is.
    is_apart: bool,
}

impl FrontDesk {
    pub(super) async fn tell_health(&self) -> Result<Health, ApiError> {
        let listening = tokio::time::timeout(LISTENING_WAIT, self.daemon.net.listen_addrs());
        let watched: usize = self.daemon.folders().iter().map(|f| f.standing().watched).sum();
        Ok(Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: syncd_api::VERSION,
            device_id: self.daemon.me.to_string(),
            name: self.daemon.config().name,
            pid: std::process::id(),
            started: self.daemon.started,
            listening: listening.await.unwrap_or_default(),
            watches_used: watched as u64,
        })
    }

    pub(super) async fn tell_status(&self) -> Result<Status, ApiError> {
        let config = self.daemon.config();
        let folders = self.daemon.folders();
        let folders = join_all(folders.iter().map(|folder| self.status_of(folder, &config))).await;
        let problem = |(what, remedy)| Shown { path: PathText::of(b""), what, remedy };
        let problems = self.daemon.ailments.all().into_iter().map(problem).collect();
        let device_id = self.daemon.me.to_string();
        Ok(Status { device_id, name: config.name, folders, problems })
    }

    async fn status_of(&self, folder: &Folder, config: &Config) -> FolderStatus {
        let seen = self.see(folder, config).await;
        let state = seen.state();
        let mut problems = problems_of(
            folder.id(),
            &|path| shown(folder, path),
            &seen.standing,
            seen.inside_problems(),
        );
        problems.extend(self.kept_elsewhere(config, &seen));
        let braked = seen.braked();
        let summary = seen.remembered.map(|r| r.summary).unwrap_or_default();
        let inside = seen.inside.unwrap_or_default();
        FolderStatus {
            id: folder.id().to_string(),
            path: PathText::of_file(&seen.config.path),
            label: seen.config.label.unwrap_or_else(|| folder.id().to_string()),
            role: super::folders::shown_role(seen.config.role),
            state,
            files: summary.files,
            bytes: summary.bytes,
            need_files: inside.need.0,
            need_bytes: inside.need.1,
            out_of_sync: inside.refused,
            local_changes: summary.withheld,
            conflicts: summary.conflicts,
            held: u64::from(inside.held > 0)
                + u64::from(seen.standing.held_rules.is_some())
                + braked,
            devices: seen.devices,
            problems,
        }
    }

    /// Says who waits for a person before it deletes what was deleted here.
    fn kept_elsewhere(&self, config: &Config, seen: &Seen) -> Vec<Shown> {
        let peers = seen.inside.iter().flat_map(|inside| &inside.peers);
        let waiting = peers.filter(|(_, state)| state.aside > 0).map(|(device, state)| {
            let name = self.name_of(config, *device);
            Shown {
                path: PathText::of(b""),
                what: format!("{name} waits for a person before it takes {} deletes", state.aside),
                remedy: format!("decide on {name}, with: syncctl held ls"),
            }
        });
        waiting.collect()
    }

    /// Looks at a folder from all sides.
    pub(super) async fn see(&self, folder: &Folder, config: &Config) -> Seen {
        let settings = folder.config();
        let devices = settings.devices.clone();
        let inside = match folder.parts() {
            Some(_) => {
                ask(folder, move |thread| {
                    let engine = &thread.engine;
                    let state = |d: DeviceId| Some((d, engine.peer_state(d, thread.index()).ok()?));
                    let problems = engine.problems().take(PROBLEMS_MAX);
                    Inside {
                        need: engine.need(),
                        idle: engine.is_idle(),
                        held: engine.held().len() as u64,
                        refused: engine.refused() as u64,
                        last: engine.last_seq(),
                        peers: devices.into_iter().filter_map(state).collect(),
                        problems: problems
                            .map(|(p, problem)| (p.clone(), problem.clone()))
                            .collect(),
                    }
                })
                .await
            }
            None => None,
        };
        let index = self.daemon.store.folder(folder.id());
        let remembered = remember(&index).await;
        let mut seen = Seen {
            config: settings,
            standing: standing_of(folder, &index).await,
            remembered,
            inside,
            devices: Vec::new(),
            is_apart: false,
        };
        self.compare(folder.id(), config, &index, &mut seen).await;
        seen
    }

    /// Tells how far each device is.
    async fn compare(&self, id: &FolderId, config: &Config, index: &FolderIndex, seen: &mut Seen) {
        let marks = seen.remembered.as_ref().map(|r| r.marks.clone()).unwrap_or_default();
        let files = seen.remembered.as_ref().map_or(0, |r| r.summary.files);
        let known = seen.remembered.as_ref().map_or(0, |r| r.last);
        let last = seen.inside.as_ref().map_or(known, |inside| inside.last);
        for device in seen.config.devices.clone() {
            let state = seen.inside.as_ref().and_then(|inside| inside.peers.get(&device)).cloned();
            let state = state.unwrap_or_else(|| PeerState {
                connected: false,
                acked: marks.acked.get(&device).copied().unwrap_or(0),
                settled: true,
                aside: 0,
            });
            let accepted = self.has_accepted(id, device, &marks);
            let in_sync = accepted && state.acked >= last && state.settled;
            let lacks = match accepted {
                true => lacks_of(index, device, state.acked, last, files).await,
                false => files,
            };
            seen.is_apart |= state.connected && !in_sync;
            seen.devices.push(DeviceSync {
                name: self.name_of(config, device),
                device_id: device.to_string(),
                connected: self.is_connected(device),
                in_sync,
                need_files: if in_sync { 0 } else { lacks },
                left_out: self.left_out(id, device),
            });
        }
        seen.devices.sort_by(|a, b| (&a.name, &a.device_id).cmp(&(&b.name, &b.device_id)));
    }

    /// Tells what a device leaves out of a folder and why, as far as it has told.
    fn left_out(&self, id: &FolderId, device: DeviceId) -> Vec<LeftOut> {
        let Some(holds) = self.daemon.holds(id, device) else { return Vec::new() };
        let counts = [
            (LeftOutWhy::Ignored, holds.ignored),
            (LeftOutWhy::Unsupported, holds.unsupported),
            (LeftOutWhy::NotTaken, holds.not_taken),
        ];
        let some = counts.into_iter().filter(|(_, files)| *files > 0);
        some.map(|(why, files)| LeftOut { why, files }).collect()
    }

    /// Tells whether there is a session with a device.
    pub(super) fn is_connected(&self, device: DeviceId) -> bool {
        self.daemon.peers().iter().any(|peer| peer.device == device)
    }

    /// Tells whether a device has taken a folder: it says so now or, while it is away, has had
    /// it before.
    pub(super) fn has_accepted(&self, id: &FolderId, device: DeviceId, marks: &Marks) -> bool {
        let offers = self.daemon.offered();
        offers.iter().any(|(from, ready)| *from == device && ready.folder == *id)
            || !self.is_connected(device)
                && (marks.cursors.contains_key(&device) || marks.acked.contains_key(&device))
    }
}

impl Seen {
    fn inside_problems(&self) -> &[(RelPath, Problem)] {
        self.inside.as_ref().map_or(&[], |inside| &inside.problems)
    }

    /// Counts the devices whose deletes wait here for a person.
    fn braked(&self) -> u64 {
        let brakes = self.remembered.iter().flat_map(|r| r.marks.brakes.values());
        brakes.filter(|brake| matches!(brake, Brake::Held { .. })).count() as u64
    }

    /// Says in one word what the folder is doing.
    pub(super) fn state(&self) -> FolderState {
        if self.config.paused {
            return FolderState::Paused;
        }
        if let Some(why) = &self.standing.halted {
            // What is wrong with the root halts; what is wrong with syncd's own things is an error.
            return if is_inner(why) { FolderState::Error } else { FolderState::Halted };
        }
        let Some(remembered) = &self.remembered else {
            return FolderState::Error;
        };
        let Some(inside) = &self.inside else {
            return FolderState::Scanning;
        };
        if inside.held > 0 || self.standing.held_rules.is_some() || self.braked() > 0 {
            return FolderState::Held;
        }
        // Before its first scan has ended a folder counts no files, and is not at rest.
        if self.standing.scanning > 0 || !remembered.marks.surveyed {
            return FolderState::Scanning;
        }
        // What is not taken keeps the devices apart for as long as a person wants it.
        let on_the_way = self.is_apart && inside.refused == 0;
        match inside.need.0 > 0 || !inside.idle || on_the_way {
            true => FolderState::Syncing,
            false => FolderState::Idle,
        }
    }
}

/// Returns how a folder stands, of damaged files only those that were not written since.
async fn standing_of(folder: &Folder, index: &FolderIndex) -> Standing {
    let mut standing = folder.standing();
    if !standing.damaged.is_empty() {
        let (damaged, index) = (standing.damaged, index.clone());
        // Where nothing can be asked any more there is nothing to tell.
        standing.damaged =
            blocking(move || still_damaged(damaged, &index)).await.unwrap_or_default();
    }
    standing
}

/// Reads what the index says of a folder; `None` when it fails.
pub(super) async fn remember(index: &FolderIndex) -> Option<Remembered> {
    let index = index.clone();
    blocking(move || {
        let (summary, marks) = (index.summary().ok()?, index.marks().ok()?);
        Some(Remembered { summary, marks, last: index.last_seq().ok()? })
    })
    .await
    .ok()?
}

/// Counts the files that a device lacks which holds our changes up to `acked` of `last`.
pub(super) async fn lacks_of(
    index: &FolderIndex,
    device: DeviceId,
    acked: Seq,
    last: Seq,
    files: u64,
) -> u64 {
    if acked >= last {
        return 0;
    }
    if acked == 0 {
        return files;
    }
    let index = index.clone();
    let counted = blocking(move || {
        let changes = index.changes(acked, LACKS_COUNTED_MAX).ok()?;
        if changes.len() == LACKS_COUNTED_MAX {
            return Some(files.min(last - acked));
        }
        let lacked = |path: &RelPath| {
            let entry = index.get(path).ok().flatten();
            entry.is_some_and(|e| {
                let is_file = matches!(e.record.kind, Kind::File | Kind::Symlink);
                is_file && e.local.source != Some(device)
            })
        };
        Some(changes.iter().filter(|(_, path)| lacked(path)).count() as u64)
    });
    counted.await.ok().flatten().unwrap_or(0)
}
