//! Several devices that know each other.

use std::ops::{Index, IndexMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Device, Listen, Proxy, differences, eventually, is_long};

/// The id of the folder that is shared.
pub const FOLDER: &str = "work";

/// How long it may take until an offer of a folder arrives.
const OFFER_MAX: Duration = Duration::from_secs(30);

/// How long two devices may take until they hold the same. Unoptimised builds take their time.
const AGREE_MAX: Duration = Duration::from_secs(120);

/// How long they may take over what only long runs give them: gigabytes, and 100,000 files.
const AGREE_LONG_MAX: Duration = Duration::from_secs(1_200);

/// A directory that vanishes with its owner, unless `SYNCD_KEEP` is set.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes one, with a short path: sockets lie below it.
    ///
    /// # Panics
    /// When the disk does not take it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let mut dir = tempfile::Builder::new().prefix("sd-").tempdir();
        if std::env::var_os("SYNCD_KEEP").is_some()
            && let Ok(dir) = &mut dir
        {
            dir.disable_cleanup(true);
            eprintln!("kept: {}", dir.path().display());
        }
        Self(dir.expect("a directory can be made"))
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Two devices, `laptop` and `devbox`, of which the laptop dials.
///
/// Fields are dropped in this order: the daemons end before their homes vanish.
#[derive(Debug)]
pub struct Pair {
    /// The one that shared the folder.
    pub laptop: Device,
    /// The one that accepted it.
    pub devbox: Device,
    /// What is between them, in a pair made by [`Pair::through_proxy`].
    proxy: Option<Proxy>,
    scratch: Scratch,
}

impl Pair {
    /// Makes two running devices that do not know each other.
    #[must_use]
    pub fn strangers() -> Self {
        let mut pair = Self::made(Listen::Port);
        pair.laptop.start();
        pair.devbox.start();
        pair
    }

    /// Makes two running devices that trust each other and share nothing.
    #[must_use]
    pub fn acquainted() -> Self {
        let pair = Self::strangers();
        introduce(&pair.laptop, &pair.devbox, &pair.devbox.address());
        pair
    }

    /// Makes two running devices that share an empty folder.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts two processes")]
    pub fn new() -> Self {
        let pair = Self::acquainted();
        share(&pair.laptop, &pair.devbox);
        pair
    }

    /// Makes two running devices that share an empty folder and reach each other through a
    /// proxy only.
    #[must_use]
    pub fn through_proxy() -> Self {
        let mut pair = Self::made(Listen::Nowhere);
        pair.laptop.start();
        pair.devbox.start();
        let proxy = Proxy::to(pair.devbox.port());
        introduce(&pair.laptop, &pair.devbox, &proxy.address());
        pair.proxy = Some(proxy);
        share(&pair.laptop, &pair.devbox);
        pair
    }

    /// Makes two running devices that share an empty folder, and that permissions keep out even
    /// when the test runs as root.
    #[must_use]
    pub fn bound_by_permissions() -> Self {
        let mut pair = Self::made(Listen::Port);
        for device in [&mut pair.laptop, &mut pair.devbox] {
            if rustix::process::geteuid().is_root() {
                device.run_under(&["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]);
            }
            device.start();
        }
        introduce(&pair.laptop, &pair.devbox, &pair.devbox.address());
        share(&pair.laptop, &pair.devbox);
        pair
    }

    /// Makes two devices that are not running and do not know each other. The devbox's home and
    /// folder lie in `aside`, seen from the scratch directory.
    #[must_use]
    pub fn idle(scratch: Scratch, aside: &str) -> Self {
        let laptop = Device::init(scratch.path(), "laptop", Listen::Port);
        let devbox = Device::init(&scratch.path().join(aside), "devbox", Listen::Port);
        Self { laptop, devbox, proxy: None, scratch }
    }

    fn made(laptop: Listen) -> Self {
        let scratch = Scratch::new();
        let laptop = Device::init(scratch.path(), "laptop", laptop);
        let devbox = Device::init(scratch.path(), "devbox", Listen::Port);
        Self { laptop, devbox, proxy: None, scratch }
    }

    /// Returns the proxy.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("this pair was made with a proxy")
    }

    /// Returns a path beside the homes.
    #[must_use]
    pub fn aside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Returns both devices, the one from which things begin first: each row of a table is tried
    /// from both sides.
    #[must_use]
    pub fn sides(&self) -> [(&Device, &Device); 2] {
        [(&self.laptop, &self.devbox), (&self.devbox, &self.laptop)]
    }

    /// Waits until each knows that it is connected to the other.
    #[track_caller]
    pub fn await_connected(&self) {
        self.laptop.await_connected("devbox");
        self.devbox.await_connected("laptop");
    }

    /// Waits until both hold the same, with nothing left to tell.
    ///
    /// # Panics
    /// When that takes more than 2 minutes, or 20 of a long run.
    #[track_caller]
    pub fn agree(&self) {
        agree(&[&self.laptop, &self.devbox]);
    }

    /// Asserts that both hold the same now.
    ///
    /// # Panics
    /// With the differences.
    #[track_caller]
    pub fn assert_equal(&self, because: &str) {
        let found = differences(self.laptop.root(), self.devbox.root());
        assert!(found.is_empty(), "{because}: {found:#?}");
    }
}

/// Who knows whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Everybody knows everybody.
    Mesh,
    /// Everybody knows the first one only.
    Hub,
}

