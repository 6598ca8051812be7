//! Digesting: how a file is cut into blocks.
//!
//! A file of more than [`WHOLE_BYTES_MAX`] is cut where its own bytes say so, so that an insertion
//! moves no cut but its neighbours. The average size of a block follows a ladder by file size.
//!
//! # Invariants
//! - The same bytes cut with the same average give the same blocks, on every device and however
//!   the bytes arrive.
//! - Minimum, average and maximum are even powers of two: the cutting library has moved its cuts
//!   for other sizes before.

use std::collections::BTreeMap;

use fastcdc::v2020::{self, Normalization};

use crate::model::BlockId;
use crate::model::limits::WHOLE_BYTES_MAX;

/// One content-defined block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// BLAKE3 of its bytes.
    pub id: BlockId,
    /// Their count, 1 to 4 MiB.
    pub size: u32,
}

/// The blocks of one content in order, kept for contents of more than one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList {
    /// The average block size it was cut with, a power of two: 32 KiB, 128 KiB or 1 MiB.
    pub average_bytes: u32,
    /// The blocks; their sizes add up to the size of the file.
    pub blocks: Vec<Block>,
}

/// Where the bytes of a wanted block come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// They lie at this offset of the content at hand.
    Here {
        /// In bytes from its start.
        offset: u64,
    },
    /// The content at hand does not hold them.
    Elsewhere,
}

/// The rungs: files up to so many bytes, and the average size of their blocks.
const LADDER: [(u64, u32); 3] = [(16 << 20, 32 << 10), (1 << 30, 128 << 10), (u64::MAX, 1 << 20)];

/// A file keeps the average it was last cut with while that is at most so many times too great or
/// too small, so that a file which hovers around a step is not cut anew each time.
const HYSTERESIS: u32 = 4;

/// Returns the average block size for a file of `size` bytes whose last version was cut with the
/// average `before`; `None` for a file that stays one block.
#[must_use]
pub fn average_for(size: u64, before: Option<u32>) -> Option<u32> {
    if size <= WHOLE_BYTES_MAX {
        return None;
    }
    let (_, ideal) = LADDER.into_iter().find(|(up_to, _)| size <= *up_to)?;
    let kept = before.filter(|average| {
        is_rung(*average) && *average <= ideal * HYSTERESIS && ideal <= *average * HYSTERESIS
    });
    Some(kept.unwrap_or(ideal))
}

fn is_rung(average: u32) -> bool {
    LADDER.iter().any(|(_, rung)| *rung == average)
}

/// Returns the most bytes that a block cut with `average` has.
#[must_use]
pub fn block_bytes_max(average: u32) -> u32 {
    average.saturating_mul(4)
}

/// Cuts bytes into blocks as they arrive.
#[derive(Debug)]
pub struct Cutter {
    average: u32,
    /// Bytes not yet cut, from `start` on; what is before is cut and waits to be dropped.
    held: Vec<u8>,
    start: usize,
    blocks: Vec<Block>,
    /// The block that a long run of zeros is cut into, once one came.
    zeros: Option<Block>,
}

impl Cutter {
    /// Begins a content, to be cut into blocks of `average` bytes: one that [`average_for`]
    /// returned. Any other number is taken for the nearest rung of the ladder above it.
    #[must_use]
    pub fn new(average: u32) -> Self {
        let rungs = LADDER.map(|(_, rung)| rung);
        let average = rungs.into_iter().find(|rung| *rung >= average).unwrap_or(rungs[2]);
        Self { average, held: Vec::new(), start: 0, blocks: Vec::new(), zeros: None }
    }

    /// Takes the next bytes of the content, any number of them.
    pub fn feed(&mut self, bytes: &[u8]) {
        let most = block_bytes_max(self.average) as usize;
        // Moves less than it drops, so that each byte is moved once on average.
        if self.start >= most {
            self.held.drain(..self.start);
            self.start = 0;
        }
        self.held.extend_from_slice(bytes);
        // With a whole maximum at hand no later byte can change where the cut falls.
        while self.held.len() - self.start >= most {
            self.cut();
        }
    }

