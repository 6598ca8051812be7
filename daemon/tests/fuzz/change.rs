//! How an input is made of a real one.

use bolero::TypeGenerator;

/// What an input is made of.
#[derive(Debug, Clone, TypeGenerator)]
pub(crate) struct Recipe {
    /// Which input of the corpus it begins as.
    seed: u8,
    /// What it begins as instead, now and then.
    raw: Vec<u8>,
    /// One in 256 begins as `raw`, and what is written over others comes from here too.
    dice: u8,
    changes: [Change; 6],
    /// How many of the changes are made.
    count: u8,
}

/// One change. Places are taken modulo the length.
#[derive(Debug, Clone, TypeGenerator)]
enum Change {
    Flip {
        at: u16,
        bit: u8,
    },
    Set {
        at: u16,
        to: u8,
    },
    /// Writes a number that is near an end of its type, over what is there or in between.
    Number {
        at: u16,
        which: u8,
        over: bool,
    },
    Insert {
        at: u16,
        byte: u8,
        count: u8,
    },
    Remove {
        at: u16,
        count: u8,
    },
    /// Says a part again, up to 65,536 times.
    Repeat {
        at: u16,
        count: u8,
        times: u16,
    },
    /// Goes on like another input of the corpus from there on.
    Splice {
        at: u16,
        other: u8,
        from: u16,
    },
    Cut {
        at: u16,
    },
    /// Writes something that means something to some decoder.
    Word {
        at: u16,
        which: u8,
    },
}

/// Texts and bytes that decoders give a meaning.
const WORDS: [&[u8]; 40] = [
    b"..",
    b"/",
    b"\\",
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"(",
    b")",
    b"*",
    b"**",
    b"?",
    b"!",
    b"#",
    b"(?d)",
    b"(?i)",
    b"#include ",
    b"#escape=",
    b"#gitignore\n",
    b",",
    b"=",
    b"[[",
    b"]]",
    b"%2e%2f",
    b"%00",
    b"\xff",
    b"\xc3\x28",
    "\u{202e}".as_bytes(),
    b"\x1b[2J",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"\\u0000",
    b".syncd",
    b"sync-conflict-",
];

impl Recipe {
    /// Makes the input, of at most `bytes_max` bytes.
    pub(crate) fn make(&self, corpus: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
        let known = corpus.get(usize::from(self.seed) % corpus.len().max(1));
        let mut bytes = match known {
            Some(known) if self.dice > 0 => known.clone(),
            _ => self.raw.clone(),
        };
        let count = usize::from(self.count) % (self.changes.len() + 1);
        for change in &self.changes[..count] {
            change.make(&mut bytes, corpus, bytes_max);
        }
        bytes.truncate(bytes_max);
        bytes
    }
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], bytes_max: usize) {
        let end = bytes.len();
        let place = |at: u16| usize::from(at) % (end + 1);
        let part = |at: u16, count: u8| place(at)..(place(at) + usize::from(count)).min(end);
        match self {
            Self::Flip { at, bit } => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Set { at, to } => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte = *to;
                }
            }
            Self::Number { at, which, over } => {
                let number = number(*which);
                let until = if *over { (place(*at) + number.len()).min(end) } else { place(*at) };
                bytes.splice(place(*at)..until, number);
            }
            Self::Insert { at, byte, count } => {
                let run = std::iter::repeat_n(*byte, usize::from(*count) % 16);
                bytes.splice(place(*at)..place(*at), run);
            }
            Self::Remove { at, count } => drop(bytes.drain(part(*at, count % 64))),
            Self::Repeat { at, count, times } => {
                let said = bytes[part(*at, *count)].to_vec();
                let times =
                    usize::from(*times).min(bytes_max.saturating_sub(end) / said.len().max(1));
                bytes.splice(place(*at)..place(*at), said.repeat(times));
            }
            Self::Splice { at, other, from } => {
                let Some(other) = corpus.get(usize::from(*other) % corpus.len().max(1)) else {
                    return;
                };
                bytes.truncate(place(*at));
                bytes.extend_from_slice(&other[usize::from(*from) % (other.len() + 1)..]);
            }
            Self::Cut { at } => bytes.truncate(place(*at)),
            Self::Word { at, which } => {
                let word = WORDS[usize::from(*which) % WORDS.len()];
                bytes.splice(place(*at)..place(*at), word.iter().copied());
            }
        }
    }
}

/// Writes a number near an end of some type, in one of the ways in which ours are written.
fn number(which: u8) -> Vec<u8> {
    let value: u64 = match which >> 4 {
        0 => 0,
        1 => 1,
        2 => 0x7f,
        3 => 0x80,
        4 => 0xff,
        5 => 0x100,
        6 => 0x7fff,
        7 => 0xffff,
        8 => 0x1_0000,
        9 => 0x7fff_ffff,
        10 => 0xffff_ffff,
        11 => 0x1_0000_0000,
        12 => i64::MAX as u64,
        13 => 1 << 63,
        14 => u64::MAX - 1,
        _ => u64::MAX,
    };
    let fixed = value.to_le_bytes();
    match which & 7 {
        0 => fixed[..1].to_vec(),
        1 => fixed[..2].to_vec(),
        2 => fixed[..4].to_vec(),
        3 => fixed.to_vec(),
        // Numbers of frames: a byte that says how long, and the number.
        4 => [&[251][..], &fixed[..2]].concat(),
        5 => [&[253][..], &fixed].concat(),
        // Numbers of pages: seven bits a byte.
        6 => {
            let mut rest = value;
            let mut bytes = Vec::new();
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes
        }
        _ => value.to_string().into_bytes(),
    }
}
