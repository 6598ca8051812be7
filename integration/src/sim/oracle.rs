//! What must hold, whatever happened in whichever order.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use syncd_core::flow::index::MemIndex;
use syncd_core::flow::index::fingerprint::Fingerprint;
use syncd_core::flow::plan::conflict::is_copy_name;
use syncd_core::model::{ContentId, DeviceId, Dot, Kind, Record, RelPath};

use super::World;
use super::device::Device;
use super::faults::Fault;
use super::script::Op;

/// The name of what a touch leaves as it is.
pub const TOUCHED: &str = "touched";

/// What the users of one device did, and what they saw when they did it.
#[derive(Debug, Clone, Default)]
pub struct Deeds(Vec<Deed>);

#[derive(Debug, Clone)]
struct Deed {
    path: RelPath,
    act: Act,
    /// What the index made of it.
    record: Option<Record>,
    /// Whether the index may not know of it yet.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Act {
    /// A file was written.
    Wrote { name: String, content: ContentId, mtime_ns: i64 },
    /// Somebody who saw this content deleted it, or wrote over it.
    Removed(ContentId),
    /// A person let another version win over this one, wherever they differ.
    GivenUp(ContentId),
    /// No program wrote this, and yet it is written anew: a person said that what lies here stands,
    /// or it was `found` after a power loss. `but` is the write that it was before.
    Stands { content: ContentId, found: bool, but: Option<Dot> },
}

impl Deeds {
    /// Notes that a user wrote `content`.
    pub fn wrote(&mut self, path: &RelPath, name: &str, content: ContentId, mtime_ns: i64) {
        let act = Act::Wrote { name: name.to_owned(), content, mtime_ns };
        self.0.push(Deed { path: path.clone(), act, record: None, open: true });
    }

    /// Notes that a user removed `content` from `path`, to write there or not.
    pub fn removed(&mut self, path: &RelPath, content: ContentId) {
        if content != ContentId::NONE {
            let act = Act::Removed(content);
            self.0.push(Deed { path: path.clone(), act, record: None, open: true });
        }
    }

    /// Notes that a person let others win over `content`.
    pub fn given_up(&mut self, path: &RelPath, content: ContentId) {
        if content != ContentId::NONE {
            let act = Act::GivenUp(content);
            self.0.push(Deed { path: path.clone(), act, record: None, open: false });
        }
    }

    /// Notes that `content` stands at `path` from now on by another word than a program's: a
    /// person's, or fate's, where it is only `found`. What comes of it in the index is a write like
    /// any other, which a delete must have seen to be final, since a delete is undone by whoever
    /// writes the path again. But what was only found comes not back from a delete of these bytes.
    pub fn stands(&mut self, path: &RelPath, content: ContentId, found: bool, but: Option<Dot>) {
        if content != ContentId::NONE {
            let act = Act::Stands { content, found, but };
            self.0.push(Deed { path: path.clone(), act, record: None, open: true });
        }
    }

    /// Notes that nothing will be written any more for what persons said so far.
    pub fn words_are_over(&mut self) {
        for deed in self.0.iter_mut().filter(|deed| matches!(deed.act, Act::Stands { .. })) {
            deed.open = false;
        }
    }

