//! What users and fate do to a device, and how the device notices.

use std::rc::Rc;

use syncd_core::engine::{Cause, Event, Intended, There};
use syncd_core::flow::detect::Look;
use syncd_core::flow::plan::conflict::is_copy_name;
use syncd_core::flow::settle::Becoming;
use syncd_core::model::{ContentId, Entry, Favour, Kind, Record, RelPath, Role};

use super::World;
use super::device::{Device, Duty};
use super::diary::letter;
use super::disk::{Disk, Thing};
use super::faults::Fault;
use super::oracle::{Deeds, TOUCHED};
use super::script::Op;

/// Nanoseconds in a second: scripts speak of seconds.
const SECOND: i64 = 1_000_000_000;

impl World {
    /// Lets a user or fate act on a device, and the device notice.
    pub fn play(&mut self, at: usize, op: &Op) {
        self.diary.step(format_args!("{}: {op:?}", letter(at)));
        if op.is_plain() && !self.devices[at].is_mounted() {
            return;
        }
        match op {
            Op::Write(path, name, mtime) => self.write(at, path, name, *mtime),
            Op::Touch(path, mtime) => self.touch(at, path, *mtime),
            Op::Delete(path) => self.delete(at, path),
            Op::DeleteCopy => self.delete_copy(at),
            Op::Rename(from, to) => self.rename(at, from, to),
            Op::MakeDir(path) => {
                let there = self.devices[at].disk.get(path);
                if there.is_none_or(|t| t.kind != Kind::Directory) {
                    self.clear(at, path, None);
                    self.disk(at).write(path, Kind::Directory, ContentId::NONE, 0);
                    self.notice(at, &[path]);
                }
            }
            Op::Ignore(prefix) => {
                self.device(at).ignored = prefix.clone();
                self.fired.note(Fault::RulesChanged);
                self.read_rules(at);
                self.notice(at, &[&RelPath::root()]);
            }
            Op::LoseStore => self.lose_store(at),
            Op::Revert(path, name, mtime) => self.revert(at, path, name, *mtime),
            Op::PowerLoss(path, name, mtime) => self.lose_power(at, path, name.as_deref(), *mtime),
            Op::CrashAfterSettle => self.device(at).crash_next = true,
            Op::Crash => self.crash(at, true),
            Op::NewLife => self.begin_life(at),
            Op::Cut => {
                if self.apart.insert(at) {
                    self.fired.note(Fault::Partition);
                    self.disconnect(at);
                }
            }
            Op::Join => {
                if self.apart.remove(&at) {
                    self.reconnect(at);
                }
            }
            Op::Scan => self.scan(at),
            Op::Approve => self.tell(at, Event::Approved),
            Op::Reject => {
                for path in self.devices[at].engine.held().clone() {
                    Rc::make_mut(&mut self.device(at).deeds).forget_delete(&path);
                }
                self.tell(at, Event::Rejected);
            }
            Op::Decide(approved) => {
                if !approved && !self.braked_peers(at).is_empty() {
                    self.fired.note(Fault::Rejected);
                    // What comes back may have been anybody's delete by now, or will be.
                    for other in 0..self.devices.len() {
                        self.deeds(other).give_up_deletes(|_| true);
                    }
                    self.all_stands(at);
                }
                self.decide(at, *approved);
            }
            Op::Role(role) => self.take_role(at, *role),
            Op::Overrule => self.overrule(at),
            Op::GiveUp => self.give_up(at),
            Op::Rejoin(favour) => self.rejoin(at, *favour),
            Op::Befalls(mishap) => self.befall(at, *mishap),
        }
        self.say();
    }

    fn delete_copy(&mut self, at: usize) {
        let disk = self.devices[at].disk.clone();
        let copy = disk.things().map(|(path, _)| path).find(|p| is_copy_name(p.name()));
        if let Some(copy) = copy {
            self.delete(at, copy);
        }
    }

    fn begin_life(&mut self, at: usize) {
        self.fired.note(Fault::Renamed);
        self.device(at).reincarnate();
        let me = self.devices[at].writer();
        self.tell(at, Event::LifeBegun { me });
    }

    fn overrule(&mut self, at: usize) {
        self.fired.note(Fault::Overruled);
        self.excuse(at, &Vec::from_iter(0..self.devices.len()));
        if self.devices[at].role == Role::SendOnly {
            self.all_stands(at);
        }
        self.tell(at, Event::Overruled);
    }

    fn give_up(&mut self, at: usize) {
        if self.devices[at].role != Role::ReceiveOnly {
            return;
        }
        self.fired.note(Fault::Overruled);
        self.excuse(at, &[at]);
        let index = self.devices[at].index.clone();
        let withheld = |p: &RelPath| index.entry(p).is_some_and(|e| e.local.is_withheld());
        self.deeds(at).give_up_deletes(withheld);
        self.disconnect(at);
        self.tell(at, Event::Reverted);
        self.reconnect(at);
    }

