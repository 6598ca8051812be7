//! What happened, kept for a while and told to whoever follows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Map;
use syncd_api::{Event, PathText};
use syncd_core::model::{DeviceId, FolderId, RelPath};
use tokio::sync::broadcast;

/// Events that are remembered.
const KEPT_MAX: usize = 10_000;

/// Events that a slow follower may be behind before it misses some.
const BEHIND_MAX: usize = 4_096;

/// Something that happened, before it has a number and a time.
#[derive(Debug, Clone)]
pub struct Happening(Event);

impl Happening {
    fn new(kind: &str, text: &str) -> Self {
        Self(Event {
            id: 0,
            time: Timestamp::UNIX_EPOCH,
            kind: kind.to_owned(),
            folder: None,
            path: None,
            device_id: None,
            text: text.to_owned(),
            data: Map::new(),
        })
    }

    /// Something about this device as a whole.
    #[must_use]
    pub fn about(kind: &str, text: &str) -> Self {
        Self::new(kind, text)
    }

    /// Something about a folder.
    #[must_use]
    pub fn folder(folder: &FolderId, kind: &str, text: &str) -> Self {
        Self::new(kind, text).of(folder)
    }

    /// Something about a path.
    #[must_use]
    pub fn path(folder: &FolderId, kind: &str, path: RelPath, text: &str) -> Self {
        let mut happening = Self::folder(folder, kind, text);
        happening.0.path = Some(PathText::of(path.as_bytes()));
        happening
    }

    /// Something about a device.
    #[must_use]
    pub fn device(device: DeviceId, kind: &str, text: &str) -> Self {
        Self::new(kind, text).by(device)
    }

    /// Adds the device it concerns.
    #[must_use]
    pub fn by(mut self, device: DeviceId) -> Self {
        self.0.device_id = Some(device.to_string());
        self
    }

    /// Adds the folder it concerns.
    #[must_use]
    pub fn of(mut self, folder: &FolderId) -> Self {
        self.0.folder = Some(folder.to_string());
        self
    }

    /// Adds how a device is connected.
    #[must_use]
    pub fn via(mut self, path: &str) -> Self {
        self.0.data.insert("via".to_owned(), path.into());
        self
    }
}

/// The log of what happened. Clones are the same.
#[derive(Clone)]
pub struct Happenings {
    log: Arc<Mutex<Log>>,
    live: broadcast::Sender<Event>,
    runtime: tokio::runtime::Handle,
}

struct Log {
    next: u64,
    kept: VecDeque<Event>,
}

impl Happenings {
    /// Begins a log whose first event has the number `first`.
    #[must_use]
    pub fn new(first: u64, runtime: tokio::runtime::Handle) -> Self {
        let log = Log { next: first.max(1), kept: VecDeque::new() };
        Self { log: Arc::new(Mutex::new(log)), live: broadcast::Sender::new(BEHIND_MAX), runtime }
    }

    pub(super) fn runtime(&self) -> tokio::runtime::Handle {
        self.runtime.clone()
    }

    /// Gives a happening its number and time, keeps it and tells the followers.
    pub fn tell(&self, happening: Happening) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { id: log.next, time: Timestamp::now(), ..happening.0 };
        log.next += 1;
        if log.kept.len() == KEPT_MAX {
            log.kept.pop_front();
        }
        log.kept.push_back(event.clone());
        // Nobody may be following.
        let _ = self.live.send(event);
    }

    /// Returns the events after `since` that are still known, and what comes from then on.
    #[must_use]
    pub fn follow(&self, since: u64) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = log.kept.iter().filter(|event| event.id > since).cloned().collect();
        (kept, self.live.subscribe())
    }

    /// Returns the number of the last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).next - 1
    }
}
