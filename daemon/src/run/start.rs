//! Starting and ending the daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use sd_notify::NotifyState;
use syncd_api::sentence;
use syncd_core::protocol::tokens::Mint;
use syncd_home::{
    Config, Discovery, HTTP_LISTEN_DEFAULT, Home, HomeError, HomeLock, Listen, Topology,
};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, Semaphore};

use super::changes;
use super::desk::FrontDesk;
use super::folder::Folder;
use super::{
    Ailments, Daemon, Happening, Happenings, SERVING_MAX, Unfinished, folder, scrub, session,
};
use crate::flow::index::{Ledger, REINCARNATE, Store, begin_life};
use crate::world::control::{Control, Http};
use crate::world::net::{self, NetConfig, NetEvent};
use crate::world::spare;

/// How long folders may take to end. A stop takes less than 5 s.
const END_MAX: Duration = Duration::from_secs(4);

/// How long the store may take after that to become durable.
const STORE_MAX: Duration = Duration::from_millis(500);

/// Events numbered before a restart are below the number after it: the wall clock in
/// milliseconds gives the first number, which no run reaches by counting.
fn first_event() -> u64 {
    super::now_unix_ms()
}

/// Room that the home's disk must have at the start, in bytes: what opening the stores writes.
const START_ROOM_BYTES: usize = 4 << 20;

/// How a daemon that could start came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// It is to be started again: its stores must be opened anew.
    ToBeginAnew,
}

/// Runs the daemon of `home` until it is told to stop, or has to begin anew.
///
/// # Errors
/// When it cannot start: the home is in use, settings are bad, a port is taken, the disk fails.
pub async fn run(home: Home) -> anyhow::Result<Ended> {
    let lock = home.lock().map_err(said_of_home)?;
    if let Err(error) = home.try_room(START_ROOM_BYTES)
        && error.is_full()
    {
        return Err(said_of_home(error));
    }
    home.check_whole()?;
    let identity = home.init(None)?;
    let config = Config::load(&home)?;
    let (ledger, ledger_opened) = Ledger::open(&home.ledger_path())?;
    let (store, opened) = Store::open(&home.index_dir())?;
    let life = begin_life(&store, opened, &ledger, ledger_opened)?;
    if let Some(why) = &life.why {
        let joined = if life.index_kept { "" } else { "; folders are joined anew" };
        tracing::warn!(why, "a new incarnation begins{joined}");
    }
    warn_of_root();
    let unfinished =
        Unfinished { intents: ledger.pending_intents(), batches: ledger.pending_batches() };
    let trusted = config.devices.iter().filter(|d| may_talk(&config, d.id));
    let (net, events) = net::start(NetConfig {
        seed: *identity.seed(),
        listen: config.listen.addresses(),
        listen_is_default: matches!(config.listen, Listen::Default),
        mdns: config.discovery.contains(&Discovery::Mdns),
        name: config.name.clone(),
        trusted: trusted.map(|d| (d.id, remembered(&ledger, d))).collect(),
        limits: changes::rate_limits(&config),
    })
    .await?;
    let daemon = Arc::new(Daemon {
        home: home.clone(),
        me: identity.device_id,
        incarnation: life.incarnation,
        store,
        ledger,
        net,
        happenings: Happenings::new(first_event(), tokio::runtime::Handle::current()),
        ailments: Ailments::default(),
        started: Timestamp::now(),
        serving: Arc::new(Semaphore::new(SERVING_MAX)),
        config: RwLock::new(config.clone()),
        boot_nonce: getrandom::u64().context("the system gives no random numbers")?,
        mint: Mint::new(identity.seed(), life.counters.start),
        epochs: AtomicU32::new(0),
        folders: Mutex::new(BTreeMap::new()),
        peers: Mutex::default(),
        offered: Mutex::default(),
        held_by: Mutex::default(),
        unfinished: Mutex::new(unfinished),
        rolled_back: Notify::new(),
        anew: Notify::new(),
        heard: Mutex::default(),
    });
    for settings in config.folders.clone() {
        daemon.add_folder(folder::begin(&daemon, settings)?);
    }
    let control = open_control(&lock, &home, &config).await?;
    spare::fill();
    tokio::spawn(listen(Arc::clone(&daemon), events));
    let desk = Arc::new(FrontDesk::new(Arc::clone(&daemon)));
    look_after(&daemon, &desk);
    notify(&[NotifyState::Ready]);
    watchdog();
    tracing::info!(device = %daemon.me, home = %home.dir().display(), "syncd is running");
    let ended = serve(&daemon, desk, control).await?;
    drop(lock);
    Ok(ended)
}

/// Starts what looks after a daemon that runs: its settings and clocks, and its files' bytes.
fn look_after(daemon: &Arc<Daemon>, desk: &Arc<FrontDesk>) {
    tokio::spawn(changes::watch(Arc::clone(daemon), Arc::clone(desk)));
    tokio::spawn(scrub::watch(Arc::clone(daemon)));
}

