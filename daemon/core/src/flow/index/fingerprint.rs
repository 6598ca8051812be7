//! Telling states apart: what the future of an engine depends on, and nothing else.
//!
//! A simulator that tries every order must know which states it has been in. Counters and frame
//! numbers are given apart from other values, since the core only compares them: states that
//! differ in them alone, but not in how they stand to each other, have the same future.

use std::hash::Hash;

use super::MemIndex;
use crate::model::{Counter, DeviceId, Entry, Record, Seq, StoreId, Version, Writer};

/// Takes in a state, part by part.
pub trait Fingerprint {
    /// Takes a value that counts as it is.
    fn value(&mut self, value: impl Hash);

    /// Takes a counter: only how it stands to other counters of `writer` counts.
    fn counter(&mut self, writer: Writer, counter: Counter);

    /// Takes a place in the log of the store of a device.
    fn seq(&mut self, device: DeviceId, store: StoreId, seq: Seq);

    /// Takes the number of a frame that `from` sent to `to`: only its distance to others counts.
    fn frame(&mut self, from: DeviceId, to: DeviceId, number: u64);

    /// Takes a version.
    fn version(&mut self, version: &Version) {
        self.value(version.counters().len());
        for (writer, counter) in version.counters() {
            self.value(writer);
            self.counter(writer, counter);
        }
    }

    /// Takes a record.
    fn record(&mut self, record: &Record) {
        self.value((record.kind, record.size, record.mtime_ns, record.mode));
        self.value((record.content, &record.ancestors, record.author, &record.actor, record.found));
        self.value(record.dot.writer);
        self.counter(record.dot.writer, record.dot.counter);
        self.version(&record.version);
    }

    /// Takes an entry of the store of `device`, but for what `stat` said.
    fn entry(&mut self, device: DeviceId, store: StoreId, entry: &Entry) {
        self.record(&entry.record);
        self.seq(device, store, entry.seq);
        let local = &entry.local;
        self.value((local.seen.is_some(), local.source, local.data_durable, local.standing));
    }
}

impl MemIndex {
    /// Gives all that is kept to `into`, as the store of `device`.
    pub fn fingerprint(&self, device: DeviceId, store: StoreId, into: &mut impl Fingerprint) {
        for (path, entry) in self.entries() {
            into.value(path);
            into.entry(device, store, entry);
        }
        let marks = self.marks_now();
        into.version(&marks.covered);
        into.value(marks.surveyed);
        for (peer, cursor) in &marks.cursors {
            into.value((peer, cursor.store));
            into.seq(*peer, cursor.store, cursor.seq);
        }
        for (peer, acked) in &marks.acked {
            into.value(peer);
            into.seq(device, store, *acked);
        }
    }
}
