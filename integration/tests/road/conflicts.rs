//! Two devices change a file without knowing of each other: nothing is lost, and both sides show
//! the same names.

use std::fs;
use std::path::{Path, PathBuf};

use syncd_integration::process::{Device, Pair, nodes, set_mtime, write};

/// Writes a time as a conflict copy's name has it, UTC. Computed from the calendar's rules, not
/// by what the daemon uses.
fn stamp(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{:02}-{hour:02}{minute:02}{second:02}", days + 1)
}

#[test]
fn stamps_are_those_of_the_calendar() {
    for (seconds, stamped, because) in [
        (0, "19700101-000000", "the epoch"),
        (951_782_399, "20000228-235959", "the last second before a leap day"),
        (951_868_799, "20000229-235959", "a leap day in a century that has one"),
        (1_795_202_642, "20261120-192402", "an evening in November"),
        (4_107_542_399, "21000228-235959", "a century without a leap day"),
        (4_107_542_400, "21000301-000000", "the day after it"),
    ] {
        assert_eq!(stamp(seconds), stamped, "{because}");
    }
}

const EARLY: u64 = 1_700_000_000;
const LATE: u64 = 1_700_086_399;

/// Where the copy of a loser goes: the name with what stands before and after the mark.
struct Row {
    path: &'static str,
    stem: &'static str,
    ext: &'static str,
    /// Times of the laptop's and the devbox's write.
    times: (u64, u64),
    because: &'static str,
}

const fn row(
    path: &'static str,
    (stem, ext): (&'static str, &'static str),
    times: (u64, u64),
    because: &'static str,
) -> Row {
    Row { path, stem, ext, times, because }
}

const ROWS: &[Row] = &[
    row("a.txt", ("a", ".txt"), (EARLY, LATE), "the devbox wrote later"),
    row("b.txt", ("b", ".txt"), (LATE, EARLY), "the laptop wrote later"),
    row("plain", ("plain", ""), (LATE, EARLY), "no extension"),
    row(".hidden", (".hidden", ""), (EARLY, LATE), "the first character is no extension's dot"),
    row(".a.b", (".a", ".b"), (LATE, EARLY), "a hidden file with an extension"),
    row("d/e/x.tar.gz", ("d/e/x.tar", ".gz"), (EARLY, LATE), "the last dot, in a directory"),
    row("dot.d/none", ("dot.d/none", ""), (LATE, EARLY), "a dot of the directory is none"),
    row("end.", ("end", "."), (EARLY, LATE), "a dot at the end"),
    row("old", ("old", ""), (0, LATE), "the epoch"),
    row("future", ("future", ""), (4_107_542_400, EARLY), "later than today"),
];

/// Both write each path while they cannot hear each other; the devbox is away meanwhile.
fn part_and_write(pair: &mut Pair, paths: &[&str], write_both: impl Fn(&Device, &Device)) {
    for path in paths {
        write(&pair.laptop.path(path), format!("base of {path}\n"));
    }
    pair.laptop.flush();
    pair.assert_equal("the base");
    pair.devbox.stop();
    write_both(&pair.laptop, &pair.devbox);
    pair.devbox.start();
    pair.agree();
}

#[test]
fn both_contents_stay_under_the_same_names_on_both_sides() {
    let mut pair = Pair::new();
    let paths: Vec<_> = ROWS.iter().map(|row| row.path).collect();
    part_and_write(&mut pair, &paths, |laptop, devbox| {
        for row in ROWS {
            for (device, time) in [(laptop, row.times.0), (devbox, row.times.1)] {
                write(&device.path(row.path), format!("{} of {}\n", row.path, device.name()));
                set_mtime(&device.path(row.path), time, 0);
            }
        }
    });
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    for row in ROWS {
        let Row { path, stem, ext, times, because } = row;
        let (winner, loser, lost_at) = match times.0 > times.1 {
            true => (laptop, devbox, times.1),
            false => (devbox, laptop, times.0),
        };
        let copy = format!("{stem}.sync-conflict-{}-{}{ext}", stamp(lost_at), loser.short_id());
        for (path, writer) in [(*path, winner), (copy.as_str(), loser)] {
            let expected = format!("{} of {}\n", row.path, writer.name());
            for side in [laptop, devbox] {
                let found = fs::read_to_string(side.path(path)).unwrap_or_else(|error| {
                    let all: Vec<PathBuf> = nodes(side.root()).into_keys().collect();
                    panic!("{because}: {path} on {}: {error}; there: {all:#?}", side.name())
                });
                assert_eq!(found, expected, "{because}: {path} on {}", side.name());
            }
        }
    }
    for side in [laptop, devbox] {
        let files = nodes(side.root()).len();
        assert_eq!(files, 2 * ROWS.len() + 3, "a copy for each, three directories, no more");
        let conflicts = side.json(&["conflicts", "ls"]);
        assert_eq!(conflicts.as_array().unwrap().len(), ROWS.len(), "each is listed: {conflicts}");
        assert_eq!(side.status("work")["conflicts"], ROWS.len(), "each is counted");
    }
}