    fn rejoin(&mut self, at: usize, favour: Favour) {
        self.fired.note(Fault::Rejoined);
        let everybody = Vec::from_iter(0..self.devices.len());
        self.excuse(at, &everybody);
        for other in everybody {
            self.deeds(other).give_up_deletes(|_| true);
        }
        self.all_stands(at);
        self.device(at).joining = Some(favour);
        self.lose_store(at);
    }

    pub(super) fn take_role(&mut self, at: usize, role: Role) {
        if self.devices[at].role != role {
            self.fired.note(Fault::RoleChanged);
        }
        self.device(at).role = role;
        if role == Role::SendOnly {
            self.device(at).joining = None;
        }
        self.tell(at, Event::RoleIs { role });
    }

    /// Notes that the person at a device gives up what lies on the disks of `whose`, where others
    /// differ: it is in a trash then, which is not simulated.
    fn excuse(&mut self, at: usize, whose: &[usize]) {
        for other in whose {
            let disk = self.devices[*other].disk.clone();
            for (path, thing) in disk.things() {
                self.deeds(at).given_up(path, thing.content);
            }
        }
    }

    /// Notes that the person at a device says of all that lies there that it stands.
    fn all_stands(&mut self, at: usize) {
        let disk = self.devices[at].disk.clone();
        for (path, thing) in disk.things() {
            let but = self.devices[at].index.entry(path).map(|entry| entry.record.dot);
            self.deeds(at).stands(path, thing.content, false, but);
        }
    }

    /// Notes that a user removed `content` from `path`. Whoever joins may prefer it.
    fn removed(&mut self, at: usize, path: &RelPath, content: ContentId) {
        match self.devices.iter().any(|device| device.joining.is_some()) {
            true => self.deeds(at).given_up(path, content),
            false => self.deeds(at).removed(path, content),
        }
    }

    fn disk(&mut self, at: usize) -> &mut Disk {
        Rc::make_mut(&mut self.device(at).disk)
    }

    fn deeds(&mut self, at: usize) -> &mut Deeds {
        Rc::make_mut(&mut self.device(at).deeds)
    }

    /// Lets the watcher notice changes. Prompt devices look at everything.
    fn notice(&mut self, at: usize, paths: &[&RelPath]) {
        if self.devices[at].deaf {
            return self.fired.note(Fault::EventsLost);
        }
        let all = || vec![Look::Tree(RelPath::root())];
        if !self.late {
            return self.begin_look(at, Cause::Watched, all());
        }
        for path in paths {
            let mut what: Vec<Look> = path.ancestors().map(Look::Path).collect();
            what.reverse();
            what.push(Look::Tree((*path).clone()));
            self.device(at).duties.push_back(Duty::Notice(what));
        }
    }

    /// Removes what is in the way of something new at `path`, but for what lies there and is `but`
    /// itself.
    fn clear(&mut self, at: usize, path: &RelPath, but: Option<ContentId>) {
        let same = (path, but);
        let mut gone = self.disk(at).remove(path);
        for dir in path.ancestors() {
            if self.devices[at].disk.get(&dir).is_some_and(|t| t.kind != Kind::Directory) {
                gone.extend(self.disk(at).remove(&dir));
            }
        }
        for (path, content) in gone {
            if (&path, Some(content)) != same {
                self.removed(at, &path, content);
            }
        }
    }

    fn write(&mut self, at: usize, path: &RelPath, name: &str, mtime: i64) {
        let mtime = mtime + self.devices[at].clock_s;
        let content = ContentId::of(name.as_bytes());
        self.clear(at, path, Some(content));
        self.disk(at).write(path, Kind::File, content, mtime * SECOND);
        if self.devices.iter().any(|device| device.joining.is_some()) {
            // Whoever joins may prefer another version.
            self.deeds(at).given_up(path, content);
        }
        if self.devices[at].synced(path) {
            self.deeds(at).wrote(path, name, content, mtime * SECOND);
        }
        self.notice(at, &[path]);
    }

    fn touch(&mut self, at: usize, path: &RelPath, mtime: i64) {
        let mtime = mtime + self.devices[at].clock_s;
        if let Some(thing) = self.devices[at].disk.get(path).cloned()
            && thing.kind == Kind::File
        {
            self.disk(at).write(path, thing.kind, thing.content, mtime * SECOND);
            self.deeds(at).wrote(path, TOUCHED, thing.content, mtime * SECOND);
            self.notice(at, &[path]);
        }
    }

    fn delete(&mut self, at: usize, path: &RelPath) {
        for (path, content) in self.disk(at).remove(path) {
            self.removed(at, &path, content);
        }
        self.notice(at, &[path]);
    }

    fn rename(&mut self, at: usize, from: &RelPath, to: &RelPath) {
        if to == from || to.is_below(from) || from.is_below(to) {
            return;
        }
        let moved = self.disk(at).take_away(from);
        if moved.is_empty() {
            return;
        }
        let same = moved.iter().find(|(path, t)| path == from && t.kind == Kind::File);
        self.clear(at, to, same.map(|(_, thing)| thing.content));
        for (path, thing) in moved {
            self.removed(at, &path, thing.content);
            let tail = path.as_bytes()[from.as_bytes().len()..].to_vec();
            let target = RelPath::parse([to.as_bytes(), &tail].concat()).expect("a path");
            self.disk(at).move_to(&target, &thing);
            if thing.kind == Kind::File {
                self.deeds(at).wrote(&target, "moved", thing.content, thing.mtime_ns);
            }
        }
        self.notice(at, &[from, to]);
    }

