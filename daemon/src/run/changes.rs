//! What changes around a running daemon: its settings, and the machine's sleep.

use std::sync::Arc;
use std::time::Duration;

use syncd_api::sentence;
use syncd_home::{Config, Listen, Rates};
use tokio::time::MissedTickBehavior;

use super::{Ailment, Daemon};
use crate::world::net::{Rate, RateLimits};

/// How often the settings file and the clocks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A gap of this much between the clock that counts sleep and the one that does not is a sleep.
const SLEEP_MIN: Duration = Duration::from_millis(500);

/// Watches the settings and the clocks until the daemon ends.
pub(super) async fn watch(daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stamp = stamp_of(&daemon);
    let mut slept = slept();
    loop {
        ticks.tick().await;
        let now = self::slept();
        if now.saturating_sub(slept) >= SLEEP_MIN {
            tracing::info!("the machine has slept; all devices are dialled at once");
            daemon.net.wake();
        }
        slept = now;
        let newest = stamp_of(&daemon);
        if newest != stamp {
            stamp = newest;
            reload(&daemon).await;
        }
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

/// Takes settings that were changed by hand or by another program, as far as a running daemon
/// can; bad ones change nothing.
async fn reload(daemon: &Daemon) {
    let config = match Config::load(&daemon.home) {
        Ok(config) => config,
        Err(error) => {
            let what = format!("the changed settings are not used: {}", sentence(&error));
            let remedy = "syncd goes on with the last good settings until that is mended";
            daemon.ail(Ailment::Settings, &what, remedy);
            return;
        }
    };
    daemon.heal(Ailment::Settings, "the settings can be read again");
    let before = daemon.config();
    if config == before {
        return;
    }
    if config.listen != before.listen
        && !matches!(config.listen, Listen::Default)
        && let Err(error) = daemon.net.relisten(config.listen.addresses()).await
    {
        tracing::warn!(%error, "the changed 'listen' is not used");
    }
    for device in &config.devices {
        if !before.devices.contains(device) {
            daemon.net.trust(device.id, device.addresses.clone()).await;
        }
    }
    for device in &before.devices {
        if !config.devices.iter().any(|d| d.id == device.id) {
            daemon.net.distrust(device.id).await;
        }
    }
    let started = |c: &Config| c.folders.clone();
    if started(&config) != started(&before) {
        tracing::warn!("folders changed in the settings file count from the next start");
    }
    tracing::info!("the settings were read again");
    daemon.set_config(Config { folders: before.folders, ..config });
}