/// Some devices that share an empty folder; the first one shared it with the others.
#[derive(Debug)]
pub struct Fleet {
    devices: Vec<Device>,
    _scratch: Scratch,
}

impl Fleet {
    /// Makes `count` running devices.
    #[must_use]
    pub fn new(count: usize, topology: Topology) -> Self {
        let scratch = Scratch::new();
        let name = |at: usize| if at == 0 { "hub".to_owned() } else { format!("box{at}") };
        let mut devices: Vec<_> =
            (0..count).map(|at| Device::init(scratch.path(), &name(at), Listen::Port)).collect();
        devices.iter_mut().for_each(Device::start);
        for (at, one) in devices.iter().enumerate() {
            let known = if topology == Topology::Mesh || at == 0 { count } else { 0 };
            for other in devices.iter().take(known).skip(at + 1) {
                introduce(one, other, &other.address());
            }
        }
        for other in &devices[1..] {
            share(&devices[0], other);
        }
        if topology == Topology::Mesh {
            let boxes = &devices[1..];
            for one in boxes {
                for other in boxes.iter().filter(|other| other.id() != one.id()) {
                    one.ok(&["folder", "share", FOLDER, "--with", other.name()]);
                }
            }
        }
        Self { devices, _scratch: scratch }
    }

    /// Waits until all that run hold the same, with nothing left to tell.
    ///
    /// # Panics
    /// When that takes more than 2 minutes, or 20 of a long run.
    #[track_caller]
    pub fn agree(&self) {
        agree(&self.devices.iter().collect::<Vec<_>>());
    }
}

impl Index<usize> for Fleet {
    type Output = Device;

    fn index(&self, at: usize) -> &Device {
        &self.devices[at]
    }
}

impl IndexMut<usize> for Fleet {
    fn index_mut(&mut self, at: usize) -> &mut Device {
        &mut self.devices[at]
    }
}

/// Lets two devices trust each other; `one` is told that the other is found at `address`.
///
/// # Panics
/// When they are not connected within 30 s.
#[track_caller]
pub fn introduce(one: &Device, other: &Device, address: &str) {
    one.ok(&["pair", other.id(), "--name", other.name(), "--address", address]);
    other.ok(&["pair", one.id(), "--name", one.name()]);
    one.await_connected(other.name());
    other.await_connected(one.name());
}

/// Shares the folder of `from` with `to`, which takes it.
///
/// # Panics
/// When the offer does not arrive within 30 s.
#[track_caller]
pub fn share(from: &Device, to: &Device) {
    std::fs::create_dir_all(from.root()).expect("a directory can be made");
    let root = from.root().to_string_lossy();
    let folders = from.json(&["folder", "ls"]);
    let has_it = folders.as_array().is_some_and(|all| all.iter().any(|one| one["id"] == FOLDER));
    if has_it {
        from.ok(&["folder", "share", FOLDER, "--with", to.name()]);
    } else {
        from.ok(&["folder", "add", &root, "--id", FOLDER, "--with", to.name()]);
    }
    let root = to.root().to_string_lossy();
    eventually(OFFER_MAX, &format!("{} accepts {FOLDER}", to.name()), || {
        let answer = to.ctl(&["folder", "accept", FOLDER, &root]);
        assert!([0, 1].contains(&answer.code), "folder accept: {}", answer.stderr);
        if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
    });
}

/// Waits until `devices` hold the same and each has told the others so.
#[track_caller]
fn agree(devices: &[&Device]) {
    let wait_max = if is_long() { AGREE_LONG_MAX } else { AGREE_MAX };
    eventually(wait_max, "all hold the same", || {
        for device in devices {
            let answer = device.ctl(&["flush", "--timeout", "60s"]);
            if answer.code != 0 {
                return Err(format!("{} cannot flush: {}", device.name(), answer.stderr));
            }
        }
        let found: Vec<_> = devices[1..]
            .iter()
            .flat_map(|other| differences(devices[0].root(), other.root()))
            .collect();
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    });
}
