//! Killing a writer: what it had persisted is whole, and nothing is half there.
//!
//! The test runs itself again as a child that commits batches as fast as it can and is killed at
//! moments that fall anywhere between two writes. `SYNCD_CRASH_ROUNDS` sets how often.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use syncd_core::flow::index::{Batch, Index, Marks};
use syncd_core::flow::settle::Stamp;
use syncd_core::model::{FolderId, Seq, Version};

use super::conformance::Model;
use super::life::begin_life;
use super::sample::{self, Dice, dot, path};
use super::{Intent, Ledger, LedgerOpened, Opened, Store};

const HOME: &str = "SYNCD_CRASH_HOME";

/// The batch with this number, on top of those before: new files that split pages, edits,
/// renames, deletes and drops all over the trees.
fn batch(number: u64, model: &Model) -> Batch {
    let mut dice = Dice::new(number);
    let mut batch = Batch::default();
    let mut seq: Seq = number * 1000;
    let mut touched = BTreeSet::new();
    for _ in 0..1 + dice.below(60) {
        let dir = dice.pick(&["a", "a/b", "wide", "wide", "wide/deep"]);
        let path = path(format!("{dir}/{:04}", dice.below(600)));
        if !touched.insert(path.clone()) {
            continue;
        }
        seq += 1;
        let old = model.entries.get(&path);
        batch.puts.push((path, sample::entry(&mut dice, old, seq)));
    }
    let dead = model.entries.iter().filter(|(_, entry)| !entry.record.is_live());
    let dead = dead.map(|(path, _)| path.clone()).filter(|path| !touched.contains(path));
    batch.drops = dead.filter(|_| dice.one_in(4)).collect();
    let covered = Version::of(dot(1, number));
    batch.marks = Some(Marks { covered, ..Marks::default() });
    batch
}

/// How many batches an index holds, by its marks.
fn held(index: &impl Index) -> u64 {
    index.marks().unwrap().covered.seen(dot(1, 1).writer)
}

fn replayed(count: u64) -> Model {
    let mut model = Model::default();
    for number in 1..=count {
        model.commit(batch(number, &model));
    }
    model
}

/// Commits until it is killed, telling what is durable.
fn write_for_ever(home: &Path) {
    let folder = FolderId::parse("work").unwrap();
    let (ledger, _) = Ledger::open(&home.join("ledger")).unwrap();
    let (store, _) = Store::open(&home.join("index")).unwrap();
    let mut index = store.folder(&folder);
    let mut model = replayed(held(&index));
    let mut out = std::io::stdout();
    for number in held(&index) + 1.. {
        let batch = batch(number, &model);
        model.commit(batch.clone());
        let intents: Vec<Intent> = batch
            .puts
            .iter()
            .map(|(path, entry)| Intent {
                folder: folder.clone(),
                job: number,
                path: path.clone(),
                record: entry.record.clone(),
                staged: None,
                stamp: Stamp::AsIs,
            })
            .collect();
        let open = ledger.open_intents(&intents).unwrap();
        index.commit(batch).unwrap();
        if number % 3 == 0 {
            let counters = ledger.reserve().unwrap();
            writeln!(out, "\nreserved {} {}", counters.start, counters.end).unwrap();
        }
        if number % 2 == 0 {
            store.persist().unwrap();
            let seq = index.last_seq().unwrap();
            ledger.close_intents(&[open], Some((store.id(), seq))).unwrap();
            writeln!(out, "\ndurable {number}").unwrap();
        }
    }
}

/// Runs a child until it has told `lines_min` things and a little longer, kills it, and returns
/// the last batch it called durable and the counters it was given.
fn run_and_kill(home: &Path, lines_min: u64, longer: Duration) -> (u64, Vec<Range<u64>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(test_name())
        .env(HOME, home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut durable, mut reserved, mut told) = (0, Vec::new(), 0);
    let mut hear = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["durable", number] => durable = number.parse().unwrap(),
            ["reserved", start, end] => reserved.push(start.parse().unwrap()..end.parse().unwrap()),
            _ => return 0,
        }
        1
    };
    while told < lines_min {
        told += hear(lines.next().expect("the child ended by itself").unwrap());
    }
    let until = Instant::now() + longer;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    // What it wrote before it died counts, except a line that was cut.
    for line in lines.map_while(Result::ok) {
        hear(line);
    }
    child.wait().unwrap();
    (durable, reserved)
}

/// The name of the test below, wherever this module is.
fn test_name() -> String {
    let module = module_path!().split_once("::").unwrap().1;
    format!("{module}::a_killed_writer_leaves_whole_batches")
}

#[test]
fn a_killed_writer_leaves_whole_batches() {
    if let Some(home) = std::env::var_os(HOME) {
        return write_for_ever(Path::new(&home));
    }
    let rounds = std::env::var("SYNCD_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok());
    let home = tempfile::tempdir().unwrap();
    let folder = FolderId::parse("work").unwrap();
    let mut dice = Dice::new(rounds.unwrap_or(0));
    let mut given: Vec<Range<u64>> = Vec::new();
    for round in 0..rounds.unwrap_or(6) {
        let lines_min = dice.below(30);
        let longer = Duration::from_micros(dice.below(4000));
        let (durable, reserved) = run_and_kill(home.path(), lines_min, longer);
        for range in reserved {
            let after = given.last().map_or(0, |last| last.end);
            assert!(range.start >= after, "round {round}: {range:?} after {after}");
            given.push(range);
        }
        let (ledger, ledger_opened) = Ledger::open(&home.path().join("ledger")).unwrap();
        let (store, opened) = Store::open(&home.path().join("index")).unwrap();
        let index = store.folder(&folder);
        let held = held(&index);
        assert!(held >= durable, "round {round}: {durable} were durable, {held} are there");
        replayed(held).agrees_with(&index, &format!("round {round}, {held} batches"));
        if round > 0 && durable > 0 {
            assert_eq!((&opened, &ledger_opened), (&Opened::Existing, &LedgerOpened::Existing));
        }
        let life = begin_life(&store, opened, &ledger, ledger_opened).unwrap();
        assert!(round == 0 || !life.fresh, "round {round}: {life:?}");
        given.push(life.counters);
        ledger.close_intents(&ledger.pending_batches(), None).unwrap();
    }
}
