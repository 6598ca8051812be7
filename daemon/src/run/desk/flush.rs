//! Flushing: an answer only when what lies here is durable elsewhere.
//!
//! # Invariants
//! - A device counts as done only by its own word that it durably holds everything up to the
//!   sequence that the folder had when all that had happened before the call was in the index.
//! - One that has not taken the folder is never done.

use std::time::{Duration, Instant};

use syncd_api::{ApiError, Exit, FlushReport, FlushRequest, FlushedDevice, FlushedFolder};
use syncd_core::flow::index::Index;
use syncd_core::model::{DeviceId, Seq};
use syncd_home::Config;

use super::status::{lacks_of, remember};
use super::{FrontDesk, ask, at_work, stopped};
use crate::run::folder::{Folder, Parts};

/// How often it is asked how far the devices are.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Held changes that are listed.
const HELD_MAX: usize = 100;

/// The longest that is waited, so that no clock runs over.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One folder to be flushed, and to whom.
struct Goal {
    folder: Folder,
    devices: Vec<DeviceId>,
}

/// How far a device is with what is to be flushed.
struct Progress {
    device: DeviceId,
    acked: Seq,
    is_done: bool,
    /// How many deletes it has put aside.
    aside: usize,
}

/// A device that has put deletes aside for so long waits for a person; before that it may only be
/// counting them.
const ASIDE_MIN: Duration = Duration::from_secs(15);

/// Waits until a folder that was just added has started.
async fn started(folder: &Folder, deadline: tokio::time::Instant) -> Result<Parts, ApiError> {
    loop {
        match at_work(folder) {
            Ok(parts) => return Ok(parts),
            Err(error) if folder.standing().halted.is_some() => return Err(error),
            Err(_) if tokio::time::Instant::now() >= deadline => {
                return Err(ApiError::timed_out(LATE).listing(["the folder is still starting"]));
            }
            Err(_) => tokio::time::sleep(POLL_EVERY).await,
        }
    }
}