    pub(super) fn lose_store(&mut self, at: usize) {
        self.fired.note(Fault::StoreLost);
        self.disconnect(at);
        let others: Vec<_> = self
            .devices
            .iter()
            .enumerate()
            .filter(|(o, _)| *o != at)
            .map(|(_, d)| d.clone())
            .collect();
        self.deeds(at).forget_unknown(&|path, record| {
            let told = |d: &Rc<Device>| {
                d.index.entry(path).is_some_and(|e| e.record.version.contains(record.dot))
            };
            others.iter().any(told)
        });
        let links = self.links.clone();
        self.device(at).start(true, &links, at);
        self.settings(at);
        self.restart(at);
    }

    fn revert(&mut self, at: usize, path: &RelPath, name: &str, mtime: i64) {
        let content = ContentId::of(name.as_bytes());
        self.disk(at).write(path, Kind::File, content, mtime * SECOND);
        self.set_back(at, path, content);
        self.lose_store(at);
    }

    /// Lets the disk forget what nobody had made durable: `path` holds earlier bytes again, or
    /// none.
    fn lose_power(&mut self, at: usize, path: &RelPath, name: Option<&str>, mtime: i64) {
        let own = |e: &Entry| e.record.kind == Kind::File && !e.local.data_durable;
        let disk = &self.devices[at].disk;
        let is_dir = |p: &RelPath| disk.get(p).is_some_and(|t| t.kind == Kind::Directory);
        // Bytes go back, and a file that was removed is there again; where names have become
        // those of files or directories since, a journal keeps them.
        let in_place = !is_dir(path) && path.ancestors().all(|dir| is_dir(&dir));
        if in_place && self.devices[at].index.entry(path).is_some_and(own) {
            let content = ContentId::of(name.unwrap_or_default().as_bytes());
            if let Some(back) = self.disk(at).lose_power(path, content, mtime * SECOND) {
                self.fired.note(Fault::PowerLoss);
                self.set_back(at, path, back);
            }
        }
        self.device(at).shaken = true;
        self.device(at).reincarnate();
        self.crash(at, false);
    }

    /// Notes that a power loss has put `back` where something else lay.
    fn set_back(&mut self, at: usize, path: &RelPath, back: ContentId) {
        let but = self.devices[at].index.entry(path).map(|entry| entry.record.dot);
        let all = self.devices.clone();
        let others = || all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, d)| d);
        let heard = |record: &Record| {
            let covers = |d: &Rc<Device>| {
                d.index.entry(path).is_some_and(|e| e.record.version.contains(record.dot))
            };
            others().any(covers)
        };
        // Under the same name, or as the copy that it became.
        let held = |content| {
            let known = |p: &RelPath| p == path || is_copy_name(p.name());
            let lies = |(p, t): (&RelPath, &Thing)| known(p) && t.content == content;
            all.iter().any(|d| d.disk.things().any(lies))
        };
        self.deeds(at).undone(path, back, &heard, &held);
        self.deeds(at).stands(path, back, true, but);
    }

    /// Kills the process and starts it again. With late hands, what was not flushed is gone.
    pub(super) fn crash(&mut self, at: usize, forgets: bool) {
        self.fired.note(Fault::Killed);
        self.disconnect(at);
        let links = self.links.clone();
        let device = self.device(at);
        device.crash_next = false;
        if forgets && self.late {
            if !self.devices[at].is_flushed() {
                self.fired.note(Fault::Unflushed);
            }
            let device = self.device(at);
            device.index = (*device.durable).clone();
        }
        self.device(at).start(false, &links, at);
        self.settings(at);
        for intent in std::mem::take(&mut self.device(at).intents) {
            let disk = self.devices[at].disk.clone();
            let intended = |becomes: Becoming| Intended {
                there: disk.get(&becomes.path).map(|t| There {
                    kind: t.kind,
                    content: t.content,
                    mtime_ns: t.mtime_ns,
                    mode: t.mode,
                }),
                becomes,
            };
            let intended = intent.becomes.into_iter().map(intended).collect();
            self.tell(at, Event::IntentFound { intended });
        }
        self.restart(at);
    }

    /// What a process does before all: tells the engine the folder's settings.
    pub(super) fn settings(&mut self, at: usize) {
        if let Some(favour) = self.devices[at].joining {
            self.tell(at, Event::Joining { favour });
        }
        self.tell(at, Event::RoleIs { role: self.devices[at].role });
    }

    /// What a process does first: reads the rules, looks at everything, greets its peers.
    pub(super) fn restart(&mut self, at: usize) {
        self.read_rules(at);
        self.begin_look(at, Cause::Scanned, vec![Look::Tree(RelPath::root())]);
        self.reconnect(at);
    }
}
