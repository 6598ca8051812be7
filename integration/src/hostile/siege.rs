//! A victim between an honest peer and a hostile one.

use syncd_core::model::DeviceId;
use syncd_core::protocol::tokens::TOKEN_BYTES;

use super::session::Ears;
use super::{Hostile, Outside, Session, WAIT_MAX};
use crate::process::write;
use crate::process::{Device, FOLDER, Listen, Scratch, differences, eventually, introduce, share};

/// The folder that the hostile peer is not given.
pub const PRIVATE: &str = "private";

/// What stands in the file `secret` of the private folder.
pub const SECRET: &[u8] = b"a secret that nobody else may have\n";

/// A victim that shares a folder with an honest device and with a hostile one, and another folder
/// with the honest one only.
#[derive(Debug)]
pub struct Siege {
    /// The one under attack.
    pub victim: Device,
    /// A device that goes on working.
    pub honest: Device,
    /// The one that attacks.
    pub hostile: Hostile,
    /// What lies beside the folders.
    pub outside: Outside,
    edits: u32,
    scratch: Scratch,
}

impl Siege {
    /// Makes all three; the victim's daemon is started by `program`, if there is one.
    ///
    /// # Panics
    /// When that does not come about.
    #[must_use]
    pub fn laid(program: impl FnOnce(&std::path::Path) -> Vec<String>) -> Self {
        let scratch = Scratch::new();
        let mut victim = Device::init(scratch.path(), "victim", Listen::Port);
        let mut honest = Device::init(scratch.path(), "honest", Listen::Port);
        let outside = Outside::make(&scratch.path().join("outside"));
        victim.ok(&["config", "set", "listen", &victim.address(), &quic(&victim)]);
        victim.run_under(&program(scratch.path()));
        victim.start();
        honest.start();
        introduce(&victim, &honest, &honest.address());
        let private = scratch.path().join("victim-private");
        write(&private.join("secret"), SECRET);
        let at = private.display().to_string();
        victim.ok(&["folder", "add", &at, "--id", PRIVATE, "--with", "honest"]);
        share(&victim, &honest);
        let at = scratch.path().join("honest-private").display().to_string();
        eventually(WAIT_MAX, "the honest one takes the other folder too", || {
            let answer = honest.ctl(&["folder", "accept", PRIVATE, &at]);
            if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
        });
        let hostile = Hostile::before(id(&victim), 1);
        victim.ok(&["pair", &hostile.id().to_string(), "--name", "hostile"]);
        victim.ok(&["folder", "share", FOLDER, "--with", "hostile"]);
        Self { victim, honest, hostile, outside, edits: 0, scratch }
    }

    /// Makes all three with daemons as they are.
    #[must_use]
    pub fn new() -> Self {
        Self::laid(|_| Vec::new())
    }

    /// Opens a session of the hostile device.
    #[track_caller]
    #[must_use]
    pub fn session(&self) -> Session {
        self.hostile.session(id(&self.victim), &self.victim.address(), Ears::Open)
    }

    /// Opens one that shows a session token.
    #[track_caller]
    #[must_use]
    pub fn session_showing(&self, token: [u8; TOKEN_BYTES]) -> Session {
        self.hostile.session_showing(id(&self.victim), &self.victim.address(), token)
    }

    /// Opens one that reads no contents.
    #[track_caller]
    #[must_use]
    pub fn deaf_session(&self) -> Session {
        self.hostile.session(id(&self.victim), &self.victim.address(), Ears::DeafToAnswers)
    }

    /// Waits until what lies at the victim is at the honest device too.
    ///
    /// # Panics
    /// When that takes more than 2 minutes.
    #[track_caller]
    pub fn settle(&self) {
        self.victim.ok(&["flush", "--device", "honest", "--timeout", "2m"]);
    }

    /// Returns where the victim takes QUIC.
    #[must_use]
    pub fn quic(&self) -> String {
        quic(&self.victim)
    }

    /// Returns a path beside the homes.
    #[must_use]
    pub fn aside(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    /// Asserts that the attack `what` came to nothing: the victim lives, its memory and what lies
    /// outside are as they should be, and an edit of each side reaches the other.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_unharmed(&mut self, what: &str, resident_bytes_max: u64) {
        self.outside.assert_untouched(what);
        self.edits += 1;
        for (from, to) in [(&self.victim, &self.honest), (&self.honest, &self.victim)] {
            let name = format!("edit-{}-of-{}", self.edits, from.name());
            write(&from.path(&name), format!("after {what}"));
            eventually(WAIT_MAX, &format!("{what}: {name} reaches {}", to.name()), || {
                let came = std::fs::read(to.path(&name)).map_err(|error| error.to_string())?;
                let is_whole = came == format!("after {what}").into_bytes();
                if is_whole { Ok(()) } else { Err(format!("{came:?}")) }
            });
        }
        let resident_bytes = self.victim.resident_bytes_max();
        assert!(resident_bytes <= resident_bytes_max, "{what}: {} MiB", resident_bytes >> 20);
    }

    /// Waits until the victim and the honest device hold the same.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn agree(&self) {
        eventually(WAIT_MAX, "the honest ones hold the same", || {
            let found = differences(self.victim.root(), self.honest.root());
            if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
        });
    }
}

impl Default for Siege {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a device's id.
///
/// # Panics
/// Never: a device shows its id.
#[must_use]
pub fn id(device: &Device) -> DeviceId {
    DeviceId::parse(device.id()).expect("a device shows its id")
}

fn quic(device: &Device) -> String {
    format!("/ip4/127.0.0.1/udp/{}/quic-v1", device.port())
}