impl FrontDesk {
    pub(super) async fn flush_now(&self, request: FlushRequest) -> Result<FlushReport, ApiError> {
        let began = Instant::now();
        let config = self.daemon.config();
        let goals = self.goals(&request)?;
        let wait = Duration::from_millis(request.timeout_ms).min(WAIT_MAX);
        let deadline = tokio::time::Instant::now() + wait;
        let flushes = goals.iter().map(|goal| self.flush_one(goal, &config, deadline));
        // All are waited for, so that one refusal names all that is missing.
        let ended = futures::future::join_all(flushes).await;
        let (mut folders, mut refused) = (Vec::new(), Vec::new());
        for end in ended {
            match end {
                Ok(folder) => folders.push(folder),
                Err(error) => refused.push(error),
            }
        }
        if let Some(refusal) = joined(refused) {
            return Err(refusal);
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(FlushReport { folders, took_ms })
    }

    /// Lists what is to be flushed, and to whom.
    fn goals(&self, request: &FlushRequest) -> Result<Vec<Goal>, ApiError> {
        let wanted = self.devices_of(&request.devices)?;
        let mut goals = Vec::new();
        for folder in self.chosen(request.folder.as_deref())? {
            let config = folder.config();
            let mut devices = config.devices.clone();
            if !wanted.is_empty() {
                devices.retain(|device| wanted.contains(device));
            }
            if devices.is_empty() && request.folder.is_none() {
                // Nobody, or none of those, shares it.
                continue;
            }
            let id = folder.id();
            if devices.is_empty() {
                let whom = if wanted.is_empty() { "any device" } else { "such a device" };
                return Err(ApiError::could_not(format!(
                    "the folder '{id}' is not shared with {whom}; share it with: syncctl folder \
                     share {id} --with DEVICE"
                )));
            }
            if config.paused {
                return Err(ApiError::could_not(format!(
                    "the folder '{id}' is paused; let it go on with: syncctl folder resume {id}"
                )));
            }
            if wanted.is_empty() && !request.all {
                devices.retain(|device| self.is_connected(*device));
            }
            if devices.is_empty() {
                return Err(ApiError::could_not(format!(
                    "no device that shares the folder '{id}' is connected; connect one, or wait \
                     for all with --all"
                )));
            }
            goals.push(Goal { folder, devices });
        }
        if goals.is_empty() {
            let whom = if wanted.is_empty() { "any device" } else { "such a device" };
            return Err(ApiError::could_not(format!(
                "no folder is shared with {whom}; share one with: syncctl folder share FOLDER \
                 --with DEVICE"
            )));
        }
        Ok(goals)
    }

    async fn flush_one(
        &self,
        goal: &Goal,
        config: &Config,
        deadline: tokio::time::Instant,
    ) -> Result<FlushedFolder, ApiError> {
        let folder = &goal.folder;
        let index = started(folder, deadline).await?.index;
        let late = |what: &str| ApiError::timed_out(LATE).listing([what]);
        let settled = tokio::time::timeout_at(deadline, folder.settle()).await;
        let seq = settled
            .map_err(|_| late(&format!("'{}': this device's own changes", folder.id())))?
            .ok_or_else(|| stopped(folder))?;
        let mut aside_since = None;
        loop {
            self.refuse_held(folder).await?;
            let progress = self.progress(goal, seq).await?;
            if progress.iter().all(|progress| progress.is_done) {
                break;
            }
            let now = tokio::time::Instant::now();
            let kept = progress.iter().find(|progress| !progress.is_done && progress.aside > 0);
            let since = kept.map(|_| *aside_since.get_or_insert(now));
            aside_since = since;
            if let Some(kept) = kept.filter(|_| now >= deadline || Some(now - ASIDE_MIN) >= since) {
                return Err(self.kept(folder, config, kept));
            }
            if now >= deadline {
                return Err(self.lateness(goal, config, progress, seq).await);
            }
            let next = now + POLL_EVERY;
            tokio::time::sleep_until(next.min(deadline)).await;
        }
        let files = remember(&index).await.map_or(0, |remembered| remembered.summary.files);
        let mut devices: Vec<FlushedDevice> = goal
            .devices
            .iter()
            .map(|device| FlushedDevice {
                name: self.name_of(config, *device),
                device_id: device.to_string(),
            })
            .collect();
        devices.sort_by(|a, b| (&a.name, &a.device_id).cmp(&(&b.name, &b.device_id)));
        Ok(FlushedFolder { id: folder.id().to_string(), files, devices })
    }

    /// Refuses because deletes wait for a person on another device.
    fn kept(&self, folder: &Folder, config: &Config, kept: &Progress) -> ApiError {
        let (name, id) = (self.name_of(config, kept.device), folder.id());
        ApiError::needs_person(format!(
            "{name} holds {} deletes of the folder '{id}' until a person has decided there; on \
             {name}, see: syncctl held ls",
            kept.aside
        ))
    }

    /// Refuses when deletes wait for a person.
    async fn refuse_held(&self, folder: &Folder) -> Result<(), ApiError> {
        let held = ask(folder, |thread| {
            let held = thread.engine.held();
            let shown = held.iter().take(HELD_MAX).map(ToString::to_string);
            (held.len(), shown.collect::<Vec<_>>())
        });
        let Some((count, shown)) = held.await.filter(|(count, _)| *count > 0) else {
            if let Some(rules) = folder.standing().held_rules {
                let id = folder.id();
                return Err(ApiError::needs_person(format!(
                    "another device's rules for the folder '{id}' are held; decide with: syncctl \
                     held approve {id}:rules, or syncctl held reject {id}:rules"
                ))
                .listing(rules.lines));
            }
            return Ok(());
        };
        let id = folder.id();
        let more = (count > shown.len()).then(|| format!("and {} more", count - shown.len()));
        Err(ApiError::needs_person(format!(
            "{count} deletes in the folder '{id}' are held; decide with: syncctl held approve \
             {id}, or syncctl held reject {id}"
        ))
        .listing(shown.into_iter().chain(more)))
    }

    /// Tells how far the devices are.
    async fn progress(&self, goal: &Goal, seq: Seq) -> Result<Vec<Progress>, ApiError> {
        let devices = goal.devices.clone();
        let states = ask(&goal.folder, move |thread| {
            let marks = thread.index().marks().ok()?;
            let state = |device: DeviceId| {
                let state = thread.engine.peer_state(device, thread.index()).ok()?;
                Some((device, state))
            };
            Some((marks, devices.into_iter().filter_map(state).collect::<Vec<_>>()))
        });
        let Some((marks, states)) = states.await.flatten() else {
            // A thread that is busy may be asked again; one that is gone may not.
            at_work(&goal.folder)?;
            let unknown = |device: &DeviceId| Progress {
                device: *device,
                acked: 0,
                is_done: false,
                aside: 0,
            };
            return Ok(goal.devices.iter().map(unknown).collect());
        };
        Ok(states
            .into_iter()
            .map(|(device, state)| Progress {
                device,
                acked: state.acked,
                is_done: state.acked >= seq && self.has_accepted(goal.folder.id(), device, &marks),
                aside: state.aside,
            })
            .collect())
    }

    /// Says who is late, and with how much.
    async fn lateness(
        &self,
        goal: &Goal,
        config: &Config,
        progress: Vec<Progress>,
        seq: Seq,
    ) -> ApiError {
        let id = goal.folder.id();
        let index = self.daemon.store.folder(id);
        let remembered = remember(&index).await.unwrap_or_default();
        let mut items = Vec::new();
        for Progress { device, acked, .. } in progress.into_iter().filter(|p| !p.is_done) {
            let name = self.name_of(config, device);
            items.push(if self.has_accepted(id, device, &remembered.marks) {
                let files = remembered.summary.files;
                let lacks = match lacks_of(&index, device, acked, seq, files).await {
                    0 => "some changes".to_owned(),
                    1 => "1 file".to_owned(),
                    files => format!("{files} files"),
                };
                let away = if self.is_connected(device) { "" } else { " and is not connected" };
                format!("{name} lacks {lacks} of '{id}'{away}")
            } else if self.is_connected(device) {
                format!("{name} has not taken the folder '{id}'")
            } else {
                format!("{name} is not connected and has not taken the folder '{id}'")
            });
        }
        ApiError::timed_out(LATE).listing(items)
    }
}

/// What is said when the time is over.
const LATE: &str = "the time is over and not all is durable elsewhere; see who lacks what with: \
                    syncctl status";

/// Makes one refusal of those of several folders: what a person must decide comes first.
fn joined(mut refused: Vec<ApiError>) -> Option<ApiError> {
    let weight = |error: &ApiError| match error.exit {
        Exit::NeedsPerson => 0,
        Exit::CouldNot | Exit::Usage | Exit::NotRunning => 1,
        Exit::TimedOut => 2,
    };
    refused.sort_by_key(weight);
    let mut refused = refused.into_iter();
    let first = refused.next()?;
    let (exit, sentence) = (first.exit, first.error.clone());
    let same = refused.filter(|other| other.exit == exit && other.error == sentence);
    let items: Vec<String> = same.flat_map(|other| other.items).collect();
    Some(first.listing(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_speaks_for_all_folders() {
        assert_eq!(joined(Vec::new()), None);
        let late = |item: &str| ApiError::timed_out(LATE).listing([item]);
        let both = joined(vec![late("a"), late("b")]).unwrap();
        assert_eq!((both.exit, both.items), (Exit::TimedOut, vec!["a".into(), "b".into()]));
        let held = ApiError::needs_person("held").listing(["x"]);
        let first = joined(vec![late("a"), ApiError::could_not("no"), held.clone()]).unwrap();
        assert_eq!(first, held, "a person can do something about it");
    }
}