    /// Notes that fate took from `path` what its user did there since it held `back`, as far as no
    /// peer has `heard` of it: of bytes that nobody has synced POSIX promises nothing, and what a
    /// peer has heard is kept there (SAFETY, I2). What was undone replaced nothing: that must still
    /// be wherever it is `held`, and may be gone where it is not.
    pub fn undone(
        &mut self,
        path: &RelPath,
        back: ContentId,
        heard: &dyn Fn(&Record) -> bool,
        held: &dyn Fn(ContentId) -> bool,
    ) {
        let wrote_it = |deed: &Deed| {
            deed.path == *path && matches!(deed.act, Act::Wrote { content, .. } if content == back)
        };
        let since = self.0.iter().rposition(wrote_it).map_or(0, |at| at + 1);
        let later = self.0.split_off(since);
        for mut deed in later {
            let kept = deed.path != *path || deed.record.as_ref().is_some_and(heard);
            match deed.act {
                _ if kept => {}
                // It may still be on its way to somebody: a delete need not have seen it.
                Act::Wrote { content, .. } if !held(content) => {
                    deed.act = Act::Stands { content, found: false, but: None };
                    deed.open = false;
                }
                Act::Removed(gone) if held(gone) => continue,
                Act::Removed(gone) => {
                    deed.act = Act::GivenUp(gone);
                    deed.open = false;
                }
                Act::Wrote { .. } | Act::GivenUp(_) | Act::Stands { .. } => {}
            }
            self.0.push(deed);
        }
    }

    /// Notes that the machine was set back to what it was `before`. What its users did since is
    /// as if it had not been, but for what a peer has `heard`; the last bytes of it may be lost.
    pub fn set_back(&mut self, before: &Self, heard: &dyn Fn(&RelPath, &Record) -> bool) {
        let since = self.0.split_off(before.0.len().min(self.0.len()));
        // What was not known then is seen once more.
        let again = before.0.iter().filter(|deed| deed.open).cloned();
        let mut later = Vec::from_iter(again);
        for mut deed in since {
            let is_heard = deed.record.as_ref().is_some_and(|record| heard(&deed.path, record));
            match deed.act {
                _ if is_heard => {}
                Act::Wrote { content, .. } => deed.act = Act::GivenUp(content),
                Act::Removed(content) => deed.act = Act::GivenUp(content),
                Act::GivenUp(_) | Act::Stands { .. } => {}
            }
            deed.open = false;
            later.push(deed);
        }
        self.0.extend(later);
    }

    /// Notes that the deletes at paths that `any` is true of were given up: what was deleted may
    /// come back, if anybody else has it.
    pub fn give_up_deletes(&mut self, any: impl Fn(&RelPath) -> bool) {
        for deed in self.0.iter_mut().filter(|deed| any(&deed.path)) {
            if let Act::Removed(content) = deed.act {
                deed.act = Act::GivenUp(content);
                deed.open = false;
            }
        }
    }

    /// Notes that a delete of `path` was not meant.
    pub fn forget_delete(&mut self, path: &RelPath) {
        self.0.retain(|deed| deed.path != *path || !matches!(deed.act, Act::Removed(_)));
    }

    /// Notes that the index was lost: deletes that nobody `knows` were never made.
    pub fn forget_unknown(&mut self, knows: &dyn Fn(&RelPath, &Record) -> bool) {
        for deed in self.0.iter_mut().filter(|deed| matches!(deed.act, Act::Removed(_))) {
            deed.record = deed.record.take().filter(|record| knows(&deed.path, record));
            deed.open = false;
        }
    }

    /// Tells whether the index may not know of something yet.
    #[must_use]
    pub fn has_open(&self) -> bool {
        self.0.iter().any(|deed| deed.open)
    }

    /// Notes what the index of device `me` made of deeds.
    pub fn close(&mut self, me: DeviceId, index: &MemIndex) {
        for deed in self.0.iter_mut().filter(|deed| deed.open) {
            let record = index.entry(&deed.path).map(|e| &e.record);
            if let Act::Stands { content, but, .. } = deed.act {
                let anew = |r: &&Record| {
                    let own = r.dot.writer.device == me && !r.dot.writer.is_untold();
                    own && r.content == content && Some(r.dot) != but
                };
                // It may be written more than once while its word holds: the last one counts.
                deed.record = record.filter(anew).cloned().or_else(|| deed.record.take());
                continue;
            }
            let known = match (&deed.act, record) {
                (Act::Wrote { content, mtime_ns, .. }, Some(record)) => {
                    record.content == *content && record.mtime_ns == *mtime_ns
                }
                (Act::Removed(content), Some(record)) => record.content != *content,
                (Act::Wrote { .. }, None) => false,
                (Act::Removed(_), None) => true,
                (Act::GivenUp(_) | Act::Stands { .. }, _) => true,
            };
            if known {
                deed.record = record.cloned();
                deed.open = false;
            }
        }
    }

