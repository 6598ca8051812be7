//! What changes around a running daemon: its settings, and the machine's sleep.

use std::sync::Arc;
use std::time::Duration;

use syncd_api::sentence;
use syncd_home::{Config, FolderConfig, Listen, Rates};
use tokio::time::MissedTickBehavior;

use super::desk::FrontDesk;
use super::{Ailment, Daemon};
use crate::flow::index::Failure;
use crate::world::net::{Rate, RateLimits};
use crate::world::spare;

/// What is said when no folder of the settings is refused any more.
const FOLDERS_WELL: &str = "all folders of the settings are used";

/// How often the settings file and the clocks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Room that the home's disk must have before a store that failed is opened again, in bytes:
/// some of its segments.
const ROOM_BYTES: usize = 16 << 20;

/// A gap of this much between the clock that counts sleep and the one that does not is a sleep.
const SLEEP_MIN: Duration = Duration::from_millis(500);

/// Watches the settings and the clocks until the daemon ends.
pub(super) async fn watch(daemon: Arc<Daemon>, desk: Arc<FrontDesk>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut taken, mut last) = (stamp_of(&daemon), stamp_of(&daemon));
    let mut slept = slept();
    loop {
        ticks.tick().await;
        let now = self::slept();
        if now.saturating_sub(slept) >= SLEEP_MIN {
            tracing::info!("the machine has slept; all devices are dialled at once");
            daemon.net.wake();
        }
        slept = now;
        spare::fill();
        look_at_stores(&daemon).await;
        let newest = stamp_of(&daemon);
        // Read once they rest: an editor may be in the middle of writing them.
        if newest == last && newest != taken {
            taken = newest;
            reload(&daemon, &desk).await;
        }
        last = newest;
    }
}

/// Returns how fast bytes may come and go by the settings.
pub(super) fn rate_limits(config: &Config) -> RateLimits {
    let rate = |rates: &Rates| Rate {
        send_bytes_per_s: rates.send_kib_per_s.map(|kib| kib << 10),
        receive_bytes_per_s: rates.receive_kib_per_s.map(|kib| kib << 10),
    };
    RateLimits {
        total: rate(&config.limits.rates),
        devices: config.devices.iter().map(|device| (device.id, rate(&device.rates))).collect(),
        limit_lan: config.limits.limit_lan,
    }
}

/// Looks whether index and ledger still take what must be kept. If not, waits until the disk
/// takes writes again, and then lets the daemon begin anew with what is on the disk.
async fn look_at_stores(daemon: &Arc<Daemon>) {
    let failure = match daemon.store.failure() {
        Some(failure) => failure.clone(),
        None if daemon.ledger.has_failed() => {
            Failure { why: "the disk did not take what was written".to_owned(), passes: true }
        }
        None => return,
    };
    if !failure.passes {
        let what = format!("syncd's own index is damaged: {}", failure.why);
        let remedy = "start syncd again: it builds the index anew and deletes nothing";
        return daemon.ail(Ailment::Home, &what, remedy);
    }
    let home = daemon.home.clone();
    let tried = tokio::task::spawn_blocking(move || home.try_room(ROOM_BYTES)).await;
    match tried {
        Ok(Ok(())) => {
            tracing::info!("the home can be written to again; syncd begins anew");
            daemon.begin_anew();
        }
        Ok(Err(error)) => {
            let what = format!("syncd cannot keep its index: {}", sentence(&error));
            let remedy = "make room there; syncd goes on by itself, and syncs nothing until then";
            daemon.ail(Ailment::Home, &what, remedy);
        }
        Err(error) => tracing::warn!(%error, "the home was not looked at"),
    }
}

/// Returns how long the machine has slept since it booted; zero where that is not known.
#[cfg(target_os = "linux")]
fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

#[cfg(not(target_os = "linux"))]
fn slept() -> Duration {
    Duration::ZERO
}

/// Returns what changes when the settings file is written.
fn stamp_of(daemon: &Daemon) -> Option<(std::time::SystemTime, u64)> {
    let meta = std::fs::metadata(daemon.home.config_path()).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Takes settings that were changed by hand or by another program; bad ones change nothing, and
/// missing ones do not mean that all is to be forgotten.
async fn reload(daemon: &Arc<Daemon>, desk: &FrontDesk) {
    let _turn = desk.turn().await;
    let remedy = "syncd goes on with the last good settings until that is mended";
    if stamp_of(daemon).is_none() {
        let what = format!("the settings {} are gone", daemon.home.config_path().display());
        return daemon.ail(Ailment::Settings, &what, remedy);
    }
    let config = match Config::load(&daemon.home) {
        Ok(config) => config,
        Err(error) => {
            let what = format!("the changed settings are not used: {}", sentence(&error));
            return daemon.ail(Ailment::Settings, &what, remedy);
        }
    };
    daemon.heal(Ailment::Settings, "the settings can be read again");
    let before = daemon.config();
    if config.listen == before.listen {
        daemon.heal(Ailment::Listening, "it listens where the settings say");
    }
    let is_used = |settings: &FolderConfig| {
        daemon.folder(&settings.id).is_some_and(|folder| folder.config() == *settings)
    };
    if config == before && config.folders.iter().all(is_used) {
        daemon.heal(Ailment::Folders, FOLDERS_WELL);
        return;
    }
    let mut listen = config.listen.clone();
    if config.listen != before.listen && !matches!(config.listen, Listen::Default) {
        match daemon.net.relisten(config.listen.addresses()).await {
            Ok(()) => daemon.heal(Ailment::Listening, "it listens where the settings say"),
            Err(error) => {
                let what = format!("the changed 'listen' is not used: {}", sentence(&error));
                let remedy = "syncd goes on listening where it did until that is mended";
                daemon.ail(Ailment::Listening, &what, remedy);
                listen = before.listen.clone();
            }
        }
    }
    for device in &config.devices {
        if !before.devices.contains(device) {
            daemon.net.trust(device.id, device.addresses.clone()).await;
        }
    }
    for device in &before.devices {
        if !config.devices.iter().any(|d| d.id == device.id) {
            daemon.net.distrust(device.id).await;
            daemon.ailments.clear(Ailment::Clock(device.id));
        }
    }
    daemon.set_config(Config { folders: before.folders, listen, ..config.clone() });
    let (folders, troubles) = desk.take_folders(&config.folders).await;
    match troubles.is_empty() {
        true => daemon.heal(Ailment::Folders, FOLDERS_WELL),
        false => {
            let what = format!("the changed settings are used in part: {}", troubles.join("; "));
            let path = daemon.home.config_path();
            let remedy = format!("mend it in {}; all else goes on", path.display());
            daemon.ail(Ailment::Folders, &what, &remedy);
        }
    }
    tracing::info!("the settings were read again");
    daemon.set_config(Config { folders, ..daemon.config() });
}