/// Answers until told to stop, then ends the daemon in order.
async fn serve(
    daemon: &Arc<Daemon>,
    desk: Arc<FrontDesk>,
    control: Control,
) -> anyhow::Result<Ended> {
    let is_anew = AtomicBool::new(false);
    let stop = async {
        tokio::select! {
            () = stopped() => {}
            () = daemon.rolled_back.notified() => {}
            () = daemon.anew.notified() => is_anew.store(true, Ordering::Relaxed),
        }
    };
    control.serve(desk, spare::give_up_one, stop).await?;
    // A store or a lane that waits for a failed disk must not hold up the end: a little after the
    // folders had their time.
    if tokio::time::timeout(END_MAX + STORE_MAX, end(daemon)).await.is_err() {
        tracing::warn!("the end took too long; the next start puts in order what is left");
    }
    anyhow::ensure!(
        daemon.ledger.fact(REINCARNATE).is_none(),
        "another device has heard of this one since what it remembers: it was restored from an \
         older copy, or a copy of it runs elsewhere. Start syncd again: it goes on under a new \
         incarnation and loses nothing. A copy that is to run beside it needs an identity of its \
         own: remove its identity.key and ledger and pair it"
    );
    Ok(if is_anew.load(Ordering::Relaxed) { Ended::ToBeginAnew } else { Ended::Told })
}

/// Says of a home that cannot be used for want of room what to do about it.
fn said_of_home(error: HomeError) -> anyhow::Error {
    if error.is_full() {
        return anyhow::anyhow!("{}; make room there and start syncd again", sentence(&error));
    }
    error.into()
}

/// Tells whether this device talks to `device` at all.
fn may_talk(config: &Config, device: syncd_core::model::DeviceId) -> bool {
    match config.topology {
        Topology::Mesh => true,
        Topology::Hub { hub } => hub == device,
    }
}

/// Returns the addresses given for a device, the one that worked last, and where it last said it
/// can be reached.
fn remembered(ledger: &Ledger, device: &syncd_home::DeviceConfig) -> Vec<String> {
    let facts = [worked_fact(device.id), heard_fact(device.id)];
    let texts = facts.iter().filter_map(|fact| String::from_utf8(ledger.fact(fact)?).ok());
    let mut addresses = device.addresses.clone();
    for text in texts {
        for address in text.lines() {
            if !addresses.iter().any(|known| known == address) {
                addresses.push(address.to_owned());
            }
        }
    }
    addresses
}

fn worked_fact(device: syncd_core::model::DeviceId) -> String {
    format!("address/{device}")
}

fn heard_fact(device: syncd_core::model::DeviceId) -> String {
    format!("heard/{device}")
}

/// Keeps addresses for the next start; one that is not kept costs a little time then.
fn keep_addresses(ledger: &Ledger, fact: &str, addresses: &str) {
    if ledger.fact(fact).as_deref() != Some(addresses.as_bytes())
        && let Err(error) = ledger.set_fact(fact, Some(addresses.as_bytes()))
    {
        tracing::warn!(%error, "an address was not remembered");
    }
}

async fn open_control(lock: &HomeLock, home: &Home, config: &Config) -> anyhow::Result<Control> {
    let socket = lock.prepare_socket()?;
    let listen = config.http.listen.as_deref().unwrap_or(HTTP_LISTEN_DEFAULT);
    let http = Http {
        listen: listen.parse::<SocketAddr>().context("[http] listen is no address with a port")?,
        or_free_port: config.http.listen.is_none(),
        token: home.http_token()?,
    };
    let control = Control::open(&socket, Some(http)).await?;
    if let Some(at) = control.http_addr() {
        let path = home.http_addr_path();
        std::fs::write(&path, format!("{at}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(control)
}

/// Takes what happens on the network.
async fn listen(daemon: Arc<Daemon>, mut events: Receiver<NetEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Up(session) => {
                tokio::spawn(session::live(Arc::clone(&daemon), session));
            }
            // The session's own task has seen its lanes close.
            NetEvent::Down { .. } => {}
            NetEvent::Pending(pending) => {
                let text = format!(
                    "'{}' asks to be paired; if it is yours: syncctl pair {}",
                    pending.name, pending.device
                );
                tracing::info!("{text}");
                daemon.tell(Happening::device(pending.device, "device-pending", &text));
            }
            NetEvent::Listening(address) => tracing::info!(address, "listening"),
            NetEvent::AddressWorked { device, address } => {
                keep_addresses(&daemon.ledger, &worked_fact(device), &address);
            }
            NetEvent::AddressesHeard { device, addresses } => {
                keep_addresses(&daemon.ledger, &heard_fact(device), &addresses.join("\n"));
            }
            NetEvent::Warning(text) => tracing::warn!("{text}"),
        }
    }
}

/// Is ready when the process is told to stop.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopping");
    notify(&[NotifyState::Stopping]);
}

async fn end(daemon: &Arc<Daemon>) {
    let folders = daemon.folders();
    folders.iter().for_each(Folder::stop);
    daemon.net.shutdown().await;
    let (store, ledger) = (daemon.store.clone(), daemon.ledger.clone());
    let saved = tokio::task::spawn_blocking(move || {
        let until = Instant::now() + END_MAX;
        let all_ended = folders.iter().all(|folder| folder.has_ended(until));
        if let Err(error) = store.persist() {
            tracing::warn!(%error, "the index was not made durable at the end");
        } else if !all_ended {
            tracing::warn!("a folder is still at work; the next start puts it in order");
        } else if let Err(error) = ledger.end_cleanly() {
            tracing::warn!(%error, "the ledger was not closed");
        }
    });
    if saved.await.is_err() {
        tracing::warn!("the stores were not closed");
    }
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Shows the service manager signs of life at half its interval.
fn watchdog() {
    let Some(every) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(every / 2);
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    });
}

fn warn_of_root() {
    if rustix::process::geteuid().is_root() {
        tracing::warn!(
            "syncd runs as root: it reads and writes what others may not; run it as the user whose \
             files it syncs"
        );
    }
}
