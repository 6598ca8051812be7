//! What files hold: nothing, zeros, holes, and sizes at every step of the block ladder.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use syncd_integration::process::{Noise, Pair, is_long, write, write_noise};

use super::{Row, arrives_both_ways, held_bytes};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Writes noise of exactly `size` bytes and of one more and one less.
fn around(dir: &Path, size: u64) {
    for (name, size) in [("less", size - 1), ("exactly", size), ("more", size + 1)] {
        write_noise(&dir.join(name), size, size);
    }
}

/// Makes a file of `size` bytes that holds a little noise at each of `places`, else holes.
fn sparse(path: &Path, size: u64, places: &[u64]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for at in places {
        file.write_all_at(&Noise::new(*at).bytes(5_000), *at).unwrap();
    }
}

const CONTENTS: &[Row] = &[
    ("no byte at all", |d| write(&d.join("f"), "")),
    ("one byte", |d| write(&d.join("f"), "x")),
    ("one zero", |d| write(&d.join("f"), [0])),
    ("zeros, a whole block", |d| write(&d.join("f"), vec![0; 64 << 10])),
    ("zeros, many blocks", |d| write(&d.join("f"), vec![0; 3 << 20])),
    ("zeros, many blocks and a byte", |d| write(&d.join("f"), vec![0; (3 << 20) + 1])),
    ("zeros at both ends", |d| {
        write(&d.join("f"), [vec![0; 700_000], vec![7; 700_000], vec![0; 700_000]].concat());
    }),
    ("text without an end of line", |d| write(&d.join("f"), "a\r\nb")),
    ("what looks like our own digests", |d| write(&d.join("f"), [0xaf; 32])),
    ("around what travels in the offer", |d| around(d, 16 * KIB)),
    ("around the least block", |d| around(d, 8 * KIB)),
    ("around the first cut file", |d| around(d, 64 * KIB)),
    ("around the greatest block of the first rung", |d| around(d, 128 * KIB)),
    ("around the greatest block of the second rung", |d| around(d, 512 * KIB)),
    ("around one read", |d| around(d, MIB)),
    ("around the greatest block of all", |d| around(d, 4 * MIB)),
    ("around the step to the second rung", |d| around(d, 16 * MIB)),
];

#[test]
fn whatever_bytes_a_file_holds_arrive() {
    arrives_both_ways(CONTENTS);
}

#[test]
fn a_file_that_grows_and_shrinks_over_a_step_arrives_each_time() {
    let pair = Pair::new();
    for (here, _) in pair.sides() {
        for size in [64 * KIB, 64 * KIB + 1, 16 * MIB + 1, 16 * MIB, 64 * KIB + 1, 64 * KIB, 0] {
            let path = here.path("f");
            write_noise(&path, 1, size);
            here.flush();
            pair.assert_equal(&format!("{size} bytes, from {}", here.name()));
        }
    }
}

#[test]
fn holes_stay_holes() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        let name = |what: &str| format!("{what}-{}", here.name());
        let rows: [(String, u64, &[u64], &str); 4] = [
            (name("empty"), 300 * MIB, &[], "nothing but a hole"),
            (name("ends"), 200 * MIB, &[0, 200 * MIB - 5_000], "bytes at both ends"),
            (name("odd"), 100 * MIB + 1, &[30 * MIB + 7], "bytes at an odd place"),
            // The step from the second rung to the third.
            (name("step"), GIB + 1, &[GIB - 3_000], "bytes over a step of the ladder"),
        ];
        for (name, size, places, _) in &rows {
            sparse(&here.path(name), *size, places);
        }
        here.flush();
        pair.assert_equal("sparse files");
        for (name, size, places, because) in &rows {
            let held = held_bytes(&there.path(name));
            // At most the block around each place is written, and a piece of the disk around it.
            let most = places.len() as u64 * 9 * MIB + MIB;
            assert!(
                held <= most,
                "{because}: {held} of {size} bytes take room on {}",
                there.name()
            );
        }
        // A change of a sparse file keeps the rest of it sparse, and a copy does.
        let odd = File::options().write(true).open(here.path(name("odd"))).unwrap();
        odd.write_all_at(b"changed", 60 * MIB).unwrap();
        drop(odd);
        here.flush();
        pair.assert_equal("a sparse file is changed");
        let held = held_bytes(&there.path(name("odd")));
        assert!(held <= 20 * MIB, "{held} bytes after a change");
    }
}

#[test]
fn a_sparse_file_of_gigabytes_is_neither_read_nor_sent_nor_written() {
    let pair = Pair::through_proxy();
    let size = if is_long() { 100 * GIB } else { 3 * GIB };
    let places = [0, size / 2, size - 5_000];
    sparse(&pair.laptop.path("huge"), size, &places);
    pair.laptop.flush();
    let huge = pair.devbox.path("huge");
    assert_eq!(fs::metadata(&huge).unwrap().len(), size);
    let (ours, theirs) = (File::open(pair.laptop.path("huge")), File::open(&huge));
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    for at in places {
        let (mut a, mut b) = (vec![0; 5_000], vec![1; 5_000]);
        ours.read_exact_at(&mut a, at).unwrap();
        theirs.read_exact_at(&mut b, at).unwrap();
        assert!(a == b, "other bytes at {at}");
    }
    let held = held_bytes(&huge);
    assert!(held < 30 * MIB, "{held} bytes take room");
    let sent = pair.proxy().passed_bytes();
    assert!(sent < 30 * MIB, "{sent} bytes were sent");
}