    /// Takes `count` zeros, as [`Cutter::feed`] would, without looking at each: a hole of a file
    /// costs next to nothing.
    pub fn feed_zeros(&mut self, count: u64) {
        let (mut left, mut fed) = (count, 0);
        // Until nothing but zeros waits to be cut, they are fed like other bytes.
        while (self.held.len() - self.start) as u64 > fed {
            let piece = left.min(ZEROS.len() as u64);
            if piece == 0 {
                return;
            }
            // A piece has 64 KiB at most.
            self.feed(&ZEROS[..usize::try_from(piece).unwrap_or_default()]);
            (left, fed) = (left - piece, fed + piece);
        }
        let block = self.zeros.unwrap_or_else(|| zero_block(self.average));
        self.zeros = Some(block);
        let mut waiting = (self.held.len() - self.start) as u64 + left;
        while waiting >= u64::from(block_bytes_max(self.average)) {
            self.blocks.push(block);
            waiting -= u64::from(block.size);
        }
        self.held.clear();
        self.start = 0;
        // Less than the greatest block.
        self.held.resize(usize::try_from(waiting).unwrap_or_default(), 0);
    }

    /// Ends the content.
    #[must_use]
    pub fn finish(mut self) -> BlockList {
        while self.start < self.held.len() {
            self.cut();
        }
        BlockList { average_bytes: self.average, blocks: self.blocks }
    }

    fn cut(&mut self) {
        let block = first_block(&self.held[self.start..], self.average);
        self.blocks.push(block);
        self.start += block.size as usize;
    }
}

/// Cuts the first block off `rest`, which is the end of the content or at least as long as the
/// greatest block.
fn first_block(rest: &[u8], average: u32) -> Block {
    let average = average as usize;
    let (strict, loose) = v2020::select_masks(average, Normalization::Level1);
    let (min, max) = (average / 4, average * 4);
    let (_, size) = v2020::cut(rest, min, average, max, strict, loose, strict << 1, loose << 1);
    // A block is at most 4 MiB.
    Block { id: BlockId::of(&rest[..size]), size: u32::try_from(size).unwrap_or(u32::MAX) }
}

/// Zeros to feed from.
const ZEROS: &[u8] = &[0; 64 << 10];

/// Returns the block that zeros are cut into, as long as enough of them follow: bytes that are
/// all alike have a cut at the first place that may have one, or nowhere before the maximum.
#[must_use]
pub fn zero_block(average: u32) -> Block {
    first_block(&vec![0; block_bytes_max(average) as usize], average)
}

impl BlockList {
    /// Returns the size of the content.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.size)).sum()
    }

    /// Lists the blocks with the offset of each in the content.
    pub fn placed(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.iter().scan(0, |at, block| {
            let offset = *at;
            *at += u64::from(block.size);
            Some((offset, block))
        })
    }

    /// Tells whether this can be the list of a content of `size` bytes: the average is one of the
    /// ladder, no block is empty or too long, and the sizes add up. Ask before using a list that
    /// came from elsewhere.
    #[must_use]
    pub fn is_sound(&self, size: u64) -> bool {
        let most = block_bytes_max(self.average_bytes);
        is_rung(self.average_bytes)
            && self.blocks.iter().all(|block| (1..=most).contains(&block.size))
            && self.total_bytes() == size
    }
}