#[test]
fn a_copy_of_a_long_name_fits_and_keeps_its_extension() {
    let mut pair = Pair::new();
    let name = format!("{}.txt", "ü".repeat(125));
    part_and_write(&mut pair, &[&name], |laptop, devbox| {
        for (device, time) in [(laptop, EARLY), (devbox, LATE)] {
            write(&device.path(&name), device.name());
            set_mtime(&device.path(&name), time, 0);
        }
    });
    let mark = format!(".sync-conflict-{}-{}.txt", stamp(EARLY), pair.laptop.short_id());
    let room = (255 - mark.len()) / "ü".len();
    let copy = format!("{}{mark}", "ü".repeat(room));
    for side in [&pair.laptop, &pair.devbox] {
        assert_eq!(fs::read_to_string(side.path(&name)).unwrap(), "devbox");
        assert_eq!(fs::read_to_string(side.path(&copy)).unwrap(), "laptop", "cut at a character");
    }
}

type Write = fn(&Path);

/// What both did while they could not hear each other, and what must be there then.
struct Story {
    laptop: Write,
    devbox: Write,
    /// What lies at `f`; nothing if `None`.
    left: Option<&'static str>,
    /// How many entries the folder has, `keep` and `f` included.
    entries: usize,
    because: &'static str,
}

fn edit(root: &Path) {
    write(&root.join("f"), "edited\n");
}

fn delete(root: &Path) {
    fs::remove_file(root.join("f")).unwrap();
}

#[test]
fn what_both_did_to_one_file_has_one_outcome() {
    let stories = [
        Story {
            laptop: edit,
            devbox: delete,
            left: Some("edited\n"),
            entries: 2,
            because: "an edit outlives a delete",
        },
        Story { laptop: delete, devbox: delete, left: None, entries: 1, because: "both deleted" },
        Story {
            laptop: edit,
            devbox: edit,
            left: Some("edited\n"),
            entries: 2,
            because: "equal content makes no copy, whatever the times",
        },
        Story {
            laptop: edit,
            devbox: |r| {
                delete(r);
                edit(r);
            },
            left: Some("edited\n"),
            entries: 2,
            because: "deleted and recreated equal",
        },
        Story {
            laptop: edit,
            devbox: |r| set_mtime(&r.join("f"), EARLY, 0),
            left: Some("edited\n"),
            entries: 2,
            because: "a touch keeps content that the edit was made on: no copy",
        },
        Story {
            laptop: edit,
            devbox: |r| fs::rename(r.join("f"), r.join("g")).unwrap(),
            left: Some("edited\n"),
            entries: 3,
            because: "renamed against edited: the new name and the edit stay",
        },
    ];
    for story in &stories {
        for is_mirrored in [false, true] {
            let because =
                format!("{}{}", story.because, if is_mirrored { " (mirrored)" } else { "" });
            let mut pair = Pair::new();
            write(&pair.laptop.path("keep"), "a folder that is not empty");
            part_and_write(&mut pair, &["f"], |laptop, devbox| {
                let (one, other) = if is_mirrored { (devbox, laptop) } else { (laptop, devbox) };
                (story.laptop)(one.root());
                (story.devbox)(other.root());
            });
            for side in [&pair.laptop, &pair.devbox] {
                let left = fs::read_to_string(side.path("f")).ok();
                assert_eq!(left.as_deref(), story.left, "{because}, on {}", side.name());
                let all = nodes(side.root());
                assert_eq!(all.len(), story.entries, "{because}, on {}: {all:?}", side.name());
            }
        }
    }
}