    /// Gives all of it to `into`: what must hold at rest depends on it.
    pub fn fingerprint(&self, into: &mut impl Fingerprint) {
        for deed in &self.0 {
            into.value((&deed.path, &deed.act, deed.open, deed.record.is_some()));
            if let Some(record) = &deed.record {
                into.record(record);
            }
        }
    }
}

fn deeds(world: &World) -> impl Iterator<Item = &Deed> {
    world.devices.iter().flat_map(|device| device.deeds.0.iter())
}

/// Tells whether nothing written at the path of `removal` is concurrent with it or came after
/// it: what it removed must then not come back there.
fn is_final(world: &World, removal: &Deed) -> bool {
    let (Some(record), Act::Removed(gone)) = (&removal.record, &removal.act) else { return false };
    let saw = |written: &Record| record.version.contains(written.dot);
    deeds(world).filter(|deed| deed.path == removal.path).all(|deed| match deed.act {
        Act::Wrote { .. } => deed.record.as_ref().is_some_and(saw),
        // Nothing may have come of it.
        Act::Stands { content, found, .. } => {
            found && content == *gone || deed.record.as_ref().is_none_or(saw)
        }
        Act::Removed(_) | Act::GivenUp(_) => true,
    })
}

/// Checks what must hold at every moment: no device did what a lawful one never does, and one
/// vector is one record, over the whole history (the world keeps watch of both).
///
/// # Errors
/// A sentence that says what does not hold.
pub fn always(world: &World) -> Result<(), String> {
    match &world.broken {
        Some(what) => Err(format!("{what}\n{}", indexes(world))),
        None => Ok(()),
    }
}

/// Checks what must hold once nothing is under way.
///
/// # Errors
/// A sentence that says what does not hold.
pub fn at_rest(world: &World) -> Result<(), String> {
    same_everywhere(world)
        .and_then(|()| disk_as_index(world))
        .and_then(|()| nothing_lost(world))
        .and_then(|()| nothing_back(world))
        .map_err(|what| format!("{what}\n{}", indexes(world)))
}

/// Prints every device's index, for a failure's message.
pub(super) fn indexes(world: &World) -> String {
    let mut text = String::new();
    for (at, device) in world.devices.iter().enumerate() {
        for (path, entry) in device.index.entries() {
            let record = &entry.record;
            text += &format!(
                "{at}: {path} {:?} {:?} dot {:?} version {:?} seq {}\n",
                record.kind, record.content, record.dot, record.version, entry.seq
            );
            if let Some(reason) = device.engine.waits_for(path) {
                text += &format!("   waits: {reason}\n");
            }
        }
    }
    text
}

/// Checks that there is no conflict copy anywhere.
///
/// # Errors
/// Names the first copy.
pub fn no_copies(world: &World) -> Result<(), String> {
    for (at, device) in world.devices.iter().enumerate() {
        if let Some((path, _)) = device.disk.things().find(|(path, _)| is_copy_name(path.name())) {
            return Err(format!("device {at} has a copy nobody needed: {path}"));
        }
    }
    Ok(())
}