/// Tells for each block of `want`, in order, where in the content of `have` it lies.
#[must_use]
pub fn reuse(want: &BlockList, have: &BlockList) -> Vec<Source> {
    let mut at: BTreeMap<(BlockId, u32), u64> = BTreeMap::new();
    for (offset, block) in have.placed() {
        at.entry((block.id, block.size)).or_insert(offset);
    }
    let find = |block: &Block| at.get(&(block.id, block.size)).copied();
    want.blocks
        .iter()
        .map(|block| find(block).map_or(Source::Elsewhere, |offset| Source::Here { offset }))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u32 = 1 << 10;
    const MIB: u64 = 1 << 20;

    /// Bytes without a pattern, the same for ever: Knuth's MMIX generator, high bytes.
    fn noise(count: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..count).map(|_| next()).collect()
    }

    fn cut(average: u32, bytes: &[u8]) -> BlockList {
        let mut cutter = Cutter::new(average);
        cutter.feed(bytes);
        cutter.finish()
    }

    #[test]
    fn the_ladder_goes_by_size() {
        for (size, before, average, because) in [
            (0, None, None, "nothing is one block"),
            (64 << 10, None, None, "still one block"),
            (64 << 10, Some(32 * KIB), None, "a file that shrank to one block"),
            ((64 << 10) + 1, None, Some(32 * KIB), "the first that is cut"),
            (16 * MIB, None, Some(32 * KIB), "the last of the first rung"),
            (16 * MIB + 1, None, Some(128 * KIB), "the first of the second"),
            (16 * MIB + 1, Some(32 * KIB), Some(32 * KIB), "grew over the step: kept"),
            (16 * MIB, Some(128 * KIB), Some(128 * KIB), "shrank over the step: kept"),
            (1 << 30, None, Some(128 * KIB), "the last of the second"),
            ((1 << 30) + 1, None, Some(1024 * KIB), "the first of the third"),
            ((1 << 30) + 1, Some(128 * KIB), Some(1024 * KIB), "eight times off: cut anew"),
            ((1 << 30) + 1, Some(32 * KIB), Some(1024 * KIB), "far off: cut anew"),
            (16 * MIB, Some(1024 * KIB), Some(32 * KIB), "far too coarse: cut anew"),
            (16 * MIB, Some(64 * KIB), Some(32 * KIB), "no rung of this ladder"),
            (16 * MIB, Some(0), Some(32 * KIB), "nonsense is no average"),
        ] {
            assert_eq!(average_for(size, before), average, "{size} after {before:?}: {because}");
        }
    }

    /// The blocks of `noise(bytes, 1)`: sizes, and the start of each id.
    fn golden(average: u32, bytes: usize) -> Vec<(u32, String)> {
        let list = cut(average, &noise(bytes, 1));
        let short = |b: &Block| data_encoding::HEXLOWER.encode(&b.id.0[..4]);
        list.blocks.iter().map(|b| (b.size, short(b))).collect()
    }

    #[test]
    fn cuts_stay_where_they_are() {
        let owned = |golden: &[(u32, &str)]| -> Vec<(u32, String)> {
            golden.iter().map(|(size, id)| (*size, (*id).to_owned())).collect()
        };
        assert_eq!(golden(32 * KIB, 300_000), owned(&FINE));
        assert_eq!(golden(128 * KIB, 1_000_000), owned(&MIDDLE));
        assert_eq!(golden(1024 * KIB, 5_000_000), owned(&COARSE));
    }

    const FINE: [(u32, &str); 9] = [
        (32_334, "bbb75033"),
        (53_878, "daaa858b"),
        (39_599, "ff3f53ec"),
        (9_325, "52099f30"),
        (35_283, "a5937ee3"),
        (54_907, "7ab32eaf"),
        (33_366, "f473f85c"),
        (13_322, "81fb6c23"),
        (27_986, "a012b38d"),
    ];
    const MIDDLE: [(u32, &str); 6] = [
        (135_136, "d570fb16"),
        (136_878, "7c452495"),
        (165_269, "2e550e05"),
        (120_902, "d0e24ba7"),
        (198_588, "0acdf88a"),
        (243_227, "80e00c9c"),
    ];
    const COARSE: [(u32, &str); 4] = [
        (1_311_003, "ccecea1b"),
        (1_690_848, "d38c8552"),
        (1_195_202, "8c1d30e8"),
        (802_947, "0402622c"),
    ];

    #[test]
    fn every_shape_of_input_is_cut_whole() {
        let quarter = 8 * KIB as usize;
        for (bytes, sizes, because) in [
            (noise(0, 1), &[][..], "nothing has no blocks"),
            (noise(1, 1), &[1][..], "one byte"),
            (noise(quarter, 1), &[8 * KIB][..], "exactly the minimum"),
            (vec![0; 300_000], &[131_072, 131_072, 37_856][..], "zeros never cut: maximum"),
            (vec![0; 262_144], &[131_072, 131_072][..], "ends at a cut"),
        ] {
            let list = cut(32 * KIB, &bytes);
            let got: Vec<u32> = list.blocks.iter().map(|b| b.size).collect();
            assert_eq!(got, sizes, "{because}");
            assert_eq!(list.total_bytes(), bytes.len() as u64);
            assert!(list.is_sound(bytes.len() as u64));
        }
    }

    #[test]
    fn what_no_cutter_made_is_not_sound() {
        let good = cut(32 * KIB, &noise(300_000, 1));
        let block = |size| Block { id: BlockId([1; 32]), size };
        for (list, size, because) in [
            (good.clone(), 299_999, "sizes do not add up"),
            (BlockList { average_bytes: 1000, ..good.clone() }, 300_000, "no rung"),
            (BlockList { average_bytes: 32 * KIB, blocks: vec![block(0)] }, 0, "an empty block"),
            (
                BlockList { average_bytes: 32 * KIB, blocks: vec![block(131_073)] },
                131_073,
                "longer than the maximum",
            ),
        ] {
            assert!(!list.is_sound(size), "{because}");
        }
        assert!(good.is_sound(300_000));
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let old = noise(1_000_000, 1);
        let mut new = old.clone();
        new.splice(500_000..500_000, *b"inserted");
        let (want, have) = (cut(32 * KIB, &new), cut(32 * KIB, &old));
        let sources = reuse(&want, &have);
        let elsewhere = sources.iter().filter(|s| **s == Source::Elsewhere).count();
        assert!((1..=3).contains(&elsewhere), "{elsewhere} of {}", sources.len());
        for ((_, block), source) in want.placed().zip(sources) {
            if let Source::Here { offset } = source {
                let at = usize::try_from(offset).unwrap();
                assert_eq!(BlockId::of(&old[at..at + block.size as usize]), block.id);
            }
        }
    }

    #[test]
    fn a_repeated_block_is_found_where_it_first_lies() {
        let list = cut(32 * KIB, &vec![0; 300_000]);
        assert_eq!(
            reuse(&list, &list),
            [
                Source::Here { offset: 0 },
                Source::Here { offset: 0 },
                Source::Here { offset: 262_144 }
            ]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn cuts_do_not_depend_on_how_bytes_arrive(
            seed: u64,
            size in 0usize..600_000,
            pieces in prop::collection::vec(1usize..200_000, 1..12),
        ) {
            let bytes = noise(size, seed);
            let mut cutter = Cutter::new(32 * KIB);
            let mut rest = &bytes[..];
            for piece in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                cutter.feed(now);
                rest = later;
            }
            let list = cutter.finish();
            // The library's own cutter, which has all bytes at once.
            let whole = v2020::FastCDC::new(&bytes, 8 << 10, 32 << 10, 128 << 10);
            let lengths: Vec<u32> = whole.map(|chunk| chunk.length as u32).collect();
            prop_assert_eq!(list.blocks.iter().map(|b| b.size).collect::<Vec<_>>(), lengths);
            for (offset, block) in list.placed() {
                let at = offset as usize;
                prop_assert_eq!(BlockId::of(&bytes[at..at + block.size as usize]), block.id);
            }
        }

        #[test]
        fn a_run_of_zeros_is_cut_as_if_it_were_read(
            runs in prop::collection::vec((any::<bool>(), 0usize..700_000), 1..6),
            rung in 0usize..LADDER.len(),
        ) {
            let average = LADDER[rung].1;
            let (mut skipped, mut read) = (Cutter::new(average), Cutter::new(average));
            for (is_hole, count) in runs {
                // Long enough for several of the greatest blocks of each rung.
                let count = count << (2 * rung);
                if is_hole {
                    skipped.feed_zeros(count as u64);
                    read.feed(&vec![0; count]);
                } else {
                    let bytes = noise(count.min(300_000), count as u64);
                    skipped.feed(&bytes);
                    read.feed(&bytes);
                }
            }
            prop_assert_eq!(skipped.finish(), read.finish());
        }

        #[test]
        fn every_average_of_the_ladder_stays_within_its_rungs(size: u64, before: Option<u32>) {
            let average = average_for(size, before);
            prop_assert_eq!(average.is_none(), size <= WHOLE_BYTES_MAX);
            if let Some(average) = average {
                prop_assert!(is_rung(average));
                // Cut again with what it was cut with: it stays.
                prop_assert_eq!(average_for(size, Some(average)), Some(average));
            }
        }
    }
}