#[test]
fn a_conflict_is_shown_and_resolved() {
    let ways: [(&[&str], Option<&str>, &str); 4] = [
        (&["--keep", "mine"], None, "laptop\n"),
        (&["--keep", "theirs"], None, "devbox\n"),
        (&["--with", "merged"], Some("merged\n"), "merged\n"),
        (&["--keep", "both"], None, "devbox\n"),
    ];
    let names: Vec<String> = (0..ways.len()).map(|at| format!("f{at}.txt")).collect();
    let mut pair = Pair::new();
    let paths: Vec<_> = names.iter().map(String::as_str).collect();
    part_and_write(&mut pair, &paths, |laptop, devbox| {
        for (device, time) in [(laptop, EARLY), (devbox, LATE)] {
            for name in &names {
                write(&device.path(name), format!("{}\n", device.name()));
                set_mtime(&device.path(name), time, 0);
            }
        }
    });
    let merged = pair.aside("merged");
    for (name, (how, handed_in, left)) in names.iter().zip(ways) {
        let path = pair.laptop.path(name).display().to_string();
        let shown = pair.laptop.json(&["conflicts", "show", &path]);
        assert_eq!(shown["mine"]["text"], "laptop\n", "{how:?}: {shown}");
        assert_eq!(shown["theirs"]["text"], "devbox\n", "{how:?}: {shown}");
        let mut arguments = vec!["conflicts", "resolve", &path, how[0]];
        let merged = merged.display().to_string();
        match handed_in {
            Some(text) => {
                write(Path::new(&merged), text);
                arguments.push(&merged);
            }
            None => arguments.push(how[1]),
        }
        pair.laptop.ok(&arguments);
        pair.agree();
        let found = fs::read_to_string(pair.devbox.path(name)).unwrap();
        assert_eq!(found, left, "{how:?}: the other side has it too");
    }
    for side in [&pair.laptop, &pair.devbox] {
        assert_eq!(side.json(&["conflicts", "ls"]).as_array().unwrap().len(), 0, "all are over");
        assert_eq!(side.status("work")["conflicts"], 0, "all are over");
    }
    let all: Vec<_> = nodes(pair.laptop.root()).into_keys().collect();
    assert_eq!(all.len(), ways.len() + 1, "keeping both keeps one file more: {all:?}");
}

#[test]
fn a_directory_keeps_its_name_against_a_file() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("keep"), "a folder that is not empty");
    part_and_write(&mut pair, &["other"], |laptop, devbox| {
        write(&laptop.path("name/inside"), "x");
        write(&devbox.path("name"), "a file");
        set_mtime(&devbox.path("name"), LATE, 0);
    });
    let copy = format!("name.sync-conflict-{}-{}", stamp(LATE), pair.devbox.short_id());
    for side in [&pair.laptop, &pair.devbox] {
        assert_eq!(fs::read_to_string(side.path("name/inside")).unwrap(), "x");
        assert_eq!(fs::read_to_string(side.path(&copy)).unwrap(), "a file");
    }
}

#[test]
fn a_write_that_the_daemon_had_not_seen_is_not_overwritten() {
    let mut pair = Pair::new();
    part_and_write(&mut pair, &["f.txt"], |_, _| {});
    // Both write at the same moment, again and again: whoever is late finds the other's version
    // on the way in. Whatever becomes of it, what both wrote is somewhere, unless the other
    // writer had it before its eyes and wrote over it.
    for round in 0..10 {
        let text_of = |device: &Device| format!("{} in round {round}\n", device.name());
        let saw_other: Vec<bool> = std::thread::scope(|scope| {
            let writers = pair.sides().map(|(here, there)| {
                scope.spawn(move || {
                    let before = fs::read_to_string(here.path("f.txt")).unwrap_or_default();
                    fs::write(here.path("f.txt"), text_of(here)).unwrap();
                    before == text_of(there)
                })
            });
            writers.map(|writer| writer.join().unwrap()).into()
        });
        pair.agree();
        let texts: Vec<_> = nodes(pair.laptop.root())
            .into_keys()
            .map(|path| fs::read_to_string(pair.laptop.path(path)).unwrap())
            .collect();
        for ((_, there), saw) in pair.sides().into_iter().zip(saw_other) {
            let text = text_of(there);
            assert!(saw || texts.contains(&text), "round {round}: {text:?} is lost: {texts:?}");
        }
    }
}