/// Checks that no path in which a single device acted has a conflict copy. A directory and what
/// lies in it count as one.
///
/// # Errors
/// Names the first such copy.
pub fn no_false_copies(world: &World, ops: &[(usize, Op)]) -> Result<(), String> {
    let top = |path: &RelPath| path.parts().next().unwrap_or_default().to_vec();
    let mut actors: BTreeMap<Vec<u8>, BTreeSet<usize>> = BTreeMap::new();
    for (at, op) in ops {
        for path in op.paths() {
            actors.entry(top(path)).or_default().insert(*at);
        }
    }
    for (at, device) in world.devices.iter().enumerate() {
        for (path, _) in device.disk.things().filter(|(path, _)| is_copy_name(path.name())) {
            let name = top(path);
            let stem = name.split(|b| *b == b'.').next().unwrap_or_default();
            if actors.get(stem).is_some_and(|devices| devices.len() == 1) {
                return Err(format!("device {at} has a copy of what one device wrote: {path}"));
            }
        }
    }
    Ok(())
}

/// Checks that every record is, counter for counter, as the device `writer` made it: others took
/// it and had nothing to resolve.
///
/// # Errors
/// Names the first record in whose version somebody else stands.
pub fn taken_as_is(world: &World, writer: usize) -> Result<(), String> {
    let writer = world.devices[writer].id;
    for (at, device) in world.devices.iter().enumerate() {
        for (path, entry) in device.index.entries() {
            if entry.record.version.counters().any(|(by, _)| by.device != writer) {
                return Err(format!("{path} has a counter of its own on device {at}"));
            }
        }
    }
    Ok(())
}

/// Checks that a file that a power loss emptied on the device `where_lost` was emptied nowhere
/// else.
///
/// # Errors
/// Names the first device that was told of it.
pub fn never_empty_elsewhere(world: &World, path: &str, where_lost: usize) -> Result<(), String> {
    let path = RelPath::parse(path).map_err(|error| error.to_string())?;
    let empty = |device: &Rc<Device>| {
        device.disk.get(&path).is_some_and(|thing| thing.content == ContentId::of(b""))
    };
    match world.devices.iter().enumerate().find(|(at, d)| *at != where_lost && empty(d)) {
        Some((at, _)) => Err(format!("{path} is empty on device {at}\n{}", indexes(world))),
        None => Ok(()),
    }
}

/// Checks that nothing lies at `path` on any device.
///
/// # Errors
/// Names the first device that has something there.
pub fn nothing_at(world: &World, path: &str) -> Result<(), String> {
    let path = RelPath::parse(path).map_err(|error| error.to_string())?;
    match world.devices.iter().position(|device| device.disk.get(&path).is_some()) {
        Some(at) => Err(format!("{path} is back on device {at}\n{}", indexes(world))),
        None => Ok(()),
    }
}

/// Checks, where users alone acted, that what they wrote at a path where nothing is left was
/// deleted by somebody who had seen that very write, or lives on as a copy. Writes that nobody
/// can tell apart, of the same bytes and time, count as one. A touch writes no bytes: an edit made
/// on what was touched takes the touch with it, and whoever saw the edit has seen all bytes that
/// lay there (SAFETY, I2 speaks of bytes; ARCHITECTURE, Merging).
///
/// # Errors
/// Names the first write that went unseen.
pub fn no_unseen_delete(world: &World) -> Result<(), String> {
    let Some(device) = world.devices.first() else { return Ok(()) };
    for deed in deeds(world) {
        let Act::Wrote { name, content, .. } = &deed.act else { continue };
        let Some(written) = &deed.record else { continue };
        let is_copy = |path: &RelPath| is_copy_name(path.name());
        let lives = device.disk.get(&deed.path).is_some()
            || device.disk.things().any(|(path, t)| is_copy(path) && t.content == *content);
        let at_path = |other: &&Deed| other.path == deed.path;
        let same = |record: &&Record| {
            let edits = name == TOUCHED && record.descends_from(*content);
            record.looks_like(written) || edits
        };
        let dots: Vec<Dot> = deeds(world)
            .filter(at_path)
            .filter(|other| matches!(other.act, Act::Wrote { .. }))
            .filter_map(|other| other.record.as_ref())
            .filter(same)
            .map(|record| record.dot)
            .collect();
        let seen = |other: &Deed| {
            let by = other.record.as_ref().map(|record| &record.version);
            matches!(other.act, Act::Removed(_))
                && at_path(&other)
                && by.is_some_and(|version| dots.iter().any(|dot| version.contains(*dot)))
        };
        // Somebody may have deleted the copy that it became.
        let copy_gone = |other: &Deed| is_copy(&other.path) && other.act == Act::Removed(*content);
        if !lives && !deeds(world).any(|other| seen(other) || copy_gone(other)) {
            let path = &deed.path;
            return Err(format!(
                "{name} at {path} was deleted by nobody who had seen it\n{}",
                indexes(world)
            ));
        }
    }
    Ok(())
}

