//! Records that nobody wrote, and frames that no value can hold.

use syncd_core::model::{
    Actor, ContentId, DeviceId, Dot, Incarnation, Kind, Record, RelPath, Version, Writer,
};

/// Makes records of a device that writes what it likes.
#[derive(Debug, Clone)]
pub struct Forger {
    writer: Writer,
    counter: u64,
}

impl Forger {
    /// Makes the forger of what `device` says it wrote.
    #[must_use]
    pub fn new(device: DeviceId) -> Self {
        let seconds = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
        Self { writer: Writer { device, incarnation: Incarnation(seconds) }, counter: 0 }
    }

    /// Returns the dot of its next write.
    pub fn dot(&mut self) -> Dot {
        self.counter += 1;
        Dot { writer: self.writer, counter: self.counter }
    }

    /// Makes a file of `bytes`.
    #[must_use]
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> (RelPath, Record) {
        self.made(path, Kind::File, bytes, 0o644)
    }

    /// Makes a directory.
    #[must_use]
    pub fn directory(&mut self, path: &str) -> (RelPath, Record) {
        self.made(path, Kind::Directory, &[], 0o755)
    }

    /// Makes a symlink to `target`.
    #[must_use]
    pub fn symlink(&mut self, path: &str, target: &str) -> (RelPath, Record) {
        self.made(path, Kind::Symlink, target.as_bytes(), 0)
    }

    /// Makes the delete of what `before` tells of.
    #[must_use]
    pub fn deleted(&mut self, before: &(RelPath, Record)) -> (RelPath, Record) {
        let (path, mut record) = self.made(&path_text(&before.0), Kind::Tombstone, &[], 0);
        record.version.join(&before.1.version);
        (path, record)
    }

    /// Makes `(path, record)` one that was written with knowledge of `before`.
    #[must_use]
    pub fn above(now: (RelPath, Record), before: &(RelPath, Record)) -> (RelPath, Record) {
        let (path, mut record) = now;
        record.version.join(&before.1.version);
        (path, record)
    }

    fn made(&mut self, path: &str, kind: Kind, bytes: &[u8], mode: u32) -> (RelPath, Record) {
        let dot = self.dot();
        let has_bytes = matches!(kind, Kind::File | Kind::Symlink);
        let record = Record {
            kind,
            size: bytes.len() as u64,
            mtime_ns: if has_bytes { 1_700_000_000_000_000_000 } else { 0 },
            mode,
            content: if has_bytes { ContentId::of(bytes) } else { ContentId::NONE },
            ancestors: Vec::new(),
            dot,
            version: Version::of(dot),
            author: self.writer.device,
            actor: Actor::Unknown,
            found: false,
        };
        (RelPath::parse(path).expect("a path that can be encoded"), record)
    }
}

fn path_text(path: &RelPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

/// Writes `bad` where a frame holds the bytes `good`, with the length that goes before it.
///
/// # Panics
/// When `good` stands there not exactly once.
#[must_use]
pub fn respelled(frame: &[u8], good: &[u8], bad: &[u8]) -> Vec<u8> {
    replaced(frame, &spelled(good), &spelled(bad))
}

/// Returns bytes with their count before them, as a frame has them.
#[must_use]
pub fn spelled(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64)[..], bytes].concat()
}

fn replaced(frame: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut places = frame.windows(old.len()).enumerate().filter(|(_, there)| *there == old);
    let (at, _) = places.next().expect("it stands in the frame");
    assert_eq!(places.next(), None, "it stands there once");
    [&frame[..at], new, &frame[at + old.len()..]].concat()
}

/// Returns a number as bincode writes it.
fn varint(number: u64) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    match number {
        0..=250 => vec![bytes[0]],
        251..=0xffff => [&[251][..], &bytes[..2]].concat(),
        0x1_0000..=0xffff_ffff => [&[252][..], &bytes[..4]].concat(),
        _ => [&[253][..], &bytes[..]].concat(),
    }
}
