//! Telling states of a world apart, so that none is explored twice.
//!
//! Two states count as one when they differ only in what the engine merely compares: the values
//! of counters (but not their order), the numbers of frames (but not their distance), what the
//! clock of a disk said (but not whether the index has seen it). A renaming that keeps these
//! relations is a bisimulation: every step of one state is a step of the other, to states that
//! are again the same but for the renaming. So one of the two is enough.

use std::hash::{Hash, Hasher};

use syncd_core::flow::index::fingerprint::Fingerprint;
use syncd_core::model::{Counter, DeviceId, Incarnation, Seq, StoreId, Writer};

use super::wires::Bulk;

/// One part of a state, kept beside what it was made from.
#[derive(Debug, Clone, Default)]
pub struct Part {
    tokens: Vec<Token>,
    /// The counters in it, sorted: tokens name them by their place here.
    counters: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Plain(u64),
    Counter(usize),
    /// Of which pair of devices, and its number.
    Frame(usize, u64),
}

impl Part {
    /// Computes what tells it from other parts, whatever stands elsewhere in the state.
    #[must_use]
    pub fn concrete(&self) -> u64 {
        let mut mixer = Mixer::default();
        for token in &self.tokens {
            match token {
                Token::Plain(value) => mixer.write_u64(*value),
                Token::Counter(at) => mixer.write_u64(self.counters[*at]),
                Token::Frame(pair, number) => (pair, number).hash(&mut mixer),
            }
        }
        mixer.finish()
    }
}

/// Devices told apart by the first byte of their id.
pub(super) const DEVICES_MAX: usize = 8;

/// Collects a part.
#[derive(Debug, Default)]
pub struct Sink(Vec<Token>, Vec<u64>);

impl Sink {
    /// Ends the part.
    #[must_use]
    pub fn part(self) -> Part {
        let Self(mut tokens, mut counters) = self;
        let all = counters.clone();
        counters.sort_unstable();
        counters.dedup();
        for token in &mut tokens {
            if let Token::Counter(at) = token {
                *at = counters.binary_search(&all[*at]).unwrap_or_default();
            }
        }
        Part { tokens, counters }
    }
}

impl Fingerprint for Sink {
    fn value(&mut self, value: impl Hash) {
        let mut mixer = Mixer::default();
        value.hash(&mut mixer);
        self.0.push(Token::Plain(mixer.0));
    }

    fn counter(&mut self, writer: Writer, counter: Counter) {
        if counter == 0 || writer.device == DeviceId::NIL {
            return self.value(counter);
        }
        let untold = (1 << 8) - 1;
        let life = if writer.is_untold() { untold } else { writer.incarnation.0 };
        assert!((life < untold || writer.is_untold()) && counter < 1 << 48, "too large to pack");
        self.0.push(Token::Counter(self.1.len()));
        let device = u64::from(writer.device.0[0]);
        self.1.push(device << 56 | life << 48 | counter);
    }

    fn seq(&mut self, device: DeviceId, store: StoreId, seq: Seq) {
        // A simulated store has the number of the incarnation that it came with.
        self.counter(Writer { device, incarnation: Incarnation(store.0) }, seq);
    }

    fn frame(&mut self, from: DeviceId, to: DeviceId, number: u64) {
        let pair = usize::from(from.0[0]) * DEVICES_MAX + usize::from(to.0[0]);
        self.0.push(Token::Frame(pair, number));
    }
}

/// Computes the fingerprint of the state that consists of `parts`. With `bulk`, frames' numbers
/// count too as far as they choose the lane.
pub fn fingerprint<'a>(parts: impl Iterator<Item = &'a Part> + Clone, bulk: Option<Bulk>) -> u64 {
    let mut counters: Vec<u64> = Vec::with_capacity(256);
    let mut newest = [0; DEVICES_MAX * DEVICES_MAX];
    for part in parts.clone() {
        counters.extend(&part.counters);
        for token in &part.tokens {
            if let Token::Frame(pair, number) = token {
                newest[*pair] = newest[*pair].max(*number);
            }
        }
    }
    counters.sort_unstable();
    counters.dedup();
    let mut mixer = Mixer::default();
    let mut ranks = Vec::with_capacity(64);
    for part in parts {
        ranks.clear();
        let mut at = 0;
        for counter in &part.counters {
            while counters[at] < *counter {
                at += 1;
            }
            ranks.push(at as u64);
        }
        for token in &part.tokens {
            match token {
                Token::Plain(value) => mixer.write_u64(*value),
                Token::Counter(at) => mixer.write_u64(ranks[*at] << 1),
                Token::Frame(pair, number) => mixer.write_u64(newest[*pair] - number),
            }
        }
    }
    if let Some(bulk) = bulk {
        newest.iter().filter(|n| **n > 0).for_each(|n| mixer.write_u64(bulk.phase(*n)));
    }
    mixer.0
}

/// A hasher that folds a 128-bit product: quick, and good enough to tell a few million states
/// apart (a clash would hide one of them; the chance is below one in a million).
#[derive(Debug, Clone, Copy)]
pub struct Mixer(pub u64);

impl Default for Mixer {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3)
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        let [low, high] = [product, product >> 64].map(|half| half as u64);
        self.0 = low ^ high ^ self.0.rotate_left(23);
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}