type View = BTreeMap<RelPath, (Kind, ContentId, u32, i64)>;

fn view(world: &World, at: usize) -> View {
    let device = &world.devices[at];
    let shown = device.disk.things().filter(|(path, _)| {
        world.devices.iter().all(|d| d.synced(path))
            && device.index.entry(path).is_none_or(|e| e.record.is_live() || e.local.is_here())
    });
    shown
        .map(|(path, thing)| {
            let mtime = if thing.kind == Kind::Directory { 0 } else { thing.mtime_ns };
            (path.clone(), (thing.kind, thing.content, thing.mode, mtime))
        })
        .collect()
}

fn same_everywhere(world: &World) -> Result<(), String> {
    let first = view(world, 0);
    for at in 1..world.devices.len() {
        let other = view(world, at);
        if other != first {
            return Err(format!("devices 0 and {at} differ at rest:\n{first:#?}\n{other:#?}"));
        }
    }
    Ok(())
}

fn disk_as_index(world: &World) -> Result<(), String> {
    for (at, device) in world.devices.iter().enumerate() {
        for (path, entry) in device.index.entries() {
            let there = device.disk.get(path).map(|t| t.content);
            let should = entry.record.is_live().then_some(entry.record.content);
            if entry.local.is_here() && device.synced(path) && there != should {
                return Err(format!("device {at}: {path} is {there:?}, the index says {should:?}"));
            }
        }
    }
    Ok(())
}

fn nothing_lost(world: &World) -> Result<(), String> {
    let removed = |content| {
        let by = |act: &Act| match act {
            Act::Removed(was) | Act::GivenUp(was) => *was == content,
            Act::Wrote { .. } | Act::Stands { .. } => false,
        };
        deeds(world).any(|deed| by(&deed.act))
    };
    for deed in deeds(world) {
        let Act::Wrote { name, content, .. } = &deed.act else { continue };
        let there =
            |device: &Rc<Device>| device.disk.things().any(|(_, thing)| thing.content == *content);
        // Where some ignore the path, the others need not hear of it, nor of its copies.
        let all_sync = world.devices.iter().all(|device| device.synced(&deed.path));
        let kept = if all_sync {
            world.devices.iter().all(there)
        } else {
            world.devices.iter().any(there)
        };
        if !removed(*content) && !kept {
            return Err(format!("{name} is lost: nobody who saw it replaced it"));
        }
    }
    Ok(())
}

fn nothing_back(world: &World) -> Result<(), String> {
    // Who was taken out is waited for no more: what was deleted meanwhile is forgotten, and comes
    // back with whoever has lost his memory of it too.
    let lost = [Fault::StoreLost, Fault::LedgerLost, Fault::SetBack];
    let fired = |fault: &Fault| world.fired().of(*fault) > 0;
    if fired(&Fault::MemberRemoved) && lost.iter().any(fired) {
        return Ok(());
    }
    for deed in deeds(world) {
        let Act::Removed(content) = &deed.act else { continue };
        for (at, device) in world.devices.iter().enumerate() {
            let back = device.disk.get(&deed.path).is_some_and(|t| t.content == *content);
            if back && device.synced(&deed.path) && is_final(world, deed) {
                return Err(format!("{content:?} came back to {} on device {at}", deed.path));
            }
        }
    }
    Ok(())
}
